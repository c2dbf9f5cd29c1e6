//! Promises 1 and 6: the space of what no point needs comes back, and nothing goes that a point needs, whatever runs
//! meanwhile and whatever is damaged.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common;
use crate::common::files;
use crate::common::sources::Meanwhile;
use icecore::backup::{BackupRequest, Progress};
use icecore::error::Problem;
use icecore::vault::{GcOptions, GcProgress, GcReport, InitOptions, SoftDelete};
use icecore::{Error, Vault};
use icecore_fuse::ReadOnlyTree;

fn vault_at_once(path: &Path, options: &InitOptions) -> Vault {
    let vault = common::init(path, options);
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    vault
}

fn backup(vault: &Vault, machine: &str, bytes: &[u8]) -> std::sync::Arc<icecore::point::PointInfo> {
    common::backup_bytes(vault, machine, &[("os", bytes)]).expect("backup").point
}

fn gc_with(vault: &Vault, options: &GcOptions) -> GcReport {
    vault.gc(options, &GcProgress::default()).expect("gc")
}

fn gc(vault: &Vault) -> GcReport {
    gc_with(vault, &GcOptions::default())
}

#[test]
fn space_is_back_when_it_returns_and_a_dry_run_says_how_much() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::protected());
    let lost = backup(&vault, "web", &common::noise(1, 3 << 20));
    let kept = backup(&vault, "web", &common::noise(2, 1 << 20));
    vault.forget(&lost, "", false).expect("forgotten");
    let size = || files(&path).iter().map(|file| file.metadata().expect("stat").len()).sum::<u64>();
    let before = size();
    let planned = gc_with(&vault, &GcOptions { dry_run: true, ..GcOptions::default() });
    assert_eq!((size(), vault.forgotten("web").len()), (before, 1), "nothing is done");
    let done = gc(&vault);
    assert_eq!(planned.purged, done.purged);
    assert_eq!(
        (planned.removed_segments, planned.rewritten_segments),
        (done.removed_segments, done.rewritten_segments)
    );
    assert!(done.freed_bytes() > 3 << 20 && before - size() > 3 << 20, "{done:?}, {before} {}", size());
    let names = |folder: &str| -> Vec<_> {
        files(&path.join(folder)).iter().map(|file| file.file_stem().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("segments"), names("parity"), "the parity of what went goes too");
    assert!(common::verify(&vault).is_clean());
    common::assert_same(&common::disk_bytes(&vault, &kept, "os").expect("read"), &common::noise(2, 1 << 20), "kept");
    let nothing = gc(&vault);
    assert_eq!((nothing.removed_segments, nothing.rewritten_segments, nothing.purged.len()), (0, 0, 0));
}

// Two programs that store the same at once each find it new: one of them stored it in vain.
#[test]
fn what_two_backups_stored_at_once_is_kept_once() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::protected());
    let bytes = common::noise(1, 3 << 20);
    let (other, same) = (common::open(&path), bytes.clone());
    let backup = |vault: &Vault, mut request: BackupRequest| {
        // In the same order, so that their segments have the same.
        request.workers = Some(1);
        vault.backup(&request, &Progress::default()).expect("a backup").point
    };
    let disk = Meanwhile::new(bytes.clone(), move || {
        backup(&other, common::memory_request("other", &[("os", &same)]));
    });
    let web = backup(&vault, BackupRequest::new("web").disk("os", disk));
    assert!(common::segment_bytes(&path) > 6 << 20, "{}", common::segment_bytes(&path));
    let usage = vault.usage(&GcProgress::default()).expect("usage");
    assert!((3 << 20..4 << 20).contains(&usage.unneeded_bytes), "{usage:?}");

    let reader = common::open(&path);
    let (before, planned) =
        (common::segment_bytes(&path), gc_with(&vault, &GcOptions { dry_run: true, ..GcOptions::default() }));
    let done = gc(&vault);
    assert!(planned.freed_bytes().abs_diff(done.freed_bytes()) < 64 << 10, "{planned:?} {done:?}");
    assert_eq!((done.removed_segments, done.left.len()), (0, 0), "each was read where it stays: {done:?}");
    assert!(before - common::segment_bytes(&path) > 3 << 20, "{}", common::segment_bytes(&path));
    let nothing = gc(&vault);
    assert_eq!((nothing.removed_segments, nothing.rewritten_segments), (0, 0), "{nothing:?}");
    for vault in [&reader, &vault, &common::open(&path)] {
        let other = vault.point("other", "latest").expect("a point");
        for point in [&web, &other] {
            common::assert_same(&common::disk_bytes(vault, point, "os").expect("read"), &bytes, "kept");
        }
    }
    assert!(common::verify(&vault).is_clean());
}

