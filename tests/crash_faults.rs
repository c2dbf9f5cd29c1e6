//! Promise 1: whichever call of the file system fails, once or for good, no acknowledged point is hurt and none is half made.

mod common;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use common::faults::{Call, FaultyFiles, Plan};
use common::files;
use icecore::vault::InitOptions;
use icecore::{Error, ErrorKind, Result};

/// Few chunks, so that few calls are reads of records; more than one segment.
fn options() -> InitOptions {
    InitOptions { chunk_bytes: 64 << 10, ..common::small() }
}

fn first_day() -> [Vec<u8>; 2] {
    // More than one segment of data, so that one is published while others are written.
    [common::noise(1, 1_200_000), common::text(2, 100_000)]
}

fn second_day() -> [Vec<u8>; 2] {
    let [mut os, data] = first_day();
    os[500_000..700_000].copy_from_slice(&common::noise(3, 200_000));
    [os, data]
}

fn named(disks: &[Vec<u8>; 2]) -> [(&str, &[u8]); 2] {
    [("os", &disks[0]), ("data", &disks[1])]
}

/// What was acknowledged before the first failure.
#[derive(Default)]
struct Acknowledged {
    vault: bool,
    points: Vec<(String, [Vec<u8>; 2])>,
}

/// Init, a backup of two disks, a second backup, each going on where the one before failed.
fn workload(faulty: &FaultyFiles, path: &Path, done: &mut Acknowledged) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut vault = match faulty.init(path, &options()) {
        Ok(vault) => vault,
        Err(error) => return vec![error],
    };
    done.vault = true;
    for disks in [first_day(), second_day()] {
        match common::backup_bytes(&vault, "m", &named(&disks)) {
            Ok(report) => done.points.push((report.point.id.clone(), disks)),
            Err(error) => errors.push(error),
        }
        match faulty.open(path) {
            Ok(again) => vault = again,
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Everything acknowledged is there and right; every point that is there is right; the vault takes a new backup.
fn check(path: &Path, done: &Acknowledged, what: &str) {
    if !done.vault {
        // A failed init leaves nothing, or something that a second init completes, or a whole vault.
        let vault = match icecore::Vault::init(path, &common::password(), &options()) {
            Err(Error::VaultExists { .. }) => common::open(path),
            made => {
                made.unwrap_or_else(|error| panic!("{what}: init again: {error}"));
                common::open(path)
            }
        };
        common::backup_bytes(&vault, "m", &named(&first_day())).expect("backup after a failed init");
        return;
    }
    let vault = common::open(path);
    let read = |id: &str, disks: &[Vec<u8>; 2]| -> Result<()> {
        let point = vault.point("m", id)?;
        for (name, bytes) in named(disks) {
            common::assert_same(&common::disk_bytes(&vault, &point, name)?, bytes, what);
        }
        Ok(())
    };
    for (id, disks) in &done.points {
        read(id, disks).unwrap_or_else(|error| panic!("{what}: an acknowledged point: {error}"));
    }
    for point in vault.points("m").unwrap_or_default() {
        if !done.points.iter().any(|(id, _)| *id == point.id) {
            // Its last sync failed after the commit: nobody was told of it, but it is whole.
            let os = common::disk_bytes(&vault, &point, "os").unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!([first_day(), second_day()].iter().any(|day| day[0] == os), "{what}: a point of other bytes");
        }
    }
    assert!(common::verify(&vault).is_clean(), "{what}");
    let report = common::backup_bytes(&vault, "m", &named(&second_day())).expect("the next backup");
    assert_eq!(report.manifest.disks.len(), 2);
    assert_eq!(files(&path.join("tmp")), Vec::<std::path::PathBuf>::new(), "{what}: what was abandoned is gone");
}

/// Runs on another thread and fails where it takes too long: a hang must not hang the tests.
fn watched(what: String, work: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        work();
        let _ = sender.send(());
    });
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        _ => worker.join().unwrap_or_else(|_| panic!("{what} failed")),
    }
}

fn number_of_calls() -> u64 {
    let folder = common::scratch();
    let faulty = FaultyFiles::new(Plan::NONE);
    let mut done = Acknowledged::default();
    assert!(workload(&faulty, &folder.path().join("vault"), &mut done).is_empty());
    assert_eq!(done.points.len(), 2);
    faulty.calls()
}

fn fail_each(for_ever: bool, errno: i32, step: usize) {
    let calls = number_of_calls();
    // Threads make the order of calls vary a little; each number hits something in any case.
    for nth in (1..=calls).step_by(step) {
        let what = format!("call {nth} of {calls} fails with errno {errno}, for ever: {for_ever}");
        watched(what.clone(), move || {
            let folder = common::scratch();
            let path = folder.path().join("vault");
            let faulty = FaultyFiles::new(Plan { nth, for_ever, errno, ..Plan::NONE });
            let mut done = Acknowledged::default();
            for error in workload(&faulty, &path, &mut done) {
                assert_eq!(error.kind(), ErrorKind::Medium, "{what}: {error}");
                assert!(!matches!(error, Error::Source { .. }), "{what}: the vault failed, not the disk: {error}");
                assert_eq!(error.is_out_of_space(), errno == libc::ENOSPC, "{what}: {error}");
            }
            check(&path, &done, &what);
        });
    }
}

#[test]
fn any_call_fails_once_with_eio() {
    fail_each(false, libc::EIO, 1);
}

#[test]
fn from_any_call_on_everything_fails_with_eio() {
    fail_each(true, libc::EIO, 2);
}

#[test]
fn any_call_fails_once_for_want_of_space() {
    fail_each(false, libc::ENOSPC, 2);
}

#[test]
fn a_failed_sync_is_never_tried_again_and_publishes_nothing() {
    for nth in 1..=6 {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let faulty = FaultyFiles::new(Plan::NONE);
        let vault = faulty.init(&path, &options()).expect("init");
        faulty.plan(Plan { nth, counts: |call| call == Call::Sync, ..Plan::NONE });
        let outcome = common::backup_bytes(&vault, "m", &named(&first_day()));
        let log = faulty.log();
        let synced: Vec<_> = log.iter().filter(|(call, _)| *call == Call::Sync).map(|(_, path)| path).collect();
        if faulty.failed() == 0 {
            assert!(outcome.is_ok() && nth > 3, "sync {nth} is one too many");
            continue;
        }
        let failed = synced[usize::try_from(nth).expect("small") - 1];
        assert_eq!(synced.iter().filter(|path| **path == failed).count(), 1, "sync {nth}: tried again");
        match outcome {
            Ok(report) => {
                // Only the index may fail without anybody being told.
                let index = log.iter().any(|(call, path)| *call == Call::Rename && path.ends_with(".run"));
                assert!(!index && report.point.id.len() == 32);
            }
            Err(error) => {
                assert!(matches!(&error, Error::Vault { operation: "sync", .. }), "{error}");
                assert!(vault.points("m").is_err(), "sync {nth}: no point");
                assert!(files(&path.join("catalog")).is_empty());
            }
        }
    }
}
