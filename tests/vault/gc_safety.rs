//! Promise 1: giving back space takes nothing that a point needs where reads fail, keys are rotated, segments are damaged,
//! chains went back or several do it at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common;
use crate::common::faults::{Call, Fault, FaultyFiles, Plan};
use crate::common::files;
use crate::common::sources::Meanwhile;
use icecore::backup::{BackupRequest, ChangedSince, Progress};
use icecore::error::Problem;
use icecore::format::{Id, condemned, id_from_hex};
use icecore::media::{DirectoryMedia, LockKind, Media, ReadMode};
use icecore::point::{ByteRange, PointInfo};
use icecore::seal::Credential;
use icecore::vault::{GcOptions, GcProgress, GcReport, InitOptions, OpenOptions, Quota, RewriteProgress, SoftDelete};
use icecore::{Error, Result, Vault};

fn vault_at_once(path: &Path, options: &InitOptions) -> Vault {
    let vault = common::init(path, options);
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    vault
}

fn backup(vault: &Vault, machine: &str, bytes: &[u8]) -> Arc<PointInfo> {
    common::backup_bytes(vault, machine, &[("os", bytes)]).expect("backup").point
}

fn gc(vault: &Vault) -> Result<GcReport> {
    vault.gc(&GcOptions { least_dead_percent: 1, ..GcOptions::default() }, &GcProgress::default())
}

fn assert_whole(path: &Path, what: &str) {
    let report = common::verify(&common::open(path));
    assert!(report.is_clean(), "{what}: {:?} {:?}", report.damage, report.hit);
}

#[test]
fn a_read_that_fails_while_a_backup_goes_on_takes_nothing() {
    let bytes = common::noise(1, 300_000);
    let reads = |call| call == Call::Read;
    let mut told = 0;
    for nth in 1..40 {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = vault_at_once(&path, &common::small());
        backup(&vault, "keeper", &common::noise(2, 1000));
        let lost = backup(&vault, "web", &bytes);
        vault.forget(&lost, "", true).expect("forgotten");
        let faulty = FaultyFiles::new(Plan::NONE);
        let collector = faulty.open(&path).expect("open");
        faulty.plan(Plan { nth, for_ever: nth % 3 == 0, fault: Fault::Fails(libc::EIO), counts: reads });
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| backup(&vault, "db", &bytes));
            let collector = scope.spawn(|| gc(&collector));
            writer.join().expect("a writer");
            told += u32::from(collector.join().expect("a collector").is_ok_and(|report| report.left.is_empty()));
        });
        assert_whole(&path, &format!("read {nth} fails"));
        let vault = common::open(&path);
        let point = vault.point("db", "latest").expect("listed");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "db");
        gc(&vault).expect("nothing fails any more");
        assert_whole(&path, &format!("after read {nth} failed"));
    }
    assert!(told < 39, "some of them fail");
}

