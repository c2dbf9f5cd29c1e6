//! The superblock: where everything else lies ("XFS Filesystem Structure", "Superblocks").
//!
//! It is the first sector of the volume. Fields are read by their offset and checked once; a [`Superblock`] holds only
//! values that the rest of the reader can count with:
//! - a block is 512 bytes to 64 KiB, an inode 256 bytes to a block or 2 KiB, both powers of two that agree with their
//!   logarithms;
//! - allocation groups follow each other, all of one size but the last, which is not larger; together they have the
//!   file system's blocks, and these lie on the volume;
//! - the log lies in one allocation group.
//!
//! Numbers of blocks and inodes have the group in their high bits. [`Superblock::linear`] and
//! [`Superblock::inode_place`] are the only ways from such a number to a place.

use crate::guest::bytes::{be16_at, be32_at, be64_at, bytes16_at, narrow, slice_at, text, u8_at, u32_at};
use crate::guest::crc::crc32c;
use crate::guest::{BlockRead, Damage, Error, Fault, Feature, Object, Uuid};

use super::features::{features2, incompat, refused, version};

/// All fields lie before this.
const BYTES: usize = 512;
const MAGIC: &[u8] = b"XFSB";
const CHECKSUM_AT: usize = 224;
const SECTOR_BYTES_MAX: u64 = 32 << 10;
/// A log larger than 2 GiB can't be made.
const LOG_BYTES_MAX: u64 = 1 << 31;

/// What the superblock says, checked.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub is_v5: bool,
    pub block_bytes: u64,
    pub blocks: u64,
    pub free_blocks: u64,
    pub inodes: u64,
    pub free_inodes: u64,
    pub group_blocks: u64,
    pub groups: u64,
    pub sector_bytes: u64,
    pub inode_bytes: u64,
    /// A directory's block in blocks of the file system.
    pub directory_blocks: u64,
    pub root: u64,
    pub uuid: Uuid,
    /// What structures carry: not always the UUID that the file system has now.
    pub meta_uuid: [u8; 16],
    pub label: Option<String>,
    pub has_ftype: bool,
    pub ignores_case: bool,
    pub has_lazy_counters: bool,
    pub needs_repair: bool,
    pub log_incompat: u32,
    /// Where the log begins, in bytes; `None` where it lies on another device.
    pub log_start: Option<u64>,
    pub log_bytes: u64,
    pub has_log_v2: bool,
    group_block_bits: u32,
    inode_bits: u32,
}

