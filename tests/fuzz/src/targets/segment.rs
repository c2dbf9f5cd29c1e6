//! A whole segment: its table, the walk over its records, what is salvaged where the table is broken, and reads.

use std::sync::Arc;

use icecore::format::Id;
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordType, TRAILER_BYTES, object};

use super::{fix_checksum, record_header, segment_header, store, u32_in};
use crate::keys::{self, VAULT, nonce, record_id};
use crate::memory::Memory;

const BOUND: usize = 24;
const TABLE_ENTRY: usize = 48;

/// A segment as it is stored, with all checksums put right.
pub fn run(data: &[u8]) -> bool {
    let mut bytes = data.to_vec();
    let Some(segment) = fix_header(&mut bytes) else { return false };
    for at in records(&bytes) {
        fix_record(&mut bytes, at);
    }
    fix_trailer(&mut bytes);
    look_at(segment, bytes)
}

/// A segment before anything in it is sealed, which is done here: ids stand in the clear, payloads and the table are
/// followed by room for a tag. An id of zeros stands for the right one of a payload that is not compressed.
pub fn run_unsealed(data: &[u8]) -> bool {
    let mut bytes = data.to_vec();
    let Some(segment) = fix_header(&mut bytes) else { return false };
    for at in records(&bytes) {
        seal_record(&mut bytes, at, &segment);
        fix_record(&mut bytes, at);
    }
    seal_table(&mut bytes, &segment);
    fix_trailer(&mut bytes);
    look_at(segment, bytes)
}

/// Makes the header one of the vault's, and answers the segment's id.
fn fix_header(bytes: &mut [u8]) -> Option<Id> {
    let header = bytes.first_chunk_mut::<HEADER_BYTES>()?;
    header[16..32].copy_from_slice(&VAULT);
    segment_header::fix(header);
    header[32..48].try_into().ok()
}

/// Where records begin, as they say themselves, or where else their magic number stands.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while at + RECORD_HEADER_BYTES <= bytes.len() {
        let length = u32_in(bytes, at + 16) as usize;
        let is_record = bytes[at..].starts_with(b"ICER");
        if is_record {
            found.push(at);
        }
        // Past the payload, where it fits; else on to the next place where a record could be.
        let next = at + RECORD_HEADER_BYTES + length.next_multiple_of(16);
        at = if is_record && next <= bytes.len() { next } else { at + 16 };
    }
    found
}

fn fix_record(bytes: &mut [u8], at: usize) {
    let payload = at + RECORD_HEADER_BYTES;
    let length = u32_in(bytes, at + 16) as usize;
    if let Some(payload) = bytes.get(payload..payload + length) {
        let sum = *blake3::hash(payload).as_bytes();
        bytes[at + 72..at + 88].copy_from_slice(&sum[..16]);
    }
    if let Some(header) = bytes[at..].first_chunk_mut::<RECORD_HEADER_BYTES>() {
        record_header::fix(header);
    }
}

fn fix_trailer(bytes: &mut [u8]) {
    let length = bytes.len() as u64;
    if let Some(trailer) = bytes.last_chunk_mut::<TRAILER_BYTES>() {
        // A trailer of another length is refused at once: half of them tell the right one.
        if trailer[48] & 1 == 0 {
            trailer[24..32].copy_from_slice(&length.to_le_bytes());
        }
        fix_checksum(trailer, 80, 16);
    }
}

fn seal_record(bytes: &mut [u8], at: usize, segment: &Id) {
    let ids: [&[u8]; 2] = [&VAULT, segment];
    let number = u32_in(bytes, at + 4);
    let mut bound = [bytes[at..at + BOUND].as_ref(), &VAULT, segment].concat();
    let payload = at + RECORD_HEADER_BYTES;
    let length = u32_in(bytes, at + 16) as usize;
    let mut id = [0; 32];
    id.copy_from_slice(&bytes[at + BOUND..at + BOUND + 32]);
    let message = length.checked_sub(16).and_then(|length| bytes.get(payload..payload + length)).map(<[u8]>::to_vec);
    if let Some(message) = &message
        && id == [0; 32]
    {
        id = record_id(bytes[at + 8], message);
    }
    let key = keys::meta("icecore 1 segment ids and table", &ids);
    let sealed_id = keys::seal(&key, nonce(number, 1), &bound, &id);
    bytes[at + BOUND..at + BOUND + sealed_id.len()].copy_from_slice(&sealed_id);
    let Some(message) = message else { return };
    bound.extend_from_slice(&id);
    let key = keys::meta("icecore 1 meta payloads", &ids);
    let sealed = keys::seal(&key, nonce(number, 0), &bound, &message);
    if let Some(place) = bytes.get_mut(payload..payload + sealed.len()) {
        place.copy_from_slice(&sealed);
    }
}

