//! Keeping the index tidy: the table in memory becomes a run, runs are merged, and what is left over is removed.
//!
//! Who may not write to the vault does the same in the system's temporary directory, so that memory is bounded there too.
//!
//! Runs are written under the writers' lock: shared, but alone by who takes records out. What such a one took out would
//! come back with the runs that others still have in use, so whoever gets the lock first looks which runs there are.

use std::collections::HashSet;

use super::super::Place;
use super::run::Run;
use super::{Index, merge};
use crate::error::{Error, Problem, Result};
use crate::format::Id;
use crate::format::index_run::{self, Tag};
use crate::format::segment;
use crate::media::TemporaryMedia;
use crate::sync::{Arc, PoisonError};

/// Entries in memory before they become a run: what fits a table of 2^19 places of 49 bytes before it grows, less the
/// records of some segments that come at once. 26 MB, and 20 MB more while they are sorted. A model's few must do it too.
pub(super) const MOST_FRESH: usize = if cfg!(shuttle) { 3 } else { 400_000 };

/// Writes entries in order, of some segments, as a run.
type WriteTable<'a> = &'a dyn Fn(&HashSet<Id>, Vec<(Tag, Place)>) -> Result<Run>;

impl Index {
    /// Keeps the table in memory within its bound: as a run in the vault or, where that can't be written, outside of it.
    /// Where nothing can be written at all, the table grows: better that than not to find what is there. The caller
    /// shares the writers' lock.
    pub(in crate::store) fn relieve(&self) {
        self.relieve_to(merge::MOST_RUNS, true);
    }

    /// The same while the index is being made, which [`Self::made`] ends. `shares_lock` says whether the caller shares the
    /// writers' lock; without it nothing is written to the vault.
    pub(in crate::store) fn relieve_in_the_making(&self, shares_lock: bool) {
        self.relieve_to(merge::MOST_RUNS_IN_THE_MAKING, shares_lock);
    }

    /// The index is made: writes what is in memory, and merges the runs, in the vault or outside.
    pub(in crate::store) fn made(&self, shares_lock: bool) {
        let _one_at_a_time = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.may_write(shares_lock) || self.tidy(merge::MOST_RUNS).is_err() {
            let _ = self.merge_outside(merge::MOST_RUNS);
        }
    }

    fn may_write(&self, shares_lock: bool) -> bool {
        shares_lock && !self.is_private
    }

    fn relieve_to(&self, most_runs: usize, shares_lock: bool) {
        let is_full = || self.fresh.read().unwrap_or_else(PoisonError::into_inner).places.len() >= MOST_FRESH;
        if !is_full() {
            return;
        }
        let _one_at_a_time = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have done it while this one waited.
        if is_full() && (!self.may_write(shares_lock) || self.tidy(most_runs).is_err()) && is_full() {
            let _ = self.spill(most_runs);
        }
    }

    /// Writes the table in memory as a run, and merges runs until few are left. Changes nothing where the vault can't be
    /// written.
    ///
    /// The order matters nowhere but in one place: merged runs are removed after the merged one is published. A crash in
    /// between leaves entries twice, which is the same as once.
    pub(in crate::store) fn flush(&self) -> Result<()> {
        let _one_at_a_time = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        self.tidy(merge::MOST_RUNS)
    }

    fn tidy(&self, most_runs: usize) -> Result<()> {
        self.empty_table(&|segments, entries| merge::write(self.media.as_ref(), &self.keys, segments, entries))?;
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.merge(&runs, most_runs, &|chosen| merge::merge(self.media.as_ref(), &self.keys, chosen, &|_, _| true))?;
        self.sweep()
    }

    /// Turns the table in memory into a run outside the vault, and keeps the number of such runs small too.
    pub(super) fn spill(&self, most_runs: usize) -> Result<()> {
        let temporary = TemporaryMedia::new(&[index_run::FOLDER], self.media.read_mode())?;
        self.empty_table(&|segments, entries| {
            merge::write(&*temporary, &self.keys, segments, entries).map(Run::temporary)
        })?;
        self.merge_outside(most_runs)
    }

    fn merge_outside(&self, most_runs: usize) -> Result<()> {
        let mut runs = self.runs.read().unwrap_or_else(PoisonError::into_inner).clone();
        runs.retain(|run| run.is_temporary());
        self.merge(&runs, most_runs, &|chosen| {
            let temporary = TemporaryMedia::new(&[index_run::FOLDER], self.media.read_mode())?;
            merge::merge(&*temporary, &self.keys, chosen, &|_, _| true).map(Run::temporary)
        })
    }

