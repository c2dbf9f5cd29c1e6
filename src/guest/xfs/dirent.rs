//! Directory entries ("XFS Filesystem Structure", "Directories").
//!
//! A small directory lies in its inode. Any other has blocks of entries, each with room for reuse between them; where
//! it has only one, its index lies at that block's end. The indexes of larger ones lie in blocks of their own, behind
//! [`DATA_END`], and tell nothing that the entries do not.

use icecore_fuse::FileType;

use crate::guest::Fault;
use crate::guest::bytes::{be16_at, be32_at, be64_at, slice_at, u8_at, wide};
use crate::guest::listing::Raw;

use super::block::{Block, NAMES, has_magic};
use super::superblock::Superblock;

/// Where the entries of any directory end and its index begins.
pub(super) const DATA_END: u64 = 1 << 35;

/// Bytes before the entries of a block.
const HEADER_BYTES: usize = 16;
const HEADER_BYTES_V5: usize = 64;
/// Entries of a block begin at multiples of this.
const ALIGNMENT: usize = 8;
const UNUSED: u16 = 0xFFFF;
/// Behind the index in the only block of a directory: how many entries it has, and how many are not in use.
const TAIL_BYTES: usize = 8;
const INDEX_ENTRY_BYTES: usize = 8;

/// Hands out the entries of a directory that lies in its inode; answers its parent.
pub(super) fn parse_short(sb: &Superblock, bytes: &[u8], visit: &mut dyn FnMut(Raw<'_>) -> bool) -> Result<u64, Fault> {
    let count = u8_at(bytes, 0).ok_or(Fault::CutShort)?;
    let is_wide = u8_at(bytes, 1).ok_or(Fault::CutShort)? != 0;
    let number_bytes = if is_wide { 8 } else { 4 };
    let number = |at: usize| if is_wide { be64_at(bytes, at) } else { be32_at(bytes, at).map(u64::from) };
    let parent = number(2).ok_or(Fault::CutShort)?;
    let mut at = 2 + number_bytes;
    for _ in 0..count {
        let fault = Fault::DirectoryEntry { offset: u32::try_from(at).unwrap_or(u32::MAX) };
        let parse = || -> Option<(Raw<'_>, usize)> {
            let length = usize::from(u8_at(bytes, at)?);
            let name = slice_at(bytes, at + 3, length).filter(|name| !name.is_empty())?;
            let behind = at + 3 + length;
            let kind = if sb.has_ftype { kind_of(u8_at(bytes, behind)?) } else { None };
            let number_at = behind + usize::from(sb.has_ftype);
            let node = number(number_at).filter(|node| sb.inode_place(*node).is_some())?;
            let next = number_at + number_bytes;
            Some((Raw { name, node, kind, at: wide(at), next: wide(next) }, next))
        };
        let (raw, next) = parse().ok_or(fault)?;
        if !visit(raw) {
            break;
        }
        at = next;
    }
    Ok(parent)
}

/// The part of a directory's block that holds entries, and where in the block it begins, once what describes the
/// block was found right.
pub(super) fn entries_of<'a>(
    sb: &Superblock,
    block: &'a Block,
    owner: u64,
    is_first: bool,
) -> Result<(usize, &'a [u8]), Fault> {
    let bytes = block.bytes.as_slice();
    let (only, one_of_many) = if sb.is_v5 { (b"XDB3", b"XDD3") } else { (b"XD2B", b"XD2D") };
    let is_only = is_first && has_magic(bytes, only);
    if !is_only && !has_magic(bytes, one_of_many) {
        return Err(Fault::Magic);
    }
    let start = if sb.is_v5 {
        NAMES.check(sb, block, owner)?;
        HEADER_BYTES_V5
    } else {
        HEADER_BYTES
    };
    let mut end = bytes.len();
    if is_only {
        let tail = end.saturating_sub(TAIL_BYTES);
        let count = be32_at(bytes, tail).ok_or(Fault::CutShort)?;
        let index_bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(INDEX_ENTRY_BYTES));
        let bad_count = Fault::Field { field: "btail.count", value: count.into() };
        end = index_bytes.and_then(|length| tail.checked_sub(length)).ok_or(bad_count)?;
    }
    Ok((start, bytes.get(start..end).ok_or(Fault::CutShort)?))
}

/// Hands out the used entries of a block, `offset` being where `bytes` begins in the directory; answers false where
/// `visit` did, and the fault that breaks the block after having handed out what precedes it.
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
    if be16_at(bytes, at)? == UNUSED {
        let length = usize::from(be16_at(bytes, at + 2)?);
        let is_sound = length >= ALIGNMENT && length.is_multiple_of(ALIGNMENT);
        return slice_at(bytes, at, length).filter(|_| is_sound).map(|_| (None, length));
    }
    let node = be64_at(bytes, at)?;
    let name = slice_at(bytes, at + 9, u8_at(bytes, at + 8)?.into()).filter(|name| !name.is_empty())?;
    let behind = at + 9 + name.len();
    let kind = if sb.has_ftype { kind_of(u8_at(bytes, behind)?) } else { None };
    // The entry's own place in the block stands in its last two bytes.
    let length = (behind - at + usize::from(sb.has_ftype) + 2).next_multiple_of(ALIGNMENT);
    slice_at(bytes, at, length)?;
    sb.inode_place(node)?;
    Some((Some((node, kind, name)), length))
}

fn kind_of(kind: u8) -> Option<FileType> {
    Some(match kind {
        1 => FileType::Regular,
        2 => FileType::Directory,
        // A whiteout of overlayfs is a character device.
        3 | 8 => FileType::CharDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        6 => FileType::Socket,
        7 => FileType::Symlink,
        _ => return None,
    })
}
