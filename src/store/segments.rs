//! Published segments: listing them, opening them, reading a record by its place, walking all records.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::scratch::Scratch;
use super::{Place, decode};
use crate::error::{Error, Problem, Result};
use crate::format::segment::{
    self, ALIGNMENT, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, TRAILER_BYTES, TableEntry, Trailer,
    padded,
};
use crate::format::{Hash, Id};
use crate::media::{Media, Object};
use crate::meter::{Meter, Stage};
use crate::seal::{SegmentSeal, VaultKeys};

/// Most segments held open at a time: each is a mapping and a file descriptor.
const MOST_OPEN: usize = 512;

/// Longest file that is taken for a segment, in bytes: the largest segment that `init` allows, one record and a table.
const MOST_SEGMENT_BYTES: u64 = 3 << 30;

/// Records read ahead in one piece when a segment is walked, in bytes.
const WALK_BYTES: usize = 1 << 20;

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

/// What a walk over one segment found.
#[derive(Debug, Default)]
pub struct SegmentCheck {
    /// Records that were whole.
    pub records: u64,
    /// Length of the segment in bytes.
    pub bytes: u64,
    /// What was wrong, in order of place.
    pub damage: Vec<Error>,
    /// Offsets and ids of the records that were whole, in order of place.
    pub whole: Vec<(u64, Hash)>,
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

