//! The keys of an open vault, and what is derived from them.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, Serializable};

use super::{Secret, random};
use crate::error::{Damage, Error, Problem, Result};
use crate::format::catalog_entry::{self, Entry, PointChanged, PointMade, Prefix, SIGNATURE_BYTES};
use crate::format::header::{self, Header};
use crate::format::index_run::Tag;
use crate::format::inventory::{self, Inventory};
use crate::format::key_slot::{self, Role};
use crate::format::segment::{self, SegmentHeader};
use crate::format::vault_event::VaultEvent;
use crate::format::{Hash, Id, TAG_BYTES, with_hash};

/// The secrets of one epoch, as far as a role holds them.
#[derive(Clone)]
pub struct EpochKeys {
    /// Seals maps, manifests, catalog, tables, index.
    pub(super) meta: Secret,
    /// Public half of the data key pair.
    pub(super) public: [u8; 32],
    /// Private half, where the role reads data.
    pub(super) private: Option<Secret>,
    /// Public half of the pair that administrators sign with.
    pub(super) verifying: [u8; 32],
    /// Makes key slots and signatures, where the role does.
    pub(super) admin: Option<Secret>,
    /// BLAKE3 of the inventory that the epoch began with; zero for the first epoch.
    pub(super) inventory: Hash,
}

/// The secrets that a role holds, as a slot wraps them.
#[derive(Clone)]
pub struct RoleKeys {
    /// Makes chunk ids, names and tags. It stays the same for the vault's whole life.
    pub(super) id: Secret,
    /// The secrets of each epoch, from the first to the newest.
    pub(super) epochs: Vec<EpochKeys>,
}

impl EpochKeys {
    fn generate(inventory: Hash) -> Result<Self> {
        // The pair comes from key material of ours, so that randomness has one source.
        Ok(Self::of(&Secret::random()?, Secret::random()?, Secret::random()?, inventory))
    }

    fn of(pair: &Secret, meta: Secret, admin: Secret, inventory: Hash) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(pair.expose());
        let private: [u8; 32] = private.to_bytes().into();
        let verifying = signing(&admin).verifying_key().to_bytes();
        let (private, admin) = (Some(private.into()), Some(admin));
        Self { meta, public: public.to_bytes().into(), private, verifying, admin, inventory }
    }

    /// Whether the signing pair is that of the admin key, where there is one.
    pub(super) fn has_both_halves(&self) -> bool {
        self.admin.as_ref().is_none_or(|admin| signing(admin).verifying_key().to_bytes() == self.verifying)
    }

    /// Secrets that everybody knows.
    #[cfg(test)]
    pub(super) fn known(number: u8, inventory: Hash) -> Self {
        let secret = |add| Secret::from([number + add; 32]);
        Self::of(&secret(1), secret(2), secret(3), inventory)
    }
}

impl RoleKeys {
    /// The secrets of a new vault, as its first administrator holds them.
    pub fn generate() -> Result<Self> {
        Ok(Self { id: Secret::random()?, epochs: vec![EpochKeys::generate([0; 32])?] })
    }

    /// What a role may hold of these secrets.
    pub fn for_role(&self, role: Role) -> Result<Self> {
        let mut keys = self.clone();
        for epoch in &mut keys.epochs {
            if !role.reads_data() {
                epoch.private = None;
            } else if epoch.private.is_none() {
                return Err(Error::NotPermitted { held: Role::Backup.name(), needed: role.name() });
            }
            if role != Role::Admin {
                epoch.admin = None;
            } else if epoch.admin.is_none() {
                return Err(Error::NotPermitted { held: Role::Restore.name(), needed: role.name() });
            }
        }
        Ok(keys)
    }

    /// The same with the secrets of one more epoch, whose meta key is `meta`.
    ///
    /// The inventory is sealed under that key before there is anything else of the epoch.
    pub(crate) fn next_epoch(&self, meta: Secret, inventory: Hash) -> Result<Self> {
        let mut keys = self.clone();
        keys.epochs.push(EpochKeys { meta, ..EpochKeys::generate(inventory)? });
        Ok(keys)
    }

