//! The stored structures, one file each: byte table, encode, decode.
//!
//! All integers are little-endian. Every structure begins with a magic number of eight bytes and a version; every one
//! carries a checksum that needs no key, so that damage is told apart from a wrong key. Reserved bytes are zero when
//! written and checked when read. Nothing here touches a file or a key: authentication and encryption are `seal`'s.

#![forbid(unsafe_code)]

pub mod catalog_entry;
pub mod check_note;
pub mod condemned;
pub mod header;
pub mod index_run;
pub mod inventory;
pub mod key_slot;
pub mod map_node;
pub mod parity;
pub mod segment;
pub mod vault_event;

use crate::error::{Error, Problem};

/// The version of every structure that this program writes.
pub const VERSION: u32 = 1;

/// Length of ids of vaults, segments, chains and points, in bytes.
pub const ID_BYTES: usize = 16;

/// Length of a chunk id and of every full hash, in bytes.
pub const HASH_BYTES: usize = 32;

/// Length of an AES-GCM tag, in bytes.
pub const TAG_BYTES: usize = 16;

/// A vault, segment, chain or point id: random, or a keyed hash, never meaningful.
pub type Id = [u8; ID_BYTES];

/// A BLAKE3 hash, keyed or plain.
pub type Hash = [u8; HASH_BYTES];

/// Why bytes are not the structure that they should be.
#[derive(Debug, PartialEq, Eq)]
pub enum FormatError {
    /// Of another version.
    Version {
        /// The structure's name.
        structure: &'static str,
        /// The version found.
        found: u32,
    },
    /// Anything else.
    Problem(Problem),
}

impl From<Problem> for FormatError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl FormatError {
    /// The engine's error, at a place.
    pub fn at(self, object: &str, offset: u64) -> Error {
        match self {
            Self::Version { structure, found } => {
                Error::UnsupportedVersion { object: object.to_owned(), structure, found, supported: VERSION }
            }
            Self::Problem(problem) => Error::damaged(object, offset, problem),
        }
    }
}

/// Copies the `N` bytes at `AT` out of a structure of `SIZE` bytes; the compiler checks that they lie inside.
pub(crate) fn field<const AT: usize, const N: usize, const SIZE: usize>(bytes: &[u8; SIZE]) -> [u8; N] {
    const { assert!(AT + N <= SIZE) };
    let mut out = [0; N];
    out.copy_from_slice(&bytes[AT..AT + N]);
    out
}

/// The `u32` at `AT`.
pub(crate) fn u32_at<const AT: usize, const SIZE: usize>(bytes: &[u8; SIZE]) -> u32 {
    u32::from_le_bytes(field::<AT, 4, SIZE>(bytes))
}

/// The `u64` at `AT`.
pub(crate) fn u64_at<const AT: usize, const SIZE: usize>(bytes: &[u8; SIZE]) -> u64 {
    u64::from_le_bytes(field::<AT, 8, SIZE>(bytes))
}

/// Puts `value` at `AT`; the compiler checks that it fits.
pub(crate) fn put<const AT: usize, const N: usize, const SIZE: usize>(bytes: &mut [u8; SIZE], value: [u8; N]) {
    const { assert!(AT + N <= SIZE) };
    bytes[AT..AT + N].copy_from_slice(&value);
}

/// Magic and version of a structure; the version is judged only where the magic is right.
pub(crate) fn check_magic<const SIZE: usize>(
    bytes: &[u8; SIZE],
    magic: [u8; 8],
    structure: &'static str,
) -> Result<(), FormatError> {
    if field::<0, 8, SIZE>(bytes) != magic {
        return Err(Problem::Magic(structure).into());
    }
    match u32_at::<8, SIZE>(bytes) {
        VERSION => Ok(()),
        found => Err(FormatError::Version { structure, found }),
    }
}

/// The first `N` bytes of the plain BLAKE3 of `bytes`, against what is stored.
pub(crate) fn check_hash<const N: usize>(
    bytes: &[u8],
    stored: [u8; N],
    structure: &'static str,
) -> Result<(), FormatError> {
    if short_hash::<N>(bytes) == stored { Ok(()) } else { Err(Problem::Checksum(structure).into()) }
}

/// The first `N` bytes of the plain BLAKE3 of `bytes`.
pub(crate) fn short_hash<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const { assert!(N <= HASH_BYTES) };
    let mut out = [0; N];
    out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..N]);
    out
}

/// Adds the checksum to a structure that ends with one.
pub fn with_hash(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

/// Splits a structure of its own magic that ends with its checksum, which is checked: its first `PREFIX` bytes, and those
/// between them and the checksum.
pub(crate) fn split_hashed<'a, const PREFIX: usize>(
    bytes: &'a [u8],
    magic: [u8; 8],
    structure: &'static str,
) -> Result<(&'a [u8; PREFIX], &'a [u8]), FormatError> {
    let start = bytes.first_chunk::<12>().ok_or(Problem::Magic(structure))?;
    check_magic(start, magic, structure)?;
    let short = || Problem::Length { expected: (PREFIX + HASH_BYTES) as u64, found: bytes.len() as u64 };
    let (before, sum) = bytes.split_last_chunk::<HASH_BYTES>().ok_or_else(short)?;
    let split = before.split_first_chunk::<PREFIX>().ok_or_else(short)?;
    check_hash(before, *sum, structure)?;
    Ok(split)
}

/// Reserved bytes must be zero.
pub(crate) fn check_zero(bytes: &[u8], field: &'static str) -> Result<(), FormatError> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Problem::Field(field).into()) }
}

/// A slice as a structure of fixed size.
pub(crate) fn exactly<const SIZE: usize>(bytes: &[u8]) -> Result<&[u8; SIZE], FormatError> {
    bytes.try_into().map_err(|_| Problem::Length { expected: SIZE as u64, found: bytes.len() as u64 }.into())
}

/// An id as 32 lower-case hex digits.
pub fn hex(id: &[u8]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::with_capacity(id.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The id that 32 lower-case hex digits name.
pub fn id_from_hex(text: &str) -> Option<Id> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    if bytes.len() != ID_BYTES * 2 {
        return None;
    }
    let mut id = [0; ID_BYTES];
    for (out, pair) in id.iter_mut().zip(bytes.chunks_exact(2)) {
        *out = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(id)
}
