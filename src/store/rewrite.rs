//! Moving records into new segments, and removing the old ones once all that they held is durable elsewhere.
//!
//! Records move as they are encoded: opened, looked at, sealed again under the newest keys. Nothing is compressed anew.
//!
//! Invariants:
//! - a segment is removed only after each of its records is in a published segment that stays, and read back there or
//!   compared as it was sealed;
//! - a segment with a record that is not whole stays, and is told;
//! - whoever is killed at any moment loses time: what was moved and not removed is found again, and removed then.

use std::collections::{HashMap, HashSet};

use super::whole::{Buffers, Opened};
use super::writer::Writer;
use super::{Place, Store};
use crate::error::{Error, Problem, Result, worse};
use crate::format::segment::TableEntry;
use crate::format::{Hash, Id, segment};
use crate::progress::Progress;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, PoisonError, thread};

/// Bytes of segments that are moved before any of them is removed: so much more space is needed, and so much is done
/// again by whoever comes after one who was killed.
const BATCH_BYTES: u64 = 1 << 30;

/// Records of them, at most: what was moved is looked for where it was moved to, and so much memory is needed.
const BATCH_RECORDS: u64 = 1 << 20;

/// What is needed of a record that a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// It is needed, and no other segment is known to have it.
    Here,
    /// It is needed, and another segment may have it.
    Somewhere,
}

/// Segments that were copied out of, and those that have the copies.
#[derive(Debug, Default)]
pub struct Copied {
    old: Vec<(Id, u64)>,
    new: Vec<Id>,
}

/// What was moved.
#[derive(Debug, Default)]
pub struct Moved {
    /// Segments that are gone now.
    pub segments: u64,
    /// Records that were sealed again.
    pub records: u64,
    /// Bytes of the segments that are gone.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Why segments stay that should go.
    pub left: Vec<Error>,
    /// New segments of a batch that failed: copies of what is in old ones still.
    pub(crate) begun: Vec<Id>,
}

/// What is needed of a record.
type Needs<'a> = &'a dyn Fn(&TableEntry) -> Need;

impl Store {
    /// Cuts segments into batches that are moved one after the other.
    pub fn batches(&self, segments: &[Id]) -> Vec<Vec<(Id, u64)>> {
        let mut batches: Vec<Vec<(Id, u64)>> = Vec::new();
        let (mut bytes, mut records) = (u64::MAX, 0);
        for id in segments {
            // One that can't be opened is told when it is moved.
            let (length, count) = self.segments.size(id).unwrap_or_default();
            bytes = bytes.saturating_add(length);
            records += u64::from(count);
            if bytes > BATCH_BYTES || records > BATCH_RECORDS {
                batches.push(Vec::new());
                (bytes, records) = (length, u64::from(count));
            }
            batches.last_mut().expect("one was just begun").push((*id, length));
        }
        batches
    }

    /// Copies those records of a batch that are needed into new segments, except for those that are in another than
    /// `leaving` already. The caller shares the lock `writers`.
    pub fn copy_out(
        self: &Arc<Self>,
        batch: &[(Id, u64)],
        leaving: &HashSet<Id>,
        need_of: &(dyn Fn(&TableEntry) -> Need + Sync),
        progress: &Progress,
        moved: &mut Moved,
    ) -> Result<Copied> {
        let mut writer = Writer::start(Arc::clone(self), true);
        let (next, records) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (copied, left) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let work = || {
            let mut buffers = Buffers::default();
            while let Some((id, length)) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
                progress.check()?;
                match self.copy_segment(id, (leaving, need_of), &writer, &mut buffers, progress) {
                    Ok(count) => {
                        records.fetch_add(count, Ordering::Relaxed);
                        copied.lock().unwrap_or_else(PoisonError::into_inner).push((*id, *length));
                    }
                    Err(Fault::Source(error)) => left.lock().unwrap_or_else(PoisonError::into_inner).push(error),
                    Err(Fault::Target(error)) => {
                        progress.fail();
                        return Err(error);
                    }
                }
                progress.add_done(*length);
            }
            Ok(())
        };
        let ended = thread::scope(|scope| {
            let workers: Vec<_> = (0..crate::cores().min(batch.len())).map(|_| scope.spawn(work)).collect();
            let mut ended = Ok(());
            for worker in workers {
                ended = worse(ended, worker.join().unwrap_or(Err(Error::Poisoned)));
            }
            ended
        });
        match ended.and_then(|()| writer.finish()) {
            Ok(bytes) => moved.written_bytes += bytes,
            Err(error) => {
                // What a thread reports may be the echo of a failure that the writer saw first.
                let error = writer.failure().filter(|_| matches!(error, Error::Poisoned)).unwrap_or(error);
                moved.begun = writer.abandon();
                return Err(error);
            }
        }
        moved.records += records.into_inner();
        moved.left.extend(left.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(Copied { old: copied.into_inner().unwrap_or_else(PoisonError::into_inner), new: writer.published() })
    }

