//! The header of a segment, and the opening of the segment by it.

use icecore::format::segment::{HEADER_BYTES, SegmentHeader};
use icecore::seal::SegmentSeal;

use super::fix_checksum;
use crate::keys::{self, VAULT, vault_keys};

const AUTHENTICATOR_AT: usize = 144;
const CHECKSUM_AT: usize = 176;

pub fn run(data: &[u8]) -> bool {
    let Some(bytes) = data.first_chunk::<HEADER_BYTES>() else { return false };
    decode(bytes);
    let mut fixed = *bytes;
    fix(&mut fixed);
    decode(&fixed)
}

/// Puts authenticator and checksum right, as whoever holds the meta key can.
pub fn fix(header: &mut [u8; HEADER_BYTES]) {
    let key = keys::meta("icecore 1 segment header", &[&VAULT]);
    let authenticator = keys::authenticate(&key, &header[..AUTHENTICATOR_AT]);
    header[AUTHENTICATOR_AT..CHECKSUM_AT].copy_from_slice(&authenticator);
    fix_checksum(header, CHECKSUM_AT, HEADER_BYTES - CHECKSUM_AT);
}

fn decode(bytes: &[u8; HEADER_BYTES]) -> bool {
    let Ok((header, authenticator)) = SegmentHeader::decode(bytes) else { return false };
    assert_eq!(header.encode(authenticator).as_slice(), bytes, "a segment header has one stored form");
    // A content key that was not sealed for this segment is an error, whoever authenticated the header.
    if let Ok(seal) = SegmentSeal::open(vault_keys(), &header.segment, bytes) {
        assert_eq!((seal.segment(), header.vault), (&header.segment, VAULT));
    }
    true
}
