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
//! The payload, where a point was made:
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
//!
//! The payload, where an administrator did something with a point:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | BLAKE3 of the whole entry before |
//! | 32 | 1 | event: 2 forgotten, 3 brought back, 4 protected, 5 protected no longer, 6 purged |
//! | 33 | 1 | reserved, zero |
//! | 34 | 2 | length `n` of the machine's name |
//! | 36 | 2 | length `w` of the reason, up to 256 |
//! | 38 | 2 | reserved, zero |
//! | 40 | 16 | point id |
//! | 56 | 8 | until when, Unix seconds, signed: the end of the time in which a forgotten point can be brought back (event 2), or of its protection (event 4, the largest number for ever); zero for other events |
//! | 64 | 8 | time the entry was made, Unix seconds, signed |
//! | 72 | n | the machine's name, UTF-8 |
//! | then | w | the reason in words, UTF-8 without control characters |
//! | then | 64 | Ed25519 signature of bytes 0..96 of the entry and everything before it in the payload, with the epoch's signing pair |

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
/// Longest reason in bytes.
pub const MOST_REASON_BYTES: usize = 256;
/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;
const CHANGE_FIXED: usize = 72;
/// Longest stored form in bytes.
pub const MOST_BYTES: usize = PREFIX + super::vault_event::MOST_EVENT_BYTES + SIGNATURE_BYTES + TAG_BYTES + HASH_BYTES;
const _: () = assert!(MOST_BYTES >= PREFIX + FIXED + MOST_NAME_BYTES + TAG_BYTES + HASH_BYTES);
const _: () = assert!(
    MOST_BYTES
        >= PREFIX + CHANGE_FIXED + MOST_NAME_BYTES + MOST_REASON_BYTES + SIGNATURE_BYTES + TAG_BYTES + HASH_BYTES
);

/// How consistent a point is; less comes before more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
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

/// What an administrator did with a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is listed no more, and can be brought back until then, Unix seconds.
    Forgotten {
        /// The end of that time.
        until_unix_seconds: i64,
    },
    /// It is listed again.
    BroughtBack,
    /// It can't be forgotten until then, Unix seconds; the largest number stands for ever.
    Protected {
        /// The end of that time.
        until_unix_seconds: i64,
    },
    /// It can be forgotten again.
    Released,
    /// It is gone: what only it needs is removed.
    Purged,
}

/// The sealed part: an administrator did something with a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointChanged {
    /// BLAKE3 of the whole entry before.
    pub predecessor: Hash,
    /// What was done.
    pub change: Change,
    /// The point.
    pub point: Id,
    /// When the entry was made, Unix seconds.
    pub recorded_unix_seconds: i64,
    /// The machine's name.
    pub machine: String,
    /// Why, in words.
    pub reason: String,
}

/// The sealed part of any entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A point was made.
    Made(PointMade),
    /// An administrator did something with one.
    Changed(PointChanged),
}

/// The object of an entry.
pub fn object(chain: &Id, sequence: u64) -> String {
    format!("{FOLDER}/{}/{sequence:016x}.entry", super::hex(chain))
}

