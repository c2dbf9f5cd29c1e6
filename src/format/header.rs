//! The vault's header, objects `header` and `header-copy`, equal bytes: written once by `init`, the copy first. The copy decides
//! wherever the header is damaged, can't be read, or is another vault's.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICEVAULT` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's vault |
//! | 12 | 4 | length of the header, 176 | always | a truncated header |
//! | 16 | 16 | vault id, random | always | objects of another vault |
//! | 32 | 8 | time of `init`, Unix seconds | always | |
//! | 40 | 1 | chunk size, as its power of two, 12 to 22 | always | |
//! | 41 | 1 | compression: 1 zstd | always | |
//! | 42 | 1 | compression level, signed, -7 to 22 | always | |
//! | 43 | 1 | parity of each segment in hundredths of it, 0 to 20 | always | |
//! | 44 | 4 | size at which a segment is closed, in bytes | always | |
//! | 48 | 32 | public half of the data key pair (X25519, RFC 7748) | always | content keys sealed to somebody else |
//! | 80 | 32 | reserved, zero | always | |
//! | 112 | 32 | BLAKE3 of bytes 0..112, keyed by the header key | checked with a key | any change by somebody without a key |
//! | 144 | 32 | BLAKE3 of bytes 0..144 | always | damage, told apart from a wrong key |

use super::{FormatError, Hash, Id, VERSION, check_hash, check_magic, check_zero, exactly, field, put, u32_at, u64_at};
use crate::error::Problem;

/// Name of the object in the vault.
pub const OBJECT: &str = "header";
/// Name of its second copy: one bad sector must not take a whole vault.
pub const COPY: &str = "header-copy";

const STRUCTURE: &str = "vault header";
const MAGIC: [u8; 8] = *b"ICEVAULT";
const AUTHENTICATED: usize = 112;
const CHECKSUMMED: usize = AUTHENTICATED + 32;
/// Length in bytes.
pub const SIZE: usize = CHECKSUMMED + 32;
const _: () = assert!(SIZE == 176);

/// Smallest and largest chunk size, as powers of two.
pub const CHUNK_SIZE_LOG2: std::ops::RangeInclusive<u8> = 12..=22;
/// Smallest and largest zstd level.
pub const LEVELS: std::ops::RangeInclusive<i8> = -7..=22;
/// Smallest and largest segment size, in bytes.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u32> = (1 << 20)..=(1 << 30);
/// Least and most parity of a segment, in hundredths of it.
pub const PARITY_PERCENT: std::ops::RangeInclusive<u8> = 0..=20;

const ZSTD: u8 = 1;

/// What `init` decided, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The vault's id.
    pub vault: Id,
    /// Time of `init`, Unix seconds.
    pub created_unix_seconds: u64,
    /// Chunk size as its power of two.
    pub chunk_size_log2: u8,
    /// zstd level.
    pub level: i8,
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u32,
    /// Parity of each segment in hundredths of it; 0 for none.
    pub parity_percent: u8,
    /// Public half of the data key pair.
    pub public: [u8; 32],
}

/// A decoded header whose authenticator is still to be checked with a key.
#[derive(Debug)]
pub struct Decoded {
    /// The fields.
    pub header: Header,
    /// The authenticator as stored.
    pub authenticator: Hash,
}

impl Header {
    /// Chunk size in bytes.
    pub fn chunk_bytes(&self) -> u32 {
        1 << self.chunk_size_log2
    }

    /// The bytes that the authenticator covers.
    pub fn authenticated_bytes(&self) -> [u8; AUTHENTICATED] {
        let mut bytes = [0; AUTHENTICATED];
        put::<0, 8, AUTHENTICATED>(&mut bytes, MAGIC);
        put::<8, 4, AUTHENTICATED>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 4, AUTHENTICATED>(&mut bytes, (SIZE as u32).to_le_bytes());
        put::<16, 16, AUTHENTICATED>(&mut bytes, self.vault);
        put::<32, 8, AUTHENTICATED>(&mut bytes, self.created_unix_seconds.to_le_bytes());
        put::<40, 4, AUTHENTICATED>(
            &mut bytes,
            [self.chunk_size_log2, ZSTD, self.level.to_le_bytes()[0], self.parity_percent],
        );
        put::<44, 4, AUTHENTICATED>(&mut bytes, self.segment_bytes.to_le_bytes());
        put::<48, 32, AUTHENTICATED>(&mut bytes, self.public);
        bytes
    }

    /// The stored form.
    pub fn encode(&self, authenticator: Hash) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put::<0, AUTHENTICATED, SIZE>(&mut bytes, self.authenticated_bytes());
        put::<AUTHENTICATED, 32, SIZE>(&mut bytes, authenticator);
        let sum = *blake3::hash(&bytes[..CHECKSUMMED]).as_bytes();
        put::<CHECKSUMMED, 32, SIZE>(&mut bytes, sum);
        bytes
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Decoded, FormatError> {
        let bytes: &[u8; SIZE] = match bytes.first_chunk::<12>() {
            // Magic and version stand first for ever, so a newer header is named as such whatever its length.
            Some(start) => {
                check_magic(start, MAGIC, STRUCTURE)?;
                exactly(bytes)?
            }
            None => return Err(Problem::Magic(STRUCTURE).into()),
        };
        check_hash(&bytes[..CHECKSUMMED], field::<CHECKSUMMED, 32, SIZE>(bytes), STRUCTURE)?;
        let [chunk_size_log2, compression, level, parity_percent] = field::<40, 4, SIZE>(bytes);
        let header = Self {
            vault: field::<16, 16, SIZE>(bytes),
            created_unix_seconds: u64_at::<32, SIZE>(bytes),
            chunk_size_log2,
            level: i8::from_le_bytes([level]),
            segment_bytes: u32_at::<44, SIZE>(bytes),
            parity_percent,
            public: field::<48, 32, SIZE>(bytes),
        };
        check_zero(&bytes[80..AUTHENTICATED], "reserved")?;
        for (right, name) in [
            (u32_at::<12, SIZE>(bytes) as usize == SIZE, "header length"),
            (CHUNK_SIZE_LOG2.contains(&chunk_size_log2), "chunk size"),
            (compression == ZSTD, "compression"),
            (LEVELS.contains(&header.level), "compression level"),
            (SEGMENT_BYTES.contains(&header.segment_bytes), "segment size"),
            (PARITY_PERCENT.contains(&parity_percent), "parity"),
        ] {
            if !right {
                return Err(Problem::Field(name).into());
            }
        }
        Ok(Decoded { header, authenticator: field::<AUTHENTICATED, 32, SIZE>(bytes) })
    }
}
