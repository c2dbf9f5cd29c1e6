//! Reading the tables of segments that the index does not cover, in parallel.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Store;
use crate::error::{Error, Result};
use crate::format::Id;

/// Adds the records of `segments` to the index.
///
/// A segment whose table is damaged is walked record by record; one that can't be read at all stays uncovered, and
/// what it held is reported missing when somebody asks for it.
pub(super) fn load(store: &Store, segments: &[Id]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(segments.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(store, segments, &next))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Error::Poisoned)))
    })
}

fn work(store: &Store, segments: &[Id], next: &AtomicUsize) -> Result<()> {
    while let Some(id) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
        let entries = match store.segments.table(id) {
            Ok(entries) => entries,
            // Removed since it was listed, or damaged.
            Err(Error::Damaged(_) | Error::UnsupportedVersion { .. }) => match store.segments.salvage(id) {
                Ok(entries) => entries,
                Err(Error::Damaged(_)) => continue,
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        store.index.add(*id, &entries, &|id| store.keys.index_tag(id));
    }
    Ok(())
}
