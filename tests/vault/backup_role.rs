//! Promise 4: whoever holds a key of the role backup, and every byte of the vault, reads no data: not with the secrets of
//! the slot, not with anything that follows from them, not after rotations.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, Serializable, single_shot_open};
use icecore::format::key_slot::{KeySlot, Role};
use icecore::seal::Credential;

const CONTEXTS: [&str; 22] = [
    "icecore 1 chunk id",
    "icecore 1 map node id",
    "icecore 1 manifest id",
    "icecore 1 vault header",
    "icecore 1 segment header",
    "icecore 1 chain name",
    "icecore 1 index tag",
    "icecore 1 index run",
    "icecore 1 catalog entry",
    "icecore 1 inventory",
    "icecore 1 segment ids and table",
    "icecore 1 meta payloads",
    "icecore 1 content key",
    "icecore 1 key slot commitment",
    "icecore 1 key slot pair",
    "icecore 1 key slot update key",
    "icecore 1 key slot escrow",
    "icecore 1 key slot",
    "icecore 1 key slot payload",
    "icecore 1 key file",
    "icecore 1 recovery key",
    "icecore 1 external key",
];

type Key = [u8; 32];

fn derive(context: &str, parts: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    *hasher.finalize().as_bytes()
}

fn windows(bytes: &[u8], step: usize) -> impl Iterator<Item = Key> {
    bytes.windows(32).step_by(step).map(|window| window.try_into().expect("32 bytes"))
}

/// What a slot opened with a key file holds: the root key, what follows from it, and the payload.
fn opened(slot: &KeySlot, key_file: &[u8]) -> (Vec<Key>, Vec<u8>) {
    let root = derive("icecore 1 key file", &[&slot.salt, key_file]);
    let of_slot = |context| derive(context, &[&root, &slot.vault, &slot.id]);
    let private =
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&of_slot("icecore 1 key slot pair")).expect("a key");
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&slot.encapsulated).expect("a key");
    let info = [b"icecore 1 key slot".as_slice(), &slot.vault, &slot.id].concat();
    let payload = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        &info,
        &slot.payload,
        &slot.front(),
    );
    (vec![root], payload.expect("the slot's own payload"))
}

/// Everything that a holder can come by and that may be a key: windows of the payload at every byte and of all files at
/// every eighth, roots, and what all context strings make of the secrets with the ids at hand.
fn candidates(vault: &Path, roots: &[Key], payload: &[u8], slot: &KeySlot, segments: &[Vec<u8>]) -> BTreeSet<Key> {
    let mut secrets: BTreeSet<Key> = windows(payload, 1).chain(roots.iter().copied()).collect();
    let known: Vec<Key> = windows(payload, 8).chain(roots.iter().copied()).collect();
    for secret in &known {
        for context in CONTEXTS {
            secrets.insert(derive(context, &[secret]));
            secrets.insert(derive(context, &[secret, &slot.vault]));
            secrets.insert(derive(context, &[secret, &slot.vault, &slot.id]));
            secrets.insert(derive(context, &[secret, &slot.vault, &slot.id, &slot.encapsulated]));
            for segment in segments {
                secrets.insert(derive(context, &[secret, &slot.vault, &segment[32..48]]));
            }
        }
    }
    for file in common::files(vault) {
        let bytes = std::fs::read(&file).expect("a file");
        // Of a segment, header and tail: its middle is what is to be opened.
        let ends = [&bytes[..bytes.len().min(2000)], &bytes[bytes.len().saturating_sub(2000)..]];
        secrets.extend(ends.iter().flat_map(|part| windows(part, 8).collect::<Vec<_>>()));
    }
    secrets
}

/// How many data segments a key opens: as the private half that the content key is sealed to, or as the content key.
fn opens(key: &Key, segments: &[Vec<u8>]) -> usize {
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(key).expect("any 32 bytes are one");
    let is_public = X25519HkdfSha256::sk_to_pk(&private).to_bytes();
    let open = |segment: &&Vec<u8>| {
        let (vault, id) = (&segment[16..32], &segment[32..48]);
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&segment[64..96]).expect("a key");
        let info = [b"icecore 1 content key".as_slice(), vault, id].concat();
        let sealed = &segment[96..144];
        let opened = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &encapsulated,
            &info,
            sealed,
            id,
        );
        if opened.is_ok() {
            return true;
        }
        // The first record, with whatever may be bound to it left out: counter mode needs no tag to give plain bytes, so
        // the key stream is tried on the whole record too.
        let record = &segment[192..];
        let stored = u32::from_le_bytes(record[16..20].try_into().expect("four bytes")) as usize;
        let payload = &record[96..96 + stored];
        let cipher = Aes256Gcm::new(key.into());
        let bound = [&record[..24], vault, id].concat();
        cipher.decrypt(&Nonce::from([0; 12]), Payload { msg: payload, aad: &bound }).is_ok()
    };
    assert_ne!(is_public.as_slice(), [0; 32]);
    segments.iter().filter(open).count()
}

fn data_segments(vault: &Path) -> Vec<Vec<u8>> {
    let all = common::files(&vault.join("segments")).into_iter().map(|file| std::fs::read(file).expect("segment"));
    all.filter(|bytes| bytes[12] == 1).collect()
}

fn slot_of(vault: &Path, id: &str) -> KeySlot {
    let file = common::files(&vault.join("keys")).into_iter().find(|file| file.to_string_lossy().contains(id));
    KeySlot::decode(&std::fs::read(file.expect("its file")).expect("read")).expect("a slot")
}

#[test]
fn a_backup_key_opens_no_data_whatever_its_holder_tries() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let mut admin = common::init(&path, &common::small());
    let [backup_file, restore_file] = [5, 6].map(|seed| common::noise(seed, 64));
    let key = |bytes: &[u8]| Credential::key_file(bytes).expect("long enough");
    let backup = admin.add_key(Role::Backup, &key(&backup_file), common::CHEAP).expect("added").info.id;
    let restore = admin.add_key(Role::Restore, &key(&restore_file), common::CHEAP).expect("added").info.id;
    for epoch in 0..3_usize {
        common::backup_bytes(&admin, "m", &[("os", &common::noise(epoch as u64, 40_000))]).expect("backup");
        let segments = data_segments(&path);
        assert_eq!(segments.len(), epoch + 1);
        let slot = slot_of(&path, &backup);
        let (roots, payload) = opened(&slot, &backup_file);
        let what = "id key; meta key, two public halves and inventory of each epoch";
        assert_eq!(payload.len(), 40 + 128 * (epoch + 1), "{what}");
        let tried = candidates(&path, &roots, &payload, &slot, &segments);
        assert!(tried.len() > 2000, "{}", tried.len());
        // One segment a time, the newest: it is sealed to the newest half, and the older ones were tried before.
        let newest: Vec<Vec<u8>> = segments.iter().filter(|bytes| bytes[48] as usize == epoch).cloned().collect();
        assert_eq!(newest.len(), 1);
        let opening = tried.iter().filter(|key| opens(key, &newest) > 0).count();
        assert_eq!(opening, 0, "epoch {epoch}: a key of the role backup opens data");
        // The same with a key of the role restore finds the halves at once: the search would have found them.
        let slot = slot_of(&path, &restore);
        let (_, payload) = opened(&slot, &restore_file);
        assert_eq!(payload.len(), 40 + 160 * (epoch + 1));
        let found: usize = windows(&payload[40..], 32).map(|key| opens(&key, &segments)).sum();
        assert_eq!(found, epoch + 1, "each segment opens with the half of its epoch");
        admin = admin.rotate_keys(false).expect("rotated").0;
    }
}
