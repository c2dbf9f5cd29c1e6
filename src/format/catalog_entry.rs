//! An entry of a catalog chain, object `catalog/<chain id>/<sequence, 16 hex digits>.entry`.
//!
//! A chain holds what happened to the points of one machine. Its id is a keyed hash of the machine's name, so that two
//! writers who meet a new machine at once meet in one chain. Sequence numbers begin at zero and have no gaps. The chain of the empty name is the vault's own; its
//! entries have another payload.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICECATLG` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's entry |
//! | 12 | 4 | length of the sealed payload | always | truncation |
//! | 16 | 16 | vault id | always | an entry of another vault |
//! | 32 | 16 | chain id | always | an entry of another machine |
//! | 48 | 8 | sequence number | always | a renamed entry |
//! | 56 | 4 | epoch of the keys | always | an entry by who holds older keys only |
//! | 60 | 4 | reserved, zero | always | |
//! | 64 | 32 | salt of this entry's key, random | always | two writers of one number sealing under one key |
//! | 96 | n | payload, AES-256-GCM, nonce zero, bytes 0..96 as associated data | with the epoch's meta key | any change |
//! | 96 + n | 32 | BLAKE3 of everything before | always | damage, told apart from a wrong key |
//!
//! The payload:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | BLAKE3 of the whole entry before, zero for the first: nothing can be dropped or reordered |
//! | 32 | 1 | event: 1 point made |
//! | 33 | 1 | consistency: 1 crash, 2 file-system, 3 application |
//! | 34 | 2 | length of the machine's name |
//! | 36 | 4 | reserved, zero |
//! | 40 | 16 | point id |
//! | 56 | 8 | the point's time, Unix seconds, signed |
//! | 64 | 8 | time the entry was made, Unix seconds, signed |
//! | 72 | 16 | segment that holds the manifest |
//! | 88 | 8 | offset of the manifest's record in it |
//! | 96 | 32 | id of the manifest record |
//! | 128 | n | the machine's name, UTF-8 |

use super::{
    FormatError, HASH_BYTES, Hash, Id, TAG_BYTES, VERSION, check_zero, field, put, split_hashed, u32_at, u64_at,
};
use crate::error::Problem;

/// Folder of the chains.
pub const FOLDER: &str = "catalog";

const STRUCTURE: &str = "catalog entry";
const MAGIC: [u8; 8] = *b"ICECATLG";
/// Length of the part before the payload, its associated data, in bytes.
pub const PREFIX: usize = 96;
const FIXED: usize = 128;
/// Longest name of a machine or disk in bytes.
pub const MOST_NAME_BYTES: usize = 128;
/// Most entries of a chain. A name with a higher number is none of ours, and must not use up those that there are.
pub const MOST_ENTRIES: u64 = 1 << 32;
/// Longest stored form in bytes.
pub const MOST_BYTES: usize = PREFIX + FIXED + MOST_NAME_BYTES + TAG_BYTES + HASH_BYTES;

/// How consistent a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut: every file system finds its journal unreplayed.
    Crash,
    /// File systems were frozen.
    FileSystem,
    /// Applications had brought their files into order.
    Application,
}

/// The clear part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The vault.
    pub vault: Id,
    /// The chain.
    pub chain: Id,
    /// Place in the chain.
    pub sequence: u64,
    /// Epoch of the keys.
    pub epoch: u32,
    /// Salt of the entry's key.
    pub salt: [u8; 32],
}

/// The sealed part: a point was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointMade {
    /// BLAKE3 of the whole entry before, zero for the first.
    pub predecessor: Hash,
    /// How consistent the point is.
    pub consistency: Consistency,
    /// The point.
    pub point: Id,
    /// The point's time, Unix seconds.
    pub time_unix_seconds: i64,
    /// When the entry was made, Unix seconds.
    pub recorded_unix_seconds: i64,
    /// Segment that holds the manifest.
    pub segment: Id,
    /// Offset of its record there.
    pub offset: u64,
    /// Its id.
    pub manifest: Hash,
    /// The machine's name.
    pub machine: String,
}

/// The object of an entry.
pub fn object(chain: &Id, sequence: u64) -> String {
    format!("{FOLDER}/{}/{sequence:016x}.entry", super::hex(chain))
}

/// The sequence number in an entry's file name.
pub fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".entry")?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (sequence < MOST_ENTRIES && format!("{sequence:016x}") == digits).then_some(sequence)
}

