//! The derived index: from a record's tag to its place.
//!
//! A few sorted runs on the medium, read through the map where an answer needs them, and a table in memory for what was
//! added since. Opening reads the runs' headers only. When the table in memory grows past a bound, or a writer ends, it
//! becomes a run; small runs are merged so that their number stays small. Everything here may be lost at any moment.
//!
//! Invariants:
//! - nothing answers for a segment that was gone when the last writer began;
//! - every published segment is covered by a run or by the table, once [`Index::missing`] has been worked off;
//! - memory is bounded by the table's bound, whatever the number of records, also for who may not write to the vault: what
//!   becomes too much then goes into runs in the system's temporary directory.

#[cfg(test)]
mod bounded;
mod fresh;
mod merge;
#[cfg(test)]
mod moved;
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
use crate::sync::atomic::{AtomicU64, Ordering};
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
    /// How often somebody began to write, see [`Self::learn`].
    writers: AtomicU64,
}

impl Index {
    /// Opens the runs that are readable; others are as good as absent.
    pub(super) fn open(media: Arc<dyn Media>, keys: Arc<VaultKeys>) -> Result<Self> {
        let index = Self::empty(media, keys, false);
        let mut runs = Vec::new();
        for name in index.media.list(index_run::FOLDER)? {
            if let Ok(run) = index.open_run(&format!("{}/{name}", index_run::FOLDER)) {
                runs.push(Arc::new(run));
            }
        }
        index.change_runs(|none| *none = runs);
        Ok(index)
    }

    fn open_run(&self, name: &str) -> Result<Run> {
        Run::open(self.media.as_ref(), self.keys.vault(), Some(self.keys.epoch()), name)
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
            writers: AtomicU64::new(0),
        }
    }

    /// Changes what runs there are.
    fn change_runs(&self, change: impl FnOnce(&mut Vec<Arc<Run>>)) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut runs);
        arrange(&mut runs);
    }

    /// Takes a new run into use, without what is gone of the segments that it covers.
    fn add_run(&self, run: Run, change: impl FnOnce(&mut Vec<Arc<Run>>, Arc<Run>)) -> Result<()> {
        let run = Arc::new(run);
        let look = || {
            let listed = self.media.list(segment::FOLDER)?;
            let listed = listed.iter().filter_map(|name| segment::id_of(name)).collect();
            run.forget(&self.gone(run.segments(), &listed)?);
            Ok(true)
        };
        let take = |runs: &mut Vec<Arc<Run>>| {
            change(runs, Arc::clone(&run));
            arrange(runs);
        };
        self.learn(&self.runs, look, take)
    }

    /// Takes up what was found out about segments a while ago, unless they are gone.
    ///
    /// Whoever begins to write forgets what is gone, and relies on what he finds from then on. What was found out before
    /// must not come back to him when it is gone. So `look` looks again whether it is there, and what it sees holds unless
    /// one more began to write meanwhile: nothing is removed while somebody writes but what he knows to be condemned, and who begins
    /// after this forgets again.
    fn learn<T>(&self, table: &RwLock<T>, look: impl Fn() -> Result<bool>, take_up: impl FnOnce(&mut T)) -> Result<()> {
        loop {
            let writers = self.writers.load(Ordering::SeqCst);
            if !look()? {
                return Ok(());
            }
            let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
            if self.writers.load(Ordering::SeqCst) == writers {
                take_up(&mut table);
                return Ok(());
            }
        }
    }

    /// Somebody who holds the writers' lock begins to write, and will look at the segments that there are next.
    pub(super) fn begin_writing(&self) -> Result<()> {
        self.writers.fetch_add(1, Ordering::SeqCst);
        self.reload()?;
        self.authenticate();
        Ok(())
    }

    /// Takes notice of the segments that there are, and returns those that are not covered.
    pub(super) fn missing(&self, present: &[Id]) -> Result<Vec<Id>> {
        self.forget_gone(&present.iter().copied().collect())?;
        let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let mut covered: HashSet<Id> = fresh.segments.iter().copied().collect();
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        covered.extend(runs.iter().flat_map(|run| run.segments()));
        Ok(present.iter().filter(|id| !covered.contains(*id)).copied().collect())
    }

    /// Entries of segments that somebody removed count no more: a backup would rely on them.
    fn forget_gone(&self, listed: &HashSet<Id>) -> Result<()> {
        let mut known = self.fresh.read().unwrap_or_else(PoisonError::into_inner).segments.clone();
        known.extend(self.runs.read().unwrap_or_else(PoisonError::into_inner).iter().flat_map(|run| run.segments()));
        let corrected = self.corrected.read().unwrap_or_else(PoisonError::into_inner);
        known.extend(corrected.values().map(|place| place.segment));
        drop(corrected);
        let gone = self.gone(known.into_iter(), listed)?;
        if !gone.is_empty() {
            self.forget(&gone);
        }
        Ok(())
    }

    /// Those of some segments that are gone. One that is not listed may have come after the list was made.
    fn gone(&self, segments: impl Iterator<Item = Id>, listed: &HashSet<Id>) -> Result<HashSet<Id>> {
        let mut gone = HashSet::new();
        for segment in segments.filter(|segment| !listed.contains(segment)) {
            if !self.media.exists(&segment::object(&segment))? {
                gone.insert(segment);
            }
        }
        Ok(gone)
    }

    /// Drops runs that are not, to the last byte, what a key holder wrote: a writer believes that a chunk is there, which
    /// nobody without a key must be able to say. The segments that they covered are missing then.
    fn authenticate(&self) {
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
        runs.iter().find_map(|run| run.lookup(tag, &|_| true))
    }

    /// The place of a record in another segment than those.
    pub(super) fn lookup_besides(&self, tag: &Tag, leaving: &HashSet<Id>) -> Option<Place> {
        let fits = |place: &Place| !leaving.contains(&place.segment);
        let corrected = self.corrected.read().unwrap_or_else(PoisonError::into_inner).get(tag).copied();
        let fresh = || self.fresh.read().unwrap_or_else(PoisonError::into_inner).places.get(tag).copied();
        let of_runs = || {
            let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
            runs.iter().find_map(|run| run.lookup(tag, &fits))
        };
        corrected.filter(fits).or_else(|| fresh().filter(fits)).or_else(of_runs)
    }

    /// Adds the records of a segment that was just published by a writer who holds the writers' lock. `tag_of` makes the
    /// tag of an id.
    pub(super) fn add(&self, segment: Id, entries: &[TableEntry], tag_of: &dyn Fn(&Hash) -> Tag) {
        let places = places(segment, entries, tag_of);
        self.fresh.write().unwrap_or_else(PoisonError::into_inner).add(segment, places);
    }

    /// Adds the records of a segment that was found, unless it is gone.
    pub(super) fn add_found(&self, segment: Id, entries: &[TableEntry], tag_of: &dyn Fn(&Hash) -> Tag) -> Result<()> {
        let places = places(segment, entries, tag_of);
        let look = || self.media.exists(&segment::object(&segment));
        self.learn(&self.fresh, look, |fresh| fresh.add(segment, places))
    }

    /// Remembers where a record really is, that was not found where the index said.
    pub(super) fn correct(&self, tag: Tag, place: Place) -> Result<()> {
        let look = || self.media.exists(&segment::object(&place.segment));
        self.learn(&self.corrected, look, |corrected| {
            corrected.insert(tag, place);
        })
    }

    /// Forgets segments that were removed.
    pub(super) fn forget(&self, gone: &HashSet<Id>) {
        self.fresh.write().unwrap_or_else(PoisonError::into_inner).forget(gone);
        self.corrected
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, place| !gone.contains(&place.segment));
        self.runs.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|run| run.forget(gone));
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

