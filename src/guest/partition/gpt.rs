//! GUID partition tables (UEFI specification 2.10, section 5.3).
//!
//! The header lies in the second sector, its copy in the last; each leads to an array of entries. Header:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | `EFI PART` |
//! | 12 | 4 | header size, 92 to one sector |
//! | 16 | 4 | CRC-32 of the header with this field zero |
//! | 24 | 8 | the sector that this header lies in |
//! | 32 | 8 | the sector that the other header lies in |
//! | 72 | 8 | first sector of the array |
//! | 80 | 4 | number of entries |
//! | 84 | 4 | size of an entry, 128 times a power of two |
//! | 88 | 4 | CRC-32 of the array |
//!
//! Entry: type GUID 0, own GUID 16, first sector 32, last sector 40, attributes 48, name in UTF-16 56 (72 bytes).

use crate::guest::bytes::{bytes16_at, narrow, slice_at, u32_at, u64_at, utf16};
use crate::guest::crc::crc32;
use crate::guest::{BlockRead, Error, Uuid};

use super::{PartitionTable, TableKind, TableProblem, Volume, VolumeProblem, VolumeType};

const SECTOR_SIZES: [u64; 2] = [512, 4096];
const HEADER_MIN: u32 = 92;
const ENTRY_MIN: u32 = 128;
const ENTRY_MAX: u32 = 4096;
/// A header that asks for more is taken for damaged: Windows and Linux make 128 entries of 128 bytes.
const ARRAY_BYTES_MAX: u64 = 1 << 20;

struct Header {
    sector_bytes: u64,
    array: u64,
    entries: u32,
    entry_bytes: u32,
    array_crc: u32,
}

/// The table, from the primary header or else from its backup; `None` where neither is whole. `promised` is where the
/// backup should lie by what the protective MBR says of the disk's size, in sectors.
///
/// What can't be read is as good as damaged as long as the other header can be.
pub(super) fn read(disk: &dyn BlockRead, promised: Option<u64>) -> Result<Option<PartitionTable>, Error> {
    let mut failed = None;
    for sector_bytes in SECTOR_SIZES {
        let mut look = |sector| match read_volumes(disk, sector_bytes, sector) {
            Ok(volumes) => volumes,
            Err(error) => {
                failed = Some(error);
                None
            }
        };
        if let Some(volumes) = look(1) {
            return Ok(Some(table(sector_bytes, volumes, Vec::new())));
        }
        // A disk that grew has its backup where the primary header says, or the protective MBR, and not at the end.
        let last = (disk.size_bytes() / sector_bytes).checked_sub(1);
        for sector in [last, other_of_primary(disk, sector_bytes), promised].into_iter().flatten() {
            if let Some(volumes) = look(sector) {
                return Ok(Some(table(sector_bytes, volumes, vec![TableProblem::PrimaryGptDamaged])));
            }
        }
    }
    failed.map_or(Ok(None), Err)
}

/// Where the primary header says that the other one lies, even if it is damaged elsewhere: that one has a checksum too.
fn other_of_primary(disk: &dyn BlockRead, sector_bytes: u64) -> Option<u64> {
    let bytes = read_sectors(disk, sector_bytes, 1, sector_bytes).ok().flatten()?;
    u64_at(&bytes, 32).filter(|_| bytes.starts_with(b"EFI PART"))
}

/// The volumes of a header, if it and its array are whole.
fn read_volumes(disk: &dyn BlockRead, sector_bytes: u64, sector: u64) -> Result<Option<Vec<Volume>>, Error> {
    let bytes = read_sectors(disk, sector_bytes, sector, sector_bytes)?;
    match bytes.and_then(|bytes| parse_header(&bytes, sector_bytes, sector)) {
        Some(header) => read_entries(disk, &header),
        None => Ok(None),
    }
}

