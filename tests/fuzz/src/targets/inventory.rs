//! The inventory that an epoch begins with: the stored form, and what is behind its seal.

use icecore::format::inventory::{Inventory, PREFIX, split};
use icecore::format::with_hash;

use super::{fix_checksum, take_u8};

/// First byte 0: a stored inventory. Else: its payload.
pub fn run(mut data: &[u8]) -> bool {
    if take_u8(&mut data) != 0 {
        return payload(data);
    }
    stored(data);
    let mut fixed = data.to_vec();
    if let Some(at) = fixed.len().checked_sub(32).filter(|at| *at >= PREFIX) {
        fix_checksum(&mut fixed, at, 32);
    }
    stored(&fixed)
}

fn stored(bytes: &[u8]) -> bool {
    let Ok((prefix, bound, payload)) = split(bytes) else { return false };
    assert_eq!(prefix.encode(payload.len() as u64).as_slice(), bound, "the clear part has one stored form");
    assert_eq!(with_hash([bound.as_slice(), payload].concat()), bytes, "and so has the whole");
    true
}

fn payload(bytes: &[u8]) -> bool {
    let Ok(inventory) = Inventory::decode(bytes) else { return false };
    assert_eq!(inventory.encode(), bytes, "an inventory has one stored form");
    assert!(!inventory.is_too_much());
    for segment in &inventory.segments {
        assert!(inventory.has_segment(segment), "what is listed is found");
    }
    for (chain, entries) in &inventory.chains {
        for (sequence, hash) in entries {
            assert!(inventory.has_entry(chain, *sequence, hash), "what is listed is found");
            assert!(!inventory.has_entry(chain, *sequence, &hash.map(|byte| byte ^ 1)), "and nothing else");
        }
    }
    true
}
