//! Reading the tables of segments that the index does not cover, in parallel.

use super::{Index, Store, WRITERS_LOCK};
use crate::error::{Error, Result};
use crate::format::Id;
use crate::media::LockKind;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread;

/// Segments whose tables are read again by everybody who opens the vault, rather than that a reader writes to it.
const FEW: usize = 16;

/// Adds the records of `segments` to an index.
///
/// A segment whose table is damaged is walked record by record. One that can't be read at all stays uncovered: what it
/// held is stored again by the next backup, and is an error when somebody asks for it. So one bad segment, or a bad
/// sector under one, closes nothing but itself.
pub(super) fn load(store: &Store, index: &Index, segments: &[Id]) -> Result<()> {
    // The index was lost, or its writer died: to make it once is enough. Who may not write reads the tables each time.
    let is_worth_keeping = segments.len() > FEW;
    let lock = || store.media.lock(WRITERS_LOCK, LockKind::Shared, false).ok().flatten();
    let shared = if is_worth_keeping { lock() } else { None };
    let shares_lock = shared.is_some() && index.reload().is_ok();
    let next = AtomicUsize::new(0);
    let threads = crate::cores().min(segments.len());
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| work(store, index, segments, &next, shares_lock))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Error::Poisoned)))
    })?;
    if is_worth_keeping {
        index.made(shares_lock);
    }
    Ok(())
}

fn work(store: &Store, index: &Index, segments: &[Id], next: &AtomicUsize, shares_lock: bool) -> Result<()> {
    while let Some(id) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
        let Ok(entries) = store.segments.entries(id) else { continue };
        if index.add_found(*id, &entries, &|id| store.keys.index_tag(id)).is_err() {
            continue;
        }
        index.relieve_in_the_making(shares_lock);
    }
    Ok(())
}
