//! The log as a ring of sectors, and the records in it ("XFS Filesystem Structure", "Journaling Log").
//!
//! A record is a header of one or more sectors and its data. Every sector of the log begins with the number of times
//! that the ring was gone round when it was written, its *cycle*, or is a header that has it behind its magic number;
//! what the cycle took the place of in the data stands in the header.

use crate::guest::bytes::{be32_at, be64_at, bytes16_at, narrow, slice_at, u8_at, u32_at, wide};
use crate::guest::crc::crc32c;
use crate::guest::{BlockRead, MediumError};

use super::super::superblock::{Superblock, checksum};

pub(super) const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;
const MAGIC: u32 = 0xFEED_BABE;
/// Data whose cycles one header has room for.
const DATA_PER_HEADER: u32 = 32 << 10;
const CYCLES_AT: usize = 44;
const CYCLES_AT_IN_NEXT: usize = 4;
const CYCLES_PER_HEADER: usize = 64;
/// No record is larger.
pub(super) const RECORD_BYTES_MAX: u32 = 256 << 10;
const CHECKSUM_AT: usize = 32;
/// What of the first header the checksum covers: 324 bytes where 32-bit machines write, 328 elsewhere.
const CHECKED_BYTES: [usize; 2] = [328, 324];
/// What of each further header it covers.
const CHECKED_BYTES_OF_NEXT: usize = 260;

pub(super) struct Ring<'a> {
    volume: &'a dyn BlockRead,
    start: u64,
    pub sectors: u64,
}

impl<'a> Ring<'a> {
    /// The log was found to lie in the file system.
    pub fn new(volume: &'a dyn BlockRead, start: u64, bytes: u64) -> Self {
        Self { volume, start, sectors: bytes / SECTOR }
    }

    /// Reads sectors, from the end of the ring on to its start.
    pub fn read(&self, at: u64, sectors: u64) -> Result<Vec<u8>, MediumError> {
        let mut bytes = vec![0; narrow(sectors.min(self.sectors) * SECTOR)];
        let before_end = narrow((self.sectors - at % self.sectors) * SECTOR).min(bytes.len());
        let (first, wrapped) = bytes.split_at_mut(before_end);
        self.volume.read_exact_at(self.start + at % self.sectors * SECTOR, first)?;
        self.volume.read_exact_at(self.start, wrapped)?;
        Ok(bytes)
    }

    /// The cycle of one sector.
    pub fn cycle(&self, at: u64) -> Result<u32, MediumError> {
        Ok(cycle_of(&self.read(at, 1)?))
    }

    /// How many sectors lie between two places, going forward.
    pub fn distance(&self, from: u64, to: u64) -> u64 {
        (to + self.sectors - from) % self.sectors
    }

    /// The header of the record that begins at a place, if one does.
    pub fn record(&self, at: u64, sb: &Superblock) -> Result<Option<Record>, MediumError> {
        let at = at % self.sectors;
        Ok(Record::parse(&self.read(at, 1)?, at, sb).filter(|record| record.sectors() < self.sectors))
    }

    /// The nearest place before `before` where a header begins, `reach` sectors back at most.
    pub fn header_before(&self, before: u64, reach: u64) -> Result<Option<u64>, MediumError> {
        let reach = reach.min(self.sectors);
        let first = (before + self.sectors - reach) % self.sectors;
        let bytes = self.read(first, reach)?;
        let place = bytes.chunks_exact(SECTOR_BYTES).rposition(|sector| be32_at(sector, 0) == Some(MAGIC));
        Ok(place.map(|place| (first + wide(place)) % self.sectors))
    }

    /// The nearest place behind `after` where a header begins, `reach` sectors on at most.
    pub fn header_behind(&self, after: u64, reach: u64) -> Result<Option<u64>, MediumError> {
        let bytes = self.read(after + 1, reach)?;
        let place = bytes.chunks_exact(SECTOR_BYTES).position(|sector| be32_at(sector, 0) == Some(MAGIC));
        Ok(place.map(|place| (after + 1 + wide(place)) % self.sectors))
    }

    /// The first of the sectors `from..to` that has a cycle.
    pub fn find_cycle(&self, from: u64, to: u64, cycle: u32) -> Result<Option<u64>, MediumError> {
        let bytes = self.read(from, to.saturating_sub(from))?;
        let place = bytes.chunks_exact(SECTOR_BYTES).position(|sector| cycle_of(sector) == cycle);
        Ok(place.map(|place| from + wide(place)))
    }
}

