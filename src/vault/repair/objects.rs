//! Headers, key slots and catalog entries: which are damaged or gone, and what can take their place.
//!
//! Invariants:
//! - an object that is whole is never replaced;
//! - what takes a place is of this vault and of this place by its own words and checksum and, where keys are at hand, by
//!   its authenticator;
//! - a key slot that is not there was perhaps removed, so that a password no longer opens: it comes back only where
//!   nothing else opens the vault, only as the newest of its files, and never where the vault's own chain says that it was
//!   removed;
//! - the list of what there was before an epoch is named by the hash of its bytes: no other can take its place;
//! - an entry comes into a chain only where it binds, or is bound by, a neighbour that is whole, and contradicts none. So
//!   a copy that went another way can't fork a chain, and an older one can't roll it back.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::report::Restored;
use super::sources::CopyOfVault;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::format::catalog_entry::{self, Change, PointMade};
use crate::format::header::{self, Header};
use crate::format::inventory;
use crate::format::key_slot::{KeySlot, Role};
use crate::format::segment;
use crate::format::vault_event::{Event, VaultEvent};
use crate::format::{HASH_BYTES, Hash, Id, hex, id_from_hex};
use crate::media::Media;
use crate::point::vault_chain::{VaultChain, checked_inventory};
use crate::point::{sequences, stored_entry};
use crate::seal::{Earlier, VaultKeys};
use crate::store::segment_header;
use crate::vault::{keys, read_header};

/// An object that can be restored, with its bytes.
pub(super) struct Object {
    pub told: Restored,
    pub bytes: Vec<u8>,
}

/// What can be restored, and what can't.
#[derive(Default)]
pub(super) struct Objects {
    /// Whether what the medium does not give just now is left as it is: without a key nobody can tell whether what a copy has
    /// is the same, and it may be as good as ever.
    pub leaves_unreadable: bool,
    pub restorable: Vec<Object>,
    /// The points of catalog entries that can be restored; only where keys are at hand.
    pub points: Vec<PointMade>,
    /// Entries that only copies have, and that are left there.
    pub only_elsewhere: u64,
    /// All damage, and that which stays.
    pub damage: Vec<Error>,
    pub remaining: Vec<Error>,
}

impl Objects {
    /// Takes note of an object that is damaged or gone, and of what can take its place, if anything.
    fn settle(&mut self, media: &dyn Media, error: Error, name: &str, spare: Option<(Vec<u8>, String)>) -> Result<()> {
        let may_be_good = self.leaves_unreadable && error.kind() == ErrorKind::Medium;
        match spare.filter(|_| !may_be_good) {
            Some((bytes, from)) => self.add(media, name.to_owned(), bytes, from)?,
            None => self.remaining.push(error.as_damage(header::OBJECT)),
        }
        self.damage.push(error);
        Ok(())
    }

    fn add(&mut self, media: &dyn Media, object: String, bytes: Vec<u8>, from: String) -> Result<()> {
        let is_absent = !media.exists(&object)?;
        self.restorable.push(Object { told: Restored { object, from, is_absent }, bytes });
        Ok(())
    }
}

fn from_copy(copy: &CopyOfVault) -> String {
    format!("from {}", copy.media.location().display())
}

/// The vault's headers. `make` makes one of what a key slot and the points say, where it is nowhere and keys are at hand.
pub(super) fn headers(
    media: &dyn Media,
    vault: &Id,
    keys: Option<&VaultKeys>,
    make: &dyn Fn() -> Option<Header>,
    copies: &[CopyOfVault],
    found: &mut Objects,
) -> Result<()> {
    let whole = |media: &dyn Media, name: &str| -> Result<Header> {
        let decoded = read_header(media, name)?;
        match keys {
            Some(keys) => keys.check_header(name, &decoded)?,
            None if decoded.header.vault != *vault => {
                return Err(Error::damaged(name, 16, Problem::Misplaced("vault id")));
            }
            None => {}
        }
        Ok(decoded.header)
    };
    let names = [header::OBJECT, header::COPY];
    let states = names.map(|name| (name, whole(media, name)));
    let bytes_of = |media: &dyn Media, name: &str| -> Result<Vec<u8>> {
        let mut bytes = vec![0; header::SIZE];
        media.open(name)?.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    };
    let own = states.iter().find(|(_, state)| state.is_ok());
    let mut good = own.map(|(name, _)| (bytes_of(media, name), format!("from {name}")));
    if good.is_none() {
        let places = copies.iter().flat_map(|copy| names.map(|name| (copy, name)));
        let place = places.into_iter().find(|(copy, name)| whole(copy.media.as_ref(), name).is_ok());
        good = place.map(|(copy, name)| (bytes_of(copy.media.as_ref(), name), from_copy(copy)));
    }
    if good.is_none()
        && let Some((keys, header)) = keys.zip(make())
        && let Some(bytes) = fitting(keys, header)
    {
        good = Some((Ok(bytes), "made anew from a key slot and the points".to_owned()));
    }
    for (name, state) in states {
        let Err(error) = state else { continue };
        let spare = good.as_ref().and_then(|(bytes, from)| Some((bytes.as_ref().ok()?.clone(), from.clone())));
        found.settle(media, error, name, spare)?;
    }
    Ok(())
}

