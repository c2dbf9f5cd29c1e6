//! Stretches of a block map, decoded.
//!
//! A map is decoded a [`Window`] at a time: sorted runs for a range of logical blocks, bounded in number, so that a
//! file of a million fragments costs neither much memory nor much time before its first byte. Most files fit in one.

use std::collections::BTreeMap;

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

    /// The first run that ends behind a logical block.
    pub fn run_from(&self, block: u64) -> Option<Run> {
        self.runs.get(self.runs.partition_point(|run| run.end() <= block)).copied()
    }
}

/// What was changed of a map since it was written: stretches that lie elsewhere now, or nowhere.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// By their first logical block; they do not overlap.
    stretches: BTreeMap<u64, Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    end: u64,
    /// Where it lies; `None` where it reads as zeros.
    physical: Option<u64>,
}

impl Edits {
    /// Lets a stretch lie where it is told, whatever was told of it before.
    pub fn set(&mut self, logical: u64, length: u64, physical: Option<u64>) {
        let end = logical.saturating_add(length);
        let overlapping = |(start, stretch): (&u64, &Stretch)| (stretch.end > logical).then_some((*start, *stretch));
        // From the last one backwards: the first that ends before this stretch has nothing but such before it.
        while let Some((start, old)) = self.stretches.range(..end).next_back().and_then(overlapping) {
            self.stretches.remove(&start);
            if old.end > end {
                self.stretches.insert(end, Stretch { physical: moved(old.physical, end - start), ..old });
            }
            if start < logical {
                self.stretches.insert(start, Stretch { end: logical, ..old });
            }
        }
        if length > 0 {
            self.stretches.insert(logical, Stretch { end, physical });
        }
    }

    pub fn clear(&mut self) {
        self.stretches.clear();
    }
}

fn moved(physical: Option<u64>, by: u64) -> Option<u64> {
    physical.map(|physical| physical.saturating_add(by))
}

impl Window {
    /// The window of the same blocks of the changed map.
    pub fn with(self, edits: &Edits) -> Self {
        let Self { start, end, runs } = self;
        let before = edits.stretches.range(..start).next_back().filter(|(_, stretch)| stretch.end > start);
        let stretches: Vec<_> = before.into_iter().chain(edits.stretches.range(start..end)).collect();
        let mut changed = Vec::new();
        for run in runs {
            keep_rest(run, &stretches, &mut changed);
        }
        for (logical, stretch) in stretches {
            if let Some(physical) = stretch.physical {
                changed.push(Run { logical: *logical, length: stretch.end.min(end) - *logical, physical });
            }
        }
        changed.sort_unstable_by_key(|run| run.logical);
        Self { start, end, runs: changed }
    }
}

/// What the stretches leave of a run.
fn keep_rest(run: Run, stretches: &[(&u64, &Stretch)], into: &mut Vec<Run>) {
    let mut at = run.logical;
    let mut keep = |from: u64, to: u64| {
        if from < to {
            let physical = run.physical.saturating_add(from - run.logical);
            into.push(Run { logical: from, length: to - from, physical });
        }
    };
    let first = stretches.partition_point(|(_, stretch)| stretch.end <= run.logical);
    let over = stretches.iter().skip(first).take_while(|(start, _)| **start < run.end());
    for (start, stretch) in over {
        keep(at, **start);
        at = at.max(stretch.end);
    }
    keep(at, run.end());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each block lies, counted one by one.
    fn places(window: &Window, blocks: u64) -> Vec<Option<u64>> {
        let place = |block| {
            let run = window.run_from(block).filter(|run| run.logical <= block)?;
            Some(run.physical + (block - run.logical))
        };
        (0..blocks).map(place).collect()
    }

    // Promise 2. However stretches overlap, each block lies where the last one that names it says.
    #[test]
    fn the_last_edit_of_a_block_counts() {
        let mut state = 7_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..500 {
            let mut builder = Builder::new(0);
            let mut expected = vec![None; 64];
            for logical in [3_u64, 20, 40] {
                let length = below(15);
                for block in logical..logical + length {
                    expected[block as usize] = Some(1000 + block);
                }
                if length > 0 {
                    builder.push(Run { logical, length, physical: 1000 + logical });
                }
            }
            let mut edits = Edits::default();
            for round in 0..below(12) {
                let (logical, length) = (below(60), below(9));
                let physical = (below(3) > 0).then_some(10_000 * (round + 1));
                edits.set(logical, length, physical);
                for block in (logical..logical + length).filter(|block| *block < 64) {
                    expected[block as usize] = physical.map(|physical| physical + (block - logical));
                }
            }
            assert_eq!(places(&builder.finish().with(&edits), 64), expected);
        }
    }
}
