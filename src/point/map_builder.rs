//! Building a disk map, chunk by chunk in order, in memory that does not grow with the disk.

use super::DiskMap;
use crate::error::Result;
use crate::format::Hash;
use crate::format::map_node::{FANOUT, MapNode};

/// Builds one disk's map. Nodes are handed out as they become complete; equal nodes get equal ids, so whoever stores
/// them finds that an unchanged part of a disk is there already.
pub struct MapBuilder<'a> {
    store: &'a dyn Fn(&MapNode) -> Result<Hash>,
    root_level: u8,
    levels: Vec<Level>,
}

struct Level {
    node: MapNode,
    filled: usize,
    any: bool,
}

impl<'a> MapBuilder<'a> {
    /// A map for a disk of `chunks` chunks; `store` stores a node and tells its id.
    pub fn new(chunks: u64, store: &'a dyn Fn(&MapNode) -> Result<Hash>) -> Self {
        let root_level = MapNode::root_level(chunks);
        let levels =
            (0..=root_level).map(|level| Level { node: MapNode::empty(level), filled: 0, any: false }).collect();
        Self { store, root_level, levels }
    }

    /// Level of the root.
    pub fn root_level(&self) -> u8 {
        self.root_level
    }

    /// Adds the next chunk; `None` is all zeros.
    pub fn push(&mut self, chunk: Option<Hash>) -> Result<()> {
        self.push_at(0, chunk)
    }

    /// Adds `count` chunks of zeros.
    pub fn push_zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let level = self.highest(count);
            self.push_at(usize::from(level), None)?;
            count -= MapNode::chunks_per_child(level);
        }
        Ok(())
    }

    /// Adds `count` chunks as they are in another map of the same chunk size, from chunk `first` on, which must be the
    /// next chunk of this map. Whole subtrees are taken over by their ids.
    pub fn push_unchanged(&mut self, other: &DiskMap, mut first: u64, mut count: u64) -> Result<()> {
        while count > 0 {
            let level = self.highest(count);
            self.push_at(usize::from(level), other.subtree(first, level)?)?;
            first += MapNode::chunks_per_child(level);
            count -= MapNode::chunks_per_child(level);
        }
        Ok(())
    }

    /// The highest level at which the next `count` chunks hold a whole child. As high up as the place is aligned and
    /// the run is long: a terabyte is a handful of steps.
    fn highest(&self, count: u64) -> u8 {
        let mut level = 0;
        while level < self.root_level
            && self.levels[usize::from(level)].filled == 0
            && MapNode::chunks_per_child(level + 1) <= count
        {
            level += 1;
        }
        level
    }

    fn push_at(&mut self, level: usize, child: Option<Hash>) -> Result<()> {
        let this = &mut self.levels[level];
        assert!(this.filled < FANOUT, "a map takes no more chunks than it was made for");
        this.any |= child.is_some();
        this.node.children[this.filled] = child;
        this.filled += 1;
        if this.filled == FANOUT && level < usize::from(self.root_level) {
            let id = self.take(level)?;
            self.push_at(level + 1, id)?;
        }
        Ok(())
    }

    /// Stores the node that is being filled at `level` and begins the next; `None` where it is all zeros.
    fn take(&mut self, level: usize) -> Result<Option<Hash>> {
        let this = &mut self.levels[level];
        let id = if this.any { Some((self.store)(&this.node)?) } else { None };
        *this.node.children = [None; FANOUT];
        this.filled = 0;
        this.any = false;
        Ok(id)
    }

    /// The id of the root; `None` where the whole disk is zeros.
    pub fn finish(mut self) -> Result<Option<Hash>> {
        let top = usize::from(self.root_level);
        for level in 0..top {
            if self.levels[level].filled > 0 {
                let id = self.take(level)?;
                self.push_at(level + 1, id)?;
            }
        }
        self.take(top)
    }
}
