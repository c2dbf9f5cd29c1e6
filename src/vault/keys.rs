//! The vault's key slots: listing, adding, removing, changing.

mod rewrite;
mod rotate;

pub use rewrite::{RewriteProgress, RewriteReport};
pub use rotate::RotationReport;

use super::{Vault, put};
use crate::error::{Error, Problem, Result};
use crate::format::key_slot::{FOLDER, KeySlot, MOST_BYTES, Role};
use crate::format::vault_event::Event;
use crate::media::{Lock, LockKind, Media};
use crate::point::vault_chain::{self, VaultChain};
use crate::seal::{Credential, PasswordCost, Secret, SlotInfo, Wish, update_key, wrap};

/// The lock of whoever changes slots.
pub(super) const KEYS_LOCK: &str = "keys";

/// Slots with the names of their objects.
pub(super) type NamedSlots = Vec<(String, KeySlot)>;

/// What is known of a slot's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// An administrator made it.
    Authentic,
    /// Only administrators can tell.
    Unchecked,
    /// No administrator made it as it is: it gets no keys from a rotation.
    Forged,
    /// It is from before the last rotation, and opens the vault no more.
    Outdated,
    /// It was removed, and its file put back: it opens nothing.
    Removed,
}

/// A slot in the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSlot {
    /// What it says of itself.
    pub info: SlotInfo,
    /// Whether that is true.
    pub standing: Standing,
}

/// A slot that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlot {
    /// What is known of it.
    pub info: SlotInfo,
}

/// A key that is to be added.
#[derive(Clone)]
pub struct KeyRequest {
    /// What it may do.
    pub role: Role,
    /// What shall open it.
    pub credential: Credential,
    /// What a password costs to try.
    pub cost: PasswordCost,
    /// What people call it; may be empty.
    pub label: String,
}

/// A slot as it is found, with what an administrator needs to renew it.
pub(super) struct Found {
    slot: KeySlot,
    standing: Standing,
    update: Option<Secret>,
}

/// Publishes a slot.
pub(super) fn publish(media: &dyn Media, slot: &KeySlot) -> Result<()> {
    put(media, &slot.object(), &slot.encode())?;
    media.sync_folder(FOLDER)
}

