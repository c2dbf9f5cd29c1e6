//! Promise 6, told honestly: what a point or a machine is said to need alone is what is given back when it is forgotten.

use std::path::Path;

use crate::common;
use crate::common::{CHEAP, files};
use icecore::format::key_slot::Role;
use icecore::progress::Progress;
use icecore::seal::Credential;
use icecore::vault::{GcOptions, GcProgress, OpenOptions, SoftDelete, Usage};
use icecore::{Error, Vault};

fn usage(vault: &Vault) -> Usage {
    vault.usage(&Progress::default()).expect("usage")
}

/// Gives back all that nobody needs.
fn gc(vault: &Vault) {
    let options = GcOptions { least_dead_percent: 0, ..GcOptions::default() };
    vault.gc(&options, &GcProgress::default()).expect("gc");
}

/// What is in a segment but for its records: header, trailer, and the tag of the table.
const OVERHEAD: u64 = 192 + 96 + 16;

fn segments(path: &Path) -> u64 {
    files(&path.join("segments")).len() as u64
}

/// Three machines: `web` with a history, `twin` that began as its copy, `own` that shares nothing but within itself.
fn vault(path: &Path) -> Vault {
    let vault = common::init(path, &common::small());
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let backup = |machine: &str, disks: &[(&str, &[u8])]| {
        common::backup_bytes(&vault, machine, disks).expect("backup");
    };
    let mut web = common::noise(1, 1_000_000);
    let data = [common::text(2, 300_000), vec![0; 900_000], common::text(2, 300_000)].concat();
    backup("web", &[("os", &web), ("data", &data)]);
    backup("twin", &[("os", &web)]);
    for round in 0..3_u8 {
        let at = 200_000 * usize::from(round);
        web[at..at + 50_000].copy_from_slice(&common::noise(10 + u64::from(round), 50_000));
        backup("web", &[("os", &web), ("data", &data)]);
    }
    // Back to what it was, but for its end.
    let mut back = common::noise(1, 1_000_000);
    back.extend(common::noise(20, 30_000));
    backup("web", &[("os", &back)]);
    backup("twin", &[("os", &back[..500_000])]);
    let own = [common::noise(30, 409_600), common::noise(30, 409_600)].concat();
    backup("own", &[("os", &own)]);
    backup("own", &[("os", &own)]);
    gc(&vault);
    vault
}

#[test]
fn what_is_said_to_be_a_points_alone_is_what_forgetting_it_gives_back() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault(&path);
    let before = usage(&vault);
    assert!(before.damaged.is_empty() && before.unneeded_bytes == 0 && before.unlisted_bytes == 0, "{before:?}");
    let stored = common::segment_bytes(&path);
    assert_eq!(before.needed_bytes + OVERHEAD * segments(&path), stored, "every byte is some record's");
    let all = before.machines.iter().flat_map(|machine| {
        let of = |point: &icecore::vault::PointUsage| {
            (machine.machine.clone(), vec![point.point.clone()], point.unique_bytes)
        };
        machine.points.iter().map(of)
    });
    let every =
        |machine: &icecore::vault::MachineUsage| machine.points.iter().map(|point| point.point.clone()).collect();
    let whole = before.machines.iter().map(|machine| (machine.machine.clone(), every(machine), machine.unique_bytes));
    let mut tried = 0;
    for (number, (machine, points, unique)) in all.chain(whole).enumerate() {
        let copy = folder.path().join(format!("copy-{number}"));
        common::copy_folder(&path, &copy);
        let vault = common::open(&copy);
        for point in &points {
            vault.forget(&vault.point(&machine, point).expect("a point"), "", true).expect("forgotten");
        }
        gc(&vault);
        let after = usage(&vault);
        let what = format!("{machine} {points:?}");
        assert_eq!(after.unneeded_bytes, 0, "{what}");
        assert_eq!(before.needed_bytes - after.needed_bytes, unique, "{what}");
        assert_eq!(after.needed_bytes + OVERHEAD * segments(&copy), common::segment_bytes(&copy), "{what}");
        assert!(common::verify(&vault).is_clean(), "{what}");
        tried += 1;
    }
    assert_eq!(tried, 9 + 3);
    // The numbers themselves, where they can be told in advance.
    let of = |name: &str| before.machines.iter().find(|machine| machine.machine == name).expect("a machine");
    let own = of("own");
    assert!(own.points.iter().all(|point| point.unique_bytes < 4096), "a manifest: {own:?}");
    assert_eq!(own.unique_bytes, own.stored_bytes, "it shares nothing");
    assert!((420_000..440_000).contains(&own.stored_bytes), "what is there twice counts once: {own:?}");
    assert_eq!(own.points[0].used_bytes, 819_200);
    let twin = of("twin");
    assert!(twin.unique_bytes < 20_000 && twin.shared_bytes() > 1_000_000, "{twin:?}");
    let changed = of("web").points[2].unique_bytes;
    assert!(changed < 40_000, "what a later point has too is not its own: {changed}");
}

