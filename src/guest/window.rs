//! Stretches of a block map, decoded.
//!
//! A map is decoded a [`Window`] at a time: sorted runs for a range of logical blocks, bounded in number, so that a
//! file of a million fragments costs neither much memory nor much time before its first byte. Most files fit in one.

use super::bytes::wide;

/// Runs in one window at most.
pub(super) const RUNS_MAX: usize = 1 << 16;
/// Map blocks read for one window at most. More than the depth of any map, so each window moves forward.
const NODES_MAX: u32 = 4096;

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

/// What is known of logical blocks `start..end`: in a run, or else a hole.
#[derive(Debug)]
pub(super) struct Window {
    pub start: u64,
    pub end: u64,
    runs: Vec<Run>,
}

impl Window {
    /// About what it takes in memory.
    pub fn weight_bytes(&self) -> u64 {
        wide(self.runs.len() * size_of::<Run>() + 128)
    }

    /// Has logical blocks `start..end` lie at another place from now on, or be a hole.
    pub fn replace(&mut self, start: u64, end: u64, physical: Option<u64>) {
        let (start_within, end) = (start.max(self.start), end.min(self.end));
        if start_within >= end {
            return;
        }
        let place = physical.map(|physical| physical.saturating_add(start_within - start));
        let new = place.map(|physical| Run { logical: start_within, length: end - start_within, physical });
        let first = self.runs.partition_point(|run| run.end() <= start_within);
        let behind = self.runs.partition_point(|run| run.logical < end).max(first);
        let cut = self.runs.get(first..behind).unwrap_or_default();
        let head = cut.first().filter(|run| run.logical < start_within);
        let head = head.map(|run| Run { length: start_within - run.logical, ..*run });
        let tail = cut.last().filter(|run| run.end() > end).map(|run| {
            let skipped = end - run.logical;
            Run { logical: end, length: run.length - skipped, physical: run.physical.saturating_add(skipped) }
        });
        self.runs.splice(first..behind, head.into_iter().chain(new).chain(tail));
    }

    /// The first run that ends behind a logical block.
    pub fn run_from(&self, block: u64) -> Option<Run> {
        self.runs.get(self.runs.partition_point(|run| run.end() <= block)).copied()
    }
}

/// A window while it is decoded.
pub(super) struct Builder {
    from: u64,
    end: Option<u64>,
    runs: Vec<Run>,
    nodes_left: u32,
}

impl Builder {
    pub fn new(from: u64) -> Self {
        Self { from, end: None, runs: Vec::new(), nodes_left: NODES_MAX }
    }

    /// Whether everything before this logical block is known from an earlier window, or not asked for.
    pub fn is_behind(&self, end: u64) -> bool {
        end <= self.from
    }

    /// Makes room for one more map block whose first logical block is `logical`; false where the window must end.
    pub fn take_node(&mut self, logical: u64) -> bool {
        if self.nodes_left == 0 || self.runs.len() >= RUNS_MAX {
            self.end = Some(logical.max(self.from));
            return false;
        }
        self.nodes_left -= 1;
        true
    }

    /// Adds a run, in ascending order, joined with the one before it where they adjoin.
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
        Window { start: self.from, end: self.end.unwrap_or(u64::MAX), runs: self.runs }
    }
}
