//! From a password or key file to a vault's header and keys, whatever of headers and slots is still there.

use std::collections::BTreeSet;

use super::{keys, read_header};
use crate::error::{Damage, Error, Problem, Result};
use crate::format::header::{self, Header};
use crate::format::key_slot;
use crate::format::segment::{self, SegmentHeader};
use crate::format::{Id, catalog_entry, hex, id_from_hex, parity};
use crate::media::Media;
use crate::point::vault_chain::{self, VaultChain};
use crate::point::{sequences, stored_entry};
use crate::seal::{Credential, Earlier, RoleKeys, SegmentSeal, SlotInfo, VaultKeys, open_any};
use crate::store::segment_header;
use crate::sync::Arc;
use crate::vault::InitOptions;

/// What opens a vault.
#[derive(Clone)]
pub(super) struct Unlocked {
    pub header: Header,
    pub keys: Arc<VaultKeys>,
    pub slot: SlotInfo,
    /// What is wrong with the vault's own chain, and with the list of what there was before the newest epoch.
    pub own_damage: Vec<Damage>,
}

/// What a slot gave.
struct Opened {
    keys: VaultKeys,
    slot: SlotInfo,
    own_damage: Vec<Damage>,
}

/// Where the vault's own chain and the newest inventory are: in the vault, and in copies of it for what it lost.
#[derive(Clone, Copy)]
struct Own<'a> {
    media: &'a dyn Media,
    copies: &'a [&'a dyn Media],
    salvage: bool,
}

/// Segments whose headers are asked for the vault's id, where nothing else tells it.
const MOST_ASKED: usize = 64;

/// Opens a vault's keys. Where its own slots and headers don't suffice, those of `copies` that are of this vault do. With
/// `salvage`, a header that is nowhere is made of what the slot says.
pub(super) fn unlock(
    media: &dyn Media,
    copies: &[&dyn Media],
    credential: &Credential,
    salvage: bool,
) -> Result<Unlocked> {
    let own = Own { media, copies, salvage };
    let error = loop {
        let before = names_of_slots(media)?;
        match own.open_by(&[], credential) {
            Ok(unlocked) => return Ok(unlocked),
            // Somebody rotated the keys while this slot was being opened: there is a newer file of it.
            Err(Error::Rotated { .. }) if names_of_slots(media)? != before => {}
            Err(error) => break error,
        }
    };
    if let Some(vault) = id_of(media)? {
        for copy in copies {
            if id_of(*copy).ok().flatten() == Some(vault)
                && let Ok(unlocked) = own.open_by(&[*copy], credential)
                && *unlocked.keys.vault() == vault
            {
                return Ok(unlocked);
            }
        }
    }
    if salvage && matches!(error, Error::Damaged(_) | Error::UnsupportedVersion { .. } | Error::Vault { .. }) {
        return own.by_slot_alone(credential).map_err(|failed| match failed {
            Error::WrongKey { .. } => failed,
            _ => error,
        });
    }
    Err(error)
}

fn names_of_slots(media: &dyn Media) -> Result<BTreeSet<String>> {
    Ok(media.list(key_slot::FOLDER)?.into_iter().collect())
}

