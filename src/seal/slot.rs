//! Key slots: from a password or a key file to the secrets of a role, and back.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::keys::{RoleKeys, cipher, derive, open, seal};
use super::{Secret, random};
use crate::error::{Error, Problem, Result};
use crate::format::key_slot::{KeySlot, PAYLOAD_PRIVATE, PAYLOAD_PUBLIC, PREFIX, Role, SlotKind};
use crate::format::{FormatError, Hash, Id, check_zero, field, hex, put};

/// What somebody opens a slot with.
#[derive(Clone)]
pub enum Credential {
    /// A password, as its bytes.
    Password(Zeroizing<Vec<u8>>),
    /// The whole content of a key file.
    KeyFile(Zeroizing<Vec<u8>>),
}

/// Fewest bytes of a key file; it is used as it is, so it must be random.
pub const LEAST_KEY_FILE_BYTES: usize = 32;

/// What a password costs to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Argon2id passes.
    pub passes: u32,
    /// Argon2id memory in KiB.
    pub memory_kib: u32,
    /// Argon2id lanes.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// Three passes over 64 MiB in four lanes: the second recommended option of RFC 9106, section 4.
    fn default() -> Self {
        Self { passes: 3, memory_kib: 64 << 10, lanes: 4 }
    }
}

/// What is known of a slot without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its id, 16 hex digits.
    pub id: String,
    /// What it gives.
    pub role: Role,
    /// What opens it.
    pub kind: SlotKind,
    /// When it was made, Unix seconds.
    pub created_unix_seconds: u64,
}

impl From<&KeySlot> for SlotInfo {
    fn from(slot: &KeySlot) -> Self {
        Self { id: hex(&slot.id), role: slot.role, kind: slot.kind, created_unix_seconds: slot.created_unix_seconds }
    }
}

impl Credential {
    /// A password.
    pub fn password(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Password(Zeroizing::new(bytes.into()))
    }

    /// The content of a key file, at least 32 bytes.
    pub fn key_file(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.len() < LEAST_KEY_FILE_BYTES {
            return Err(Error::Invalid {
                what: "key file",
                value: format!("of {} bytes", bytes.len()),
                rule: "it must hold at least 32 random bytes",
            });
        }
        Ok(Self::KeyFile(bytes))
    }

    fn fits(&self, kind: SlotKind) -> bool {
        matches!((self, kind), (Self::Password(_), SlotKind::Password { .. }) | (Self::KeyFile(_), SlotKind::KeyFile))
    }

    /// The root key that this credential gives with a slot's salt and costs.
    fn root(&self, kind: SlotKind, salt: &[u8; 32]) -> Result<Secret> {
        match (self, kind) {
            (Self::Password(password), SlotKind::Password { passes, memory_kib, lanes }) => {
                let invalid = |_| Error::Invalid {
                    what: "Argon2id cost",
                    value: format!("{passes} passes, {memory_kib} KiB, {lanes} lanes"),
                    rule: "Argon2id needs 8 KiB for each lane, and the memory must be there",
                };
                let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(invalid)?;
                let mut out = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(password, salt, out.as_mut_slice())
                    .map_err(invalid)?;
                Ok(Secret::from(*out))
            }
            (Self::Password(bytes) | Self::KeyFile(bytes), _) => {
                let mut hasher = blake3::Hasher::new_derive_key("icecore 1 key file");
                hasher.update(salt).update(bytes);
                Ok(Secret::from(*hasher.finalize().as_bytes()))
            }
        }
    }
}

/// From a root key: what is compared first, and what opens the payload.
fn commitment_and_key(root: &Secret, vault: &Id) -> (Hash, Secret) {
    let commitment = derive("icecore 1 key slot commitment", root, &[vault]);
    (*commitment.expose(), derive("icecore 1 key slot payload", root, &[vault]))
}

