//! Which blocks hold an inode's data.
//!
//! A map is decoded a [`Window`] at a time: sorted runs for a range of logical blocks, bounded in number, so that a
//! file of a million fragments costs neither much memory nor much time before its first byte. Most files fit in one.

use std::sync::Arc;

use crate::guest::bytes::wide;
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::inode::{Inode, flags};

/// Runs in one window at most.
const RUNS_MAX: usize = 1 << 16;
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
    fn new(from: u64) -> Self {
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

    fn finish(self) -> Window {
        Window { start: self.from, end: self.end.unwrap_or(u64::MAX), runs: self.runs }
    }
}

impl Ext {
    /// The window that has a logical block of an inode.
    pub(super) fn window(&self, inode: &Inode, block: u64) -> Result<Arc<Window>, Error> {
        if let Some(known) = self.windows.get(inode.number)
            && (known.start..known.end).contains(&block)
        {
            return Ok(known);
        }
        // A small file is decoded from its start, so that reading it backwards costs no second window.
        let from = if inode.size_bytes / self.sb.block_bytes < wide(RUNS_MAX) { 0 } else { block };
        let mut window = self.decode_window(inode, from)?;
        if !(window.start..window.end).contains(&block) {
            window = self.decode_window(inode, block)?;
        }
        let bytes = wide(window.runs.len() * size_of::<Run>() + 128);
        Ok(self.windows.insert(inode.number, window, bytes))
    }

    fn decode_window(&self, inode: &Inode, from: u64) -> Result<Window, Error> {
        let mut builder = Builder::new(from);
        if inode.has_flag(flags::EXTENTS) {
            self.decode_extents(inode, &mut builder)?;
        } else {
            self.decode_indirect(inode, &mut builder)?;
        }
        Ok(builder.finish())
    }

    /// Reads a block of an inode's map.
    pub(super) fn read_map_block(&self, inode: &Inode, block: u64) -> Result<Vec<u8>, Error> {
        let damage = |fault| Damage { object: Object::MapBlock { inode: inode.number, block }, fault };
        self.check_blocks(block, 1).map_err(damage)?;
        self.read_block(block)
    }

    /// Whether blocks lie in the file system, behind its first block.
    pub(super) fn check_blocks(&self, first: u64, length: u64) -> Result<(), Fault> {
        let end = first.checked_add(length);
        if first > 0 && first >= self.sb.first_data_block && end.is_some_and(|end| end <= self.sb.blocks) {
            return Ok(());
        }
        Err(Fault::BlockOutOfRange { block: first })
    }
}
