//! Inodes (kernel documentation, ext4, "Index Nodes").

use std::sync::Arc;

use icecore_fuse::{Attributes, FileType, Timestamp};

use crate::guest::bytes::{narrow, slice_at, u16_at, u32_at, wide};
use crate::guest::crc::crc32c;
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::features::{incompat, ro_compat};
use super::superblock::Superblock;

/// The part that every inode has, whatever the inode size.
const OLD_BYTES: usize = 128;
const CHECKSUM_LOW_AT: usize = 0x7C;
const CHECKSUM_HIGH_AT: usize = 0x82;

/// `i_flags`.
pub(super) mod flags {
    pub const ENCRYPT: u32 = 0x800;
    pub const INDEX: u32 = 0x1000;
    pub const HUGE_FILE: u32 = 0x4_0000;
    pub const EXTENTS: u32 = 0x8_0000;
    pub const INLINE_DATA: u32 = 0x1000_0000;
}

/// An inode that exists: it has a link and a known kind.
pub(super) struct Inode {
    pub number: u64,
    pub kind: FileType,
    pub size_bytes: u64,
    pub flags: u32,
    /// `i_block`: block map, extent tree, inline data, link target or device number.
    pub block: [u8; 60],
    /// The block that holds extended attributes; zero where there is none.
    pub xattr_block: u64,
    /// What lies between the inode's own fields and its end: extended attributes.
    pub tail: Box<[u8]>,
    /// What the checksums of everything that belongs to this inode start from.
    pub checksum_seed: Option<u32>,
    mode: u16,
    uid: u32,
    gid: u32,
    links: u32,
    pub blocks_512: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    created: Option<Timestamp>,
}

