//! Beginning a new epoch of the keys: everything that is written from then on is under keys that nobody has who lost his
//! slot before. Needs no other slot's password, and rewrites nothing.

use super::{FOLDER, Found, KEYS_LOCK, ListedSlot, Standing, publish, read_slots};
use crate::error::{Error, ErrorKind, Result};
use crate::format::inventory::{self, Inventory};
use crate::format::key_slot::{self, KeySlot};
use crate::format::vault_event::Event;
use crate::format::{Hash, Id, header, hex};
use crate::media::{LockKind, Media};
use crate::point::vault_chain::{self, VaultChain};
use crate::seal::{Earlier, Secret, SlotInfo, VaultKeys, renew, seal_inventory};
use crate::store::WRITERS_LOCK;
use crate::sync::Arc;
use crate::vault::{Unlocked, Vault, put};

/// What a rotation did.
#[derive(Debug)]
pub struct RotationReport {
    /// The epoch that began.
    pub epoch: u32,
    /// The slots that open the vault from now on.
    pub kept: Vec<SlotInfo>,
    /// Slots that got no new keys, because no administrator made them, they were removed, or outdated before.
    pub left_out: Vec<ListedSlot>,
    /// Slots that got no new keys, because they can't be read.
    pub unreadable: Vec<Error>,
}

impl Vault {
    /// Begins a new epoch of the keys. Needs the role `admin`; waits until no backup runs.
    ///
    /// With `rewrites` it is written down that everything older is to be moved under the new keys, which [`Self::rewrite`]
    /// does. The vault is returned with its new keys. Others that are open go on reading what they know, and write no more.
    pub fn rotate_keys(self, rewrites: bool) -> Result<(Self, RotationReport)> {
        self.needs_admin()?;
        let media = self.media.as_ref();
        // What writes may take a while to end; who changes slots does not. So the writers first, or all who change slots
        // would wait with us.
        let _no_writers = media.lock(WRITERS_LOCK, LockKind::Exclusive, true)?;
        let _alone = media.lock(KEYS_LOCK, LockKind::Exclusive, true)?;
        let old = self.reader.store().keys();
        let chain = VaultChain::read_to_append(media, old)?;
        if chain.is_newer {
            return Err(self.dated(Error::Rotated { since_unix_seconds: None }));
        }
        self.is_own_slot_there(&chain)?;
        self.refresh()?;
        if self.catalog.has_newer() {
            return Err(self.dated(Error::Rotated { since_unix_seconds: None }));
        }
        let (found, mut unreadable) = self.find_slots(&chain)?;
        // A medium that does not give a slot just now must not shut its holder out for good.
        if let Some(failed) = unreadable.iter().position(|error| error.kind() == ErrorKind::Medium) {
            return Err(unreadable.swap_remove(failed));
        }
        let own =
            |found: &Found| SlotInfo::from(&found.slot).id == self.slot.id && found.standing == Standing::Authentic;
        if !found.iter().any(own) {
            let rule = "the vault has no such slot any more, or no administrator made it as it is";
            return Err(Error::Invalid { what: "key slot", value: self.slot.id.clone(), rule });
        }
        self.sweep_uncommitted()?;

        // The order. The inventory before the slots that name it; all slots before the event, which is the commit: from
        // it on everybody needs the new keys, so everybody must have them. Old slots go last: until the commit, they are
        // what opens the vault. Power lost anywhere leaves a vault that every slot opens, and that can be rotated.
        let (epoch, meta) = (old.epoch() + 1, Secret::random()?);
        let sealed = seal_inventory(*old.vault(), epoch, &meta, &self.take_inventory()?)?;
        let hash: Hash = *blake3::hash(&sealed).as_bytes();
        put(media, &inventory::object(epoch, &hash), &sealed)?;
        media.sync_folder(inventory::FOLDER)?;
        let role_keys = old.role_keys().next_epoch(meta, hash)?;
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        let (mut kept, mut left_out) = (Vec::new(), Vec::new());
        for Found { slot, standing, update } in &found {
            match update {
                Some(update) if *standing == Standing::Authentic => {
                    let slot = renew(slot, update, &role_keys, now)?;
                    publish(media, &slot)?;
                    kept.push(SlotInfo::from(&slot));
                }
                _ => left_out.push(ListedSlot { info: SlotInfo::from(slot), standing: *standing }),
            }
        }
        let keys = VaultKeys::new(*old.vault(), self.slot.role, role_keys);
        vault_chain::append(media, &keys, &chain, Event::EpochBegan { epoch, inventory: hash, rewrites })?;
        let earlier = vault_chain::earlier(media, &keys);
        let keys = keys.after(earlier);
        // The rotation is done; what is left over goes with the next one, if it can't go now.
        let _ = remove_outdated(media, epoch, &hash);

        let slot = kept.iter().find(|slot| slot.id == self.slot.id).cloned().unwrap_or_else(|| self.slot.clone());
        let report = RotationReport { epoch, kept, left_out, unreadable };
        let own_damage = VaultChain::read(media, &keys).map(|chain| chain.damage).unwrap_or_default();
        let unlocked = Unlocked { header: self.header.clone(), keys: Arc::new(keys), slot, own_damage };
        let vault = Self::assemble(self.media.clone(), unlocked, &self.options)?;
        Ok((vault, report))
    }

