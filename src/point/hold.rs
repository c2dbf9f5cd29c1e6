//! Holding a point that is read, so that nobody purges it meanwhile.
//!
//! A part of a lock file, numbered by the point's id, is shared by whoever reads it and taken alone by whoever purges it. It
//! ends with the process, however that dies.
//!
//! Invariants:
//! - a reader looks whether the point is purged after it holds it, who purges says so while he has it alone: one of them
//!   sees the other;
//! - where a medium has no such locks, points are read all the same.

use jiff::Timestamp;

use super::{Catalog, PointInfo};
use crate::error::{Error, Result};
use crate::media::{HIGHEST_PART, Lock, LockKind, Media};

/// The lock file.
pub(crate) const POINTS_LOCK: &str = "points";

/// A point that nobody purges while this is there.
pub(crate) struct Hold {
    _lock: Option<Lock>,
}

/// Holds a point.
///
/// # Errors
/// [`Error::UnknownPoint`] where it is purged, or is about to be.
pub(crate) fn hold(media: &dyn Media, catalog: &Catalog, point: &PointInfo) -> Result<Hold> {
    let lock = match media.lock_part(POINTS_LOCK, part_of(point), LockKind::Shared) {
        Err(error) if !error.has_locks() => None,
        lock => lock?,
    };
    catalog.refresh()?;
    let now = catalog.of_machine(&point.machine).into_iter().find(|known| known.id == point.id);
    // Somebody has it alone to purge it, and perhaps did not say so yet.
    let is_going = lock.is_none() && now.is_some_and(|known| known.is_over(Timestamp::now()));
    if catalog.is_purged(&point.entry) || is_going {
        return Err(Error::UnknownPoint { machine: point.machine.clone(), point: point.name.clone() });
    }
    Ok(Hold { _lock: lock })
}

/// Takes a point alone, to purge it; nothing where somebody reads it.
pub(crate) fn take(media: &dyn Media, point: &PointInfo) -> Result<Option<Hold>> {
    match media.lock_part(POINTS_LOCK, part_of(point), LockKind::Exclusive) {
        Err(error) if !error.has_locks() => Ok(Some(Hold { _lock: None })),
        lock => Ok(lock?.map(|lock| Hold { _lock: Some(lock) })),
    }
}

fn part_of(point: &PointInfo) -> u64 {
    let (first, _) = point.entry.point.split_first_chunk::<8>().expect("an id has 16 bytes");
    u64::from_le_bytes(*first) & HIGHEST_PART
}
