//! The table at the end of a segment, and its trailer.
//!
//! An entry of the table, before sealing (AES-256-GCM under the segment's own meta key, nonce domain 2, trailer bytes
//! 0..48 as associated data):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | record id |
//! | 32 | 4 | offset of the record header in the segment, in units of 16 bytes |
//! | 36 | 4 | stored length of the payload in bytes |
//! | 40 | 4 | plain length in bytes |
//! | 44 | 1 | record type |
//! | 45 | 3 | reserved, zero |
//!
//! The trailer, the last 96 bytes:
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICETRAIL` | always | a truncated segment |
//! | 8 | 4 | version, 1 | always | |
//! | 12 | 4 | number of records | always | a dropped record |
//! | 16 | 8 | offset of the sealed table in bytes | always | |
//! | 24 | 8 | length of the whole segment in bytes | always | truncation, growth |
//! | 32 | 16 | segment id | always | a trailer of another segment |
//! | 48 | 32 | BLAKE3 of segment header, all record headers in order, sealed table, bytes 0..48 | always | damage, found without a key |
//! | 80 | 16 | first half of the BLAKE3 of bytes 0..80 | always | damage in the trailer itself |

use super::super::{
    FormatError, HASH_BYTES, Hash, Id, TAG_BYTES, VERSION, check_hash, check_magic, check_zero, field, put, short_hash,
    u32_at, u64_at,
};
use super::record::RecordType;
use super::{ALIGNMENT, HEADER_BYTES, MOST_PLAIN_BYTES, MOST_RECORDS, MOST_STORED_BYTES, padded};
use crate::error::Problem;

const STRUCTURE: &str = "segment trailer";
const MAGIC: [u8; 8] = *b"ICETRAIL";
/// Length of the part that is associated data of the table, in bytes.
pub(crate) const BOUND: usize = 48;
const CHECKSUMMED: usize = 80;
pub(super) const TRAILER_SIZE: usize = 96;
pub(super) const ENTRY: usize = 48;
/// No table lies farther: its entries count offsets in 32 bits, and behind the last there is one record.
const MOST_TABLE_OFFSET: u64 = ALIGNMENT << 33;

/// Where a record is, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// The record's id.
    pub id: Hash,
    /// Offset of its header in the segment, in bytes.
    pub offset: u64,
    /// Stored length of the payload in bytes.
    pub stored_bytes: u32,
    /// Plain length in bytes.
    pub plain_bytes: u32,
    /// What it holds.
    pub kind: RecordType,
}

/// The table's bytes before sealing.
pub fn encode_table(entries: &[TableEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
    for entry in entries {
        let units = u32::try_from(entry.offset / ALIGNMENT).expect("a segment is below 64 GiB");
        let mut out = [0; ENTRY];
        put::<0, HASH_BYTES, ENTRY>(&mut out, entry.id);
        put::<32, 4, ENTRY>(&mut out, units.to_le_bytes());
        put::<36, 4, ENTRY>(&mut out, entry.stored_bytes.to_le_bytes());
        put::<40, 4, ENTRY>(&mut out, entry.plain_bytes.to_le_bytes());
        out[44] = entry.kind.to_byte();
        bytes.extend_from_slice(&out);
    }
    bytes
}

/// Reads the opened table; records stand one behind the other with no gap, from the header to the table.
pub fn decode_table(bytes: &[u8], trailer: &Trailer) -> Result<Vec<TableEntry>, FormatError> {
    let (chunks, rest) = bytes.as_chunks::<ENTRY>();
    if !rest.is_empty() || chunks.len() != trailer.records as usize {
        return Err(Problem::Field("table length").into());
    }
    let mut entries = Vec::with_capacity(chunks.len());
    let mut next = HEADER_BYTES as u64;
    for chunk in chunks {
        check_zero(&chunk[45..], "reserved")?;
        let entry = TableEntry {
            id: field::<0, HASH_BYTES, ENTRY>(chunk),
            offset: u64::from(u32_at::<32, ENTRY>(chunk)) * ALIGNMENT,
            stored_bytes: u32_at::<36, ENTRY>(chunk),
            plain_bytes: u32_at::<40, ENTRY>(chunk),
            kind: RecordType::from_byte(chunk[44])?,
        };
        if entry.offset != next || entry.stored_bytes > MOST_STORED_BYTES || entry.plain_bytes > MOST_PLAIN_BYTES {
            return Err(Problem::Field("table entry").into());
        }
        next += super::RECORD_HEADER_BYTES as u64 + padded(entry.stored_bytes);
        entries.push(entry);
    }
    if next != trailer.table_offset {
        return Err(Problem::Field("table offset").into());
    }
    Ok(entries)
}

/// A segment's trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Number of records.
    pub records: u32,
    /// Offset of the sealed table in bytes.
    pub table_offset: u64,
    /// Length of the whole segment in bytes.
    pub total_bytes: u64,
    /// The segment.
    pub segment: Id,
}

impl Trailer {
    /// The trailer of a segment whose records end at `table_offset`.
    pub fn new(segment: Id, records: u32, table_offset: u64) -> Self {
        let sealed = u64::from(records) * ENTRY as u64 + TAG_BYTES as u64;
        Self { records, table_offset, total_bytes: table_offset + sealed + TRAILER_SIZE as u64, segment }
    }

    /// Length of the sealed table in bytes.
    pub fn sealed_table_bytes(&self) -> usize {
        self.records as usize * ENTRY + TAG_BYTES
    }

    /// The bytes that are associated data of the table.
    pub fn bound_bytes(&self) -> [u8; BOUND] {
        let mut bytes = [0; BOUND];
        put::<0, 8, BOUND>(&mut bytes, MAGIC);
        put::<8, 4, BOUND>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 4, BOUND>(&mut bytes, self.records.to_le_bytes());
        put::<16, 8, BOUND>(&mut bytes, self.table_offset.to_le_bytes());
        put::<24, 8, BOUND>(&mut bytes, self.total_bytes.to_le_bytes());
        put::<32, 16, BOUND>(&mut bytes, self.segment);
        bytes
    }

    /// The stored form, with the hash over everything that it covers.
    pub fn encode(&self, hash: Hash) -> [u8; TRAILER_SIZE] {
        let mut bytes = [0; TRAILER_SIZE];
        put::<0, BOUND, TRAILER_SIZE>(&mut bytes, self.bound_bytes());
        put::<BOUND, HASH_BYTES, TRAILER_SIZE>(&mut bytes, hash);
        let sum = short_hash::<16>(&bytes[..CHECKSUMMED]);
        put::<CHECKSUMMED, 16, TRAILER_SIZE>(&mut bytes, sum);
        bytes
    }

    /// Reads the stored form of the trailer of `segment` of `length` bytes; the second value is the stored hash.
    pub fn decode(bytes: &[u8; TRAILER_SIZE], segment: &Id, length: u64) -> Result<(Self, Hash), FormatError> {
        check_magic(bytes, MAGIC, STRUCTURE)?;
        check_hash(&bytes[..CHECKSUMMED], field::<CHECKSUMMED, 16, TRAILER_SIZE>(bytes), STRUCTURE)?;
        let records = u32_at::<12, TRAILER_SIZE>(bytes);
        let table_offset = u64_at::<16, TRAILER_SIZE>(bytes);
        let most = length.min(MOST_TABLE_OFFSET);
        if records > MOST_RECORDS || !(HEADER_BYTES as u64..=most).contains(&table_offset) {
            return Err(Problem::Field("table place").into());
        }
        let trailer = Self::new(field::<32, 16, TRAILER_SIZE>(bytes), records, table_offset);
        if trailer.total_bytes != length || u64_at::<24, TRAILER_SIZE>(bytes) != length {
            return Err(Problem::Length { expected: u64_at::<24, TRAILER_SIZE>(bytes), found: length }.into());
        }
        if trailer.segment != *segment {
            return Err(Problem::Misplaced("segment id").into());
        }
        Ok((trailer, field::<BOUND, HASH_BYTES, TRAILER_SIZE>(bytes)))
    }
}