#[test]
fn beside_a_rotation_and_a_rewrite_nothing_is_lost_and_no_check_is_alarmed() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let disks: Vec<Vec<u8>> = (0..6).map(|seed| common::noise(seed, 200_000)).collect();
    let points: Vec<_> = disks.iter().map(|bytes| backup(&vault, "web", bytes)).collect();
    vault.forget(&points[0], "", false).expect("forgotten");
    // Who opened it before a rotation has keys that are not the newest: he removes nothing.
    let before = common::open(&path);
    let vault = vault.rotate_keys(true).expect("rotated").0;
    assert!(matches!(gc(&before), Err(Error::Rotated { .. })));
    drop(before);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checker = scope.spawn(|| {
            let mut clean = 0;
            while !ended.load(Ordering::Relaxed) {
                match common::open(&path).verify(&GcProgress::default()) {
                    Ok(report) => {
                        assert!(report.is_clean(), "{:?} {:?}", report.damage, report.hit);
                        clean += 1;
                    }
                    // What was read is of keys that are old by now.
                    Err(Error::Rotated { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            clean
        });
        let collector = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                match gc(&common::open(&path)) {
                    Ok(_) | Err(Error::Rotated { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let mut vault = vault;
        for round in 0..4 {
            vault.rewrite(&RewriteProgress::default()).expect("rewritten");
            vault = vault.rotate_keys(round % 2 == 0).expect("rotated").0;
        }
        ended.store(true, Ordering::Relaxed);
        collector.join().expect("a collector");
        assert!(checker.join().expect("a checker") > 0, "some checks came through");
    });
    let vault = common::open(&path);
    assert_eq!(vault.points("web").expect("points").len(), 5);
    for (point, bytes) in points.iter().zip(&disks).skip(1) {
        common::assert_same(&common::disk_bytes(&vault, point, "os").expect("read"), bytes, "a point");
    }
    assert_whole(&path, "all went on");
}

#[test]
fn a_segment_that_says_nothing_stays_and_is_told() {
    for what in ["empty", "half", "zeros"] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = vault_at_once(&path, &common::small());
        let lost = backup(&vault, "web", &common::noise(1, 200_000));
        let data: Vec<_> = files(&path.join("segments"));
        backup(&vault, "web", &common::noise(2, 200_000));
        vault.forget(&lost, "", false).expect("forgotten");
        drop(vault);
        let is_data = |file: &&std::path::PathBuf| std::fs::read(file).expect("a segment")[12] == 1;
        let hit = data.iter().find(is_data).expect("a segment of data");
        let mut bytes = std::fs::read(hit).expect("a segment");
        match what {
            "empty" => bytes.clear(),
            "half" => bytes.truncate(bytes.len() / 2),
            _ => bytes.fill(0),
        }
        std::fs::write(hit, bytes).expect("damaged");
        let report = gc(&common::open(&path)).expect("the rest goes");
        assert!(report.left.iter().any(|error| error.object().is_some_and(|object| hit.ends_with(object))), "{what}");
        assert!(hit.exists(), "{what}: nobody knows what it held");
    }
}

/// A vault of two points of `web`, the older of which is forgotten and over, and one of `db`; the folder of `db`'s chain.
fn with_two_chains(path: &Path) -> std::path::PathBuf {
    let vault = vault_at_once(path, &common::small());
    let lost = backup(&vault, "web", &common::noise(1, 200_000));
    backup(&vault, "web", &common::noise(2, 200_000));
    backup(&vault, "db", &common::noise(3, 200_000));
    vault.forget(&lost, "", false).expect("forgotten");
    let heads = vault.heads();
    let head = heads.chains.iter().find(|head| head.machine.as_deref() == Some("db"));
    path.join("catalog").join(head.expect("a chain").chain_hex())
}

#[test]
fn a_point_without_an_entry_that_is_damaged_is_waited_for() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let chain = with_two_chains(&path);
    std::fs::remove_dir_all(chain).expect("removed");
    let vault = common::open(&path);
    // The newest segment of maps is that of `db`: its maps come first in it, and the manifest last.
    let mut maps: Vec<_> = files(&path.join("segments"));
    maps.retain(|file| std::fs::read(file).expect("a segment")[12] == 2);
    maps.sort_by_key(|file| file.metadata().and_then(|meta| meta.modified()).expect("a time"));
    let newest = maps.pop().expect("a segment of maps");
    let mut bytes = std::fs::read(&newest).expect("a segment");
    bytes[330] ^= 1;
    std::fs::write(&newest, &bytes).expect("damaged");
    let before = files(&path.join("segments"));
    let error = gc(&vault).expect_err("it may be repaired");
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    assert_eq!((files(&path.join("segments")), vault.forgotten("web").len()), (before, 1));
    bytes[330] ^= 1;
    std::fs::write(&newest, &bytes).expect("repaired");
    let report = gc(&common::open(&path)).expect("now it is known what it needs");
    assert_eq!((report.unlisted.len(), report.purged.len()), (1, 1));
    let salvage = OpenOptions { salvage: true, ..OpenOptions::default() };
    let vault = Vault::open(&path, &common::password(), &salvage).expect("open");
    let point = vault.point("db", "latest").expect("found");
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &common::noise(3, 200_000), "db");
}

#[test]
fn a_chain_that_went_back_keeps_everything() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let chain = with_two_chains(&path);
    let seen = common::open(&path).heads();
    let newest = files(&chain).pop().expect("an entry");
    let bytes = std::fs::read(&newest).expect("read");
    std::fs::remove_file(&newest).expect("removed");
    let vault = common::open(&path);
    let options = GcOptions { seen: Some(seen), ..GcOptions::default() };
    let error = vault.gc(&options, &GcProgress::default()).expect_err("the newest is gone");
    assert!(matches!(error, Error::SetBack(_)), "{error}");
    assert_eq!(vault.forgotten("web").len(), 1, "nothing is purged");
    std::fs::write(&newest, bytes).expect("put back");
    let report = common::open(&path).gc(&options, &GcProgress::default()).expect("all is there");
    assert_eq!(report.purged.len(), 1);
}

