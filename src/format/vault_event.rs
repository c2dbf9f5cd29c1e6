//! An event of the vault itself: the payload of an entry of the vault's own chain. Administrators alone make them.
//!
//! That chain is stored and sealed like the catalog chain of a machine, as that of the machine with the empty name. Its
//! entries say what happened to the vault as a whole.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | BLAKE3 of the whole entry before, zero for the first |
//! | 32 | 1 | event: 1 epoch began, 2 key slot removed, 3 soft delete set, 4 document set, 5 quota set, 6 entry given up, 7 time noted |
//! | 33 | 7 | reserved, zero |
//! | 40 | 8 | time the entry was made, Unix seconds, signed |
//! | 48 | n | what the event says |
//! | 48 + n | 64 | Ed25519 signature of bytes 0..96 of the entry and everything before it in the payload, with the epoch's signing pair |
//!
//! Event 1, an epoch of the keys began; the entry itself is the first that is sealed under the new keys:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 48 | 4 | epoch, one more than before |
//! | 52 | 1 | whether everything older is to be moved under the new keys: 0 no, 1 yes |
//! | 53 | 3 | reserved, zero |
//! | 56 | 32 | BLAKE3 of the epoch's inventory, the same as in the key slots |
//!
//! Event 2, a key slot was removed: it opens nothing and is renewed by no rotation, also where its file is put back.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 48 | 8 | slot id |
//!
//! Event 3, how long a forgotten point can be brought back, and until when that can't be made shorter; 14 days and never
//! locked where no such event is:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 48 | 8 | that time in seconds |
//! | 56 | 8 | until when it is locked, Unix seconds, signed; 0 for not at all, the largest number for ever |
//!
//! Event 4, a document was set, in place of the one of that kind and name before:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 48 | 1 | kind: 1 policy, 2 machine |
//! | 49 | 1 | length `n` of the name, 1 to 128 |
//! | 50 | 2 | reserved, zero |
//! | 52 | 4 | length `d` of the document, up to 65536; 0 where it was removed |
//! | 56 | n | the name, UTF-8 |
//! | 56 + n | d | the document, a JSON object |
//!
//! A document's field `version` is 1; what it says beyond these fields, or in another version, is refused. A policy:
//!
//! | field | value |
//! |---|---|
//! | `schedule` | when a point is due, as `daily 02:00,14:00 spread 2h`; absent where never by itself |
//! | `timeZone` | IANA name of the zone of its clock and days; absent for UTC |
//! | `retention` | what is kept, as `last=5,daily=7,max-age=10y` |
//! | `includeDisks`, `excludeDisks` | lists of names of disks |
//! | `consistency` | `crash`, `file-system` or `application` |
//! | `allowCrash` | whether a point is made all the same where it can't be that consistent |
//! | `tags` | object of texts |
//! | `lockedUntil` | Unix seconds, or `"ever"`; absent where it is not locked |
//!
//! A machine:
//!
//! | field | value |
//! |---|---|
//! | `disks` | object: of each disk's name the absolute path |
//! | `excludedDisks` | list of names of disks |
//! | `policy` | name of its policy |
//! | `tags` | object of texts |
//! | `hooks` | object: `preScript`, `postScript`, `timeoutSeconds` |
//! | `snapshotCommand` | a command |
//! | `reflink` | whether files are read from a reflinked copy |
//! | `snapshotDir` | absolute path of the directory for those copies |
//! | `consistency` | what its scripts achieve: `crash`, `file-system` or `application` |
//!
//! While a policy's `lockedUntil` is later than the time of an entry, that entry does not count and is damage where it removes
//! the policy, or sets it so that a number of its retention is smaller (or gone), its `min-age` is smaller, its `max-age` is
//! smaller (or newly there), `timeZone` is another, or `lockedUntil` is earlier; and where it removes a machine that is under it, or puts it under
//! a policy that is weaker in one of these. An entry's time counts as no later than the reader's clock and 5 minutes.
//!
//! Event 5, how much a machine or the vault may take; the last one for a name counts, and takes the place of those before:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 48 | 8 | bytes from which on a backup warns; 0 for none |
//! | 56 | 8 | bytes beyond which no point is made; 0 for none |
//! | 64 | 2 | length `n` of the machine's name, up to 128; 0 for the vault as a whole |
//! | 66 | 6 | reserved, zero |
//! | 72 | n | the machine's name, UTF-8 |
//!
//! Event 6, an entry of any chain that is damaged or lost is given up: nobody waits for what it said. One that comes back
//! all the same counts as if this had not been, also where it is damaged again:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 48 | 16 | chain id |
//! | 64 | 8 | the entry's number |
//! | 72 | 32 | BLAKE3 of the damaged file; zero where there was none, or it could not be read |
//!
//! Event 7, the time was noted, which is the entry's own: there is nothing else in it.

