//! A key slot, object `keys/<slot id in hex>-<epoch, 8 hex digits>.slot`: one way to open the vault, and the role that it
//! gives.
//!
//! A rotation of the keys writes a new file for each slot; of several files of one slot the one of the newest epoch
//! counts that has begun.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICESLOT1` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's slot |
//! | 12 | 1 | kind: 1 password, 2 key file, 3 recovery key, 4 external command | always | |
//! | 13 | 1 | role: 1 backup, 2 restore, 3 admin | always | |
//! | 14 | 1 | length of the label `n`, up to 64 | always | |
//! | 15 | 1 | reserved, zero | always | |
//! | 16 | 16 | vault id | always | a slot of another vault |
//! | 32 | 8 | slot id, random | always | a renamed slot |
//! | 40 | 8 | time the slot was made, Unix seconds | always | |
//! | 48 | 4 | Argon2id passes | kind 1, else 0 | |
//! | 52 | 4 | Argon2id memory in KiB | kind 1, else 0 | |
//! | 56 | 4 | Argon2id lanes | kind 1, else 0 | |
//! | 60 | 4 | epoch `e`, the newest whose keys are inside | always | a slot from before a rotation |
//! | 64 | 32 | salt, random | always | tables of guessed passwords |
//! | 96 | 32 | key commitment | always | one payload that opens under two passwords |
//! | 128 | 32 | public half of the slot's own pair (X25519, RFC 7748) | always | |
//! | 160 | 8 | time the epoch began, Unix seconds | always | |
//! | 168 | 4 | length of the wrapped key `w`, up to 16 KiB | kind 4, else 0 | |
//! | 172 | 4 | length of the sealed payload `p`: 16 + 40 + (e + 1) times 128, 160 or 192 for role 1, 2 or 3 | always | |
//! | 176 | 16 | reserved, zero | always | |
//! | 192 | n | label, UTF-8 without control characters | always | |
//! | then | w | the slot's key as the external command wrapped it | kind 4 | |
//! | then | 32 | HPKE encapsulated key | always | |
//! | then | p | payload, sealed by HPKE to the slot's public half | with the slot's key | |
//! | then | 48 | the slot's update key, sealed under the admin key of epoch `e` | with an admin key | slots that no administrator made |
//! | then | 32 | BLAKE3 of everything before, keyed by the slot's update key | with the slot's key | keys that no administrator gave |
//! | then | 32 | BLAKE3 of everything before | always | damage, told apart from a wrong password |
//!
//! The bytes up to the HPKE encapsulated key are the associated data of both seals. The payload:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | epoch `e` |
//! | 4 | 4 | reserved, zero |
//! | 8 | 32 | id key |
//! | 40 | 128, 160 or 192 each | the keys of epochs 0 to `e`, in order |
//!
//! The keys of an epoch:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | meta key |
//! | 32 | 32 | public half of the data key pair |
//! | 64 | 32 | BLAKE3 of the inventory that the epoch began with; zero for epoch 0 |
//! | 96 | 32 | public half of the administrators' signing pair (Ed25519, RFC 8032) |
//! | 128 | 32 | private half of the data key pair; roles restore and admin only |
//! | 160 | 32 | admin key; role admin only. The private half of the signing pair is derived from it |

use super::{
    FormatError, HASH_BYTES, Hash, Id, TAG_BYTES, VERSION, check_zero, field, hex, put, split_hashed, u32_at, u64_at,
    with_hash,
};
use crate::error::Problem;

/// Folder of the slots in the vault.
pub const FOLDER: &str = "keys";

const STRUCTURE: &str = "key slot";
const MAGIC: [u8; 8] = *b"ICESLOT1";
/// Length of the part before the label, in bytes.
pub const PREFIX: usize = 192;
/// Longest label in bytes.
pub const MOST_LABEL_BYTES: usize = 64;
/// Longest key as an external command may wrap it, in bytes.
pub const MOST_WRAPPED_BYTES: usize = 16 << 10;
/// Most epochs whose keys a slot holds.
pub const MOST_EPOCHS: u32 = 1024;
/// Length of the payload before the keys of the first epoch, in bytes.
pub const PAYLOAD_FIXED: usize = 40;
/// Length of the sealed update key in bytes.
pub const ESCROW_BYTES: usize = 32 + TAG_BYTES;
/// Longest stored form in bytes.
pub const MOST_BYTES: usize = PREFIX
    + MOST_LABEL_BYTES
    + MOST_WRAPPED_BYTES
    + 32
    + TAG_BYTES
    + PAYLOAD_FIXED
    + MOST_EPOCHS as usize * 192
    + ESCROW_BYTES
    + 2 * HASH_BYTES;

/// Largest Argon2id cost that is accepted from a slot: a hostile slot must not take the machine's memory or days.
pub const MOST_PASSES: u32 = 64;
/// Largest Argon2id memory accepted, in KiB: 4 GiB.
pub const MOST_MEMORY_KIB: u32 = 4 << 20;
/// Most Argon2id lanes accepted.
pub const MOST_LANES: u32 = 64;

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// A password, through Argon2id with these costs.
    Password {
        /// Passes.
        passes: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The content of a key file.
    KeyFile,
    /// A recovery key, random bits that somebody keeps as words.
    Recovery,
    /// A key that a command of the user's wraps and unwraps.
    External,
}