#[test]
fn what_is_given_up_is_waited_for_no_more() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    with_two_chains(&path);
    let entries = files(&path.join("catalog"));
    let second: Vec<_> = entries.iter().filter(|file| file.ends_with("0000000000000001.entry")).collect();
    std::fs::remove_file(second[0]).expect("removed");
    let vault = common::open(&path);
    assert!(matches!(gc(&vault), Err(Error::Damaged(damage)) if damage.problem == Problem::Absent));
    let lost = vault.lost_entries();
    assert_eq!(lost.len(), 1);
    // A key of another role can't, and what is whole is not given up.
    let backup_key = Credential::key_file(common::noise(9, 64)).expect("long enough");
    vault.add_key(icecore::format::key_slot::Role::Backup, &backup_key, common::CHEAP).expect("added");
    let other = Vault::open(&path, &backup_key, &OpenOptions::default()).expect("open");
    assert!(matches!(other.give_up_entries(&lost), Err(Error::NotPermitted { .. })));
    let whole = icecore::error::Damage { object: common::object(&path, &entries[0]), ..lost[0].clone() };
    assert!(matches!(vault.give_up_entries(&[whole]), Err(Error::Invalid { .. })));
    vault.give_up_entries(&lost).expect("given up");
    vault.give_up_entries(&lost).expect("and given up it is");
    for vault in [vault, common::open(&path)] {
        assert!(vault.catalog_damage().is_empty() && vault.lost_entries().is_empty());
        assert!(common::verify(&vault).damage.is_empty());
        let report = gc(&vault).expect("nothing is waited for");
        assert_eq!(report.unlisted.len(), 1, "its point is kept all the same");
    }
}

#[test]
fn two_at_once_purge_and_remove_everything_once() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    for seed in 0..20 {
        let point = backup(&vault, "web", &common::noise(seed, 50_000));
        if seed > 0 {
            vault.forget(&point, "", false).expect("forgotten");
        }
    }
    std::thread::scope(|scope| {
        let collectors: Vec<_> = (0..3).map(|_| scope.spawn(|| gc(&common::open(&path)).expect("gc"))).collect();
        for collector in collectors {
            collector.join().expect("a collector");
        }
    });
    let vault = common::open(&path);
    assert!(vault.forgotten("web").is_empty());
    assert_eq!(gc(&vault).expect("gc").removed_segments, 0);
    assert_whole(&path, "two at once");
}

#[test]
fn a_backup_that_takes_no_notice_is_waited_for_no_longer_than_is_said() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let lost = backup(&vault, "web", &common::noise(1, 100_000));
    backup(&vault, "web", &common::noise(2, 100_000));
    vault.forget(&lost, "", false).expect("forgotten");
    let media = DirectoryMedia::new(&path, ReadMode::Pread);
    // As a backup has it whose process is stopped, and as whoever copies the vault's files.
    for stopped in [
        media.lock_parts("condemned", 0..=0, LockKind::Shared).expect("locked"),
        media.lock("removal", LockKind::Shared, true).expect("locked"),
    ] {
        let options = GcOptions { most_wait: std::time::Duration::ZERO, ..GcOptions::default() };
        let error = vault.gc(&options, &GcProgress::default()).expect_err("it runs");
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        drop(stopped);
    }
    assert!(gc(&vault).expect("nothing runs").removed_segments > 0);
    assert_eq!(files(&path.join("condemned")).len(), 1, "one empty list, so that numbers go on");
}