/// The bytes of a header that was made of what a slot and points say. Where an inventory names the true one by its hash, what
/// nothing tells is tried until it fits; `None` where it does not.
fn fitting(keys: &VaultKeys, header: Header) -> Option<Vec<u8>> {
    let fits = |header: &Header| {
        let authenticator = keys.authenticate_header(header);
        let decoded = header::Decoded { header: header.clone(), authenticator };
        keys.check_header(header::OBJECT, &decoded).is_ok().then(|| header.encode(authenticator).to_vec())
    };
    if let Some(bytes) = fits(&header) {
        return Some(bytes);
    }
    // The slot was made in the moment in which the header was, or soon after.
    let made = header.created_unix_seconds;
    let sizes = (20..=30).map(|log2| 1 << log2);
    let guesses = (made.saturating_sub(5)..=made).rev().flat_map(|created_unix_seconds| {
        let header = Header { created_unix_seconds, ..header.clone() };
        sizes.clone().map(move |segment_bytes| Header { segment_bytes, ..header.clone() })
    });
    let guesses =
        guesses.flat_map(|header| (0..=20).map(move |parity_percent| Header { parity_percent, ..header.clone() }));
    guesses
        .flat_map(|header| (-7..=22).map(move |level| Header { level, ..header.clone() }))
        .find_map(|header| fits(&header))
}

/// The newest epoch that anything in a vault tells of, without a key: its slots, headers of segments.
fn newest_epoch(media: &dyn Media, vault: &Id, slots: &keys::NamedSlots) -> Result<u32> {
    let of_slots = slots.iter().filter(|(_, slot)| slot.vault == *vault).map(|(_, slot)| slot.epoch);
    let of_segment = |name: &String| {
        let bytes = segment_header(media, &segment::id_of(name)?).ok()?;
        segment::SegmentHeader::decode(&bytes).ok().map(|(header, _)| header.epoch)
    };
    let segments = media.list(segment::FOLDER)?;
    Ok(of_slots.chain(segments.iter().filter_map(of_segment)).max().unwrap_or(0))
}

/// The key slots.
pub(super) fn slots(
    media: &dyn Media,
    vault: &Id,
    keys: Option<&VaultKeys>,
    copies: &[CopyOfVault],
    found: &mut Objects,
) -> Result<()> {
    let (slots, damaged) = keys::read_slots(media)?;
    let mut removed: BTreeSet<[u8; 8]> = BTreeSet::new();
    if let Some(keys) = keys {
        for media in std::iter::once(media).chain(copies.iter().map(|copy| copy.media.as_ref())) {
            removed.extend(VaultChain::read(media, keys).map(|chain| chain.removed).unwrap_or_default());
        }
    }
    // A slot from before a rotation opens nothing.
    let newest = keys.map_or_else(|| newest_epoch(media, vault, &slots), |keys| Ok(keys.epoch()))?;
    let counts = |slot: &KeySlot| slot.vault == *vault && slot.epoch >= newest && !removed.contains(&slot.id);
    let opens_any = slots.iter().any(|(_, slot)| counts(slot));
    let mut of_copies: BTreeMap<String, (KeySlot, &CopyOfVault)> = BTreeMap::new();
    for copy in copies {
        for (name, slot) in keys::read_slots(copy.media.as_ref()).map(|(slots, _)| slots).unwrap_or_default() {
            if counts(&slot) {
                of_copies.entry(name).or_insert((slot, copy));
            }
        }
    }
    // Of several files of one slot, the newest.
    let mut epochs: BTreeMap<[u8; 8], u32> = BTreeMap::new();
    for slot in of_copies.values().map(|(slot, _)| slot).chain(slots.iter().map(|(_, slot)| slot)) {
        let epoch = epochs.entry(slot.id).or_insert(slot.epoch);
        *epoch = slot.epoch.max(*epoch);
    }
    of_copies.retain(|_, (slot, _)| epochs.get(&slot.id) == Some(&slot.epoch));
    for error in damaged {
        let name = error.object().unwrap_or_default().to_owned();
        let spare = of_copies.remove(&name).map(|(slot, copy)| (slot.encode(), from_copy(copy)));
        found.settle(media, error, &name, spare)?;
    }
    if !opens_any {
        for (name, (slot, copy)) in of_copies {
            if !media.exists(&name)? {
                found.damage.push(Error::damaged(&name, 0, Problem::Absent));
                found.add(media, name, slot.encode(), from_copy(copy))?;
            }
        }
    }
    Ok(())
}

