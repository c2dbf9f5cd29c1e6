//! Promise 3: a vault that lost both headers is read by a key slot alone, and a repair makes them again.

use crate::common;
use crate::common::repair::{content, make, write};
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::{OpenOptions, RepairProgress, RepairSources};
use icecore::{Error, Vault};

const SALVAGE: OpenOptions =
    OpenOptions { salvage: true, read_mode: icecore::media::ReadMode::Pread, cache: common::SMALL_CACHE };

#[test]
fn points_are_read_without_any_header() {
    let made = make();
    for name in ["header", "header-copy"] {
        std::fs::remove_file(made.vault.join(name)).expect("removed");
    }
    let refused = Vault::open(&made.vault, &common::password(), &OpenOptions::default()).map(|_| ());
    assert!(matches!(refused, Err(Error::Damaged(damage)) if damage.object == "header"));
    let before = content(&made.vault);
    let vault = Vault::open(&made.vault, &common::password(), &SALVAGE).expect("opened by the slot");
    for (machine, id, bytes) in &made.points {
        let point = vault.point(machine, id).expect("the point");
        assert!(!point.is_found, "its entry is there");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("it reads"), bytes, machine);
    }
    assert!(common::backup_bytes(&vault, "web", &[("os", b"x")]).is_err(), "nothing is written by a guessed header");
    assert_eq!(content(&made.vault), before);
    // A wrong password is one still.
    let wrong = Vault::open(&made.vault, &Credential::password(*b"wrong"), &SALVAGE).map(|_| ());
    assert!(wrong.is_err());
}

#[test]
fn a_repair_makes_them_again_of_a_slot_and_the_points() {
    for keyed in ["admin", "backup only"] {
        let made = make();
        let backup_only = Credential::password(*b"backup only");
        common::open(&made.vault).add_key(Role::Backup, &backup_only, common::CHEAP).expect("key");
        for name in ["header", "header-copy"] {
            std::fs::write(made.vault.join(name), [0; 100]).expect("damaged");
        }
        let credential = if keyed == "admin" { common::password() } else { backup_only };
        let plan = |credential| {
            Vault::plan_repair(&made.vault, credential, RepairSources::default(), &RepairProgress::default())
        };
        // Without a key they can't be made.
        let keyless = plan(None).expect("a plan");
        assert!(keyless.plan().objects.is_empty() && keyless.plan().remaining.len() == 2);
        let repair = plan(Some(&credential)).expect("a plan");
        assert_eq!(repair.plan().objects.len(), 2, "{keyed}");
        assert!(repair.plan().objects.iter().all(|object| object.from.contains("a key slot and the points")));
        assert!(repair.plan().ends_whole());
        assert_eq!(write(&repair).objects, 2);
        let vault = common::open(&made.vault);
        assert_eq!(vault.header().chunk_bytes(), 4096, "as the points have it, or nothing would be deduplicated");
        let (machine, _, bytes) = &made.points[3];
        let again = common::backup_bytes(&vault, machine, &[("os", bytes)]).expect("backup");
        assert_eq!(again.manifest.disks[0].new_bytes, 0);
        assert!(common::verify(&vault).is_clean());
    }
}

#[test]
fn one_that_is_damaged_comes_back_from_the_other() {
    for name in ["header", "header-copy"] {
        for keyless in [false, true] {
            let made = make();
            for wrong in [None, Some(vec![1; 40]), Some(std::fs::read(make().vault.join("header")).expect("foreign"))] {
                match &wrong {
                    None => std::fs::remove_file(made.vault.join(name)).expect("removed"),
                    Some(bytes) => std::fs::write(made.vault.join(name), bytes).expect("damaged"),
                }
                let none = RepairSources::default;
                let repair = if keyless { made.plan_keyless(none()) } else { made.plan(none()) }.expect("a plan");
                assert_eq!(repair.plan().objects.len(), 1, "{name}");
                assert_eq!(repair.plan().objects[0].is_absent, wrong.is_none());
                write(&repair);
                made.assert_as_copied();
            }
        }
    }
}
