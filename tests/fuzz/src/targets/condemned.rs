//! Lists of segments that are about to be removed.

use icecore::format::condemned;

use super::with_checksum;

/// The stored form, as it is and with the checksum put right.
pub fn run(data: &[u8]) -> bool {
    with_checksum(data, decode)
}

fn decode(bytes: &[u8]) -> bool {
    let Ok((vault, ids)) = condemned::decode(bytes) else { return false };
    assert_eq!(condemned::encode(&vault, &ids), bytes, "a list has one stored form");
    true
}