// Promise 3: the copy that is whole is the one that stays.
#[test]
fn of_two_copies_of_which_one_is_damaged_the_other_stays() {
    for damaged in 0..2 {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = vault_at_once(&path, &common::small());
        let bytes = common::noise(1, 300_000);
        let (other, same) = (common::open(&path), bytes.clone());
        let segments = path.join("segments");
        let (first, happened) = std::sync::mpsc::channel();
        let happens = move || {
            backup(&other, "other", &same);
            first.send(files(&segments)).expect("sent");
        };
        let disk = Meanwhile::new(bytes.clone(), happens);
        let web = vault.backup(&BackupRequest::new("web").disk("os", disk), &Progress::default()).expect("a backup");
        let of_first = happened.recv().expect("received");
        let all = files(&path.join("segments"));
        let second: Vec<_> = all.into_iter().filter(|file| !of_first.contains(file)).collect();
        common::damage_new_data(&path, if damaged == 0 { &second } else { &of_first });
        let _ = vault.gc(&GcOptions::default(), &GcProgress::default());
        let vault = common::open(&path);
        let kept = common::disk_bytes(&vault, &web.point, "os").expect("a copy of each chunk is whole");
        common::assert_same(&kept, &bytes, "kept");
    }
}

#[test]
fn what_is_mostly_dead_is_rewritten_as_far_as_it_may() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for seed in 0..4 {
        let bytes = common::noise(seed, 500_000);
        lost.push(backup(&vault, "web", &bytes));
        // A fifth of it lives on.
        let few = bytes[..100_000].to_vec();
        kept.push((backup(&vault, "web", &few), few));
    }
    for point in &lost {
        vault.forget(point, "", false).expect("forgotten");
    }
    let none = gc_with(&vault, &GcOptions { most_rewritten_bytes: 0, ..GcOptions::default() });
    assert_eq!((none.purged.len(), none.rewritten_segments), (4, 0));
    assert!(none.dead_bytes_left > 1_500_000, "{none:?}");
    let bounded = gc_with(&vault, &GcOptions { most_rewritten_bytes: 250_000, ..GcOptions::default() });
    assert!((100_000..400_000).contains(&bounded.written_bytes), "{bounded:?}");
    let rest = gc(&vault);
    assert!(rest.rewritten_segments > 0 && rest.dead_bytes_left < none.dead_bytes_left / 4, "{rest:?}");
    assert!(common::segment_bytes(&path) < 700_000, "{}", common::segment_bytes(&path));
    for (point, bytes) in &kept {
        common::assert_same(&common::disk_bytes(&vault, point, "os").expect("read"), bytes, "kept");
    }
    assert!(common::verify(&common::open(&path)).is_clean());
}