use super::{FormatError, Hash, Id, check_zero, exactly, field, put, u32_at, u64_at};
use crate::error::Problem;
use crate::format::catalog_entry::{MOST_ENTRIES, MOST_NAME_BYTES, SIGNATURE_BYTES};

const FIXED: usize = 48;
const EPOCH_BEGAN: usize = FIXED + 40;
const SLOT_REMOVED: usize = FIXED + 8;
const SOFT_DELETE: usize = FIXED + 16;
const GIVEN_UP: usize = FIXED + 56;
const QUOTA: usize = FIXED + 24;
const DOCUMENT_SET: usize = FIXED + 8;
/// Longest document in bytes.
pub const MOST_DOCUMENT_BYTES: usize = 64 << 10;
/// Longest payload before its signature, in bytes.
pub(super) const MOST_EVENT_BYTES: usize = DOCUMENT_SET + MOST_NAME_BYTES + MOST_DOCUMENT_BYTES;
const _: () = assert!(MOST_EVENT_BYTES >= EPOCH_BEGAN && MOST_NAME_BYTES <= u8::MAX as usize);

/// What happened to the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An epoch of the keys began.
    EpochBegan {
        /// The epoch.
        epoch: u32,
        /// BLAKE3 of its inventory.
        inventory: Hash,
        /// Whether everything older is to be moved under the new keys.
        rewrites: bool,
    },
    /// A key slot was removed.
    SlotRemoved {
        /// Its id.
        slot: [u8; 8],
    },
    /// How long forgotten points can be brought back was set.
    SoftDeleteSet(SoftDelete),
    /// An entry that is damaged or lost is given up.
    GivenUp {
        /// The chain.
        chain: Id,
        /// The entry's number.
        sequence: u64,
        /// BLAKE3 of the damaged file; zero where there was none, or it could not be read.
        found: Hash,
    },
    /// The time was noted.
    TimeNoted,
    /// How much a machine or the vault may take was set.
    QuotaSet {
        /// The machine's name; empty for the vault as a whole.
        machine: String,
        /// How much that is.
        quota: Quota,
    },
    /// A document was set or removed.
    DocumentSet(DocumentSet),
}

/// How much a machine or the vault may take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// From here on a backup warns; 0 for never.
    pub warn_bytes: u64,
    /// Beyond this no point is made; 0 for no such limit.
    pub hard_bytes: u64,
}

/// What a document is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentKind {
    /// A policy.
    Policy,
    /// A machine.
    Machine,
}

/// A document of the vault's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSet {
    /// What it is of.
    pub kind: DocumentKind,
    /// The name of that.
    pub name: String,
    /// What it says, JSON; empty where it was removed.
    pub document: Vec<u8>,
}

/// How long forgotten points can be brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftDelete {
    /// So long, in seconds.
    pub grace_seconds: u64,
    /// Until when that can't be made shorter, Unix seconds: 0 for not at all, the largest number for ever.
    pub locked_until_unix_seconds: i64,
}

impl Default for SoftDelete {
    fn default() -> Self {
        Self { grace_seconds: 14 * 86_400, locked_until_unix_seconds: 0 }
    }
}

/// An entry of the vault's own chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultEvent {
    /// BLAKE3 of the whole entry before, zero for the first.
    pub predecessor: Hash,
    /// When the entry was made, Unix seconds.
    pub recorded_unix_seconds: i64,
    /// What happened.
    pub event: Event,
}

