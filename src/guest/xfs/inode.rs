//! Inodes ("XFS Filesystem Structure", "On-disk Inode").
//!
//! The core is 100 bytes long, 176 in version 3. What follows, up to the end of the inode, is shared by the data fork
//! and the attribute fork behind it.

use std::sync::Arc;

use icecore_fuse::{Attributes, FileType, Timestamp};

use crate::guest::bytes::{be16_at, be32_at, be64_at, bytes16_at, narrow, u8_at, u32_at, wide};
use crate::guest::{Damage, Error, Fault, Object};

use super::Xfs;
use super::superblock::{Superblock, checksum};

/// What an inode begins with.
pub(super) const MAGIC: u16 = 0x494E;
pub(super) const CORE_BYTES: usize = 100;
pub(super) const CORE_BYTES_V3: usize = 176;
pub(super) const CHECKSUM_AT: usize = 100;
/// `di_flags`: its data lies on the realtime device.
const FLAG_REALTIME: u16 = 0x1;
/// `di_flags2`.
pub(super) const FLAG2_BIG_TIME: u64 = 0x8;
pub(super) const FLAG2_NREXT64: u64 = 0x10;
/// Timestamps of nanoseconds are counted from the earliest that 32 bits of seconds could tell.
const BIG_TIME_EPOCH: i64 = -(1 << 31);
const NANOSECONDS: u64 = 1_000_000_000;

/// How a fork holds what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Device,
    /// The content itself.
    Local,
    Extents,
    /// The root of a tree of extents.
    Btree,
}

/// One of the two forks of an inode.
pub(super) struct Fork {
    pub format: Format,
    /// Number of extents, where the format has them.
    pub extents: u64,
    pub bytes: Box<[u8]>,
}

/// Which fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Data,
    Xattrs,
}

/// An inode that exists: it has a link and a known kind.
pub(super) struct Inode {
    pub number: u64,
    pub kind: FileType,
    pub size_bytes: u64,
    pub is_realtime: bool,
    pub data: Fork,
    pub xattrs: Option<Fork>,
    mode: u16,
    uid: u32,
    gid: u32,
    links: u32,
    blocks_512: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    created: Option<Timestamp>,
}

impl Inode {
    pub fn attributes(&self) -> Attributes {
        Attributes {
            node: self.number,
            kind: self.kind,
            size_bytes: self.size_bytes,
            blocks_512: self.blocks_512,
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            device: self.device(),
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
            created: self.created,
        }
    }

    /// 14 bits of major, 18 of minor number.
    fn device(&self) -> (u32, u32) {
        match be32_at(&self.data.bytes, 0) {
            Some(device) if matches!(self.kind, FileType::BlockDevice | FileType::CharDevice) => {
                ((device >> 18) & 0x3FFF, device & 0x3_FFFF)
            }
            _ => (0, 0),
        }
    }

    pub fn fork(&self, which: Which) -> Option<&Fork> {
        match which {
            Which::Data => Some(&self.data),
            Which::Xattrs => self.xattrs.as_ref(),
        }
    }
}

impl Xfs {
    /// An inode by its number, from the cache or from the disk.
    pub(super) fn inode(&self, number: u64) -> Result<Arc<Inode>, Error> {
        if let Some(known) = self.inodes.get(number) {
            return Ok(known);
        }
        let place = self.sb.inode_place(number).ok_or(Error::NoSuchNode { node: number })?;
        let mut bytes = vec![0; narrow(self.sb.inode_bytes)];
        self.volume.read_exact_at(place, &mut bytes)?;
        let mut inode = read(&self.sb, number, &bytes, self.is_replayed(place, self.sb.inode_bytes))?;
        for remap in self.outcome.remaps.iter().filter(|remap| remap.inode == number) {
            let blocks_512 = remap.length.saturating_mul(self.sb.block_bytes / 512);
            inode.blocks_512 = match remap.physical {
                Some(_) => inode.blocks_512.saturating_add(blocks_512),
                None => inode.blocks_512.saturating_sub(blocks_512),
            };
        }
        let weight = wide(size_of::<Inode>() + 64).saturating_add(self.sb.inode_bytes);
        Ok(self.inodes.insert(number, inode, weight))
    }
}

fn read(sb: &Superblock, number: u64, bytes: &[u8], is_replayed: bool) -> Result<Inode, Error> {
    let damage = |fault| Error::from(Damage { object: Object::Inode { inode: number }, fault });
    let version = check(sb, number, bytes, is_replayed).map_err(damage)?;
    let mode = be16_at(bytes, 2).unwrap_or_default();
    let links = if version == 1 { be16_at(bytes, 6).map(u32::from) } else { be32_at(bytes, 16) };
    // A free inode has no mode; one that was deleted while open has no links.
    if mode == 0 || links.is_none_or(|links| links == 0) {
        return Err(Error::NoSuchNode { node: number });
    }
    let kind = kind_of(mode).ok_or(damage(Fault::Field { field: "di_mode", value: mode.into() }))?;
    parse(sb, number, version, kind, links.unwrap_or_default(), bytes).map_err(damage)
}

