//! Published segments: listing them, opening them, reading a record by its place, checking all of one.

mod assemble;
mod check;
mod scrub;
mod walk;

use std::sync::Arc;

use quick_cache::sync::Cache;

pub(crate) use assemble::{Assembled, Origin, assemble, plain_records};
pub use check::SegmentCheck;
pub(crate) use scrub::scrub;
pub(in crate::store) use scrub::scrub_object;

use walk::{Found, walk};

use super::parity::{Corrected, Corrections, Groups};
use super::scratch::{Scratch, room};
use super::{Place, decode};
use crate::error::{Error, Problem, Result};
use crate::format::segment::{
    self, HEADER_BYTES, MOST_SEGMENT_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, TRAILER_BYTES, TableEntry,
    Trailer,
};
use crate::format::{Hash, Id, TAG_BYTES};
use crate::media::{Media, Object};
use crate::meter::{Meter, Stage};
use crate::seal::{SegmentSeal, VaultKeys};

/// Most segments held open at a time: each is a mapping and a file descriptor.
const MOST_OPEN: usize = 512;

/// Most damaged segments that are held open with their parity: each has its checksums in memory, some 70 KiB for 64 MiB.
const MOST_CORRECTED: usize = 64;

/// The segments of a vault.
pub struct Segments {
    media: Arc<dyn Media>,
    keys: Arc<VaultKeys>,
    meter: Arc<Meter>,
    open: Cache<Id, Arc<OpenSegment>>,
    /// Those of which something was damaged, as far as they have parity.
    corrected: Cache<Id, Arc<Corrected>>,
    groups: Groups,
    corrections: Corrections,
}

struct OpenSegment {
    object: Arc<dyn Object>,
    seal: SegmentSeal,
}

/// Why a record could not be read from its place.
#[derive(Debug)]
pub enum RecordFault {
    /// At the place is some other record, or none: the index is wrong.
    Elsewhere(Error),
    /// The record is there and damaged, or can't be read for another reason.
    Here(Error),
}

impl Segments {
    pub(super) fn new(media: Arc<dyn Media>, keys: Arc<VaultKeys>, meter: Arc<Meter>) -> Self {
        let (open, corrected) = (Cache::new(MOST_OPEN), Cache::new(MOST_CORRECTED));
        Self { media, keys, meter, open, corrected, groups: Groups::new(), corrections: Corrections::default() }
    }

    /// The segments there are, in no order.
    pub fn list(&self) -> Result<Vec<Id>> {
        Ok(self.media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect())
    }

    /// Length of a segment in bytes.
    pub fn length(&self, id: &Id) -> Result<u64> {
        Ok(self.open_object(id)?.length())
    }

    /// Length of a segment in bytes, and the number of its records.
    pub fn size(&self, id: &Id) -> Result<(u64, u32)> {
        let object = self.open_object(id)?;
        Ok((object.length(), read_trailer(object.as_ref(), id)?.0.records))
    }

    fn open_object(&self, id: &Id) -> Result<Arc<dyn Object>> {
        open_object(self.media.as_ref(), id)
    }

    fn open(&self, id: &Id) -> Result<Arc<OpenSegment>> {
        self.open.get_or_insert_with(id, || {
            let object = self.open_object(id)?;
            let seal = match self.seal_of(id, object.as_ref()) {
                Err(error) if parity_may_help(&error) => {
                    let corrected = self.corrected(id).ok_or(error)?;
                    let seal = self.seal_of(id, corrected.as_ref())?;
                    self.corrections.tell(id);
                    seal
                }
                seal => seal?,
            };
            Ok(Arc::new(OpenSegment { object, seal }))
        })
    }

    fn seal_of(&self, id: &Id, object: &dyn Object) -> Result<SegmentSeal> {
        let mut header = [0; HEADER_BYTES];
        object.read_exact_at(0, &mut header)?;
        SegmentSeal::open(&self.keys, id, &header)
    }

    /// A segment as its parity has it; none where that is of no use.
    fn corrected(&self, id: &Id) -> Option<Arc<Corrected>> {
        let open = || {
            let (media, vault) = (self.media.as_ref(), Some(self.keys.vault()));
            Corrected::with(media, vault, id, self.groups.clone()).map(Arc::new)
        };
        self.corrected.get_or_insert_with(id, open).ok()
    }