impl VaultEvent {
    /// The payload before sealing.
    pub fn encode(&self) -> Vec<u8> {
        match &self.event {
            Event::DocumentSet(DocumentSet { kind, name, document }) => {
                assert!(
                    !name.is_empty() && name.len() <= MOST_NAME_BYTES && document.len() <= MOST_DOCUMENT_BYTES,
                    "both are checked before"
                );
                let kind = match kind {
                    DocumentKind::Policy => 1,
                    DocumentKind::Machine => 2,
                };
                let mut bytes = self.begin::<DOCUMENT_SET>(4);
                put::<48, 2, DOCUMENT_SET>(&mut bytes, [kind, name.len() as u8]);
                put::<52, 4, DOCUMENT_SET>(&mut bytes, (document.len() as u32).to_le_bytes());
                [bytes.as_slice(), name.as_bytes(), document].concat()
            }
            &Event::EpochBegan { epoch, inventory, rewrites } => {
                let mut bytes = self.begin::<EPOCH_BEGAN>(1);
                put::<48, 4, EPOCH_BEGAN>(&mut bytes, epoch.to_le_bytes());
                put::<52, 1, EPOCH_BEGAN>(&mut bytes, [u8::from(rewrites)]);
                put::<56, 32, EPOCH_BEGAN>(&mut bytes, inventory);
                bytes.to_vec()
            }
            &Event::SoftDeleteSet(SoftDelete { grace_seconds, locked_until_unix_seconds }) => {
                let mut bytes = self.begin::<SOFT_DELETE>(3);
                put::<48, 8, SOFT_DELETE>(&mut bytes, grace_seconds.to_le_bytes());
                put::<56, 8, SOFT_DELETE>(&mut bytes, locked_until_unix_seconds.to_le_bytes());
                bytes.to_vec()
            }
            &Event::GivenUp { chain, sequence, found } => {
                let mut bytes = self.begin::<GIVEN_UP>(6);
                put::<48, 16, GIVEN_UP>(&mut bytes, chain);
                put::<64, 8, GIVEN_UP>(&mut bytes, sequence.to_le_bytes());
                put::<72, 32, GIVEN_UP>(&mut bytes, found);
                bytes.to_vec()
            }
            Event::TimeNoted => self.begin::<FIXED>(7).to_vec(),
            &Event::SlotRemoved { slot } => {
                let mut bytes = self.begin::<SLOT_REMOVED>(2);
                put::<48, 8, SLOT_REMOVED>(&mut bytes, slot);
                bytes.to_vec()
            }
            Event::QuotaSet { machine, quota } => {
                assert!(machine.len() <= MOST_NAME_BYTES, "names are checked before");
                #[expect(clippy::cast_possible_truncation, reason = "at most 128")]
                let length = machine.len() as u16;
                let mut bytes = self.begin::<QUOTA>(5);
                put::<48, 8, QUOTA>(&mut bytes, quota.warn_bytes.to_le_bytes());
                put::<56, 8, QUOTA>(&mut bytes, quota.hard_bytes.to_le_bytes());
                put::<64, 2, QUOTA>(&mut bytes, length.to_le_bytes());
                [bytes.as_slice(), machine.as_bytes()].concat()
            }
        }
    }

