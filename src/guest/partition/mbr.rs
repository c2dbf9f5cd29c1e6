//! Master boot records, and the chain of extended boot records behind them.
//!
//! A record is a 512-byte sector: four entries of 16 bytes at 446, 0x55AA at 510. An entry:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 1 | status: 0x80 active, 0x00 not |
//! | 4 | 1 | type; zero means that the entry is not in use |
//! | 8 | 4 | first sector |
//! | 12 | 4 | number of sectors |
//!
//! An extended partition holds a chain of such records. In each, the first entry is a logical partition (counted from
//! the record) and the second leads to the next record (counted from the extended partition's start).

use std::collections::HashSet;

use crate::guest::bytes::{narrow, slice_at, u8_at, u32_at};
use crate::guest::{BlockRead, Error};

use super::{PartitionTable, TableKind, TableProblem, Volume, VolumeProblem, VolumeType};

const SECTOR_BYTES: u64 = 512;
/// As many as Linux looks at, generously.
const LOGICAL_MAX: usize = 256;
const FIRST_LOGICAL: u32 = 5;

/// A sector that ends in 0x55AA.
pub(super) struct Record {
    entries: [Entry; 4],
}

#[derive(Clone, Copy)]
struct Entry {
    status: u8,
    kind: u8,
    first: u64,
    sectors: u64,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            status: u8_at(bytes, 0)?,
            kind: u8_at(bytes, 4)?,
            first: u32_at(bytes, 8)?.into(),
            sectors: u32_at(bytes, 12)?.into(),
        })
    }

    fn is_used(&self) -> bool {
        self.kind != 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }

    fn is_protective(&self) -> bool {
        self.kind == 0xEE
    }

    /// As a volume; `base` is the sector that its own first sector is counted from.
    fn volume(&self, number: u32, base: u64) -> Volume {
        // Two 32-bit numbers times 512 fit in 64 bits.
        let start = (base + self.first) * SECTOR_BYTES;
        Volume {
            number,
            start,
            size_bytes: self.sectors * SECTOR_BYTES,
            kind: VolumeType::Mbr(self.kind),
            label: None,
            uuid: None,
            problem: (self.sectors == 0).then_some(VolumeProblem::Inverted),
        }
    }
}

impl Record {
    fn parse(sector: &[u8]) -> Option<Self> {
        if slice_at(sector, 510, 2)? != [0x55, 0xAA] {
            return None;
        }
        let entry = |index: usize| Entry::parse(slice_at(sector, 446 + 16 * index, 16)?);
        Some(Self { entries: [entry(0)?, entry(1)?, entry(2)?, entry(3)?] })
    }

    pub(super) fn is_protective(&self) -> bool {
        self.is_plausible() && self.entries.iter().any(Entry::is_protective)
    }

    /// The last sector of the disk, as a protective partition tells it.
    pub(super) fn promised_end(&self) -> Option<u64> {
        let entry = self.entries.iter().find(|entry| entry.is_protective())?;
        (entry.first + entry.sectors).checked_sub(1)
    }

    /// Whether it names partitions besides a protective one.
    pub(super) fn has_partitions(&self) -> bool {
        self.entries.iter().any(|entry| entry.is_used() && !entry.is_protective())
    }

    /// Whether its entries could be partition entries at all.
    pub(super) fn is_plausible(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry.status, 0x00 | 0x80))
    }

    /// Whether some entry describes a partition that lies behind this record and on the disk.
    pub(super) fn has_partition_within(&self, disk_bytes: u64) -> bool {
        let fits = |entry: &Entry| (entry.first + entry.sectors) * SECTOR_BYTES <= disk_bytes;
        self.entries.iter().any(|entry| entry.is_used() && entry.first > 0 && entry.sectors > 0 && fits(entry))
    }
}

/// The disk's first sector, where it ends in 0x55AA.
pub(super) fn read(disk: &dyn BlockRead) -> Result<Option<Record>, Error> {
    read_at(disk, 0)
}

fn read_at(disk: &dyn BlockRead, sector: u64) -> Result<Option<Record>, Error> {
    let offset = sector.saturating_mul(SECTOR_BYTES);
    if offset.checked_add(SECTOR_BYTES).is_none_or(|end| end > disk.size_bytes()) {
        return Ok(None);
    }
    let mut bytes = vec![0; narrow(SECTOR_BYTES)];
    disk.read_exact_at(offset, &mut bytes)?;
    Ok(Record::parse(&bytes))
}

/// The volumes that a record names: primary ones, then logical ones. An extended partition is no volume itself.
pub(super) fn list(disk: &dyn BlockRead, record: &Record) -> PartitionTable {
    let mut table =
        PartitionTable { kind: TableKind::Mbr, sector_bytes: SECTOR_BYTES, volumes: Vec::new(), problems: Vec::new() };
    let used = || (1_u32..).zip(&record.entries).filter(|(_, entry)| entry.is_used() && !entry.is_protective());
    for (number, entry) in used().filter(|(_, entry)| !entry.is_extended()) {
        table.volumes.push(entry.volume(number, 0));
    }
    for (_, entry) in used().filter(|(_, entry)| entry.is_extended()) {
        list_logical(disk, entry.first, &mut table);
    }
    table
}

fn list_logical(disk: &dyn BlockRead, extended: u64, table: &mut PartitionTable) {
    let mut seen = HashSet::new();
    let mut next = Some(extended);
    while let Some(sector) = next {
        // An extended partition that points at the first sector would read the MBR as one of its own records.
        if !seen.insert(sector) || sector == 0 {
            table.problems.push(TableProblem::ExtendedChainLoops { sector });
            break;
        }
        if seen.len() > LOGICAL_MAX {
            table.problems.push(TableProblem::TooManyLogical);
            break;
        }
        let record = match read_at(disk, sector) {
            Ok(Some(record)) => record,
            found => {
                // The partitions found so far are none the worse for it.
                table.problems.push(match found {
                    Err(_) => TableProblem::ExtendedChainUnreadable { sector },
                    Ok(_) => TableProblem::ExtendedChainBroken { sector },
                });
                break;
            }
        };
        // Only the first two entries have a meaning here, in either order.
        let [first, second, ..] = &record.entries;
        for entry in [first, second].into_iter().filter(|entry| entry.is_used() && !entry.is_extended()) {
            let number = next_logical(table);
            table.volumes.push(entry.volume(number, sector));
        }
        let link = [first, second].into_iter().find(|entry| entry.is_extended() && entry.sectors > 0);
        next = link.map(|entry| extended + entry.first);
    }
}

fn next_logical(table: &PartitionTable) -> u32 {
    table.volumes.last().map_or(FIRST_LOGICAL, |last| (last.number + 1).max(FIRST_LOGICAL))
}
