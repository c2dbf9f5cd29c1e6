//! The superblock: where everything else lies (kernel documentation, ext4, "The Super Block").
//!
//! It begins 1024 bytes into the volume and is 1024 bytes long. Fields are read by their offset and checked once;
//! a [`Superblock`] holds only values that the rest of the reader can count with:
//! - the block size is 1 KiB to 64 KiB, and the file system is not larger than its volume;
//! - groups, blocks and inodes agree with each other;
//! - an inode is at least 128 bytes and at most a block.

use crate::guest::bytes::{bytes16_at, slice_at, text, u8_at, u16_at, u32_at};
use crate::guest::crc::crc32c;
use crate::guest::{BlockRead, Damage, Error, Fault, Feature, Object, Uuid};

use super::features::{compat, incompat, refused, ro_compat};

pub(super) const OFFSET: u64 = 1024;
const BYTES: usize = 1024;
const MAGIC: u16 = 0xEF53;
const CHECKSUM_AT: usize = 0x3FC;

/// What the superblock says, checked.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub inodes: u64,
    pub blocks: u64,
    pub free_blocks: u64,
    pub free_inodes: u64,
    pub first_data_block: u64,
    pub block_bytes: u64,
    pub cluster_bytes: u64,
    pub blocks_per_group: u64,
    pub inodes_per_group: u64,
    pub inode_bytes: u64,
    pub descriptor_bytes: u64,
    pub first_meta_group: u64,
    pub backup_groups: [u64; 2],
    pub is_valid: bool,
    pub has_errors: bool,
    pub compat: u32,
    pub incompat: u32,
    pub ro_compat: u32,
    pub uuid: Uuid,
    pub label: Option<String>,
    pub journal_inode: u32,
    seed: u32,
}

/// Whether a volume's first bytes hold the magic number of an ext superblock.
pub(in crate::guest) fn looks_like_ext(head: &[u8]) -> bool {
    u16_at(head, 1024 + 0x38) == Some(MAGIC)
}

/// Whether that superblock heads an external journal and no file system.
pub(in crate::guest) fn looks_like_journal(head: &[u8]) -> bool {
    u32_at(head, 1024 + 0x60).is_some_and(|bits| bits & incompat::JOURNAL_DEV != 0)
}

impl Superblock {
    /// Reads and checks the superblock of a volume.
    pub fn read(volume: &dyn BlockRead) -> Result<Self, Error> {
        if volume.size_bytes() < OFFSET + 1024 {
            return Err(damage(Fault::CutShort).into());
        }
        let mut bytes = vec![0; BYTES];
        volume.read_exact_at(OFFSET, &mut bytes)?;
        if u16_at(&bytes, 0x38) != Some(MAGIC) {
            return Err(damage(Fault::Magic).into());
        }
        // Before anything else is believed, and before the checksum, whose kind a feature may change.
        if let Some(feature) = u32_at(&bytes, 0x60).and_then(refused) {
            return Err(Error::Unsupported(feature));
        }
        check_checksum(&bytes)?;
        let superblock = Self::parse(&bytes).ok_or(damage(Fault::CutShort))?;
        superblock.check(&bytes, volume.size_bytes())?;
        Ok(superblock)
    }

    fn parse(b: &[u8]) -> Option<Self> {
        let revision = u32_at(b, 0x4C)?;
        let incompat = u32_at(b, 0x60)?;
        let wide = |low: usize, high: usize| -> Option<u64> {
            let high = if incompat & incompat::BITS_64 != 0 { u32_at(b, high)? } else { 0 };
            Some(u64::from(u32_at(b, low)?) | (u64::from(high) << 32))
        };
        // Shifts out of range give zero, which the check refuses.
        let shifted = |at: usize| u32_at(b, at).map(|log| 1024_u64.checked_shl(log).filter(|_| log <= 20).unwrap_or(0));
        let uuid = bytes16_at(b, 0x68)?;
        let stored_seed = u32_at(b, 0x270)?;
        let state = u16_at(b, 0x3A)?;
        let ro_compat = u32_at(b, 0x64)?;
        let block_bytes = shifted(0x18)?;
        let has_bigalloc = ro_compat & ro_compat::BIGALLOC != 0;
        let has_64 = incompat & incompat::BITS_64 != 0;
        Some(Self {
            inodes: u32_at(b, 0x0)?.into(),
            blocks: wide(0x4, 0x150)?,
            free_blocks: wide(0xC, 0x158)?,
            free_inodes: u32_at(b, 0x10)?.into(),
            first_data_block: u32_at(b, 0x14)?.into(),
            block_bytes,
            cluster_bytes: if has_bigalloc { shifted(0x1C)? } else { block_bytes },
            blocks_per_group: u32_at(b, 0x20)?.into(),
            inodes_per_group: u32_at(b, 0x28)?.into(),
            inode_bytes: if revision == 0 { 128 } else { u16_at(b, 0x58)?.into() },
            descriptor_bytes: if has_64 { u16_at(b, 0xFE)?.into() } else { 32 },
            first_meta_group: u32_at(b, 0x104)?.into(),
            backup_groups: [u32_at(b, 0x24C)?.into(), u32_at(b, 0x250)?.into()],
            is_valid: state & 1 != 0,
            has_errors: state & 2 != 0,
            compat: u32_at(b, 0x5C)?,
            incompat,
            ro_compat,
            uuid: Uuid(uuid),
            label: text(slice_at(b, 0x78, 16)?),
            journal_inode: u32_at(b, 0xE0)?,
            seed: if incompat & incompat::CSUM_SEED != 0 { stored_seed } else { crc32c(u32::MAX, &uuid) },
        })
    }

