//! One small note for each record: what it takes, who needs it, and how many lead to it from the point at hand.
//!
//! A record that is in several segments takes what it takes in the first one that was added; what the others have of it nobody
//! needs.

use crate::error::{Error, Result};
use crate::format::index_run::Tag;
use crate::format::segment::ALIGNMENT;
use crate::vault::flat::{self, Spread};

/// Who needs a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// No point.
    Nobody,
    /// One point alone, by its place in its group.
    Point {
        /// The group.
        group: usize,
        /// The point.
        point: usize,
    },
    /// Several points of one group.
    Machine {
        /// The group.
        group: usize,
    },
    /// Points of several groups.
    Several,
}

/// What became of a record that one fewer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// That was the last, and this is what the record takes.
    Last {
        /// Bytes of it.
        bytes: u64,
    },
    /// Others still lead to it.
    NotLast,
}

/// A record. Numbers of 32 bits each: with one of 64, four bytes would be lost to its alignment.
#[derive(Clone, Copy)]
struct Slot {
    tag: [u32; 2],
    /// What it takes, in units of 16 bytes.
    units: u32,
    /// Who needs it, see [`Table::owner`]; zero where there is no record.
    owner: u32,
    /// How many lead to it from the point at hand.
    count: u32,
}

const _: () = assert!(size_of::<Slot>() == 20);

const FREE: Slot = Slot { tag: [0; 2], units: 0, owner: 0, count: 0 };
const NOBODY: u32 = 1;
/// Owners from here on: points, then groups, then groups once more for what several need, that one last.
const FIRST: u32 = 2;

/// The records of a vault, while its points are walked group by group.
pub(super) struct Table {
    slots: Vec<Slot>,
    records: usize,
    spread: Spread,
    /// What records take in segments beside the first one that has them.
    again_bytes: u64,
    /// The owner that is the first point of each group, and behind them that of the first group.
    first: Vec<u32>,
    group: u32,
    /// The owner that is the point at hand.
    point: u32,
    /// What the records of the group at hand take.
    bytes: u64,
}

impl Table {
    /// A table for about so many records, and the numbers of points of all groups.
    pub fn new(records: u64, points: &[usize]) -> Result<Self> {
        let too_many = |_| {
            let (value, rule) = ("more than four billion points".to_owned(), "so many can't be told apart");
            Error::Invalid { what: "vault", value, rule }
        };
        let mut first = Vec::with_capacity(points.len() + 1);
        let mut next = u64::from(FIRST);
        for points in points {
            first.push(u32::try_from(next).map_err(too_many)?);
            next += *points as u64;
        }
        first.push(u32::try_from(next).map_err(too_many)?);
        u32::try_from(next + 2 * points.len() as u64).map_err(too_many)?;
        let (slots, spread) = (free(flat::slots_for(records))?, Spread::new()?);
        Ok(Self { slots, records: 0, spread, again_bytes: 0, first, group: 0, point: 0, bytes: 0 })
    }

    /// Adds what a record takes in a segment.
    pub fn add(&mut self, tag: &Tag, bytes: u64) -> Result<()> {
        let slot = self.slot(tag)?;
        if slot.units == 0 {
            slot.units = u32::try_from(bytes / ALIGNMENT).unwrap_or(u32::MAX);
        } else {
            self.again_bytes = self.again_bytes.saturating_add(bytes);
        }
        Ok(())
    }

    /// What records take beside what they take once.
    pub fn again_bytes(&self) -> u64 {
        self.again_bytes
    }

    /// Begins with the points of a group.
    pub fn begin(&mut self, group: usize) {
        self.group = u32::try_from(group).expect("groups were counted");
        // Before its first point.
        self.point = self.first[group] - 1;
        self.bytes = 0;
    }

    /// Goes on to the next point of the group, or behind the last.
    pub fn next_point(&mut self) {
        self.point += 1;
    }

    /// What the records of the group at hand take, each once.
    pub fn group_bytes(&self) -> u64 {
        self.bytes
    }

