//! Promises 1 and 4: a hard quota keeps new points from being made and harms nothing else; administrators alone set it, and
//! every key's holder is held to it.

use std::path::Path;

use crate::common;
use crate::common::sources::Meanwhile;
use crate::common::{CHEAP, files};
use icecore::backup::{BackupRequest, Progress};
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::{GcOptions, GcProgress, OpenOptions, Quota, SoftDelete};
use icecore::{Error, Vault};

fn hard(hard_bytes: u64) -> Quota {
    Quota { warn_bytes: 0, hard_bytes }
}

fn backup(vault: &Vault, machine: &str, seed: u64, length: usize) -> icecore::Result<icecore::backup::BackupReport> {
    common::backup_bytes(vault, machine, &[("os", &common::noise(seed, length))])
}

#[track_caller]
fn refused(outcome: icecore::Result<icecore::backup::BackupReport>, of: &str) -> (u64, u64) {
    match outcome {
        Err(Error::OverQuota { machine, counted_bytes, hard_bytes }) if machine == of => (counted_bytes, hard_bytes),
        Err(other) => panic!("{other}"),
        Ok(report) => panic!("{} was made", report.point.name),
    }
}

fn taken(path: &Path) -> u64 {
    let of =
        |folder: &str| files(&path.join(folder)).iter().map(|file| file.metadata().expect("stat").len()).sum::<u64>();
    of("segments") + of("parity")
}

#[test]
fn the_vaults_quota_stops_a_backup_gives_its_space_back_and_harms_nothing() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::protected());
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let first = backup(&vault, "web", 1, 2 << 20).expect("nothing is set").point;
    let second = backup(&vault, "web", 2, 1 << 20).expect("nothing is set").point;
    let before = taken(&path);
    assert_eq!(vault.set_quota(None, hard(before + (3 << 20))).expect("set").counted_bytes, before);
    // As long as it fits it is made, whatever the machine.
    backup(&vault, "db", 3, 1 << 20).expect("within");
    let before = taken(&path);
    let (counted, limit) = refused(backup(&vault, "db", 4, 40 << 20), "");
    assert!(counted > limit && counted < limit + (4 << 20), "it ends as soon as that shows: {counted} of {limit}");
    assert_eq!(taken(&path), before, "its space is given back");
    // What fits but for its parity is refused at the end.
    let room = usize::try_from(limit - before).expect("small");
    refused(backup(&vault, "db", 5, room / 100 * 95), "");
    assert_eq!((taken(&path), vault.points("db").expect("points").len()), (before, 1));
    // Lower than what is there: nothing is made, all else goes on.
    assert!(vault.set_quota(None, hard(before / 2)).expect("set").is_full());
    assert_eq!(refused(backup(&vault, "web", 2, 1 << 20), ""), (before, before / 2));
    assert!(common::verify(&vault).is_clean());
    common::assert_same(&common::restored(&vault, &first, "os").expect("restore"), &common::noise(1, 2 << 20), "web");
    vault.forget(&first, "", false).expect("forgotten");
    vault.gc(&GcOptions::default(), &GcProgress::default()).expect("gc");
    let quotas = vault.quotas().expect("quotas");
    assert_eq!((quotas.len(), quotas[0].counted_bytes), (1, taken(&path)));
    vault.set_quota(None, hard(taken(&path) + (1 << 20))).expect("set");
    backup(&vault, "web", 6, 100_000).expect("there is room again");
    common::assert_same(&common::restored(&vault, &second, "os").expect("restore"), &common::noise(2, 1 << 20), "web");
    vault.set_quota(None, Quota::default()).expect("taken away");
    assert!(vault.quotas().expect("quotas").is_empty());
    backup(&vault, "web", 7, 8 << 20).expect("nothing is set");
}

