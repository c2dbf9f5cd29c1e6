//! Promise 4: a wrong password, a damaged slot and a damaged header are told apart; keys are managed by admins only.

use std::path::Path;

use crate::common;
use crate::common::{CHEAP, files};
use icecore::format::key_slot::Role;
use icecore::seal::{Credential, PasswordCost};
use icecore::vault::{InitOptions, OpenOptions};
use icecore::{Error, ErrorKind, Result, Vault};

fn open(path: &Path, credential: &Credential) -> Result<Vault> {
    Vault::open(path, credential, &OpenOptions::default())
}

fn key_file(seed: u64) -> Credential {
    Credential::key_file(common::noise(seed, 64)).expect("long enough")
}

#[test]
fn what_is_wrong_with_a_key_is_told_by_kind() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    drop(common::init(&path, &common::small()));
    for wrong in [Credential::password(*b"correct horsf"), Credential::password(*b""), key_file(1)] {
        let error = open(&path, &wrong).map(|_| ()).expect_err("wrong key");
        assert!(matches!(error, Error::WrongKey { slots: 1 }), "{error}");
        assert_eq!(error.kind(), ErrorKind::KeyHolder);
    }
    let slot = files(&path.join("keys")).remove(0);
    let original = std::fs::read(&slot).expect("slot");
    for at in [14, 70, 100, 130, original.len() - 1] {
        let mut bytes = original.clone();
        bytes[at] ^= 1;
        std::fs::write(&slot, bytes).expect("damage");
        for credential in [common::password(), Credential::password(*b"wrong")] {
            let error = open(&path, &credential).map(|_| ()).expect_err("damaged");
            let Error::Damaged(damage) = &error else { panic!("byte {at}: {error}") };
            assert_eq!(damage.object, common::object(&path, &slot));
        }
    }
    // Changed by somebody who can make checksums: that opens nothing, as a wrong password does.
    let mut forged = original.clone();
    forged[64] ^= 1;
    reseal(&mut forged);
    std::fs::write(&slot, &forged).expect("forge");
    assert!(matches!(open(&path, &common::password()), Err(Error::WrongKey { .. })));
    // A role that was not given: the payload's seal knows.
    let mut forged = original.clone();
    forged[13] = 2;
    reseal(&mut forged);
    std::fs::write(&slot, &forged).expect("forge");
    assert_eq!(open(&path, &common::password()).map(|_| ()).expect_err("forged").kind(), ErrorKind::Damaged);
    std::fs::write(&slot, original).expect("repair");

    // The header, changed with a checksum that fits: only the key tells.
    let header = path.join("header");
    let mut forged = std::fs::read(&header).expect("header");
    forged[42] = 9;
    let sum = *blake3::hash(&forged[..144]).as_bytes();
    forged[144..].copy_from_slice(&sum);
    let level = common::open(&path).header().level;
    std::fs::write(&header, forged).expect("forge");
    assert_eq!(common::open(&path).header().level, level, "the copy tells the truth");
    std::fs::remove_file(path.join("header-copy")).expect("remove");
    let error = open(&path, &common::password()).map(|_| ()).expect_err("forged header");
    assert!(matches!(&error, Error::Damaged(damage) if damage.object == "header"), "{error}");
    assert!(matches!(open(&path, &Credential::password(*b"wrong")), Err(Error::WrongKey { .. })));
}

#[test]
fn a_slot_that_cannot_be_read_is_not_called_absent() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let id = vault.add_key(Role::Restore, &key_file(1), CHEAP).expect("key").info.id;
    let name = format!("keys/{id}-00000000.slot");
    std::fs::write(path.join(&name), b"garbage").expect("damage");
    let error = vault.remove_key(&id, false).expect_err("damaged");
    assert_eq!((error.kind(), error.object()), (ErrorKind::Damaged, Some(name.as_str())), "{error}");
    std::fs::remove_file(path.join(&name)).expect("remove");
    assert!(matches!(vault.remove_key(&id, false), Err(Error::Invalid { .. })));
}

/// Makes the checksum of a slot fit again.
fn reseal(slot: &mut [u8]) {
    let end = slot.len() - 32;
    let sum = *blake3::hash(&slot[..end]).as_bytes();
    slot[end..].copy_from_slice(&sum);
}