    /// The same without what comes after `epoch`: it has not begun.
    pub(crate) fn up_to(mut self, epoch: u32) -> Self {
        self.epochs.truncate((epoch as usize).saturating_add(1));
        self
    }

    /// The newest epoch.
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.epochs.len().saturating_sub(1)).expect("the format bounds epochs")
    }

    fn newest(&self) -> &EpochKeys {
        self.epochs.last().expect("there is a first epoch")
    }

    /// The newest epoch's admin key, where the role has one.
    pub(super) fn admin(&self) -> Option<&Secret> {
        self.newest().admin.as_ref()
    }

    /// Public half of the first epoch's data key pair, as the header tells it.
    pub fn public(&self) -> [u8; 32] {
        self.epochs[0].public
    }
}

/// What there was when the newest epoch began: all that counts of what is under older keys.
#[derive(Clone, Debug)]
pub enum Earlier {
    /// It is the first epoch: there are no older keys.
    Nothing,
    /// This.
    Listed(Inventory),
    /// The list is damaged or gone. Everything under older keys is taken for what it says it is, which is told; nobody
    /// writes to the vault then.
    Lost(Damage),
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
    chain_name: Secret,
    /// Of each epoch.
    segment_headers: Vec<Secret>,
    tags: Aes256,
    earlier: Earlier,
}

/// The pair that administrators sign with.
fn signing(admin: &Secret) -> SigningKey {
    SigningKey::from_bytes(derive("icecore 1 signing key", admin, &[]).expose())
}

/// Derives a key: BLAKE3 in key derivation mode over the secret and the ids that it is for.
pub(super) fn derive(context: &'static str, secret: &Secret, ids: &[&[u8]]) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(secret.expose());
    for id in ids {
        hasher.update(id);
    }
    let key = Secret::from(*hasher.finalize().as_bytes());
    #[cfg(test)]
    super::vectors::derived(context, &[&[secret.expose().as_slice()], ids].concat(), key.expose());
    key
}

/// BLAKE3 in keyed mode: an authenticator or an id.
pub(super) fn keyed(key: &Secret, message: &[u8]) -> Hash {
    let hash = *blake3::keyed_hash(key.expose(), message).as_bytes();
    #[cfg(test)]
    super::vectors::keyed(key.expose(), message, &hash);
    hash
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
    #[cfg(test)]
    let sealed = bytes.clone();
    let opened = cipher.decrypt_in_place(&Nonce::from(nonce), bound, bytes).is_ok();
    #[cfg(test)]
    if opened {
        super::vectors::opened(&nonce, bound, &sealed, bytes);
    }
    opened
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
    #[cfg(test)]
    let sealed = bytes.to_vec();
    let (message, tag) = bytes.split_last_chunk_mut::<TAG_BYTES>()?;
    cipher.decrypt_inout_detached(&Nonce::from(nonce), bound, (&mut *message).into(), &(*tag).into()).ok()?;
    #[cfg(test)]
    super::vectors::opened(&nonce, bound, &sealed, message);
    Some(message)
}

impl VaultKeys {
    /// The keys of `vault` for what `role` may do with them.
    pub fn new(vault: Id, role: Role, keys: RoleKeys) -> Self {
        let id_key = |context| derive(context, &keys.id, &[&vault]);
        let segment_header = |epoch: &EpochKeys| derive("icecore 1 segment header", &epoch.meta, &[&vault]);
        Self {
            chunk_id: id_key("icecore 1 chunk id"),
            node_id: id_key("icecore 1 map node id"),
            manifest_id: id_key("icecore 1 manifest id"),
            chain_name: id_key("icecore 1 chain name"),
            tags: Aes256::new(derive("icecore 1 index tag", &keys.newest().meta, &[&vault]).expose().into()),
            segment_headers: keys.epochs.iter().map(segment_header).collect(),
            vault,
            role,
            keys,
            earlier: Earlier::Nothing,
        }
    }

