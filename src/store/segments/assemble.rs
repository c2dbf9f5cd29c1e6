//! Making a segment whole again, byte for byte, out of the good pieces of several copies of it.
//!
//! All copies of a segment were once the same bytes, so what is whole in any of them can stand in the place of what is
//! not in another. The trailer says where everything lies, each record says by its checksums whether it is whole, and
//! the trailer's hash says that header, record headers and table belong together. No key is needed. Where one is at hand,
//! everything that it opens must open too: then not even somebody who made all checksums fit gets a piece in.
//!
//! Invariants:
//! - a piece of an earlier candidate is taken wherever it is whole: a later one only fills gaps;
//! - what comes out passes every check of a scrub, and of the keys at hand; otherwise nothing comes out.

use super::super::decode;
use super::read_trailer;
use super::walk::{Found, Window, walk};
use crate::error::{Error, Result};
use crate::format::segment::{
    HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, SegmentHeader, TableEntry, Trailer, padded,
};
use crate::format::{Hash, Id, short_hash};
use crate::media::Object;
use crate::seal::{SegmentSeal, VaultKeys};
use crate::sync::Arc;

/// A segment that was made whole.
#[derive(Debug)]
pub(crate) struct Assembled {
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that were computed from the vault's parity.
    pub parity_bytes: u64,
    /// Bytes that the vault did not have.
    pub foreign_bytes: u64,
    /// Its records; empty where no key was at hand.
    pub entries: Vec<TableEntry>,
}

/// Where pieces of a segment come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The vault's own file.
    Own,
    /// The vault's own parity.
    Parity,
    /// Elsewhere.
    Copy,
}

/// Where the whole segment goes, piece by piece, in order.
pub(crate) type Put<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<()>;

/// What the segment must be.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    vault: &'a Id,
    segment: &'a Id,
    keys: Option<&'a VaultKeys>,
}

