//! Promises 3 and 4: the vault's own chain, the list of what there was before a rotation and slots of a rotated vault come
//! back from a copy; no older state of them takes their place; what they held together is read without them;
//! and where nothing has the chain's end, that the newest epoch began is written down anew.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::repair::{Made, content, flip, make, write};
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::{OpenOptions, RepairSources};
use icecore::{Error, Vault};

fn revoked() -> Credential {
    Credential::password(*b"revoked")
}

/// A vault whose keys were rotated after a slot was removed, with a point from after that, and a copy of it as it is then.
struct Rotated {
    made: Made,
    /// A copy from before the slot was removed.
    older: PathBuf,
    own_chain: PathBuf,
}

fn rotated() -> Rotated {
    let mut made = make();
    let vault = common::open(&made.vault);
    let id = vault.add_key(Role::Restore, &revoked(), common::CHEAP).expect("key").info.id;
    let folders = |made: &Made| -> Vec<PathBuf> {
        let listed = std::fs::read_dir(made.vault.join("catalog")).expect("the catalog");
        listed.map(|entry| entry.expect("an entry").path()).collect()
    };
    let before = folders(&made);
    let older = made.folder.path().join("older");
    common::copy_folder(&made.vault, &older);
    vault.remove_key(&id, false).expect("removed");
    let vault = vault.rotate_keys(false).expect("rotated").0;
    let bytes = common::noise(77, 200_000);
    let report = common::backup_bytes(&vault, "web", &[("os", &bytes)]).expect("backup");
    made.points.push(("web", report.point.id.clone(), bytes));
    drop(vault);
    std::fs::remove_dir_all(&made.copy).expect("the copy of before");
    common::copy_folder(&made.vault, &made.copy);
    let own_chain = folders(&made).into_iter().find(|folder| !before.contains(folder)).expect("the own chain");
    Rotated { made, older, own_chain }
}

fn inventory(vault: &Path) -> PathBuf {
    common::files(&vault.join("epochs")).remove(0)
}

#[test]
fn they_come_back_from_a_copy() {
    let Rotated { made, own_chain, .. } = rotated();
    let entries = common::files(&own_chain);
    assert_eq!(entries.len(), 2, "a removal and a rotation");
    let slot = common::files(&made.vault.join("keys")).remove(0);
    let list = inventory(&made.vault);
    for hurt in [vec![&entries[0]], vec![&entries[1]], vec![&entries[0], &entries[1]], vec![&list], vec![&slot]] {
        for absent in [false, true] {
            for file in &hurt {
                if absent { std::fs::remove_file(file).expect("removed") } else { flip(file, 40) }
            }
            let before = content(&made.vault);
            let repair = made.plan(made.copied()).expect("a plan");
            assert_eq!(content(&made.vault), before, "a plan changes nothing");
            let plan = repair.plan();
            assert_eq!(plan.objects.len(), hurt.len(), "{hurt:?}, absent {absent}: {:?}", plan.remaining);
            assert!(plan.ends_whole() && plan.records == 0 && plan.mended.is_empty(), "{:?}", plan.remaining);
            assert_eq!(write(&repair).objects, hurt.len() as u64);
            made.assert_as_copied();
            made.assert_whole();
            assert!(common::verify(&common::open(&made.vault)).is_clean());
        }
    }
}

#[test]
fn an_older_copy_gives_no_older_state() {
    let Rotated { made, older, own_chain } = rotated();
    std::fs::remove_dir_all(&own_chain).expect("removed");
    std::fs::remove_file(inventory(&made.vault)).expect("removed");
    let slot = common::files(&made.vault.join("keys")).remove(0);
    for keyless in [false, true] {
        let sources = RepairSources::default().copy(&older);
        let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
        assert!(repair.plan().objects.is_empty(), "{:?}", repair.plan().objects);
        assert_eq!(repair.plan().remaining.len(), if keyless { 0 } else { 2 }, "only the keys tell that they are gone");
        write(&repair);
        assert!(!own_chain.exists());
    }
    assert_eq!(common::files(&made.vault.join("keys")), std::slice::from_ref(&slot));
    // The only slot damaged: those of the copy are of before the rotation, and one was removed since.
    flip(&slot, 40);
    let repair = made.plan_keyless(RepairSources::default().copy(&older)).expect("a plan");
    write(&repair);
    assert_eq!(common::files(&made.vault.join("keys")), [slot]);
    let opened = Vault::open(&made.vault, &revoked(), &OpenOptions::default());
    assert!(opened.is_err(), "what was removed opens nothing");
}

