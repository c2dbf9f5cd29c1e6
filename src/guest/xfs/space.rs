//! Free blocks and inodes, counted from the headers of the groups ("XFS Filesystem Structure", "Allocation Groups").

use crate::guest::BlockRead;
use crate::guest::bytes::be32_at;

use super::block::has_magic;
use super::superblock::Superblock;

/// Of more groups the superblock's own counts are taken, right or not: opening must not take long.
pub(super) const GROUPS_MAX: u64 = 4096;

/// Puts the counts into the superblock; leaves it as it is where a header can't be read or believed.
pub(super) fn count(volume: &dyn BlockRead, sb: &mut Superblock) {
    if sb.groups > GROUPS_MAX {
        return;
    }
    let (mut free_blocks, mut inodes, mut free_inodes) = (0_u64, 0_u64, 0_u64);
    for group in 0..sb.groups {
        let Some((blocks, made, free)) = count_group(volume, sb, group) else {
            return;
        };
        free_blocks += blocks;
        inodes += made;
        free_inodes += free;
    }
    if free_blocks <= sb.blocks {
        (sb.free_blocks, sb.inodes, sb.free_inodes) = (free_blocks, inodes, free_inodes);
    }
}

/// Free blocks, inodes and free inodes of a group. Free blocks are those in the trees of free space, those of the
/// trees, and the reserve of the trees.
fn count_group(volume: &dyn BlockRead, sb: &Superblock, group: u64) -> Option<(u64, u64, u64)> {
    let start = group * sb.group_blocks * sb.block_bytes;
    let header = |sector: u64, magic: &[u8; 4]| {
        let mut bytes = vec![0; 512];
        volume.read_exact_at(start + sector * sb.sector_bytes, &mut bytes).ok()?;
        has_magic(&bytes, magic).then_some(bytes)
    };
    let (space, inodes) = (header(1, b"XAGF")?, header(2, b"XAGI")?);
    let sum = |bytes: &[u8], fields: &[usize]| -> Option<u64> {
        fields.iter().map(|at| be32_at(bytes, *at).map(u64::from)).sum()
    };
    Some((sum(&space, &[48, 52, 60])?, sum(&inodes, &[16])?, sum(&inodes, &[28])?))
}
