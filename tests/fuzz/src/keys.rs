//! Keys that are known, and what they seal, done after FORMAT.md.

use std::sync::{Arc, OnceLock};

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt, KeyInit};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeS, Serializable, single_shot_seal};

use icecore::format::key_slot::{KeySlot, Role, SlotKind};
use icecore::format::{Hash, Id, TAG_BYTES};
use icecore::seal::{Credential, RoleKeys, VaultKeys, open_any};

/// The vault that everything here belongs to.
pub const VAULT: Id = *b"fuzzed vault 001";
/// Id of its key slot.
pub const SLOT: [u8; 8] = *b"slot 001";
const ID_KEY: [u8; 32] = [0x11; 32];
const META_KEY: [u8; 32] = [0x22; 32];
const ADMIN_KEY: [u8; 32] = [0x55; 32];
/// Public half of the signing pair that follows from it.
const VERIFYING: [u8; 32] = [
    0xe7, 0x1a, 0x72, 0xc6, 0xbb, 0x2f, 0x3e, 0xe5, 0x44, 0x8c, 0x72, 0xa7, 0xa1, 0xe3, 0x56, 0x60, 0x1b, 0x06, 0x45,
    0x51, 0xe9, 0x48, 0xbf, 0x8c, 0x54, 0x8b, 0x11, 0x67, 0xd4, 0xa4, 0xd8, 0xb4,
];
const SALT: [u8; 32] = [0x33; 32];
const KEY_FILE: [u8; 32] = [0x44; 32];
/// An X25519 pair, public half first.
pub const PUBLIC: [u8; 32] = [
    0xa5, 0xf6, 0x41, 0x20, 0x65, 0xcf, 0x80, 0x09, 0xbb, 0xaa, 0x91, 0x02, 0x8d, 0xeb, 0x6f, 0xff, 0x9c, 0x09, 0xef,
    0xe6, 0xc9, 0x82, 0xce, 0x71, 0x7d, 0x28, 0xe9, 0x34, 0x72, 0x9e, 0x5c, 0x61,
];
const PRIVATE: [u8; 32] = [
    0x58, 0x95, 0x5e, 0x23, 0x22, 0x42, 0x4c, 0xbf, 0x45, 0xf3, 0x4b, 0xc8, 0xf2, 0x45, 0x9b, 0x03, 0xf8, 0x38, 0xf0,
    0x3b, 0xfc, 0x8f, 0xbd, 0xb1, 0x85, 0x9e, 0xc6, 0xee, 0xc8, 0x5d, 0x40, 0x6c,
];

/// A derived key.
pub type Key = [u8; 32];

/// BLAKE3 in key derivation mode over a secret and what follows it.
fn derive(context: &str, secret: &[u8], ids: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(secret);
    ids.iter().for_each(|id| {
        hasher.update(id);
    });
    *hasher.finalize().as_bytes()
}

/// A key that the meta key gives.
pub fn meta(context: &str, ids: &[&[u8]]) -> Key {
    derive(context, &META_KEY, ids)
}

/// AES-256-GCM; the tag comes last.
pub fn seal(key: &Key, nonce: [u8; 12], bound: &[u8], message: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(key.into());
    cipher.encrypt(&Nonce::from(nonce), Payload { msg: message, aad: bound }).expect("a short message")
}

/// BLAKE3 with a key.
pub fn authenticate(key: &Key, bytes: &[u8]) -> Hash {
    *blake3::keyed_hash(key, bytes).as_bytes()
}

/// The first half of a record id, from its tag in the index.
pub fn id_of_tag(tag: [u8; 16]) -> [u8; 16] {
    let key = meta("icecore 1 index tag", &[&VAULT]);
    let mut block = tag.into();
    Aes256::new(&key.into()).decrypt_block(&mut block);
    block.into()
}

/// The id of a record with these plain bytes.
pub fn record_id(kind: u8, plain: &[u8]) -> Hash {
    let context = match kind {
        1 => "icecore 1 chunk id",
        2 => "icecore 1 map node id",
        _ => "icecore 1 manifest id",
    };
    authenticate(&derive(context, &ID_KEY, &[&VAULT]), plain)
}

/// What opens the slots that [`slot`] makes.
pub fn credential() -> Credential {
    Credential::key_file(KEY_FILE).expect("long enough")
}

/// The secrets of a slot of role `admin`, before they are sealed.
pub fn slot_payload() -> Vec<u8> {
    [[0; 8].as_slice(), &ID_KEY, &META_KEY, &PUBLIC, &[0; 32], &VERIFYING, &PRIVATE, &ADMIN_KEY].concat()
}

fn slot_key(context: &str) -> Key {
    let root = derive("icecore 1 key file", &SALT, &[&KEY_FILE]);
    derive(context, &root, &[&VAULT, &SLOT])
}

/// A slot with any payload, sealed for the credential, and authenticated as its holder may.
pub fn slot(role: Role, epoch: u32, payload: &[u8]) -> KeySlot {
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&slot_key("icecore 1 key slot pair"));
    let public = X25519HkdfSha256::sk_to_pk(&private.expect("32 bytes"));
    let mut slot = KeySlot {
        kind: SlotKind::KeyFile,
        role,
        vault: VAULT,
        id: SLOT,
        created_unix_seconds: 1_800_000_000,
        epoch,
        epoch_unix_seconds: 1_800_000_001,
        salt: SALT,
        commitment: slot_key("icecore 1 key slot commitment"),
        public: public.to_bytes().into(),
        label: "fuzzed".to_owned(),
        wrapped: Vec::new(),
        encapsulated: [0; 32],
        payload: Vec::new(),
        escrow: [0; 48],
        authenticator: [0; 32],
    };
    let info = [b"icecore 1 key slot".as_slice(), &VAULT, &SLOT].concat();
    let (encapsulated, sealed) = single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        &info,
        payload,
        &slot.front(),
    )
    .expect("a short message");
    (slot.encapsulated, slot.payload) = (encapsulated.to_bytes().into(), sealed);
    let escrow_key = derive("icecore 1 key slot escrow", &ADMIN_KEY, &[&VAULT, &SLOT, &slot.encapsulated]);
    let update = slot_key("icecore 1 key slot update key");
    slot.escrow = seal(&escrow_key, [0; 12], &slot.front(), &update).try_into().expect("32 bytes and a tag");
    slot.authenticator = authenticate(&update, &slot.authenticated_bytes());
    slot
}

/// The secrets as the engine holds them: opened from a slot, as always.
fn role_keys() -> RoleKeys {
    let slots = [("slot".to_owned(), slot(Role::Admin, 0, &slot_payload()))];
    open_any(&slots, &VAULT, &credential(), |_, keys| Ok(keys)).expect("a slot made after FORMAT.md opens")
}

/// The vault's keys as the engine holds them.
pub fn vault_keys() -> &'static Arc<VaultKeys> {
    static KEYS: OnceLock<Arc<VaultKeys>> = OnceLock::new();
    KEYS.get_or_init(|| Arc::new(VaultKeys::new(VAULT, Role::Admin, role_keys())))
}

/// A nonce in a segment.
pub fn nonce(number: u32, domain: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    nonce[8..].copy_from_slice(&domain.to_le_bytes());
    nonce
}

const _: () = assert!(TAG_BYTES == 16);
