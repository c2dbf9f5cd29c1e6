//! Block group descriptors: where a group's inodes lie (kernel documentation, ext4, "Block Group Descriptors").

use crate::guest::bytes::{narrow, slice_at, u16_at, u32_at};
use crate::guest::crc::{crc16, crc32c};
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::features::{compat, incompat, ro_compat};
use super::superblock::Superblock;

const CHECKSUM_AT: usize = 0x1E;

/// What this reader needs of a descriptor.
pub(super) struct Group {
    /// First block of the inode table.
    pub inode_table: u64,
}

impl Ext {
    pub(super) fn group(&self, group: u64) -> Result<std::sync::Arc<Group>, Error> {
        if let Some(known) = self.groups.get(group) {
            return Ok(known);
        }
        let damage = |fault| Damage { object: Object::GroupDescriptor { group }, fault };
        let at = descriptor_offset(&self.sb, group).ok_or(damage(Fault::CutShort))?;
        let mut bytes = vec![0; narrow(self.sb.descriptor_bytes)];
        self.volume.read_exact_at(at, &mut bytes)?;
        check_checksum(&self.sb, group, &bytes).map_err(damage)?;
        let inode_table = inode_table(&self.sb, &bytes).ok_or(damage(Fault::CutShort))?;
        let table_blocks = (self.sb.inodes_per_group * self.sb.inode_bytes).div_ceil(self.sb.block_bytes);
        self.check_blocks(inode_table, table_blocks).map_err(damage)?;
        Ok(self.groups.insert(group, Group { inode_table }, 64))
    }
}

fn inode_table(sb: &Superblock, bytes: &[u8]) -> Option<u64> {
    let high = if sb.has_incompat(incompat::BITS_64) { u32_at(bytes, 0x28)? } else { 0 };
    Some(u64::from(u32_at(bytes, 0x8)?) | (u64::from(high) << 32))
}

/// Where a group's descriptor lies in the volume, in bytes.
///
/// Descriptors follow the superblock, except that with `meta_bg` each block of them lies in the first of the groups
/// that it describes (kernel documentation, ext4, "Meta Block Groups").
fn descriptor_offset(sb: &Superblock, group: u64) -> Option<u64> {
    let per_block = sb.block_bytes / sb.descriptor_bytes;
    let index = group / per_block;
    let superblock_block = super::superblock::OFFSET / sb.block_bytes;
    let block = if sb.has_incompat(incompat::META_BG) && index >= sb.first_meta_group {
        let first_group = index.checked_mul(per_block)?;
        let mut skip = u64::from(has_superblock(sb, first_group));
        if sb.block_bytes == 1024 && index == 0 && sb.first_data_block == 0 {
            // With 1 KiB blocks the superblock is in block 1, also where group 0 counts from block 0.
            skip += 1;
        }
        first_group.checked_mul(sb.blocks_per_group)?.checked_add(sb.first_data_block + skip)?
    } else {
        superblock_block + index + 1
    };
    let offset = block.checked_mul(sb.block_bytes)?.checked_add((group % per_block) * sb.descriptor_bytes)?;
    (block < sb.blocks).then_some(offset)
}

/// Whether a group begins with a copy of the superblock (kernel documentation, ext4, "The Super Block").
fn has_superblock(sb: &Superblock, group: u64) -> bool {
    if group == 0 {
        return true;
    }
    if sb.has_compat(compat::SPARSE_SUPER2) {
        return sb.backup_groups.contains(&group);
    }
    let is_power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power = power.saturating_mul(base);
        }
        power == group
    };
    !sb.has_ro_compat(ro_compat::SPARSE_SUPER) || group == 1 || [3, 5, 7].into_iter().any(is_power_of)
}

fn check_checksum(sb: &Superblock, group: u64, bytes: &[u8]) -> Result<(), Fault> {
    let has_crc16 = sb.has_ro_compat(ro_compat::GDT_CSUM);
    if sb.checksum_seed().is_none() && !has_crc16 {
        return Ok(());
    }
    let group = u32::try_from(group).unwrap_or(u32::MAX).to_le_bytes();
    let parse = || Some((slice_at(bytes, 0, CHECKSUM_AT)?, u16_at(bytes, CHECKSUM_AT)?, bytes.get(CHECKSUM_AT + 2..)?));
    let (before, stored, after) = parse().ok_or(Fault::CutShort)?;
    let computed = match sb.checksum_seed() {
        Some(seed) => {
            let crc = crc32c(crc32c(crc32c(crc32c(seed, &group), before), &[0; 2]), after);
            crc & 0xFFFF
        }
        None => crc16(crc16(crc16(crc16(0xFFFF, &sb.uuid.0), &group), before), after).into(),
    };
    if computed == u32::from(stored) { Ok(()) } else { Err(Fault::Checksum { stored: stored.into(), computed }) }
}