#[test]
fn absurd_costs_in_a_slot_are_refused_before_they_are_paid() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    drop(common::init(&path, &common::small()));
    let slot = files(&path.join("keys")).remove(0);
    let original = std::fs::read(&slot).expect("slot");
    for (at, value) in [(48, u32::MAX), (48, 0), (52, u32::MAX), (52, (4 << 20) + 1), (52, 0), (56, 65), (56, 0)] {
        let mut bytes = original.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        reseal(&mut bytes);
        std::fs::write(&slot, bytes).expect("forge");
        let before = peak_memory_kib();
        let error = open(&path, &common::password()).map(|_| ()).expect_err("refused");
        assert!(matches!(&error, Error::Damaged(_)), "{value} at {at}: {error}");
        assert!(peak_memory_kib() < before + (64 << 10), "{value} at {at} was allocated");
    }
    // Costs that Argon2 itself refuses hide this slot, not the others.
    std::fs::write(&slot, &original).expect("repair");
    let vault = common::open(&path);
    vault.add_key(Role::Admin, &Credential::password(*b"second"), CHEAP).expect("key");
    let mut bytes = original.clone();
    bytes[56..60].copy_from_slice(&64_u32.to_le_bytes());
    reseal(&mut bytes);
    std::fs::write(&slot, bytes).expect("forge");
    assert!(open(&path, &Credential::password(*b"second")).is_ok(), "a forged slot closes the vault for others");
    let error = open(&path, &Credential::password(*b"wrong")).map(|_| ()).expect_err("wrong");
    assert_eq!(error.kind(), ErrorKind::Damaged, "who is to act is not the caller: {error}");
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn keys_are_added_and_removed_by_admins_and_one_admin_stays() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let first = admin.opened_by().id.clone();
    let roles =
        [(Role::Backup, key_file(1)), (Role::Restore, key_file(2)), (Role::Admin, Credential::password(*b"two"))];
    for (role, credential) in &roles {
        let added = admin.add_key(*role, credential, CHEAP).expect("add");
        let vault = open(&path, credential).expect("open");
        assert_eq!((vault.opened_by().role, &vault.opened_by().id), (*role, &added.info.id));
        if *role != Role::Admin {
            let refused = vault.add_key(Role::Backup, &key_file(9), CHEAP).expect_err("no admin");
            assert!(matches!(refused, Error::NotPermitted { .. }), "{refused}");
            assert!(matches!(vault.remove_key(&first, true), Err(Error::NotPermitted { .. })));
        }
    }
    assert_eq!(admin.key_slots().expect("slots").len(), 4);
    admin.remove_key(&first, true).expect("another admin is left");
    assert!(matches!(open(&path, &common::password()), Err(Error::WrongKey { slots: 3 })));
    let second = open(&path, &Credential::password(*b"two")).expect("open");
    assert!(matches!(second.remove_key(&second.opened_by().id, true), Err(Error::LastAdminSlot)));
    assert!(matches!(second.remove_key("0011223344556677", false), Err(Error::Invalid { .. })));
    for slot in second.key_slots().expect("slots").iter().filter(|slot| slot.info.role != Role::Admin) {
        second.remove_key(&slot.info.id, false).expect("remove");
    }
    assert!(matches!(open(&path, &key_file(1)), Err(Error::WrongKey { slots: 1 })));
    assert!(matches!(Credential::key_file(vec![1; 31]), Err(Error::Invalid { .. })));
}

#[test]
fn a_slot_under_another_name_does_not_outlive_its_removal() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let leaver = Credential::password(*b"leaver");
    let slot = admin.add_key(Role::Restore, &leaver, CHEAP).expect("add").info.id;
    let file = path.join(format!("keys/{slot}-00000000.slot"));
    std::fs::copy(&file, path.join("keys/0123456789abcdef-00000000.slot")).expect("copy");
    admin.remove_key(&slot, false).expect("remove");
    assert!(open(&path, &leaver).is_err(), "the copy still opens the vault");
    assert!(!common::verify(&common::open(&path)).is_clean(), "and nobody is told of it");
}

/// Power was lost before the header was written, and `init` called again.
#[test]
fn the_slot_of_an_init_that_did_not_get_to_its_end_is_a_stranger() {
    let folder = common::scratch();
    let [path, killed] = ["vault", "killed"].map(|name| folder.path().join(name));
    drop(common::init(&path, &common::small()));
    let first = Credential::password(*b"of the first try");
    drop(Vault::init(&killed, &first, &common::small()).expect("init"));
    let stranger = files(&killed.join("keys")).remove(0);
    std::fs::copy(&stranger, path.join("keys").join(stranger.file_name().expect("name"))).expect("copy");
    common::open(&path);
    for wrong in [Credential::password(*b"wrong"), first] {
        let error = open(&path, &wrong).map(|_| ()).expect_err("opens nothing here");
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    }
}

#[test]
fn default_costs_are_those_of_the_design() {
    let cost = InitOptions::default().password_cost;
    assert_eq!(cost, PasswordCost::default());
    assert!(cost.passes >= 3 && cost.memory_kib >= 64 << 10);
}