#[test]
fn backups_that_run_meanwhile_find_what_they_rely_on() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let disks: Vec<Vec<u8>> = (0..3).map(|seed| common::noise(seed, 400_000)).collect();
    backup(&vault, "keeper", &common::noise(99, 1000));
    let ended = AtomicBool::new(false);
    let collected = std::thread::scope(|scope| {
        // Each deduplicates against what is about to go, or went.
        let writers: Vec<_> = disks
            .iter()
            .enumerate()
            .map(|(number, bytes)| {
                let path = &path;
                scope.spawn(move || {
                    let vault = common::open(path);
                    for _ in 0..12 {
                        let point = backup(&vault, &format!("m{number}"), bytes);
                        common::assert_same(
                            &common::disk_bytes(&vault, &point, "os").expect("read"),
                            bytes,
                            "just made",
                        );
                    }
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            let vault = common::open(&path);
            let (mut freed, mut rounds) = (0, 0);
            while !ended.load(Ordering::Relaxed) || rounds < 3 {
                for machine in ["m0", "m1", "m2"] {
                    vault.refresh().expect("refreshed");
                    let points = vault.points(machine).unwrap_or_default();
                    // All but the last, and now and then that too.
                    let spared = usize::from(rounds % 3 != 0);
                    for point in points.iter().rev().skip(spared) {
                        vault.forget(point, "", true).expect("forgotten");
                    }
                }
                freed += gc_with(&vault, &GcOptions { least_dead_percent: 1, ..GcOptions::default() }).freed_bytes();
                rounds += 1;
            }
            freed
        });
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        ended.store(true, Ordering::Relaxed);
        collector.join().expect("a collector")
    });
    let vault = common::open(&path);
    assert!(common::verify(&vault).is_clean());
    for machine in vault.machines().iter().filter(|machine| machine.starts_with('m')) {
        let number: usize = machine[1..].parse().expect("a number");
        for point in vault.points(machine).expect("points") {
            common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &disks[number], machine);
            vault.forget(&point, "", true).expect("forgotten");
        }
    }
    // With the last that needed it, what all of them shared goes too, where it did not before.
    assert!(collected + gc(&vault).freed_bytes() > 400_000);
    assert_eq!(vault.machines(), ["keeper"]);
}

#[test]
fn a_reader_who_was_there_before_goes_on() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let bytes = common::noise(1, 500_000);
    let lost = backup(&vault, "web", &common::noise(2, 500_000));
    let kept = backup(&vault, "web", &[&common::noise(2, 500_000)[..50_000], &bytes].concat());
    // Opened, and not read: it is found where it moved to.
    let reader = common::open(&path);
    let disk = reader.disk(&reader.point("web", &kept.id).expect("listed"), "os").expect("a disk");
    vault.forget(&lost, "", false).expect("forgotten");
    let report = gc_with(&vault, &GcOptions { least_dead_percent: 1, ..GcOptions::default() });
    assert!(report.rewritten_segments > 0);
    let mut read = vec![0; 550_000];
    assert_eq!(disk.read(0, &mut read).expect("read"), 550_000);
    assert!(read[50_000..] == bytes);
    // Who opens a point that is gone is told so.
    let gone = reader.point("web", &lost.id).expect("this reader saw it before");
    let error = common::disk_bytes(&reader, &gone, "os").expect_err("it is gone");
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    reader.refresh().expect("refreshed");
    assert!(matches!(reader.point("web", &lost.id), Err(Error::Purged { .. })));
}