    /// Opens a segment's file. One that is absurdly long is damage: walking through it would take for ever.
    fn open_object(&self, id: &Id) -> Result<Arc<dyn Object>> {
        let object = self.media.open(&segment::object(id))?;
        if object.length() > MOST_SEGMENT_BYTES {
            let problem = Problem::Length { expected: MOST_SEGMENT_BYTES, found: object.length() };
            return Err(Error::damaged(object.name(), 0, problem));
        }
        Ok(object)
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

    /// Forgets that a segment is open, before it is removed.
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
    pub(super) fn entries(&self, id: &Id) -> Result<Vec<TableEntry>> {
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

    /// Checks everything of a segment that the keys at hand can check.
    ///
    /// `id_of` gives the id of plain bytes; a record must have the id that it was sealed with. Damage is collected, and
    /// only what is wrong with the medium ends the check.
    pub fn check(&self, id: &Id, id_of: &dyn Fn(RecordType, &[u8]) -> Hash) -> Result<SegmentCheck> {
        let mut check = SegmentCheck::default();
        let object = match self.open_object(id) {
            Ok(object) => object,
            Err(error @ Error::Damaged(_)) => {
                check.damage.push(error);
                return Ok(check);
            }
            Err(error) => return Err(error),
        };
        check.bytes = object.length();
        let table_is_whole = match self.table(id) {
            Ok(_) => true,
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(error) => {
                check.damage.push(error);
                false
            }
        };
        // A segment whose header is gone can't be opened: none of its records is whole then.
        let open = match self.open(id) {
            Ok(open) => open,
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(error) => {
                check.damage.push(error);
                return Ok(check);
            }
        };
        let mut tree = blake3::Hasher::new();
        let mut header = [0; HEADER_BYTES];
        object.read_exact_at(0, &mut header)?;
        tree.update(&header);
        let end = match read_trailer(object.as_ref(), id) {
            Ok((trailer, _)) => trailer.table_offset,
            // A medium that fails is no damage: what follows the records must not be taken for broken ones.
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(_) => object.length(),
        };
        let seal = &open.seal;
        let reads = self.keys.reads_data() || !seal.is_data();
        walk(object.as_ref(), end, &mut |offset, found| {
            match found {
                Found::Gap(error) => check.damage.push(error),
                Found::Record(header, payload) => {
                    tree.update(&header.encode());
                    match self.check_record(seal, &header, offset, payload, reads, id_of) {
                        Ok(id) => {
                            check.records += 1;
                            check.whole.push((offset, id));
                        }
                        Err(error) => check.damage.push(error),
                    }
                }
            }
            Ok(())
        })?;
        if table_is_whole {
            let (trailer, hash) = read_trailer(object.as_ref(), id)?;
            let mut sealed = vec![0; trailer.sealed_table_bytes()];
            object.read_exact_at(trailer.table_offset, &mut sealed)?;
            tree.update(&sealed).update(&trailer.bound_bytes());
            if check.damage.is_empty() && *tree.finalize().as_bytes() != hash {
                check.damage.push(Error::damaged(object.name(), 0, Problem::Checksum("segment")));
            }
        }
        Ok(check)
    }

    fn check_record(
        &self,
        seal: &SegmentSeal,
        header: &RecordHeader,
        offset: u64,
        payload: &mut [u8],
        reads: bool,
        id_of: &dyn Fn(RecordType, &[u8]) -> Hash,
    ) -> Result<Hash> {
        let damaged = |problem| Error::damaged(segment::object(seal.segment()), offset, problem);
        let checksum = || crate::format::short_hash::<16>(payload);
        if self.meter.time(Stage::Checksum, payload.len(), checksum) != header.checksum {
            return Err(damaged(Problem::Checksum("record")));
        }
        let id = seal.open_id(header, offset)?;
        if !reads {
            return Ok(id);
        }
        let (sealed_bytes, plain_bytes) = (payload.len(), header.plain_bytes as usize);
        let encoded = self.meter.time(Stage::Open, sealed_bytes, || seal.open_payload(header, &id, offset, payload))?;
        Scratch::with(|scratch| {
            let plain = &mut scratch.plain;
            let decoding = || decode(header.encoding, encoded, header.plain_bytes, plain);
            if !self.meter.time(Stage::Decompress, plain_bytes, decoding) {
                return Err(damaged(Problem::Decompression(header.plain_bytes)));
            }
            if self.meter.time(Stage::Rehash, plain_bytes, || id_of(header.kind, plain)) != id {
                return Err(damaged(Problem::Authentication("record id")));
            }
            Ok(id)
        })
    }
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

enum Found<'a> {
    /// A record whose header is whole, with its stored payload, which may be opened in place.
    Record(RecordHeader, &'a mut [u8]),
    /// Something that is no record; the walk goes on at the next record that can be found.
    Gap(Error),
}

/// Visits the records from the segment's header up to `end`, in order; looks for the next record after a broken one.
fn walk(object: &dyn Object, end: u64, visit: &mut dyn FnMut(u64, Found<'_>) -> Result<()>) -> Result<()> {
    let mut window = Window { object, start: 0, bytes: Vec::new() };
    let mut offset = HEADER_BYTES as u64;
    let mut in_gap = false;
    let mut expected_number = 0;
    while offset + RECORD_HEADER_BYTES as u64 <= end {
        let header = window.get(offset, RECORD_HEADER_BYTES)?;
        let header: &[u8; RECORD_HEADER_BYTES] = (&*header).try_into().expect("the window gives what was asked");
        match RecordHeader::decode(header) {
            Ok(header) if offset + RECORD_HEADER_BYTES as u64 + u64::from(header.stored_bytes) <= end => {
                if header.number != expected_number && !in_gap {
                    visit(
                        offset,
                        Found::Gap(Error::damaged(object.name(), offset, Problem::Misplaced("record number"))),
                    )?;
                }
                in_gap = false;
                expected_number = header.number.saturating_add(1);
                let payload = window.get(offset + RECORD_HEADER_BYTES as u64, header.stored_bytes as usize)?;
                visit(offset, Found::Record(header, payload))?;
                offset += RECORD_HEADER_BYTES as u64 + padded(header.stored_bytes);
            }
            other => {
                if !in_gap {
                    let error = match other {
                        Err(error) => error.at(object.name(), offset),
                        Ok(_) => Error::damaged(object.name(), offset, Problem::Field("record length")),
                    };
                    visit(offset, Found::Gap(error))?;
                }
                in_gap = true;
                offset += ALIGNMENT;
            }
        }
    }
    if offset != end && !in_gap {
        visit(
            offset,
            Found::Gap(Error::damaged(object.name(), offset, Problem::Length { expected: end, found: offset })),
        )?;
    }
    Ok(())
}

/// A piece of an object read ahead.
struct Window<'a> {
    object: &'a dyn Object,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn get(&mut self, offset: u64, length: usize) -> Result<&mut [u8]> {
        let inside = |start: u64, have: usize| {
            let from = usize::try_from(offset.checked_sub(start)?).ok()?;
            (from.checked_add(length)? <= have).then_some(from)
        };
        let from = match inside(self.start, self.bytes.len()) {
            Some(from) => from,
            None => {
                let left = self.object.length().saturating_sub(offset);
                let take = length.max(usize::try_from(left).unwrap_or(WALK_BYTES).min(WALK_BYTES));
                self.bytes.resize(take, 0);
                self.start = offset;
                if let Err(error) = self.object.read_exact_at(offset, &mut self.bytes) {
                    self.bytes.clear();
                    return Err(error);
                }
                0
            }
        };
        Ok(&mut self.bytes[from..from + length])
    }
}