    fn check(&self, bytes: &[u8], volume_bytes: u64) -> Result<(), Error> {
        let require = |good: bool, field: &'static str, value: u64| -> Result<(), Error> {
            if good { Ok(()) } else { Err(damage(Fault::Field { field, value }).into()) }
        };
        let revision = u32_at(bytes, 0x4C).unwrap_or_default();
        if revision > 1 {
            return Err(Error::Unsupported(Feature::ExtRevision(revision)));
        }
        let block = self.block_bytes;
        require((1024..=65_536).contains(&block), "s_log_block_size", block)?;
        let cluster = self.cluster_bytes;
        require(cluster >= block && cluster <= 1 << 30, "s_log_cluster_size", cluster)?;
        let inode_fits = self.inode_bytes >= 128 && self.inode_bytes <= block && self.inode_bytes.is_power_of_two();
        require(inode_fits, "s_inode_size", self.inode_bytes)?;
        let descriptor = self.descriptor_bytes;
        let descriptor_fits = descriptor.is_power_of_two()
            && descriptor <= block
            && descriptor >= if self.has_incompat(incompat::BITS_64) { 64 } else { 32 };
        require(descriptor_fits, "s_desc_size", descriptor)?;
        let clusters_fit = self.blocks_per_group >= 8 && self.blocks_per_group <= 8 * block * (cluster / block);
        require(clusters_fit, "s_blocks_per_group", self.blocks_per_group)?;
        let per_group = self.inodes_per_group;
        require(per_group > 0 && per_group <= 8 * block, "s_inodes_per_group", per_group)?;
        require(
            self.first_data_block <= 1 && self.first_data_block < self.blocks,
            "s_first_data_block",
            self.first_data_block,
        )?;
        let size = self.blocks.checked_mul(block);
        require(size.is_some_and(|size| size <= volume_bytes), "s_blocks_count", self.blocks)?;
        require(self.free_blocks <= self.blocks, "s_free_blocks_count", self.free_blocks)?;
        let inodes_fit = self.inodes >= 11 && self.inodes <= self.groups().saturating_mul(per_group);
        require(inodes_fit, "s_inodes_count", self.inodes)
    }

    pub fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first_data_block).div_ceil(self.blocks_per_group.max(1))
    }

    pub fn has_incompat(&self, bits: u32) -> bool {
        self.incompat & bits != 0
    }

    pub fn has_ro_compat(&self, bits: u32) -> bool {
        self.ro_compat & bits != 0
    }

    pub fn has_compat(&self, bits: u32) -> bool {
        self.compat & bits != 0
    }

    /// What every metadata checksum starts from; `None` where structures carry none.
    pub fn checksum_seed(&self) -> Option<u32> {
        self.has_ro_compat(ro_compat::METADATA_CSUM).then_some(self.seed)
    }

    /// The name that `mount -t` has for this set of features.
    pub fn type_name(&self) -> &'static str {
        if self.incompat & !incompat::EXT3 != 0 || self.ro_compat & !ro_compat::EXT3 != 0 {
            "ext4"
        } else if self.has_compat(compat::HAS_JOURNAL) {
            "ext3"
        } else {
            "ext2"
        }
    }
}

fn check_checksum(bytes: &[u8]) -> Result<(), Error> {
    let parse = || -> Option<(u32, u32, u32)> {
        Some((u32_at(bytes, 0x64)?, u32_at(bytes, CHECKSUM_AT)?, crc32c(u32::MAX, slice_at(bytes, 0, CHECKSUM_AT)?)))
    };
    let (ro_compat, stored, computed) = parse().ok_or(damage(Fault::CutShort))?;
    // Type 1, crc32c, is the only one that was ever defined.
    let kind = u8_at(bytes, 0x175).unwrap_or_default();
    if ro_compat & ro_compat::METADATA_CSUM == 0 {
        return Ok(());
    }
    if stored != computed {
        return Err(damage(Fault::Checksum { stored, computed }).into());
    }
    if kind != 1 {
        return Err(damage(Fault::Field { field: "s_checksum_type", value: kind.into() }).into());
    }
    Ok(())
}

fn damage(fault: Fault) -> Damage {
    Damage { object: Object::Superblock, fault }
}