/// The lists of what there was when an epoch began.
pub(super) fn inventories(
    media: &dyn Media,
    vault: &Id,
    keys: Option<&VaultKeys>,
    copies: &[CopyOfVault],
    found: &mut Objects,
) -> Result<()> {
    let whole = |media: &dyn Media, name: &str| checked_inventory(media, Some(vault), name);
    let listed = media.list(inventory::FOLDER)?;
    let mut wanted: BTreeSet<String> = listed.iter().map(|name| format!("{}/{name}", inventory::FOLDER)).collect();
    // Those of earlier epochs went with the rotations. Only the keys tell which is the one that must be there.
    if let Some(keys) = keys.filter(|keys| keys.epoch() > 0) {
        wanted.insert(inventory::object(keys.epoch(), keys.inventory()));
    }
    for name in wanted {
        let Err(error) = whole(media, &name) else { continue };
        let spare = copies.iter().find_map(|copy| Some((whole(copy.media.as_ref(), &name).ok()?, from_copy(copy))));
        found.settle(media, error, &name, spare)?;
    }
    Ok(())
}

/// One chain as some media have it: the entries that are whole, and the numbers of those that are there and are not.
#[derive(Default)]
struct Chain {
    whole: BTreeMap<u64, Entry>,
    damaged: BTreeMap<u64, Error>,
}

struct Entry {
    bytes: Vec<u8>,
    /// The epoch of the keys that it is under.
    epoch: u32,
    /// Hash of the entry before it, where keys are at hand.
    predecessor: Option<Hash>,
    /// The point that it made, if it made one.
    made: Option<PointMade>,
    /// The point that it purged, if it purged one.
    purged: Option<Id>,
}

impl Entry {
    fn hash(&self) -> Hash {
        *blake3::hash(&self.bytes).as_bytes()
    }

    /// Whether it follows another entry; nothing where no key is at hand.
    fn follows(&self, before: &Self) -> Option<bool> {
        self.predecessor.map(|predecessor| predecessor == before.hash())
    }
}

impl Chain {
    fn read(media: &dyn Media, vault: &Id, keys: Option<&VaultKeys>, id: &Id) -> Result<Self> {
        let mut chain = Self::default();
        for sequence in sequences(media, id)? {
            let read = || -> Result<Entry> {
                let bytes = stored_entry(media, id, sequence)??;
                let at = |error: crate::format::FormatError| error.at(&catalog_entry::object(id, sequence), 0);
                let (prefix, ..) = catalog_entry::split(&bytes).map_err(at)?;
                prefix.check_place(vault, id, sequence).map_err(at)?;
                let epoch = prefix.epoch;
                let (predecessor, made, purged) = match keys {
                    Some(keys) if *id == keys.own_chain() => {
                        (Some(keys.open_event(sequence, &bytes)?.1.predecessor), None, None)
                    }
                    Some(keys) => {
                        let opened = keys.open_entry(id, sequence, &bytes)?;
                        let predecessor = *opened.predecessor();
                        let (made, purged) = match opened {
                            catalog_entry::Entry::Made(made) => (Some(made), None),
                            catalog_entry::Entry::Changed(changed) => {
                                (None, Some(changed.point).filter(|_| changed.change == Change::Purged))
                            }
                        };
                        (Some(predecessor), made, purged)
                    }
                    None => (None, None, None),
                };
                Ok(Entry { bytes, epoch, predecessor, made, purged })
            };
            match read() {
                Ok(entry) => drop(chain.whole.insert(sequence, entry)),
                Err(error) => drop(chain.damaged.insert(sequence, error)),
            }
        }
        Ok(chain)
    }

    /// The last number that is taken.
    fn last(&self) -> Option<u64> {
        self.whole.keys().chain(self.damaged.keys()).max().copied()
    }
}