fn seal_table(bytes: &mut [u8], segment: &Id) {
    let Some(trailer) = bytes.len().checked_sub(TRAILER_BYTES) else { return };
    fix_trailer(bytes);
    let bound = bytes[trailer..trailer + 48].to_vec();
    let length = (u32_in(bytes, trailer + 12) as usize).saturating_mul(TABLE_ENTRY);
    let start = trailer.checked_sub(16).and_then(|end| end.checked_sub(length));
    let Some(start) = start else { return };
    let key = keys::meta("icecore 1 segment ids and table", &[&VAULT, segment]);
    let sealed = keys::seal(&key, nonce(0, 2), &bound, &bytes[start..trailer - 16]);
    bytes[start..trailer].copy_from_slice(&sealed);
}

/// Opens a store that has this segment and nothing else; whether anything in it could be read.
fn look_at(segment: Id, bytes: Vec<u8>) -> bool {
    let length = bytes.len() as u64;
    let media = Arc::new(Memory::default());
    media.put(object(&segment), bytes);
    let store = store::open(&media);
    let check = store.segments().check(&segment, &|kind, plain| store.id_of(kind, plain)).expect("memory can be read");
    assert_eq!(check.bytes, length);
    assert_eq!(check.records, check.whole.len() as u64);
    assert!(check.whole.is_sorted_by(|a, b| a.0 < b.0), "a walk goes forward");
    assert!(check.damage.len() as u64 <= length, "and tells of no more than there is");
    let mut any = false;
    let mut plain = Vec::new();
    for (_, id) in check.whole.iter().take(8) {
        for kind in [RecordType::Chunk, RecordType::MapNode, RecordType::Manifest] {
            if store.read_into(kind, id, &mut plain).is_ok() {
                assert_eq!(store.id_of(kind, &plain), *id, "what is read is what was asked for");
                any = true;
            }
        }
    }
    any
}

/// What [`run_unsealed`] takes, of records: their kinds, and their payloads as they are or compressed.
pub fn unsealed(records: &[(RecordType, Vec<u8>)]) -> Vec<u8> {
    use icecore::format::segment::{
        Encoding, RecordHeader, SegmentHeader, SegmentKind, TableEntry, Trailer, encode_table, padded,
    };
    let segment = *b"unsealed segment";
    let mut bytes = SegmentHeader { vault: VAULT, segment, epoch: 0, kind: SegmentKind::Meta }.encode([0; 32]).to_vec();
    let mut entries = Vec::new();
    for (number, (kind, plain)) in (0..).zip(records) {
        let number_of = |kind: &RecordType| match kind {
            RecordType::Chunk => 1,
            RecordType::MapNode => 2,
            RecordType::Manifest => 3,
        };
        let mut payload = vec![0; plain.len()];
        let (encoding, length) = icecore::store::encode(plain, 3, &mut payload);
        payload.truncate(length);
        let id = record_id(number_of(kind), plain);
        let mut sealed_id = [0; 48];
        if encoding == Encoding::Zstd {
            sealed_id[..32].copy_from_slice(&id);
        }
        let stored_bytes = u32::try_from(length + 16).expect("short");
        let plain_bytes = u32::try_from(plain.len()).expect("short");
        let header =
            RecordHeader { number, kind: *kind, encoding, plain_bytes, stored_bytes, sealed_id, checksum: [0; 16] };
        entries.push(TableEntry { id, offset: bytes.len() as u64, stored_bytes, plain_bytes, kind: *kind });
        bytes.extend(header.encode());
        let end = bytes.len() + usize::try_from(padded(stored_bytes)).expect("short");
        bytes.extend(payload);
        bytes.resize(end, 0);
    }
    let trailer = Trailer::new(segment, u32::try_from(entries.len()).expect("few"), bytes.len() as u64);
    bytes.extend(encode_table(&entries));
    bytes.extend([0; 16]);
    bytes.extend(trailer.encode([0; 32]));
    bytes
}