// Promise 1: what a backup found before is there when its point is made; what it finds after it stores anew.
#[test]
fn space_is_given_back_while_a_backup_runs_and_nothing_goes_that_it_relies_on() {
    let (first, second, mine) = (common::noise(1, 4 << 20), common::noise(2, 2 << 20), common::noise(3, 1 << 20));
    for relies in [false, true] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = vault_at_once(&path, &common::small());
        let lost = [backup(&vault, "web", &first), backup(&vault, "web", &second)];
        backup(&vault, "web", &mine);
        for point in &lost {
            vault.forget(point, "", false).expect("forgotten");
        }
        // Before anything of the first point was found, or after a part of it was.
        let (at, progress) = (path.clone(), Arc::new(Progress::default()));
        let seen = Arc::clone(&progress);
        let collect = move || {
            if relies {
                common::wait_until("something is found", || seen.disks()[0].done_bytes() >= 1 << 20);
            }
            let collected = gc(&common::open(&at)).expect("nobody is waited for");
            assert_eq!(collected.purged.len(), 2);
            assert!(collected.freed_bytes() > 3 << 19, "what only the second had: {collected:?}");
            assert_eq!(collected.relied_segments > 0, relies, "{collected:?}");
        };
        let disk = Meanwhile::at(if relies { 2 << 20 } else { 0 }, first.clone(), collect);
        let mut request = BackupRequest::new("db").disk("os", disk);
        (request.workers, request.read_ahead_bytes) = (Some(1), 0);
        let point = common::open(&path).backup(&request, &progress).expect("backup").point;
        assert_whole(&path, "a backup beside it");
        let vault = common::open(&path);
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &first, "the point");
        // Once it has ended, all goes that nobody needs.
        gc(&vault).expect("gc");
        assert_whole(&path, "after it");
        let rest = vault.usage(&GcProgress::default()).expect("usage").unneeded_bytes;
        assert!(rest < 100_000, "{rest} bytes are left");
    }
}

// Promise 1: who gave up waiting leaves a backup where every later one finds it.
#[test]
fn a_backup_that_was_not_waited_for_is_asked_by_the_next() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let forget = |point: &Arc<PointInfo>| drop(vault.forget(point, "", false).expect("forgotten"));
    let (bytes, kept) = (common::noise(1, 4 << 20), common::noise(2, 1000));
    // So that generations have begun.
    let first = backup(&vault, "web", &common::noise(3, 100_000));
    let lost = backup(&vault, "web", &bytes);
    backup(&vault, "web", &kept);
    forget(&first);
    gc(&vault).expect("gc");
    assert_eq!(files(&path.join("condemned")).len(), 1);
    forget(&lost);
    let (at, progress) = (path.clone(), Arc::new(Progress::default()));
    let seen = Arc::clone(&progress);
    let collect = move || {
        common::wait_until("something is found", || seen.disks()[0].done_bytes() >= 1 << 20);
        let vault = common::open(&at);
        let impatient = GcOptions { most_wait: std::time::Duration::ZERO, ..GcOptions::default() };
        for _ in 0..3 {
            let error = vault.gc(&impatient, &GcProgress::default()).expect_err("nobody took notice yet");
            assert!(matches!(error, Error::Busy { .. }), "{error}");
        }
        let collected = gc(&vault).expect("it takes notice");
        assert!(collected.relied_segments > 0, "{collected:?}");
    };
    let mut request = BackupRequest::new("db").disk("os", Meanwhile::at(2 << 20, bytes.clone(), collect));
    (request.workers, request.read_ahead_bytes) = (Some(1), 0);
    let point = common::open(&path).backup(&request, &progress).expect("backup").point;
    assert_whole(&path, "asked by the last");
    let vault = common::open(&path);
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "the point");
}

// Promise 1: what a backup stored that fails may be what somebody kept instead of what he gave back.
#[test]
fn a_backup_that_fails_gives_nothing_back_where_somebody_gave_back_space_beside_it() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let lost = backup(&vault, "web", &common::noise(1, 300_000));
    backup(&vault, "web", &common::noise(2, 1000));
    vault.forget(&lost, "", false).expect("forgotten");
    for collects in [false, true] {
        let at = path.clone();
        let collect = move || {
            if collects {
                gc(&common::open(&at)).expect("nobody is waited for");
            }
        };
        let own = common::noise(3 + u64::from(collects), 3 << 20);
        let taken = common::segment_bytes(&path);
        vault.set_quota(None, Quota { warn_bytes: 0, hard_bytes: taken + (2 << 20) }).expect("set");
        let before = common::segment_bytes(&path);
        let request = BackupRequest::new("db").disk("os", Meanwhile::new(own, collect));
        let error = common::open(&path).backup(&request, &Progress::default()).expect_err("too much");
        assert!(matches!(error, Error::OverQuota { .. }), "{error}");
        assert_eq!(common::segment_bytes(&path) > before, collects, "{before}");
        assert_whole(&path, "a backup that failed");
    }
    gc(&vault).expect("gc");
    assert!(common::segment_bytes(&path) < 100_000, "and that is given back by the next");
    assert_whole(&path, "after it");
}

