//! The derived index: from a record's tag to its place.
//!
//! A few sorted runs on the medium, read through the map where an answer needs them, and a table in memory for what was
//! added since. Opening reads the runs' headers only. When the table in memory grows past a bound, or a writer ends, it
//! becomes a run; small runs are merged so that their number stays small. Everything here may be lost at any moment.
//!
//! Invariants:
//! - a run answers only for segments that are still there;
//! - every published segment is covered by a run or by the table, once [`Index::missing`] has been worked off;
//! - memory is bounded by the table's bound, whatever the number of records, also for who may not write to the vault: what
//!   becomes too much then goes into runs in the system's temporary directory.

#[cfg(test)]
mod bounded;
mod fresh;
mod merge;
mod run;
#[cfg(test)]
mod tampered;
mod tidy;
mod tree_hash;

use std::collections::{HashMap, HashSet};

use super::Place;
use crate::error::{Error, Result};
use crate::format::index_run::{self, Tag};
use crate::format::segment::{self, TableEntry};
use crate::format::{Hash, Id};
use crate::media::Media;
use crate::seal::VaultKeys;
use crate::sync::{Arc, Mutex, PoisonError, RwLock};

use fresh::Fresh;
use run::Run;

/// Bytes of runs that are looked up through maps, the smallest first: what was looked at counts as this process' memory.
/// Larger runs are read with a system call for each look-up, which takes several times as long.
const MOST_MAPPED_BYTES: u64 = 96 << 20;

/// The index of an open vault.
pub struct Index {
    media: Arc<dyn Media>,
    keys: Arc<VaultKeys>,
    /// The largest first: it knows most of what is asked for.
    runs: RwLock<Vec<Arc<Run>>>,
    fresh: RwLock<Fresh>,
    /// Places that were found by looking into the segments, against what the runs say. Few, and not kept.
    corrected: RwLock<HashMap<Tag, Place>>,
    /// Held by whoever turns the table into a run or merges runs, so that two never do the same work.
    tidying: Mutex<()>,
    /// Whether nothing of it is ever written to the vault.
    is_private: bool,
}

impl Index {
    /// Opens the runs that are readable; others are as good as absent.
    pub(super) fn open(media: Arc<dyn Media>, keys: Arc<VaultKeys>) -> Result<Self> {
        let mut runs = Vec::new();
        for name in media.list(index_run::FOLDER)? {
            if let Ok(run) = Run::open(media.as_ref(), keys.vault(), &format!("{}/{name}", index_run::FOLDER)) {
                runs.push(Arc::new(run));
            }
        }
        let index = Self::empty(media, keys, false);
        index.change_runs(|none| *none = runs);
        Ok(index)
    }

    /// An index that knows nothing yet and stays with this process.
    pub(super) fn private(media: Arc<dyn Media>, keys: Arc<VaultKeys>) -> Self {
        Self::empty(media, keys, true)
    }

    fn empty(media: Arc<dyn Media>, keys: Arc<VaultKeys>, is_private: bool) -> Self {
        Self {
            media,
            keys,
            runs: RwLock::default(),
            fresh: RwLock::default(),
            corrected: RwLock::default(),
            tidying: Mutex::new(()),
            is_private,
        }
    }

