//! Which blocks hold a fork's data ("XFS Filesystem Structure", "Data Extents").
//!
//! A fork has its extents in the inode or in a B+tree whose root lies there. Bounds on a hostile tree: a child's level
//! is one less than its parent's, logical blocks only ever grow along a node, no node is empty, and a child stays
//! within what its parent's key covers. So no block of the tree can be met twice for the same logical block.
//!
//! Extents that were allocated and never written read as zeros, so they are left out: to a reader they are holes.

use std::sync::Arc;

use crate::guest::bytes::{be16_at, be64_at, narrow, slice_at, wide};
use crate::guest::window::{Builder, Edits, Run, Window};
use crate::guest::{Damage, Error, Fault, Object};

use super::Xfs;
use super::block::{Block, MAP_NODE, OWNER, has_magic};
use super::inode::{Fork, Format, Inode, Which};

pub(super) const EXTENT_BYTES: usize = 16;
/// Bytes of the root in the inode before its keys.
pub(super) const ROOT_HEADER_BYTES: usize = 4;
/// No tree over 54 bits of logical blocks is higher.
const LEVEL_MAX: u16 = 16;
/// Bytes of a node before its records, by version of the format.
pub(super) const NODE_HEADER_BYTES: usize = 24;
/// Logical blocks have 54 bits.
pub(super) const LOGICAL_END: u64 = 1 << 54;

/// One node of a tree, with what its parent says of it.
struct Node<'a> {
    /// Its records or keys.
    keys: &'a [u8],
    pointers: &'a [u8],
    /// Where it lies; zero for the root.
    block: u64,
    level: u16,
    first: u64,
    end: u64,
}

impl Xfs {
    /// The window that has a logical block of a fork.
    pub(super) fn window(&self, inode: &Inode, which: Which, block: u64) -> Result<Arc<Window>, Error> {
        let number = Window::number_of(block);
        let key = (inode.number, which, number);
        if let Some(known) = self.windows.get(key) {
            return Ok(known);
        }
        let mut builder = Builder::new(number);
        let damage = |fault| Error::from(Damage { object: Object::MapBlock { inode: inode.number, block: 0 }, fault });
        match inode.fork(which) {
            Some(fork) if fork.format == Format::Extents => {
                let records = usize::try_from(fork.extents).ok().and_then(|count| count.checked_mul(EXTENT_BYTES));
                let records = records.and_then(|length| slice_at(&fork.bytes, 0, length));
                let records = records.ok_or(damage(Fault::Field { field: "di_nextents", value: fork.extents }))?;
                self.decode_extents(records, 0, LOGICAL_END, &mut builder).map_err(damage)?;
            }
            Some(fork) if fork.format == Format::Btree => {
                let root = root(fork).map_err(damage)?;
                self.decode_node(inode, &root, &mut builder)?;
            }
            _ => {}
        }
        let mut window = builder.finish();
        if which == Which::Data
            && let Some(edits) = self.remaps_of(inode.number)
        {
            window = window.with(number, &edits);
        }
        let bytes = window.weight_bytes();
        Ok(self.windows.insert(key, window, bytes))
    }

    /// What the log says was still to be done to a map, if anything.
    fn remaps_of(&self, inode: u64) -> Option<Edits> {
        let mut remaps = self.outcome.remaps.iter().filter(|remap| remap.inode == inode).peekable();
        remaps.peek()?;
        let mut edits = Edits::default();
        for remap in remaps {
            edits.set(remap.logical, remap.length, remap.physical.filter(|_| remap.is_written));
        }
        Some(edits)
    }

    fn decode_extents(&self, records: &[u8], first: u64, end: u64, into: &mut Builder) -> Result<bool, Fault> {
        let mut reached = first;
        for record in records.chunks_exact(EXTENT_BYTES) {
            let extent = extent(record).ok_or(Fault::CutShort)?;
            let run = Run {
                physical: self.sb.linear(extent.block, extent.length)?,
                logical: extent.logical,
                length: extent.length,
            };
            if run.length == 0 || run.logical < reached || run.end() > end {
                return Err(Fault::Order);
            }
            reached = run.end();
            if extent.is_written {
                if !into.wants(run.logical) {
                    return Ok(false);
                }
                into.push(run);
            }
        }
        Ok(true)
    }