/// The chain and the number of an entry's object.
pub fn place_of(object: &str) -> Option<(Id, u64)> {
    let (chain, name) = object.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    Some((super::id_from_hex(chain)?, sequence_of(name)?))
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

/// Whether a text can be a reason.
pub fn is_reason(text: &str) -> bool {
    text.len() <= MOST_REASON_BYTES && !text.chars().any(char::is_control)
}

impl PointChanged {
    /// The payload before its signature.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.machine.len() <= MOST_NAME_BYTES && is_reason(&self.reason), "both are checked before");
        let (event, until) = match self.change {
            Change::Forgotten { until_unix_seconds } => (2, until_unix_seconds),
            Change::BroughtBack => (3, 0),
            Change::Protected { until_unix_seconds } => (4, until_unix_seconds),
            Change::Released => (5, 0),
            Change::Purged => (6, 0),
        };
        let mut bytes = [0; CHANGE_FIXED];
        put::<0, 32, CHANGE_FIXED>(&mut bytes, self.predecessor);
        put::<32, 1, CHANGE_FIXED>(&mut bytes, [event]);
        put::<34, 2, CHANGE_FIXED>(&mut bytes, (self.machine.len() as u16).to_le_bytes());
        put::<36, 2, CHANGE_FIXED>(&mut bytes, (self.reason.len() as u16).to_le_bytes());
        put::<40, 16, CHANGE_FIXED>(&mut bytes, self.point);
        put::<56, 8, CHANGE_FIXED>(&mut bytes, until.to_le_bytes());
        put::<64, 8, CHANGE_FIXED>(&mut bytes, self.recorded_unix_seconds.to_le_bytes());
        [bytes.as_slice(), self.machine.as_bytes(), self.reason.as_bytes()].concat()
    }

    /// Reads the opened payload without its signature.
    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let short = || Problem::Length { expected: CHANGE_FIXED as u64, found: bytes.len() as u64 };
        let (fixed, texts) = bytes.split_first_chunk::<CHANGE_FIXED>().ok_or_else(short)?;
        check_zero(&[fixed[33], fixed[38], fixed[39]], "reserved")?;
        let until_unix_seconds = i64::from_le_bytes(field::<56, 8, CHANGE_FIXED>(fixed));
        let change = match fixed[32] {
            2 => Change::Forgotten { until_unix_seconds },
            4 => Change::Protected { until_unix_seconds },
            3 | 5 | 6 if until_unix_seconds != 0 => return Err(Problem::Field("until when").into()),
            3 => Change::BroughtBack,
            5 => Change::Released,
            6 => Change::Purged,
            _ => return Err(Problem::Field("event").into()),
        };
        let lengths = [field::<34, 2, CHANGE_FIXED>(fixed), field::<36, 2, CHANGE_FIXED>(fixed)];
        let [name_bytes, reason_bytes] = lengths.map(|length| usize::from(u16::from_le_bytes(length)));
        let (name, reason) = texts.split_at_checked(name_bytes).ok_or(Problem::Field("name length"))?;
        if reason.len() != reason_bytes {
            return Err(Problem::Field("reason's length").into());
        }
        let reason = String::from_utf8(reason.to_vec()).ok().filter(|text| is_reason(text));
        Ok(Self {
            predecessor: field::<0, 32, CHANGE_FIXED>(fixed),
            change,
            point: field::<40, 16, CHANGE_FIXED>(fixed),
            recorded_unix_seconds: i64::from_le_bytes(field::<64, 8, CHANGE_FIXED>(fixed)),
            machine: String::from_utf8(name.to_vec()).map_err(|_| Problem::Field("machine name"))?,
            reason: reason.ok_or(Problem::Field("reason"))?,
        })
    }
}

impl Entry {
    /// Reads the opened payload; with the signature that it must have, which the caller checks.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Option<&[u8; SIGNATURE_BYTES]>), FormatError> {
        if bytes.get(32).is_none_or(|event| *event == 1) {
            return Ok((Self::Made(PointMade::decode(bytes)?), None));
        }
        let short = || Problem::Length { expected: CHANGE_FIXED as u64, found: bytes.len() as u64 };
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or_else(short)?;
        Ok((Self::Changed(PointChanged::decode(signed)?), Some(signature)))
    }

    /// BLAKE3 of the whole entry before.
    pub fn predecessor(&self) -> &Hash {
        match self {
            Self::Made(made) => &made.predecessor,
            Self::Changed(changed) => &changed.predecessor,
        }
    }

    /// When the entry was made, Unix seconds.
    pub fn recorded_unix_seconds(&self) -> i64 {
        match self {
            Self::Made(made) => made.recorded_unix_seconds,
            Self::Changed(changed) => changed.recorded_unix_seconds,
        }
    }

    /// The machine's name.
    pub fn machine(&self) -> &str {
        match self {
            Self::Made(made) => &made.machine,
            Self::Changed(changed) => &changed.machine,
        }
    }
}