#[test]
fn a_machine_counts_what_it_would_take_alone() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let mut bytes = common::noise(1, 2 << 20);
    let first = common::backup_bytes(&vault, "web", &[("os", &bytes)]).expect("backup").point;
    let counts = |machine: &str| vault.set_quota(Some(machine), hard(u64::MAX)).expect("set").counted_bytes;
    // Each chunk of 4096 bytes has a tag of 16.
    let whole = 512 * (4096 + 16);
    assert_eq!(counts("web"), whole);
    for round in 0..3 {
        bytes[round * 8192] ^= 1;
        common::backup_bytes(&vault, "web", &[("os", &bytes)]).expect("backup");
    }
    assert_eq!(counts("web"), whole + 3 * (4096 + 16));
    // One that has all in common with another counts it too.
    common::backup_bytes(&vault, "twin", &[("os", &bytes)]).expect("backup");
    assert_eq!(counts("twin"), 2 << 20);
    // When the first point is gone, what the others need of it counts on.
    vault.forget(&first, "", false).expect("forgotten");
    assert_eq!(counts("web"), whole + 3 * (4096 + 16), "until it is purged");
    vault.gc(&GcOptions::default(), &GcProgress::default()).expect("gc");
    assert_eq!(counts("web"), whole + 2 * (4096 + 16));
    assert_eq!(counts("nobody"), 0);

    // Its quota holds for it alone, for a first point too, and is exact.
    vault.set_quota(Some("web"), hard(whole + 4 * (4096 + 16))).expect("set");
    bytes[0] ^= 2;
    bytes[8192] ^= 2;
    common::backup_bytes(&vault, "web", &[("os", &bytes)]).expect("just fits");
    bytes[0] ^= 4;
    refused(common::backup_bytes(&vault, "web", &[("os", &bytes)]), "web");
    common::backup_bytes(&vault, "other", &[("os", &bytes)]).expect("another machine");
    vault.set_quota(Some("new"), hard(whole - 1)).expect("set");
    refused(backup(&vault, "new", 9, 2 << 20), "new");
    // Also where the vault has all of it.
    vault.set_quota(Some("new"), hard((2 << 20) - 1)).expect("set");
    refused(common::backup_bytes(&vault, "new", &[("os", &bytes)]), "new");
    vault.set_quota(Some("new"), hard(2 << 20)).expect("set");
    common::backup_bytes(&vault, "new", &[("os", &bytes)]).expect("fits");
    assert!(common::verify(&vault).is_clean());
}

#[test]
fn a_warning_is_told_and_the_point_is_made() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    vault.set_quota(Some("web"), Quota { warn_bytes: 300_000, hard_bytes: 0 }).expect("set");
    assert!(backup(&vault, "web", 1, 200_000).expect("backup").quota_warnings.is_empty());
    let report = backup(&vault, "web", 2, 200_000).expect("backup");
    assert_eq!(report.quota_warnings.len(), 1);
    assert_eq!(report.quota_warnings, vault.quotas().expect("quotas"), "what is told is what is listed then");
    let wrong = vault.set_quota(Some("web"), Quota { warn_bytes: 2, hard_bytes: 1 });
    assert!(matches!(wrong, Err(Error::Invalid { what: "quota", .. })), "{wrong:?}");
    for name in ["", "a/b", ".x", "latest"] {
        assert!(matches!(vault.set_quota(Some(name), hard(1)), Err(Error::Invalid { .. })), "{name:?}");
    }
}

#[test]
fn administrators_alone_set_it_and_it_outlives_a_rotation() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let credential = Credential::key_file(common::noise(5, 32)).expect("key file");
    admin.add_key(Role::Backup, &credential, CHEAP).expect("add");
    admin.set_quota(Some("web"), hard(100_000)).expect("set");
    let open = || Vault::open(&path, &credential, &OpenOptions::default()).expect("open");
    assert!(matches!(open().set_quota(Some("web"), hard(1 << 30)), Err(Error::NotPermitted { .. })));
    refused(backup(&open(), "web", 1, 200_000), "web");
    let admin = admin.rotate_keys(false).expect("rotated").0;
    for vault in [&admin, &open()] {
        assert_eq!(vault.quota(Some("web")).expect("quota"), hard(100_000));
        refused(backup(vault, "web", 1, 200_000), "web");
    }
    admin.set_quota(Some("web"), hard(300_000)).expect("set");
    backup(&open(), "web", 1, 200_000).expect("there is room");
}

// A backup that began when there was room counts what another made meanwhile.
#[test]
fn of_two_backups_at_once_the_last_is_held_to_the_quota() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    backup(&vault, "web", 1, 1 << 20).expect("nothing is set");
    vault.set_quota(Some("web"), hard(3 << 20)).expect("set");
    for (seed, fits) in [(2, true), (3, false)] {
        let other = common::open(&path);
        let meanwhile = move || drop(backup(&other, "web", 10 + seed, 600_000).expect("within"));
        let disk = Meanwhile::new(common::noise(seed, 600_000), meanwhile);
        let outcome = vault.backup(&BackupRequest::new("web").disk("os", disk), &Progress::default());
        if fits {
            outcome.expect("within");
        } else {
            let (counted, limit) = refused(outcome, "web");
            assert!(counted > limit, "{counted} of {limit}");
        }
    }
    assert_eq!(vault.points("web").expect("points").len(), 4);
    assert!(!vault.quotas().expect("quotas")[0].is_full() && common::verify(&vault).is_clean());
}
