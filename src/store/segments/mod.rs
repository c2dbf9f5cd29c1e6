//! Published segments: listing them, opening them, reading a record by its place, checking all of one.

mod assemble;
mod check;
mod scrub;
mod walk;

use std::sync::Arc;

use quick_cache::sync::Cache;

pub(crate) use assemble::{Assembled, assemble, plain_records};
pub use check::SegmentCheck;
pub(crate) use scrub::scrub;

use walk::{Found, walk};

use super::scratch::Scratch;
use super::{Place, decode};
use crate::error::{Error, Problem, Result};
use crate::format::segment::{
    self, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, TRAILER_BYTES, TableEntry, Trailer,
};
use crate::format::{Hash, Id};
use crate::media::{Media, Object};
use crate::meter::{Meter, Stage};
use crate::seal::{SegmentSeal, VaultKeys};

/// Most segments held open at a time: each is a mapping and a file descriptor.
const MOST_OPEN: usize = 512;

/// Longest file that is taken for a segment, in bytes: the largest segment that `init` allows, one record and a table.
const MOST_SEGMENT_BYTES: u64 = 3 << 30;

/// The segments of a vault.
pub struct Segments {
    media: Arc<dyn Media>,
    keys: Arc<VaultKeys>,
    meter: Arc<Meter>,
    open: Cache<Id, Arc<OpenSegment>>,
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
        Self { media, keys, meter, open: Cache::new(MOST_OPEN) }
    }

    /// The segments there are, in no order.
    pub fn list(&self) -> Result<Vec<Id>> {
        Ok(self.media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect())
    }

    /// Length of a segment in bytes.
    pub fn length(&self, id: &Id) -> Result<u64> {
        Ok(self.open_object(id)?.length())
    }

    fn open_object(&self, id: &Id) -> Result<Arc<dyn Object>> {
        open_object(self.media.as_ref(), id)
    }

    fn open(&self, id: &Id) -> Result<Arc<OpenSegment>> {
        self.open.get_or_insert_with(id, || {
            let object = self.open_object(id)?;
            let mut header = [0; HEADER_BYTES];
            object.read_exact_at(0, &mut header)?;
            let seal = SegmentSeal::open(&self.keys, id, &header)?;
            Ok(Arc::new(OpenSegment { object, seal }))
        })
    }

    /// Forgets that a segment is open, after it was removed.
    pub(super) fn close(&self, id: &Id) {
        self.open.remove(id);
    }

    /// The plain bytes of the record `id` of `kind` at `place`.
    pub(super) fn read(
        &self,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        plain: &mut Vec<u8>,
    ) -> std::result::Result<(), RecordFault> {
        match self.read_once(kind, id, place, plain) {
            Err(RecordFault::Here(Error::NotPermitted { held, needed })) => {
                Err(RecordFault::Here(Error::NotPermitted { held, needed }))
            }
            Err(_) => {
                // Somebody may have put a whole file in the place of a damaged one since it was opened.
                self.close(&place.segment);
                self.read_once(kind, id, place, plain)
            }
            read => read,
        }
    }

    fn read_once(
        &self,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        plain: &mut Vec<u8>,
    ) -> std::result::Result<(), RecordFault> {
        let open = self.open(&place.segment).map_err(RecordFault::Here)?;
        let name = open.object.name();
        let elsewhere = |problem| RecordFault::Elsewhere(Error::damaged(name, place.offset, problem));
        let length = RECORD_HEADER_BYTES as u64 + u64::from(place.stored_bytes);
        if place.stored_bytes > segment::MOST_STORED_BYTES
            || place.offset.checked_add(length).is_none_or(|end| end > open.object.length())
        {
            return Err(elsewhere(Problem::Length {
                expected: place.offset.saturating_add(length),
                found: open.object.length(),
            }));
        }
        // Header and payload in one piece, into memory of our own, where the payload is opened in place.
        Scratch::with(|scratch| {
            let record = scratch.sealed(RECORD_HEADER_BYTES + place.stored_bytes as usize);
            let fetch = || open.object.read_exact_at(place.offset, record);
            self.meter.time(Stage::Fetch, length as usize, fetch).map_err(RecordFault::Here)?;
            let (header, payload) = record.split_first_chunk_mut().expect("a record begins with its header");
            let header =
                RecordHeader::decode(header).map_err(|error| RecordFault::Elsewhere(error.at(name, place.offset)))?;
            if header.kind != kind
                || header.stored_bytes != place.stored_bytes
                || header.plain_bytes != place.plain_bytes
            {
                return Err(elsewhere(Problem::Misplaced("record")));
            }
            let opened = self.meter.time(Stage::Open, place.stored_bytes as usize, || {
                open.seal.open_payload(&header, id, place.offset, payload)
            });
            // Either the payload is damaged or this is another chunk's record: the sealed id in the header tells.
            let encoded = opened.map_err(|error| match open.seal.open_id(&header, place.offset) {
                Ok(found) if found != *id => elsewhere(Problem::Misplaced("record id")),
                _ => RecordFault::Here(error),
            })?;
            let decoding = || decode(header.encoding, encoded, header.plain_bytes, plain);
            if self.meter.time(Stage::Decompress, header.plain_bytes as usize, decoding) {
                return Ok(());
            }
            let problem = Problem::Decompression(header.plain_bytes);
            Err(RecordFault::Here(Error::damaged(name, place.offset, problem)))
        })
    }

    /// The records of a segment by its own table. Needs no intact header: the table's key follows from the name.
    fn table(&self, id: &Id) -> Result<Vec<TableEntry>> {
        let object = self.open_object(id)?;
        let (trailer, _) = read_trailer(object.as_ref(), id)?;
        let mut sealed = vec![0; trailer.sealed_table_bytes()];
        object.read_exact_at(trailer.table_offset, &mut sealed)?;
        SegmentSeal::of_table(&self.keys, id).open_table(&trailer, sealed)
    }

    /// The records of a segment, by its table or, where that is damaged, by their own headers.
    pub(crate) fn entries(&self, id: &Id) -> Result<Vec<TableEntry>> {
        match self.table(id) {
            Err(Error::Damaged(_) | Error::UnsupportedVersion { .. }) => self.salvage(id),
            table => table,
        }
    }

    /// The records of a segment whose table can't be used, found by their own headers.
    fn salvage(&self, id: &Id) -> Result<Vec<TableEntry>> {
        let object = self.open_object(id)?;
        let seal = SegmentSeal::of_table(&self.keys, id);
        let mut entries = Vec::new();
        walk(object.as_ref(), object.length(), &mut |offset, found| {
            if let Found::Record(header, _) = found
                && let Ok(id) = seal.open_id(&header, offset)
            {
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