/// Checks that these bytes are this inode, and answers its version.
fn check(sb: &Superblock, number: u64, bytes: &[u8], is_replayed: bool) -> Result<u8, Fault> {
    if be16_at(bytes, 0) != Some(MAGIC) {
        return Err(Fault::Magic);
    }
    let version = u8_at(bytes, 4).unwrap_or_default();
    if !sb.is_v5 {
        let is_known = matches!(version, 1 | 2);
        return if is_known { Ok(version) } else { Err(Fault::Field { field: "di_version", value: version.into() }) };
    }
    let stored = u32_at(bytes, CHECKSUM_AT).ok_or(Fault::CutShort)?;
    let computed = checksum(bytes, CHECKSUM_AT).ok_or(Fault::CutShort)?;
    if stored != computed && !is_replayed {
        return Err(Fault::Checksum { stored, computed });
    }
    if version != 3 {
        return Err(Fault::Field { field: "di_version", value: version.into() });
    }
    if bytes16_at(bytes, 160) != Some(sb.meta_uuid) {
        return Err(Fault::ForeignUuid);
    }
    match be64_at(bytes, 152) {
        Some(found) if found == number => Ok(version),
        found => Err(Fault::Field { field: "di_ino", value: found.unwrap_or_default() }),
    }
}

fn kind_of(mode: u16) -> Option<FileType> {
    Some(match mode >> 12 {
        0x1 => FileType::Fifo,
        0x2 => FileType::CharDevice,
        0x4 => FileType::Directory,
        0x6 => FileType::BlockDevice,
        0x8 => FileType::Regular,
        0xA => FileType::Symlink,
        0xC => FileType::Socket,
        _ => return None,
    })
}

fn parse(sb: &Superblock, number: u64, version: u8, kind: FileType, links: u32, b: &[u8]) -> Result<Inode, Fault> {
    let read = || -> Option<Inode> {
        let flags2 = if version >= 3 { be64_at(b, 120)? } else { 0 };
        let time = |at: usize| timestamp(b, at, flags2 & FLAG2_BIG_TIME != 0);
        let (data, xattrs) = forks(b, version, flags2)?;
        Some(Inode {
            number,
            kind,
            size_bytes: be64_at(b, 56)?,
            is_realtime: be16_at(b, 90)? & FLAG_REALTIME != 0,
            data,
            xattrs,
            mode: be16_at(b, 2)?,
            uid: be32_at(b, 8)?,
            gid: be32_at(b, 12)?,
            links,
            blocks_512: be64_at(b, 64)?.saturating_mul(sb.block_bytes / 512),
            accessed: time(32)?,
            modified: time(40)?,
            changed: time(48)?,
            created: if version >= 3 { Some(time(144)?) } else { None },
        })
    };
    let inode = read().ok_or(Fault::Field { field: "di_forkoff", value: u8_at(b, 82).unwrap_or_default().into() })?;
    if inode.size_bytes > u64::try_from(i64::MAX).unwrap_or_default() {
        return Err(Fault::Field { field: "di_size", value: inode.size_bytes });
    }
    let has_device = matches!(kind, FileType::BlockDevice | FileType::CharDevice | FileType::Fifo | FileType::Socket);
    let is_right = match inode.data.format {
        Format::Device => has_device,
        Format::Local => matches!(kind, FileType::Directory | FileType::Symlink),
        Format::Extents | Format::Btree => !has_device,
    };
    if is_right { Ok(inode) } else { Err(Fault::Field { field: "di_format", value: format_byte(b) }) }
}

fn format_byte(b: &[u8]) -> u64 {
    u8_at(b, 5).unwrap_or_default().into()
}

/// Both forks; `None` where they do not fit in the inode or have a format that is not theirs.
fn forks(b: &[u8], version: u8, flags2: u64) -> Option<(Fork, Option<Fork>)> {
    let start = if version >= 3 { CORE_BYTES_V3 } else { CORE_BYTES };
    let room = b.get(start..)?;
    let (data_extents, xattr_extents) = if flags2 & FLAG2_NREXT64 != 0 {
        (be64_at(b, 24)?, u64::from(be32_at(b, 76)?))
    } else {
        (u64::from(be32_at(b, 76)?), u64::from(be16_at(b, 80)?))
    };
    let fork_at = usize::from(u8_at(b, 82)?) * 8;
    let (data, rest) = if fork_at == 0 { (room, None) } else { (room.get(..fork_at)?, Some(room.get(fork_at..)?)) };
    let data = Fork { format: format_of(u8_at(b, 5)?)?, extents: data_extents, bytes: data.into() };
    let xattrs = match rest {
        Some(bytes) => {
            let format = format_of(u8_at(b, 83)?).filter(|format| *format != Format::Device)?;
            Some(Fork { format, extents: xattr_extents, bytes: bytes.into() })
        }
        None => None,
    };
    Some((data, xattrs))
}

fn format_of(stored: u8) -> Option<Format> {
    Some(match stored {
        0 => Format::Device,
        1 => Format::Local,
        2 => Format::Extents,
        3 => Format::Btree,
        _ => return None,
    })
}

/// Seconds and nanoseconds, or with `bigtime` nanoseconds since 1901-12-13.
fn timestamp(b: &[u8], at: usize, is_big: bool) -> Option<Timestamp> {
    if is_big {
        let count = be64_at(b, at)?;
        let seconds = i64::try_from(count / NANOSECONDS).ok()? + BIG_TIME_EPOCH;
        return Some(Timestamp { seconds, nanoseconds: u32::try_from(count % NANOSECONDS).ok()? });
    }
    let seconds = be32_at(b, at)?.cast_signed().into();
    Some(Timestamp { seconds, nanoseconds: be32_at(b, at + 4)?.min(999_999_999) })
}