impl Prefix {
    /// Fails where this is an entry of another vault, another chain, or another place in its chain.
    pub fn check_place(&self, vault: &Id, chain: &Id, sequence: u64) -> Result<(), FormatError> {
        for (right, what) in [
            (self.vault == *vault, "vault id"),
            (self.chain == *chain, "chain id"),
            (self.sequence == sequence, "sequence number"),
        ] {
            if !right {
                return Err(Problem::Misplaced(what).into());
            }
        }
        Ok(())
    }

    /// The stored form, for a payload of `sealed_bytes`.
    pub fn encode(&self, sealed_bytes: u32) -> [u8; PREFIX] {
        let mut bytes = [0; PREFIX];
        put::<0, 8, PREFIX>(&mut bytes, MAGIC);
        put::<8, 4, PREFIX>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 4, PREFIX>(&mut bytes, sealed_bytes.to_le_bytes());
        put::<16, 16, PREFIX>(&mut bytes, self.vault);
        put::<32, 16, PREFIX>(&mut bytes, self.chain);
        put::<48, 8, PREFIX>(&mut bytes, self.sequence.to_le_bytes());
        put::<56, 4, PREFIX>(&mut bytes, self.epoch.to_le_bytes());
        put::<64, 32, PREFIX>(&mut bytes, self.salt);
        bytes
    }
}

/// Splits a stored entry into its clear part, that part's bytes, and the sealed payload.
pub fn split(bytes: &[u8]) -> Result<(Prefix, &[u8; PREFIX], &[u8]), FormatError> {
    let (prefix, payload) = split_hashed::<PREFIX>(bytes, MAGIC, STRUCTURE)?;
    check_zero(&prefix[60..64], "reserved")?;
    if u32_at::<12, PREFIX>(prefix) as usize != payload.len() {
        return Err(Problem::Field("payload length").into());
    }
    let decoded = Prefix {
        vault: field::<16, 16, PREFIX>(prefix),
        chain: field::<32, 16, PREFIX>(prefix),
        sequence: u64_at::<48, PREFIX>(prefix),
        epoch: u32_at::<56, PREFIX>(prefix),
        salt: field::<64, 32, PREFIX>(prefix),
    };
    Ok((decoded, prefix, payload))
}

impl PointMade {
    /// The payload before sealing.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.machine.len() <= MOST_NAME_BYTES, "names are checked before");
        let consistency = match self.consistency {
            Consistency::Crash => 1,
            Consistency::FileSystem => 2,
            Consistency::Application => 3,
        };
        let mut bytes = [0; FIXED];
        put::<0, 32, FIXED>(&mut bytes, self.predecessor);
        put::<32, 2, FIXED>(&mut bytes, [1, consistency]);
        put::<34, 2, FIXED>(&mut bytes, (self.machine.len() as u16).to_le_bytes());
        put::<40, 16, FIXED>(&mut bytes, self.point);
        put::<56, 8, FIXED>(&mut bytes, self.time_unix_seconds.to_le_bytes());
        put::<64, 8, FIXED>(&mut bytes, self.recorded_unix_seconds.to_le_bytes());
        put::<72, 16, FIXED>(&mut bytes, self.segment);
        put::<88, 8, FIXED>(&mut bytes, self.offset.to_le_bytes());
        put::<96, 32, FIXED>(&mut bytes, self.manifest);
        let mut bytes = bytes.to_vec();
        bytes.extend_from_slice(self.machine.as_bytes());
        bytes
    }

    /// Reads the opened payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some((fixed, name)) = bytes.split_first_chunk::<FIXED>() else {
            return Err(Problem::Length { expected: FIXED as u64, found: bytes.len() as u64 }.into());
        };
        let [event, consistency] = field::<32, 2, FIXED>(fixed);
        if event != 1 {
            return Err(Problem::Field("event").into());
        }
        let consistency = match consistency {
            1 => Consistency::Crash,
            2 => Consistency::FileSystem,
            3 => Consistency::Application,
            _ => return Err(Problem::Field("consistency").into()),
        };
        check_zero(&fixed[36..40], "reserved")?;
        if usize::from(u16::from_le_bytes(field::<34, 2, FIXED>(fixed))) != name.len() {
            return Err(Problem::Field("name length").into());
        }
        Ok(Self {
            predecessor: field::<0, 32, FIXED>(fixed),
            consistency,
            point: field::<40, 16, FIXED>(fixed),
            time_unix_seconds: i64::from_le_bytes(field::<56, 8, FIXED>(fixed)),
            recorded_unix_seconds: i64::from_le_bytes(field::<64, 8, FIXED>(fixed)),
            segment: field::<72, 16, FIXED>(fixed),
            offset: u64_at::<88, FIXED>(fixed),
            manifest: field::<96, 32, FIXED>(fixed),
            machine: String::from_utf8(name.to_vec()).map_err(|_| Problem::Field("machine name"))?,
        })
    }
}