/// The catalog's chains.
pub(super) fn entries(
    media: &dyn Media,
    vault: &Id,
    keys: Option<&VaultKeys>,
    copies: &[CopyOfVault],
    brings_back_gone: bool,
    found: &mut Objects,
) -> Result<()> {
    let chains_of = |media: &dyn Media| -> Result<Vec<Id>> {
        Ok(media.list_folders(catalog_entry::FOLDER)?.iter().filter_map(|folder| id_from_hex(folder)).collect())
    };
    let mut ids: BTreeSet<Id> = chains_of(media)?.into_iter().collect();
    for copy in copies {
        ids.extend(chains_of(copy.media.as_ref()).unwrap_or_default());
    }
    for id in ids {
        let own = Chain::read(media, vault, keys, &id)?;
        let mut taken: BTreeSet<u64> = BTreeSet::new();
        let mut purged: HashSet<Id> = own.whole.values().filter_map(|entry| entry.purged).collect();
        let mut made: Vec<PointMade> = Vec::new();
        for copy in copies {
            let Ok(other) = Chain::read(copy.media.as_ref(), vault, keys, &id) else { continue };
            for run in runs(&own, &other, &taken) {
                // Nobody can tell an older state of the vault's own chain from its last one but by the keys: they are of the
                // epoch that it ends with.
                let own_chain_ends_with = keys.filter(|keys| keys.own_chain() == id).map(VaultKeys::epoch);
                if !fits(&own, &other, &run, own_chain_ends_with) {
                    continue;
                }
                // Without a key, what would make a chain longer may be anybody's.
                let is_longer = run.last() > own.last().as_ref();
                if keys.is_none() && !brings_back_gone && is_longer {
                    found.only_elsewhere += run.len() as u64;
                    continue;
                }
                let is_unreadable =
                    |sequence: &u64| own.damaged.get(sequence).is_some_and(|error| error.kind() == ErrorKind::Medium);
                if found.leaves_unreadable && run.iter().any(is_unreadable) {
                    continue;
                }
                for sequence in run {
                    let Some(entry) = other.whole.get(&sequence) else { continue };
                    taken.insert(sequence);
                    made.extend(entry.made.clone());
                    purged.extend(entry.purged);
                    found.add(media, catalog_entry::object(&id, sequence), entry.bytes.clone(), from_copy(copy))?;
                }
            }
        }
        // What it made and what was purged later needs nothing.
        found.points.extend(made.into_iter().filter(|made| !purged.contains(&made.point)));
        let damaged = own.damaged.iter().map(|(sequence, error)| (*sequence, error.as_damage(header::OBJECT)));
        let absent = |sequence| (sequence, Error::damaged(catalog_entry::object(&id, sequence), 0, Problem::Absent));
        for (sequence, error) in damaged.chain(gaps(media, &id, &own, &taken)?.into_iter().map(absent)) {
            if !taken.contains(&sequence) {
                found.remaining.push(error.as_damage(header::OBJECT));
            }
            found.damage.push(error);
        }
    }
    Ok(())
}

/// That the newest epoch of the keys began, where the vault's own chain lost its end, nothing has that entry, and the keys
/// were found to be in use: the slot and the inventory, which it names by its hash, say all that the entry said. That slots
/// were removed since is lost with it; their files went before.
pub(super) fn lost_epoch(media: &dyn Media, keys: &VaultKeys, found: &mut Objects) -> Result<()> {
    let chain = VaultChain::read_to_append(media, keys)?;
    let folder = format!("{}/{}/", catalog_entry::FOLDER, hex(&keys.own_chain()));
    let comes_back = found.restorable.iter().any(|object| object.told.object.starts_with(&folder));
    // An administrator signs it.
    let can = keys.role() == Role::Admin && matches!(keys.earlier(), Earlier::Listed(_));
    if chain.epoch >= keys.epoch() || comes_back || !can {
        return Ok(());
    }
    let (epoch, inventory) = (keys.epoch(), *keys.inventory());
    let event = Event::EpochBegan { epoch, inventory, rewrites: false };
    let recorded_unix_seconds = jiff::Timestamp::now().as_second();
    let entry = VaultEvent { predecessor: chain.head, recorded_unix_seconds, event };
    let bytes = keys.seal_event(chain.next, &entry)?;
    let from = "made anew from a key slot and its inventory".to_owned();
    found.add(media, catalog_entry::object(&keys.own_chain(), chain.next), bytes, from)
}

/// Most missing entries that are told of one chain.
const MOST_GAPS: usize = 64;

/// Numbers that nothing has, although a later entry is there or comes back.
fn gaps(media: &dyn Media, id: &Id, own: &Chain, taken: &BTreeSet<u64>) -> Result<Vec<u64>> {
    let last = own.last().into_iter().chain(taken.last().copied()).max().unwrap_or(0);
    let is_known = |sequence: &u64| own.whole.contains_key(sequence) || own.damaged.contains_key(sequence);
    let mut gaps = Vec::new();
    for sequence in (0..last).filter(|sequence| !is_known(sequence)).take(MOST_GAPS) {
        // A listing made while entries came may show a later one only.
        if !media.exists(&catalog_entry::object(id, sequence))? {
            gaps.push(sequence);
        }
    }
    // Where nothing is there, the last that comes back is not missing any more, but was.
    gaps.extend(taken.last().filter(|last| !is_known(last) && own.last() < Some(**last)));
    Ok(gaps)
}

