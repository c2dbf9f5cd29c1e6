//! Key slots: from a password, key file, recovery key or external command to the secrets of a role, and back.
//!
//! The root key that a credential gives opens nothing by itself. From it follow the commitment, the private half of the
//! slot's own pair, and its update key. Secrets are sealed to the public half, so that an administrator can give a slot
//! the keys of a new epoch without its password. Since everybody could seal to a public half, the file is authenticated
//! under the update key, which administrators find in the slot, sealed under the admin key of its epoch.
//!
//! Invariants:
//! - a slot opens only where its update key authenticates the whole file: nobody but its holder and administrators can
//!   have made it, so nobody else can give its holder other keys to write under;
//! - an administrator renews only slots whose sealed update key is bound to all of the slot's clear part: nobody else
//!   can plant a slot that a rotation would give new keys to.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};
use zeroize::Zeroizing;

use super::keys::{EpochKeys, RoleKeys, cipher, derive, keyed, open, seal};
use super::{Secret, random};
use crate::error::{Error, Problem, Result};
use crate::format::key_slot::{
    ESCROW_BYTES, KeySlot, MOST_EPOCHS, MOST_WRAPPED_BYTES, PAYLOAD_FIXED, PREFIX, Role, SlotKind, is_label,
};
use crate::format::{FormatError, Hash, Id, TAG_BYTES, check_zero, field, hex, u32_at};

/// A key that somebody else keeps: a key service, a hardware module, another program.
pub trait ExternalKey: Send + Sync {
    /// Wraps the key of a new slot. What it returns is stored in the clear.
    fn wrap(&self, vault: &Id, slot: &[u8; 8], key: &[u8; 32]) -> Result<Vec<u8>>;

