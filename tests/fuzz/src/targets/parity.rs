//! A parity object beside a segment: what it says of itself, and what is computed from it.

use std::sync::Arc;

use icecore::format::parity::{HEADER_BYTES, ParityHeader, object, sum};
use icecore::format::{Id, segment};
use icecore::media::Object;
use icecore::store::parity::{Corrected, ParityFile};

use super::{fix_checksum, take_u16};
use crate::keys::VAULT;
use crate::memory::Memory;

const SEGMENT: Id = *b"parity's segment";

/// Segments up to this length are computed, in bytes; of longer ones only the parity is read.
const MOST_SEGMENT: u64 = 1 << 16;

/// Groups with more parity than this are not computed: it takes long and teaches nothing.
const MOST_PARITY: u32 = 64;

/// Length of the segment, the segment, the parity object; both headers are put right.
pub fn run(data: &[u8]) -> bool {
    let mut rest = data;
    let length = usize::from(take_u16(&mut rest)).min(rest.len());
    let (segment_bytes, parity) = rest.split_at(length);
    let mut parity = parity.to_vec();
    parity.first_chunk_mut().into_iter().for_each(fix);
    parity.last_chunk_mut().into_iter().for_each(fix);
    let media = Memory::default();
    media.put(segment::object(&SEGMENT), segment_bytes.to_vec());
    media.put(object(&SEGMENT), parity);
    let Ok(file) = ParityFile::open(&media, Some(&VAULT), &SEGMENT) else { return false };
    let header = file.header().clone();
    assert_eq!(ParityHeader::decode(&header.encode()), Ok(header.clone()), "a header has one stored form");
    let shards = (0..header.groups).map(|group| header.group_shards(group)).sum::<u64>();
    assert_eq!(shards, header.data_shards(), "every shard has a group");
    let is_whole = file.check().is_empty();
    if header.segment_bytes > MOST_SEGMENT || header.parity_shards > MOST_PARITY {
        return false;
    }
    let corrected = Corrected::open(&media, Some(&VAULT), &SEGMENT).expect("opened before");
    let (lost, all) = corrected.survey();
    assert!(lost <= header.data_shards());
    let mut bytes = vec![0; usize::try_from(header.segment_bytes).expect("small")];
    let read = corrected.read_exact_at(0, &mut bytes);
    assert!(!all || read.is_ok(), "what can be computed can be read");
    assert!(corrected.read_exact_at(1, &mut bytes).is_err(), "nothing is past the end");
    if all && lost == 0 {
        assert!(bytes == segment_bytes[..bytes.len()], "what is whole is read as it is");
    }
    is_whole && all && lost > 0
}

fn fix(header: &mut [u8; HEADER_BYTES]) {
    header[16..32].copy_from_slice(&VAULT);
    header[32..48].copy_from_slice(&SEGMENT);
    fix_checksum(header, 80, 16);
}

/// What [`run`] takes, of a segment whose first byte differs from what it was.
pub fn input(length: u16, groups: u32, parity_shards: u32) -> Vec<u8> {
    let mut segment: Vec<u8> = (0..length).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let header = ParityHeader {
        vault: VAULT,
        segment: SEGMENT,
        segment_bytes: length.into(),
        shard_size_log2: 12,
        groups,
        parity_shards,
    };
    let media = Arc::new(Memory::default());
    let bytes = segment.clone();
    media.put(segment::object(&SEGMENT), bytes);
    let made = icecore::media::Media::create(media.as_ref(), &object(&SEGMENT)).expect("memory");
    let read = |offset: u64, buffer: &mut [u8]| {
        let start = usize::try_from(offset).expect("small");
        buffer.copy_from_slice(&segment[start..start + buffer.len()]);
        Ok(())
    };
    icecore::store::parity::Maker::new().make(&header, &read, made.as_ref()).expect("memory");
    let mut parity = vec![0; usize::try_from(header.object_bytes()).expect("small")];
    made.read_back(0, &mut parity).expect("memory");
    assert_eq!(parity[HEADER_BYTES..HEADER_BYTES + 8], sum(&segment[..segment.len().min(4096)]), "the first checksum");
    segment[0] ^= 0xff;
    [length.to_le_bytes().as_slice(), &segment, &parity].concat()
}
