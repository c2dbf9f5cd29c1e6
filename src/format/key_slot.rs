//! A key slot, object `keys/<slot id in hex>.slot`: one way to open the vault, and the role that it gives.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICESLOT1` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's slot |
//! | 12 | 1 | kind: 1 password, 2 key file | always | |
//! | 13 | 1 | role: 1 backup, 2 restore, 3 admin | always | |
//! | 14 | 2 | length of the sealed payload: 120 for role 1, 152 for 2 and 3 | always | |
//! | 16 | 16 | vault id | always | a slot of another vault |
//! | 32 | 8 | slot id, random | always | a renamed slot |
//! | 40 | 8 | time it was made, Unix seconds | always | |
//! | 48 | 4 | Argon2id passes | kind 1, else 0 | |
//! | 52 | 4 | Argon2id memory in KiB | kind 1, else 0 | |
//! | 56 | 4 | Argon2id lanes | kind 1, else 0 | |
//! | 60 | 4 | reserved, zero | always | |
//! | 64 | 32 | salt, random | always | tables of guessed passwords |
//! | 96 | 32 | key commitment | always | one payload that opens under two passwords |
//! | 128 | 120 or 152 | sealed payload | with the key | |
//! | then | 32 | BLAKE3 of everything before | always | damage, told apart from a wrong password |
//!
//! The payload, sealed with AES-256-GCM under the wrapping key, nonce zero (each slot has a key of its own), bytes 0..128
//! as associated data:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | epoch of the keys, 0 |
//! | 4 | 4 | reserved, zero |
//! | 8 | 32 | id key |
//! | 40 | 32 | meta key |
//! | 72 | 32 | public half of the data key pair |
//! | 104 | 32 | private half; roles restore and admin only |

use super::{
    FormatError, Hash, Id, TAG_BYTES, VERSION, check_hash, check_magic, check_zero, field, put, u32_at, u64_at,
};
use crate::error::Problem;

/// Folder of the slots in the vault.
pub const FOLDER: &str = "keys";

const STRUCTURE: &str = "key slot";
const MAGIC: [u8; 8] = *b"ICESLOT1";
/// Length of the part before the payload, the payload's associated data, in bytes.
pub const PREFIX: usize = 128;
/// Length of the payload of a role without the private half, before sealing, in bytes.
pub const PAYLOAD_PUBLIC: usize = 104;
/// Length of the payload of a role with the private half, before sealing, in bytes.
pub const PAYLOAD_PRIVATE: usize = PAYLOAD_PUBLIC + 32;
const CHECKSUM: usize = 32;

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

    /// Length of the sealed payload in bytes.
    pub fn sealed_bytes(self) -> usize {
        TAG_BYTES + if self.reads_data() { PAYLOAD_PRIVATE } else { PAYLOAD_PUBLIC }
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
    /// When it was made, Unix seconds.
    pub created_unix_seconds: u64,
    /// Salt of the derivation.
    pub salt: [u8; 32],
    /// Commitment to the key.
    pub commitment: Hash,
    /// Sealed role keys.
    pub payload: Vec<u8>,
}

impl KeySlot {
    /// The part before the payload.
    pub fn prefix(&self) -> [u8; PREFIX] {
        let (kind, [passes, memory_kib, lanes]) = match self.kind {
            SlotKind::Password { passes, memory_kib, lanes } => (1, [passes, memory_kib, lanes]),
            SlotKind::KeyFile => (2, [0; 3]),
        };
        let role = match self.role {
            Role::Backup => 1,
            Role::Restore => 2,
            Role::Admin => 3,
        };
        let mut bytes = [0; PREFIX];
        put::<0, 8, PREFIX>(&mut bytes, MAGIC);
        put::<8, 4, PREFIX>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 2, PREFIX>(&mut bytes, [kind, role]);
        put::<14, 2, PREFIX>(&mut bytes, (self.role.sealed_bytes() as u16).to_le_bytes());
        put::<16, 16, PREFIX>(&mut bytes, self.vault);
        put::<32, 8, PREFIX>(&mut bytes, self.id);
        put::<40, 8, PREFIX>(&mut bytes, self.created_unix_seconds.to_le_bytes());
        put::<48, 4, PREFIX>(&mut bytes, passes.to_le_bytes());
        put::<52, 4, PREFIX>(&mut bytes, memory_kib.to_le_bytes());
        put::<56, 4, PREFIX>(&mut bytes, lanes.to_le_bytes());
        put::<64, 32, PREFIX>(&mut bytes, self.salt);
        put::<96, 32, PREFIX>(&mut bytes, self.commitment);
        bytes
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        assert_eq!(self.payload.len(), self.role.sealed_bytes(), "the payload is the role's");
        let mut bytes = self.prefix().to_vec();
        bytes.extend_from_slice(&self.payload);
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some(start) = bytes.first_chunk::<12>() else {
            return Err(Problem::Magic(STRUCTURE).into());
        };
        check_magic(start, MAGIC, STRUCTURE)?;
        let short = Problem::Length { expected: (PREFIX + CHECKSUM) as u64, found: bytes.len() as u64 };
        let (Some(prefix), Some((before, sum))) = (bytes.first_chunk::<PREFIX>(), bytes.split_last_chunk::<CHECKSUM>())
        else {
            return Err(short.into());
        };
        check_hash(before, *sum, STRUCTURE)?;
        let [kind, role] = field::<12, 2, PREFIX>(prefix);
        let role = match role {
            1 => Role::Backup,
            2 => Role::Restore,
            3 => Role::Admin,
            _ => return Err(Problem::Field("role").into()),
        };
        let costs @ (passes, memory_kib, lanes) =
            (u32_at::<48, PREFIX>(prefix), u32_at::<52, PREFIX>(prefix), u32_at::<56, PREFIX>(prefix));
        let bounded = |value, most| (1..=most).contains(&value);
        let kind = match kind {
            1 if bounded(passes, MOST_PASSES)
                && bounded(memory_kib, MOST_MEMORY_KIB)
                && bounded(lanes, MOST_LANES)
                && memory_kib >= 8 * lanes =>
            {
                SlotKind::Password { passes, memory_kib, lanes }
            }
            1 => return Err(Problem::Field("Argon2 cost").into()),
            2 if costs == (0, 0, 0) => SlotKind::KeyFile,
            _ => return Err(Problem::Field("kind").into()),
        };
        check_zero(&prefix[60..64], "reserved")?;
        let payload = before.get(PREFIX..).unwrap_or_default().to_vec();
        let told = u16::from_le_bytes(field::<14, 2, PREFIX>(prefix));
        if usize::from(told) != role.sealed_bytes() || payload.len() != role.sealed_bytes() {
            return Err(Problem::Field("payload length").into());
        }
        Ok(Self {
            kind,
            role,
            vault: field::<16, 16, PREFIX>(prefix),
            id: field::<32, 8, PREFIX>(prefix),
            created_unix_seconds: u64_at::<40, PREFIX>(prefix),
            salt: field::<64, 32, PREFIX>(prefix),
            commitment: field::<96, 32, PREFIX>(prefix),
            payload,
        })
    }
}
