//! One sorted run of the index, read where an answer needs it.

use std::collections::HashSet;

use super::super::Place;
use super::tree_hash;
use crate::error::{Error, Problem, Result};
use crate::format::index_run::{BUCKET_BYTES, ENTRY_BYTES, PREFIX, RunEntry, RunHeader, Tag};
use crate::format::segment::ALIGNMENT;
use crate::format::{HASH_BYTES, Id};
use crate::media::{Media, Object};
use crate::seal::VaultKeys;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, PoisonError, RwLock};

/// Entries read in one piece when a run is streamed.
const STREAM_ENTRIES: u64 = 4096;

/// A bucket of more entries than this is not what random tags make: the run is damaged, and says nothing.
const MOST_IN_BUCKET: u32 = 4096;

/// An open run.
pub(super) struct Run {
    object: Arc<dyn Object>,
    header: RunHeader,
    /// The segments that it covers; `None` for one that is gone.
    segments: RwLock<Vec<Option<Id>>>,
    /// Whether the whole run is known to be what a key holder wrote.
    authentic: AtomicBool,
    /// Whether look-ups go through a map.
    mapped: AtomicBool,
    /// Whether it ends with this process instead of lying in the vault.
    temporary: bool,
}

impl Run {
    /// Opens a run and checks its header. One whose tags are under keys of another epoch is of no use, where that is known.
    pub(super) fn open(media: &dyn Media, vault: &Id, epoch: Option<u32>, name: &str) -> Result<Self> {
        let object = media.open(name)?;
        let mut prefix = [0; PREFIX];
        object.read_exact_at(0, &mut prefix)?;
        let header = RunHeader::decode(&prefix, object.length()).map_err(|error| error.at(name, 0))?;
        if header.vault != *vault {
            return Err(Error::damaged(name, 16, Problem::Misplaced("vault id")));
        }
        if epoch.is_some_and(|epoch| header.epoch != epoch) {
            return Err(Error::damaged(name, 44, Problem::Epoch(header.epoch)));
        }
        let mut listed = vec![0; header.listed_bytes() + HASH_BYTES];
        object.read_exact_at(0, &mut listed)?;
        let segments = header.decode_segments(&listed).map_err(|error| error.at(name, 0))?;
        let segments = RwLock::new(segments.into_iter().map(Some).collect());
        Ok(Self {
            object,
            header,
            segments,
            authentic: AtomicBool::default(),
            mapped: AtomicBool::default(),
            temporary: false,
        })
    }

    /// From now on look-ups go through a map, or they don't.
    pub(super) fn look_up_mapped(&self, mapped: bool) {
        self.mapped.store(mapped, Ordering::Relaxed);
    }

    /// The same run, known to lie in no vault.
    pub(super) fn temporary(self) -> Self {
        Self { temporary: true, ..self }
    }

    /// Whether it ends with this process instead of lying in the vault.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Whether the run is, to the last byte, what a key holder wrote. Reads it once.
    pub(super) fn is_authentic(&self, keys: &VaultKeys) -> bool {
        if !self.authentic.load(Ordering::Acquire) && self.check(keys).unwrap_or(false) {
            self.authentic.store(true, Ordering::Release);
        }
        self.authentic.load(Ordering::Acquire)
    }

    fn check(&self, keys: &VaultKeys) -> Result<bool> {
        let (front, end) = (self.header.entries_offset(), self.header.authenticator_offset());
        let object = self.object.as_ref();
        let (front, entries) = (tree_hash::of(object, 0..front)?, tree_hash::of(object, front..end)?);
        let mut stored = [0; HASH_BYTES];
        object.read_exact_at(end, &mut stored)?;
        Ok(blake3::Hash::from(keys.authenticate_run(&front, &entries)) == blake3::Hash::from(stored))
    }

    pub(super) fn name(&self) -> &str {
        self.object.name()
    }

    pub(super) fn entries(&self) -> u64 {
        self.header.entries
    }

    pub(super) fn bytes(&self) -> u64 {
        self.object.length()
    }

