//! The header of a record.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 4 | magic `ICER` | always | a reader out of step |
//! | 4 | 4 | record number, from 0 | always | reordered records; it is the nonce |
//! | 8 | 1 | type: 1 chunk, 2 map node, 3 manifest | always | |
//! | 9 | 1 | encoding: 0 plain, 1 zstd | always | |
//! | 10 | 2 | reserved, zero | always | |
//! | 12 | 4 | plain length in bytes, 1 to 16 MiB | always | allocation by an absurd number |
//! | 16 | 4 | stored length in bytes, tag included | always | |
//! | 20 | 4 | reserved, zero | always | |
//! | 24 | 48 | record id, sealed | with the meta key | ids in the clear |
//! | 72 | 16 | first half of the BLAKE3 of the stored payload | always | damage, found without a key |
//! | 88 | 8 | first quarter of the BLAKE3 of bytes 0..88 | always | damage in the header itself |
//!
//! The associated data of the sealed id are bytes 0..24, vault id and segment id; those of the payload the same and the
//! record's id: a payload is good for one place and one chunk only.

use super::super::{FormatError, HASH_BYTES, TAG_BYTES, check_hash, check_zero, field, put, short_hash, u32_at};
use super::{ALIGNMENT, MOST_PLAIN_BYTES, MOST_RECORDS};
use crate::error::Problem;

const STRUCTURE: &str = "record header";
const MAGIC: [u8; 4] = *b"ICER";
/// Length of the part that is associated data, in bytes.
pub(crate) const BOUND: usize = 24;
const CHECKSUMMED: usize = 88;
pub(super) const SIZE: usize = 96;
/// Length of a sealed id in bytes.
pub(crate) const SEALED_ID_BYTES: usize = HASH_BYTES + TAG_BYTES;
const _: () = assert!(BOUND + SEALED_ID_BYTES + 16 == CHECKSUMMED);

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// A piece of a disk.
    Chunk,
    /// A node of a disk map.
    MapNode,
    /// The manifest of a point.
    Manifest,
}

impl RecordType {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::MapNode => 2,
            Self::Manifest => 3,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Result<Self, FormatError> {
        match byte {
            1 => Ok(Self::Chunk),
            2 => Ok(Self::MapNode),
            3 => Ok(Self::Manifest),
            _ => Err(Problem::Field("record type").into()),
        }
    }

    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::MapNode => "map node",
            Self::Manifest => "manifest",
        }
    }
}

/// How the plain bytes became the sealed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// One zstd frame.
    Zstd,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Place in the segment, from 0.
    pub number: u32,
    /// What it holds.
    pub kind: RecordType,
    /// How it is encoded.
    pub encoding: Encoding,
    /// Length of the plain bytes.
    pub plain_bytes: u32,
    /// Length of the sealed payload, tag included.
    pub stored_bytes: u32,
    /// The record's id, sealed.
    pub sealed_id: [u8; SEALED_ID_BYTES],
    /// First half of the BLAKE3 of the stored payload.
    pub checksum: [u8; 16],
}

/// Length of a payload with its padding, in bytes.
pub fn padded(stored_bytes: u32) -> u64 {
    u64::from(stored_bytes).next_multiple_of(ALIGNMENT)
}

impl RecordHeader {
    /// The bytes that are associated data of id and payload.
    pub fn bound_bytes(&self) -> [u8; BOUND] {
        let encoding = match self.encoding {
            Encoding::Plain => 0,
            Encoding::Zstd => 1,
        };
        let mut bytes = [0; BOUND];
        put::<0, 4, BOUND>(&mut bytes, MAGIC);
        put::<4, 4, BOUND>(&mut bytes, self.number.to_le_bytes());
        put::<8, 2, BOUND>(&mut bytes, [self.kind.to_byte(), encoding]);
        put::<12, 4, BOUND>(&mut bytes, self.plain_bytes.to_le_bytes());
        put::<16, 4, BOUND>(&mut bytes, self.stored_bytes.to_le_bytes());
        bytes
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put::<0, BOUND, SIZE>(&mut bytes, self.bound_bytes());
        put::<BOUND, SEALED_ID_BYTES, SIZE>(&mut bytes, self.sealed_id);
        put::<72, 16, SIZE>(&mut bytes, self.checksum);
        let sum = short_hash::<8>(&bytes[..CHECKSUMMED]);
        put::<CHECKSUMMED, 8, SIZE>(&mut bytes, sum);
        bytes
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8; SIZE]) -> Result<Self, FormatError> {
        if field::<0, 4, SIZE>(bytes) != MAGIC {
            return Err(Problem::Magic("record").into());
        }
        check_hash(&bytes[..CHECKSUMMED], field::<CHECKSUMMED, 8, SIZE>(bytes), STRUCTURE)?;
        check_zero(&bytes[10..12], "reserved")?;
        check_zero(&bytes[20..24], "reserved")?;
        let [kind, encoding] = field::<8, 2, SIZE>(bytes);
        let header = Self {
            number: u32_at::<4, SIZE>(bytes),
            kind: RecordType::from_byte(kind)?,
            encoding: match encoding {
                0 => Encoding::Plain,
                1 => Encoding::Zstd,
                _ => return Err(Problem::Field("encoding").into()),
            },
            plain_bytes: u32_at::<12, SIZE>(bytes),
            stored_bytes: u32_at::<16, SIZE>(bytes),
            sealed_id: field::<BOUND, SEALED_ID_BYTES, SIZE>(bytes),
            checksum: field::<72, 16, SIZE>(bytes),
        };
        let tag = TAG_BYTES as u32;
        let fits = match header.encoding {
            Encoding::Plain => header.stored_bytes.checked_sub(tag) == Some(header.plain_bytes),
            // What compression does not shorten is kept plain.
            Encoding::Zstd => header.stored_bytes > tag && header.stored_bytes - tag < header.plain_bytes,
        };
        if !(1..=MOST_PLAIN_BYTES).contains(&header.plain_bytes) || !fits {
            return Err(Problem::Field("record length").into());
        }
        if header.number >= MOST_RECORDS {
            return Err(Problem::Field("record number").into());
        }
        Ok(header)
    }
}