    /// One more leads to a record from the point at hand. What it takes, where it is the first.
    pub fn comes(&mut self, tag: &Tag) -> Result<Option<u64>> {
        let (point, alone, several) = (self.point, self.machine(), self.several());
        let points = self.points();
        let slot = self.slot(tag)?;
        slot.count = slot.count.saturating_add(1);
        if slot.count > 1 {
            return Ok(None);
        }
        let bytes = u64::from(slot.units) * ALIGNMENT;
        let owner = slot.owner;
        let is_known = points.contains(&owner) || owner == alone || owner == several;
        slot.owner = match owner {
            NOBODY => point,
            _ if owner == point || owner == alone || owner == several => owner,
            _ if points.contains(&owner) => alone,
            _ => several,
        };
        if !is_known {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        Ok(Some(bytes))
    }

    /// One fewer leads to a record, from the point at hand and not from the one before it.
    pub fn goes(&mut self, tag: &Tag) -> Result<Went> {
        let (before, alone) = (self.point - 1, self.machine());
        let points = self.points();
        let slot = self.slot(tag)?;
        // What came with damage in its way and goes without may never have come.
        if slot.count != 1 {
            slot.count = slot.count.saturating_sub(1);
            return Ok(Went::NotLast);
        }
        slot.count = 0;
        // It came with a point and stayed until now.
        if points.contains(&slot.owner) && slot.owner != before {
            slot.owner = alone;
        }
        Ok(Went::Last { bytes: u64::from(slot.units) * ALIGNMENT })
    }

    /// Tells of each record who needs it and what it takes.
    pub fn each(&self, tell: &mut dyn FnMut(Owner, u64)) {
        for slot in self.slots.iter().filter(|slot| slot.owner != FREE.owner) {
            tell(self.owner(slot.owner), u64::from(slot.units) * ALIGNMENT);
        }
    }

    fn owner(&self, owner: u32) -> Owner {
        let groups = self.first.len() - 1;
        let behind_points = self.first[groups];
        if owner == NOBODY {
            return Owner::Nobody;
        }
        if owner >= behind_points {
            let group = (owner - behind_points) as usize;
            return if group < groups { Owner::Machine { group } } else { Owner::Several };
        }
        // Groups without points stand before the one that begins at the same place.
        let group = self.first.partition_point(|first| *first <= owner) - 1;
        Owner::Point { group, point: (owner - self.first[group]) as usize }
    }

    /// The owners that are the points of the group at hand.
    fn points(&self) -> std::ops::Range<u32> {
        self.first[self.group as usize]..self.first[self.group as usize + 1]
    }

    /// The owner that is the group at hand.
    fn machine(&self) -> u32 {
        self.first[self.first.len() - 1] + self.group
    }

    /// The owner that is several groups, the one at hand last.
    fn several(&self) -> u32 {
        self.machine() + u32::try_from(self.first.len() - 1).expect("groups were counted")
    }

    /// The place of a record, which becomes one that nobody needs where it was not known.
    fn slot(&mut self, tag: &Tag) -> Result<&mut Slot> {
        if flat::is_full(self.records, self.slots.len()) {
            self.grow()?;
        }
        let tag = [0, 4].map(|at| u32::from_le_bytes([tag[at], tag[at + 1], tag[at + 2], tag[at + 3]]));
        let at = self.find(tag);
        let slot = &mut self.slots[at];
        if slot.owner == FREE.owner {
            (slot.tag, slot.owner) = (tag, NOBODY);
            self.records += 1;
        }
        Ok(slot)
    }

    /// Where a record is, or would be.
    fn find(&self, tag: [u32; 2]) -> usize {
        let mut at = self.spread.place(u64::from(tag[0]) | u64::from(tag[1]) << 32, self.slots.len());
        loop {
            let slot = &self.slots[at];
            if slot.owner == FREE.owner || slot.tag == tag {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn grow(&mut self) -> Result<()> {
        let larger = free(self.slots.len() / 2 * 3)?;
        let smaller = std::mem::replace(&mut self.slots, larger);
        for slot in smaller.into_iter().filter(|slot| slot.owner != FREE.owner) {
            let at = self.find(slot.tag);
            self.slots[at] = slot;
        }
        Ok(())
    }
}

fn free(number: usize) -> Result<Vec<Slot>> {
    flat::slots(number, || FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64) -> Tag {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&number.to_le_bytes());
        tag
    }

    // Also where somebody chose the tags: they stand one beside the other in any order of theirs.
    #[test]
    fn a_table_grows_and_finds_everything() {
        let mut table = Table::new(0, &[1]).expect("a table");
        for number in 0..50_000 {
            table.add(&tag(number), 16 * (number % 7)).expect("added");
        }
        table.add(&tag(6), 32).expect("added again");
        assert_eq!(table.again_bytes(), 32);
        table.begin(0);
        table.next_point();
        for number in 0..50_000 {
            assert_eq!(table.comes(&tag(number)).expect("it comes"), Some(16 * (number % 7)));
            assert_eq!(table.comes(&tag(number)).expect("it comes"), None);
        }
        assert_eq!((table.records, table.slots.len() > 50_000), (50_000, true));
    }

    // Every way in which a record can be needed: by one point, by two in a row, again later, by two machines.
    #[test]
    fn who_needs_a_record_is_known_whenever_it_comes_and_goes() {
        let needed = |by: [&[usize]; 3]| {
            let mut table = Table::new(1, &[3, 3, 3]).expect("a table");
            let record = tag(9);
            table.add(&record, 32).expect("added");
            for (group, points) in by.iter().enumerate() {
                table.begin(group);
                for point in 0..3 {
                    table.next_point();
                    if points.contains(&point) {
                        table.comes(&record).expect("it comes");
                    }
                    if point > 0 && points.contains(&(point - 1)) {
                        table.goes(&record).expect("it goes");
                    }
                }
                table.next_point();
                if points.contains(&2) {
                    assert_eq!(table.goes(&record).expect("it goes"), Went::Last { bytes: 32 });
                }
                assert_eq!(table.group_bytes(), if points.is_empty() { 0 } else { 32 });
            }
            let mut owners = Vec::new();
            table.each(&mut |owner, _| owners.push(owner));
            owners[0]
        };
        for group in 0..3 {
            for chosen in 0..8_usize {
                let points: Vec<usize> = (0..3).filter(|point| chosen >> point & 1 == 1).collect();
                let mut by: [&[usize]; 3] = [&[]; 3];
                by[group] = &points;
                let expected = match points[..] {
                    [] => Owner::Nobody,
                    [point] => Owner::Point { group, point },
                    _ => Owner::Machine { group },
                };
                assert_eq!(needed(by), expected, "{by:?}");
                by[(group + 1) % 3] = &[1];
                assert_eq!(needed(by) == Owner::Several, !points.is_empty(), "{by:?}");
            }
        }
    }
}
