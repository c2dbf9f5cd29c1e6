//! The records that points need, and whether a segment was found to hold them: a set that all cores fill at once.
//!
//! Eight bytes a record, a quarter of the slots free. Of a record's tag 61 bits are known: two records that share those are both
//! kept, an error that costs space. Nothing else may be decided by it.

use crate::error::Result;
use crate::format::index_run::Tag;
use crate::store::Need;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{PoisonError, RwLock};
use crate::vault::flat::{self, Spread};

/// A slot that is taken.
const TAKEN: u64 = 1;
/// A segment holds the record.
const HELD: u64 = 2;
/// Another has it too.
const AGAIN: u64 = 4;
const TAG_BITS: u64 = !(TAKEN | HELD | AGAIN);

/// What a segment's record is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nobody needs it.
    None,
    /// Somebody needs it, and no segment before had it.
    First,
    /// Somebody needs it, and a segment before had it too.
    Again,
}

/// The set.
pub(super) struct Needed {
    table: RwLock<Table>,
}

struct Table {
    slots: Vec<AtomicU64>,
    records: AtomicUsize,
    spread: Spread,
}

impl Needed {
    /// A set for about so many records.
    pub fn new(records: u64) -> Result<Self> {
        let slots = free(flat::slots_for(records))?;
        Ok(Self { table: RwLock::new(Table { slots, records: AtomicUsize::new(0), spread: Spread::new()? }) })
    }

    /// Adds records.
    pub fn add(&self, tags: &[Tag]) -> Result<()> {
        let mut rest = tags;
        while !rest.is_empty() {
            {
                let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
                table.touch(rest);
                while let Some((tag, behind)) = rest.split_first()
                    && !flat::is_full(table.records.load(Ordering::Relaxed), table.slots.len())
                {
                    table.add(key(tag) | TAKEN);
                    rest = behind;
                }
            }
            if !rest.is_empty() {
                self.table.write().unwrap_or_else(PoisonError::into_inner).grow()?;
            }
        }
        Ok(())
    }

    /// What is needed of a record that a segment has.
    pub fn need(&self, tag: &Tag) -> Need {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        match table.slots[table.find(key(tag))].load(Ordering::Relaxed) {
            0 => Need::Nothing,
            found if found & AGAIN == 0 => Need::Here,
            _ => Need::Somewhere,
        }
    }

    /// Notes that a segment has these records, and tells what each is good for. Each segment may come once, one after the other.
    pub fn hold(&self, tags: &[Tag]) -> Vec<Use> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.touch(tags);
        let hold = |tag: &Tag| {
            let slot = &table.slots[table.find(key(tag))];
            match slot.load(Ordering::Relaxed) {
                0 => Use::None,
                _ if slot.fetch_or(HELD, Ordering::Relaxed) & HELD == 0 => Use::First,
                _ => {
                    slot.fetch_or(AGAIN, Ordering::Relaxed);
                    Use::Again
                }
            }
        };
        tags.iter().map(hold).collect()
    }

    /// How many records there are.
    pub fn len(&self) -> u64 {
        self.table.read().unwrap_or_else(PoisonError::into_inner).records.load(Ordering::Relaxed) as u64
    }
}

impl Table {
    /// Has the memory where these belong come near all at once. Else one would be waited for after the other: an exchange lets
    /// no later access begin.
    fn touch(&self, tags: &[Tag]) {
        let look = |tag| self.slots[self.spread.place(key(tag), self.slots.len())].load(Ordering::Relaxed);
        std::hint::black_box(tags.iter().map(look).fold(0, |all, found| all | found));
    }

    fn add(&self, value: u64) {
        loop {
            let slot = &self.slots[self.find(value & TAG_BITS)];
            match slot.compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.records.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(found) if (found ^ value) & TAG_BITS == 0 => return,
                // Another record took the place meanwhile.
                Err(_) => {}
            }
        }
    }

    /// The slot that has a record, or would.
    fn find(&self, key: u64) -> usize {
        let mut at = self.spread.place(key, self.slots.len());
        loop {
            let found = self.slots[at].load(Ordering::Relaxed);
            if found == 0 || found & TAG_BITS == key {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn grow(&mut self) -> Result<()> {
        // Another thread may have done it.
        if flat::is_full(*self.records.get_mut(), self.slots.len()) {
            let slots = free(self.slots.len() / 2 * 3)?;
            let larger = Self { slots, records: AtomicUsize::new(0), spread: self.spread };
            for slot in &self.slots {
                let value = slot.load(Ordering::Relaxed);
                if value != 0 {
                    larger.add(value);
                }
            }
            *self = larger;
        }
        Ok(())
    }
}

fn key(tag: &Tag) -> u64 {
    let (half, _) = tag.split_first_chunk::<8>().expect("a tag has 16 bytes");
    u64::from_le_bytes(*half) & TAG_BITS
}

fn free(number: usize) -> Result<Vec<AtomicU64>> {
    flat::slots(number, || AtomicU64::new(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64) -> Tag {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&(number << 3).to_le_bytes());
        tag
    }

    // Promise 1: what a point needs is never taken for unneeded, also while the table grows under many threads.
    #[test]
    fn what_many_threads_add_is_there_once() {
        let needed = Needed::new(0).expect("a set");
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let needed = &needed;
                // Each number is added by two of them, neighbours in any order.
                let numbers = (0..40_000).filter(move |number| number % 4 == thread || (number + 1) % 4 == thread);
                scope.spawn(move || needed.add(&numbers.map(tag).collect::<Vec<_>>()).expect("added"));
            }
        });
        assert_eq!(needed.len(), 40_000);
        assert!((0..40_000).all(|number| needed.need(&tag(number)) == Need::Here));
        assert!((40_000..80_000).all(|number| needed.need(&tag(number)) == Need::Nothing));
    }

    #[test]
    fn the_first_segment_holds_a_record_and_others_have_it_again() {
        let needed = Needed::new(10).expect("a set");
        needed.add(&[0, 1, 0].map(tag)).expect("added");
        assert_eq!(needed.hold(&[0, 9].map(tag)), [Use::First, Use::None]);
        // What comes later changes nothing of that.
        needed.add(&(0..5000).map(tag).collect::<Vec<_>>()).expect("added");
        assert_eq!(needed.hold(&[0, 1, 1].map(tag)), [Use::Again, Use::First, Use::Again]);
        let need = [0, 1, 2, 5000].map(|number| needed.need(&tag(number)));
        assert_eq!(need, [Need::Somewhere, Need::Somewhere, Need::Here, Need::Nothing]);
        assert_eq!(needed.len(), 5000);
    }
}
