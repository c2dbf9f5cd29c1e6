//! What a repair would do, and what it did.

use std::path::PathBuf;

use crate::error::Error;
use crate::vault::DamagedRange;

/// What a repair finds and would do.
#[derive(Debug, Default)]
pub struct RepairPlan {
    /// Whether keys were at hand: without them nothing can be said of points, and no record can be opened.
    pub with_keys: bool,
    /// Whether they open data: without that, chunks of a copy can't be had one by one.
    pub data_opened: bool,
    /// Segments looked at.
    pub segments: u64,
    /// Bytes read of them.
    pub bytes: u64,
    /// Points whose maps were walked.
    pub points: u64,
    /// Everything that is wrong in files of the vault, as a check would tell it.
    pub damage: Vec<Error>,
    /// Folders and lock files of the vault that are not there; they are made.
    pub folders: Vec<String>,
    /// Headers, key slots and catalog entries that can be had again.
    pub objects: Vec<Restored>,
    /// Segments that can be made whole again, byte for byte.
    pub mended: Vec<Mended>,
    /// Parity that is damaged or gone and is made anew.
    pub parity: Vec<Restored>,
    /// Records of other segments that can be had again, to be stored in new ones.
    pub records: u64,
    /// Plain bytes of those records.
    pub record_bytes: u64,
    /// Those of the records that come from disks.
    pub records_from_disks: u64,
    /// Those of them that the vault itself still gives, out of segments that lost what holds them together or by parity,
    /// and that are better kept elsewhere.
    pub records_moved: u64,
    /// Records that points need and nobody has: they count as known no more, so that the next backup of what still has them
    /// stores them again.
    pub records_lost: u64,
    /// Ranges of disks that can't be read now and could be afterwards.
    pub regained: Vec<DamagedRange>,
    /// Ranges of disks that stay lost.
    pub lost: Vec<DamagedRange>,
    /// Damage of headers, key slots and catalog entries that stays.
    pub remaining: Vec<Error>,
    /// Segments that stay damaged. Where keys were at hand and nothing is lost, no point needs what is damaged there.
    pub left_damaged: Vec<String>,
    /// Points that are in a segment and not in the catalog: `machine/point`.
    pub found: Vec<String>,
    /// Those of them that would be entered, because that was asked for and they are whole.
    pub adopted: Vec<String>,
    /// Whether the catalog lists any point, or will.
    pub lists_any: bool,
    /// Segments, and newest entries of chains, that only copies have and that are left there: without a key nobody knows
    /// whether they were lost, removed, or never there.
    pub only_elsewhere: u64,
    /// What is known of the copies.
    pub copies: Vec<CopyFacts>,
    /// Seconds it took.
    pub seconds: f64,
}

/// A header, key slot or catalog entry that can be had again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The object.
    pub object: String,
    /// Where from, in a few words.
    pub from: String,
    /// Whether it is not there at all; otherwise a damaged one is replaced.
    pub is_absent: bool,
}

/// A segment that can be made whole again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The object.
    pub object: String,
    /// Whether it is not there at all; otherwise a damaged one is replaced.
    pub is_absent: bool,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes of it that are computed from the vault's parity.
    pub parity_bytes: u64,
    /// Bytes of it that come from elsewhere.
    pub foreign_bytes: u64,
}

/// What is known of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Segments of the vault that it does not have: it is older, or lost some itself.
    pub lacks: u64,
    /// Segments that only the copy has.
    pub alone: u64,
}

impl RepairPlan {
    /// Whether there is anything to write.
    pub fn has_work(&self) -> bool {
        !self.folders.is_empty()
            || !self.objects.is_empty()
            || !self.mended.is_empty()
            || !self.parity.is_empty()
            || self.records > 0
            || !self.adopted.is_empty()
    }

    /// Whether everything is whole, or would be.
    pub fn ends_whole(&self) -> bool {
        !self.has_lost_catalog()
            && self.lost.is_empty()
            && self.remaining.is_empty()
            && (self.with_keys || self.left_damaged.is_empty())
    }

    /// Whether points are there and none has an entry: nobody sees them, unless they are entered.
    pub fn has_lost_catalog(&self) -> bool {
        !self.lists_any && !self.found.is_empty() && self.adopted.is_empty()
    }
}

/// What a repair did.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// Objects that were restored.
    pub objects: u64,
    /// Segments that were made whole.
    pub mended: u64,
    /// Bytes of those.
    pub mended_bytes: u64,
    /// Segments whose parity was made anew.
    pub parity: u64,
    /// Records that were stored anew.
    pub records: u64,
    /// Plain bytes of those.
    pub record_bytes: u64,
    /// Points that were entered into the catalog.
    pub adopted: u64,
    /// What could not be had any more when it was to be written.
    pub failures: Vec<Error>,
    /// Seconds it took.
    pub seconds: f64,
}
