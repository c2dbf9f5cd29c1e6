//! Stretches of a block map, decoded.
//!
//! A map is cut at multiples of [`WINDOW_BLOCKS`] logical blocks, and decoded a [`Window`] at a time: sorted runs, no
//! more than there are blocks, found again by where the window begins. So a file of a million fragments costs neither
//! much memory nor much time before its first byte, and reads here and there in it never decode a stretch twice that
//! is still kept. Most files are one window.
//!
//! Bounds: a run takes a block at least and a block of the map covers one at least, so that neither the runs of a window
//! nor the blocks read for it exceed [`WINDOW_BLOCKS`] by more than the depth of the map.

use super::bytes::wide;

/// Logical blocks from the start of one window to that of the next.
const WINDOW_BLOCKS: u64 = 1 << 12;

/// Consecutive logical blocks that lie in consecutive blocks of the volume, and hold written data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub logical: u64,
    pub length: u64,
    pub physical: u64,
}

impl Run {
    pub fn end(&self) -> u64 {
        self.logical.saturating_add(self.length)
    }
}

/// What is known of logical blocks up to `end`: in a run, or else a hole.
#[derive(Debug)]
pub(super) struct Window {
    /// Where the next window begins at the earliest. What lies behind a run or a hole that reaches far is known
    /// without looking.
    pub end: u64,
    runs: Box<[Run]>,
}

impl Window {
    /// The number, among those of its map, of the window that has a logical block.
    pub fn number_of(block: u64) -> u64 {
        block / WINDOW_BLOCKS
    }

    /// About what it takes in memory.
    pub fn weight_bytes(&self) -> u64 {
        wide(self.runs.len() * size_of::<Run>() + 128)
    }

    /// The first run that ends behind a logical block.
    pub fn run_from(&self, block: u64) -> Option<Run> {
        self.runs.get(self.runs.partition_point(|run| run.end() <= block)).copied()
    }
}

/// A window while it is decoded, from blocks of the map in ascending order.
pub(super) struct Builder {
    from: u64,
    until: u64,
    end: Option<u64>,
    runs: Vec<Run>,
}

impl Builder {
    /// For the window of a number.
    pub fn new(number: u64) -> Self {
        let from = number.saturating_mul(WINDOW_BLOCKS);
        Self { from, until: from.saturating_add(WINDOW_BLOCKS), end: None, runs: Vec::new() }
    }

    /// Whether what ends here belongs to earlier windows.
    pub fn is_behind(&self, end: u64) -> bool {
        end <= self.from
    }

    /// Whether what begins here belongs to this window or an earlier one; where it does not, the window is complete.
    pub fn wants(&mut self, logical: u64) -> bool {
        if logical >= self.until {
            self.end.get_or_insert(logical);
        }
        logical < self.until
    }

    /// Adds a run that it wants, joined with the one before it where they adjoin.
    pub fn push(&mut self, run: Run) {
        if self.is_behind(run.end()) {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.end() == run.logical && last.physical.saturating_add(last.length) == run.physical => {
                last.length = last.length.saturating_add(run.length);
            }
            _ => self.runs.push(run),
        }
    }

    pub fn finish(self) -> Window {
        Window { end: self.end.unwrap_or(u64::MAX), runs: self.runs.into() }
    }
}
