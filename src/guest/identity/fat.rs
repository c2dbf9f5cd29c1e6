//! FAT12, FAT16 and FAT32 (Microsoft, "FAT: General Overview of On-Disk Format"). All fields are little-endian:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 11 | 2 | bytes in a sector |
//! | 13 | 1 | sectors in a cluster |
//! | 14 | 2 | sectors before the first table |
//! | 16 | 1 | number of tables |
//! | 17 | 2 | entries of the root directory; zero for FAT32 |
//! | 19, 32 | 2, 4 | sectors in all: the one that is not zero |
//! | 22, 36 | 2, 4 | sectors in a table: the second for FAT32, where the first is zero |
//! | 44 | 4 | FAT32: first cluster of the root directory |
//! | 39, 67 | 4 | serial number: the second for FAT32 |
//! | 43, 71 | 11 | label: the second for FAT32 |

use super::{Identity, boot_sector, read_some, serial, slice_at, trimmed, u8_at, u16_at, u32_at};
use crate::guest::{BlockRead, Error};

const ENTRY_BYTES: usize = 32;
const LABEL: u8 = 0x08;
/// A piece of a long name has these bits, that of a label among them.
const LONG_NAME: u8 = 0x0F;

struct Layout {
    identity: Identity,
    root_at: u64,
    root_bytes: u64,
}

pub(super) fn identify(volume: &dyn BlockRead) -> Result<Identity, Error> {
    let Some(Layout { mut identity, root_at, root_bytes }) = parse(&boot_sector(volume)?) else {
        return Ok(Identity::default());
    };
    // The boot sector's label is the one that `mkfs` wrote; a new name goes into the root directory.
    if let Some(label) = label_in(&read_some(volume, root_at, root_bytes)?) {
        identity.label = Some(label);
    }
    Ok(identity)
}

fn parse(sector: &[u8]) -> Option<Layout> {
    let sector_bytes = u64::from(u16_at(sector, 11)?);
    let cluster_bytes = u64::from(u8_at(sector, 13)?) * sector_bytes;
    let reserved = u64::from(u16_at(sector, 14)?);
    let tables = u64::from(u8_at(sector, 16)?);
    let short = (u64::from(u16_at(sector, 19)?), u64::from(u16_at(sector, 22)?));
    let (all, table) = (u64::from(u32_at(sector, 32)?), u64::from(u32_at(sector, 36)?));
    let is_fat32 = short.1 == 0;
    let sectors = if short.0 == 0 { all } else { short.0 };
    // None of these products of 8, 16 and 32 bits reaches 64.
    let behind_tables = (reserved + tables * if is_fat32 { table } else { short.1 }) * sector_bytes;
    let (root_at, root_bytes) = if is_fat32 {
        (behind_tables + u64::from(u32_at(sector, 44)?.checked_sub(2)?) * cluster_bytes, cluster_bytes)
    } else {
        (behind_tables, u64::from(u16_at(sector, 17)?) * 32)
    };
    let (serial_at, label_at) = if is_fat32 { (67, 71) } else { (39, 43) };
    let label = slice_at(sector, label_at, 11).and_then(name).filter(|label| label != "NO NAME");
    let identity = Identity {
        label,
        uuid: u32_at(sector, serial_at).map(serial),
        size_bytes: Some(sectors * sector_bytes),
        used_bytes: None,
    };
    Some(Layout { identity, root_at, root_bytes })
}

/// The label in the entries of a root directory.
fn label_in(directory: &[u8]) -> Option<String> {
    let used = |entry: &&[u8]| entry.first() != Some(&0xE5);
    let entries = directory.chunks_exact(ENTRY_BYTES).take_while(|entry| entry.first() != Some(&0)).filter(used);
    let is_label = |entry: &&[u8]| u8_at(entry, 11).is_some_and(|bits| bits & LONG_NAME == LABEL);
    entries.filter(is_label).find_map(|entry| slice_at(entry, 0, 11).and_then(name))
}

fn name(bytes: &[u8]) -> Option<String> {
    trimmed(&super::text(bytes)?)
}
