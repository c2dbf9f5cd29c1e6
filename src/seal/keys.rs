//! The keys of an open vault, and what is derived from them.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce};
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, Serializable};

use super::{Secret, random};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::{self, PointMade, Prefix};
use crate::format::header::{self, Header};
use crate::format::index_run::Tag;
use crate::format::key_slot::Role;
use crate::format::segment::SegmentHeader;
use crate::format::{Hash, Id, TAG_BYTES};

/// The secrets that a role holds, as a slot wraps them.
#[derive(Clone)]
pub struct RoleKeys {
    /// Makes chunk ids.
    pub(super) id: Secret,
    /// Seals maps, manifests, catalog, tables, index.
    pub(super) meta: Secret,
    /// Public half of the data key pair.
    pub(super) public: [u8; 32],
    /// Private half, where the role reads data.
    pub(super) private: Option<Secret>,
}

impl RoleKeys {
    /// The secrets of a new vault, as its first administrator holds them.
    pub fn generate() -> Result<Self> {
        // The pair comes from key material of ours, so that randomness has one source.
        let material = Secret::random()?;
        let (private, public) = X25519HkdfSha256::derive_keypair(material.expose());
        let bytes: [u8; 32] = private.to_bytes().into();
        Ok(Self {
            id: Secret::random()?,
            meta: Secret::random()?,
            public: public.to_bytes().into(),
            private: Some(bytes.into()),
        })
    }

    /// What a role may hold of these secrets.
    pub fn for_role(&self, role: Role) -> Result<Self> {
        let mut keys = self.clone();
        if !role.reads_data() {
            keys.private = None;
        } else if keys.private.is_none() {
            return Err(Error::NotPermitted { held: Role::Backup.name(), needed: role.name() });
        }
        Ok(keys)
    }

    /// Public half of the data key pair.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }
}

/// What kind of record an id is for; each kind has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// A piece of a disk.
    Chunk,
    /// A node of a disk map.
    MapNode,
    /// A point's manifest.
    Manifest,
}

/// The keys of an open vault.
pub struct VaultKeys {
    vault: Id,
    role: Role,
    keys: RoleKeys,
    chunk_id: Secret,
    node_id: Secret,
    manifest_id: Secret,
    segment_header: Secret,
    chain_name: Secret,
    tags: Aes256,
}

/// Derives a key: BLAKE3 in key derivation mode over the secret and the ids that it is for.
pub(super) fn derive(context: &'static str, secret: &Secret, ids: &[&[u8]]) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(secret.expose());
    for id in ids {
        hasher.update(id);
    }
    Secret::from(*hasher.finalize().as_bytes())
}

/// An AES-256-GCM cipher of a derived key.
pub(super) fn cipher(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new(key.expose().into())
}

/// Seals `bytes` in place and appends the tag. The lengths here are far below what AES-GCM allows, so it can't fail.
pub(super) fn seal(cipher: &Aes256Gcm, nonce: [u8; 12], bound: &[u8], bytes: &mut Vec<u8>) {
    cipher.encrypt_in_place(&Nonce::from(nonce), bound, bytes).expect("the message is shorter than 64 GiB");
}

/// Opens `bytes` in place and removes the tag; false where they are not what was sealed.
pub(super) fn open(cipher: &Aes256Gcm, nonce: [u8; 12], bound: &[u8], bytes: &mut Vec<u8>) -> bool {
    cipher.decrypt_in_place(&Nonce::from(nonce), bound, bytes).is_ok()
}

/// Seals what lies before the last [`TAG_BYTES`] of `bytes` in place, and puts the tag there.
pub(super) fn seal_slice(cipher: &Aes256Gcm, nonce: [u8; 12], bound: &[u8], bytes: &mut [u8]) {
    let (message, room) = bytes.split_last_chunk_mut::<TAG_BYTES>().expect("there is room for the tag");
    let tag = cipher.encrypt_inout_detached(&Nonce::from(nonce), bound, message.into());
    *room = tag.expect("the message is shorter than 64 GiB").into();
}

/// Opens `bytes` in place, tag last; what was sealed, or `None` where they are not what was sealed.
pub(super) fn open_slice<'a>(
    cipher: &Aes256Gcm,
    nonce: [u8; 12],
    bound: &[u8],
    bytes: &'a mut [u8],
) -> Option<&'a [u8]> {
    let (message, tag) = bytes.split_last_chunk_mut::<TAG_BYTES>()?;
    cipher.decrypt_inout_detached(&Nonce::from(nonce), bound, (&mut *message).into(), &(*tag).into()).ok()?;
    Some(message)
}

impl VaultKeys {
    /// The keys of `vault` for what `role` may do with them.
    pub fn new(vault: Id, role: Role, keys: RoleKeys) -> Self {
        let id_key = |context| derive(context, &keys.id, &[&vault]);
        let meta_key = |context| derive(context, &keys.meta, &[&vault]);
        Self {
            chunk_id: id_key("icecore 1 chunk id"),
            node_id: id_key("icecore 1 map node id"),
            manifest_id: id_key("icecore 1 manifest id"),
            segment_header: meta_key("icecore 1 segment header"),
            chain_name: meta_key("icecore 1 chain name"),
            tags: Aes256::new(meta_key("icecore 1 index tag").expose().into()),
            vault,
            role,
            keys,
        }
    }