    /// Answers false where the window is complete.
    fn decode_node(&self, inode: &Inode, node: &Node<'_>, into: &mut Builder) -> Result<bool, Error> {
        let damage =
            |fault| Error::from(Damage { object: Object::MapBlock { inode: inode.number, block: node.block }, fault });
        if node.level == 0 {
            return self.decode_extents(node.keys, node.first, node.end, into).map_err(damage);
        }
        let firsts: Vec<u64> = node.keys.chunks_exact(8).filter_map(|key| be64_at(key, 0)).collect();
        let is_ordered = firsts.is_sorted_by(|a, b| a < b)
            && firsts.first().is_some_and(|first| *first >= node.first)
            && firsts.last().is_some_and(|last| *last < node.end);
        if !is_ordered {
            return Err(damage(Fault::Order));
        }
        let ends = firsts.iter().skip(1).copied().chain([node.end]);
        let children = node.pointers.chunks_exact(8).filter_map(|pointer| be64_at(pointer, 0));
        for ((first, end), child) in firsts.iter().copied().zip(ends).zip(children) {
            if into.is_behind(end) {
                continue;
            }
            if !into.wants(first) {
                return Ok(false);
            }
            let block = self.sb.linear(child, 1).map_err(damage)?;
            let read = self.read_block(block)?;
            let fault = |fault| Damage { object: Object::MapBlock { inode: inode.number, block }, fault };
            let child = self.node(inode, &read, block, node.level - 1, first..end).map_err(fault)?;
            if !self.decode_node(inode, &child, into)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where inodes exchanged their maps and the log ends before the blocks say so, either may be named.
    fn check_owner(&self, read: &Block, inode: u64) -> Result<(), Fault> {
        let reowned = &self.outcome.reowned;
        match MAP_NODE.check(&self.sb, read, inode) {
            Err(Fault::Field { field: OWNER, value }) if reowned.contains(&inode) && reowned.contains(&value) => Ok(()),
            checked => checked,
        }
    }

    /// A node in a block of its own, checked.
    fn node<'a>(
        &self,
        inode: &Inode,
        read: &'a Block,
        block: u64,
        level: u16,
        logical: std::ops::Range<u64>,
    ) -> Result<Node<'a>, Fault> {
        let bytes = read.bytes.as_slice();
        let magic = if self.sb.is_v5 { b"BMA3" } else { b"BMAP" };
        if !has_magic(bytes, magic) {
            return Err(Fault::Magic);
        }
        let header_bytes = if self.sb.is_v5 {
            self.check_owner(read, inode.number)?;
            MAP_NODE.bytes
        } else {
            NODE_HEADER_BYTES
        };
        let stored = be16_at(bytes, 4).ok_or(Fault::CutShort)?;
        if stored != level {
            return Err(Fault::Field { field: "bb_level", value: stored.into() });
        }
        let count = usize::from(be16_at(bytes, 6).ok_or(Fault::CutShort)?);
        let room = bytes.get(header_bytes..).ok_or(Fault::CutShort)?;
        let bad_count = Fault::Field { field: "bb_numrecs", value: wide(count) };
        let (keys, pointers) =
            if level == 0 { (slice_at(room, 0, count * EXTENT_BYTES), Some(&[][..])) } else { halves(room, count) };
        match (keys, pointers) {
            (Some(keys), Some(pointers)) if count > 0 => {
                Ok(Node { keys, pointers, block, level, first: logical.start, end: logical.end })
            }
            _ => Err(bad_count),
        }
    }
}

/// Keys and pointers of an inner node: there is room for as many of one as of the other.
fn halves(room: &[u8], count: usize) -> (Option<&[u8]>, Option<&[u8]>) {
    let capacity = room.len() / 16;
    if count > capacity {
        return (None, None);
    }
    (slice_at(room, 0, count * 8), slice_at(room, capacity * 8, count * 8))
}

fn root(fork: &Fork) -> Result<Node<'_>, Fault> {
    let level = be16_at(&fork.bytes, 0).ok_or(Fault::CutShort)?;
    let count = be16_at(&fork.bytes, 2).ok_or(Fault::CutShort)?;
    if level == 0 || level > LEVEL_MAX {
        return Err(Fault::Field { field: "bb_level", value: level.into() });
    }
    let room = fork.bytes.get(ROOT_HEADER_BYTES..).ok_or(Fault::CutShort)?;
    match halves(room, count.into()) {
        (Some(keys), Some(pointers)) if count > 0 => {
            Ok(Node { keys, pointers, block: 0, level, first: 0, end: LOGICAL_END })
        }
        _ => Err(Fault::Field { field: "bb_numrecs", value: count.into() }),
    }
}

struct Extent {
    logical: u64,
    block: u64,
    length: u64,
    is_written: bool,
}

/// 1 bit: never written; 54 bits of logical block; 52 bits of block; 21 bits of length.
fn extent(record: &[u8]) -> Option<Extent> {
    let (high, low) = (be64_at(record, 0)?, be64_at(record, 8)?);
    Some(Extent {
        logical: (high & !(1 << 63)) >> 9,
        block: ((high & 0x1FF) << 43) | (low >> 21),
        length: low & 0x1F_FFFF,
        is_written: high >> 63 == 0,
    })
}

impl Xfs {
    /// Reads a block that was found to lie in the file system.
    fn read_block(&self, block: u64) -> Result<Block, Error> {
        let place = block.saturating_mul(self.sb.block_bytes);
        let mut bytes = vec![0; narrow(self.sb.block_bytes)];
        self.volume.read_exact_at(place, &mut bytes)?;
        Ok(Block { place, bytes, is_replayed: self.is_replayed(place, self.sb.block_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. The four fields of an extent share their words without mixing.
    #[test]
    fn an_extent_is_split_at_its_bits() {
        let word = (1_u128 << 127) | (0x2A_5A5A_5A5A_5A5A << 73) | (0xF_0F0F_0F0F_0F0F << 21) | 0x1F_0F0F;
        let found = extent(&word.to_be_bytes()).expect("16 bytes");
        assert_eq!((found.logical, found.block, found.length), (0x2A_5A5A_5A5A_5A5A, 0xF_0F0F_0F0F_0F0F, 0x1F_0F0F));
        assert!(!found.is_written);
    }
}
