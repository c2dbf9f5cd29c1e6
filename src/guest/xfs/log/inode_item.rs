//! Changes of inodes ("XFS Filesystem Structure", "Inode Log Item").
//!
//! An item has the inode's core, in the order of bytes of the machine that wrote it, and what changed of its forks as
//! it lies on the disk, but for the root of a tree of extents, which is logged with the header of a whole block.

use crate::guest::bytes::{be16_at, be64_at, narrow, slice_at, u8_at, wide};
use crate::guest::{BlockRead, StaleReason};

use super::super::block::MAP_NODE;
use super::super::inode::{CORE_BYTES, CORE_BYTES_V3, FLAG2_BIG_TIME, FLAG2_NREXT64, MAGIC};
use super::super::map::{NODE_HEADER_BYTES, ROOT_HEADER_BYTES};
use super::Problem;
use super::items::Recovery;
use super::operations::{Checkpoint, Host, Item};
use super::ring::SECTOR;

/// `ilf_fields`: what was logged.
mod fields {
    pub const DATA_CONTENT: u32 = 0x2 | 0x4;
    pub const DATA_ROOT: u32 = 0x8;
    pub const DEVICE: u32 = 0x10;
    pub const XATTR_CONTENT: u32 = 0x40 | 0x80;
    pub const XATTR_ROOT: u32 = 0x100;
    /// The blocks of a fork's map still name the inode that had them before.
    pub const OWNERS: u32 = 0x200 | 0x400;
}

/// A format without padding, as 32-bit machines log it, is so much shorter.
const FORMAT_BYTES: usize = 56;
const PADDING_BYTES: usize = 4;
/// Cores of version 2 were once logged without the last field.
const CORE_BYTES_MIN: usize = 96;
/// The counter of writes of an inode of version 2 wraps here.
const FLUSH_MAX: u16 = u16::MAX;

/// What an item says of its inode.
struct Format {
    fields: u32,
    device: u32,
    buffer: (u64, u64),
    place: u64,
}

impl Format {
    fn parse(piece: &[u8], host: Host) -> Option<Self> {
        let shift = if piece.len() < FORMAT_BYTES { PADDING_BYTES } else { 0 };
        let first = host.u64(piece, 40 - shift)?;
        Some(Self {
            fields: host.u32(piece, 4)?,
            device: host.u32(piece, 24 - shift)?,
            buffer: (first, host.u32(piece, 48 - shift)?.into()),
            place: first.checked_mul(SECTOR)?.checked_add(host.u32(piece, 52 - shift)?.into())?,
        })
    }
}

pub(super) fn apply(recovery: &mut Recovery, item: Item<'_>, checkpoint: &Checkpoint) -> Result<(), Problem> {
    let damaged = || Problem::Stale(StaleReason::DamagedJournal);
    let host = checkpoint.host;
    let format = item.piece(0).and_then(|piece| Format::parse(piece, host)).ok_or_else(damaged)?;
    // Its inodes were freed later: these blocks may be a file's by now.
    if recovery.cancelled.has(format.buffer) {
        return Ok(());
    }
    let inode_bytes = recovery.sb.inode_bytes;
    if !recovery.is_on_volume(format.place, inode_bytes) || !format.place.is_multiple_of(inode_bytes) {
        return Err(damaged());
    }
    if format.fields & fields::OWNERS != 0 {
        let (number, _) = recovery.sb.inode_at(format.place);
        recovery.outcome.reowned.insert(number);
    }
    let mut inode = vec![0; narrow(inode_bytes)];
    recovery.overlay.read_exact_at(format.place, &mut inode)?;
    let before = inode.clone();
    let core = item.piece(1).ok_or_else(damaged)?;
    if be16_at(&inode, 0) != Some(MAGIC) || host.u16(core, 0) != Some(MAGIC) {
        return Err(damaged());
    }
    let is_newer = if recovery.sb.is_v5 {
        // Several checkpoints may begin in one record, so the same number says nothing.
        match be64_at(&inode, 112).ok_or_else(damaged)? {
            u64::MAX => false,
            last => recovery.is_newer(last, checkpoint.lsn)?,
        }
    } else {
        was_written_later(&inode, core, host).ok_or_else(damaged)?
    };
    if is_newer {
        return Ok(());
    }
    put_core(&mut inode, core, checkpoint).ok_or_else(damaged)?;
    put_forks(&mut inode, item, &format, recovery.sb.is_v5).ok_or_else(damaged)?;
    Ok(recovery.overlay.write_changed(format.place, &before, &inode)?)
}

/// Whether an inode of version 2 was written to the disk more often than when it was logged.
fn was_written_later(inode: &[u8], core: &[u8], host: Host) -> Option<bool> {
    let (on_disk, logged) = (be16_at(inode, 30)?, host.u16(core, 30)?);
    let has_wrapped = on_disk == FLUSH_MAX && logged < FLUSH_MAX / 2;
    Some(logged < on_disk && !has_wrapped)
}

