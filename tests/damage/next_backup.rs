//! Promise 1: a point that is acknowledged after data was lost does not rely on what is known to be gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::sources::{Gate, Gated};
use icecore::backup::{BackupRequest, Progress};

/// One that holds chunks.
fn largest_segment(vault: &Path) -> PathBuf {
    let segments = common::files(&vault.join("segments")).into_iter();
    segments.max_by_key(|path| path.metadata().expect("stat").len()).expect("a segment")
}

#[test]
fn the_next_backup_stores_again_what_went_with_a_segment() {
    for open_before in [false, true] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let bytes = common::noise(1, 3 << 20);
        let before = common::init(&path, &common::small());
        let old = common::backup_bytes(&before, "m", &[("os", &bytes)]).expect("backup").point;
        for file in common::files(&path.join("segments")) {
            if file.metadata().expect("stat").len() > 500_000 {
                std::fs::remove_file(file).expect("remove");
            }
        }
        let vault = if open_before { before } else { common::open(&path) };
        let report = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
        let vault = common::open(&path);
        common::assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &bytes, "new point");
        // And the old one, which has the same chunks, is whole again.
        common::assert_same(&common::restored(&vault, &old, "os").expect("restore"), &bytes, "old point");
        assert!(common::verify(&vault).is_clean());
    }
}

#[test]
fn lost_map_nodes_are_stored_again_too() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let bytes = common::noise(1, 3 << 20);
    common::backup_bytes(&common::init(&path, &common::small()), "m", &[("os", &bytes)]).expect("backup");
    for file in common::files(&path.join("segments")) {
        // Kind 2 in its header: maps and manifests.
        if std::fs::read(&file).expect("segment")[12] == 2 {
            std::fs::remove_file(file).expect("remove");
        }
    }
    let vault = common::open(&path);
    let report = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    assert!(report.added_bytes < 100_000, "the chunks are there: {}", report.added_bytes);
    let vault = common::open(&path);
    common::assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &bytes, "new point");
}

#[test]
fn after_verify_the_next_backup_mends_what_was_damaged_in_place() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = common::noise(7, 2 << 20);
    let first = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    drop(vault);
    let segment = largest_segment(&path);
    let mut stored = std::fs::read(&segment).expect("segment");
    let middle = stored.len() / 2;
    stored[middle..middle + 50_000].fill(0);
    std::fs::write(&segment, stored).expect("damage");

    let report = common::verify(&common::open(&path));
    assert!(!report.hit.is_empty(), "verify names what is hit");
    let vault = common::open(&path);
    let second = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("the next backup");
    assert!(second.manifest.disks[0].new_bytes > 0, "what is damaged is stored again");
    for point in [&first.point, &second.point] {
        common::assert_same(&common::disk_bytes(&vault, point, "os").expect("a whole disk"), &bytes, &point.name);
    }
    assert!(common::verify(&common::open(&path)).hit.is_empty(), "no point is hit any more");
}

#[test]
fn what_a_check_took_out_stays_out_though_a_segment_beside_it_is_gone() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let bytes = common::noise(7, 2 << 20);
    common::backup_bytes(&common::init(&path, &common::small()), "m", &[("os", &bytes)]).expect("backup");
    let segment = largest_segment(&path);
    let mut stored = std::fs::read(&segment).expect("segment");
    let middle = stored.len() / 2;
    stored[middle..middle + 50_000].fill(0);
    std::fs::write(&segment, stored).expect("damage");
    for file in common::files(&path.join("segments")) {
        if std::fs::read(&file).expect("segment")[12] == 2 {
            std::fs::remove_file(file).expect("remove");
        }
    }
    common::verify(&common::open(&path));
    common::backup_bytes(&common::open(&path), "m", &[("os", &bytes)]).expect("the next backup");
    let vault = common::open(&path);
    let point = vault.point("m", "latest").expect("the point");
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("a whole disk"), &bytes, "the newest point");
}

#[test]
fn a_reader_who_looks_for_what_is_damaged_does_not_make_it_pass_for_whole_again() {
    for same_process in [false, true] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        // More segments than a reader reads the tables of without keeping what it learned.
        let bytes = common::noise(8, 20 << 20);
        let first =
            common::backup_bytes(&common::init(&path, &common::small()), "m", &[("os", &bytes)]).expect("backup");
        let segment = largest_segment(&path);
        let mut stored = std::fs::read(&segment).expect("segment");
        stored[200_000..250_000].fill(0);
        std::fs::write(&segment, stored).expect("damage");

        assert!(!common::verify(&common::open(&path)).hit.is_empty());
        let reader = common::open(&path);
        assert!(common::disk_bytes(&reader, &first.point, "os").is_err(), "it is gone");
        let vault = if same_process { reader } else { common::open(&path) };
        let second = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("the next backup");
        assert!(second.manifest.disks[0].new_bytes > 0, "what is damaged is stored again");
        let vault = common::open(&path);
        common::assert_same(&common::disk_bytes(&vault, &second.point, "os").expect("a whole disk"), &bytes, "second");
    }
}

#[test]
fn a_backup_that_overlaps_a_check_does_not_bring_back_what_the_check_took_out() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let bytes = common::noise(8, 3 << 20);
    let first = common::backup_bytes(&common::init(&path, &common::small()), "m", &[("os", &bytes)]).expect("backup");
    let segment = largest_segment(&path);
    let mut stored = std::fs::read(&segment).expect("segment");
    stored[200_000..250_000].fill(0);
    std::fs::write(&segment, stored).expect("damage");

    // Open since before the check, as a program that backs up each night has it, and one that reads all the time.
    let (night, reader) = (common::open(&path), common::open(&path));
    assert!(common::disk_bytes(&reader, &first.point, "os").is_err(), "it is gone");
    let gate = Arc::new(Gate::default());
    let other = common::open(&path);
    let source = Gated { bytes: common::noise(9, 2 << 20), at: 1 << 20, gate: Arc::clone(&gate) };
    let running = std::thread::spawn(move || {
        other.backup(&BackupRequest::new("other").disk("os", source), &Progress::default()).map(|_| ())
    });
    common::wait_until("a backup that runs", || !common::files(&path.join("tmp")).is_empty());
    let checked = {
        let path = path.clone();
        std::thread::spawn(move || common::verify(&common::open(&path)).hit.len())
    };
    // The check reads everything meanwhile, and waits for the backup with what it takes out.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!checked.is_finished(), "it waits");
    gate.open();
    running.join().expect("a thread").expect("the other backup");
    assert!(checked.join().expect("a thread") > 0);

    let second = common::backup_bytes(&night, "m", &[("os", &bytes)]).expect("the next backup");
    assert!(second.manifest.disks[0].new_bytes > 0, "what is damaged is stored again");
    let vault = common::open(&path);
    for point in [&first.point, &second.point] {
        common::assert_same(&common::disk_bytes(&vault, point, "os").expect("a whole disk"), &bytes, &point.name);
    }
    // And who had found it damaged finds it mended.
    common::assert_same(&common::disk_bytes(&reader, &first.point, "os").expect("mended"), &bytes, "live reader");
}