    /// The same keys, with what there was when their newest epoch began.
    pub(crate) fn after(self, earlier: Earlier) -> Self {
        Self { earlier, ..self }
    }

    /// What there was when the newest epoch began.
    pub fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    /// The newest epoch, whose keys seal what is written.
    pub fn epoch(&self) -> u32 {
        self.keys.epoch()
    }

    /// BLAKE3 of the inventory that the newest epoch began with; zero for the first.
    pub(crate) fn inventory(&self) -> &Hash {
        &self.keys.newest().inventory
    }

    /// Whether an epoch is one that began with this inventory.
    pub(crate) fn begins_with(&self, epoch: u32, inventory: &Hash) -> bool {
        epoch > 0 && self.keys.epochs.get(epoch as usize).is_some_and(|keys| keys.inventory == *inventory)
    }

    /// The secrets of an epoch; fails where `object` is of one that came after those at hand.
    pub(super) fn of_epoch(&self, epoch: u32, object: &str) -> Result<&EpochKeys> {
        let newer = || Error::damaged(object, 0, Problem::Epoch(epoch));
        self.keys.epochs.get(epoch as usize).ok_or_else(newer)
    }

    /// Fails where a segment is of an older epoch and was not there when the newest began: only who lost his key in a
    /// rotation can have made it.
    pub(super) fn admit_segment(&self, segment: &Id, epoch: u32) -> Result<()> {
        match &self.earlier {
            Earlier::Listed(inventory) if epoch < self.epoch() && !inventory.has_segment(segment) => {
                Err(Error::damaged(segment::object(segment), 0, Problem::Outlived))
            }
            _ => Ok(()),
        }
    }

