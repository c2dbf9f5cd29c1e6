//! What a check found.

use jiff::Timestamp;

use crate::error::Error;
use crate::format::{Id, segment};
use crate::point::ByteRange;
use crate::store::parity::Repair;

/// What a check with keys found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Segments looked at.
    pub segments: u64,
    /// Records that were whole.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Points whose maps were walked.
    pub points: u64,
    /// Chunks that maps name and whose records were read in this run and are whole. One that several map nodes name
    /// counts in each.
    pub chunks_read: u64,
    /// Chunks that maps name and that have a place in a segment that this run did not look at, counted the same way.
    pub chunks_located: u64,
    /// Everything that was wrong in files of the vault, and what could not be read of a point.
    pub damage: Vec<Error>,
    /// What was wrong with files that are made anew when they are needed: damage that harms nobody.
    pub harmless: Vec<Error>,
    /// What was wrong with segments in places that no point needs any more: what lay there is whole elsewhere.
    pub spare: Vec<Error>,
    /// What was wrong with parity, missing parity included. No data is lost by that, but less damage can be mended.
    pub parity: Vec<Error>,
    /// The damaged segments that were looked at, in order of name, and whether parity can mend them.
    pub repairs: Vec<DamagedSegment>,
    /// The ranges of disks that can't be read any more.
    pub hit: Vec<DamagedRange>,
    /// Points that segments hold and the catalog does not list, as `machine/point`: a backup that was interrupted at its end
    /// leaves one. What they need was not looked at.
    pub unlisted: Vec<String>,
    /// Machines that have such points and no others: perhaps their chains are lost.
    pub lost_machines: Vec<String>,
    /// False where the role can't open data: then chunks were checked by their checksums only.
    pub data_opened: bool,
    /// How much of the vault this run looked at.
    pub coverage: Coverage,
    /// Seconds it took.
    pub seconds: f64,
}

/// What a check without keys found.
#[derive(Debug, Default)]
pub struct ScrubReport {
    /// Segments looked at.
    pub segments: u64,
    /// Records whose checksums fit.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Everything that was wrong in files of the vault.
    pub damage: Vec<Error>,
    /// What was wrong with files that are made anew when they are needed: damage that harms nobody.
    pub harmless: Vec<Error>,
    /// What was wrong with parity, missing parity included. No data is lost by that, but less damage can be mended.
    pub parity: Vec<Error>,
    /// The damaged segments that were looked at, in order of name, and whether parity can mend them.
    pub repairs: Vec<DamagedSegment>,
    /// How much of the vault this run looked at.
    pub coverage: Coverage,
    /// Seconds it took.
    pub seconds: f64,
}

/// How much of a vault a run looked at, and what is known of the rest. What was checked before is only remembered: it is
/// a hint, and no promise.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Segments in the vault.
    pub segments: u64,
    /// Those of them that this run did not look at.
    pub left: u64,
    /// Those of the rest that were never checked, or of which nobody remembers.
    pub never_checked: u64,
    /// When the one of the rest that waits longest was checked; `None` where none ever was.
    pub oldest_check: Option<Timestamp>,
    /// Those of the rest that were damaged when they were last checked, by their objects' names.
    pub damaged_before: Vec<String>,
    /// Whether the run ended because its time was up.
    pub time_is_up: bool,
    /// Why the vault can't keep what was checked; `None` where it does.
    pub not_remembered: Option<Error>,
}

/// A damaged segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSegment {
    /// Its object.
    pub object: String,
    /// Whether parity can mend it.
    pub repair: Repair,
}

impl DamagedSegment {
    pub(super) fn new(id: &Id, repair: Repair) -> Self {
        Self { object: segment::object(id), repair }
    }
}

/// A range of a disk that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The machine.
    pub machine: String,
    /// The point's name.
    pub point: String,
    /// The disk.
    pub disk: String,
    /// The range, in bytes of the disk.
    pub range: ByteRange,
}

impl VerifyReport {
    /// Whether nothing was wrong with what was looked at; parity, which is no data, aside.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.hit.is_empty()
    }
}

impl ScrubReport {
    /// Whether nothing was wrong with what was looked at.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}
