//! Promise 2: whatever chunk size, level, verification, workers and read mode were chosen, the bytes are the same.

use crate::common;
use crate::common::assert_same;
use icecore::ErrorKind;
use icecore::backup::Progress;
use icecore::media::ReadMode;
use icecore::vault::InitOptions;

fn disk() -> Vec<u8> {
    let mut disk = common::text(1, 5 << 20);
    disk.extend(common::noise(2, (3 << 20) + 99));
    disk[4 << 20..(4 << 20) + 700_000].fill(0);
    disk
}

#[test]
fn every_chunk_size_and_level_gives_the_same_bytes() {
    let disk = disk();
    for (chunk_bytes, level, verify, workers) in [
        (4096, -7, true, Some(1)),
        (4096, 22, false, None),
        (16 << 10, 3, true, Some(7)),
        (128 << 10, 1, false, Some(2)),
        (1 << 20, 9, true, None),
        (4 << 20, 1, true, Some(3)),
    ] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = common::init(&path, &InitOptions { chunk_bytes, level, ..common::small() });
        let mut request = common::memory_request("m", &[("os", &disk)]);
        (request.verify, request.workers) = (verify, workers);
        let report = vault.backup(&request, &Progress::default()).expect("backup");
        assert_eq!(report.manifest.disks[0].chunk_bytes, chunk_bytes);
        let what = format!("chunks of {chunk_bytes} at level {level}");
        for mode in [ReadMode::Map, ReadMode::Pread] {
            let vault = common::open_with(&path, mode).expect("open");
            assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &disk, &what);
            assert_same(&common::disk_bytes(&vault, &report.point, "os").expect("read"), &disk, &what);
        }
        assert!(common::verify(&vault).is_clean(), "{what}");
    }
}

#[test]
fn the_manifest_counts_what_was_done() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    // 10 chunks of data of which two are equal, 5 of zeros, and a part of one.
    let mut disk = common::noise(1, 10 * 4096);
    disk.copy_within(0..4096, 4096);
    disk.extend(vec![0; 5 * 4096]);
    disk.extend(common::noise(2, 100));
    let report = common::backup_bytes(&vault, "m", &[("os", &disk), ("empty", b"")]).expect("backup");
    let [os, empty] = report.manifest.disks.as_slice() else { panic!("two disks") };
    let size = 15 * 4096 + 100;
    assert_eq!((os.size_bytes, os.read_bytes, os.zero_bytes, os.new_bytes), (size, size, 5 * 4096, 9 * 4096 + 100));
    // Noise does not compress: the plain bytes and a tag for each of ten records.
    assert_eq!(os.stored_bytes, 9 * 4096 + 100 + 10 * 16);
    assert_eq!((empty.size_bytes, empty.read_bytes, empty.stored_bytes, empty.map_level), (0, 0, 0, 0));
    assert!(os.stored_bytes < report.added_bytes);
    assert_eq!(report.added_bytes, common::segment_bytes(&path), "everything that was added is counted");
    let stats = vault.stats().expect("stats");
    assert_eq!((stats.points, stats.protected_bytes, stats.used_bytes), (1, size, size - 5 * 4096));
    assert_eq!(stats.stored_bytes, report.added_bytes);
}

#[test]
fn point_json_tells_what_the_point_is() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let mut request = common::memory_request("web01", &[("os", b"some bytes"), ("data", &[7; 9000])]);
    request.tags = vec!["before upgrade".to_owned()];
    request.consistency = icecore::point::Consistency::FileSystem;
    request.time = Some("2026-11-20T02:00:00Z".parse().expect("time"));
    let report = vault.backup(&request, &Progress::default()).expect("backup");
    assert_eq!(report.point.name, "2026-11-20T02-00-00Z");
    let text = common::tree_bytes(&vault, "web01/2026-11-20T02-00-00Z/point.json").expect("point.json");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for (pointer, expected) in [
        ("/machine", serde_json::json!("web01")),
        ("/time", "2026-11-20T02:00:00Z".into()),
        ("/consistency", "file-system".into()),
        ("/tags", serde_json::json!(["before upgrade"])),
        ("/point", report.point.id.clone().into()),
        ("/disks/0/name", "os".into()),
        ("/disks/1/size_bytes", 9000.into()),
        ("/volumes/1/disk", "data".into()),
        ("/volumes/1/table", "none".into()),
    ] {
        assert_eq!(json.pointer(pointer), Some(&expected), "{pointer} of {json:#}");
    }
}

#[test]
fn options_that_no_vault_may_have_are_refused() {
    for wrong in [
        InitOptions { chunk_bytes: 5000, ..common::small() },
        InitOptions { chunk_bytes: 2048, ..common::small() },
        InitOptions { chunk_bytes: 8 << 20, ..common::small() },
        InitOptions { level: 23, ..common::small() },
        InitOptions { level: -8, ..common::small() },
        InitOptions { segment_bytes: 4096, ..common::small() },
    ] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let refused = icecore::Vault::init(&path, &common::password(), &wrong).map(|_| ()).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Caller, "{refused}");
        assert!(!path.exists(), "nothing was made");
        // Nor by the way that embedders take.
        let files = common::faults::FaultyFiles::new(common::faults::Plan::NONE);
        assert!(files.init(&path, &wrong).is_err(), "{wrong:?} made a vault that nobody could open");
    }
}