    /// Changes what runs there are, and decides in which order and how they are asked.
    fn change_runs(&self, change: impl FnOnce(&mut Vec<Arc<Run>>)) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut runs);
        runs.sort_by_key(|run| std::cmp::Reverse(run.entries()));
        let mut mapped = 0;
        for run in runs.iter().rev() {
            mapped += run.bytes();
            run.look_up_mapped(mapped <= MOST_MAPPED_BYTES);
        }
    }

    /// Takes notice of the segments that there are, and returns those that are not covered.
    pub(super) fn missing(&self, present: &[Id]) -> Result<Vec<Id>> {
        let live: HashSet<Id> = present.iter().copied().collect();
        self.forget_gone(&live)?;
        let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let mut covered: HashSet<Id> = fresh.segments.iter().copied().collect();
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        for run in runs.iter() {
            run.keep_only(&live);
            covered.extend(run.segments());
        }
        Ok(present.iter().filter(|id| !covered.contains(*id)).copied().collect())
    }

    /// Entries in memory of segments that somebody removed count no more: a backup would rely on them.
    fn forget_gone(&self, live: &HashSet<Id>) -> Result<()> {
        let unseen: Vec<Id> = {
            let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
            fresh.segments.difference(live).copied().collect()
        };
        for segment in unseen {
            // It may have been published after the list was made.
            if !self.media.exists(&segment::object(&segment))? {
                self.forget(&segment);
            }
        }
        Ok(())
    }

    /// Drops runs that are not, to the last byte, what a key holder wrote: a writer believes that a chunk is there, which
    /// nobody without a key must be able to say. The segments that they covered are missing then.
    pub(super) fn authenticate(&self) {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner).clone();
        let false_ones: Vec<Arc<Run>> = runs.into_iter().filter(|run| !run.is_authentic(&self.keys)).collect();
        self.change_runs(|runs| runs.retain(|run| !false_ones.iter().any(|other| Arc::ptr_eq(run, other))));
    }

    /// The place of a record, as far as the index knows.
    pub fn lookup(&self, tag: &Tag) -> Option<Place> {
        if let Some(place) = self.corrected.read().unwrap_or_else(PoisonError::into_inner).get(tag) {
            return Some(*place);
        }
        if let Some(place) = self.fresh.read().unwrap_or_else(PoisonError::into_inner).places.get(tag) {
            return Some(*place);
        }
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.iter().find_map(|run| run.lookup(tag))
    }

    /// Adds a published segment's records. `tag_of` makes the tag of an id.
    pub(super) fn add(&self, segment: Id, entries: &[TableEntry], tag_of: &dyn Fn(&Hash) -> Tag) {
        let place = |entry: &TableEntry| Place {
            segment,
            offset: entry.offset,
            stored_bytes: entry.stored_bytes,
            plain_bytes: entry.plain_bytes,
        };
        // Tags first: others wait for the lock.
        let places: Vec<(Tag, Place)> = entries.iter().map(|entry| (tag_of(&entry.id), place(entry))).collect();
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        fresh.places.extend(places);
        fresh.segments.insert(segment);
    }

    /// Remembers where a record really is, that was not found where the index said.
    pub(super) fn correct(&self, tag: Tag, place: Place) {
        self.corrected.write().unwrap_or_else(PoisonError::into_inner).insert(tag, place);
    }

    /// Forgets a segment that was removed.
    pub(super) fn forget(&self, segment: &Id) {
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        fresh.places.retain(|_, place| place.segment != *segment);
        fresh.segments.remove(segment);
        self.corrected.write().unwrap_or_else(PoisonError::into_inner).retain(|_, place| place.segment != *segment);
    }

    /// How many runs and entries there are, and bytes of runs.
    pub fn size(&self) -> IndexSize {
        // In the order in which everybody takes these locks.
        let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner).places.len() as u64;
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        IndexSize {
            runs: runs.len(),
            entries: fresh + runs.iter().map(|run| run.entries()).sum::<u64>(),
            bytes: runs.iter().map(|run| run.bytes()).sum(),
        }
    }
}

/// Reads what of the index can be checked without a key: the front of each run. Returns what is wrong, which harms
/// nobody: the index is made anew from the segments.
pub(crate) fn scrub(media: &dyn Media, vault: &Id) -> Result<Vec<Error>> {
    let names = media.list(index_run::FOLDER)?;
    Ok(names
        .iter()
        .filter_map(|name| Run::open(media, vault, &format!("{}/{name}", index_run::FOLDER)).err())
        .collect())
}

/// Size of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSize {
    /// Number of runs.
    pub runs: usize,
    /// Number of entries, those in memory included; a record that is in two segments counts twice.
    pub entries: u64,
    /// Bytes of all runs.
    pub bytes: u64,
}
