//! The trailer of a segment and the table before it, from behind the seal.

use icecore::format::segment::{TRAILER_BYTES, Trailer, decode_table, encode_table};

use super::fix_checksum;

const CHECKSUM_AT: usize = 80;

/// The trailer, then the table's bytes.
pub fn run(data: &[u8]) -> bool {
    let Some((trailer, table)) = data.split_first_chunk::<TRAILER_BYTES>() else { return false };
    decode(trailer, table);
    let mut fixed = *trailer;
    fix_checksum(&mut fixed, CHECKSUM_AT, TRAILER_BYTES - CHECKSUM_AT);
    decode(&fixed, table)
}

fn decode(bytes: &[u8; TRAILER_BYTES], table: &[u8]) -> bool {
    let mut segment = [0; 16];
    segment.copy_from_slice(&bytes[32..48]);
    let mut length = [0; 8];
    length.copy_from_slice(&bytes[24..32]);
    let length = u64::from_le_bytes(length);
    let Ok((trailer, hash)) = Trailer::decode(bytes, &segment, length) else { return false };
    assert_eq!(trailer.encode(hash).as_slice(), bytes, "a trailer has one stored form");
    assert!(Trailer::decode(bytes, &segment, length ^ 1).is_err(), "it is good for one length only");
    assert!(Trailer::decode(bytes, &[0xFE; 16], length).is_err() || segment == [0xFE; 16], "and for one segment");
    let sealed = u64::try_from(trailer.sealed_table_bytes()).unwrap_or(u64::MAX);
    assert_eq!(trailer.table_offset + sealed + TRAILER_BYTES as u64, length, "the parts make the whole");
    let Ok(entries) = decode_table(table, &trailer) else { return false };
    assert_eq!(encode_table(&entries), table, "a table has one stored form");
    assert!(entries.iter().all(|entry| entry.offset < trailer.table_offset));
    true
}
