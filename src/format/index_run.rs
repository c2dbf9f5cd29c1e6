//! A run of the derived index, object `index/<random id>.run`: entries sorted by tag, for a set of segments.
//!
//! The index may be deleted at any time; it is made again from the segments' tables. A tag is one AES-256 block under
//! the index key over the first half of a record id, so that the mapped file shows no ids and nobody without the key can
//! make an entry that would be found.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICEINDEX` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | |
//! | 12 | 4 | number of segments `s` | always | |
//! | 16 | 16 | vault id | always | a run of another vault |
//! | 32 | 8 | number of entries `n` | always | |
//! | 40 | 1 | number of bits `b` that choose a bucket, 0 to 32 | always | |
//! | 41 | 3 | reserved, zero | always | |
//! | 44 | 4 | epoch of the keys that the tags are under | always | tags that nobody looks for any more |
//! | 48 | 16 | reserved, zero | always | |
//! | 64 | 16 s | ids of the segments that the run covers | always | entries of segments that are gone |
//! | 64 + 16 s | 32 | BLAKE3 of everything before | always | damage |
//! | then, at a multiple of 4096 | 4 (2^b + 1) | number of the first entry of each bucket, then `n` | always | |
//! | then, at a multiple of 4096 | 32 n | entries, sorted by tag | always | |
//! | then | 32 | BLAKE3, keyed by the index run key, of the BLAKE3 of everything before the entries and the BLAKE3 of the entries | checked by writers | chunks that are called known and are not there |
//!
//! An entry:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | tag |
//! | 16 | 4 | number of the segment in the run's list |
//! | 20 | 4 | offset of the record header, in units of 16 bytes |
//! | 24 | 4 | stored length of the payload in bytes |
//! | 28 | 4 | plain length in bytes |
//!
//! Readers need not check buckets and entries: one that is wrong makes a read fail its authentication and look the record
//! up in the segments themselves. A writer takes the index's word that a chunk is there, so it checks the whole run first.

use super::{
    FormatError, HASH_BYTES, ID_BYTES, Id, VERSION, check_hash, check_magic, check_zero, field, put, u32_at, u64_at,
};
use crate::error::Problem;

/// Folder of the index.
pub const FOLDER: &str = "index";

const STRUCTURE: &str = "index run";
const MAGIC: [u8; 8] = *b"ICEINDEX";
/// Length of the part before the list of segments, in bytes.
pub const PREFIX: usize = 64;
const PAGE: u64 = 4096;
/// Length of an entry in bytes.
pub const ENTRY_BYTES: usize = 32;
/// Length of a bucket's number in bytes.
pub const BUCKET_BYTES: usize = 4;
/// Average number of entries that a bucket should hold.
const ENTRIES_PER_BUCKET: u64 = 32;
/// Most segments in a run.
pub const MOST_SEGMENTS: u32 = 1 << 22;

/// The tag that an entry is found by.
pub type Tag = [u8; 16];

/// Shape of a run: everything else follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// The vault.
    pub vault: Id,
    /// Number of segments covered.
    pub segments: u32,
    /// Number of entries.
    pub entries: u64,
    /// Number of bits that choose a bucket.
    pub bucket_bits: u8,
    /// Epoch of the keys that the tags are under.
    pub epoch: u32,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// What it is found by.
    pub tag: Tag,
    /// Number of the segment in the run's list.
    pub segment: u32,
    /// Offset of the record header in units of 16 bytes.
    pub offset_16: u32,
    /// Stored length of the payload in bytes.
    pub stored_bytes: u32,
    /// Plain length in bytes.
    pub plain_bytes: u32,
}

impl RunEntry {
    /// The stored form.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        put::<0, 16, ENTRY_BYTES>(&mut bytes, self.tag);
        put::<16, 4, ENTRY_BYTES>(&mut bytes, self.segment.to_le_bytes());
        put::<20, 4, ENTRY_BYTES>(&mut bytes, self.offset_16.to_le_bytes());
        put::<24, 4, ENTRY_BYTES>(&mut bytes, self.stored_bytes.to_le_bytes());
        put::<28, 4, ENTRY_BYTES>(&mut bytes, self.plain_bytes.to_le_bytes());
        bytes
    }

    /// Reads the stored form; any bytes are an entry.
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            tag: field::<0, 16, ENTRY_BYTES>(bytes),
            segment: u32_at::<16, ENTRY_BYTES>(bytes),
            offset_16: u32_at::<20, ENTRY_BYTES>(bytes),
            stored_bytes: u32_at::<24, ENTRY_BYTES>(bytes),
            plain_bytes: u32_at::<28, ENTRY_BYTES>(bytes),
        }
    }
}