    /// The same for an entry of a chain.
    fn admit_entry(&self, name: &str, prefix: &Prefix, object: &[u8]) -> Result<()> {
        match &self.earlier {
            Earlier::Listed(inventory)
                if prefix.epoch < self.epoch()
                    && !inventory.has_entry(&prefix.chain, prefix.sequence, blake3::hash(object).as_bytes()) =>
            {
                Err(Error::damaged(name, 0, Problem::Outlived))
            }
            _ => Ok(()),
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
        keyed(key, plain)
    }

    /// The tag that an id has in the index. Under the newest epoch's key: the index lies in the clear, and who lost his key
    /// must not find in it what he knows.
    pub fn index_tag(&self, id: &Hash) -> Tag {
        let mut block = [0; 16];
        block.copy_from_slice(&id[..16]);
        let mut block = block.into();
        self.tags.encrypt_block(&mut block);
        #[cfg(test)]
        {
            let key = derive("icecore 1 index tag", &self.keys.newest().meta, &[&self.vault]);
            super::vectors::tagged(key.expose(), id, &block);
        }
        block.into()
    }

    /// The chain of a machine.
    pub fn chain_of(&self, machine: &str) -> Id {
        let hash = keyed(&self.chain_name, machine.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        id
    }

    /// The vault's own chain.
    pub fn own_chain(&self) -> Id {
        // No machine has this name.
        self.chain_of("")
    }

    /// The authenticator of a run of the index, of the hashes of its two parts. Under the newest epoch's key: what who
    /// lost his key calls known must not count.
    pub fn authenticate_run(&self, front: &Hash, entries: &Hash) -> Hash {
        let key = derive("icecore 1 index run", &self.keys.newest().meta, &[&self.vault]);
        keyed(&key, &[*front, *entries].concat())
    }

    /// The authenticator of a vault header.
    pub fn authenticate_header(&self, header: &Header) -> Hash {
        let key = derive("icecore 1 vault header", &self.keys.id, &[&self.vault]);
        keyed(&key, &header.authenticated_bytes())
    }

    /// Checks a vault header, which is the object `name`, against the key that was opened.
    pub fn check_header(&self, name: &str, decoded: &header::Decoded) -> Result<()> {
        let expected = blake3::Hash::from(self.authenticate_header(&decoded.header));
        let listed = match &self.earlier {
            Earlier::Listed(inventory) => {
                let encoded = decoded.header.encode(decoded.authenticator);
                blake3::hash(&encoded) == blake3::Hash::from(inventory.header)
            }
            Earlier::Nothing | Earlier::Lost(_) => true,
        };
        let authentic = expected == blake3::Hash::from(decoded.authenticator);
        if authentic && listed && decoded.header.public == self.keys.public() {
            return Ok(());
        }
        Err(Error::damaged(name, 0, Problem::Authentication("vault header")))
    }

    /// The authenticator of a segment header.
    pub(super) fn authenticate_segment(&self, header: &SegmentHeader) -> Result<blake3::Hash> {
        let newer = || Error::damaged(segment::object(&header.segment), 48, Problem::Epoch(header.epoch));
        let key = self.segment_headers.get(header.epoch as usize).ok_or_else(newer)?;
        Ok(keyed(key, &header.authenticated_bytes()).into())
    }

    /// Seals a catalog entry; the whole object.
    pub fn seal_entry(&self, chain: Id, sequence: u64, event: &PointMade) -> Result<Vec<u8>> {
        self.seal_payload(chain, sequence, event.encode(), false)
    }

    /// Seals an entry that says what an administrator did with a point; the whole object.
    pub fn seal_change(&self, chain: Id, sequence: u64, event: &PointChanged) -> Result<Vec<u8>> {
        self.seal_payload(chain, sequence, event.encode(), true)
    }

    /// Seals an entry of the vault's own chain; the whole object.
    pub fn seal_event(&self, sequence: u64, event: &VaultEvent) -> Result<Vec<u8>> {
        self.seal_payload(self.own_chain(), sequence, event.encode(), true)
    }

    fn seal_payload(&self, chain: Id, sequence: u64, mut payload: Vec<u8>, is_signed: bool) -> Result<Vec<u8>> {
        let prefix = Prefix { vault: self.vault, chain, sequence, epoch: self.epoch(), salt: random()? };
        let signature_bytes = if is_signed { SIGNATURE_BYTES } else { 0 };
        let sealed_bytes = u32::try_from(payload.len() + signature_bytes + TAG_BYTES).expect("an entry is small");
        let bytes = prefix.encode(sealed_bytes);
        if is_signed {
            let denied = || Error::NotPermitted { held: self.role.name(), needed: "the role admin" };
            let key = signing(self.keys.admin().ok_or_else(denied)?);
            payload.extend_from_slice(&key.sign(&[bytes.as_slice(), &payload].concat()).to_bytes());
        }
        seal(&entry_cipher(self.keys.newest(), &prefix), [0; 12], &bytes, &mut payload);
        let mut object = bytes.to_vec();
        object.append(&mut payload);
        Ok(with_hash(object))
    }

    /// Opens the catalog entry that should be `sequence` of `chain`.
    pub fn open_entry(&self, chain: &Id, sequence: u64, object: &[u8]) -> Result<Entry> {
        let name = catalog_entry::object(chain, sequence);
        let (prefix, payload) = self.open_payload(chain, sequence, object)?;
        self.admit_entry(&name, &prefix, object)?;
        let (entry, signature) = Entry::decode(&payload).map_err(|error| error.at(&name, 0))?;
        self.check_signed(&name, &prefix, object, &payload, signature)?;
        if self.chain_of(entry.machine()) != *chain {
            return Err(Error::damaged(&name, 0, Problem::Misplaced("machine name")));
        }
        Ok(entry)
    }

    /// Fails where an entry has a signature, which all have that must, and no administrator of its epoch made that.
    fn check_signed(
        &self,
        name: &str,
        prefix: &Prefix,
        object: &[u8],
        payload: &[u8],
        signature: Option<&[u8; SIGNATURE_BYTES]>,
    ) -> Result<()> {
        let Some(signature) = signature else { return Ok(()) };
        let front = object.first_chunk::<{ catalog_entry::PREFIX }>().expect("it was opened");
        let message = &[front, &payload[..payload.len() - SIGNATURE_BYTES]].concat();
        let key = &self.of_epoch(prefix.epoch, name)?.verifying;
        // The strict form: one signature, one key, one message.
        let fits = VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok());
        #[cfg(test)]
        if fits {
            super::vectors::signed(key, message, signature);
        }
        if fits { Ok(()) } else { Err(Error::damaged(name, 0, Problem::Authentication("signature"))) }
    }

    /// Opens the entry that should be `sequence` of the vault's own chain; also its epoch. What is before the newest
    /// epoch in that chain is bound by the hashes of predecessors.
    pub fn open_event(&self, sequence: u64, object: &[u8]) -> Result<(u32, VaultEvent)> {
        let chain = self.own_chain();
        let name = catalog_entry::object(&chain, sequence);
        let (prefix, payload) = self.open_payload(&chain, sequence, object)?;
        let (event, signature) = VaultEvent::decode(&payload).map_err(|error| error.at(&name, 0))?;
        self.check_signed(&name, &prefix, object, &payload, Some(signature))?;
        Ok((prefix.epoch, event))
    }

    fn open_payload(&self, chain: &Id, sequence: u64, object: &[u8]) -> Result<(Prefix, Vec<u8>)> {
        let name = catalog_entry::object(chain, sequence);
        let (prefix, bound, payload) = catalog_entry::split(object).map_err(|error| error.at(&name, 0))?;
        prefix.check_place(&self.vault, chain, sequence).map_err(|error| error.at(&name, 0))?;
        let mut payload = payload.to_vec();
        if !open(&entry_cipher(self.of_epoch(prefix.epoch, &name)?, &prefix), [0; 12], bound, &mut payload) {
            return Err(Error::damaged(&name, 0, Problem::Authentication("catalog entry")));
        }
        Ok((prefix, payload))
    }

    /// The meta key of an epoch, for what a segment derives.
    pub(super) fn meta(&self, epoch: u32) -> Option<&Secret> {
        self.keys.epochs.get(epoch as usize).map(|keys| &keys.meta)
    }

    /// The public half, to seal content keys to.
    pub(super) fn hpke_public(&self) -> Result<<X25519HkdfSha256 as Kem>::PublicKey> {
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.keys.newest().public)
            .map_err(|_| Error::damaged(key_slot::FOLDER, 0, Problem::Field("public half")))
    }

