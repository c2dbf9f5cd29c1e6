//! Promise 1: what power loss leaves at any moment of a backup holds every acknowledged point, and no other.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::common;
use crate::common::faults::{Call, FaultyFiles, Plan};
use icecore::Vault;

/// What a disk holds that lost power after the first calls of the log: files that were synced, under names whose
/// folder was synced after they came. The worst that a medium may do that honours fsync.
fn after_power_loss(from: &Path, log: &[(Call, PathBuf)], start: &HashSet<PathBuf>, to: &Path) {
    let mut named: HashSet<PathBuf> = HashSet::new();
    let mut durable = start.clone();
    for (call, path) in log {
        match call {
            Call::Rename | Call::MakeDirectory => drop(named.insert(path.clone())),
            Call::SyncDirectory => {
                let here: Vec<PathBuf> = named.iter().filter(|name| name.parent() == Some(path)).cloned().collect();
                durable.extend(here);
            }
            _ => {}
        }
    }
    let survives =
        |path: &Path| path.ancestors().take_while(|above| *above != from).all(|above| durable.contains(above));
    std::fs::create_dir_all(to).expect("folder");
    for folder in ["keys", "segments", "parity", "catalog", "index", "tmp", "locks"] {
        std::fs::create_dir_all(to.join(folder)).expect("folder");
    }
    for file in common::files(from).into_iter().filter(|file| survives(file)) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("folder")).expect("folder");
        std::fs::copy(&file, &target).expect("copy");
    }
}

fn everything(path: &Path) -> HashSet<PathBuf> {
    let mut all = HashSet::new();
    for file in common::files(path) {
        all.extend(file.ancestors().take_while(|above| *above != path).map(Path::to_path_buf));
    }
    all.extend(["keys", "segments", "parity", "catalog", "index", "tmp", "locks"].map(|folder| path.join(folder)));
    all
}

fn check(path: &Path, points: &[(String, Vec<u8>)], moment: &str) {
    let vault = common::open(path);
    let there = vault.points("m").map(|points| points.len()).unwrap_or(0);
    assert_eq!(there, points.len(), "{moment}");
    for (id, bytes) in points {
        let point = vault.point("m", id).expect(moment);
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect(moment), bytes, moment);
    }
    assert!(common::verify(&vault).is_clean(), "{moment}");
}

fn backup(vault: &Vault, bytes: &[u8]) -> String {
    common::backup_bytes(vault, "m", &[("os", bytes)]).expect("backup").point.id.clone()
}

#[test]
fn power_may_fail_between_any_two_calls() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let faulty = FaultyFiles::new(Plan::NONE);
    let vault = faulty.init(&path, &common::protected()).expect("init");
    let mut bytes = common::noise(1, 1_500_000);
    let mut points: Vec<(String, Vec<u8>)> = Vec::new();
    for day in 0..3 {
        let before = everything(&path);
        faulty.plan(Plan::NONE);
        let id = backup(&vault, &bytes);
        let log = faulty.log();
        let committed = log.iter().position(|(call, path)| {
            *call == Call::Rename && path.extension().is_some_and(|extension| extension == "entry")
        });
        let committed = committed.expect("an entry");
        let acknowledged = committed
            + log[committed..].iter().position(|(call, _)| *call == Call::SyncDirectory).expect("the folder is synced");
        // Files of later days are not there yet: the log goes by names, and what is named later is not durable.
        for end in 0..=log.len() {
            if end > 0 && !matches!(log[end - 1].0, Call::Rename | Call::SyncDirectory | Call::MakeDirectory) {
                continue;
            }
            let lost = folder.path().join(format!("lost-{day}-{end}"));
            after_power_loss(&path, &log[..end], &before, &lost);
            let mut expected = points.clone();
            if end > acknowledged {
                expected.push((id.clone(), bytes.clone()));
            }
            check(&lost, &expected, &format!("day {day}, after call {end} of {}", log.len()));
            std::fs::remove_dir_all(&lost).expect("remove");
        }
        points.push((id, bytes.clone()));
        bytes[day * 100_000..day * 100_000 + 30_000].copy_from_slice(&common::noise(90 + day as u64, 30_000));
    }
}

#[test]
fn every_object_is_synced_before_it_gets_its_name() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let faulty = FaultyFiles::new(Plan::NONE);
    let vault = faulty.init(&path, &common::protected()).expect("init");
    backup(&vault, &common::noise(1, 2_500_000));
    let log = faulty.log();
    let renames = log.iter().filter(|(call, _)| *call == Call::Rename).count();
    let syncs = log.iter().filter(|(call, _)| *call == Call::Sync).count();
    assert_eq!(renames, syncs, "each object is synced once");
    assert!(renames > 2 + 4, "slot, header, segments, entry: {renames}");
    let last_write = |object: &Path| {
        log.iter().rposition(|(call, path)| matches!(call, Call::Write | Call::Create) && path == object)
    };
    for (at, (call, object)) in log.iter().enumerate() {
        if *call == Call::Sync {
            assert!(
                last_write(object).is_some_and(|write| write < at),
                "{} is written after its sync",
                object.display()
            );
        }
    }
}

/// Another writer made the folder of a new machine, and died before its name was durable.
#[test]
fn the_first_entry_of_a_machine_makes_the_name_of_its_folder_durable() {
    let folder = common::scratch();
    let [path, scratch] = ["vault", "scratch"].map(|name| folder.path().join(name));
    let faulty = FaultyFiles::new(Plan::NONE);
    let vault = faulty.init(&path, &common::protected()).expect("init");
    common::copy_folder(&path, &scratch);
    std::fs::create_dir_all(scratch.join("locks")).expect("folder");
    backup(&common::open(&scratch), b"x");
    let chain = common::files(&scratch.join("catalog"))[0].parent().expect("chain").to_path_buf();
    std::fs::create_dir(path.join("catalog").join(chain.file_name().expect("name"))).expect("the other's folder");
    faulty.plan(Plan::NONE);
    backup(&vault, b"x");
    let synced = faulty.log().iter().any(|(call, at)| *call == Call::SyncDirectory && *at == path.join("catalog"));
    assert!(synced, "the chain's folder could vanish with an acknowledged point");
}