#[test]
fn that_the_newest_epoch_began_is_written_down_anew() {
    let Rotated { made, own_chain, .. } = rotated();
    std::fs::remove_dir_all(&own_chain).expect("removed");
    let repair = made.plan(RepairSources::default()).expect("a plan");
    assert_eq!(repair.plan().objects.len(), 1);
    assert!(repair.plan().ends_whole(), "{:?}", repair.plan().remaining);
    assert_eq!(write(&repair).objects, 1);
    made.assert_whole();
    let vault = common::open(&made.vault);
    assert_eq!(vault.opened_by().epoch, 1);
    assert!(common::verify(&vault).is_clean());
    common::backup_bytes(&vault, "web", &[("os", &common::noise(78, 50_000))]).expect("it is written again");
    assert!(vault.rotate_keys(false).is_ok(), "and rotated");
}

#[test]
fn points_are_read_without_them() {
    let Rotated { made, own_chain, .. } = rotated();
    std::fs::remove_dir_all(&own_chain).expect("removed");
    std::fs::remove_file(inventory(&made.vault)).expect("removed");
    let options = OpenOptions { salvage: true, ..OpenOptions::default() };
    let vault = Vault::open(&made.vault, &common::password(), &options).expect("it opens to be read");
    assert_eq!(vault.catalog_damage().len(), 2, "what is lost is told");
    for (machine, id, bytes) in &made.points {
        let point = vault.point(machine, id).expect("the point");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), bytes, machine);
    }
    let opened = Vault::open(&made.copy, &revoked(), &OpenOptions::default());
    assert!(matches!(opened, Err(Error::WrongKey { .. })));
}

#[test]
fn what_was_forged_with_old_keys_comes_in_from_no_copy() {
    for (keyless, adopt) in [(false, false), (false, true), (true, false)] {
        let Rotated { made, older, .. } = rotated();
        // Whoever has the old keys makes points in a copy from before the rotation.
        let forger = common::open(&older);
        for (machine, seed) in [("web", 91), ("mail", 92)] {
            common::backup_bytes(&forger, machine, &[("os", &common::noise(seed, 200_000))]).expect("backup");
        }
        drop(forger);
        let points = |vault: &Vault| -> Vec<String> {
            let machines = vault.machines();
            let points = machines.iter().flat_map(|machine| vault.points(machine).expect("points"));
            points.map(|point| point.id.clone()).collect()
        };
        let before = points(&common::open(&made.vault));
        let sources = RepairSources::default().copy(&older);
        let sources = if adopt { sources.adopt() } else { sources };
        let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
        write(&repair);
        let vault = common::open(&made.vault);
        assert_eq!(points(&vault), before, "keyless {keyless}, adopt {adopt}");
        made.assert_whole();
        // What a repair without a key brings in counts for nobody.
        common::backup_bytes(&vault, "mail", &[("os", &common::noise(92, 200_000))]).expect("backup");
        let vault = common::open(&made.vault);
        let made = vault.points("mail").expect("points").remove(0);
        common::assert_same(
            &common::disk_bytes(&vault, &made, "os").expect("read"),
            &common::noise(92, 200_000),
            "mail",
        );
        let report = common::verify(&vault);
        assert!(report.hit.is_empty() && (keyless || report.is_clean()), "{:?} {:?}", report.damage, report.hit);
    }
}

#[test]
fn a_header_that_nothing_tells_is_found_by_the_hash_that_the_rotation_kept() {
    for options in [
        icecore::vault::InitOptions { parity_percent: 10, level: 3, ..common::protected() },
        icecore::vault::InitOptions { parity_percent: 0, segment_bytes: 8 << 20, ..common::protected() },
    ] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = common::init(&path, &options);
        common::backup_bytes(&vault, "m", &[("os", &common::noise(1, 100_000))]).expect("backup");
        drop(vault.rotate_keys(false).expect("rotated"));
        let before = std::fs::read(path.join("header")).expect("read");
        for name in ["header", "header-copy"] {
            std::fs::remove_file(path.join(name)).expect("removed");
        }
        let progress = icecore::vault::RepairProgress::default();
        let plan = Vault::plan_repair(&path, Some(&common::password()), RepairSources::default(), &progress);
        assert_eq!(write(&plan.expect("a plan")).objects, 2);
        assert_eq!(std::fs::read(path.join("header")).expect("read"), before, "byte for byte");
        assert!(common::verify(&common::open(&path)).is_clean());
    }
}