impl Inode {
    pub fn has_flag(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub fn attributes(&self) -> Attributes {
        Attributes {
            node: self.number,
            kind: self.kind,
            size_bytes: self.size_bytes,
            blocks_512: self.blocks_512.saturating_add(self.inline_blocks_512()),
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

    /// A file within its inode takes no block; Linux shows the space that its content takes all the same, so that
    /// nobody mistakes it for a hole.
    fn inline_blocks_512(&self) -> u64 {
        let is_inline = self.kind == FileType::Regular && self.has_flag(flags::INLINE_DATA);
        if is_inline { self.size_bytes.div_ceil(512) } else { 0 }
    }

    /// Device numbers stand in the first word of `i_block` (8 + 8 bits) or else in the second (12 + 20 bits).
    fn device(&self) -> (u32, u32) {
        if !matches!(self.kind, FileType::BlockDevice | FileType::CharDevice) {
            return (0, 0);
        }
        match (u32_at(&self.block, 0), u32_at(&self.block, 4)) {
            (Some(old), _) if old != 0 => ((old >> 8) & 0xFF, old & 0xFF),
            (_, Some(new)) => ((new >> 8) & 0xFFF, (new & 0xFF) | ((new >> 12) & 0xF_FF00)),
            _ => (0, 0),
        }
    }
}

impl Ext {
    /// An inode by its number, from the cache or from its table.
    pub(super) fn inode(&self, number: u64) -> Result<Arc<Inode>, Error> {
        if let Some(known) = self.inodes.get(number) {
            return Ok(known);
        }
        let inode = self.read_inode(number)?;
        let bytes = wide(size_of::<Inode>() + inode.tail.len() + 64);
        Ok(self.inodes.insert(number, inode, bytes))
    }

    /// An inode's bytes as its table has them.
    pub(super) fn raw_inode(&self, number: u64) -> Result<Vec<u8>, Error> {
        let sb = &self.sb;
        let index =
            number.checked_sub(1).filter(|index| *index < sb.inodes).ok_or(Error::NoSuchNode { node: number })?;
        let group = self.group(index / sb.inodes_per_group)?;
        // The group's inode table lies in the file system, so this does not overflow.
        let at = group.inode_table * sb.block_bytes + (index % sb.inodes_per_group) * sb.inode_bytes;
        let mut bytes = vec![0; narrow(sb.inode_bytes)];
        self.volume.read_exact_at(at, &mut bytes)?;
        Ok(bytes)
    }

    fn read_inode(&self, number: u64) -> Result<Inode, Error> {
        match self.changes.inode(number) {
            // Its bytes were put together here, so that no checksum is of them.
            Some(changed) => self.parse_inode(number, &changed.raw, |seed, _| Ok(seed)),
            None => self.parse_inode(number, &self.raw_inode(number)?, check_checksum),
        }
    }

    /// Decodes an inode that exists. `check` answers the seed that it was given, or what is wrong.
    fn parse_inode(
        &self,
        number: u64,
        bytes: &[u8],
        check: impl Fn(Option<u32>, &[u8]) -> Result<Option<u32>, Fault>,
    ) -> Result<Inode, Error> {
        let sb = &self.sb;
        let damage = |fault| Error::from(Damage { object: Object::Inode { inode: number }, fault });
        let links = u16_at(bytes, 0x1A).unwrap_or_default();
        let mode = u16_at(bytes, 0x0).unwrap_or_default();
        if links == 0 && (mode == 0 || bytes.iter().all(|byte| *byte == 0)) {
            return Err(Error::NoSuchNode { node: number });
        }
        let seed = checksum_seed(sb, number, bytes).and_then(|seed| check(seed, bytes)).map_err(damage)?;
        if links == 0 {
            return Err(Error::NoSuchNode { node: number });
        }
        let kind = kind_of(mode).ok_or(damage(Fault::Field { field: "i_mode", value: mode.into() }))?;
        parse(sb, number, kind, seed, bytes).ok_or(damage(Fault::CutShort))?.checked().map_err(damage)
    }
}

impl Inode {
    fn checked(self) -> Result<Self, Fault> {
        if self.size_bytes > u64::try_from(i64::MAX).unwrap_or_default() {
            return Err(Fault::Field { field: "i_size", value: self.size_bytes });
        }
        Ok(self)
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

fn parse(sb: &Superblock, number: u64, kind: FileType, checksum_seed: Option<u32>, b: &[u8]) -> Option<Inode> {
    let both = |low: usize, high: usize| Some(u32::from(u16_at(b, low)?) | (u32::from(u16_at(b, high)?) << 16));
    let extra_bytes = if b.len() > OLD_BYTES { usize::from(u16_at(b, 0x80)?) } else { 0 };
    // A field behind the first 128 bytes exists only where `i_extra_isize` says so.
    let extra = |at: usize| (at + 4 <= OLD_BYTES + extra_bytes).then(|| u32_at(b, at)).flatten();
    let time = |at: usize, extra_at: usize| Some(timestamp(u32_at(b, at)?, extra(extra_at).unwrap_or(0)));
    let flags = u32_at(b, 0x20)?;
    let has_wide_size = kind == FileType::Regular || sb.has_incompat(incompat::LARGEDIR);
    let size_high = if has_wide_size { u32_at(b, 0x6C)? } else { 0 };
    let blocks_high = if sb.has_ro_compat(ro_compat::HUGE_FILE) { u16_at(b, 0x74)? } else { 0 };
    let blocks = u64::from(u32_at(b, 0x1C)?) | (u64::from(blocks_high) << 32);
    let counts_blocks = sb.has_ro_compat(ro_compat::HUGE_FILE) && flags & flags::HUGE_FILE != 0;
    let xattr_high = if sb.has_incompat(incompat::BITS_64) { u16_at(b, 0x76)? } else { 0 };
    Some(Inode {
        number,
        kind,
        size_bytes: u64::from(u32_at(b, 0x4)?) | (u64::from(size_high) << 32),
        flags,
        block: *slice_at(b, 0x28, 60)?.first_chunk()?,
        xattr_block: u64::from(u32_at(b, 0x68)?) | (u64::from(xattr_high) << 32),
        tail: b.get(OLD_BYTES + extra_bytes..).unwrap_or_default().into(),
        checksum_seed,
        mode: u16_at(b, 0x0)?,
        uid: both(0x2, 0x78)?,
        gid: both(0x18, 0x7A)?,
        links: u16_at(b, 0x1A)?.into(),
        blocks_512: if counts_blocks { blocks.saturating_mul(sb.block_bytes / 512) } else { blocks },
        accessed: time(0x8, 0x8C)?,
        modified: time(0x10, 0x88)?,
        changed: time(0xC, 0x84)?,
        created: extra(0x90).map(|seconds| timestamp(seconds, extra(0x94).unwrap_or(0))),
    })
}

/// The extra word has two more bits of seconds, then the nanoseconds.
fn timestamp(seconds: u32, extra: u32) -> Timestamp {
    let epoch = i64::from(extra & 3) << 32;
    Timestamp { seconds: i64::from(seconds.cast_signed()) + epoch, nanoseconds: (extra >> 2).min(999_999_999) }
}

/// What the checksums of an inode and of all that belongs to it start from.
fn checksum_seed(sb: &Superblock, number: u64, b: &[u8]) -> Result<Option<u32>, Fault> {
    let Some(seed) = sb.checksum_seed() else {
        return Ok(None);
    };
    let parse = || Some((u32::try_from(number).ok()?.to_le_bytes(), slice_at(b, 0x64, 4)?));
    let (number, generation) = parse().ok_or(Fault::CutShort)?;
    Ok(Some(crc32c(crc32c(seed, &number), generation)))
}

/// Checks an inode's checksum and hands back what it starts from.
fn check_checksum(seed: Option<u32>, b: &[u8]) -> Result<Option<u32>, Fault> {
    let Some(seed) = seed else {
        return Ok(None);
    };
    let parse = || -> Option<(u32, u32)> {
        let mut zeroed = b.to_vec();
        let mut stored = u32::from(u16_at(b, CHECKSUM_LOW_AT)?);
        zeroed.get_mut(CHECKSUM_LOW_AT..CHECKSUM_LOW_AT + 2)?.fill(0);
        let has_high = b.len() > OLD_BYTES && u16_at(b, 0x80)? >= 4;
        if has_high {
            stored |= u32::from(u16_at(b, CHECKSUM_HIGH_AT)?) << 16;
            zeroed.get_mut(CHECKSUM_HIGH_AT..CHECKSUM_HIGH_AT + 2)?.fill(0);
        }
        let computed = crc32c(seed, &zeroed) & if has_high { u32::MAX } else { 0xFFFF };
        Some((stored, computed))
    };
    let (stored, computed) = parse().ok_or(Fault::CutShort)?;
    if stored == computed { Ok(Some(seed)) } else { Err(Fault::Checksum { stored, computed }) }
}