// Promise 1: what a backup takes from the point that changes are counted from it never asks for.
#[test]
fn the_point_that_changes_are_counted_from_is_not_purged_under_a_backup() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let mut bytes = common::noise(1, 4 << 20);
    let base = backup(&vault, "web", &bytes);
    bytes[..5000].fill(7);
    let (at, lost) = (path.clone(), Arc::clone(&base));
    let collect = move || {
        let vault = common::open(&at);
        vault.forget(&lost, "", true).expect("forgotten");
        let collected = gc(&vault).expect("nobody is waited for");
        assert_eq!((collected.purged.len(), collected.in_use.len()), (0, 1), "{collected:?}");
    };
    let changed = ChangedSince { point: base.id.clone(), ranges: vec![ByteRange { start: 0, end: 5000 }] };
    let request = BackupRequest::new("web").disk("os", Meanwhile::new(bytes.clone(), collect)).changed(changed);
    let point = common::open(&path).backup(&request, &Progress::default()).expect("backup").point;
    assert_eq!(gc(&vault).expect("gc").purged.len(), 1);
    assert_whole(&path, "its base is gone");
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "the point");
}

fn generation(file: &Path) -> Option<u64> {
    match condemned::listed(&file.file_name()?.to_string_lossy()) {
        Some(condemned::Listed::Segments(generation)) => Some(generation),
        _ => None,
    }
}

fn id_of(name: &str) -> Id {
    id_from_hex(name).expect("an id")
}

// Promise 1: a list that somebody left who died is no list any more, and what planted files say is nothing.
#[test]
fn what_was_condemned_by_who_died_costs_nothing() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let bytes = common::noise(1, 1 << 20);
    backup(&vault, "web", &bytes);
    let ids: Vec<Id> = files(&path.join("segments"))
        .iter()
        .map(|file| id_of(&file.file_stem().expect("a name").to_string_lossy()))
        .collect();
    let own = id_of(&vault.heads().vault);
    for (name, content) in [
        ("0000000000000007.segments", condemned::encode(&own, &ids)),
        ("0000000000000009.segments", common::noise(2, 100)),
        ("ffffffffffffffff.segments", condemned::encode(&own, &ids)),
    ] {
        std::fs::write(path.join("condemned").join(name), content).expect("written");
        let before = common::segment_bytes(&path);
        backup(&vault, "db", &bytes);
        assert!(common::segment_bytes(&path) - before < 100_000, "{name}: what is there is found");
        let lost = backup(&vault, "web", &common::noise(3, 300_000));
        backup(&vault, "web", &bytes);
        vault.forget(&lost, "", false).expect("forgotten");
        // What is no list and has the name of the next one.
        let newest = files(&path.join("condemned")).iter().filter_map(|file| generation(file)).max().expect("a list");
        std::fs::create_dir(path.join(condemned::segments(newest + 1))).expect("made");
        assert!(gc(&vault).expect("gc").removed_segments > 0, "{name}");
        std::fs::remove_dir(path.join(condemned::segments(newest + 1))).expect("removed");
        let lists = files(&path.join("condemned")).iter().filter_map(|file| generation(file)).count();
        assert_eq!(lists, 1, "{name}");
        assert_whole(&path, name);
    }
    // The last number that there is: told by name, and backups go on.
    let last = condemned::segments(condemned::MOST_GENERATIONS - 1);
    std::fs::write(path.join(&last), condemned::encode(&own, &ids)).expect("written");
    let lost = backup(&vault, "web", &common::noise(4, 300_000));
    backup(&vault, "web", &bytes);
    vault.forget(&lost, "", false).expect("forgotten");
    assert!(matches!(gc(&vault), Err(Error::Damaged(damage)) if damage.object == last));
    std::fs::remove_file(path.join(&last)).expect("removed");
    assert!(gc(&vault).expect("gc").removed_segments > 0);
    assert_whole(&path, "the last number");
}