fn table(sector_bytes: u64, volumes: Vec<Volume>, problems: Vec<TableProblem>) -> PartitionTable {
    PartitionTable { kind: TableKind::Gpt, sector_bytes, volumes, problems }
}

/// Reads `length` bytes at a sector; `None` where they do not lie on the disk.
fn read_sectors(disk: &dyn BlockRead, sector_bytes: u64, sector: u64, length: u64) -> Result<Option<Vec<u8>>, Error> {
    let end = |offset: u64| offset.checked_add(length).filter(|end| *end <= disk.size_bytes());
    let Some(offset) = sector.checked_mul(sector_bytes).filter(|offset| end(*offset).is_some()) else {
        return Ok(None);
    };
    let mut bytes = vec![0; narrow(length)];
    disk.read_exact_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}

fn parse_header(bytes: &[u8], sector_bytes: u64, sector: u64) -> Option<Header> {
    let header_bytes = u32_at(bytes, 12)?;
    let stored_crc = u32_at(bytes, 16)?;
    let own = u64_at(bytes, 24)?;
    let header = Header {
        sector_bytes,
        array: u64_at(bytes, 72)?,
        entries: u32_at(bytes, 80)?,
        entry_bytes: u32_at(bytes, 84)?,
        array_crc: u32_at(bytes, 88)?,
    };
    if !bytes.starts_with(b"EFI PART") || header_bytes < HEADER_MIN || own != sector {
        return None;
    }
    let mut counted = slice_at(bytes, 0, usize::try_from(header_bytes).ok()?)?.to_vec();
    counted.get_mut(16..20)?.fill(0);
    let sizes_make_sense = (ENTRY_MIN..=ENTRY_MAX).contains(&header.entry_bytes)
        && header.entry_bytes.is_power_of_two()
        && header.array_bytes() <= ARRAY_BYTES_MAX;
    (crc32(&counted) == stored_crc && sizes_make_sense).then_some(header)
}

impl Header {
    fn array_bytes(&self) -> u64 {
        u64::from(self.entries) * u64::from(self.entry_bytes)
    }
}

fn read_entries(disk: &dyn BlockRead, header: &Header) -> Result<Option<Vec<Volume>>, Error> {
    let Some(array) = read_sectors(disk, header.sector_bytes, header.array, header.array_bytes())? else {
        return Ok(None);
    };
    if crc32(&array) != header.array_crc {
        return Ok(None);
    }
    let entries = array.chunks_exact(narrow(header.entry_bytes.into()));
    let volume = |(number, entry)| parse_entry(entry, number, header.sector_bytes);
    Ok(Some((1_u32..).zip(entries).filter_map(volume).collect()))
}

/// One entry; `None` where it is not in use.
fn parse_entry(entry: &[u8], number: u32, sector_bytes: u64) -> Option<Volume> {
    let kind = Uuid::from_gpt(bytes16_at(entry, 0)?);
    let uuid = Uuid::from_gpt(bytes16_at(entry, 16)?);
    let first = u64_at(entry, 32)?;
    let last = u64_at(entry, 40)?;
    let label = utf16(slice_at(entry, 56, 72)?);
    if kind.is_nil() {
        return None;
    }
    let sectors = last.checked_add(1).and_then(|end| end.checked_sub(first)).filter(|sectors| *sectors > 0);
    let start = first.checked_mul(sector_bytes);
    let size_bytes = sectors.and_then(|sectors| sectors.checked_mul(sector_bytes));
    let problem = match (sectors, start, size_bytes) {
        (None, _, _) => Some(VolumeProblem::Inverted),
        (_, Some(_), Some(_)) => None,
        _ => Some(VolumeProblem::PastEnd),
    };
    Some(Volume {
        number,
        start: start.unwrap_or(u64::MAX),
        size_bytes: size_bytes.unwrap_or(0),
        kind: VolumeType::Gpt(kind),
        label,
        uuid: Some(uuid),
        problem,
    })
}