/// What somebody who opened the vault may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Adds points and deduplicates against old ones; holds no key that opens data.
    Backup,
    /// Reads everything besides.
    Restore,
    /// Manages keys besides.
    Admin,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Admin => "admin",
        }
    }

    /// Whether it holds the private half of the data key pair.
    pub fn reads_data(self) -> bool {
        self >= Self::Restore
    }

    /// Length of one epoch's keys in the payload, in bytes.
    pub fn epoch_bytes(self) -> usize {
        match self {
            Self::Backup => 128,
            Self::Restore => 160,
            Self::Admin => 192,
        }
    }

    /// Length of the payload with the keys up to `epoch`, before sealing, in bytes.
    pub fn payload_bytes(self, epoch: u32) -> usize {
        PAYLOAD_FIXED + (epoch as usize + 1) * self.epoch_bytes()
    }
}

/// A slot as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// What opens it.
    pub kind: SlotKind,
    /// What it gives.
    pub role: Role,
    /// The vault it belongs to.
    pub vault: Id,
    /// Its id.
    pub id: [u8; 8],
    /// When the slot was made, Unix seconds.
    pub created_unix_seconds: u64,
    /// The newest epoch whose keys are inside.
    pub epoch: u32,
    /// When that epoch began, Unix seconds.
    pub epoch_unix_seconds: u64,
    /// Salt of the derivation.
    pub salt: [u8; 32],
    /// Commitment to the key.
    pub commitment: Hash,
    /// Public half of the slot's own pair.
    pub public: [u8; 32],
    /// What people call it.
    pub label: String,
    /// The slot's key as the external command wrapped it; empty for other kinds.
    pub wrapped: Vec<u8>,
    /// HPKE encapsulated key.
    pub encapsulated: [u8; 32],
    /// Sealed role keys.
    pub payload: Vec<u8>,
    /// The update key, sealed for administrators.
    pub escrow: [u8; ESCROW_BYTES],
    /// Authenticator under the update key, see [`Self::authenticated_bytes`].
    pub authenticator: Hash,
}

/// The object of a slot's file.
pub fn object(id: &[u8; 8], epoch: u32) -> String {
    format!("{FOLDER}/{}-{epoch:08x}.slot", hex(id))
}

/// The id and the epoch in the name of a slot's file, whatever the file holds.
pub fn parts_of(name: &str) -> Option<(&str, u32)> {
    let (id, epoch) = name.strip_suffix(".slot")?.split_once('-')?;
    Some((id, u32::from_str_radix(epoch, 16).ok()?))
}

/// Whether a text can be a label.
pub fn is_label(text: &str) -> bool {
    text.len() <= MOST_LABEL_BYTES && !text.chars().any(char::is_control)
}

impl KeySlot {
    /// Its object.
    pub fn object(&self) -> String {
        object(&self.id, self.epoch)
    }

    /// The part that is the same in clear for everybody: prefix, label, wrapped key. It is the associated data of both
    /// seals.
    pub fn front(&self) -> Vec<u8> {
        let (kind, [passes, memory_kib, lanes]) = match self.kind {
            SlotKind::Password { passes, memory_kib, lanes } => (1, [passes, memory_kib, lanes]),
            SlotKind::KeyFile => (2, [0; 3]),
            SlotKind::Recovery => (3, [0; 3]),
            SlotKind::External => (4, [0; 3]),
        };
        let role = match self.role {
            Role::Backup => 1,
            Role::Restore => 2,
            Role::Admin => 3,
        };
        let payload_bytes = self.role.payload_bytes(self.epoch) + TAG_BYTES;
        assert!(is_label(&self.label) && self.wrapped.len() <= MOST_WRAPPED_BYTES, "both are checked before");
        let mut bytes = [0; PREFIX];
        put::<0, 8, PREFIX>(&mut bytes, MAGIC);
        put::<8, 4, PREFIX>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 3, PREFIX>(&mut bytes, [kind, role, self.label.len() as u8]);
        put::<16, 16, PREFIX>(&mut bytes, self.vault);
        put::<32, 8, PREFIX>(&mut bytes, self.id);
        put::<40, 8, PREFIX>(&mut bytes, self.created_unix_seconds.to_le_bytes());
        put::<48, 4, PREFIX>(&mut bytes, passes.to_le_bytes());
        put::<52, 4, PREFIX>(&mut bytes, memory_kib.to_le_bytes());
        put::<56, 4, PREFIX>(&mut bytes, lanes.to_le_bytes());
        put::<60, 4, PREFIX>(&mut bytes, self.epoch.to_le_bytes());
        put::<64, 32, PREFIX>(&mut bytes, self.salt);
        put::<96, 32, PREFIX>(&mut bytes, self.commitment);
        put::<128, 32, PREFIX>(&mut bytes, self.public);
        put::<160, 8, PREFIX>(&mut bytes, self.epoch_unix_seconds.to_le_bytes());
        put::<168, 4, PREFIX>(&mut bytes, (self.wrapped.len() as u32).to_le_bytes());
        put::<172, 4, PREFIX>(&mut bytes, (payload_bytes as u32).to_le_bytes());
        [bytes.as_slice(), self.label.as_bytes(), &self.wrapped].concat()
    }