/// The fields of a core: offset and length. What is left out are single bytes, which have no order, and what is not
/// to be taken from the log.
const FIELDS: &[(usize, usize)] = &[
    (0, 2),
    (2, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (64, 8),
    (72, 4),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
];
const FIELDS_V3: &[(usize, usize)] = &[(104, 8), (120, 8), (128, 4), (152, 8)];
const SINGLE_BYTES: &[(usize, usize)] = &[(4, 2), (82, 2)];
const SINGLE_BYTES_V3: &[(usize, usize)] = &[(132, 12), (160, 16)];

/// Writes the logged core over that of the inode.
fn put_core(inode: &mut [u8], core: &[u8], checkpoint: &Checkpoint) -> Option<()> {
    let host = checkpoint.host;
    let version = u8_at(core, 4)?;
    let is_v3 = version >= 3;
    let core_bytes = if is_v3 { CORE_BYTES_V3 } else { CORE_BYTES_MIN };
    slice_at(core, 0, core_bytes)?;
    let flags2 = if is_v3 { host.u64(core, 120)? } else { 0 };
    let mut put = |at: usize, length: usize, is_number: bool| -> Option<()> {
        let into = inode.get_mut(at..at + length)?;
        into.copy_from_slice(slice_at(core, at, length)?);
        if is_number && !host.is_big_endian {
            into.reverse();
        }
        Some(())
    };
    for (at, length) in FIELDS.iter().chain(FIELDS_V3.iter().filter(|_| is_v3)) {
        put(*at, *length, true)?;
    }
    for (at, length) in SINGLE_BYTES.iter().chain(SINGLE_BYTES_V3.iter().filter(|_| is_v3)) {
        put(*at, *length, false)?;
    }
    for at in [32, 40, 48, 144].into_iter().filter(|at| is_v3 || *at < CORE_BYTES_MIN) {
        if flags2 & FLAG2_BIG_TIME != 0 {
            put(at, 8, true)?;
        } else {
            put(at, 4, true)?;
            put(at + 4, 4, true)?;
        }
    }
    put(76, 4, true)?;
    put(80, 2, true)?;
    let has_wide_counts = flags2 & FLAG2_NREXT64 != 0;
    if has_wide_counts {
        put(24, 8, true)?;
    }
    // Links are counted here in version 1 only.
    put(6, 2, true)?;
    if version > 1 {
        inode.get_mut(6..8)?.fill(0);
    }
    if !has_wide_counts {
        // The counter of writes begins anew.
        inode.get_mut(24..32)?.fill(0);
    }
    if is_v3 {
        inode.get_mut(112..120)?.copy_from_slice(&checkpoint.lsn.to_be_bytes());
    }
    Some(())
}

fn put_forks(inode: &mut [u8], item: Item<'_>, format: &Format, is_v5: bool) -> Option<()> {
    let start = if u8_at(inode, 4)? >= 3 { CORE_BYTES_V3 } else { CORE_BYTES };
    let xattrs_at = usize::from(u8_at(inode, 82)?) * 8;
    let room = inode.get_mut(start..)?;
    let (data, xattrs) = match xattrs_at {
        0 => (room, None),
        at => {
            let (data, xattrs) = room.split_at_mut_checked(at)?;
            (data, Some(xattrs))
        }
    };
    if format.fields & fields::DEVICE != 0 {
        data.get_mut(..4)?.copy_from_slice(&format.device.to_be_bytes());
    }
    let mut pieces = item.pieces_from(2);
    put_fork(data, &mut pieces, format.fields, (fields::DATA_CONTENT, fields::DATA_ROOT), is_v5)?;
    match xattrs {
        Some(fork) => put_fork(fork, &mut pieces, format.fields, (fields::XATTR_CONTENT, fields::XATTR_ROOT), is_v5),
        None => Some(()),
    }
}

/// Writes the next piece over a fork, where the fields say that there is one for it.
fn put_fork<'a>(
    fork: &mut [u8],
    pieces: &mut impl Iterator<Item = &'a [u8]>,
    logged: u32,
    (content, root): (u32, u32),
    is_v5: bool,
) -> Option<()> {
    if logged & content != 0 {
        let piece = pieces.next()?;
        fork.get_mut(..piece.len())?.copy_from_slice(piece);
    } else if logged & root != 0 {
        put_root(fork, pieces.next()?, if is_v5 { MAP_NODE.bytes } else { NODE_HEADER_BYTES })?;
    }
    Some(())
}

/// The logged root has the header of a block before its keys, and as many pointers as fit behind them; that in the
/// inode only level and count.
fn put_root(fork: &mut [u8], logged: &[u8], header_bytes: usize) -> Option<()> {
    let count = usize::from(be16_at(logged, 6)?);
    let room = logged.get(header_bytes..)?;
    let keys = slice_at(room, 0, count * 8)?;
    let pointers = slice_at(room, room.len() / 16 * 8, count * 8)?;
    let pointers_at = fork.len().checked_sub(ROOT_HEADER_BYTES)? / 16 * 8;
    if wide(keys.len()) > wide(pointers_at) {
        return None;
    }
    let (head, into) = fork.split_at_mut_checked(ROOT_HEADER_BYTES)?;
    head.copy_from_slice(slice_at(logged, 4, ROOT_HEADER_BYTES)?);
    into.get_mut(..keys.len())?.copy_from_slice(keys);
    into.get_mut(pointers_at..)?.get_mut(..pointers.len())?.copy_from_slice(pointers);
    Some(())
}
