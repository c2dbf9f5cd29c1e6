//! From records to committed checkpoints ("XFS Filesystem Structure", "Log Operations").
//!
//! A record's data is a list of operations, each a header and a piece of data of one checkpoint; pieces may be split
//! between records, and checkpoints mixed. The pieces of a checkpoint are its header and then items: a piece that
//! says what the item is and how many pieces it has, and those pieces. A checkpoint without its commit never happened.

use std::collections::HashMap;

use crate::guest::bytes::{be32_at, narrow, slice_at, u8_at};

use super::ring::Record;

const HEADER_BYTES: usize = 12;
const CHECKPOINT_HEADER_BYTES: usize = 16;
const CHECKPOINT_MAGIC: u32 = 0x5452_414E;
const CLIENTS: [u8; 2] = [0x69, 0xAA];
/// A kernel has a few checkpoints under way at once, an old one a few hundred transactions.
const OPEN_MAX: usize = 4096;
/// An item has no more pieces.
const PIECES_MAX: u16 = 257;

mod flags {
    pub const START: u8 = 0x01;
    pub const COMMIT: u8 = 0x02;
    pub const WAS_CONTINUED: u8 = 0x08;
    pub const UNMOUNT: u8 = 0x20;
}

/// Numbers in items are in the order of bytes of the machine that wrote them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    pub is_big_endian: bool,
}

impl Host {
    pub fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = slice_at(bytes, at, 2)?.first_chunk().copied()?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = slice_at(bytes, at, 4)?.first_chunk().copied()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = slice_at(bytes, at, 8)?.first_chunk().copied()?;
        Some(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }
}

/// A checkpoint, whole once it is handed out. Its pieces lie behind each other: what it takes in memory is what it took
/// in the log, and a few bytes a piece.
pub(super) struct Checkpoint {
    /// The record in which it began.
    pub lsn: u64,
    pub host: Host,
    header: Vec<u8>,
    bytes: Vec<u8>,
    /// Where each piece ends.
    ends: Vec<u32>,
    items: Vec<Place>,
}

/// Which pieces an item has.
struct Place {
    first: usize,
    wanted: usize,
}

/// One change, in pieces.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    checkpoint: &'a Checkpoint,
    first: usize,
    count: usize,
}

impl<'a> Item<'a> {
    pub fn piece(&self, index: usize) -> Option<&'a [u8]> {
        if index < self.count { self.checkpoint.piece(self.first + index) } else { None }
    }

    /// The pieces from one on.
    pub fn pieces_from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        let item = *self;
        (index..item.count).map_while(move |index| item.piece(index))
    }
}

impl Checkpoint {
    fn new(lsn: u64, host: Host) -> Self {
        Self { lsn, host, header: Vec::new(), bytes: Vec::new(), ends: Vec::new(), items: Vec::new() }
    }

    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let item = |place: &Place| Item { checkpoint: self, first: place.first, count: self.count(place) };
        self.items.iter().map(item)
    }

    /// How many pieces of an item there are; fewer than it says that it has, where the checkpoint ends before.
    fn count(&self, place: &Place) -> usize {
        place.wanted.min(self.ends.len().saturating_sub(place.first))
    }

    fn piece(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(narrow(start.into())..narrow((*self.ends.get(index)?).into()))
    }

    /// Adds a new piece; `None` where it can't be one.
    fn add(&mut self, data: &[u8]) -> Option<()> {
        if data.is_empty() {
            return Some(());
        }
        if self.header.is_empty() {
            let is_header = data.len() <= CHECKPOINT_HEADER_BYTES && self.host.u32(data, 0)? == CHECKPOINT_MAGIC;
            self.header.extend_from_slice(data);
            return is_header.then_some(());
        }
        if self.items.last().is_none_or(|last| self.count(last) == last.wanted) {
            let wanted = self.host.u16(data, 2).filter(|count| (1..=PIECES_MAX).contains(count))?;
            self.items.push(Place { first: self.ends.len(), wanted: wanted.into() });
        }
        self.ends.push(0);
        self.add_more(data)
    }

    /// Adds to the last piece.
    fn add_more(&mut self, data: &[u8]) -> Option<()> {
        if self.items.is_empty() {
            self.header.extend_from_slice(data);
            return (self.header.len() <= CHECKPOINT_HEADER_BYTES).then_some(());
        }
        self.bytes.extend_from_slice(data);
        *self.ends.last_mut()? = u32::try_from(self.bytes.len()).ok()?;
        Some(())
    }
}

/// The checkpoints that have begun and not ended, [`OPEN_MAX`] at most. What they hold is a copy of a part of the log.
#[derive(Default)]
pub(super) struct Assembly {
    open: HashMap<u32, Checkpoint>,
}

impl Assembly {
    /// Takes a record's data and answers the checkpoints that it completes, in order; `None` where an operation
    /// can't be.
    pub fn feed(&mut self, record: &Record, data: &[u8]) -> Option<Vec<Checkpoint>> {
        let mut complete = Vec::new();
        let mut rest = data;
        for _ in 0..record.operations {
            let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
            let (data, behind) = behind.split_at_checked(narrow(be32_at(header, 4)?.into()))?;
            rest = behind;
            if !CLIENTS.contains(&u8_at(header, 8)?) {
                return None;
            }
            complete.extend(self.operation(record, be32_at(header, 0)?, u8_at(header, 9)?, data)?);
        }
        Some(complete)
    }

    fn operation(&mut self, record: &Record, id: u32, flags: u8, data: &[u8]) -> Option<Option<Checkpoint>> {
        let Some(open) = self.open.get_mut(&id) else {
            if flags & flags::START != 0 {
                if self.open.len() == OPEN_MAX {
                    return None;
                }
                let host = Host { is_big_endian: record.is_big_endian };
                self.open.insert(id, Checkpoint::new(record.lsn, host));
            }
            // Else it began before the tail: all that it changed is in its place.
            return Some(None);
        };
        if flags & flags::UNMOUNT != 0 {
            self.open.remove(&id);
            return Some(None);
        }
        if flags & flags::COMMIT != 0 {
            return Some(self.open.remove(&id));
        }
        if flags & flags::START != 0 {
            return None;
        }
        if flags & flags::WAS_CONTINUED != 0 {
            open.add_more(data)?
        } else {
            open.add(data)?
        }
        Some(None)
    }
}
