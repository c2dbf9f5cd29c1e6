//! The header of a record.

use icecore::format::segment::{
    Encoding, MOST_PLAIN_BYTES, MOST_STORED_BYTES, RECORD_HEADER_BYTES, RecordHeader, padded,
};

use super::fix_checksum;

const CHECKSUM_AT: usize = 88;

pub fn run(data: &[u8]) -> bool {
    let Some(bytes) = data.first_chunk::<RECORD_HEADER_BYTES>() else { return false };
    decode(bytes);
    let mut fixed = *bytes;
    fix(&mut fixed);
    decode(&fixed)
}

/// Puts the checksum of the header right.
pub fn fix(header: &mut [u8; RECORD_HEADER_BYTES]) {
    fix_checksum(header, CHECKSUM_AT, RECORD_HEADER_BYTES - CHECKSUM_AT);
}

fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> bool {
    let Ok(header) = RecordHeader::decode(bytes) else { return false };
    assert_eq!(header.encode().as_slice(), bytes, "a record header has one stored form");
    assert!((1..=MOST_PLAIN_BYTES).contains(&header.plain_bytes), "what is decoded into is bounded");
    assert!((16..=MOST_STORED_BYTES).contains(&header.stored_bytes), "and so is what is read");
    assert!(header.encoding == Encoding::Zstd || header.stored_bytes == header.plain_bytes + 16);
    assert!(padded(header.stored_bytes).is_multiple_of(16));
    true
}
