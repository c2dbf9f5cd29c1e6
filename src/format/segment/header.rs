//! The header of a segment.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICESEGMT` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's segment |
//! | 12 | 1 | kind: 1 data, 2 meta | always | data taken for maps, or the reverse |
//! | 13 | 3 | reserved, zero | always | |
//! | 16 | 16 | vault id | always | a segment of another vault |
//! | 32 | 16 | segment id | always | a renamed segment |
//! | 48 | 4 | epoch of the keys | always | a segment by who holds older keys only |
//! | 52 | 12 | reserved, zero | always | |
//! | 64 | 32 | HPKE encapsulated key | kind 1, else 0 | |
//! | 96 | 48 | HPKE sealed content key | kind 1, else 0 | |
//! | 144 | 32 | BLAKE3 of bytes 0..144, keyed by the segment header key | with the epoch's meta key | a segment by somebody without a key |
//! | 176 | 16 | first half of the BLAKE3 of bytes 0..176 | always | damage |

use super::super::{
    FormatError, Hash, Id, VERSION, check_hash, check_magic, check_zero, field, put, short_hash, u32_at,
};
use crate::error::Problem;

const STRUCTURE: &str = "segment header";
const MAGIC: [u8; 8] = *b"ICESEGMT";
const AUTHENTICATED: usize = 144;
const CHECKSUMMED: usize = AUTHENTICATED + 32;
pub(super) const SIZE: usize = CHECKSUMMED + 16;
const _: () = assert!(SIZE == 192);

/// What a segment's records are, and so which key seals them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Chunks, under a content key that only holders of the private half can open.
    Data {
        /// HPKE encapsulated key.
        encapsulated: [u8; 32],
        /// The content key, sealed by HPKE.
        sealed_key: [u8; 48],
    },
    /// Map nodes and manifests, under the meta key.
    Meta,
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The vault.
    pub vault: Id,
    /// The segment.
    pub segment: Id,
    /// Epoch of the keys.
    pub epoch: u32,
    /// Kind and keys.
    pub kind: SegmentKind,
}

impl SegmentHeader {
    /// The bytes that the authenticator covers.
    pub fn authenticated_bytes(&self) -> [u8; AUTHENTICATED] {
        let mut bytes = [0; AUTHENTICATED];
        put::<0, 8, AUTHENTICATED>(&mut bytes, MAGIC);
        put::<8, 4, AUTHENTICATED>(&mut bytes, VERSION.to_le_bytes());
        put::<16, 16, AUTHENTICATED>(&mut bytes, self.vault);
        put::<32, 16, AUTHENTICATED>(&mut bytes, self.segment);
        put::<48, 4, AUTHENTICATED>(&mut bytes, self.epoch.to_le_bytes());
        match self.kind {
            SegmentKind::Data { encapsulated, sealed_key } => {
                bytes[12] = 1;
                put::<64, 32, AUTHENTICATED>(&mut bytes, encapsulated);
                put::<96, 48, AUTHENTICATED>(&mut bytes, sealed_key);
            }
            SegmentKind::Meta => bytes[12] = 2,
        }
        bytes
    }

    /// The stored form.
    pub fn encode(&self, authenticator: Hash) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put::<0, AUTHENTICATED, SIZE>(&mut bytes, self.authenticated_bytes());
        put::<AUTHENTICATED, 32, SIZE>(&mut bytes, authenticator);
        let sum = short_hash::<16>(&bytes[..CHECKSUMMED]);
        put::<CHECKSUMMED, 16, SIZE>(&mut bytes, sum);
        bytes
    }

    /// Fails where this is the header of another vault's segment, or of another segment.
    pub fn check_place(&self, vault: &Id, segment: &Id) -> Result<(), FormatError> {
        if self.vault != *vault {
            return Err(Problem::Misplaced("vault id").into());
        }
        if self.segment != *segment {
            return Err(Problem::Misplaced("segment id").into());
        }
        Ok(())
    }

    /// Reads the stored form; the second value is the authenticator, still to be checked with a key.
    pub fn decode(bytes: &[u8; SIZE]) -> Result<(Self, Hash), FormatError> {
        check_magic(bytes, MAGIC, STRUCTURE)?;
        check_hash(&bytes[..CHECKSUMMED], field::<CHECKSUMMED, 16, SIZE>(bytes), STRUCTURE)?;
        check_zero(&bytes[13..16], "reserved")?;
        check_zero(&bytes[52..64], "reserved")?;
        let kind = match bytes[12] {
            1 => SegmentKind::Data {
                encapsulated: field::<64, 32, SIZE>(bytes),
                sealed_key: field::<96, 48, SIZE>(bytes),
            },
            2 => {
                check_zero(&bytes[64..AUTHENTICATED], "content key")?;
                SegmentKind::Meta
            }
            _ => return Err(Problem::Field("kind").into()),
        };
        let header = Self {
            vault: field::<16, 16, SIZE>(bytes),
            segment: field::<32, 16, SIZE>(bytes),
            epoch: u32_at::<48, SIZE>(bytes),
            kind,
        };
        Ok((header, field::<AUTHENTICATED, 32, SIZE>(bytes)))
    }
}
