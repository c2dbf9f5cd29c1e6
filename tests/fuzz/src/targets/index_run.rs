//! A run of the index: its header, look-ups in it, and the merge of it once a key holder vouches for it.

use std::sync::Arc;

use icecore::format::index_run::{ENTRY_BYTES, PREFIX, RunEntry, RunHeader};
use icecore::format::segment;
use icecore::format::{Hash, Id};

use super::{store, u32_in};
use crate::keys::{self, VAULT, id_of_tag, record_id};
use crate::memory::Memory;

const MOST_SEGMENTS: u32 = 16;
const MOST_ENTRIES: u64 = 200;
const MOST_BUCKET_BITS: u8 = 6;
const MOST_LOOK_UPS: usize = 64;

/// A run without the zeros between its parts: the first 64 bytes, the segments, the buckets, the entries. What is
/// missing at the end counts as zeros.
pub fn run(data: &[u8]) -> bool {
    let Some((prefix, rest)) = data.split_first_chunk::<PREFIX>() else { return false };
    shape(prefix);
    let mut prefix = *prefix;
    prefix[16..32].copy_from_slice(&VAULT);
    let Some(header) = bounded(&mut prefix) else { return false };
    let bytes = expand(&prefix, &header, rest);
    assert_eq!(bytes.len() as u64, header.total_bytes());
    let list = &bytes[..header.listed_bytes() + 32];
    let segments = header.decode_segments(list).expect("the checksum was put right");
    assert_eq!(header.encode(&segments), list, "the beginning has one stored form");
    look_up(&header, &segments, bytes);
    true
}

/// Any numbers at all, with the length that fits them.
fn shape(prefix: &[u8; PREFIX]) {
    for length in [0, 4096, 8192 + 32, u64::MAX] {
        let _ = RunHeader::decode(prefix, length);
    }
    let told = RunHeader {
        vault: VAULT,
        segments: u32_in(prefix, 12),
        entries: u64::from(u32_in(prefix, 32)),
        bucket_bits: prefix[40] % 33,
        epoch: u32_in(prefix, 44),
    };
    if let Ok(header) = RunHeader::decode(prefix, told.total_bytes()) {
        assert!(header.buckets_offset() >= header.listed_bytes() as u64 + 32);
        assert!(header.entries_offset() > header.buckets_offset());
        assert!(header.total_bytes() > header.authenticator_offset());
        for tag in [[0; 16], [0x80; 16], [0xFF; 16]] {
            assert!(header.bucket(&tag) < 1 << header.bucket_bits, "a tag has a bucket that is there");
        }
    }
}

/// Makes the numbers small enough for a run in memory.
fn bounded(prefix: &mut [u8; PREFIX]) -> Option<RunHeader> {
    let segments = u32_in(prefix, 12) % (MOST_SEGMENTS + 1);
    let entries = u64::from(u32_in(prefix, 32)) % (MOST_ENTRIES + 1);
    prefix[12..16].copy_from_slice(&segments.to_le_bytes());
    prefix[32..40].copy_from_slice(&entries.to_le_bytes());
    prefix[40] %= MOST_BUCKET_BITS + 1;
    let header = RunHeader { vault: VAULT, segments, entries, bucket_bits: prefix[40], epoch: u32_in(prefix, 44) };
    let decoded = RunHeader::decode(prefix, header.total_bytes()).ok()?;
    assert_eq!(decoded, header);
    Some(header)
}

/// The whole file, checksum and authenticator put right.
fn expand(prefix: &[u8; PREFIX], header: &RunHeader, mut rest: &[u8]) -> Vec<u8> {
    let mut part = |bytes: &mut Vec<u8>, end: u64, length: usize| {
        let (front, back) = rest.split_at(length.min(rest.len()));
        bytes.extend_from_slice(front);
        bytes.resize(usize::try_from(end).expect("small"), 0);
        rest = back;
    };
    let mut bytes = prefix.to_vec();
    part(&mut bytes, header.listed_bytes() as u64, header.listed_bytes() - PREFIX);
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes.resize(usize::try_from(header.buckets_offset()).expect("small"), 0);
    part(&mut bytes, header.entries_offset(), 4 * ((1 << header.bucket_bits) + 1));
    let entries_at = bytes.len();
    let entries = usize::try_from(header.entries).expect("few") * ENTRY_BYTES;
    part(&mut bytes, header.authenticator_offset(), entries);
    let hashes = [&bytes[..entries_at], &bytes[entries_at..]].map(|part| *blake3::hash(part).as_bytes());
    let key = keys::meta("icecore 1 index run", &[&VAULT]);
    bytes.extend(keys::authenticate(&key, hashes.as_flattened()));
    bytes
}

fn look_up(header: &RunHeader, segments: &[Id], bytes: Vec<u8>) {
    let entries_at = usize::try_from(header.entries_offset()).expect("small");
    let end = usize::try_from(header.authenticator_offset()).expect("small");
    let (entries, _) = bytes[entries_at..end].as_chunks::<ENTRY_BYTES>();
    let entries: Vec<RunEntry> = entries.iter().map(RunEntry::decode).collect();
    let media = Arc::new(Memory::default());
    for segment in segments {
        media.put(segment::object(segment), Vec::new());
    }
    media.put("index/hostile.run".to_owned(), bytes);
    let store = store::open(&media);
    let ask = || {
        for entry in entries.iter().take(MOST_LOOK_UPS) {
            let mut id: Hash = [0; 32];
            id[..16].copy_from_slice(&id_of_tag(entry.tag));
            let Some(place) = store.locate(&id) else { continue };
            let told = |entry: &RunEntry| {
                let segment = segments.get(entry.segment as usize).copied();
                (segment, u64::from(entry.offset_16) * 16, entry.stored_bytes, entry.plain_bytes)
            };
            let found = (Some(place.segment), place.offset, place.stored_bytes, place.plain_bytes);
            let is_told = entries.iter().any(|other| other.tag == entry.tag && told(other) == found);
            assert!(is_told, "a look-up leads where some entry of that tag leads");
        }
        let _ = store.locate(&record_id(1, b"in no run"));
    };
    ask();
    store.refresh_for_writing().expect("memory can be read");
    ask();
    store.keep_whole(&|tag, _| tag[15] & 7 != 0).expect("memory can be written");
    ask();
}