#[test]
fn what_was_brought_back_by_an_entry_that_is_given_up_is_purged_by_nobody() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let point = backup(&vault, "web", &common::noise(1, 100_000));
    backup(&vault, "web", &common::noise(2, 100_000));
    vault.forget(&point, "", false).expect("forgotten");
    vault.undelete("web", &point.name).expect("brought back");
    vault.protect(&point, Some(icecore::point::Until::Ever), "").expect("protected");
    backup(&vault, "web", &common::noise(3, 100_000));
    drop(vault);
    // The entries that brought it back and protected it are lost.
    let chain = chain_of(&path, "web");
    for number in [3, 4] {
        common::repair::flip(&files(&chain)[number], 150);
    }
    let vault = common::open(&path);
    let lost = vault.lost_entries();
    assert_eq!(lost.len(), 2);
    vault.give_up_entries(&lost).expect("given up");
    let report = gc(&common::open(&path)).expect("gc");
    assert_eq!((report.doubtful, report.purged.len()), (vec![format!("web/{}", point.name)], 0));
    // Who knows better says so.
    let vault = common::open(&path);
    let point = vault.undelete("web", &point.name).expect("it is whole");
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &common::noise(1, 100_000), "it");
    vault.forget(&point, "", false).expect("forgotten");
    let report = gc(&vault).expect("gc");
    assert_eq!((report.doubtful.len(), report.purged.len()), (0, 1));
}

fn chain_of(path: &Path, machine: &str) -> std::path::PathBuf {
    let heads = common::open(path).heads();
    let head = heads.chains.iter().find(|head| head.machine.as_deref() == Some(machine));
    path.join("catalog").join(head.expect("a chain").chain_hex())
}

#[test]
fn what_comes_back_and_is_damaged_again_is_told_again_and_a_gap_is_given_up_whole() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    for seed in 0..24 {
        backup(&vault, "web", &common::noise(seed, 1000));
    }
    drop(vault);
    let entries = files(&chain_of(&path, "web"));
    let second = std::fs::read(&entries[1]).expect("read");
    for entry in &entries[1..21] {
        std::fs::remove_file(entry).expect("removed");
    }
    let vault = common::open(&path);
    assert_eq!(vault.give_up_entries(&vault.lost_entries()).expect("given up"), 20, "more than are told at once");
    drop(vault);
    let repair = Vault::plan_repair(
        &path,
        Some(&common::password()),
        icecore::vault::RepairSources::default(),
        &GcProgress::default(),
    )
    .expect("a plan");
    assert!(repair.plan().damage.is_empty(), "{:?}", repair.plan().damage);
    std::fs::write(&entries[1], second).expect("it comes back");
    assert!(common::open(&path).catalog_damage().is_empty());
    common::repair::flip(&entries[1], 150);
    let vault = common::open(&path);
    assert_eq!(vault.catalog_damage().len(), 1, "it is damaged anew");
    vault.give_up_entries(&vault.lost_entries()).expect("given up");
    assert!(common::open(&path).catalog_damage().is_empty());
}

#[test]
fn what_the_medium_never_gives_again_can_be_given_up_and_the_chain_goes_on() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    for seed in 0..2 {
        backup(&vault, "web", &common::noise(seed, 1000));
    }
    drop(vault);
    let last = files(&chain_of(&path, "web")).pop().expect("an entry");
    std::fs::remove_file(&last).expect("removed");
    std::os::unix::fs::symlink(last.file_name().expect("a name"), &last).expect("a link that leads nowhere");
    let vault = common::open(&path);
    let refused = common::backup_bytes(&vault, "web", &[("os", b"more")]).expect_err("its entry must bind that one");
    assert_eq!(refused.kind(), icecore::ErrorKind::Medium, "{refused}");
    assert!(gc(&vault).is_err());
    let lost = vault.lost_entries();
    assert!(matches!(lost[0].problem, Problem::Unreadable(_)));
    vault.give_up_entries(&lost).expect("given up");
    backup(&vault, "web", b"more");
    let vault = common::open(&path);
    assert!(vault.catalog_damage().is_empty() && gc(&vault).is_ok());
    assert_eq!(vault.points("web").expect("points").len(), 2);
}

#[test]
fn what_may_hide_a_rotation_is_not_given_up_before_a_rotation_ended_that() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    vault.set_soft_delete(SoftDelete { grace_seconds: 7, ..SoftDelete::default() }).expect("set");
    drop(vault);
    let own = files(&path.join("catalog")).remove(0);
    common::repair::flip(&own, 150);
    let vault = common::open(&path);
    assert!(vault.hidden_keys().is_some());
    assert!(vault.give_up_entries(&vault.lost_entries()).is_err());
    let vault = vault.rotate_keys(false).expect("rotated").0;
    assert!(vault.hidden_keys().is_none());
    vault.give_up_entries(&vault.lost_entries()).expect("given up");
    let vault = common::open(&path);
    assert!(vault.catalog_damage().is_empty());
    backup(&vault, "web", b"it goes on");
}