/// Whether a volume's first bytes hold the magic number of an XFS superblock.
pub(in crate::guest) fn looks_like_xfs(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

impl Superblock {
    /// Reads and checks the superblock of a volume.
    pub fn read(volume: &dyn BlockRead) -> Result<Self, Error> {
        Self::read_checked(volume, true)
    }

    /// Reads the superblock after the log changed it, and with it what its checksum is of.
    pub fn read_replayed(volume: &dyn BlockRead) -> Result<Self, Error> {
        Self::read_checked(volume, false)
    }

    fn read_checked(volume: &dyn BlockRead, has_checksum: bool) -> Result<Self, Error> {
        let read = |length: u64| -> Result<Vec<u8>, Error> {
            if volume.size_bytes() < length {
                return Err(damage(Fault::CutShort).into());
            }
            let mut bytes = vec![0; narrow(length)];
            volume.read_exact_at(0, &mut bytes)?;
            Ok(bytes)
        };
        let head = read(512)?;
        if !head.starts_with(MAGIC) {
            return Err(damage(Fault::Magic).into());
        }
        let number = be16_at(&head, 100).unwrap_or_default() & version::NUMBER;
        if !matches!(number, 4 | 5) {
            return Err(Error::Unsupported(Feature::XfsVersion(number)));
        }
        let is_v5 = number == 5;
        // Before anything else is believed, and before the checksum, whose kind a feature may change.
        if let Some(feature) = be32_at(&head, 216).filter(|_| is_v5).and_then(refused) {
            return Err(Error::Unsupported(feature));
        }
        let sector_bytes = u64::from(be16_at(&head, 102).unwrap_or_default());
        if !sector_bytes.is_power_of_two() || !(512..=SECTOR_BYTES_MAX).contains(&sector_bytes) {
            return Err(field("sb_sectsize", sector_bytes));
        }
        if is_v5 && has_checksum {
            check_checksum(&read(sector_bytes)?).map_err(damage)?;
        }
        let mut superblock = Self::parse(&head, is_v5).ok_or(damage(Fault::CutShort))?;
        superblock.check(&head, volume.size_bytes())?;
        superblock.find_log(&head)?;
        Ok(superblock)
    }

    fn parse(b: &[u8], is_v5: bool) -> Option<Self> {
        debug_assert_eq!(b.len(), BYTES, "the caller read as much");
        let version = be16_at(b, 100)?;
        let features2 = if is_v5 || version & version::MORE_BITS != 0 { be32_at(b, 200)? } else { 0 };
        let incompat = if is_v5 { be32_at(b, 216)? } else { 0 };
        let has = |bit: u32| incompat & bit != 0;
        let block_bytes = u64::from(be32_at(b, 4)?);
        let uuid = bytes16_at(b, 32)?;
        let group_blocks = u64::from(be32_at(b, 84)?);
        Some(Self {
            is_v5,
            block_bytes,
            blocks: be64_at(b, 8)?,
            free_blocks: be64_at(b, 144)?,
            inodes: be64_at(b, 128)?,
            free_inodes: be64_at(b, 136)?,
            group_blocks,
            groups: be32_at(b, 88)?.into(),
            sector_bytes: be16_at(b, 102)?.into(),
            inode_bytes: be16_at(b, 104)?.into(),
            directory_blocks: 1_u64.checked_shl(u8_at(b, 192)?.into())?,
            root: be64_at(b, 56)?,
            uuid: Uuid(uuid),
            meta_uuid: if has(incompat::META_UUID) { bytes16_at(b, 248)? } else { uuid },
            label: text(slice_at(b, 108, 12)?),
            has_ftype: if is_v5 { has(incompat::FTYPE) } else { features2 & features2::FTYPE != 0 },
            ignores_case: version & version::IGNORE_CASE != 0,
            has_lazy_counters: is_v5 || features2 & features2::LAZY_COUNTERS != 0,
            needs_repair: has(incompat::NEEDS_REPAIR),
            log_incompat: if is_v5 { be32_at(b, 220)? } else { 0 },
            log_start: None,
            log_bytes: u64::from(be32_at(b, 96)?).saturating_mul(block_bytes),
            has_log_v2: is_v5 || version & version::LOG_V2 != 0,
            group_block_bits: u8_at(b, 124)?.into(),
            inode_bits: u8_at(b, 123)?.into(),
        })
    }

    /// Where the log lies, once it is checked what its place is counted in.
    fn find_log(&mut self, b: &[u8]) -> Result<(), Error> {
        let (start, length) = (be64_at(b, 48).unwrap_or_default(), u64::from(be32_at(b, 96).unwrap_or(u32::MAX)));
        if self.log_bytes > LOG_BYTES_MAX {
            return Err(field("sb_logblocks", self.log_bytes));
        }
        if start != 0 {
            let first = self.linear(start, length).map_err(|_| field("sb_logstart", start))?;
            self.log_start = Some(first * self.block_bytes);
        }
        Ok(())
    }

    fn check(&self, b: &[u8], volume_bytes: u64) -> Result<(), Error> {
        let require = |good: bool, name: &'static str, value: u64| if good { Ok(()) } else { Err(field(name, value)) };
        let log = |at: usize| u32::from(u8_at(b, at).unwrap_or(u8::MAX));
        let is_power = |value: u64, log: u32| log < 64 && value == 1 << log;
        let block = self.block_bytes;
        require(is_power(block, log(120)) && (512..=65_536).contains(&block), "sb_blocksize", block)?;
        let inode = self.inode_bytes;
        let inode_fits = is_power(inode, log(122)) && (256..=2048).contains(&inode) && inode <= block;
        require(inode_fits, "sb_inodesize", inode)?;
        require(block / inode == 1 << self.inode_bits.min(63), "sb_inopblog", self.inode_bits.into())?;
        let directory = self.directory_blocks.saturating_mul(block);
        require(directory <= 65_536, "sb_dirblklog", directory)?;
        let group = self.group_blocks;
        let bits_fit = self.group_block_bits <= 31
            && group <= 1 << self.group_block_bits
            && group > (1 << self.group_block_bits) / 2;
        require(bits_fit, "sb_agblklog", self.group_block_bits.into())?;
        require(group >= 16 && self.sector_bytes <= block, "sb_agblocks", group)?;
        let all = self.groups.saturating_mul(group);
        let blocks_fit = self.groups > 0 && self.blocks <= all && self.blocks > all - group;
        require(blocks_fit, "sb_dblocks", self.blocks)?;
        let size = self.blocks.checked_mul(block);
        require(size.is_some_and(|size| size <= volume_bytes), "sb_dblocks", self.blocks)?;
        require(self.free_blocks <= self.blocks, "sb_fdblocks", self.free_blocks)?;
        require(self.inode_place(self.root).is_some(), "sb_rootino", self.root)?;
        let in_progress = u64::from(u8_at(b, 126).unwrap_or(1));
        require(in_progress == 0, "sb_inprogress", in_progress)?;
        let version = be16_at(b, 100).unwrap_or_default();
        if !self.is_v5 && version & version::DIRECTORY_V2 == 0 {
            return Err(Error::Unsupported(Feature::Xfs("directories of version 1")));
        }
        Ok(())
    }

    /// Number of blocks in a group; the last may be shorter.
    pub fn blocks_of_group(&self, group: u64) -> u64 {
        self.blocks.saturating_sub(group.saturating_mul(self.group_blocks)).min(self.group_blocks)
    }

    /// Blocks counted from the volume's start for a run of block numbers, which never leaves its group.
    pub fn linear(&self, block: u64, length: u64) -> Result<u64, Fault> {
        let within = block & ((1 << self.group_block_bits) - 1);
        self.linear_in_group(block >> self.group_block_bits, within, length).ok_or(Fault::BlockOutOfRange { block })
    }

    /// The same for a run of blocks of a group.
    pub fn linear_in_group(&self, group: u64, block: u64, length: u64) -> Option<u64> {
        let end = block.checked_add(length)?;
        (group < self.groups && end <= self.blocks_of_group(group)).then(|| group * self.group_blocks + block)
    }

    /// Where an inode lies, in bytes; `None` where no inode can have this number.
    pub fn inode_place(&self, inode: u64) -> Option<u64> {
        let block = inode >> self.inode_bits;
        let within = inode & ((1 << self.inode_bits) - 1);
        // The first blocks of a group hold its headers.
        let linear = self.linear(block, 1).ok().filter(|_| block & ((1 << self.group_block_bits) - 1) != 0)?;
        Some(linear * self.block_bytes + within * self.inode_bytes)
    }

    /// The number of the inode that lies at a place, and how far the place is into it.
    pub fn inode_at(&self, place: u64) -> (u64, u64) {
        let linear = place / self.block_bytes;
        let block = ((linear / self.group_blocks) << self.group_block_bits) | (linear % self.group_blocks);
        let within = place % self.block_bytes;
        ((block << self.inode_bits) | (within / self.inode_bytes), within % self.inode_bytes)
    }

    pub fn size_bytes(&self) -> u64 {
        self.blocks * self.block_bytes
    }
}

fn check_checksum(sector: &[u8]) -> Result<(), Fault> {
    let parse = || Some((u32_at(sector, CHECKSUM_AT)?, checksum(sector, CHECKSUM_AT)?));
    let (stored, computed) = parse().ok_or(Fault::CutShort)?;
    if stored == computed { Ok(()) } else { Err(Fault::Checksum { stored, computed }) }
}

/// The checksum of a structure, its own four bytes counting as zero. It is stored little-endian, unlike all else.
pub(super) fn checksum(bytes: &[u8], at: usize) -> Option<u32> {
    let (before, after) = (bytes.get(..at)?, bytes.get(at.checked_add(4)?..)?);
    Some(!crc32c(crc32c(crc32c(u32::MAX, before), &[0; 4]), after))
}

fn damage(fault: Fault) -> Damage {
    Damage { object: Object::Superblock, fault }
}

fn field(field: &'static str, value: u64) -> Error {
    damage(Fault::Field { field, value }).into()
}
