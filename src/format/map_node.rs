//! A node of a disk map: the ids of up to 128 children, in order.
//!
//! At level 0 the children are chunks, above they are nodes of the level below. A child that is absent stands for
//! nothing but zeros. A node says nothing of its place in a disk, so that equal subtrees are one record wherever they
//! are. Node ids are keyed by a key of their own: no chunk can pass for a node.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICEDMAP1` | always | another record taken for a node |
//! | 8 | 4 | version, 1 | always | a newer program's node |
//! | 12 | 1 | level, 0 to 7 | always | a loop, or a subtree hung in at the wrong depth |
//! | 13 | 3 | reserved, zero | always | |
//! | 16 | 16 | bitmap: bit `i` (bit `i % 8` of byte `i / 8`) set where child `i` is present | always | |
//! | 32 | 32 each | ids of the present children, in order | always | |

use super::{FormatError, HASH_BYTES, Hash, VERSION, check_magic, check_zero, field, put};
use crate::error::Problem;

/// Most children of a node.
pub const FANOUT: usize = 128;
const FANOUT_LOG2: u32 = FANOUT.trailing_zeros();
/// Highest level: with 4 KiB chunks, eight levels of 128 reach past 2^64 bytes.
pub const HIGHEST_LEVEL: u8 = 7;
const _: () = assert!(12 + FANOUT_LOG2 * (HIGHEST_LEVEL as u32 + 1) >= 64);

const STRUCTURE: &str = "map node";
const MAGIC: [u8; 8] = *b"ICEDMAP1";
const PREFIX: usize = 32;
/// Longest stored form in bytes.
pub const MOST_BYTES: usize = PREFIX + FANOUT * HASH_BYTES;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapNode {
    /// 0 where the children are chunks.
    pub level: u8,
    /// The children; `None` is all zeros.
    pub children: Box<[Option<Hash>; FANOUT]>,
}

impl MapNode {
    /// A node with no child.
    pub fn empty(level: u8) -> Self {
        Self { level, children: Box::new([None; FANOUT]) }
    }

    /// The number of chunks that a child of a node of `level` stands for.
    pub fn chunks_per_child(level: u8) -> u64 {
        1_u64.checked_shl(FANOUT_LOG2 * u32::from(level)).unwrap_or(u64::MAX)
    }

    /// The lowest level whose node covers `chunks` chunks.
    pub fn root_level(chunks: u64) -> u8 {
        (0..HIGHEST_LEVEL).find(|level| Self::chunks_per_child(level + 1) >= chunks).unwrap_or(HIGHEST_LEVEL)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut prefix = [0; PREFIX];
        put::<0, 8, PREFIX>(&mut prefix, MAGIC);
        put::<8, 4, PREFIX>(&mut prefix, VERSION.to_le_bytes());
        prefix[12] = self.level;
        let mut bytes = Vec::with_capacity(MOST_BYTES);
        bytes.extend_from_slice(&prefix);
        for (number, child) in self.children.iter().enumerate() {
            if let Some(id) = child {
                bytes[16 + number / 8] |= 1 << (number % 8);
                bytes.extend_from_slice(id);
            }
        }
        bytes
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some((prefix, ids)) = bytes.split_first_chunk::<PREFIX>() else {
            return Err(Problem::Length { expected: PREFIX as u64, found: bytes.len() as u64 }.into());
        };
        check_magic(prefix, MAGIC, STRUCTURE)?;
        check_zero(&prefix[13..16], "reserved")?;
        let level = prefix[12];
        if level > HIGHEST_LEVEL {
            return Err(Problem::Field("level").into());
        }
        let present = u128::from_le_bytes(field::<16, 16, PREFIX>(prefix));
        let expected = present.count_ones() as usize * HASH_BYTES;
        if ids.len() != expected {
            return Err(Problem::Length { expected: expected as u64, found: ids.len() as u64 }.into());
        }
        let mut node = Self::empty(level);
        let mut ids = ids.as_chunks::<HASH_BYTES>().0.iter();
        for (number, child) in node.children.iter_mut().enumerate() {
            if present >> number & 1 == 1 {
                *child = ids.next().copied();
            }
        }
        Ok(node)
    }
}