    /// Removes segments that were copied out of, except where a record that is needed is nowhere else after all. The caller
    /// holds the lock `writers` alone, or condemned them.
    pub fn remove_copied(
        &self,
        copied: &Copied,
        leaving: &HashSet<Id>,
        need_of: Needs<'_>,
        moved: &mut Moved,
    ) -> Result<()> {
        // What somebody else removed meanwhile must not count as a place.
        self.refresh()?;
        let mut new = HashSet::new();
        for id in &copied.new {
            let entries = self.segments.table(id).unwrap_or_default();
            new.extend(entries.iter().map(|entry| self.keys.index_tag(&entry.id)));
        }
        let mut tables = HashMap::new();
        let mut gone = Vec::new();
        for (id, length) in &copied.old {
            let entries = match self.segments.entries(id) {
                Ok(entries) => entries,
                Err(error) if error.is_absent() => continue,
                Err(error) => {
                    moved.left.push(error);
                    continue;
                }
            };
            let mut is_elsewhere = |entry: &TableEntry| {
                new.contains(&self.keys.index_tag(&entry.id)) || {
                    let place = self.place_besides(&entry.id, leaving);
                    place.is_some_and(|place| self.is_in_table(&entry.id, &place, &mut tables))
                }
            };
            match entries.iter().find(|entry| need_of(entry) != Need::Nothing && !is_elsewhere(entry)) {
                None => gone.push((*id, *length)),
                Some(entry) => {
                    let (what, id) = (entry.kind.name(), crate::format::hex(&entry.id[..4]));
                    moved.left.push(Error::damaged(segment::FOLDER, 0, Problem::Unreachable { what, id }));
                }
            }
        }
        self.remove_segments(&gone.iter().map(|(id, _)| *id).collect::<Vec<_>>())?;
        moved.segments += gone.len() as u64;
        moved.read_bytes += gone.iter().map(|(_, length)| length).sum::<u64>();
        Ok(())
    }

    /// Gives back the new segments of a batch that failed, where all old ones are still there. The caller holds the lock
    /// `writers` alone.
    pub fn give_back_copies(&self, batch: &[(Id, u64)], moved: &mut Moved) -> Result<()> {
        for (id, _) in batch {
            // Somebody else copied it out and removed it: he may have relied on these copies.
            if !self.media.exists(&segment::object(id))? {
                return Ok(());
            }
        }
        self.remove_segments(&std::mem::take(&mut moved.begun))
    }

    fn place_besides(&self, id: &Hash, leaving: &HashSet<Id>) -> Option<Place> {
        self.index.lookup_besides(&self.keys.index_tag(id), leaving)
    }

    /// Whether a segment's own table has a record where the index has it: whoever may write the index is not believed alone.
    fn is_in_table(&self, id: &Hash, place: &Place, tables: &mut HashMap<Id, HashSet<(u64, Hash)>>) -> bool {
        let table = tables.entry(place.segment).or_insert_with(|| {
            let entries = self.segments.table(&place.segment).unwrap_or_default();
            entries.iter().map(|entry| (entry.offset, entry.id)).collect()
        });
        table.contains(&(place.offset, *id))
    }

    fn copy_segment(
        &self,
        id: &Id,
        (leaving, need_of): (&HashSet<Id>, Needs<'_>),
        writer: &Writer,
        buffers: &mut Buffers,
        progress: &Progress,
    ) -> std::result::Result<u64, Fault> {
        let entries = match self.segments.table(id) {
            Ok(entries) => entries,
            // Somebody else was faster.
            Err(error) if error.is_absent() => return Ok(0),
            Err(error) => return Err(Fault::Source(error)),
        };
        let mut copied = 0;
        for entry in &entries {
            progress.check().map_err(Fault::Target)?;
            match need_of(entry) {
                Need::Nothing => continue,
                Need::Somewhere if self.is_whole_besides(entry, leaving, buffers) => continue,
                Need::Here | Need::Somewhere => {}
            }
            let place = place_of(*id, entry);
            let opened = self.open_whole(entry.kind, &entry.id, &place, buffers).map_err(Fault::Source)?;
            let Opened { encoding, encoded, .. } = opened;
            let is_new = writer.copy(entry.kind, &entry.id, encoding, entry.plain_bytes, encoded);
            copied += u64::from(is_new.map_err(Fault::Target)?);
        }
        Ok(copied)
    }

    /// Whether a record is in another segment, as somebody leaves it who is killed. It is read before it is believed: the
    /// copy at hand is about to go.
    fn is_whole_besides(&self, entry: &TableEntry, leaving: &HashSet<Id>, buffers: &mut Buffers) -> bool {
        let place = self.place_besides(&entry.id, leaving);
        place.is_some_and(|place| self.open_whole(entry.kind, &entry.id, &place, buffers).is_ok())
    }
}

/// Why a segment was not copied.
enum Fault {
    /// It is not whole: it stays.
    Source(Error),
    /// Nothing can be written any more, or shall be.
    Target(Error),
}

fn place_of(segment: Id, entry: &TableEntry) -> Place {
    Place { segment, offset: entry.offset, stored_bytes: entry.stored_bytes, plain_bytes: entry.plain_bytes }
}