    /// What all events begin with.
    fn begin<const SIZE: usize>(&self, event: u8) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put::<0, 32, SIZE>(&mut bytes, self.predecessor);
        put::<32, 1, SIZE>(&mut bytes, [event]);
        put::<40, 8, SIZE>(&mut bytes, self.recorded_unix_seconds.to_le_bytes());
        bytes
    }

    /// Reads the opened payload; with the signature, which the caller checks.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8; SIGNATURE_BYTES]), FormatError> {
        let unsigned = || Problem::Length { expected: (FIXED + SIGNATURE_BYTES) as u64, found: bytes.len() as u64 };
        let (bytes, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or_else(unsigned)?;
        let short = || Problem::Length { expected: FIXED as u64, found: bytes.len() as u64 };
        let (fixed, _) = bytes.split_first_chunk::<FIXED>().ok_or_else(short)?;
        check_zero(&fixed[33..40], "reserved")?;
        let event = match fixed[32] {
            1 => {
                let bytes = exactly::<EPOCH_BEGAN>(bytes)?;
                check_zero(&bytes[53..56], "reserved")?;
                let rewrites = match bytes[52] {
                    0 => false,
                    1 => true,
                    _ => return Err(Problem::Field("rewrite").into()),
                };
                let (epoch, inventory) = (u32_at::<48, EPOCH_BEGAN>(bytes), field::<56, 32, EPOCH_BEGAN>(bytes));
                Event::EpochBegan { epoch, inventory, rewrites }
            }
            2 => Event::SlotRemoved { slot: field::<48, 8, SLOT_REMOVED>(exactly::<SLOT_REMOVED>(bytes)?) },
            3 => {
                let bytes = exactly::<SOFT_DELETE>(bytes)?;
                Event::SoftDeleteSet(SoftDelete {
                    grace_seconds: u64_at::<48, SOFT_DELETE>(bytes),
                    locked_until_unix_seconds: i64::from_le_bytes(field::<56, 8, SOFT_DELETE>(bytes)),
                })
            }
            6 => {
                let bytes = exactly::<GIVEN_UP>(bytes)?;
                let sequence = u64_at::<64, GIVEN_UP>(bytes);
                if sequence >= MOST_ENTRIES {
                    return Err(Problem::Field("entry's number").into());
                }
                let (chain, found) = (field::<48, 16, GIVEN_UP>(bytes), field::<72, 32, GIVEN_UP>(bytes));
                Event::GivenUp { chain, sequence, found }
            }
            7 => {
                exactly::<FIXED>(bytes)?;
                Event::TimeNoted
            }
            5 => {
                let short = || Problem::Length { expected: QUOTA as u64, found: bytes.len() as u64 };
                let (bytes, name) = bytes.split_first_chunk::<QUOTA>().ok_or_else(short)?;
                check_zero(&bytes[66..], "reserved")?;
                if usize::from(u16::from_le_bytes(field::<64, 2, QUOTA>(bytes))) != name.len()
                    || name.len() > MOST_NAME_BYTES
                {
                    return Err(Problem::Field("length of the machine name").into());
                }
                Event::QuotaSet {
                    machine: String::from_utf8(name.to_vec()).map_err(|_| Problem::Field("machine name"))?,
                    quota: Quota { warn_bytes: u64_at::<48, QUOTA>(bytes), hard_bytes: u64_at::<56, QUOTA>(bytes) },
                }
            }
            4 => Event::DocumentSet(DocumentSet::decode(bytes)?),
            _ => return Err(Problem::Field("event").into()),
        };
        let event = Self {
            predecessor: field::<0, 32, FIXED>(fixed),
            recorded_unix_seconds: i64::from_le_bytes(field::<40, 8, FIXED>(fixed)),
            event,
        };
        Ok((event, signature))
    }
}

impl DocumentSet {
    /// Reads an event's bytes before its signature.
    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let short = || Problem::Length { expected: DOCUMENT_SET as u64, found: bytes.len() as u64 };
        let (fixed, texts) = bytes.split_first_chunk::<DOCUMENT_SET>().ok_or_else(short)?;
        check_zero(&fixed[50..52], "reserved")?;
        let [kind, name_bytes] = field::<48, 2, DOCUMENT_SET>(fixed);
        let kind = match kind {
            1 => DocumentKind::Policy,
            2 => DocumentKind::Machine,
            _ => return Err(Problem::Field("kind").into()),
        };
        let (name, document) = texts.split_at_checked(name_bytes.into()).ok_or(Problem::Field("name length"))?;
        if name.is_empty() || name.len() > MOST_NAME_BYTES {
            return Err(Problem::Field("name length").into());
        }
        if u32_at::<52, DOCUMENT_SET>(fixed) as usize != document.len() || document.len() > MOST_DOCUMENT_BYTES {
            return Err(Problem::Field("document's length").into());
        }
        let name = String::from_utf8(name.to_vec()).map_err(|_| Problem::Field("name"))?;
        Ok(Self { kind, name, document: document.to_vec() })
    }
}
