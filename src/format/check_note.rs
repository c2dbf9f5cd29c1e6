//! A note of what was checked, object `checks/<random id>.note`: when each segment was, and how that ended.
//!
//! Notes are derived and may be deleted at any time: that costs checking again. Whoever checks a vault begins with what
//! was never checked, then with what was checked longest ago; of several notes the later time counts. A note is no
//! evidence: anybody who can write to the vault can write one, so it decides on the order of work and on what a summary
//! says, and nobody takes bytes for whole because of it. A time in the future counts as never.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICECHECK` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's note |
//! | 12 | 4 | number of segments `s`, up to 2^22 | always | |
//! | 16 | 16 | vault id | always | a note of another vault |
//! | 32 | 40 s | what is known of each segment, in order of their ids | always | |
//! | 32 + 40 s | 32 | BLAKE3 of everything before | always | damage |
//!
//! What is known of a segment:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | segment id |
//! | 16 | 8 | when its checksums were last checked, Unix seconds, 0 for never |
//! | 24 | 8 | when it was last checked with the keys that open it, Unix seconds, 0 for never |
//! | 32 | 1 | how the check of checksums ended: 0 there was none, 1 whole, 2 damaged |
//! | 33 | 1 | how the check with keys ended: the same |
//! | 34 | 6 | reserved, zero |

use super::{
    FormatError, HASH_BYTES, ID_BYTES, Id, VERSION, check_zero, field, put, split_hashed, u32_at, u64_at, with_hash,
};
use crate::error::Problem;

/// Folder of the notes.
pub const FOLDER: &str = "checks";

const STRUCTURE: &str = "note of checks";
const MAGIC: [u8; 8] = *b"ICECHECK";
const PREFIX: usize = 32;
const ENTRY: usize = 40;
const _: () = assert!(PREFIX == 8 + 4 + 4 + ID_BYTES);
const _: () = assert!(ENTRY == ID_BYTES + 8 + 8 + 1 + 1 + 6);
/// Most segments in a note.
pub const MOST_SEGMENTS: usize = 1 << 22;
/// Longest stored form in bytes.
pub const MOST_BYTES: u64 = (PREFIX + ENTRY * MOST_SEGMENTS + HASH_BYTES) as u64;

/// When something was checked, and how that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// Unix seconds, above 0.
    pub unix_seconds: u64,
    /// Whether anything was wrong.
    pub damaged: bool,
}

/// What is known of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The last check of everything that needs no key.
    pub checksums: Option<Check>,
    /// The last check with the keys that open it.
    pub keys: Option<Check>,
}

/// The object of a note with a random name.
pub fn object(name: &str) -> String {
    format!("{FOLDER}/{name}.note")
}

/// Whether a file name in the folder is that of a note.
pub fn is_note(name: &str) -> bool {
    name.ends_with(".note")
}

/// The stored form. `entries` stand in the order of their ids, none twice.
pub fn encode(vault: &Id, entries: &[(Id, Checked)]) -> Vec<u8> {
    assert!(entries.len() <= MOST_SEGMENTS, "the caller keeps to the bound");
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "the caller sorts");
    let mut prefix = [0; PREFIX];
    put::<0, 8, PREFIX>(&mut prefix, MAGIC);
    put::<8, 4, PREFIX>(&mut prefix, VERSION.to_le_bytes());
    put::<12, 4, PREFIX>(&mut prefix, (entries.len() as u32).to_le_bytes());
    put::<16, 16, PREFIX>(&mut prefix, *vault);
    let mut bytes = Vec::with_capacity(PREFIX + entries.len() * ENTRY + HASH_BYTES);
    bytes.extend_from_slice(&prefix);
    for (id, checked) in entries {
        let seconds = |check: Option<Check>| check.map_or(0, |check| check.unix_seconds).to_le_bytes();
        let ended = |check: Option<Check>| check.map_or(0, |check| 1 + u8::from(check.damaged));
        let mut entry = [0; ENTRY];
        put::<0, 16, ENTRY>(&mut entry, *id);
        put::<16, 8, ENTRY>(&mut entry, seconds(checked.checksums));
        put::<24, 8, ENTRY>(&mut entry, seconds(checked.keys));
        put::<32, 2, ENTRY>(&mut entry, [ended(checked.checksums), ended(checked.keys)]);
        bytes.extend_from_slice(&entry);
    }
    with_hash(bytes)
}

/// Reads the stored form: the vault, and what is known of each segment.
pub fn decode(bytes: &[u8]) -> Result<(Id, Vec<(Id, Checked)>), FormatError> {
    let (prefix, list) = split_hashed::<PREFIX>(bytes, MAGIC, STRUCTURE)?;
    let (list, rest) = list.as_chunks::<ENTRY>();
    if !rest.is_empty() || list.len() != u32_at::<12, PREFIX>(prefix) as usize || list.len() > MOST_SEGMENTS {
        return Err(Problem::Field("number of segments").into());
    }
    let mut entries: Vec<(Id, Checked)> = Vec::with_capacity(list.len());
    for entry in list {
        check_zero(&entry[34..], "reserved")?;
        let id = field::<0, 16, ENTRY>(entry);
        if entries.last().is_some_and(|last| last.0 >= id) {
            return Err(Problem::Field("order of segments").into());
        }
        let [checksums, keys] = field::<32, 2, ENTRY>(entry);
        let checked = Checked {
            checksums: check(u64_at::<16, ENTRY>(entry), checksums)?,
            keys: check(u64_at::<24, ENTRY>(entry), keys)?,
        };
        entries.push((id, checked));
    }
    Ok((field::<16, 16, PREFIX>(prefix), entries))
}

fn check(unix_seconds: u64, ended: u8) -> Result<Option<Check>, FormatError> {
    match (unix_seconds, ended) {
        (0, 0) => Ok(None),
        (1.., 1 | 2) => Ok(Some(Check { unix_seconds, damaged: ended == 2 })),
        _ => Err(Problem::Field("end of a check").into()),
    }
}
