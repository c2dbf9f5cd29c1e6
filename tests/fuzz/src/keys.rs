//! Keys that are known, and what they seal, done after FORMAT.md.

use std::sync::{Arc, OnceLock};

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt, KeyInit};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

use icecore::format::key_slot::{KeySlot, Role, SlotKind};
use icecore::format::{Hash, Id, TAG_BYTES};
use icecore::seal::{Credential, RoleKeys, VaultKeys, open_any};

/// The vault that everything here belongs to.
pub const VAULT: Id = *b"fuzzed vault 001";
/// Id of its key slot.
pub const SLOT: [u8; 8] = *b"slot 001";
const ID_KEY: [u8; 32] = [0x11; 32];
const META_KEY: [u8; 32] = [0x22; 32];
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

/// The secrets of a slot, before they are sealed.
pub fn slot_payload() -> Vec<u8> {
    [[0; 8].as_slice(), &ID_KEY, &META_KEY, &PUBLIC, &PRIVATE].concat()
}

/// A slot with any payload, sealed for the credential.
pub fn slot(role: Role, payload: &[u8]) -> KeySlot {
    let root = derive("icecore 1 key file", &SALT, &[&KEY_FILE]);
    let mut slot = KeySlot {
        kind: SlotKind::KeyFile,
        role,
        vault: VAULT,
        id: SLOT,
        created_unix_seconds: 1_800_000_000,
        salt: SALT,
        commitment: derive("icecore 1 key slot commitment", &root, &[&VAULT]),
        payload: Vec::new(),
    };
    let key = derive("icecore 1 key slot payload", &root, &[&VAULT]);
    slot.payload = seal(&key, [0; 12], &bound(&slot), payload);
    slot
}

/// What the payload is bound to. It tells the role's length, which a payload of another length makes a lie.
fn bound(slot: &KeySlot) -> [u8; 128] {
    slot.prefix()
}

/// The secrets as the engine holds them: opened from a slot, as always.
fn role_keys() -> RoleKeys {
    let slots = [("slot".to_owned(), slot(Role::Admin, &slot_payload()))];
    let (_, keys) = open_any(&slots, &VAULT, &credential()).expect("a slot made after FORMAT.md opens");
    keys
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
