//! An event of the vault's own chain, behind its seal.

use icecore::format::vault_event::VaultEvent;

use crate::keys::vault_keys;

/// The opened payload of an entry.
pub fn run(data: &[u8]) -> bool {
    let Ok((event, signature)) = VaultEvent::decode(data) else { return false };
    assert_eq!([event.encode().as_slice(), signature].concat(), data, "an event has one stored form");
    let object = vault_keys().seal_event(3, &event).expect("sealed");
    let (epoch, opened) = vault_keys().open_event(3, &object).expect("opened");
    assert_eq!((epoch, opened), (0, event), "what was sealed is what is opened");
    assert!(vault_keys().open_event(2, &object).is_err(), "under its own number only");
    true
}