/// Makes segment `id` of `vault` whole: from what the vault itself has under its name, where that can be opened, and from
/// `others`. Passes it to `put`, which may be called in vain: only where something is returned is what it got a whole
/// segment. `None` where the pieces don't suffice. Fails only where `put` does.
pub(crate) fn assemble(
    own: Option<&dyn Object>,
    others: &[(Origin, Arc<dyn Object>)],
    vault: &Id,
    keys: Option<&VaultKeys>,
    id: &Id,
    put: Put<'_>,
) -> Result<Option<Assembled>> {
    let candidates: Vec<Candidate<'_>> = own
        .map(|own| (Origin::Own, own))
        .into_iter()
        .chain(others.iter().map(|(from, other)| (*from, other.as_ref())))
        .collect();
    let mut tried: Vec<(Trailer, Hash)> = Vec::new();
    for (from, object) in &candidates {
        let Ok(trailer) = read_trailer(*object, id) else { continue };
        if tried.contains(&trailer) {
            continue;
        }
        // Without a key anybody can make a segment that is whole and holds less. Where the vault's own trailer is whole, that
        // says what must come out.
        if keys.is_none() && *from == Origin::Copy && own_trailer(&candidates, id) {
            break;
        }
        tried.push(trailer);
        let wanted = Wanted { vault, segment: id, keys };
        if let Some((whole, offsets)) = Assembly::new(&candidates, wanted, trailer).run(put)?
            && (keys.is_some() || own.is_none_or(|own| has_all(own, &offsets)))
        {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

/// Whether the vault itself, by its file or its parity, knows how the segment ends.
fn own_trailer(candidates: &[Candidate<'_>], id: &Id) -> bool {
    candidates.iter().any(|(from, object)| *from != Origin::Copy && read_trailer(*object, id).is_ok())
}

/// Whether each record of the vault's own file that is whole is among those at these places: without a key, nothing that is
/// whole gives way to what is somebody else's.
fn has_all(own: &dyn Object, offsets: &[u64]) -> bool {
    let mut all = true;
    // Where it can't be walked to its end, what is behind is there for nobody.
    let _ = walk(own, own.length(), &mut |offset, found| {
        if let Found::Record(header, payload) = found
            && short_hash::<16>(payload) == header.checksum
        {
            all &= offsets.binary_search(&offset).is_ok();
        }
        Ok(())
    });
    all
}

/// Bytes that pieces may come from, and whose they are.
type Candidate<'a> = (Origin, &'a dyn Object);

/// One try, by one trailer.
struct Assembly<'a> {
    windows: Vec<(Origin, Window<'a>)>,
    wanted: Wanted<'a>,
    trailer: Trailer,
    hash: Hash,
    parity_bytes: u64,
    foreign_bytes: u64,
}

impl<'a> Assembly<'a> {
    fn new(candidates: &[Candidate<'a>], wanted: Wanted<'a>, (trailer, hash): (Trailer, Hash)) -> Self {
        let windows = candidates.iter().map(|(from, object)| (*from, Window::new(*object))).collect();
        Self { windows, wanted, trailer, hash, parity_bytes: 0, foreign_bytes: 0 }
    }

    /// With the places of the records, in order.
    fn run(mut self, put: Put<'_>) -> Result<Option<(Assembled, Vec<u64>)>> {
        let mut tree = blake3::Hasher::new();
        let Some((header, seal)) = self.header() else { return Ok(None) };
        tree.update(&header);
        put(0, &header)?;
        let mut offset = HEADER_BYTES as u64;
        let mut record = Vec::new();
        let (mut found, mut offsets) = (Vec::new(), Vec::new());
        for number in 0..self.trailer.records {
            let Some(entry) = self.record(number, offset, seal.as_ref(), &mut record) else { return Ok(None) };
            tree.update(&record[..RECORD_HEADER_BYTES]);
            put(offset, &record)?;
            offsets.push(offset);
            offset += record.len() as u64;
            found.extend(entry);
        }
        if offset != self.trailer.table_offset {
            return Ok(None);
        }
        let Some(table) = self.table(&tree, seal.as_ref(), &found) else { return Ok(None) };
        put(offset, &table)?;
        put(offset + table.len() as u64, &self.trailer.encode(self.hash))?;
        let whole = Assembled {
            bytes: self.trailer.total_bytes,
            parity_bytes: self.parity_bytes,
            foreign_bytes: self.foreign_bytes,
            entries: found,
        };
        Ok(Some((whole, offsets)))
    }

    /// Takes note of where bytes came from.
    fn took(&mut self, from: Origin, bytes: usize) {
        match from {
            Origin::Own => {}
            Origin::Parity => self.parity_bytes += bytes as u64,
            Origin::Copy => self.foreign_bytes += bytes as u64,
        }
    }

    /// Each candidate's bytes of a place, as far as they can be had.
    fn each<R>(
        &mut self,
        offset: u64,
        length: usize,
        mut fits: impl FnMut(Origin, &mut [u8]) -> Option<R>,
    ) -> Option<(Origin, R)> {
        // A medium that refuses place after place may take seconds for each.
        self.windows.iter_mut().filter(|(_, window)| !window.is_given_up()).find_map(|(from, window)| {
            // What a medium refuses, another may have.
            let bytes = window.get(offset, length).ok()?.ok()?;
            fits(*from, bytes).map(|found| (*from, found))
        })
    }

    fn header(&mut self) -> Option<([u8; HEADER_BYTES], Option<SegmentSeal>)> {
        let Wanted { vault, segment, keys } = self.wanted;
        let (from, header) = self.each(0, HEADER_BYTES, |_, bytes| {
            let bytes: &[u8; HEADER_BYTES] = (&*bytes).try_into().ok()?;
            let (header, _) = SegmentHeader::decode(bytes).ok()?;
            header.check_place(vault, segment).ok()?;
            let seal = keys.map(|keys| SegmentSeal::open(keys, segment, bytes)).transpose().ok()?;
            Some((*bytes, seal))
        })?;
        self.took(from, HEADER_BYTES);
        Some(header)
    }

    /// Puts record `number`, which begins at `offset`, into `record` with its padding. With a key, also tells what the
    /// table must say of it.
    fn record(
        &mut self,
        number: u32,
        offset: u64,
        seal: Option<&SegmentSeal>,
        record: &mut Vec<u8>,
    ) -> Option<Option<TableEntry>> {
        let mut tried: Vec<[u8; RECORD_HEADER_BYTES]> = Vec::new();
        // Nearly always the first header is the right one: each has a checksum of its own.
        for at in 0..self.windows.len() {
            let (from, window) = &mut self.windows[at];
            let from = *from;
            if window.is_given_up() {
                continue;
            }
            let Ok(Ok(bytes)) = window.get(offset, RECORD_HEADER_BYTES) else { continue };
            let Ok(bytes) = <[u8; RECORD_HEADER_BYTES]>::try_from(&*bytes) else { continue };
            let Ok(header) = RecordHeader::decode(&bytes) else { continue };
            let end = offset + RECORD_HEADER_BYTES as u64 + padded(header.stored_bytes);
            if header.number != number || end > self.trailer.table_offset || tried.contains(&bytes) {
                continue;
            }
            let entry = match seal.map(|seal| seal.open_id(&header, offset)) {
                None => None,
                Some(Ok(id)) => Some(TableEntry {
                    id,
                    offset,
                    stored_bytes: header.stored_bytes,
                    plain_bytes: header.plain_bytes,
                    kind: header.kind,
                }),
                Some(Err(_)) => continue,
            };
            if self.payload(&header, offset, seal.zip(entry.as_ref()), record) {
                record[..RECORD_HEADER_BYTES].copy_from_slice(&bytes);
                self.took(from, RECORD_HEADER_BYTES);
                return Some(entry);
            }
            tried.push(bytes);
        }
        None
    }

    /// Puts the payload that belongs to a record's header behind the room for that, and padding behind it.
    fn payload(
        &mut self,
        header: &RecordHeader,
        offset: u64,
        seal: Option<(&SegmentSeal, &TableEntry)>,
        record: &mut Vec<u8>,
    ) -> bool {
        let length = header.stored_bytes as usize;
        let found = self.each(offset + RECORD_HEADER_BYTES as u64, length, |from, bytes| {
            if short_hash::<16>(bytes) != header.checksum {
                return None;
            }
            record.clear();
            record.resize(RECORD_HEADER_BYTES, 0);
            record.extend_from_slice(bytes);
            record.resize(RECORD_HEADER_BYTES + padded_length(header), 0);
            // What was the vault's own all along need not be opened for this.
            match seal.filter(|_| from != Origin::Own) {
                Some((seal, entry)) => match seal.open_payload(header, &entry.id, offset, bytes) {
                    Ok(_) | Err(Error::NotPermitted { .. }) => Some(()),
                    Err(_) => None,
                },
                None => Some(()),
            }
        });
        if let Some((from, ())) = found {
            self.took(from, padded_length(header));
        }
        found.is_some()
    }

    /// The sealed table with which the trailer's hash comes out.
    fn table(&mut self, tree: &blake3::Hasher, seal: Option<&SegmentSeal>, found: &[TableEntry]) -> Option<Vec<u8>> {
        let (trailer, hash) = (self.trailer, self.hash);
        let (from, table) = self.each(trailer.table_offset, trailer.sealed_table_bytes(), |_, bytes| {
            let sum = *tree.clone().update(bytes).update(&trailer.bound_bytes()).finalize().as_bytes();
            let opens =
                |seal: &SegmentSeal| seal.open_table(&trailer, bytes.to_vec()).is_ok_and(|table| table == found);
            (sum == hash && seal.is_none_or(opens)).then(|| bytes.to_vec())
        })?;
        self.took(from, table.len());
        Some(table)
    }
}

fn padded_length(header: &RecordHeader) -> usize {
    usize::try_from(padded(header.stored_bytes)).expect("a record is small")
}

/// The plain bytes of the records of a segment of maps and manifests, which is in memory and whole.
pub(crate) fn plain_records(
    keys: &VaultKeys,
    segment: &Id,
    bytes: &[u8],
    entries: &[TableEntry],
) -> Vec<(Hash, Vec<u8>)> {
    let header = bytes.first_chunk().and_then(|header| SegmentSeal::open(keys, segment, header).ok());
    let Some(seal) = header else { return Vec::new() };
    let plain = |entry: &TableEntry| {
        let at = usize::try_from(entry.offset).ok()?;
        let (header, rest) = bytes.get(at..)?.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let header = RecordHeader::decode(header).ok()?;
        let mut payload = rest.get(..header.stored_bytes as usize)?.to_vec();
        let encoded = seal.open_payload(&header, &entry.id, entry.offset, &mut payload).ok()?;
        let mut plain = Vec::new();
        decode(header.encoding, encoded, header.plain_bytes, &mut plain).then_some((entry.id, plain))
    };
    entries.iter().filter_map(plain).collect()
}