impl Own<'_> {
    /// Opens by the headers and slots of the vault and of `others`.
    fn open_by(self, others: &[&dyn Media], credential: &Credential) -> Result<Unlocked> {
        let (mut slots, damaged) = keys::read_slots(self.media)?;
        for copy in others {
            slots.extend(keys::read_slots(*copy)?.0);
        }
        let mut damaged = damaged.into_iter();
        let mut open_by = |media: &dyn Media, name| {
            let decoded = read_header(media, name)?;
            let vault = decoded.header.vault;
            let opened =
                match open_any(&slots, &vault, credential, |slot, keys| self.accept(&slots, &vault, slot, keys)) {
                    // A damaged slot may be the one that would have opened: that is no wrong password.
                    Err(wrong @ Error::WrongKey { .. }) => return Err(damaged.next().unwrap_or(wrong)),
                    opened => opened?,
                };
            opened.keys.check_header(name, &decoded)?;
            Ok(opened.with(decoded.header))
        };
        let mut first = match open_by(self.media, header::OBJECT) {
            // The copy decides only where the header itself is damaged, unreadable, or another vault's; the error is then
            // the header's.
            Err(error @ (Error::Damaged(_) | Error::UnsupportedVersion { .. } | Error::Vault { .. })) => error,
            opened => return opened,
        };
        if let Ok(unlocked) = open_by(self.media, header::COPY) {
            return Ok(unlocked);
        }
        for (copy, name) in others.iter().flat_map(|copy| [(*copy, header::OBJECT), (*copy, header::COPY)]) {
            match open_by(copy, name) {
                Ok(unlocked) => return Ok(unlocked),
                Err(error @ Error::WrongKey { .. }) => first = error,
                Err(_) => {}
            }
        }
        Err(first)
    }

    /// Opens by a slot alone: it holds the vault's id and all keys. What else the header says is only needed to write, but
    /// for the size of chunks, which each point's manifest says too.
    fn by_slot_alone(self, credential: &Credential) -> Result<Unlocked> {
        let mut slots = keys::read_slots(self.media)?.0;
        let ids: BTreeSet<Id> = slots.iter().map(|(_, slot)| slot.vault).chain(id_of(self.media)?).collect();
        for copy in self.copies {
            slots.extend(keys::read_slots(*copy)?.0);
        }
        slots.retain(|(_, slot)| ids.contains(&slot.vault));
        let mut failed = Error::WrongKey { slots: slots.len() };
        for vault in ids {
            match open_any(&slots, &vault, credential, |slot, keys| self.accept(&slots, &vault, slot, keys)) {
                Ok(opened) => {
                    let has_parity = !self.media.list(parity::FOLDER)?.is_empty();
                    let header = guessed(vault, &opened.slot, opened.keys.role_keys().public(), has_parity);
                    return Ok(opened.with(header));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// What the vault's own chain says of a slot that opened: whether it counts, and which of its epochs have begun.
    fn accept(self, slots: &keys::NamedSlots, vault: &Id, slot: SlotInfo, role_keys: RoleKeys) -> Result<Opened> {
        let all = VaultKeys::new(*vault, slot.role, role_keys.clone());
        let chain = VaultChain::read(self.media, &all)?;
        // Nobody can tell without newer keys whether such an entry is true: what these keys open can be salvaged.
        if chain.is_newer && !self.salvage {
            return Err(Error::Rotated { since_unix_seconds: keys::newer_since(slots, slot.epoch) });
        }
        let (mut epoch, mut removed, mut own_damage) = (chain.epoch, chain.removed, chain.damage);
        for copy in self.copies {
            // Each of its entries was opened with the vault's keys, so what it tells happened. One that is damaged may
            // hide anything, and tells nothing of the epoch.
            if let Ok(other) = VaultChain::read(*copy, &all) {
                removed.extend(&other.removed);
                if other.chain_head(&all).is_some() {
                    epoch = epoch.max(other.epoch);
                }
            }
        }
        if removed.iter().any(|removed| hex(removed) == slot.id) {
            return Err(Error::RemovedKey);
        }
        if epoch < all.epoch()
            && (self.is_written_under_later(&all, epoch)? || self.has_begun(&all, epoch, &removed)?)
        {
            // A chain that lost its end does not show that, but what came after it does.
            let object = catalog_entry::object(&all.own_chain(), chain.next);
            own_damage.push(Damage { object, offset: 0, problem: Problem::Absent });
            epoch = all.epoch();
        }
        // A rotation that did not get to its end left keys that nobody writes under.
        let keys = VaultKeys::new(*vault, slot.role, role_keys.up_to(epoch));
        let mut earlier = vault_chain::earlier(self.media, &keys);
        if let Earlier::Lost(lost) = &earlier {
            own_damage.push(lost.clone());
            // The slot names it by its hash: whoever has it has the right one.
            let of_copies = self.copies.iter().map(|copy| vault_chain::earlier(*copy, &keys));
            if let Some(listed) = of_copies.into_iter().find(|other| matches!(other, Earlier::Listed(_))) {
                earlier = listed;
            }
        }
        Ok(Opened { keys: keys.after(earlier), slot, own_damage })
    }

    /// Whether the newest epoch of the keys was committed although the vault's own chain tells of `epoch` only: everything is
    /// as a rotation leaves it that got to its end, and nothing says that others went on without it.
    fn has_begun(self, keys: &VaultKeys, epoch: u32, removed: &[[u8; 8]]) -> Result<bool> {
        // Once it is committed, a rotation removes the older files of all slots. By their names: one that can't be read is
        // there all the same, and so is one that a copy has.
        for media in std::iter::once(self.media).chain(self.copies.iter().copied()) {
            for name in media.list(key_slot::FOLDER)? {
                let is_removed = |id: &str| removed.iter().any(|removed| hex(removed) == id);
                if key_slot::parts_of(&name).is_some_and(|(id, of)| of <= epoch && !is_removed(id)) {
                    return Ok(false);
                }
            }
        }
        // Who wrote under older keys since knew nothing of it: what he wrote must not be taken from him.
        let Earlier::Listed(inventory) = vault_chain::earlier(self.media, keys) else { return Ok(false) };
        for chain in self.media.list_folders(catalog_entry::FOLDER)?.iter().filter_map(|name| id_from_hex(name)) {
            for sequence in sequences(self.media, &chain)? {
                let Ok(bytes) = stored_entry(self.media, &chain, sequence)? else { return Ok(false) };
                let Ok((prefix, ..)) = catalog_entry::split(&bytes) else { return Ok(false) };
                let is_listed = || inventory.has_entry(&chain, sequence, blake3::hash(&bytes).as_bytes());
                if chain != keys.own_chain() && prefix.epoch < keys.epoch() && !is_listed() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether there are segments under keys of an epoch after `epoch`.
    fn is_written_under_later(self, keys: &VaultKeys, epoch: u32) -> Result<bool> {
        let later = |id: &Id| {
            segment_header(self.media, id).is_ok_and(|bytes| {
                SegmentHeader::decode(&bytes).is_ok_and(|(header, _)| header.epoch > epoch)
                    && SegmentSeal::open(keys, id, &bytes).is_ok()
            })
        };
        Ok(self.media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).any(|id| later(&id)))
    }
}

impl Opened {
    fn with(self, header: Header) -> Unlocked {
        let Self { keys, slot, own_damage } = self;
        Unlocked { header, keys: Arc::new(keys), slot, own_damage }
    }
}

/// The header of a vault that lost it, as far as a slot tells it; the rest as `init` would have it.
fn guessed(vault: Id, slot: &SlotInfo, public: [u8; 32], has_parity: bool) -> Header {
    let options = InitOptions::default();
    Header {
        vault,
        created_unix_seconds: slot.created_unix_seconds,
        chunk_size_log2: options.chunk_size_log2().expect("the default is one of the sizes"),
        level: options.level,
        segment_bytes: options.segment_bytes,
        parity_percent: if has_parity { options.parity_percent } else { 0 },
        public,
    }
}

/// The id of the vault that is there, by what is left of it, without a key: a header that slots agree with, else a
/// header, else the slots, else the segments' headers, of each the id that most say.
pub(super) fn id_of(media: &dyn Media) -> Result<Option<Id>> {
    let headers = [header::OBJECT, header::COPY].map(|name| read_header(media, name));
    let headers: Vec<Id> = headers.into_iter().flatten().map(|decoded| decoded.header.vault).collect();
    let slots: Vec<Id> = keys::read_slots(media)?.0.iter().map(|(_, slot)| slot.vault).collect();
    if let Some(agreed) = headers.iter().find(|id| slots.contains(id)).or(headers.first()) {
        return Ok(Some(*agreed));
    }
    if let Some(id) = most_named(&slots) {
        return Ok(Some(id));
    }
    let mut told = Vec::new();
    for id in media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).take(MOST_ASKED) {
        if let Ok(bytes) = segment_header(media, &id)
            && let Ok((header, _)) = SegmentHeader::decode(&bytes)
        {
            told.push(header.vault);
        }
    }
    Ok(most_named(&told))
}

fn most_named(ids: &[Id]) -> Option<Id> {
    ids.iter().max_by_key(|id| ids.iter().filter(|other| other == id).count()).copied()
}