#[test]
fn nothing_goes_while_damage_may_hide_what_is_needed() {
    let folder = common::scratch();
    let whole = folder.path().join("whole");
    let vault = vault_at_once(&whole, &common::small());
    let lost = backup(&vault, "web", &common::noise(1, 200_000));
    backup(&vault, "web", &common::noise(2, 200_000));
    backup(&vault, "db", &common::noise(3, 200_000));
    vault.forget(&lost, "", false).expect("forgotten");
    drop(vault);
    let segments = |path: &Path| files(&path.join("segments")).len();
    // A damaged entry, one that is gone before another, and a map that can't be read.
    for what in ["entry", "gap", "map"] {
        let path = folder.path().join(what);
        common::copy_folder(&whole, &path);
        let entries: Vec<_> = files(&path.join("catalog"));
        let of_web: Vec<_> = entries.iter().filter(|file| file.ends_with("0000000000000001.entry")).collect();
        assert_eq!(of_web.len(), 1);
        match what {
            "entry" => crate::common::repair::flip(of_web[0], 120),
            "gap" => std::fs::remove_file(of_web[0]).expect("removed"),
            _ => {
                for file in files(&path.join("segments")) {
                    let mut bytes = std::fs::read(&file).expect("segment");
                    if bytes[12] == 2 {
                        bytes[320..400].fill(0);
                        std::fs::write(&file, bytes).expect("damage");
                    }
                }
            }
        }
        let vault = common::open(&path);
        let before = segments(&path);
        let error = vault.gc(&GcOptions::default(), &GcProgress::default()).expect_err(what);
        assert!(matches!(error, Error::Damaged(_)), "{what}: {error}");
        assert_eq!((segments(&path), vault.forgotten("web").len()), (before, 1), "{what}: nothing went");
    }
    // A whole chain that is gone: its points are found by their manifests, and kept.
    let path = folder.path().join("chain");
    common::copy_folder(&whole, &path);
    let id = {
        let vault = common::open(&path);
        let heads = vault.heads();
        let head = heads.chains.iter().find(|head| head.machine.as_deref() == Some("db"));
        head.expect("a chain").chain_hex()
    };
    std::fs::remove_dir_all(path.join("catalog").join(id)).expect("removed");
    let vault = common::open(&path);
    let report = gc(&vault);
    assert_eq!((report.unlisted.len(), report.purged.len()), (1, 1));
    drop(vault);
    let salvaged = common::open(&path);
    assert!(
        common::verify(&salvaged)
            .damage
            .iter()
            .all(|error| !matches!(error, Error::Damaged(damage) if damage.problem == Problem::Absent))
    );
    let before = segments(&path);
    let dropped = gc_with(&salvaged, &GcOptions { drops_unlisted: true, ..GcOptions::default() });
    assert!(dropped.removed_segments > 0 && segments(&path) < before, "only where that is said");
}

#[test]
fn what_somebody_reads_stays_until_he_has_ended() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault_at_once(&path, &common::small());
    let bytes: Vec<Vec<u8>> = (0..3).map(|seed| common::noise(seed, 400_000)).collect();
    let points: Vec<_> = bytes.iter().map(|bytes| backup(&vault, "web", bytes)).collect();
    // One through the tree, as a mount does, and one as a disk; both begun before they are forgotten.
    let reader = common::open(&path);
    let tree = reader.tree();
    let file = format!("web/{}/disks/os.raw", points[0].name);
    let node = tree.resolve(&file, true).expect("it is there");
    let mut read = vec![0; 1000];
    assert_eq!(tree.read(node, 0, &mut read).expect("read"), 1000);
    let disk = reader.disk(&points[1], "os").expect("a disk");
    for point in &points[..2] {
        vault.forget(point, "", false).expect("forgotten");
    }
    let report = gc(&vault);
    assert_eq!((report.in_use.len(), report.purged.len()), (2, 0));
    let mut read = vec![0; 400_000];
    assert_eq!(tree.read(node, 0, &mut read).expect("read"), 400_000);
    assert!(read == bytes[0]);
    assert_eq!(disk.read(0, &mut read).expect("read"), 400_000);
    assert!(read == bytes[1]);
    drop(disk);
    assert_eq!(gc(&vault).purged, [format!("web/{}", points[1].name)]);
    // Who comes after that finds neither.
    assert!(matches!(reader.disk(&points[1], "os"), Err(Error::Purged { .. })));
    drop(tree);
    let report = gc(&vault);
    assert_eq!((report.in_use.len(), report.purged.len()), (0, 1));
    assert!(report.removed_segments > 0);
    let fresh = reader.tree();
    assert!(fresh.resolve(&file, true).is_err());
    assert!(common::verify(&vault).is_clean());
}
