//! What a copy would do, and what it did.

use crate::backup::QuotaUse;
use crate::error::Error;
use crate::point::PointInfo;
use crate::sync::Arc;
use crate::vault::DamagedRange;

/// Which points are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyWanted {
    /// The machine.
    pub machine: String,
    /// One of its points: its name, `latest`, or the first digits of its id. All of them, where none is given.
    pub point: Option<String>,
}

/// How points get from one vault to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyWay {
    /// Record by record, under the keys of the other vault.
    Records,
    /// File by file: the target is a copy of the same vault, as it was earlier.
    Files,
}

/// Why a wanted point is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySkip {
    /// The target has it.
    Known,
    /// It was forgotten in the target, and can be brought back there.
    Forgotten,
    /// It was purged in the target: it is listed there never again.
    Purged,
}

/// What a copy would do.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    /// How.
    pub way: CopyWay,
    /// The points to copy, in the order in which they are.
    pub points: Vec<Arc<PointInfo>>,
    /// Wanted points that are not copied.
    pub skipped: Vec<(Arc<PointInfo>, CopySkip)>,
    /// Catalog entries that the target lacks; file by file only.
    pub entries: u64,
    /// Segments that the target lacks; file by file only.
    pub segments: u64,
    /// Their length in bytes.
    pub segment_bytes: u64,
    /// The machines whose chains are carried over; file by file only. All of them, where there are none.
    pub(super) machines: Vec<String>,
}

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Whether every chunk of each point is read, also where the target has the same in a point that was copied earlier.
    pub reads_all: bool,
    /// Whether every sealed chunk is opened, decoded and compared before the point is acknowledged.
    pub verify: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { reads_all: false, verify: true }
    }
}

/// A point that was copied.
#[derive(Clone, Debug)]
pub struct CopiedPoint {
    /// As the target lists it.
    pub point: Arc<PointInfo>,
    /// Plain bytes that were read.
    pub read_bytes: u64,
    /// Plain bytes that the target did not have.
    pub new_bytes: u64,
}

/// A point that was not copied.
#[derive(Debug)]
pub struct CopyFailure {
    /// The point, as `machine/point`.
    pub path: String,
    /// Why; of several reasons, the first.
    pub error: Error,
    /// The ranges that could not be read.
    pub hit: Vec<DamagedRange>,
    /// Whether those are all: after some, nobody looks for more.
    pub is_all: bool,
}

/// What a copy did.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// Points that were copied.
    pub copied: Vec<CopiedPoint>,
    /// Points that could not be copied; the target does not list them.
    pub failed: Vec<CopyFailure>,
    /// Points that somebody else copied meanwhile, as `machine/point`.
    pub known: Vec<String>,
    /// Disks, as `machine/point/disk`, of which the target has something else under the id of an earlier point than this
    /// vault: nothing was taken over from there, all was read.
    pub refuted: Vec<String>,
    /// Quotas of the target that are taken so far that somebody should know. Those who copy files heed none.
    pub quota_warnings: Vec<QuotaUse>,
    /// Segments that were carried over as files.
    pub segments: u64,
    /// Catalog entries that were carried over as files.
    pub entries: u64,
    /// Segments that could not be carried over. No entry is, where there are any.
    pub left: Vec<Error>,
    /// Bytes added to the target, everything included.
    pub added_bytes: u64,
    /// Seconds from the first read to the last acknowledged point.
    pub seconds: f64,
}

impl CopyReport {
    /// Whether all that was planned is done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.left.is_empty()
    }
}