/// All slots' files that can be read, and why others can't.
pub(super) fn read_slots(media: &dyn Media) -> Result<(NamedSlots, Vec<Error>)> {
    let (mut slots, mut damaged) = (Vec::new(), Vec::new());
    for name in media.list(FOLDER)? {
        let name = format!("{FOLDER}/{name}");
        let read = || {
            let stored = media.open(&name)?;
            // One byte more than any slot has is enough to know that it is none.
            let mut bytes = vec![0; usize::try_from(stored.length()).unwrap_or(usize::MAX).min(MOST_BYTES + 1)];
            stored.read_exact_at(0, &mut bytes)?;
            let slot = KeySlot::decode(&bytes).map_err(|error| error.at(&name, 0))?;
            // A slot is removed by its name: under another it would outlive its removal.
            if slot.object() == name { Ok(slot) } else { Err(Error::damaged(&name, 32, Problem::Misplaced("slot id"))) }
        };
        match read() {
            Ok(slot) => slots.push((name, slot)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((slots, damaged))
}

/// When the epoch began that made the newest slot, if any is newer than `epoch`.
pub(super) fn newer_since(slots: &NamedSlots, epoch: u32) -> Option<u64> {
    let newer = slots.iter().map(|(_, slot)| slot).filter(|slot| slot.epoch > epoch);
    newer.max_by_key(|slot| slot.epoch).map(|slot| slot.epoch_unix_seconds)
}

impl Vault {
    /// The key slots, oldest first. An administrator learns which of them no administrator made.
    pub fn key_slots(&self) -> Result<Vec<ListedSlot>> {
        let chain = VaultChain::read(self.media.as_ref(), self.reader.store().keys())?;
        let (found, _) = self.find_slots(&chain)?;
        Ok(found
            .iter()
            .map(|found| ListedSlot { info: SlotInfo::from(&found.slot), standing: found.standing })
            .collect())
    }

    /// The slots, oldest first, and why others can't be read. Of several files of a slot, as a rotation leaves them that
    /// did not get to its end, that of the epoch that has begun counts.
    pub(super) fn find_slots(&self, chain: &VaultChain) -> Result<(Vec<Found>, Vec<Error>)> {
        let (slots, unreadable) = read_slots(self.media.as_ref())?;
        let keys = self.reader.store().keys();
        let epoch = keys.epoch();
        let mut found: Vec<Found> = Vec::new();
        // A slot of another vault, as a killed `init` may leave, is no way into this one.
        for (_, slot) in slots.into_iter().filter(|(_, slot)| slot.vault == self.header.vault && slot.epoch <= epoch) {
            let update = update_key(keys.role_keys(), &slot);
            let standing = match &update {
                _ if chain.removed.contains(&slot.id) => Standing::Removed,
                _ if slot.epoch < epoch => Standing::Outdated,
                Some(_) => Standing::Authentic,
                None if self.slot.role == Role::Admin => Standing::Forged,
                None => Standing::Unchecked,
            };
            match found.iter_mut().find(|other| other.slot.id == slot.id) {
                Some(other) if other.slot.epoch >= slot.epoch => {}
                Some(other) => *other = Found { slot, standing, update },
                None => found.push(Found { slot, standing, update }),
            }
        }
        found.sort_by(|a, b| (a.slot.created_unix_seconds, &a.slot.id).cmp(&(b.slot.created_unix_seconds, &b.slot.id)));
        Ok((found, unreadable))
    }

    pub(super) fn needs_admin(&self) -> Result<()> {
        if self.salvaged.is_some() {
            let (value, rule) = (self.slot.id.clone(), "a vault that is opened to salvage what is left is only read");
            return Err(Error::Invalid { what: "change of keys", value, rule });
        }
        if self.slot.role == Role::Admin {
            return Ok(());
        }
        Err(Error::NotPermitted { held: self.slot.role.name(), needed: "the role admin" })
    }

    /// The vault's own chain for an administrator whose keys are the newest, and the lock that keeps others away who change slots
    /// or set something for the vault as a whole.
    pub(super) fn own_chain_alone(&self) -> Result<(Option<Lock>, VaultChain)> {
        self.needs_admin()?;
        // Alone, or two who remove at once could each leave the other's slot as the last; and a slot that is added
        // while another rotates would be left out.
        let alone = self.media.lock(KEYS_LOCK, LockKind::Exclusive, true)?;
        let chain = VaultChain::read_to_append(self.media.as_ref(), self.reader.store().keys())?;
        if chain.is_newer {
            return Err(self.dated(Error::Rotated { since_unix_seconds: None }));
        }
        self.is_own_slot_there(&chain)?;
        Ok((alone, chain))
    }

    /// Fails where the slot that opened the vault was removed since: who has it open changes nothing any more.
    pub(super) fn is_own_slot_there(&self, chain: &VaultChain) -> Result<()> {
        let is_own = |removed: &[u8; 8]| crate::format::hex(removed) == self.slot.id;
        if chain.removed.iter().any(is_own) { Err(Error::RemovedKey) } else { Ok(()) }
    }

    /// Adds the date to an error that says that the keys at hand are outdated.
    pub(super) fn dated(&self, error: Error) -> Error {
        match error {
            Error::Rotated { since_unix_seconds: None } => {
                let slots = read_slots(self.media.as_ref()).map(|(slots, _)| slots).unwrap_or_default();
                Error::Rotated { since_unix_seconds: newer_since(&slots, self.reader.store().keys().epoch()) }
            }
            other => other,
        }
    }

    /// Adds a way to open the vault. Needs the role `admin`.
    pub fn add_key(&self, role: Role, credential: &Credential, cost: PasswordCost) -> Result<NewSlot> {
        self.add(&KeyRequest { role, credential: credential.clone(), cost, label: String::new() })
    }

    /// The same with a label.
    pub fn add(&self, request: &KeyRequest) -> Result<NewSlot> {
        let slot = self.make_slot(request)?;
        let _alone = self.own_chain_alone()?;
        publish(self.media.as_ref(), &slot)?;
        Ok(NewSlot { info: SlotInfo::from(&slot) })
    }

    /// A slot that is to be published. Made before the lock is taken: somebody else's command may take long to wrap a key.
    /// Under the lock, who finds the keys still to be the newest may publish it.
    fn make_slot(&self, request: &KeyRequest) -> Result<KeySlot> {
        self.needs_admin()?;
        let keys = self.reader.store().keys();
        let chain = VaultChain::read(self.media.as_ref(), keys)?;
        let wish = Wish {
            role: request.role,
            credential: &request.credential,
            cost: request.cost,
            label: &request.label,
            now_unix_seconds: jiff::Timestamp::now().as_second().unsigned_abs(),
            epoch_unix_seconds: self.epoch_began(&chain)?,
        };
        wrap(*keys.vault(), keys.role_keys(), &wish)
    }

    /// When the newest epoch began, as its slots tell, Unix seconds.
    fn epoch_began(&self, chain: &VaultChain) -> Result<u64> {
        let epoch = self.reader.store().keys().epoch();
        let (found, _) = self.find_slots(chain)?;
        let authentic = |found: &&Found| found.standing == Standing::Authentic && found.slot.epoch == epoch;
        Ok(found.iter().find(authentic).map_or(self.slot.epoch_unix_seconds, |found| found.slot.epoch_unix_seconds))
    }

    /// Changes what opens the slot that opened the vault: makes a new one of the same role and label, then removes the
    /// old. Needs the role `admin`, since only administrators make slots.
    pub fn change_own_key(&self, credential: &Credential, cost: PasswordCost) -> Result<NewSlot> {
        let (role, label) = (self.slot.role, self.slot.label.clone());
        let slot = self.make_slot(&KeyRequest { role, credential: credential.clone(), cost, label })?;
        let (_alone, chain) = self.own_chain_alone()?;
        // In this order: power that is lost in between leaves both, never none.
        publish(self.media.as_ref(), &slot)?;
        self.remove_slot(&self.slot.id, &chain)?;
        Ok(NewSlot { info: SlotInfo::from(&slot) })
    }

    /// Removes a slot by its id. Needs the role `admin`; the last slot of that role stays. The slot that opened the vault
    /// goes only where `even_own` says so.
    pub fn remove_key(&self, id: &str, even_own: bool) -> Result<()> {
        let (_alone, chain) = self.own_chain_alone()?;
        let (found, unreadable) = self.find_slots(&chain)?;
        let Some(wanted) = found.iter().find(|found| SlotInfo::from(&found.slot).id == id) else {
            // One that can't be read just now is not one that is not there.
            let unknown = Error::Invalid { what: "key slot", value: id.to_owned(), rule: "the vault has no such slot" };
            let is_it =
                |error: &Error| error.object().is_some_and(|object| object.starts_with(&format!("{FOLDER}/{id}-")));
            return Err(unreadable.into_iter().find(is_it).unwrap_or(unknown));
        };
        // What no administrator made is no administrator's slot, whatever it says.
        let is_admin = |found: &&Found| found.slot.role == Role::Admin && found.standing == Standing::Authentic;
        if is_admin(&wanted) && found.iter().filter(is_admin).count() == 1 {
            return Err(Error::LastAdminSlot);
        }
        if id == self.slot.id && !even_own {
            return Err(Error::OwnSlot);
        }
        self.remove_slot(id, &chain)
    }

    /// Removes a slot for good, and all its files.
    fn remove_slot(&self, id: &str, chain: &VaultChain) -> Result<()> {
        let (media, keys) = (self.media.as_ref(), self.reader.store().keys());
        // In this order: from the event on, the file is worth nothing, whoever puts it back. A rotation would else renew it.
        let slot = u64::from_str_radix(id, 16).map_err(|_| Error::Poisoned)?.to_be_bytes();
        if !chain.removed.contains(&slot) {
            vault_chain::append(media, keys, chain, Event::SlotRemoved { slot })?;
        }
        for name in self.media.list(FOLDER)?.iter().filter(|name| name.starts_with(&format!("{id}-"))) {
            self.media.remove(&format!("{FOLDER}/{name}"))?;
        }
        self.media.sync_folder(FOLDER)
    }
}