    /// Who wants to know of segments that are read with the help of their parity.
    pub(super) fn corrections(&self) -> &Corrections {
        &self.corrections
    }

    /// Forgets that a segment is open, after it was removed.
    pub(super) fn close(&self, id: &Id) {
        self.open.remove(id);
        self.corrected.remove(id);
        self.groups.forget(id);
    }

    /// The plain bytes of the record `id` of `kind` at `place`. What is damaged there is computed from parity, if that can
    /// be done.
    pub(super) fn read(
        &self,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        plain: &mut Vec<u8>,
    ) -> std::result::Result<(), RecordFault> {
        match self.read_once(kind, id, place, plain) {
            Err(fault) if !matches!(fault.error(), Error::NotPermitted { .. }) && self.is_replaced(place) => {
                self.close(&place.segment);
                self.read_once(kind, id, place, plain)
            }
            read => read,
        }
    }

    /// Whether somebody put a whole file in the place of a damaged one since it was opened: it has other bytes than what is
    /// held open, at a record's place or in its header.
    fn is_replaced(&self, place: &Place) -> bool {
        let Some(open) = self.open.get(&place.segment) else { return false };
        let Ok(now) = self.open_object(&place.segment) else { return false };
        let length = RECORD_HEADER_BYTES + place.stored_bytes.min(segment::MOST_STORED_BYTES) as usize;
        let differs = |offset, length: usize| {
            let read = |object: &dyn Object| {
                let mut bytes = vec![0; length];
                object.read_exact_at(offset, &mut bytes).ok().map(|()| bytes)
            };
            read(now.as_ref()) != read(open.object.as_ref())
        };
        now.length() != open.object.length() || differs(place.offset, length) || differs(0, HEADER_BYTES)
    }

    fn read_once(
        &self,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        plain: &mut Vec<u8>,
    ) -> std::result::Result<(), RecordFault> {
        // Header and payload in one piece, into memory of our own, where the payload is opened in place.
        Scratch::with(|scratch| {
            let sealed = scratch.sealed_vec();
            self.corrected_if_damaged(place, &mut |object, seal| {
                let header = self.open_from(object, seal, kind, id, place, sealed)?;
                let decoding = || decode(header.encoding, encoded(&header, sealed), header.plain_bytes, plain);
                if self.meter.time(Stage::Decompress, header.plain_bytes as usize, decoding) {
                    return Ok(());
                }
                let problem = Problem::Decompression(header.plain_bytes);
                Err(RecordFault::Here(Error::damaged(object.name(), place.offset, problem)))
            })
        })
    }

