//! Promises 3 and 4: headers, key slots and catalog entries come back from a copy, and nothing is rolled back or forked.

use crate::common;
use crate::common::repair::{Made, content, flip, make, write};
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::{OpenOptions, RepairSources};
use icecore::{Error, Vault};

fn entries(made: &Made) -> Vec<std::path::PathBuf> {
    common::files(&made.vault.join("catalog"))
}

/// Without a key, with what only the copy has.
fn plan(made: &Made, keyless: bool) -> icecore::vault::Repair {
    let sources = made.copied();
    if keyless { made.plan_keyless(sources.gone()) } else { made.plan(sources) }.expect("a plan")
}

#[test]
fn whatever_of_them_is_damaged_or_gone() {
    for keyless in [false, true] {
        for absent in [false, true] {
            let made = make();
            let mut hurt = entries(&made);
            hurt.push(made.vault.join("header"));
            hurt.push(made.vault.join("header-copy"));
            hurt.extend(common::files(&made.vault.join("keys")));
            for file in &hurt {
                if absent { std::fs::remove_file(file).expect("removed") } else { flip(file, 60) }
            }
            assert!(Vault::open(&made.vault, &common::password(), &OpenOptions::default()).is_err());
            let before = content(&made.vault);
            let repair = plan(&made, keyless);
            assert_eq!(content(&made.vault), before);
            assert_eq!(repair.plan().objects.len(), hurt.len(), "keyless {keyless}, absent {absent}");
            assert!(repair.plan().objects.iter().all(|object| object.is_absent == absent));
            assert_eq!(write(&repair).objects, hurt.len() as u64);
            made.assert_as_copied();
            made.assert_whole();
            assert!(common::verify(&common::open(&made.vault)).is_clean());
        }
    }
}

#[test]
fn a_slot_that_was_removed_stays_removed() {
    let made = make();
    let revoked = Credential::password(*b"revoked");
    let id = common::open(&made.vault).add_key(Role::Restore, &revoked, common::CHEAP).expect("key").info.id;
    common::copy_folder(&made.vault, &made.copy);
    common::open(&made.vault).remove_key(&id, false).expect("removed");
    for keyless in [false, true] {
        let repair = plan(&made, keyless);
        assert!(repair.plan().objects.is_empty() && !repair.plan().has_work());
        write(&repair);
        let opened = Vault::open(&made.vault, &revoked, &OpenOptions::default());
        assert!(matches!(opened, Err(Error::WrongKey { .. })));
    }
}

#[test]
fn an_older_copy_rolls_nothing_back() {
    let made = make();
    let bytes = common::noise(50, 100_000);
    let newer = common::backup_bytes(&common::open(&made.vault), "web", &[("os", &bytes)]).expect("backup").point;
    let before = content(&made.vault.join("catalog"));
    for keyless in [false, true] {
        let repair = plan(&made, keyless);
        assert!(!repair.plan().has_work() && repair.plan().damage.is_empty());
        assert_eq!(repair.plan().copies[0].lacks, 2, "that the copy is older is told");
    }
    assert_eq!(content(&made.vault.join("catalog")), before);
    // What the copy has of an older time is as good as ever.
    flip(&made.segments(1)[0], 5000);
    let repair = plan(&made, false);
    if !repair.plan().mended.is_empty() {
        write(&repair);
        made.assert_whole();
    }
    let vault = common::open(&made.vault);
    common::assert_same(&common::disk_bytes(&vault, &newer, "os").expect("it reads"), &bytes, "the newer point");
}

#[test]
fn newest_entries_that_are_gone_come_back_where_they_follow() {
    for keyless in [false, true] {
        let made = make();
        let cut: Vec<_> = entries(&made).into_iter().filter(|file| file.ends_with("0000000000000001.entry")).collect();
        assert_eq!(cut.len(), 2);
        for file in &cut {
            std::fs::remove_file(file).expect("removed");
        }
        // Without a key nobody can tell whether they were ever there.
        let unasked = made.plan_keyless(made.copied()).expect("a plan");
        assert!(!unasked.plan().has_work() && unasked.plan().only_elsewhere == 2);
        assert_eq!(write(&plan(&made, keyless)).objects, 2);
        made.assert_as_copied();
    }
}

#[test]
fn what_went_another_way_is_no_fork() {
    for keyless in [false, true] {
        let made = make();
        // The vault lost its newest entry of a chain, and then made another one: the copy's must not take any place.
        let cut = entries(&made).into_iter().find(|file| file.ends_with("0000000000000001.entry")).expect("an entry");
        std::fs::remove_file(&cut).expect("removed");
        let mut own = Vec::new();
        for (seed, machine) in [(60, "web"), (61, "db")] {
            let bytes = common::noise(seed, 50_000);
            let vault = common::open(&made.vault);
            own.push((
                machine,
                common::backup_bytes(&vault, machine, &[("os", &bytes)]).expect("backup").point.id.clone(),
            ));
        }
        let before = content(&made.vault.join("catalog"));
        write(&plan(&made, keyless));
        assert_eq!(content(&made.vault.join("catalog")), before, "keyless {keyless}: all numbers are taken");
        // Its own entry of that number is damaged now; the one after it binds that, and not the copy's.
        let bytes = common::noise(62, 50_000);
        for machine in ["web", "db"] {
            common::backup_bytes(&common::open(&made.vault), machine, &[("os", &bytes)]).expect("backup");
        }
        flip(&cut, 150);
        let repair = plan(&made, keyless);
        let object = common::object(&made.vault, &cut);
        if !keyless {
            assert!(!repair.plan().objects.iter().any(|restored| restored.object == object), "it would be a fork");
            assert!(repair.plan().remaining.iter().any(|error| error.object() == Some(&object)));
        }
        write(&repair);
        let vault = common::open(&made.vault);
        let told: Vec<_> = vault.catalog_damage().into_iter().map(|damage| damage.object).collect();
        if !keyless {
            assert_eq!(told, [object], "the chain is as it was");
        }
    }
}

#[test]
fn an_entry_that_a_later_one_binds_as_it_is_damaged_stays() {
    let made = make();
    let damaged = entries(&made).into_iter().find(|file| file.ends_with("0000000000000001.entry")).expect("an entry");
    flip(&damaged, 150);
    // The backups after it bind the bytes that are there.
    for machine in ["web", "db"] {
        let vault = common::open(&made.vault);
        common::backup_bytes(&vault, machine, &[("os", &common::noise(70, 50_000))]).expect("backup");
    }
    let repair = plan(&made, false);
    assert!(repair.plan().objects.is_empty(), "it would break the chain");
    assert_eq!(repair.plan().remaining.len(), 1);
    // The point itself is not lost: it is found in its segment, and can be entered anew.
    let repair = made.plan(RepairSources::default().adopt()).expect("a plan");
    assert_eq!(repair.plan().adopted.len(), 1);
    write(&repair);
    made.assert_whole();
}

#[test]
fn a_copy_whose_objects_are_damaged_too_gives_none() {
    let made = make();
    for file in entries(&made).into_iter().chain([made.vault.join("header")]) {
        flip(&file, 60);
        flip(&made.in_copy(&file), 61);
    }
    flip(&made.vault.join("header-copy"), 60);
    flip(&made.copy.join("header-copy"), 60);
    let repair = plan(&made, false);
    assert_eq!(repair.plan().remaining.len(), 4);
    assert!(repair.plan().objects.iter().all(|object| object.object.starts_with("header")));
}
