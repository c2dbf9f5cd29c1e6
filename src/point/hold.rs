//! Holding a point that is read, so that nobody purges it meanwhile.
//!
//! A part of a lock file, numbered by the point's id, is shared by whoever reads it and taken alone by whoever purges it. It
//! ends with the process, however that dies.
//!
//! Invariants:
//! - a reader looks whether the point is purged after it holds it, who purges says so while he has it alone: one of them
//!   sees the other;
//! - where a medium has no such locks, points are read all the same.

use std::ops::RangeInclusive;

use super::{Catalog, PointInfo};
use crate::error::{Error, Result};
use crate::media::{HIGHEST_PART, Lock, LockKind, Media};

/// The lock file.
pub(crate) const POINTS_LOCK: &str = "points";

/// A point that nobody purges while this is there.
pub(crate) struct Hold {
    lock: Option<Lock>,
}

impl Hold {
    /// Whether it keeps anybody from purging the point: not on a medium without such locks.
    pub fn is_real(&self) -> bool {
        self.lock.is_some()
    }
}

/// Holds a point.
///
/// # Errors
/// [`Error::Purged`] where it is purged, or is about to be.
pub(crate) fn hold(media: &dyn Media, catalog: &Catalog, point: &PointInfo) -> Result<Hold> {
    let (lock, is_refused) = match media.lock_parts(POINTS_LOCK, parts_of(point), LockKind::Shared) {
        // Who may not lock may still read.
        Err(error) if !error.may_lock() => (None, false),
        lock => {
            let lock = lock?;
            let is_refused = lock.is_none();
            (lock, is_refused)
        }
    };
    catalog.refresh()?;
    let now = catalog.of_machine(&point.machine).into_iter().find(|known| known.id == point.id);
    // Somebody has it alone to purge it, and perhaps did not say so yet. Whose clock says what is of no matter.
    let is_going = is_refused && now.is_some_and(|known| known.forgotten.is_some());
    if catalog.is_purged(&point.entry) || is_going {
        return Err(Error::Purged { machine: point.machine.clone(), point: point.name.clone() });
    }
    Ok(Hold { lock })
}

/// Takes a point alone, to purge it; nothing where somebody reads it.
pub(crate) fn take(media: &dyn Media, point: &PointInfo) -> Result<Option<Hold>> {
    match media.lock_parts(POINTS_LOCK, parts_of(point), LockKind::Exclusive) {
        Err(error) if !error.has_locks() => Ok(Some(Hold { lock: None })),
        lock => Ok(lock?.map(|lock| Hold { lock: Some(lock) })),
    }
}

fn parts_of(point: &PointInfo) -> RangeInclusive<u64> {
    let (first, _) = point.entry.point.split_first_chunk::<8>().expect("an id has 16 bytes");
    let part = u64::from_le_bytes(*first) & HIGHEST_PART;
    part..=part
}
