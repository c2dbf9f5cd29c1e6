//! The vault's own chain: what happened to the vault as a whole, and what that means for its keys.
//!
//! Invariants:
//! - an epoch of the keys has begun when its event is in this chain; slots of a rotation that did not get so far hold
//!   keys that nobody writes under;
//! - nobody writes while it can't be known which epoch is the newest, or what was there when that began;
//! - what is locked is weakened by no entry, whoever made it and whatever time that tells: a time that is still to come by the
//!   reader's clock ends no lock.

use std::collections::{BTreeMap, HashSet};

use super::check_name;
use super::entries;
use super::heads::ChainHead;
use crate::error::{Damage, Error, ErrorKind, Problem, Result};
use crate::format::catalog_entry::{self, split};
use crate::format::vault_event::{DocumentKind, DocumentSet, Event, Quota, SoftDelete, VaultEvent};
use crate::format::{HASH_BYTES, Hash, Id, hex, id_from_hex, inventory};
use crate::media::Media;
use crate::policy::{LockEnd, Promise, not_after, policy_of};
use crate::seal::{Earlier, VaultKeys, open_inventory};

/// What the chain says.
pub(crate) struct VaultChain {
    /// The newest epoch that has begun, as far as the keys at hand can tell.
    pub epoch: u32,
    /// Whether that was to move everything under its keys.
    pub rewrites: bool,
    /// Key slots that were removed, in order.
    pub removed: Vec<[u8; 8]>,
    /// How long forgotten points can be brought back.
    pub soft_delete: SoftDelete,
    /// When its entries were made, Unix seconds.
    pub recorded: Vec<i64>,
    /// Objects of entries, of any chain, that are given up, and the hashes of what was found there.
    pub given_up: HashSet<(String, Hash)>,
    /// How much machines, by their names, and the vault, by the empty name, may take.
    pub quotas: BTreeMap<String, Quota>,
    /// Policies and machines, as their JSON documents.
    pub documents: BTreeMap<(DocumentKind, String), Vec<u8>>,
    /// The newest time that an administrator's entry tells, Unix seconds: what he does later is not from before.
    pub latest_unix_seconds: i64,
    /// Whether there are entries under keys that came after those at hand.
    pub is_newer: bool,
    /// The number that the next entry gets.
    pub next: u64,
    /// Hash of the last entry.
    pub head: Hash,
    /// What is wrong with it.
    pub damage: Vec<Damage>,
    /// The first damage behind the last event that could be read: it may hide a newer one.
    hides: Option<Damage>,
    /// Why the medium did not give an entry.
    failed: Option<Error>,
}

impl VaultChain {
    /// Reads the chain with keys of all epochs that a slot holds.
    pub(crate) fn read(media: &dyn Media, keys: &VaultKeys) -> Result<Self> {
        let id = keys.own_chain();
        let mut chain = Self {
            epoch: 0,
            rewrites: false,
            removed: Vec::new(),
            soft_delete: SoftDelete::default(),
            recorded: Vec::new(),
            given_up: HashSet::new(),
            quotas: BTreeMap::new(),
            documents: BTreeMap::new(),
            latest_unix_seconds: 0,
            is_newer: false,
            next: 0,
            head: [0; HASH_BYTES],
            damage: Vec::new(),
            hides: None,
            failed: None,
        };
        for sequence in entries::sequences(media, &id)? {
            for lost in chain.next..sequence.min(chain.next.saturating_add(entries::MOST_LOST)) {
                // A listing made while entries came may show a later one only.
                if media.exists(&catalog_entry::object(&id, lost))? {
                    chain.take(media, keys, lost)?;
                } else {
                    chain.is_damaged(Damage {
                        object: catalog_entry::object(&id, lost),
                        offset: 0,
                        problem: Problem::Absent,
                    });
                }
            }
            chain.take(media, keys, sequence)?;
        }
        if chain.hides.is_some() {
            chain.epoch = keys.epoch();
        }
        Ok(chain)
    }

    /// The same for whoever writes. An entry that the medium does not give just now may be there again: what is appended
    /// would not follow it, and a slot that it removed would get new keys.
    pub(crate) fn read_to_append(media: &dyn Media, keys: &VaultKeys) -> Result<Self> {
        let mut chain = Self::read(media, keys)?;
        chain.failed.take().map_or(Ok(chain), Err)
    }

    /// How far it has come; nothing where it has no entries, or can't be read to its end.
    pub(crate) fn chain_head(&self, keys: &VaultKeys) -> Option<ChainHead> {
        (self.next > 0 && self.hides.is_none()).then(|| ChainHead {
            chain: keys.own_chain(),
            entries: self.next,
            hash: self.head,
            machine: None,
        })
    }