    /// The bytes that the authenticator covers: everything before it.
    pub fn authenticated_bytes(&self) -> Vec<u8> {
        [self.front().as_slice(), &self.encapsulated, &self.payload, &self.escrow].concat()
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        assert_eq!(self.payload.len(), self.role.payload_bytes(self.epoch) + TAG_BYTES, "the payload is the role's");
        let mut bytes = self.authenticated_bytes();
        bytes.extend_from_slice(&self.authenticator);
        with_hash(bytes)
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (prefix, rest) = split_hashed::<PREFIX>(bytes, MAGIC, STRUCTURE)?;
        let [kind, role, label_bytes, reserved] = field::<12, 4, PREFIX>(prefix);
        let role = match role {
            1 => Role::Backup,
            2 => Role::Restore,
            3 => Role::Admin,
            _ => return Err(Problem::Field("role").into()),
        };
        let kind = decode_kind(kind, prefix)?;
        check_zero(&[reserved], "reserved")?;
        check_zero(&prefix[176..], "reserved")?;
        let epoch = u32_at::<60, PREFIX>(prefix);
        if epoch >= MOST_EPOCHS {
            return Err(Problem::Field("epoch").into());
        }
        let [wrapped_bytes, payload_bytes] = [u32_at::<168, PREFIX>(prefix), u32_at::<172, PREFIX>(prefix)];
        let wrapped_bytes = wrapped_bytes as usize;
        if wrapped_bytes > MOST_WRAPPED_BYTES || (kind != SlotKind::External && wrapped_bytes > 0) {
            return Err(Problem::Field("wrapped key's length").into());
        }
        let expected = role.payload_bytes(epoch) + TAG_BYTES;
        if payload_bytes as usize != expected {
            return Err(Problem::Field("payload length").into());
        }
        // Of bounded numbers; the checksum was right, so a length that does not fit is a writer's.
        let unfit = || FormatError::from(Problem::Field("length"));
        let (label, rest) = rest.split_at_checked(usize::from(label_bytes)).ok_or_else(unfit)?;
        let (wrapped, rest) = rest.split_at_checked(wrapped_bytes).ok_or_else(unfit)?;
        let (encapsulated, rest) = rest.split_first_chunk::<32>().ok_or_else(unfit)?;
        let (payload, rest) = rest.split_at_checked(expected).ok_or_else(unfit)?;
        let (escrow, rest) = rest.split_first_chunk::<ESCROW_BYTES>().ok_or_else(unfit)?;
        let authenticator: Hash = rest.try_into().map_err(|_| unfit())?;
        let label =
            String::from_utf8(label.to_vec()).ok().filter(|label| is_label(label)).ok_or(Problem::Field("label"))?;
        Ok(Self {
            kind,
            role,
            vault: field::<16, 16, PREFIX>(prefix),
            id: field::<32, 8, PREFIX>(prefix),
            created_unix_seconds: u64_at::<40, PREFIX>(prefix),
            epoch,
            epoch_unix_seconds: u64_at::<160, PREFIX>(prefix),
            salt: field::<64, 32, PREFIX>(prefix),
            commitment: field::<96, 32, PREFIX>(prefix),
            public: field::<128, 32, PREFIX>(prefix),
            label,
            wrapped: wrapped.to_vec(),
            encapsulated: *encapsulated,
            payload: payload.to_vec(),
            escrow: *escrow,
            authenticator,
        })
    }
}

fn decode_kind(kind: u8, prefix: &[u8; PREFIX]) -> Result<SlotKind, FormatError> {
    let costs @ (passes, memory_kib, lanes) =
        (u32_at::<48, PREFIX>(prefix), u32_at::<52, PREFIX>(prefix), u32_at::<56, PREFIX>(prefix));
    let bounded = |value, most| (1..=most).contains(&value);
    match kind {
        1 if bounded(passes, MOST_PASSES)
            && bounded(memory_kib, MOST_MEMORY_KIB)
            && bounded(lanes, MOST_LANES)
            && memory_kib >= 8 * lanes =>
        {
            Ok(SlotKind::Password { passes, memory_kib, lanes })
        }
        1 => Err(Problem::Field("Argon2 cost").into()),
        2 if costs == (0, 0, 0) => Ok(SlotKind::KeyFile),
        3 if costs == (0, 0, 0) => Ok(SlotKind::Recovery),
        4 if costs == (0, 0, 0) => Ok(SlotKind::External),
        _ => Err(Problem::Field("kind").into()),
    }
}