    /// The segments that it covers and that are still there.
    pub(super) fn segments(&self) -> impl Iterator<Item = Id> + use<> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone().into_iter().flatten()
    }

    /// Entries of segments that are gone count no more.
    pub(super) fn forget(&self, gone: &HashSet<Id>) {
        let gone = |segment: &Option<Id>| segment.is_some_and(|id| gone.contains(&id));
        if self.segments.read().unwrap_or_else(PoisonError::into_inner).iter().any(gone) {
            for segment in self.segments.write().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                if gone(segment) {
                    *segment = None;
                }
            }
        }
    }

    /// The place that a tag has in this run, of several the first that `fits`. What can't be read or makes no sense is not
    /// there.
    pub(super) fn lookup(&self, tag: &Tag, fits: &dyn Fn(&Place) -> bool) -> Option<Place> {
        let mut bounds = [0; 2 * BUCKET_BYTES];
        let offset = self.header.buckets_offset() + self.header.bucket(tag) * BUCKET_BYTES as u64;
        self.object.read_exact_at(offset, &mut bounds).ok()?;
        let [first, end] =
            [0, 4].map(|at| u32::from_le_bytes([bounds[at], bounds[at + 1], bounds[at + 2], bounds[at + 3]]));
        let count = end.checked_sub(first).filter(|count| *count <= MOST_IN_BUCKET)?;
        if u64::from(end) > self.header.entries {
            return None;
        }
        let mut buffer = [0; 128 * ENTRY_BYTES];
        let mut at = u64::from(first);
        let mut left = count as usize;
        while left > 0 {
            let piece = &mut buffer[..left.min(128) * ENTRY_BYTES];
            let offset = self.header.entries_offset() + at * ENTRY_BYTES as u64;
            // The buckets are few; through the entries, look-ups come around to every page.
            if self.mapped.load(Ordering::Relaxed) {
                self.object.read_exact_at(offset, piece).ok()?;
            } else {
                self.object.read_past_map(offset, piece).ok()?;
            }
            let (entries, _) = piece.as_chunks::<ENTRY_BYTES>();
            // A record that was moved is there twice: the place that is gone must not hide the other.
            let mut places = entries.iter().filter(|entry| entry[..16] == *tag);
            if let Some(place) =
                places.find_map(|entry| self.place(&RunEntry::decode(entry)).filter(|place| fits(place)))
            {
                return Some(place);
            }
            at += entries.len() as u64;
            left -= entries.len();
        }
        None
    }

    fn place(&self, entry: &RunEntry) -> Option<Place> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let segment = (*segments.get(entry.segment as usize)?)?;
        Some(Place {
            segment,
            offset: u64::from(entry.offset_16) * ALIGNMENT,
            stored_bytes: entry.stored_bytes,
            plain_bytes: entry.plain_bytes,
        })
    }

    /// All entries in order of tag, those of gone segments left out.
    pub(super) fn stream(&self) -> Stream<'_> {
        Stream { run: self, next: 0, piece: Vec::new().into_iter() }
    }
}

/// The entries of a run, read piece by piece.
pub(super) struct Stream<'a> {
    run: &'a Run,
    next: u64,
    piece: std::vec::IntoIter<RunEntry>,
}

impl Iterator for Stream<'_> {
    type Item = Result<(Tag, Place)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.piece.next() {
                match self.run.place(&entry) {
                    Some(place) => return Some(Ok((entry.tag, place))),
                    None => continue,
                }
            }
            let count = (self.run.header.entries - self.next).min(STREAM_ENTRIES);
            if count == 0 {
                return None;
            }
            let mut bytes = vec![0; usize::try_from(count).ok()? * ENTRY_BYTES];
            let offset = self.run.header.entries_offset() + self.next * ENTRY_BYTES as u64;
            if let Err(error) = self.run.object.read_past_map(offset, &mut bytes) {
                self.next = self.run.header.entries;
                return Some(Err(error));
            }
            self.next += count;
            let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
            self.piece = entries.iter().map(RunEntry::decode).collect::<Vec<_>>().into_iter();
        }
    }
}