    /// Removes what a rotation left that did not get to its end: slots of an epoch that has not begun. Their names are
    /// those of the new ones.
    fn sweep_uncommitted(&self) -> Result<()> {
        let media = self.media.as_ref();
        let keys = self.reader.store().keys();
        let slots = read_slots(media)?.0;
        for (name, slot) in slots.iter().filter(|(_, slot)| slot.vault == *keys.vault() && slot.epoch > keys.epoch()) {
            // One that has no file of an epoch that has begun is perhaps its holder's only way in.
            let is_begun = |other: &KeySlot| other.id == slot.id && other.epoch == keys.epoch();
            if slots.iter().any(|(_, other)| is_begun(other)) {
                media.remove(name)?;
            }
        }
        // So are those of what is no slot and has the name of one.
        for name in media.list(FOLDER)? {
            let begun = |id: &str| slots.iter().any(|(_, slot)| hex(&slot.id) == id && slot.epoch == keys.epoch());
            let is_later = key_slot::parts_of(&name).is_some_and(|(id, epoch)| epoch > keys.epoch() && begun(id));
            let name = format!("{FOLDER}/{name}");
            if is_later && !slots.iter().any(|(other, _)| *other == name) {
                media.remove(&name)?;
            }
        }
        media.sync_folder(FOLDER)?;
        for name in media.list(inventory::FOLDER)? {
            let name = format!("{}/{name}", inventory::FOLDER);
            if name != inventory::object(keys.epoch(), keys.inventory()) {
                media.remove(&name)?;
            }
        }
        Ok(())
    }

    /// What there is now. Nobody writes meanwhile.
    fn take_inventory(&self) -> Result<Inventory> {
        let (media, store) = (self.media.as_ref(), self.reader.store());
        let header = self.header.encode(store.keys().authenticate_header(&self.header));
        let is_known = |id: &Id| match store.keys().earlier() {
            // Only keys of this epoch and of none before have ever been: what is forged opens for nobody.
            Earlier::Nothing => true,
            Earlier::Listed(inventory) => inventory.has_segment(id),
            Earlier::Lost(_) => false,
        };
        let mut segments = store.segments().list()?;
        segments.retain(|id| is_known(id) || store.segments().counts(id));
        segments.sort_unstable();
        let chains = vault_chain::list_entries(media, store.keys())?;
        let inventory = Inventory { header: *blake3::hash(&header).as_bytes(), segments, chains };
        if inventory.is_too_much() {
            let rule = "the vault holds more segments or entries than an inventory can list";
            return Err(Error::Invalid { what: "rotation", value: header::OBJECT.to_owned(), rule });
        }
        Ok(inventory)
    }
}

/// Removes the slots and inventories of epochs before `epoch`.
fn remove_outdated(media: &dyn Media, epoch: u32, inventory: &Hash) -> Result<()> {
    let slots = read_slots(media)?.0;
    for (name, slot) in &slots {
        // One that was left out stays: its holder is to be told why it opens nothing.
        let is_renewed = slots.iter().any(|(_, other)| (other.id, other.epoch) == (slot.id, epoch));
        if slot.epoch < epoch && is_renewed {
            media.remove(name)?;
        }
    }
    media.sync_folder(FOLDER)?;
    for name in media.list(inventory::FOLDER)? {
        let name = format!("{}/{name}", inventory::FOLDER);
        if name != inventory::object(epoch, inventory) {
            media.remove(&name)?;
        }
    }
    Ok(())
}