    /// The encoded bytes of the record `id` of `kind` at `place`, and its header; damage as in [`Self::read`].
    pub(super) fn open_record<'a>(
        &self,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        sealed: &'a mut Vec<u8>,
    ) -> std::result::Result<(RecordHeader, &'a [u8]), RecordFault> {
        let header = self
            .corrected_if_damaged(place, &mut |object, seal| self.open_from(object, seal, kind, id, place, sealed))?;
        let encoded = encoded(&header, sealed);
        Ok((header, encoded))
    }

    /// Does something with a segment's file and, where the record at `place` is damaged there, with what parity makes of it.
    fn corrected_if_damaged<R>(
        &self,
        place: &Place,
        read: &mut dyn FnMut(&dyn Object, &SegmentSeal) -> std::result::Result<R, RecordFault>,
    ) -> std::result::Result<R, RecordFault> {
        let open = self.open(&place.segment).map_err(RecordFault::Here)?;
        let fault = match read(open.object.as_ref(), &open.seal) {
            Err(fault) if parity_may_help(fault.error()) => fault,
            done => return done,
        };
        let length = RECORD_HEADER_BYTES as u64 + u64::from(place.stored_bytes);
        if let Some(corrected) = self.corrected(&place.segment)
            && corrected.is_damaged(place.offset, length)
            && let Ok(done) = read(corrected.as_ref(), &open.seal)
        {
            self.corrections.tell(&place.segment);
            return Ok(done);
        }
        Err(fault)
    }

    /// Reads a record into `sealed` and opens it there.
    fn open_from(
        &self,
        object: &dyn Object,
        seal: &SegmentSeal,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        sealed: &mut Vec<u8>,
    ) -> std::result::Result<RecordHeader, RecordFault> {
        let name = object.name();
        let elsewhere = |problem| RecordFault::Elsewhere(Error::damaged(name, place.offset, problem));
        let length = RECORD_HEADER_BYTES as u64 + u64::from(place.stored_bytes);
        if place.stored_bytes > segment::MOST_STORED_BYTES
            || place.offset.checked_add(length).is_none_or(|end| end > object.length())
        {
            return Err(elsewhere(Problem::Length {
                expected: place.offset.saturating_add(length),
                found: object.length(),
            }));
        }
        let record = room(sealed, RECORD_HEADER_BYTES + place.stored_bytes as usize);
        let fetch = || object.read_exact_at(place.offset, record);
        self.meter.time(Stage::Fetch, length as usize, fetch).map_err(RecordFault::Here)?;
        let (header, payload) = record.split_first_chunk_mut().expect("a record begins with its header");
        let header =
            RecordHeader::decode(header).map_err(|error| RecordFault::Elsewhere(error.at(name, place.offset)))?;
        if header.kind != kind || header.stored_bytes != place.stored_bytes || header.plain_bytes != place.plain_bytes {
            return Err(elsewhere(Problem::Misplaced("record")));
        }
        let opened = self.meter.time(Stage::Open, place.stored_bytes as usize, || {
            seal.open_payload(&header, id, place.offset, payload).map(|_| ())
        });
        // Either the payload is damaged or this is another chunk's record: the sealed id in the header tells.
        opened.map_err(|error| match seal.open_id(&header, place.offset) {
            Ok(found) if found != *id => elsewhere(Problem::Misplaced("record id")),
            _ => RecordFault::Here(error),
        })?;
        Ok(header)
    }

    /// The epoch of the keys that a segment is under.
    pub fn epoch(&self, id: &Id) -> Result<u32> {
        Ok(self.open(id)?.seal.epoch())
    }

    /// The records of a segment by its own table. Needs no intact header: the table's key follows from name and epoch.
    pub(crate) fn table(&self, id: &Id) -> Result<Vec<TableEntry>> {
        match self.table_of(id, self.open_object(id)?.as_ref()) {
            Err(error) if parity_may_help(&error) => self.entries_of_corrected(id).ok_or(error),
            table => table,
        }
    }

    fn table_of(&self, id: &Id, object: &dyn Object) -> Result<Vec<TableEntry>> {
        let (trailer, _) = read_trailer(object, id)?;
        let mut sealed = vec![0; trailer.sealed_table_bytes()];
        object.read_exact_at(trailer.table_offset, &mut sealed)?;
        let mut first = None;
        for seal in self.table_seals(object, id) {
            match seal.and_then(|seal| seal.open_table(&trailer, sealed.clone()).map(|entries| (seal, entries))) {
                Ok((seal, entries)) => return seal.admit(&self.keys).map(|()| entries),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.expect("there is a first epoch"))
    }

    /// What may open a segment's table: of the epoch that its header tells, then of all others, in case that is damaged.
    fn table_seals(&self, object: &dyn Object, id: &Id) -> impl Iterator<Item = Result<SegmentSeal>> {
        let mut told = [0; 4];
        let told = object.read_exact_at(48, &mut told).map_or(0, |()| u32::from_le_bytes(told));
        let others = (0..=self.keys.epoch()).rev().filter(move |epoch| *epoch != told);
        std::iter::once(told).chain(others).map(|epoch| SegmentSeal::of_table(&self.keys, id, epoch))
    }

    /// Whether a segment is one that counts: of the newest epoch, or there when that began. Only what the medium does not
    /// give is taken for one unseen.
    pub(crate) fn counts(&self, id: &Id) -> bool {
        let is_ours = |found: Result<()>| !matches!(found, Err(Error::Damaged(_) | Error::UnsupportedVersion { .. }));
        is_ours(self.open(id).map(|_| ())) || is_ours(self.table(id).map(|_| ()))
    }

    /// The records of a segment, by its table or, where that is damaged, by its table with the help of parity or, where that
    /// does not help, by their own headers.
    pub(crate) fn entries(&self, id: &Id) -> Result<Vec<TableEntry>> {
        let object = self.open_object(id)?;
        match self.table_of(id, object.as_ref()) {
            Err(error) if parity_may_help(&error) => match (self.entries_of_corrected(id), error) {
                (Some(entries), _) => Ok(entries),
                (None, error @ Error::Vault { .. }) => Err(error),
                (None, error) => match self.salvage(id, object.as_ref())? {
                    // Of one under newer keys nothing is known: that is not nothing.
                    entries if entries.is_empty() && error.needs_newer_keys() => Err(error),
                    entries => Ok(entries),
                },
            },
            table => table,
        }
    }

    fn entries_of_corrected(&self, id: &Id) -> Option<Vec<TableEntry>> {
        let corrected = self.corrected(id)?;
        let entries = self.table_of(id, corrected.as_ref()).ok()?;
        self.corrections.tell(id);
        Some(entries)
    }

    /// The records of a segment whose table can't be used, found by their own headers.
    fn salvage(&self, id: &Id, object: &dyn Object) -> Result<Vec<TableEntry>> {
        let mut seals: Vec<SegmentSeal> = self.table_seals(object, id).filter_map(Result::ok).collect();
        let mut entries = Vec::new();
        walk(object, object.length(), &mut |offset, found| {
            if let Found::Record(header, _) = found
                && let Some((at, id)) =
                    (0..).zip(&seals).find_map(|(at, seal)| Some((at, seal.open_id(&header, offset).ok()?)))
            {
                // All records of a segment are under keys of one epoch.
                seals.swap(0, at);
                seals.truncate(1);
                seals[0].admit(&self.keys)?;
                entries.push(TableEntry {
                    id,
                    offset,
                    stored_bytes: header.stored_bytes,
                    plain_bytes: header.plain_bytes,
                    kind: header.kind,
                });
            }
            Ok(())
        })?;
        Ok(entries)
    }
}

