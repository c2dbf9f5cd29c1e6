//! Stretches of a block map, decoded.
//!
//! A map is cut at multiples of [`WINDOW_BLOCKS`] logical blocks, and decoded a [`Window`] at a time: sorted runs, no
//! more than there are blocks, found again by where the window begins. So a file of a million fragments costs neither
//! much memory nor much time before its first byte, and reads here and there in it never decode a stretch twice that
//! is still kept. Most files are one window.
//!
//! Bounds: a run takes a block at least and a block of the map covers one at least, so that neither the runs of a window
//! nor the blocks read for it exceed [`WINDOW_BLOCKS`] by more than the depth of the map.

use std::collections::BTreeMap;

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
    /// The window of the same number of the changed map.
    pub fn with(self, number: u64, edits: &Edits) -> Self {
        let start = number.saturating_mul(WINDOW_BLOCKS);
        // Up to the first edit that is another window's: a hole that reaches far stays one step.
        let next = edits.stretches.range(start.saturating_add(WINDOW_BLOCKS)..).next();
        let end = self.end.min(next.map_or(u64::MAX, |(logical, _)| *logical));
        let before = edits.stretches.range(..start).next_back().filter(|(_, stretch)| stretch.end > start);
        let stretches: Vec<_> = before.into_iter().chain(edits.stretches.range(start..end)).collect();
        let mut changed = Vec::new();
        for run in self.runs.iter().filter(|run| run.logical < end) {
            let length = run.length.min(end - run.logical);
            keep_rest(Run { length, ..*run }, &stretches, &mut changed);
        }
        for (logical, stretch) in stretches {
            if let Some(physical) = stretch.physical {
                changed.push(Run { logical: *logical, length: stretch.end.min(end) - *logical, physical });
            }
        }
        changed.sort_unstable_by_key(|run| run.logical);
        Self { end, runs: changed.into() }
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

    // Promise 5. A hole that reaches far stays one step, whatever was changed elsewhere: else a search for data never ends.
    #[test]
    fn an_edit_cuts_no_hole_that_it_is_not_in() {
        let mut edits = Edits::default();
        edits.set(3, 1, Some(7));
        assert_eq!(Builder::new(0).finish().with(0, &edits).end, u64::MAX);
        edits.set(WINDOW_BLOCKS * 5, 1, Some(9));
        let window = Builder::new(0).finish().with(0, &edits);
        assert_eq!(window.end, WINDOW_BLOCKS * 5, "the next window with a change is looked at by itself");
        assert_eq!(places(&window, 5), [None, None, None, Some(7), None]);
        assert_eq!(Builder::new(5).finish().with(5, &edits).run_from(WINDOW_BLOCKS * 5).expect("a run").physical, 9);
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
            assert_eq!(places(&builder.finish().with(0, &edits), 64), expected);
        }
    }
}