    /// The private half of an epoch, or why there is none.
    pub(super) fn hpke_private(&self, epoch: u32) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey> {
        let Some(private) = self.keys.epochs.get(epoch as usize).and_then(|keys| keys.private.as_ref()) else {
            return Err(Error::NotPermitted { held: self.role.name(), needed: "the role restore or admin" });
        };
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(private.expose())
            .map_err(|_| Error::damaged("keys", 0, Problem::Field("private half")))
    }

    /// Whether data can be read.
    pub fn reads_data(&self) -> bool {
        self.keys.newest().private.is_some()
    }
}

fn entry_cipher(keys: &EpochKeys, prefix: &Prefix) -> Aes256Gcm {
    let ids: [&[u8]; 4] = [&prefix.vault, &prefix.chain, &prefix.sequence.to_le_bytes(), &prefix.salt];
    cipher(&derive("icecore 1 catalog entry", &keys.meta, &ids))
}

fn inventory_cipher(meta: &Secret, prefix: &inventory::Prefix) -> Aes256Gcm {
    let ids: [&[u8]; 3] = [&prefix.vault, &u64::from(prefix.epoch).to_le_bytes(), &prefix.salt];
    cipher(&derive("icecore 1 inventory", meta, &ids))
}

/// Seals the inventory that an epoch begins with, under its meta key; the whole object.
pub(crate) fn seal_inventory(vault: Id, epoch: u32, meta: &Secret, inventory: &Inventory) -> Result<Vec<u8>> {
    let prefix = inventory::Prefix { epoch, vault, salt: random()? };
    let mut payload = inventory.encode();
    let mut object = prefix.encode((payload.len() + TAG_BYTES) as u64).to_vec();
    seal(&inventory_cipher(meta, &prefix), [0; 12], &object, &mut payload);
    object.append(&mut payload);
    Ok(with_hash(object))
}

