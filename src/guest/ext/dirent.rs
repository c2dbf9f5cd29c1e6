//! Blocks of directory entries (kernel documentation, ext4, "Linear Directories" and "Hash Tree Directories").
//!
//! A block is a chain of entries, each as long as its `rec_len` says. The blocks of a hash tree's index look like
//! blocks with unused entries only, so that a walk from block to block finds every name of either kind of directory.

use icecore_fuse::FileType;

use crate::guest::Fault;
use crate::guest::bytes::{slice_at, u8_at, u16_at, u32_at, wide};
use crate::guest::crc::crc32c;
use crate::guest::listing::Raw;

use super::features::incompat;
use super::superblock::Superblock;

const HEADER_BYTES: usize = 8;
/// A header and a name of one byte, rounded up to four.
const ENTRY_MIN: usize = 12;
/// The entry without a name at the end of a block that carries its checksum.
const TAIL_BYTES: usize = 12;
const TAIL_KIND: u8 = 0xDE;

/// Hands out the used entries of a chain that begins `offset` bytes into the directory; answers false where `visit`
/// did, and the fault that breaks the chain after having handed out what precedes it.
pub(super) fn parse(
    sb: &Superblock,
    offset: u64,
    bytes: &[u8],
    visit: &mut dyn FnMut(Raw<'_>) -> bool,
) -> Result<bool, Fault> {
    let mut at = 0;
    while at < bytes.len() {
        let fault = Fault::DirectoryEntry { offset: u32::try_from(at).unwrap_or(u32::MAX) };
        let (entry, length) = parse_entry(sb, bytes, at).ok_or(fault)?;
        let next = at + length;
        if let Some((node, kind, name)) = entry {
            let raw = Raw { name, node, kind, at: offset + wide(at), next: offset + wide(next) };
            if !visit(raw) {
                return Ok(false);
            }
        }
        at = next;
    }
    Ok(true)
}

type Entry<'a> = (u64, Option<FileType>, &'a [u8]);

/// The entry at a place, `None` inside where it is not in use, and its length.
fn parse_entry<'a>(sb: &Superblock, bytes: &'a [u8], at: usize) -> Option<(Option<Entry<'a>>, usize)> {
    let node = u64::from(u32_at(bytes, at)?);
    let length = record_length(u16_at(bytes, at + 4)?, sb.block_bytes);
    let has_kind = sb.has_incompat(incompat::FILETYPE);
    let name_length = if has_kind { u8_at(bytes, at + 6)?.into() } else { u16_at(bytes, at + 6)? };
    let name_length = usize::from(name_length);
    let record = slice_at(bytes, at, length)?;
    if length < ENTRY_MIN || !length.is_multiple_of(4) || node > sb.inodes {
        return None;
    }
    if node == 0 {
        return Some((None, length));
    }
    let name = slice_at(record, HEADER_BYTES, name_length)?;
    let kind = if has_kind { kind_of(u8_at(record, 7)?) } else { None };
    (!name.is_empty() && name.len() <= 255).then_some((Some((node, kind, name)), length))
}

/// A block of 64 KiB does not fit in the field's 16 bits.
fn record_length(stored: u16, block_bytes: u64) -> usize {
    match stored {
        0 | u16::MAX if block_bytes == 65_536 => 65_536,
        stored if block_bytes == 65_536 => usize::from(stored & !3) | (usize::from(stored & 3) << 16),
        stored => stored.into(),
    }
}

fn kind_of(kind: u8) -> Option<FileType> {
    Some(match kind {
        1 => FileType::Regular,
        2 => FileType::Directory,
        3 => FileType::CharDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        6 => FileType::Socket,
        7 => FileType::Symlink,
        _ => return None,
    })
}

/// Checks the checksum of a directory block, wherever its kind of block keeps it.
pub(super) fn check_checksum(seed: u32, block: &[u8], is_indexed: bool, is_first: bool) -> Result<(), Fault> {
    let length = u16_at(block, 4).unwrap_or_default();
    // Only an index node begins with an unused entry as long as its block: a leaf ends in its checksum's entry.
    let is_node = u32_at(block, 0) == Some(0) && record_length(length, wide(block.len())) == block.len();
    let sums = match (is_indexed, is_first, is_node) {
        (true, true, _) => index_sums(seed, block, 32),
        (true, false, true) => index_sums(seed, block, 8),
        _ => leaf_sums(seed, block),
    };
    let (stored, computed) = sums.ok_or(Fault::CutShort)?;
    if stored == computed { Ok(()) } else { Err(Fault::Checksum { stored, computed }) }
}

fn leaf_sums(seed: u32, block: &[u8]) -> Option<(u32, u32)> {
    let (content, tail) = block.split_last_chunk::<TAIL_BYTES>()?;
    let is_tail = u32_at(tail, 0)? == 0
        && usize::from(u16_at(tail, 4)?) == TAIL_BYTES
        && u8_at(tail, 6)? == 0
        && u8_at(tail, 7)? == TAIL_KIND;
    is_tail.then_some((u32_at(tail, 8)?, crc32c(seed, content)))
}

/// `limit` and `count` stand where the entries begin; the checksum behind the last entry that there is room for.
fn index_sums(seed: u32, block: &[u8], entries_at: usize) -> Option<(u32, u32)> {
    let limit = usize::from(u16_at(block, entries_at)?);
    let count = usize::from(u16_at(block, entries_at + 2)?);
    let tail = slice_at(block, entries_at + limit * 8, 8)?;
    let used = slice_at(block, 0, entries_at + count.min(limit) * 8)?;
    let computed = crc32c(crc32c(crc32c(seed, used), slice_at(tail, 0, 4)?), &[0; 4]);
    Some((u32_at(tail, 4)?, computed))
}