    /// The vault.
    pub fn vault(&self) -> &Id {
        &self.vault
    }

    /// What may be done.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The secrets, to be wrapped for another slot.
    pub(crate) fn role_keys(&self) -> &RoleKeys {
        &self.keys
    }

    /// The id of plain bytes.
    pub fn record_id(&self, kind: IdKind, plain: &[u8]) -> Hash {
        let key = match kind {
            IdKind::Chunk => &self.chunk_id,
            IdKind::MapNode => &self.node_id,
            IdKind::Manifest => &self.manifest_id,
        };
        *blake3::keyed_hash(key.expose(), plain).as_bytes()
    }

    /// The tag that an id has in the index.
    pub fn index_tag(&self, id: &Hash) -> Tag {
        let mut block = [0; 16];
        block.copy_from_slice(&id[..16]);
        let mut block = block.into();
        self.tags.encrypt_block(&mut block);
        block.into()
    }

    /// The chain of a machine.
    pub fn chain_of(&self, machine: &str) -> Id {
        let hash = blake3::keyed_hash(self.chain_name.expose(), machine.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        id
    }

    /// The authenticator of a run of the index, of the hashes of its two parts.
    pub fn authenticate_run(&self, front: &Hash, entries: &Hash) -> Hash {
        let key = derive("icecore 1 index run", &self.keys.meta, &[&self.vault]);
        *blake3::Hasher::new_keyed(key.expose()).update(front).update(entries).finalize().as_bytes()
    }

    /// The authenticator of a vault header.
    pub fn authenticate_header(&self, header: &Header) -> Hash {
        let key = derive("icecore 1 vault header", &self.keys.meta, &[&self.vault]);
        *blake3::keyed_hash(key.expose(), &header.authenticated_bytes()).as_bytes()
    }

    /// Checks a vault header, which is the object `name`, against the key that was opened.
    pub fn check_header(&self, name: &str, decoded: &header::Decoded) -> Result<()> {
        let expected = blake3::Hash::from(self.authenticate_header(&decoded.header));
        if expected == blake3::Hash::from(decoded.authenticator) && decoded.header.public == self.keys.public {
            return Ok(());
        }
        Err(Error::damaged(name, 0, Problem::Authentication("vault header")))
    }

    /// The authenticator of a segment header.
    pub(super) fn authenticate_segment(&self, header: &SegmentHeader) -> blake3::Hash {
        blake3::keyed_hash(self.segment_header.expose(), &header.authenticated_bytes())
    }

    /// Seals a catalog entry; the whole object.
    pub fn seal_entry(&self, chain: Id, sequence: u64, event: &PointMade) -> Result<Vec<u8>> {
        let prefix = Prefix { vault: self.vault, chain, sequence, salt: random()? };
        let mut payload = event.encode();
        let sealed_bytes = u32::try_from(payload.len() + crate::format::TAG_BYTES).expect("an entry is small");
        let bytes = prefix.encode(sealed_bytes);
        seal(&self.entry_cipher(&prefix), [0; 12], &bytes, &mut payload);
        let mut object = bytes.to_vec();
        object.append(&mut payload);
        Ok(catalog_entry::finish(object))
    }

    /// Opens the catalog entry that should be `sequence` of `chain`.
    pub fn open_entry(&self, chain: &Id, sequence: u64, object: &[u8]) -> Result<PointMade> {
        let name = catalog_entry::object(chain, sequence);
        let (prefix, bound, payload) = catalog_entry::split(object).map_err(|error| error.at(&name, 0))?;
        prefix.check_place(&self.vault, chain, sequence).map_err(|error| error.at(&name, 0))?;
        let mut payload = payload.to_vec();
        if !open(&self.entry_cipher(&prefix), [0; 12], bound, &mut payload) {
            return Err(Error::damaged(&name, 0, Problem::Authentication("catalog entry")));
        }
        let event = PointMade::decode(&payload).map_err(|error| error.at(&name, 0))?;
        if self.chain_of(&event.machine) != *chain {
            return Err(Error::damaged(&name, 0, Problem::Misplaced("machine name")));
        }
        Ok(event)
    }

    fn entry_cipher(&self, prefix: &Prefix) -> Aes256Gcm {
        let ids: [&[u8]; 4] = [&self.vault, &prefix.chain, &prefix.sequence.to_le_bytes(), &prefix.salt];
        cipher(&derive("icecore 1 catalog entry", &self.keys.meta, &ids))
    }

    /// The meta key, for what a segment derives.
    pub(super) fn meta(&self) -> &Secret {
        &self.keys.meta
    }

    /// The public half, to seal content keys to.
    pub(super) fn hpke_public(&self) -> Result<<X25519HkdfSha256 as Kem>::PublicKey> {
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.keys.public)
            .map_err(|_| Error::damaged(header::OBJECT, 48, Problem::Field("public half")))
    }

    /// The private half, or why there is none.
    pub(super) fn hpke_private(&self) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey> {
        let Some(private) = &self.keys.private else {
            return Err(Error::NotPermitted { held: self.role.name(), needed: "the role restore or admin" });
        };
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(private.expose())
            .map_err(|_| Error::damaged("keys", 0, Problem::Field("private half")))
    }

    /// Whether data can be read.
    pub fn reads_data(&self) -> bool {
        self.keys.private.is_some()
    }
}
