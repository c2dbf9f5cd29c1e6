//! One run through segments: which, in what order, until when, by all cores.

use std::collections::HashSet;
use std::time::Instant;

use super::memory::{Depth, Memory, time};
use super::options::VerifyOptions;
use super::report::Coverage;
use crate::error::{Error, Result};
use crate::format::{Id, segment};
use crate::media::Media;
use crate::progress::Progress;
use crate::store::SegmentCheck;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, PoisonError, thread};

/// What was checked is written down each time so many bytes were read: a run that is killed loses no more.
const NOTE_EVERY_BYTES: u64 = 16 << 30;

/// A run through segments.
pub(super) struct Round {
    all: Vec<Id>,
    /// What this run is to look at: first what was never checked, then what was checked longest ago.
    order: Vec<Id>,
    looked: HashSet<Id>,
    depth: Depth,
    deadline: Option<Instant>,
    memory: Memory,
    not_remembered: Option<Error>,
    unwritten_bytes: u64,
}

impl Round {
    /// Plans a run through `all` segments of a vault.
    pub fn plan(
        media: &Arc<dyn Media>,
        vault: Option<Id>,
        all: Vec<Id>,
        depth: Depth,
        options: &VerifyOptions,
    ) -> Self {
        let deadline = options.max_time.and_then(|time| Instant::now().checked_add(time));
        let memory = Memory::read(media, vault, &all);
        let mut order: Vec<Id> =
            all.iter().filter(|id| options.subset.is_none_or(|subset| subset.has(id))).copied().collect();
        order.sort_by_key(|id| memory.last(id, depth));
        Self { all, order, looked: HashSet::new(), depth, deadline, memory, not_remembered: None, unwritten_bytes: 0 }
    }

    /// What is wrong with the notes of earlier runs.
    pub fn damaged_notes(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.memory.damage)
    }

    /// Segments that this run did not look at.
    pub fn left(&self) -> HashSet<Id> {
        self.all.iter().filter(|id| !self.looked.contains(*id)).copied().collect()
    }

    /// Looks at segments with `check`, several at once, and passes on what it found, until all are done or the time is
    /// up. What was looked at is remembered also where the run is interrupted.
    pub fn run(
        &mut self,
        media: &dyn Media,
        progress: &Progress,
        check: &(dyn Fn(&Id) -> SegmentCheck + Sync),
        found: &mut (dyn FnMut(&Id, SegmentCheck) + Send),
    ) -> Result<()> {
        let order = std::mem::take(&mut self.order);
        for id in &order {
            progress.add_total(media.open(&segment::object(id)).map_or(0, |object| object.length()));
        }
        let (next, deadline) = (AtomicUsize::new(0), self.deadline);
        let shared = Mutex::new((&mut *self, found));
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = order.get(number) else { return Ok(()) };
                if number > 0 && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(());
                }
                progress.check()?;
                let checked = check(id);
                progress.add_done(checked.bytes);
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared.0.note(*id, &checked);
                (shared.1)(id, checked);
            }
        };
        let ended = thread::scope(|scope| {
            let workers: Vec<_> = (0..crate::cores()).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Error::Poisoned)))
        });
        self.order = order;
        self.remember();
        ended
    }

    fn note(&mut self, id: Id, checked: &SegmentCheck) {
        self.looked.insert(id);
        self.memory.add(id, self.depth, !checked.damage.is_empty());
        self.unwritten_bytes += checked.bytes;
        if self.unwritten_bytes >= NOTE_EVERY_BYTES {
            self.unwritten_bytes = 0;
            self.remember();
        }
    }

    /// Writes down what was checked. Where the vault can't be written, that is told once and not tried again.
    fn remember(&mut self) {
        if self.not_remembered.is_none() {
            self.not_remembered = self.memory.write().err();
        }
    }

    /// How much the run looked at, and what is known of the rest.
    pub fn coverage(self) -> Coverage {
        let left = self.left();
        let last = || left.iter().map(|id| self.memory.last(id, self.depth));
        let mut damaged_before: Vec<String> =
            left.iter().filter(|id| self.memory.was_damaged(id)).map(segment::object).collect();
        damaged_before.sort_unstable();
        Coverage {
            segments: self.all.len() as u64,
            left: left.len() as u64,
            never_checked: last().filter(Option::is_none).count() as u64,
            oldest_check: last().flatten().min().and_then(time),
            damaged_before,
            time_is_up: self.order.len() > self.looked.len(),
            not_remembered: self.not_remembered,
        }
    }
}