    /// Unwraps what it wrapped.
    fn unwrap(&self, vault: &Id, slot: &[u8; 8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>>;
}

/// What somebody opens a slot with.
#[derive(Clone)]
pub enum Credential {
    /// A password, as its bytes.
    Password(Zeroizing<Vec<u8>>),
    /// The whole content of a key file.
    KeyFile(Zeroizing<Vec<u8>>),
    /// A recovery key, see [`super::RecoveryKey`].
    Recovery(Secret),
    /// A key that somebody else keeps.
    External(Arc<dyn ExternalKey>),
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
    /// What people call it; may be empty.
    pub label: String,
    /// When it was made, Unix seconds.
    pub created_unix_seconds: u64,
    /// The newest epoch whose keys it holds.
    pub epoch: u32,
    /// When that epoch began, Unix seconds.
    pub epoch_unix_seconds: u64,
}

impl From<&KeySlot> for SlotInfo {
    fn from(slot: &KeySlot) -> Self {
        Self {
            id: hex(&slot.id),
            role: slot.role,
            kind: slot.kind,
            label: slot.label.clone(),
            created_unix_seconds: slot.created_unix_seconds,
            epoch: slot.epoch,
            epoch_unix_seconds: slot.epoch_unix_seconds,
        }
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
        matches!(
            (self, kind),
            (Self::Password(_), SlotKind::Password { .. })
                | (Self::KeyFile(_), SlotKind::KeyFile)
                | (Self::Recovery(_), SlotKind::Recovery)
                | (Self::External(_), SlotKind::External)
        )
    }

    /// The root key that this credential gives for a slot of a kind that fits it.
    fn root(&self, slot: &KeySlot) -> Result<Secret> {
        match (self, slot.kind) {
            (Self::Password(password), SlotKind::Password { passes, memory_kib, lanes }) => {
                let invalid = |_| Error::Invalid {
                    what: "Argon2id cost",
                    value: format!("{passes} passes, {memory_kib} KiB, {lanes} lanes"),
                    rule: "Argon2id needs 8 KiB for each lane, and the memory must be there",
                };
                let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(invalid)?;
                let mut out = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(password, &slot.salt, out.as_mut_slice())
                    .map_err(invalid)?;
                Ok(Secret::from(*out))
            }
            (Self::Password(bytes) | Self::KeyFile(bytes), _) => Ok(salted("icecore 1 key file", &slot.salt, bytes)),
            (Self::Recovery(key), _) => Ok(salted("icecore 1 recovery key", &slot.salt, key.expose())),
            (Self::External(external), _) => {
                let key = external.unwrap(&slot.vault, &slot.id, &slot.wrapped)?;
                Ok(salted("icecore 1 external key", &slot.salt, key.as_slice()))
            }
        }
    }
}

fn salted(context: &'static str, salt: &[u8; 32], bytes: &[u8]) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(salt).update(bytes);
    let key = Secret::from(*hasher.finalize().as_bytes());
    #[cfg(test)]
    super::vectors::derived(context, &[salt, bytes], key.expose());
    key
}

/// What follows from a slot's root key.
struct SlotKeys {
    commitment: Hash,
    private: Secret,
    update: Secret,
}

impl SlotKeys {
    fn new(root: &Secret, slot: &KeySlot) -> Self {
        let key = |context| derive(context, root, &[&slot.vault, &slot.id]);
        Self {
            commitment: *key("icecore 1 key slot commitment").expose(),
            private: key("icecore 1 key slot pair"),
            update: key("icecore 1 key slot update key"),
        }
    }

    fn hpke_private(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(self.private.expose())
            .expect("any 32 bytes are a private half")
    }
}

/// A slot that is to be made.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// What it shall give.
    pub role: Role,
    /// What shall open it.
    pub credential: &'a Credential,
    /// What a password costs to try.
    pub cost: PasswordCost,
    /// What people call it; may be empty.
    pub label: &'a str,
    /// Now, Unix seconds.
    pub now_unix_seconds: u64,
    /// When the newest epoch began, Unix seconds.
    pub epoch_unix_seconds: u64,
}

/// Makes a slot. `keys` are an administrator's.
pub fn wrap(vault: Id, keys: &RoleKeys, wish: &Wish<'_>) -> Result<KeySlot> {
    if !is_label(wish.label) {
        return Err(Error::Invalid {
            what: "label",
            value: wish.label.to_owned(),
            rule: "it must be at most 64 bytes without control characters",
        });
    }
    let cost = wish.cost;
    let kind = match wish.credential {
        Credential::Password(_) => {
            SlotKind::Password { passes: cost.passes, memory_kib: cost.memory_kib, lanes: cost.lanes }
        }
        Credential::KeyFile(_) => SlotKind::KeyFile,
        Credential::Recovery(_) => SlotKind::Recovery,
        Credential::External(_) => SlotKind::External,
    };
    let mut slot = KeySlot {
        kind,
        role: wish.role,
        vault,
        id: random()?,
        created_unix_seconds: wish.now_unix_seconds,
        epoch: keys.epoch(),
        epoch_unix_seconds: wish.epoch_unix_seconds,
        salt: random()?,
        commitment: [0; 32],
        public: [0; 32],
        label: wish.label.to_owned(),
        wrapped: Vec::new(),
        encapsulated: [0; 32],
        payload: Vec::new(),
        escrow: [0; ESCROW_BYTES],
        authenticator: [0; 32],
    };
    let root = match wish.credential {
        Credential::External(external) => {
            let key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
            slot.wrapped = external.wrap(&vault, &slot.id, &key)?;
            if slot.wrapped.len() > MOST_WRAPPED_BYTES {
                let value = format!("of {} bytes", slot.wrapped.len());
                return Err(Error::Invalid { what: "wrapped key", value, rule: "it must be at most 16 KiB" });
            }
            // A command that can't undo itself, or gives everybody the same key, must fail now.
            if external.unwrap(&vault, &slot.id, &slot.wrapped)? != key {
                let source = std::io::Error::other("unwrapping gives another key than was wrapped");
                return Err(Error::External { source });
            }
            salted("icecore 1 external key", &slot.salt, key.as_slice())
        }
        other => other.root(&slot)?,
    };
    let slot_keys = SlotKeys::new(&root, &slot);
    slot.commitment = slot_keys.commitment;
    slot.public = X25519HkdfSha256::sk_to_pk(&slot_keys.hpke_private()).to_bytes().into();
    fill(&mut slot, &slot_keys.update, keys)?;
    Ok(slot)
}

/// Seals into a slot what its role may hold of `keys`, an administrator's, and authenticates it.
fn fill(slot: &mut KeySlot, update: &Secret, keys: &RoleKeys) -> Result<()> {
    let Some(admin) = keys.admin() else {
        return Err(Error::NotPermitted { held: Role::Restore.name(), needed: "the role admin" });
    };
    let payload = encode(&keys.for_role(slot.role)?);
    let front = slot.front();
    let damaged = || Error::damaged(slot.object(), 128, Problem::Field("public half"));
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&slot.public).map_err(|_| damaged())?;
    let (encapsulated, sealed) = single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        &info(slot),
        &payload,
        &front,
    )
    .map_err(|_| damaged())?;
    slot.encapsulated = encapsulated.to_bytes().into();
    slot.payload = sealed;
    let mut escrow = update.expose().to_vec();
    seal(&cipher(&escrow_key(admin, slot)), [0; 12], &front, &mut escrow);
    slot.escrow = escrow.try_into().expect("32 bytes and a tag");
    slot.authenticator = authenticator(update, slot);
    Ok(())
}