/// Opens the inventory of the newest epoch, the object `name`.
pub(crate) fn open_inventory(keys: &VaultKeys, name: &str, object: &[u8]) -> Result<Inventory> {
    let (prefix, bound, payload) = inventory::split(object).map_err(|error| error.at(name, 0))?;
    if (prefix.vault, prefix.epoch) != (keys.vault, keys.epoch()) {
        return Err(Error::damaged(name, 12, Problem::Misplaced("vault id or epoch")));
    }
    let newest = keys.keys.newest();
    let mut payload = payload.to_vec();
    // The slot tells the hash, so that no other key holder can make another list of what there was.
    if *blake3::hash(object).as_bytes() != newest.inventory
        || !open(&inventory_cipher(&newest.meta, &prefix), [0; 12], bound, &mut payload)
    {
        return Err(Error::damaged(name, 0, Problem::Authentication("inventory")));
    }
    Inventory::decode(&payload).map_err(|error| error.at(name, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_stay_over_epochs_and_what_lies_in_the_clear_changes() {
        let first = RoleKeys::generate().expect("random");
        let second = first.next_epoch(Secret::random().expect("random"), [1; 32]).expect("random");
        let [before, after] = [first, second].map(|keys| VaultKeys::new([1; 16], Role::Admin, keys));
        let id = before.record_id(IdKind::Chunk, b"known");
        assert_eq!(id, after.record_id(IdKind::Chunk, b"known"), "or deduplication would end");
        assert_eq!(before.chain_of("web01"), after.chain_of("web01"));
        assert_ne!(before.chain_of("web01"), before.own_chain());
        // Tags lie in the clear: who has the keys of before must not find what he knows.
        assert_ne!(before.index_tag(&id), after.index_tag(&id));
        assert_ne!(before.authenticate_run(&id, &id), after.authenticate_run(&id, &id));
    }

    #[test]
    fn what_no_administrator_signed_is_refused() {
        use crate::format::catalog_entry::Change;
        let keys = RoleKeys::generate().expect("random");
        let role = |role, keys: &RoleKeys| VaultKeys::new([1; 16], role, keys.for_role(role).expect("its keys"));
        let (admin, backup) = (role(Role::Admin, &keys), role(Role::Backup, &keys));
        // Whoever has the backup key has all that seals an entry, and signs with a pair of his own.
        let mut forged = keys.clone();
        forged.epochs[0].admin = Some(Secret::random().expect("random"));
        let forger = role(Role::Admin, &forged);
        let event = PointChanged {
            predecessor: [0; 32],
            change: Change::Forgotten { until_unix_seconds: 0 },
            point: [2; 16],
            recorded_unix_seconds: 0,
            machine: "web01".to_owned(),
            reason: String::new(),
        };
        let chain = admin.chain_of("web01");
        assert!(matches!(backup.seal_change(chain, 1, &event), Err(Error::NotPermitted { .. })));
        let [signed, forged] = [&admin, &forger].map(|keys| keys.seal_change(chain, 1, &event).expect("sealed"));
        for reader in [&admin, &backup] {
            assert_eq!(reader.open_entry(&chain, 1, &signed).expect("signed"), Entry::Changed(event.clone()));
            let refused = reader.open_entry(&chain, 1, &forged).expect_err("forged");
            let problem = Problem::Authentication("signature");
            assert!(matches!(&refused, Error::Damaged(damage) if damage.problem == problem), "{refused}");
        }
        // Neither at another place of the chain, nor as another event.
        assert!(admin.open_entry(&chain, 2, &signed).is_err());
    }
}