/// Removes the runs that cover any of some segments: their records are found by the segments' tables, and come into the
/// index again when it is made anew. The caller has the writers' lock alone.
pub(crate) fn forget_runs(media: &dyn Media, vault: &Id, segments: &HashSet<Id>) -> Result<()> {
    for name in media.list(index_run::FOLDER)? {
        let name = format!("{}/{name}", index_run::FOLDER);
        if Run::open(media, vault, None, &name)
            .is_ok_and(|run| run.segments().any(|segment| segments.contains(&segment)))
        {
            media.remove(&name)?;
        }
    }
    media.sync_folder(index_run::FOLDER)
}

/// Reads what of the index can be checked without a key: the front of each run. Returns what is wrong, which harms
/// nobody: the index is made anew from the segments.
pub(crate) fn scrub(media: &dyn Media, vault: &Id) -> Result<Vec<Error>> {
    let names = media.list(index_run::FOLDER)?;
    Ok(names
        .iter()
        .filter_map(|name| Run::open(media, vault, None, &format!("{}/{name}", index_run::FOLDER)).err())
        .collect())
}

/// The places of a segment's records, by their tags. Made before a lock is taken that others wait for.
fn places(segment: Id, entries: &[TableEntry], tag_of: &dyn Fn(&Hash) -> Tag) -> Vec<(Tag, Place)> {
    let place = |entry: &TableEntry| Place {
        segment,
        offset: entry.offset,
        stored_bytes: entry.stored_bytes,
        plain_bytes: entry.plain_bytes,
    };
    entries.iter().map(|entry| (tag_of(&entry.id), place(entry))).collect()
}

/// Decides in which order and how runs are asked.
fn arrange(runs: &mut [Arc<Run>]) {
    runs.sort_by_key(|run| std::cmp::Reverse(run.entries()));
    let mut mapped = 0;
    for run in runs.iter().rev() {
        mapped += run.bytes();
        run.look_up_mapped(mapped <= MOST_MAPPED_BYTES);
    }
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