fn info(slot: &KeySlot) -> Vec<u8> {
    [b"icecore 1 key slot".as_slice(), &slot.vault, &slot.id].concat()
}

/// The encapsulated key is fresh for each file, and so is this.
fn escrow_key(admin: &Secret, slot: &KeySlot) -> Secret {
    derive("icecore 1 key slot escrow", admin, &[&slot.vault, &slot.id, &slot.encapsulated])
}

fn authenticator(update: &Secret, slot: &KeySlot) -> Hash {
    keyed(update, &slot.authenticated_bytes())
}

fn is_authentic(update: &Secret, slot: &KeySlot) -> bool {
    // BLAKE3's own comparison takes the same time wherever the difference is.
    blake3::Hash::from(authenticator(update, slot)) == blake3::Hash::from(slot.authenticator)
}

/// The update key of a slot that an administrator of the newest epoch of `keys` made; `None` where nobody such did.
pub fn update_key(keys: &RoleKeys, slot: &KeySlot) -> Option<Secret> {
    let mut escrow = slot.escrow.to_vec();
    if slot.epoch != keys.epoch()
        || !open(&cipher(&escrow_key(keys.admin()?, slot)), [0; 12], &slot.front(), &mut escrow)
    {
        return None;
    }
    let escrow = Zeroizing::new(escrow);
    let update = Secret::from(<[u8; 32]>::try_from(escrow.as_slice()).ok()?);
    is_authentic(&update, slot).then_some(update)
}

/// The same slot with the keys of a new epoch, the newest of `keys`. Needs no password.
pub fn renew(slot: &KeySlot, update: &Secret, keys: &RoleKeys, epoch_unix_seconds: u64) -> Result<KeySlot> {
    if keys.epoch() >= MOST_EPOCHS {
        let rule = "a vault has at most 1,024 epochs of keys";
        return Err(Error::Invalid { what: "rotation", value: keys.epoch().to_string(), rule });
    }
    let mut slot = KeySlot { epoch: keys.epoch(), epoch_unix_seconds, ..slot.clone() };
    fill(&mut slot, update, keys)?;
    Ok(slot)
}

