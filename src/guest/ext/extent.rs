//! Extent trees (kernel documentation, ext4, "Extent Tree").
//!
//! A node is a header of 12 bytes and entries of 12 bytes; the root lies in `i_block`. Bounds on a hostile tree: the
//! depth falls by one a level, from five at most; logical blocks only ever grow along a node, and a child stays within
//! what its parent's entry covers. So no block of the tree can be met twice for the same logical block.

use crate::guest::bytes::{slice_at, u16_at, u32_at};
use crate::guest::crc::crc32c;
use crate::guest::window::{Builder, Run};
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::inode::Inode;

const MAGIC: u16 = 0xF30A;
const DEPTH_MAX: u16 = 5;
const ENTRY_BYTES: usize = 12;
/// A longer extent is unwritten: allocated, and read as zeros.
const WRITTEN_MAX: u16 = 1 << 15;
/// Logical blocks have 32 bits.
const LOGICAL_END: u64 = 1 << 32;

/// The root of a tree without extents: its header, with room for four.
pub(super) const EMPTY_ROOT: [u8; ENTRY_BYTES] = [0x0A, 0xF3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];

/// Whether a block map begins as a tree does.
pub(super) fn is_root(map: &[u8]) -> bool {
    u16_at(map, 0) == Some(MAGIC)
}

/// One node of a tree, with what its parent says of it.
struct Node<'a> {
    bytes: &'a [u8],
    /// Where it lies; zero for the root.
    block: u64,
    depth: u16,
    /// The logical blocks that it may speak of.
    first: u64,
    end: u64,
}

impl Ext {
    pub(super) fn decode_extents(&self, inode: &Inode, into: &mut Builder) -> Result<(), Error> {
        let damage = |fault| Damage { object: Object::MapBlock { inode: inode.number, block: 0 }, fault };
        let depth = u16_at(&inode.block, 6).ok_or(damage(Fault::CutShort))?;
        if depth > DEPTH_MAX {
            return Err(damage(Fault::Field { field: "eh_depth", value: depth.into() }).into());
        }
        let root = Node { bytes: &inode.block, block: 0, depth, first: 0, end: LOGICAL_END };
        self.decode_extent_node(inode, &root, into).map(|_| ())
    }

    /// Answers false where the window is complete.
    fn decode_extent_node(&self, inode: &Inode, node: &Node<'_>, into: &mut Builder) -> Result<bool, Error> {
        let damage =
            |fault| Error::from(Damage { object: Object::MapBlock { inode: inode.number, block: node.block }, fault });
        let entries = entries(node).map_err(damage)?;
        if node.depth == 0 {
            return self.decode_leaf(node, &entries, into).map_err(damage);
        }
        let mut starts = Vec::with_capacity(entries.len());
        for entry in &entries {
            starts.push(index_entry(entry).ok_or(damage(Fault::CutShort))?);
        }
        check_order(node, starts.iter().map(|(first, _)| *first)).map_err(damage)?;
        let ends = starts.iter().skip(1).map(|(first, _)| *first).chain([node.end]);
        for ((first, block), end) in starts.iter().copied().zip(ends) {
            if into.is_behind(end) {
                continue;
            }
            if !into.wants(first) {
                return Ok(false);
            }
            let bytes = self.read_map_block(inode, block)?;
            let child = Node { bytes: &bytes, block, depth: node.depth - 1, first, end };
            check_checksum(inode, &child)?;
            if !self.decode_extent_node(inode, &child, into)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn decode_leaf(&self, node: &Node<'_>, entries: &[&[u8]], into: &mut Builder) -> Result<bool, Fault> {
        let mut reached = node.first;
        for entry in entries {
            let (run, is_written) = leaf_entry(entry).ok_or(Fault::CutShort)?;
            if run.length == 0 || run.logical < reached || run.end() > node.end {
                return Err(Fault::Order);
            }
            reached = run.end();
            self.check_blocks(run.physical, run.length)?;
            if is_written {
                if !into.wants(run.logical) {
                    return Ok(false);
                }
                into.push(run);
            }
        }
        Ok(true)
    }
}

/// The entries of a node, once its header makes sense.
fn entries<'a>(node: &Node<'a>) -> Result<Vec<&'a [u8]>, Fault> {
    let parse =
        || Some((u16_at(node.bytes, 0)?, u16_at(node.bytes, 2)?, u16_at(node.bytes, 4)?, u16_at(node.bytes, 6)?));
    let (magic, count, capacity, depth) = parse().ok_or(Fault::CutShort)?;
    if magic != MAGIC {
        return Err(Fault::Magic);
    }
    if depth != node.depth {
        return Err(Fault::Field { field: "eh_depth", value: depth.into() });
    }
    if count > capacity || (count == 0 && node.depth > 0) {
        return Err(Fault::Field { field: "eh_entries", value: count.into() });
    }
    let length = usize::from(count) * ENTRY_BYTES;
    let field = Fault::Field { field: "eh_entries", value: count.into() };
    Ok(slice_at(node.bytes, ENTRY_BYTES, length).ok_or(field)?.chunks_exact(ENTRY_BYTES).collect())
}

fn check_order(node: &Node<'_>, starts: impl Iterator<Item = u64>) -> Result<(), Fault> {
    let mut reached = None;
    for start in starts {
        if start < node.first || start >= node.end || reached.is_some_and(|reached| start <= reached) {
            return Err(Fault::Order);
        }
        reached = Some(start);
    }
    Ok(())
}

/// First logical block of a child, and where the child lies.
fn index_entry(entry: &[u8]) -> Option<(u64, u64)> {
    let block = u64::from(u32_at(entry, 4)?) | (u64::from(u16_at(entry, 8)?) << 32);
    Some((u32_at(entry, 0)?.into(), block))
}

fn leaf_entry(entry: &[u8]) -> Option<(Run, bool)> {
    let length = u16_at(entry, 4)?;
    let is_written = length <= WRITTEN_MAX;
    let run = Run {
        logical: u32_at(entry, 0)?.into(),
        length: if is_written { length } else { length - WRITTEN_MAX }.into(),
        physical: u64::from(u32_at(entry, 8)?) | (u64::from(u16_at(entry, 6)?) << 32),
    };
    Some((run, is_written))
}

/// The checksum stands behind the last entry that the node has room for.
fn check_checksum(inode: &Inode, node: &Node<'_>) -> Result<(), Damage> {
    let Some(seed) = inode.checksum_seed else {
        return Ok(());
    };
    let parse = || -> Option<(u32, u32)> {
        let tail = ENTRY_BYTES + usize::from(u16_at(node.bytes, 4)?) * ENTRY_BYTES;
        Some((u32_at(node.bytes, tail)?, crc32c(seed, slice_at(node.bytes, 0, tail)?)))
    };
    let damage = |fault| Damage { object: Object::MapBlock { inode: inode.number, block: node.block }, fault };
    let (stored, computed) = parse().ok_or(damage(Fault::CutShort))?;
    if stored == computed { Ok(()) } else { Err(damage(Fault::Checksum { stored, computed })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. The largest written extent is not taken for an unwritten one.
    #[test]
    fn an_extent_of_32768_blocks_is_written() {
        let entry = |length: u16| {
            let mut bytes = [0; 12];
            bytes[4..6].copy_from_slice(&length.to_le_bytes());
            leaf_entry(&bytes).map(|(run, is_written)| (run.length, is_written))
        };
        assert_eq!(entry(32_768), Some((32_768, true)));
        assert_eq!(entry(32_769), Some((1, false)));
    }
}