/// Consecutive entries that a copy has and the vault has not, nor gets from elsewhere.
fn runs(own: &Chain, other: &Chain, taken: &BTreeSet<u64>) -> Vec<Vec<u64>> {
    let mut runs: Vec<Vec<u64>> = Vec::new();
    for sequence in other.whole.keys().filter(|sequence| !own.whole.contains_key(sequence) && !taken.contains(sequence))
    {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last + 1 == *sequence) => run.push(*sequence),
            _ => runs.push(vec![*sequence]),
        }
    }
    runs
}

/// Whether a run of a copy's entries belongs into the vault's chain. Of the vault's own chain, what comes at its end must
/// be of the epoch `ends_with`.
fn fits(own: &Chain, other: &Chain, run: &[u64], ends_with: Option<u32>) -> bool {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return false };
    let entry = |sequence: &u64| other.whole.get(sequence);
    let linked = |pair: &[u64]| {
        let (Some(before), Some(after)) = (entry(&pair[0]), entry(&pair[1])) else { return false };
        // Who lost his key in a rotation can still make entries under the keys of before.
        after.epoch >= before.epoch && after.follows(before).unwrap_or(true)
    };
    let (Some(front), Some(back)) = (entry(first), entry(last)) else { return false };
    // Without a key nobody sees what binds entries; but where both sides have a neighbour, it must be the same one.
    let same = |sequence: u64, own: &Entry| other.whole.get(&sequence).is_some_and(|other| other.bytes == own.bytes);
    let below = match first.checked_sub(1) {
        None => Some(front.predecessor.is_none_or(|predecessor| predecessor == [0; HASH_BYTES])),
        Some(before) => own
            .whole
            .get(&before)
            .map(|own| front.epoch >= own.epoch && front.follows(own).unwrap_or_else(|| same(before, own))),
    };
    let above = last
        .checked_add(1)
        .and_then(|after| own.whole.get(&after).map(|own| own.follows(back).unwrap_or_else(|| same(after, own))));
    if above != Some(true) && ends_with.is_some_and(|epoch| back.epoch != epoch) {
        return false;
    }
    run.windows(2).all(linked) && below != Some(false) && above != Some(false) && (below, above) != (None, None)
}

/// Whether an object is just these bytes.
fn is_there(media: &dyn Media, name: &str, bytes: &[u8]) -> bool {
    let read = || -> Result<bool> {
        let object = media.open(name)?;
        let mut found = vec![0; bytes.len()];
        if object.length() != bytes.len() as u64 {
            return Ok(false);
        }
        object.read_exact_at(0, &mut found)?;
        Ok(found == bytes)
    };
    read().unwrap_or(false)
}

/// Writes what can be restored: under another name, synced, then in one step under its own.
/// Returns how many, and those that could not be: somebody else put something there meanwhile.
pub(super) fn write(media: &dyn Media, objects: &[Object]) -> Result<(u64, Vec<String>)> {
    let mut folders = BTreeSet::new();
    let (mut written, mut late) = (0, Vec::new());
    let folder_of = |object: &str| Path::new(object).parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let mut others = BTreeSet::new();
    for Object { told, bytes } in objects {
        if others.contains(&folder_of(&told.object)) {
            // The chain went another way from there on: what was to follow follows it no more.
            late.push(told.object.clone());
            continue;
        }
        let object = media.create(&told.object)?;
        object.write_at(0, bytes)?;
        let is_done = if told.is_absent {
            // Somebody who was faster put there what must stay; perhaps the same.
            object.publish()? || is_there(media, &told.object, bytes)
        } else {
            object.replace()?;
            true
        };
        written += u64::from(is_done);
        if !is_done {
            late.push(told.object.clone());
            if told.object.starts_with(catalog_entry::FOLDER) {
                others.insert(folder_of(&told.object));
            }
        }
        folders.insert(folder_of(&told.object));
    }
    for folder in &folders {
        media.sync_folder(folder)?;
    }
    // A chain's folder may be new, the vault's own among them.
    if folders.iter().any(|folder| folder.starts_with(catalog_entry::FOLDER)) {
        media.sync_folder(catalog_entry::FOLDER)?;
    }
    Ok((written, late))
}
