//! Notes of what was checked when.

use icecore::format::check_note;

use super::with_checksum;

/// The stored form, as it is and with the checksum put right.
pub fn run(data: &[u8]) -> bool {
    with_checksum(data, decode)
}

fn decode(bytes: &[u8]) -> bool {
    let Ok((vault, entries)) = check_note::decode(bytes) else { return false };
    assert_eq!(check_note::encode(&vault, &entries), bytes, "a note has one stored form");
    true
}