    /// Makes a run of the table in memory, in the way that `write` does it.
    fn empty_table(&self, write: WriteTable<'_>) -> Result<()> {
        let (mut entries, segments) = {
            let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
            let entries: Vec<(Tag, Place)> = fresh.places.iter().map(|(tag, place)| (*tag, *place)).collect();
            (entries, fresh.segments.clone())
        };
        if segments.is_empty() {
            return Ok(());
        }
        entries.sort_unstable_by_key(|(tag, _)| *tag);
        self.add_run(write(&segments, entries)?, |runs, run| runs.push(run))?;
        self.fresh.write().unwrap_or_else(PoisonError::into_inner).forget(&segments);
        Ok(())
    }

    /// Makes one run, in the way that `merge` does it, of those among `runs` that are due.
    fn merge(&self, runs: &[Arc<Run>], most: usize, merge: &dyn Fn(&[Arc<Run>]) -> Result<Run>) -> Result<()> {
        let Some(chosen) = merge::choose(runs, most) else {
            return Ok(());
        };
        // What is merged gets a new authenticator: only what had a right one may.
        if chosen.iter().any(|run| !run.is_temporary() && !run.is_authentic(&self.keys)) {
            self.authenticate();
            return Ok(());
        }
        self.add_run(merge(&chosen)?, |runs, merged| {
            runs.retain(|run| !chosen.iter().any(|gone| Arc::ptr_eq(run, gone)));
            runs.push(merged);
        })
    }

    /// Uses the runs that the vault has now, and no other: what was taken out of them since must not be written again, nor
    /// be believed by a writer.
    pub(in crate::store) fn reload(&self) -> Result<()> {
        let _one_at_a_time = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        let mut runs = self.runs.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut names: HashSet<String> = HashSet::new();
        for name in self.media.list(index_run::FOLDER)? {
            names.insert(format!("{}/{name}", index_run::FOLDER));
        }
        runs.retain(|run| run.is_temporary() || names.remove(run.name()));
        for name in names {
            if let Ok(run) = self.open_run(&name) {
                runs.push(Arc::new(run));
            }
        }
        let covered: HashSet<Id> =
            runs.iter().filter(|run| !run.is_temporary()).flat_map(|run| run.segments()).collect();
        for run in runs.iter().filter(|run| run.is_temporary()) {
            run.forget(&covered);
        }
        self.change_runs(|old| *old = runs);
        self.fresh.write().unwrap_or_else(PoisonError::into_inner).forget(&covered);
        Ok(())
    }

    /// Writes the whole index anew without the entries that `keep` does not want. The caller has the writers' lock alone. Their segments stay covered, so that
    /// the entries do not come back by themselves.
    pub(in crate::store) fn retain(&self, keep: merge::Keep<'_>) -> Result<()> {
        self.reload()?;
        self.flush()?;
        let _one_at_a_time = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner).clone();
        let merged = merge::merge(self.media.as_ref(), &self.keys, &runs, keep)?;
        self.add_run(merged, |runs, merged| *runs = vec![merged])?;
        self.sweep()
    }

    /// Removes run files that are unreadable or whose segments are all in the runs in use, or gone: what was taken out of
    /// the index must not come back with a run that also covers a segment that nothing has any more.
    fn sweep(&self) -> Result<()> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner).clone();
        // A run outside the vault is no reason to remove one inside.
        let kept = runs.iter().filter(|run| !run.is_temporary());
        let covered: HashSet<Id> = kept.flat_map(|run| run.segments()).collect();
        let listed: HashSet<Id> =
            self.media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect();
        for name in self.media.list(index_run::FOLDER)? {
            let name = format!("{}/{name}", index_run::FOLDER);
            if runs.iter().any(|run| run.name() == name) {
                continue;
            }
            let useless = match self.open_run(&name) {
                Ok(run) => {
                    let left: Vec<Id> = run.segments().filter(|segment| !covered.contains(segment)).collect();
                    let gone = self.gone(left.iter().copied(), &listed)?;
                    gone.len() == left.len()
                }
                // It is for those who have the keys that came after ours.
                Err(Error::Damaged(damage)) if matches!(damage.problem, Problem::Epoch(of) if of > self.keys.epoch()) => {
                    false
                }
                Err(_) => true,
            };
            if useless {
                self.media.remove(&name)?;
            }
        }
        Ok(())
    }
}
