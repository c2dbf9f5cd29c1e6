//! Key slots: the stored form, and the payload behind the seal.

use icecore::format::key_slot::{KeySlot, PREFIX, Role, SlotKind};
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
        let slots = [("slot".to_owned(), slot)];
        if let Ok(opened) = open_any(&slots, &VAULT, &keys::credential(), |opened, _| Ok(opened)) {
            assert_eq!(opened, info);
        }
    }
    true
}

/// What a slot's seal holds, for a role and an epoch that its first two bytes choose.
pub fn run_payload(data: &[u8]) -> bool {
    let Some(([role, epoch], payload)) = data.split_first_chunk::<2>() else { return false };
    let role = match role {
        0 => Role::Backup,
        1 => Role::Restore,
        _ => Role::Admin,
    };
    let epoch = u32::from(epoch % 4);
    // The stored form tells the length, so another one does not get this far.
    if payload.len() != role.payload_bytes(epoch) {
        return false;
    }
    let slots = [("slot".to_owned(), keys::slot(role, epoch, payload))];
    let opened = open_any(&slots, &VAULT, &keys::credential(), |info, keys| Ok((info, keys)));
    let Ok((info, keys)) = opened else { return false };
    assert_eq!((info.role, info.epoch, keys.epoch()), (role, epoch, epoch));
    assert_eq!(keys.public(), payload[72..104], "the public half stands where FORMAT.md says");
    assert_eq!(keys.for_role(Role::Restore).is_ok(), role.reads_data());
    assert_eq!(keys.for_role(Role::Admin).is_ok(), role == Role::Admin);
    true
}
