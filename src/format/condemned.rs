//! Segments that are about to be removed, object `condemned/<generation, 16 hex digits>.segments`, and those of them that a
//! backup relies on which runs meanwhile, object `condemned/<generation>-<random id>.relied`.
//!
//! Both are of use only while somebody gives back space: he makes the first, with the next higher generation, and waits until
//! every backup that began before has taken notice; a backup that relies on any of these segments makes the second before it
//! takes notice. The last `.segments`, an empty one, stays, so that generations go on. They are no evidence of anything: a
//! forged one costs space, as anybody can who may write to the vault.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICECONDM` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's list |
//! | 12 | 4 | number of segments `s`, up to 2^24 | always | |
//! | 16 | 16 | vault id | always | a list of another vault |
//! | 32 | 16 s | segment ids, ascending | always | |
//! | 32 + 16 s | 32 | BLAKE3 of everything before | always | damage |

use super::{FormatError, HASH_BYTES, ID_BYTES, Id, VERSION, field, hex, put, split_hashed, u32_at, with_hash};
use crate::error::Problem;

/// Folder of the lists.
pub const FOLDER: &str = "condemned";

const STRUCTURE: &str = "list of condemned segments";
const MAGIC: [u8; 8] = *b"ICECONDM";
const PREFIX: usize = 32;
const _: () = assert!(PREFIX == 8 + 4 + 4 + ID_BYTES);
/// Most segments in a list.
pub const MOST_SEGMENTS: usize = 1 << 24;
/// Longest stored form in bytes.
pub const MOST_BYTES: u64 = (PREFIX + ID_BYTES * MOST_SEGMENTS + HASH_BYTES) as u64;
const GENERATION_DIGITS: usize = 16;
/// Generations are numbered below this: a higher number is none of ours.
pub const MOST_GENERATIONS: u64 = 1 << 62;

/// What a file in the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The segments that are about to be removed, of a generation.
    Segments(u64),
    /// Those of them that a backup relies on.
    Relied(u64),
}

/// The object that tells which segments are about to be removed.
pub fn segments(generation: u64) -> String {
    format!("{FOLDER}/{generation:016x}.segments")
}

/// The object by which a backup tells which of them it relies on.
pub fn relied(generation: u64, backup: &Id) -> String {
    format!("{FOLDER}/{generation:016x}-{}.relied", hex(backup))
}

/// What a file of that name is; nothing where it is none of these.
pub fn listed(name: &str) -> Option<Listed> {
    let (generation, rest) = name.split_at_checked(GENERATION_DIGITS)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !generation.bytes().all(is_digit) {
        return None;
    }
    let generation = u64::from_str_radix(generation, 16).ok().filter(|generation| *generation < MOST_GENERATIONS)?;
    if rest == ".segments" {
        return Some(Listed::Segments(generation));
    }
    let backup = rest.strip_prefix('-')?.strip_suffix(".relied")?;
    (backup.len() == 2 * ID_BYTES && backup.bytes().all(is_digit)).then_some(Listed::Relied(generation))
}

/// The stored form. `ids` are ascending, none twice.
pub fn encode(vault: &Id, ids: &[Id]) -> Vec<u8> {
    assert!(ids.len() <= MOST_SEGMENTS, "the caller keeps to the bound");
    assert!(ids.is_sorted_by(|a, b| a < b), "the caller sorts");
    let mut prefix = [0; PREFIX];
    put::<0, 8, PREFIX>(&mut prefix, MAGIC);
    put::<8, 4, PREFIX>(&mut prefix, VERSION.to_le_bytes());
    put::<12, 4, PREFIX>(&mut prefix, (ids.len() as u32).to_le_bytes());
    put::<16, 16, PREFIX>(&mut prefix, *vault);
    let mut bytes = Vec::with_capacity(PREFIX + ids.len() * ID_BYTES + HASH_BYTES);
    bytes.extend_from_slice(&prefix);
    bytes.extend_from_slice(ids.as_flattened());
    with_hash(bytes)
}

/// Reads the stored form: the vault, and the segments.
pub fn decode(bytes: &[u8]) -> Result<(Id, Vec<Id>), FormatError> {
    let (prefix, list) = split_hashed::<PREFIX>(bytes, MAGIC, STRUCTURE)?;
    let (list, rest) = list.as_chunks::<ID_BYTES>();
    if !rest.is_empty() || list.len() != u32_at::<12, PREFIX>(prefix) as usize || list.len() > MOST_SEGMENTS {
        return Err(Problem::Field("number of segments").into());
    }
    if !list.is_sorted_by(|a, b| a < b) {
        return Err(Problem::Field("order of segments").into());
    }
    Ok((field::<16, 16, PREFIX>(prefix), list.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_and_names_are_told_apart() {
        let ids = [[1; 16], [2; 16], [3; 16]];
        let bytes = encode(&[7; 16], &ids);
        assert_eq!(decode(&bytes).expect("a list"), ([7; 16], ids.to_vec()));
        assert_eq!(decode(&encode(&[7; 16], &[])).expect("a list"), ([7; 16], vec![]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "{at} bytes");
        }
        let name = |object: String| object.strip_prefix("condemned/").expect("in the folder").to_owned();
        assert_eq!(listed(&name(segments(0xfe))), Some(Listed::Segments(0xfe)));
        assert_eq!(listed(&name(relied(7, &[9; 16]))), Some(Listed::Relied(7)));
        assert_eq!(listed(&name(segments(MOST_GENERATIONS - 1))), Some(Listed::Segments(MOST_GENERATIONS - 1)));
        assert_eq!(listed(&name(segments(MOST_GENERATIONS))), None);
        for other in ["", "00000000000000fe", "00000000000000FE.segments", "+0000000000000fe.segments", "é.segments"] {
            assert_eq!(listed(other), None, "{other}");
        }
    }
}