/// The opened payload of a record that lies opened in memory.
pub(super) fn encoded<'a>(header: &RecordHeader, record: &'a [u8]) -> &'a [u8] {
    let length = (header.stored_bytes as usize).saturating_sub(TAG_BYTES);
    record.get(RECORD_HEADER_BYTES..).and_then(|payload| payload.get(..length)).expect("the record was opened there")
}

impl RecordFault {
    fn error(&self) -> &Error {
        match self {
            Self::Elsewhere(error) | Self::Here(error) => error,
        }
    }
}

/// Whether an error may come from bytes that are not what they were, or that the medium does not give.
fn parity_may_help(error: &Error) -> bool {
    matches!(error, Error::Damaged(_) | Error::UnsupportedVersion { .. } | Error::Vault { .. })
}

/// The header of a segment as its file has it, whatever it is.
pub(crate) fn header_bytes(media: &dyn Media, id: &Id) -> Result<[u8; HEADER_BYTES]> {
    let mut bytes = [0; HEADER_BYTES];
    media.open(&segment::object(id))?.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Opens a segment's file. One that is absurdly long is damage: walking through it would take for ever.
pub(crate) fn open_object(media: &dyn Media, id: &Id) -> Result<Arc<dyn Object>> {
    let object = media.open(&segment::object(id))?;
    if object.length() > MOST_SEGMENT_BYTES {
        let problem = Problem::Length { expected: MOST_SEGMENT_BYTES, found: object.length() };
        return Err(Error::damaged(object.name(), 0, problem));
    }
    Ok(object)
}

fn read_trailer(object: &dyn Object, id: &Id) -> Result<(Trailer, Hash)> {
    let least = (HEADER_BYTES + TRAILER_BYTES) as u64;
    let length = object.length();
    let Some(offset) = length.checked_sub(TRAILER_BYTES as u64).filter(|_| length >= least) else {
        return Err(Error::damaged(object.name(), 0, Problem::Length { expected: least, found: length }));
    };
    let mut bytes = [0; TRAILER_BYTES];
    object.read_exact_at(offset, &mut bytes)?;
    Trailer::decode(&bytes, id, length).map_err(|error| error.at(object.name(), offset))
}
