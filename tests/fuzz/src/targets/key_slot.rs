//! Key slots: the stored form, and the payload behind the seal.

use icecore::format::key_slot::{KeySlot, PAYLOAD_PRIVATE, PREFIX, Role, SlotKind};
use icecore::seal::{SlotInfo, open_any};

use super::fix_checksum;
use crate::keys::{self, VAULT};

/// The stored form, with the checksum put right.
pub fn run(data: &[u8]) -> bool {
    decode(data);
    let mut fixed = data.to_vec();
    if let Some(at) = fixed.len().checked_sub(32).filter(|at| *at >= PREFIX) {
        fix_checksum(&mut fixed, at, 32);
    }
    decode(&fixed)
}

fn decode(bytes: &[u8]) -> bool {
    let Ok(slot) = KeySlot::decode(bytes) else { return false };
    assert_eq!(slot.encode(), bytes, "a slot has one stored form");
    if slot.kind == SlotKind::KeyFile {
        // A password's costs are the slot's word: no fuzzer pays them.
        let info = SlotInfo::from(&slot);
        if let Ok((opened, _)) = open_any(&[("slot".to_owned(), slot)], &VAULT, &keys::credential()) {
            assert_eq!(opened, info);
        }
    }
    true
}

/// What a slot's seal holds, for a role that its first byte chooses.
pub fn run_payload(data: &[u8]) -> bool {
    let (role, payload) = match data.split_first() {
        Some((0, payload)) => (Role::Backup, payload),
        Some((1, payload)) => (Role::Restore, payload),
        Some((_, payload)) => (Role::Admin, payload),
        None => return false,
    };
    let slot = keys::slot(role, payload);
    let Ok((info, keys)) = open_any(&[("slot".to_owned(), slot)], &VAULT, &keys::credential()) else { return false };
    assert_eq!(info.role, role);
    assert_eq!(keys.public(), payload[72..104], "the public half stands where FORMAT.md says");
    let has_private = payload.len() == PAYLOAD_PRIVATE;
    assert_eq!(keys.for_role(Role::Restore).is_ok(), has_private);
    true
}
