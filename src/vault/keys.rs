//! The vault's key slots: listing, adding, removing.

use super::{Vault, put};
use crate::error::{Error, Problem, Result};
use crate::format::hex;
use crate::format::key_slot::{FOLDER, KeySlot, Role};
use crate::media::{LockKind, Media};
use crate::seal::{Credential, PasswordCost, SlotInfo, wrap};

/// The lock of whoever removes a slot.
pub(super) const KEYS_LOCK: &str = "keys";

/// Longest slot that is read, in bytes.
const MOST_SLOT_BYTES: u64 = 1024;

/// Slots with the names of their objects.
pub(super) type NamedSlots = Vec<(String, KeySlot)>;

/// A slot that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlot {
    /// What is known of it.
    pub info: SlotInfo,
}

/// The object of a slot.
pub(super) fn object(slot: &KeySlot) -> String {
    format!("{FOLDER}/{}.slot", hex(&slot.id))
}

/// Publishes a slot.
pub(super) fn publish(media: &dyn Media, slot: &KeySlot) -> Result<()> {
    put(media, &object(slot), &slot.encode())?;
    media.sync_folder(FOLDER)
}

/// All slots that can be read, and why others can't.
pub(super) fn read_slots(media: &dyn Media) -> Result<(NamedSlots, Vec<Error>)> {
    let (mut slots, mut damaged) = (Vec::new(), Vec::new());
    for name in media.list(FOLDER)? {
        let name = format!("{FOLDER}/{name}");
        let read = || {
            let stored = media.open(&name)?;
            let mut bytes = vec![0; usize::try_from(stored.length().min(MOST_SLOT_BYTES)).unwrap_or(0)];
            stored.read_exact_at(0, &mut bytes)?;
            let slot = KeySlot::decode(&bytes).map_err(|error| error.at(&name, 0))?;
            // A slot is removed by its name: under another it would outlive its removal.
            if object(&slot) == name { Ok(slot) } else { Err(Error::damaged(&name, 32, Problem::Misplaced("slot id"))) }
        };
        match read() {
            Ok(slot) => slots.push((name, slot)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((slots, damaged))
}

impl Vault {
    /// The key slots, oldest first.
    pub fn key_slots(&self) -> Result<Vec<SlotInfo>> {
        self.slots_and_unreadable().map(|(slots, _)| slots)
    }

    /// The same, and why others can't be read.
    fn slots_and_unreadable(&self) -> Result<(Vec<SlotInfo>, Vec<Error>)> {
        let (slots, unreadable) = read_slots(self.media.as_ref())?;
        // A slot of another vault, as a killed `init` may leave, is no way into this one.
        let ours = slots.iter().filter(|(_, slot)| slot.vault == self.header.vault);
        let mut infos: Vec<SlotInfo> = ours.map(|(_, slot)| SlotInfo::from(slot)).collect();
        infos.sort_by(|a, b| (a.created_unix_seconds, &a.id).cmp(&(b.created_unix_seconds, &b.id)));
        Ok((infos, unreadable))
    }

    fn needs_admin(&self) -> Result<()> {
        if self.slot.role == Role::Admin {
            return Ok(());
        }
        Err(Error::NotPermitted { held: self.slot.role.name(), needed: "the role admin" })
    }

    /// Adds a way to open the vault. Needs the role `admin`.
    pub fn add_key(&self, role: Role, credential: &Credential, cost: PasswordCost) -> Result<NewSlot> {
        self.needs_admin()?;
        let keys = self.reader.store().keys();
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        let slot = wrap(*keys.vault(), keys.role_keys(), role, credential, cost, now)?;
        publish(self.media.as_ref(), &slot)?;
        Ok(NewSlot::from(&slot))
    }

    /// Removes a slot by its id. Needs the role `admin`; the last slot of that role stays.
    pub fn remove_key(&self, id: &str) -> Result<()> {
        self.needs_admin()?;
        // Alone, or two who remove at once could each leave the other's slot as the last.
        let _alone = self.media.lock(KEYS_LOCK, LockKind::Exclusive, true)?;
        let (slots, unreadable) = self.slots_and_unreadable()?;
        let object = format!("{FOLDER}/{id}.slot");
        let Some(slot) = slots.iter().find(|slot| slot.id == id) else {
            // One that can't be read just now is not one that is not there.
            let unknown = Error::Invalid { what: "key slot", value: id.to_owned(), rule: "the vault has no such slot" };
            return Err(unreadable.into_iter().find(|error| error.object() == Some(&object)).unwrap_or(unknown));
        };
        let admins = slots.iter().filter(|slot| slot.role == Role::Admin).count();
        if slot.role == Role::Admin && admins == 1 {
            return Err(Error::LastAdminSlot);
        }
        self.media.remove(&object)?;
        self.media.sync_folder(FOLDER)
    }
}