/// Tries a credential on every slot's file, those of the newest epoch first; the first that opens and that `accept`
/// takes decides.
///
/// A slot of costs that Argon2id refuses opens nothing, and is the error only where nothing else opens. So is one that is
/// not what its holder or an administrator made, and one that `accept` calls outdated. A slot of another vault, beside
/// slots of this one, is nobody's loss: an `init` that power loss ended leaves one.
pub fn open_any<T>(
    slots: &[(String, KeySlot)],
    vault: &Id,
    credential: &Credential,
    mut accept: impl FnMut(SlotInfo, RoleKeys) -> Result<T>,
) -> Result<T> {
    let has_own = slots.iter().any(|(_, slot)| slot.vault == *vault);
    let mut ids: Vec<[u8; 8]> = slots.iter().map(|(_, slot)| slot.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let (mut unusable, mut outdated) = (None, None);
    // Of several files of a slot, each gives the same root. By all that it is made of: somebody may put a file of the same
    // slot beside it that says another thing.
    let mut roots: Vec<(&KeySlot, Option<Secret>)> = Vec::new();
    let made_of = |slot: &KeySlot| (slot.kind, slot.salt, slot.id, slot.wrapped.clone());
    let mut fitting: Vec<&(String, KeySlot)> = slots.iter().filter(|(_, slot)| credential.fits(slot.kind)).collect();
    // What is cheap first: nobody is to wait for what somebody planted that costs much.
    fitting.sort_by_key(|(_, slot)| (cost_of(slot.kind), std::cmp::Reverse(slot.epoch)));
    for (name, slot) in fitting {
        if slot.vault != *vault {
            if !has_own {
                unusable.get_or_insert(Error::damaged(name, 16, Problem::Misplaced("vault id")));
            }
            continue;
        }
        let known = roots.iter().find(|(other, _)| made_of(other) == made_of(slot));
        let root = match known {
            Some((_, root)) => root.clone(),
            None => {
                let root = match credential.root(slot) {
                    Ok(root) => Some(root),
                    Err(error @ Error::External { .. }) => {
                        unusable.get_or_insert(error);
                        None
                    }
                    Err(_) => {
                        unusable.get_or_insert(Error::damaged(name, 48, Problem::Field("Argon2 cost")));
                        None
                    }
                };
                roots.push((slot, root.clone()));
                root
            }
        };
        let Some(root) = root else { continue };
        let keys = SlotKeys::new(&root, slot);
        if blake3::Hash::from(keys.commitment) != blake3::Hash::from(slot.commitment) {
            continue;
        }
        match open_with(&keys, slot, name) {
            Ok(opened) => match accept(SlotInfo::from(slot), opened) {
                Err(error @ (Error::Rotated { .. } | Error::RemovedKey)) => {
                    outdated.get_or_insert(error);
                }
                decided => return decided,
            },
            Err(error) => {
                unusable.get_or_insert(error);
            }
        }
    }
    Err(outdated.or(unusable).unwrap_or(Error::WrongKey { slots: ids.len() }))
}

/// What it costs to try a slot.
fn cost_of(kind: SlotKind) -> u64 {
    match kind {
        SlotKind::Password { passes, memory_kib, .. } => u64::from(passes) * u64::from(memory_kib),
        _ => 0,
    }
}

/// Opens a slot whose commitment fits.
fn open_with(keys: &SlotKeys, slot: &KeySlot, name: &str) -> Result<RoleKeys> {
    let forged = || Error::damaged(name, PREFIX as u64, Problem::Authentication("key slot"));
    if !is_authentic(&keys.update, slot) {
        return Err(forged());
    }
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&slot.encapsulated).map_err(|_| forged())?;
    let payload = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &keys.hpke_private(),
        &encapsulated,
        &info(slot),
        &slot.payload,
        &slot.front(),
    )
    .map_err(|_| forged())?;
    let payload = Zeroizing::new(payload);
    #[cfg(test)]
    super::vectors::received(
        keys.private.expose(),
        &slot.encapsulated,
        &info(slot),
        &slot.front(),
        &slot.payload,
        &payload,
    );
    decode(&payload, slot).map_err(|error| error.at(name, PREFIX as u64))
}

fn encode(keys: &RoleKeys) -> Zeroizing<Vec<u8>> {
    // Never grown: a vector that grows leaves secrets behind where it was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(Role::Admin.payload_bytes(keys.epoch()) + TAG_BYTES));
    bytes.extend_from_slice(&keys.epoch().to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(keys.id.expose());
    for epoch in &keys.epochs {
        bytes.extend_from_slice(epoch.meta.expose());
        bytes.extend_from_slice(&epoch.public);
        bytes.extend_from_slice(&epoch.inventory);
        bytes.extend_from_slice(&epoch.verifying);
        for secret in [&epoch.private, &epoch.admin].into_iter().flatten() {
            bytes.extend_from_slice(secret.expose());
        }
    }
    bytes
}

fn decode(payload: &[u8], slot: &KeySlot) -> std::result::Result<RoleKeys, FormatError> {
    let length = || FormatError::from(Problem::Field("payload length"));
    let (fixed, rest) = payload.split_first_chunk::<PAYLOAD_FIXED>().ok_or_else(length)?;
    if payload.len() != slot.role.payload_bytes(slot.epoch) {
        return Err(length());
    }
    if u32_at::<0, PAYLOAD_FIXED>(fixed) != slot.epoch {
        return Err(Problem::Field("epoch").into());
    }
    check_zero(&fixed[4..8], "reserved")?;
    let epoch_keys = |bytes: &[u8]| -> Option<EpochKeys> {
        let (common, rest) = bytes.split_first_chunk::<128>()?;
        let (secrets, _) = rest.as_chunks::<32>();
        let secret = |number: usize| secrets.get(number).map(|bytes| Secret::from(*bytes));
        Some(EpochKeys {
            meta: field::<0, 32, 128>(common).into(),
            public: field::<32, 32, 128>(common),
            inventory: field::<64, 32, 128>(common),
            verifying: field::<96, 32, 128>(common),
            private: secret(0),
            admin: secret(1),
        })
    };
    let epochs: Option<Vec<EpochKeys>> = rest.chunks(slot.role.epoch_bytes()).map(epoch_keys).collect();
    let epochs = epochs.ok_or_else(length)?;
    if !epochs.iter().all(EpochKeys::has_both_halves) {
        return Err(Problem::Field("signing pair").into());
    }
    Ok(RoleKeys { id: field::<8, 32, PAYLOAD_FIXED>(fixed).into(), epochs })
}
