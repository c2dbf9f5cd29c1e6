//! The index of a large directory ("XFS Filesystem Structure", "Leaf Directories", "Node Directories").
//!
//! It lies behind [`DATA_END`] in the directory itself: leaves of hashes of names and places of entries, sorted by
//! hash, in a chain; above them, where there is more than one, nodes whose entries tell the highest hash below.

use crate::guest::bytes::{be16_at, be32_at, slice_at, wide};
use crate::guest::{Damage, Error, Fault};

use super::Xfs;
use super::block::INDEX;
use super::dir::directory_damage;
use super::dirent::DATA_END;
use super::inode::{Inode, Which};

/// Higher trees are not made.
const LEVEL_MAX: u16 = 5;
/// Leaves that the entries of one hash may spread over; and entries of one hash.
const LEAVES_MAX: u32 = 64;
const HEADER_BYTES: usize = 16;
const HEADER_BYTES_V5: usize = 64;
const ENTRY_BYTES: usize = 8;
const MAGIC_AT: usize = 8;
/// Places of entries are counted in units of this.
const PLACE_BYTES: u64 = 8;

/// A node or leaf of the index.
struct IndexBlock {
    bytes: Vec<u8>,
    next: u32,
    /// `None` for a leaf.
    level: Option<u16>,
    count: usize,
    header_bytes: usize,
}

impl IndexBlock {
    /// Hash, and block below or place of an entry.
    fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        let entries = slice_at(&self.bytes, self.header_bytes, self.count * ENTRY_BYTES).unwrap_or_default();
        entries.chunks_exact(ENTRY_BYTES).filter_map(|entry| Some((be32_at(entry, 0)?, be32_at(entry, 4)?)))
    }
}

impl Xfs {
    /// The node that a name has according to the index.
    pub(super) fn find_by_index(&self, inode: &Inode, name: &[u8]) -> Result<(Option<u64>, Option<Damage>), Error> {
        if self.sb.ignores_case {
            // Hashes are of names in lower case then, and names are compared byte by byte here.
            return self.find_by_walk(inode, name);
        }
        let hash = hash(name);
        let mut block = self.index_block(inode, DATA_END / self.sb.block_bytes)?;
        let mut level_max = LEVEL_MAX + 1;
        while let Some(level) = block.level {
            // The level falls with each step, so that no cycle is walked.
            if level >= level_max {
                let fault = Fault::Field { field: "level", value: level.into() };
                return Err(self.index_damage(inode, DATA_END / self.sb.block_bytes, fault).into());
            }
            level_max = level;
            let Some((_, below)) = block.entries().find(|(highest, _)| *highest >= hash) else {
                return Ok((None, None));
            };
            block = self.index_block(inode, below.into())?;
        }
        for _ in 0..LEAVES_MAX {
            let mut is_behind = false;
            for (found, place) in block.entries() {
                if found == hash && place != 0 {
                    let entry = self.entry_at(inode, u64::from(place) * PLACE_BYTES, name)?;
                    if entry.is_some() {
                        return Ok((entry, None));
                    }
                }
                is_behind = found > hash;
            }
            if is_behind || block.next == 0 {
                break;
            }
            block = self.index_block(inode, block.next.into())?;
        }
        Ok((None, None))
    }

    fn find_by_walk(&self, inode: &Inode, name: &[u8]) -> Result<(Option<u64>, Option<Damage>), Error> {
        let mut found = None;
        let damage = self.walk_directory(inode, 0, &mut |raw| {
            if raw.name == name {
                found = Some(raw.node);
            }
            found.is_none()
        })?;
        Ok((found, damage))
    }

    /// The node of the entry at a byte of the directory, where it has this name.
    fn entry_at(&self, inode: &Inode, at: u64, name: &[u8]) -> Result<Option<u64>, Error> {
        let index = at / self.directory_block_bytes();
        let mut found = None;
        let parsed = self.parse_directory_block(inode, index, &mut |raw| {
            if raw.at == at && raw.name == name {
                found = Some(raw.node);
            }
            raw.at < at
        })?;
        match (found, parsed) {
            (None, Err(fault)) => Err(directory_damage(inode, index, fault).into()),
            (found, _) => Ok(found),
        }
    }

    fn index_damage(&self, inode: &Inode, block: u64, fault: Fault) -> Damage {
        directory_damage(inode, block / self.sb.directory_blocks, fault)
    }

    fn index_block(&self, inode: &Inode, block: u64) -> Result<IndexBlock, Error> {
        let damage = |fault| Error::from(self.index_damage(inode, block, fault));
        let read = self.read_blocks(inode, Which::Data, block, self.sb.directory_blocks)?;
        let block = read.ok_or(damage(Fault::CutShort))?;
        if self.sb.is_v5 {
            INDEX.check(&self.sb, &block, inode.number).map_err(damage)?;
        }
        let bytes = block.bytes;
        let header_bytes = if self.sb.is_v5 { HEADER_BYTES_V5 } else { HEADER_BYTES };
        let counts_at = if self.sb.is_v5 { INDEX.bytes } else { 12 };
        let read = || Some((be16_at(&bytes, MAGIC_AT)?, be16_at(&bytes, counts_at)?, be16_at(&bytes, counts_at + 2)?));
        let (magic, count, level) = read().ok_or(damage(Fault::CutShort))?;
        let level = match (self.sb.is_v5, magic) {
            (true, 0x3EBE) | (false, 0xFEBE) => Some(level),
            (true, 0x3DF1 | 0x3DFF) | (false, 0xD2F1 | 0xD2FF) => None,
            _ => return Err(damage(Fault::Magic)),
        };
        let count = usize::from(count);
        if slice_at(&bytes, header_bytes, count * ENTRY_BYTES).is_none() {
            return Err(damage(Fault::Field { field: "count", value: wide(count) }));
        }
        let next = be32_at(&bytes, 0).unwrap_or_default();
        Ok(IndexBlock { bytes, next, level, count, header_bytes })
    }
}

/// The hash of a name: four bytes at a time, seven bits apart, over a rotated sum.
fn hash(name: &[u8]) -> u32 {
    let mut groups = name.chunks_exact(4);
    let whole = groups.by_ref().fold(0_u32, |hash, group| group_bits(group) ^ hash.rotate_left(28));
    let rest = groups.remainder();
    let turn = u32::try_from(rest.len() * 7).unwrap_or_default();
    if rest.is_empty() { whole } else { group_bits(rest) ^ whole.rotate_left(turn) }
}

fn group_bits(group: &[u8]) -> u32 {
    group.iter().fold(0, |bits, byte| (bits << 7) ^ u32::from(*byte))
}
