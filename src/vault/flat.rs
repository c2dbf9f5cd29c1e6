//! What flat tables of records' tags have in common: where a record stands, and memory that may not be there.
//!
//! A table has open addressing, and a record stands at the first free place from where it belongs. That is decided by its tag and
//! a number that is drawn anew each time: who may write records knows their tags, and must not be able to choose such that all
//! fall onto one place.

use crate::error::{Error, Result};

/// Fewest slots.
const FEWEST: usize = 1024;

/// Where records belong.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    /// Odd, and drawn anew each time.
    factor: u64,
}

impl Spread {
    /// One that nobody can know before.
    pub fn new() -> Result<Self> {
        Ok(Self { factor: u64::from_le_bytes(crate::seal::random()?) | 1 })
    }

    /// The place of a key among so many.
    pub fn place(self, key: u64, slots: usize) -> usize {
        // The upper half of the product: below the number of slots.
        ((u128::from(key.wrapping_mul(self.factor)) * slots as u128) >> 64) as usize
    }
}

/// The number of slots for so many records: a quarter of them stays free.
pub(super) fn slots_for(records: u64) -> usize {
    usize::try_from(records.saturating_mul(4) / 3).unwrap_or(usize::MAX).max(FEWEST)
}

/// Whether a table of so many slots is too full for one more of so many records.
pub(super) fn is_full(records: usize, slots: usize) -> bool {
    records.saturating_mul(8) >= slots.saturating_mul(7)
}

/// Slots, each as `free` makes it.
///
/// # Errors
/// Where there is no memory for so many.
pub(super) fn slots<T>(number: usize, free: impl FnMut() -> T) -> Result<Vec<T>> {
    let mut slots = Vec::new();
    let no_memory = |_| Error::File {
        operation: "keep in memory",
        path: "what is known of each record".into(),
        source: std::io::ErrorKind::OutOfMemory.into(),
    };
    slots.try_reserve_exact(number).map_err(no_memory)?;
    slots.resize_with(number, free);
    Ok(slots)
}