/// Makes a slot that gives `role` to whoever has the credential.
pub fn wrap(
    vault: Id,
    keys: &RoleKeys,
    role: Role,
    credential: &Credential,
    cost: PasswordCost,
    created_unix_seconds: u64,
) -> Result<KeySlot> {
    let kind = match credential {
        Credential::Password(_) => {
            SlotKind::Password { passes: cost.passes, memory_kib: cost.memory_kib, lanes: cost.lanes }
        }
        Credential::KeyFile(_) => SlotKind::KeyFile,
    };
    let salt = random()?;
    let (commitment, key) = commitment_and_key(&credential.root(kind, &salt)?, &vault);
    let mut slot =
        KeySlot { kind, role, vault, id: random()?, created_unix_seconds, salt, commitment, payload: Vec::new() };
    let mut payload = encode(&keys.for_role(role)?);
    seal(&cipher(&key), [0; 12], &slot.prefix(), &mut payload);
    slot.payload = payload;
    Ok(slot)
}

/// Tries a credential on every slot; the first that it opens gives the role and its secrets. A slot of costs that
/// Argon2id refuses opens nothing, and is the error only where nothing else opens. So is a slot of another vault, but
/// beside slots of this one it is nobody's loss: an `init` that power loss ended leaves one.
pub fn open_any(slots: &[(String, KeySlot)], vault: &Id, credential: &Credential) -> Result<(SlotInfo, RoleKeys)> {
    let has_own = slots.iter().any(|(_, slot)| slot.vault == *vault);
    let mut unusable = None;
    for (name, slot) in slots.iter().filter(|(_, slot)| credential.fits(slot.kind)) {
        if slot.vault != *vault {
            if !has_own {
                unusable.get_or_insert(Error::damaged(name, 16, Problem::Misplaced("vault id")));
            }
            continue;
        }
        let Ok(root) = credential.root(slot.kind, &slot.salt) else {
            unusable.get_or_insert(Error::damaged(name, 48, Problem::Field("Argon2 cost")));
            continue;
        };
        let (commitment, key) = commitment_and_key(&root, vault);
        // BLAKE3's own comparison takes the same time wherever the difference is.
        if blake3::Hash::from(commitment) != blake3::Hash::from(slot.commitment) {
            continue;
        }
        let mut payload = slot.payload.clone();
        if !open(&cipher(&key), [0; 12], &slot.prefix(), &mut payload) {
            return Err(Error::damaged(name, PREFIX as u64, Problem::Authentication("key slot")));
        }
        let payload = Zeroizing::new(payload);
        let keys = decode(&payload).map_err(|error| error.at(name, PREFIX as u64))?;
        return Ok((SlotInfo::from(slot), keys));
    }
    Err(unusable.unwrap_or(Error::WrongKey { slots: slots.len() }))
}

fn encode(keys: &RoleKeys) -> Vec<u8> {
    let mut bytes = Zeroizing::new([0; PAYLOAD_PRIVATE]);
    put::<8, 32, PAYLOAD_PRIVATE>(&mut bytes, *keys.id.expose());
    put::<40, 32, PAYLOAD_PRIVATE>(&mut bytes, *keys.meta.expose());
    put::<72, 32, PAYLOAD_PRIVATE>(&mut bytes, keys.public);
    if let Some(private) = &keys.private {
        put::<104, 32, PAYLOAD_PRIVATE>(&mut bytes, *private.expose());
    }
    let length = if keys.private.is_some() { PAYLOAD_PRIVATE } else { PAYLOAD_PUBLIC };
    bytes[..length].to_vec()
}

fn decode(payload: &[u8]) -> std::result::Result<RoleKeys, FormatError> {
    let Some((fixed, private)) = payload.split_first_chunk::<PAYLOAD_PUBLIC>() else {
        return Err(Problem::Field("payload length").into());
    };
    check_zero(&fixed[..8], "epoch")?;
    let private = match private {
        [] => None,
        bytes => Some(Secret::from(<[u8; 32]>::try_from(bytes).map_err(|_| Problem::Field("private half"))?)),
    };
    Ok(RoleKeys {
        id: field::<8, 32, PAYLOAD_PUBLIC>(fixed).into(),
        meta: field::<40, 32, PAYLOAD_PUBLIC>(fixed).into(),
        public: field::<72, 32, PAYLOAD_PUBLIC>(fixed),
        private,
    })
}