fn cycle_of(sector: &[u8]) -> u32 {
    match be32_at(sector, 0) {
        Some(MAGIC) => be32_at(sector, 4).unwrap_or_default(),
        cycle => cycle.unwrap_or_default(),
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub at: u64,
    /// Cycle and sector in one number: larger is later.
    pub lsn: u64,
    /// The sector at which the live part of the log began when this was written.
    pub tail: u64,
    /// The turn of the ring that the tail is from.
    pub tail_cycle: u32,
    /// Most bytes that a record of this mount has.
    pub size_bytes: u32,
    pub operations: u32,
    /// In what order of bytes the machine counted that wrote it.
    pub is_big_endian: bool,
    data_bytes: u32,
    header_sectors: u64,
}

impl Record {
    fn parse(b: &[u8], at: u64, sb: &Superblock) -> Option<Self> {
        let version = be32_at(b, 8)?;
        let size = be32_at(b, 320)?;
        let header_sectors = if sb.has_log_v2 && version & 2 != 0 { size.div_ceil(DATA_PER_HEADER).max(1) } else { 1 };
        let record = Self {
            at,
            lsn: be64_at(b, 16)?,
            tail: be32_at(b, 28)?.into(),
            tail_cycle: be32_at(b, 24)?,
            size_bytes: size,
            operations: be32_at(b, 40)?,
            is_big_endian: be32_at(b, 300)? != 1,
            data_bytes: be32_at(b, 12)?,
            header_sectors: header_sectors.into(),
        };
        let is_sound = be32_at(b, 0)? == MAGIC
            && matches!(version, 1 | 2)
            && matches!(be32_at(b, 300)?, 1 | 2)
            && bytes16_at(b, 304)? == sb.uuid.0
            && (1..=RECORD_BYTES_MAX).contains(&record.data_bytes)
            && size <= RECORD_BYTES_MAX
            && record.lsn & u64::from(u32::MAX) == at;
        is_sound.then_some(record)
    }

    /// The turn of the ring that it is from.
    pub fn cycle(&self) -> u32 {
        u32::try_from(self.lsn >> 32).unwrap_or(u32::MAX)
    }

    fn data_sectors(&self) -> u64 {
        u64::from(self.data_bytes).div_ceil(SECTOR)
    }

    /// Length in sectors, headers included.
    pub fn sectors(&self) -> u64 {
        self.header_sectors + self.data_sectors()
    }

    /// Reads the record and checks its checksum. A file system of version 4 may have none.
    pub fn read(&self, ring: &Ring<'_>, is_v5: bool) -> Result<Option<Vec<u8>>, MediumError> {
        let mut bytes = ring.read(self.at, self.sectors())?;
        let is_right = self.checksum_is_right(&bytes, is_v5).unwrap_or(false);
        Ok(if is_right && self.unpack(&mut bytes).is_some() { self.data(&bytes).map(<[u8]>::to_vec) } else { None })
    }

    /// The flags of the record's first operation; its checksum may not be right, since tools write none.
    pub fn first_flags(&self, ring: &Ring<'_>) -> Result<u8, MediumError> {
        let first = ring.read(self.at + self.header_sectors, 1)?;
        Ok(u8_at(&first, 9).unwrap_or_default())
    }

    fn data<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        slice_at(bytes, narrow(self.header_sectors * SECTOR), narrow(self.data_bytes.into()))
    }

    fn checksum_is_right(&self, bytes: &[u8], is_v5: bool) -> Option<bool> {
        let stored = u32_at(bytes, CHECKSUM_AT)?;
        if stored == 0 && !is_v5 {
            return Some(true);
        }
        let right = |checked: usize| {
            // Without the final inversion, so that the rest can follow.
            let mut sum = !checksum(slice_at(bytes, 0, checked)?, CHECKSUM_AT)?;
            for header in 1..self.header_sectors.min(u64::from(self.data_bytes.div_ceil(DATA_PER_HEADER))) {
                sum = crc32c(sum, slice_at(bytes, narrow(header * SECTOR), CHECKED_BYTES_OF_NEXT)?);
            }
            Some(!crc32c(sum, self.data(bytes)?) == stored)
        };
        Some(CHECKED_BYTES.into_iter().filter_map(right).any(|is_right| is_right))
    }

    /// Puts back what the cycles took the place of.
    fn unpack(&self, bytes: &mut [u8]) -> Option<()> {
        let (headers, data) = bytes.split_at_mut_checked(narrow(self.header_sectors * SECTOR))?;
        for (index, sector) in data.chunks_exact_mut(SECTOR_BYTES).enumerate() {
            let header = headers.chunks_exact(SECTOR_BYTES).nth(index / CYCLES_PER_HEADER)?;
            let cycles_at = if index < CYCLES_PER_HEADER { CYCLES_AT } else { CYCLES_AT_IN_NEXT };
            let first = slice_at(header, cycles_at + index % CYCLES_PER_HEADER * 4, 4)?;
            sector.get_mut(..4)?.copy_from_slice(first);
        }
        Some(())
    }
}