    fn is_damaged(&mut self, damage: Damage) {
        self.hides.get_or_insert_with(|| damage.clone());
        self.damage.push(damage);
    }

    fn take(&mut self, media: &dyn Media, keys: &VaultKeys, sequence: u64) -> Result<()> {
        let (chain, name) = (keys.own_chain(), catalog_entry::object(&keys.own_chain(), sequence));
        self.next = sequence.saturating_add(1);
        let bytes = match entries::stored(media, &chain, sequence) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) | Err(error) => {
                let problem = match error {
                    Error::Damaged(damage) => damage.problem,
                    other => {
                        let problem = Problem::Unreadable(other.to_string());
                        self.failed.get_or_insert(other);
                        problem
                    }
                };
                self.is_damaged(Damage { object: name, offset: 0, problem });
                return Ok(());
            }
        };
        let expected = std::mem::replace(&mut self.head, *blake3::hash(&bytes).as_bytes());
        if split(&bytes).is_ok_and(|(prefix, ..)| prefix.epoch > keys.epoch()) {
            self.is_newer = true;
            return Ok(());
        }
        let unfit = |problem| Error::damaged(&name, 0, problem);
        let opened = keys.open_event(sequence, &bytes).and_then(|(epoch, entry)| {
            if entry.predecessor != expected && self.hides.is_none() {
                return Err(unfit(Problem::Chain("does not follow the one before it", sequence)));
            }
            let fits = match &entry.event {
                // Its first entry is under the epoch's own keys, which the slots name by the inventory.
                Event::EpochBegan { epoch: begun, inventory, .. } => {
                    epoch == *begun && epoch > self.epoch && keys.begins_with(epoch, inventory)
                }
                // Under older keys, only who lost his can have made it. Behind damage, which may hide that an epoch began, the
                // newest keys alone tell that it was not so.
                Event::SlotRemoved { .. }
                | Event::SoftDeleteSet(_)
                | Event::QuotaSet { .. }
                | Event::DocumentSet(_)
                | Event::GivenUp { .. }
                | Event::TimeNoted => epoch == if self.hides.is_some() { keys.epoch() } else { self.epoch },
            };
            if !fits && self.hides.is_some() && epoch != keys.epoch() {
                // It counts for nothing, and may be as it should: what hides that is told.
                return Ok(None);
            }
            if !fits {
                return Err(unfit(Problem::Field("epoch")));
            }
            self.recorded.push(entry.recorded_unix_seconds);
            // A lock ends when its time has come: not by an entry that says that it has.
            let at = not_after(entry.recorded_unix_seconds, jiff::Timestamp::now());
            let weakens_locked = match &entry.event {
                Event::SoftDeleteSet(set) => is_locked(&self.soft_delete, at) && weakens(set, &self.soft_delete),
                Event::DocumentSet(set) => {
                    check_name("name", &set.name).map_err(|_| unfit(Problem::Field("name")))?;
                    self.lock_against(set, at).is_some()
                }
                _ => return Ok(Some(entry.event)),
            };
            // What nobody signed moves no time.
            self.latest_unix_seconds = self.latest_unix_seconds.max(entry.recorded_unix_seconds);
            if weakens_locked && at < entry.recorded_unix_seconds {
                // By its own time it may have been right.
                let problem = "shortens what is locked by this computer's clock, which is behind what the vault tells";
                return Err(unfit(Problem::Chain(problem, sequence)));
            }
            if weakens_locked {
                return Err(unfit(Problem::Chain("shortens what is locked", sequence)));
            }
            Ok(Some(entry.event))
        });
        match opened {
            Ok(None | Some(Event::TimeNoted)) => {}
            Ok(Some(Event::EpochBegan { epoch, rewrites, .. })) => {
                (self.epoch, self.rewrites) = (epoch, rewrites);
                self.hides = None;
            }
            Ok(Some(Event::SlotRemoved { slot })) => self.removed.push(slot),
            Ok(Some(Event::SoftDeleteSet(set))) => self.soft_delete = set,
            Ok(Some(Event::GivenUp { chain, sequence, found })) => {
                self.given_up.insert((catalog_entry::object(&chain, sequence), found));
            }
            Ok(Some(Event::QuotaSet { machine, quota })) if quota == Quota::default() => {
                self.quotas.remove(&machine);
            }
            Ok(Some(Event::QuotaSet { machine, quota })) => {
                self.quotas.insert(machine, quota);
            }
            Ok(Some(Event::DocumentSet(DocumentSet { kind, name, document }))) => match document.is_empty() {
                true => drop(self.documents.remove(&(kind, name))),
                false => drop(self.documents.insert((kind, name), document)),
            },
            Err(Error::Damaged(damage)) => self.is_damaged(damage),
            Err(Error::UnsupportedVersion { object, found, .. }) => {
                self.is_damaged(Damage { object, offset: 0, problem: Problem::Version(found) });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl VaultChain {
    /// The locked policy from which a document would take away at that time, and until when it is locked. A policy may be
    /// set so that it keeps more, never less; a machine that is under it stays, or goes to one that promises no less.
    pub(crate) fn lock_against(&self, set: &DocumentSet, unix_seconds: i64) -> Option<(String, LockEnd)> {
        let document = |kind, name: String| self.documents.get(&(kind, name));
        let promise = |name: String| document(DocumentKind::Policy, name).map(|document| Promise::of(document));
        let policy = match set.kind {
            DocumentKind::Policy => set.name.clone(),
            DocumentKind::Machine => policy_of(document(DocumentKind::Machine, set.name.clone())?)?,
        };
        let old = promise(policy.clone())?;
        let end = old.locked_at(unix_seconds)?;
        let new = match (set.kind, set.document.is_empty()) {
            (_, true) => None,
            (DocumentKind::Policy, false) => Some(Promise::of(&set.document)),
            (DocumentKind::Machine, false) => policy_of(&set.document).and_then(promise),
        };
        new.is_none_or(|new| new.weakens(&old)).then_some((policy, end))
    }
}

impl VaultChain {
    /// Whether what is wrong with an entry now is what was given up.
    pub(crate) fn gave_up(&self, media: &dyn Media, object: &str) -> bool {
        self.given_up.iter().any(|(given_up, _)| given_up == object)
            && self.given_up.contains(&(object.to_owned(), found_of(media, object)))
    }
}

/// What is found of an entry: the hash of its file; zero where there is none, or it can't be read.
pub(crate) fn found_of(media: &dyn Media, object: &str) -> Hash {
    let read = || -> Option<Hash> {
        let (chain, sequence) = catalog_entry::place_of(object)?;
        let bytes = entries::stored(media, &chain, sequence).ok()?.ok()?;
        Some(*blake3::hash(&bytes).as_bytes())
    };
    read().unwrap_or([0; HASH_BYTES])
}

/// Whether soft delete is locked at that time.
pub(crate) fn is_locked(set: &SoftDelete, unix_seconds: i64) -> bool {
    set.locked_until_unix_seconds > unix_seconds
}

/// Whether a setting takes away from what another promises.
pub(crate) fn weakens(new: &SoftDelete, old: &SoftDelete) -> bool {
    new.grace_seconds < old.grace_seconds || new.locked_until_unix_seconds < old.locked_until_unix_seconds
}

/// Fails where the keys at hand must not be written under: a newer epoch has begun, or may have. The caller holds the lock
/// that keeps rotations out. Returns the chain, which is whole then.
pub(crate) fn check(media: &dyn Media, keys: &VaultKeys) -> Result<VaultChain> {
    let mut chain = VaultChain::read_to_append(media, keys)?;
    if chain.is_newer {
        return Err(Error::Rotated { since_unix_seconds: None });
    }
    if let Earlier::Lost(damage) = keys.earlier() {
        return Err(Error::Damaged(damage.clone()));
    }
    if chain.hides.is_none() && chain.epoch < keys.epoch() {
        // That the epoch began is known by what came after it. The chain lost that.
        return Err(Error::damaged(catalog_entry::object(&keys.own_chain(), chain.next), 0, Problem::Absent));
    }
    chain.hides.take().map_or(Ok(chain), |damage| Err(Error::Damaged(damage)))
}

/// Appends an event; the caller has the lock `keys` alone. That an epoch began, the newest of `keys`, is the commit of a rotation.
pub(crate) fn append(media: &dyn Media, keys: &VaultKeys, chain: &VaultChain, event: Event) -> Result<()> {
    // Time only goes on: a clock that was set back makes nothing earlier than what was before.
    let recorded_unix_seconds = jiff::Timestamp::now().as_second().max(chain.latest_unix_seconds);
    let entry = VaultEvent { predecessor: chain.head, recorded_unix_seconds, event };
    let id = keys.own_chain();
    let name = catalog_entry::object(&id, chain.next);
    let object = media.create(&name)?;
    object.write_at(0, &keys.seal_event(chain.next, &entry)?)?;
    if !object.publish()? {
        return Err(Error::Busy { what: "somebody else changed the vault's own chain just now" });
    }
    let folder = format!("{}/{}", catalog_entry::FOLDER, hex(&id));
    // The folder may be new, or another's, who died before its own name was durable.
    let synced = media.sync_folder(&folder).and_then(|()| media.sync_folder(catalog_entry::FOLDER));
    if synced.is_err() {
        // A name whose sync failed may be lost although the folder's next sync succeeds. The next entry must not follow one
        // that a power cut takes back; nor must one come back that was taken for gone.
        let _ = media.remove(&name).and_then(|()| media.sync_folder(&folder));
    }
    synced
}

/// What there was when the newest epoch of `keys` began.
pub(crate) fn earlier(media: &dyn Media, keys: &VaultKeys) -> Earlier {
    if keys.epoch() == 0 {
        return Earlier::Nothing;
    }
    let name = inventory::object(keys.epoch(), keys.inventory());
    let lost = |problem| Earlier::Lost(Damage { object: name.clone(), offset: 0, problem });
    match read_inventory(media, &name).and_then(|bytes| open_inventory(keys, &name, &bytes)) {
        Ok(inventory) => Earlier::Listed(inventory),
        Err(Error::Damaged(damage)) => lost(damage.problem),
        Err(Error::UnsupportedVersion { found, .. }) => lost(Problem::Version(found)),
        Err(error) => lost(Problem::Unreadable(error.to_string())),
    }
}

/// The bytes of an inventory that is whole and in its place, as far as that shows without a key. `vault` is the vault that it
/// must be of, where that is known.
pub(crate) fn checked_inventory(media: &dyn Media, vault: Option<&Id>, name: &str) -> Result<Vec<u8>> {
    let bytes = read_inventory(media, name)?;
    let (prefix, ..) = inventory::split(&bytes).map_err(|error| error.at(name, 0))?;
    let is_its = vault.is_none_or(|vault| *vault == prefix.vault)
        && name == inventory::object(prefix.epoch, blake3::hash(&bytes).as_bytes());
    if is_its { Ok(bytes) } else { Err(Error::damaged(name, 12, Problem::Misplaced("vault id or epoch"))) }
}

/// The bytes of an inventory, whatever they are.
fn read_inventory(media: &dyn Media, name: &str) -> Result<Vec<u8>> {
    let object = media.open(name)?;
    let (expected, found) = (inventory::MOST_BYTES, object.length());
    let too_long = || Error::damaged(name, 0, Problem::Length { expected, found });
    let length = usize::try_from(found).ok().filter(|_| found <= expected).ok_or_else(too_long)?;
    let mut bytes = vec![0; length];
    object.read_past_map(0, &mut bytes)?;
    Ok(bytes)
}

/// The entries of all chains of machines that count, for an inventory.
pub(crate) fn list_entries(media: &dyn Media, keys: &VaultKeys) -> Result<Vec<(Id, Vec<inventory::Entry>)>> {
    let mut chains: BTreeMap<Id, BTreeMap<u64, Hash>> = BTreeMap::new();
    if let Earlier::Listed(inventory) = keys.earlier() {
        // What is damaged or gone just now may be mended later.
        for (id, entries) in &inventory.chains {
            chains.entry(*id).or_default().extend(entries.iter().copied());
        }
    }
    let folders = media.list_folders(catalog_entry::FOLDER)?;
    for id in folders.iter().filter_map(|folder| id_from_hex(folder)).filter(|id| *id != keys.own_chain()) {
        let sequences = entries::sequences(media, &id)?;
        let read = entries::each(&sequences, |sequence| entries::read_or_why(media, keys, &id, *sequence));
        let listed = chains.entry(id).or_default();
        for (sequence, (hash, entry)) in sequences.into_iter().zip(read) {
            let entry = match entry {
                Ok(entry) => entry,
                // Left out, an entry counts no more. A medium that does not give it just now must not do that.
                Err(error) if error.kind() == ErrorKind::Medium => return Err(error),
                Err(_) => continue,
            };
            listed.insert(sequence, hash);
            // An entry that is damaged just now is known to the one behind it. Only in the first epoch: later, that one may
            // bind what somebody put there who lost his key.
            if let Some(before) = sequence.checked_sub(1).filter(|_| keys.epoch() == 0)
                && *entry.predecessor() != [0; HASH_BYTES]
            {
                listed.entry(before).or_insert(*entry.predecessor());
            }
        }
    }
    Ok(chains.into_iter().map(|(id, entries)| (id, entries.into_iter().collect())).collect())
}