#[test]
fn forgotten_points_need_what_they_need_until_they_are_purged() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    for seed in [1, 2] {
        let bytes = [common::noise(9, 400_000), common::noise(seed, 100_000)].concat();
        common::backup_bytes(&vault, "web", &[("os", &bytes)]).expect("backup");
    }
    let before = usage(&vault);
    let first = vault.points("web").expect("points").remove(0);
    vault.forget(&first, "", false).expect("forgotten");
    let after = usage(&vault);
    let told: Vec<_> = after.machines[0].points.iter().map(|point| (point.forgotten, point.unique_bytes)).collect();
    let expected: Vec<_> = before.machines[0].points.iter().map(|point| point.unique_bytes).collect();
    assert_eq!(told, [(true, expected[0]), (false, expected[1])]);
    assert!(expected.iter().all(|bytes| (100_000..120_000).contains(bytes)), "{expected:?}");
}

#[test]
fn every_key_counts_and_a_walk_can_be_stopped() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault(&path);
    let credential = Credential::key_file(common::noise(5, 32)).expect("key file");
    vault.add_key(Role::Backup, &credential, CHEAP).expect("add");
    let lesser = Vault::open(&path, &credential, &OpenOptions::default()).expect("open");
    assert_eq!(usage(&lesser).machines, usage(&vault).machines);
    let progress = Progress::default();
    progress.cancel();
    assert!(matches!(vault.usage(&progress), Err(Error::Interrupted)));
    let progress = Progress::default();
    vault.usage(&progress).expect("usage");
    assert!(progress.done_bytes() > 0 && progress.done_bytes() <= progress.total_bytes());
}

#[test]
fn damage_is_told_and_the_rest_is_counted() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    common::backup_bytes(&vault, "web", &[("os", &common::noise(1, 300_000))]).expect("backup");
    let before = files(&path.join("segments"));
    common::backup_bytes(&vault, "db", &[("os", &common::noise(2, 300_000))]).expect("backup");
    let whole = usage(&vault);
    drop(vault);
    // The records of the second point are gone, its manifest and its map among them.
    for file in files(&path.join("segments")).iter().filter(|file| !before.contains(file)) {
        std::fs::remove_file(file).expect("removed");
    }
    let left = usage(&common::open(&path));
    assert_eq!(left.damaged.len(), 1, "{left:?}");
    assert!(left.damaged[0].what.starts_with("db/"), "{left:?}");
    let web = |usage: &Usage| usage.machines.iter().find(|machine| machine.machine == "web").cloned();
    assert_eq!(web(&left), web(&whole));
    assert_eq!(left.machines.len(), 2);
}

#[test]
fn what_grows_and_when_it_is_full_is_told_of_days_enough() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    common::backup_bytes(&vault, "web", &[("os", &common::noise(1, 300_000))]).expect("backup");
    vault.set_quota(Some("web"), icecore::vault::Quota { warn_bytes: 1, hard_bytes: 1 << 40 }).expect("set");
    let stats = vault.stats().expect("stats");
    assert_eq!((stats.growth.bytes_per_day, stats.growth.points), (None, 1), "one day tells nothing");
    let told: Vec<_> = stats.forecasts.iter().map(|forecast| (forecast.limit, forecast.days)).collect();
    use icecore::vault::Limit::{FreeSpace, QuotaHard, QuotaWarning};
    assert_eq!(told, [(QuotaWarning, Some(0)), (QuotaHard, None), (FreeSpace, None)]);
    assert!(stats.free_bytes.is_some_and(|bytes| bytes > 0));
}