impl RunHeader {
    /// The shape of a run of so many entries over so many segments.
    pub fn new(vault: Id, epoch: u32, segments: u32, entries: u64) -> Self {
        let buckets = (entries / ENTRIES_PER_BUCKET).max(1);
        let bucket_bits = u8::try_from(buckets.ilog2()).unwrap_or(32).min(32);
        Self { vault, segments, entries, bucket_bits, epoch }
    }

    /// Number of the bucket of a tag.
    pub fn bucket(&self, tag: &Tag) -> u64 {
        let high = u64::from_be_bytes(field::<0, 8, 16>(tag));
        high.checked_shr(64 - u32::from(self.bucket_bits)).unwrap_or(0)
    }

    /// Length of the checksummed beginning without its checksum, in bytes.
    pub fn listed_bytes(&self) -> usize {
        PREFIX + self.segments as usize * ID_BYTES
    }

    /// Offset of the buckets in bytes.
    pub fn buckets_offset(&self) -> u64 {
        (self.listed_bytes() as u64 + HASH_BYTES as u64).next_multiple_of(PAGE)
    }

    /// Offset of the entries in bytes.
    pub fn entries_offset(&self) -> u64 {
        let buckets = ((1_u64 << self.bucket_bits) + 1) * BUCKET_BYTES as u64;
        (self.buckets_offset() + buckets).next_multiple_of(PAGE)
    }

    /// Offset of the authenticator in bytes.
    pub fn authenticator_offset(&self) -> u64 {
        self.entries_offset().saturating_add(self.entries.saturating_mul(ENTRY_BYTES as u64))
    }

    /// Length of the whole run in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.authenticator_offset().saturating_add(HASH_BYTES as u64)
    }

    /// The stored form of everything before the buckets.
    pub fn encode(&self, segments: &[Id]) -> Vec<u8> {
        assert_eq!(segments.len(), self.segments as usize, "the list is the header's");
        let mut prefix = [0; PREFIX];
        put::<0, 8, PREFIX>(&mut prefix, MAGIC);
        put::<8, 4, PREFIX>(&mut prefix, VERSION.to_le_bytes());
        put::<12, 4, PREFIX>(&mut prefix, self.segments.to_le_bytes());
        put::<16, 16, PREFIX>(&mut prefix, self.vault);
        put::<32, 8, PREFIX>(&mut prefix, self.entries.to_le_bytes());
        prefix[40] = self.bucket_bits;
        put::<44, 4, PREFIX>(&mut prefix, self.epoch.to_le_bytes());
        let mut bytes = prefix.to_vec();
        bytes.extend_from_slice(segments.as_flattened());
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    /// Reads the first bytes of a run of `length` bytes.
    pub fn decode(bytes: &[u8; PREFIX], length: u64) -> Result<Self, FormatError> {
        check_magic(bytes, MAGIC, STRUCTURE)?;
        check_zero(&bytes[41..44], "reserved")?;
        check_zero(&bytes[48..], "reserved")?;
        let header = Self {
            vault: field::<16, 16, PREFIX>(bytes),
            segments: u32_at::<12, PREFIX>(bytes),
            entries: u64_at::<32, PREFIX>(bytes),
            bucket_bits: bytes[40],
            epoch: u32_at::<44, PREFIX>(bytes),
        };
        let bounded =
            header.segments <= MOST_SEGMENTS && header.bucket_bits <= 32 && u32::try_from(header.entries).is_ok();
        if !bounded || header.total_bytes() != length {
            return Err(Problem::Field("run shape").into());
        }
        Ok(header)
    }

    /// Checks the beginning (list of segments and checksum included) and returns the list.
    pub fn decode_segments(&self, bytes: &[u8]) -> Result<Vec<Id>, FormatError> {
        let wrong = Problem::Field("list of segments");
        let Some((before, sum)) = bytes.split_last_chunk::<HASH_BYTES>() else {
            return Err(wrong.into());
        };
        check_hash(before, *sum, STRUCTURE)?;
        let list = before.get(PREFIX..).unwrap_or_default();
        let (ids, rest) = list.as_chunks::<ID_BYTES>();
        if !rest.is_empty() || ids.len() != self.segments as usize {
            return Err(wrong.into());
        }
        Ok(ids.to_vec())
    }
}
