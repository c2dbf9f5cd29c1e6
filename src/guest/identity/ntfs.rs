//! NTFS: serial number and size from the boot sector, the label from the file `$Volume`, record 3 of the master file table.
//! All fields are little-endian.
//!
//! | boot sector | length | field |
//! |---|---|---|
//! | 11 | 2 | bytes in a sector |
//! | 13 | 1 | sectors in a cluster; above 128, the negative binary logarithm |
//! | 40 | 8 | sectors in all |
//! | 48 | 8 | first cluster of the master file table |
//! | 64 | 1 | clusters in a record; where negative, the negative binary logarithm of its bytes |
//! | 72 | 8 | serial number |
//!
//! | record | length | field |
//! |---|---|---|
//! | 0 | 4 | `FILE` |
//! | 4, 6 | 2, 2 | where the true ends of its sectors lie, and their number, the mark that replaces them included |
//! | 20 | 2 | where the first attribute begins |
//!
//! | attribute | length | field |
//! |---|---|---|
//! | 0 | 4 | type: 0x60 is the label |
//! | 4 | 4 | its length |
//! | 8 | 1 | zero where the value lies in the record |
//! | 16, 20 | 4, 2 | the value's length and place |

use super::{Identity, array_at, boot_sector, narrow, read_some, slice_at, u8_at, u16_at, u32_at, u64_at, utf16};
use crate::guest::{BlockRead, Error};

const VOLUME_RECORD: u64 = 3;
const VOLUME_NAME: u32 = 0x60;
/// Attributes of `$Volume` are a handful.
const MOST_ATTRIBUTES: usize = 32;

pub(super) fn identify(volume: &dyn BlockRead) -> Result<Identity, Error> {
    let sector = boot_sector(volume)?;
    let parse = || {
        let sector_bytes = u64::from(u16_at(&sector, 11)?);
        let cluster_sectors = power_or_count(u8_at(&sector, 13)?, 128);
        let cluster_bytes = cluster_sectors?.checked_mul(sector_bytes)?;
        let record = u8_at(&sector, 64)?;
        let record_bytes = match record {
            0..=127 => u64::from(record).checked_mul(cluster_bytes)?,
            _ => power_or_count(record, 127)?,
        };
        let record_at =
            u64_at(&sector, 48)?.checked_mul(cluster_bytes)?.checked_add(VOLUME_RECORD.checked_mul(record_bytes)?)?;
        let identity = Identity {
            label: None,
            uuid: u64_at(&sector, 72).map(|serial| format!("{serial:016X}")),
            size_bytes: u64_at(&sector, 40)?.checked_mul(sector_bytes),
            used_bytes: None,
        };
        Some((identity, record_at, record_bytes))
    };
    let Some((mut identity, record_at, record_bytes)) = parse() else { return Ok(Identity::default()) };
    identity.label = label_in(read_some(volume, record_at, record_bytes)?);
    Ok(identity)
}

/// A count up to `most`; above it, a negative binary logarithm in two's complement.
fn power_or_count(byte: u8, most: u8) -> Option<u64> {
    if byte <= most { Some(byte.into()) } else { 1_u64.checked_shl(byte.wrapping_neg().into()) }
}

fn label_in(mut record: Vec<u8>) -> Option<String> {
    if !record.starts_with(b"FILE") {
        return None;
    }
    restore_ends(&mut record)?;
    let mut at = usize::from(u16_at(&record, 20)?);
    for _ in 0..MOST_ATTRIBUTES {
        let length = narrow(u32_at(&record, at.checked_add(4)?)?.into());
        let attribute = slice_at(&record, at, length)?;
        let kind = u32_at(attribute, 0)?;
        if kind == VOLUME_NAME && u8_at(attribute, 8)? == 0 {
            let value = slice_at(attribute, u16_at(attribute, 20)?.into(), narrow(u32_at(attribute, 16)?.into()))?;
            return utf16(value);
        }
        at = at.checked_add(length)?;
        if length == 0 {
            return None;
        }
    }
    None
}

/// Puts back what the last two bytes of each sector held before a mark was written there against torn writes.
fn restore_ends(record: &mut [u8]) -> Option<()> {
    let (at, count) = (usize::from(u16_at(record, 4)?), usize::from(u16_at(record, 6)?));
    for sector in 1..count {
        let end: [u8; 2] = array_at(record, at.checked_add(sector.checked_mul(2)?)?)?;
        let place = sector.checked_mul(512)?;
        record.get_mut(place.checked_sub(2)?..place)?.copy_from_slice(&end);
    }
    Some(())
}
