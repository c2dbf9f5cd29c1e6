//! Promise 5: a disk through the mount is the disk: same bytes, same holes; new points appear; numbers stay.
#![cfg(feature = "mount")]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common;
use crate::common::guest::{Mounted, hash};
use rustix::fs::{SeekFrom, seek};

#[test]
fn bytes_holes_and_space_are_the_disks() {
    let folder = common::scratch();
    let image = folder.path().join("holes.raw");
    let (disk, _) = icecore_fixtures::single::raw_with_holes(&image, 40 << 20, 5).expect("disk");
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let report = common::backup(&vault, "m", &[("os", &image)]);
    let Some(mounted) = Mounted::new("bytes_holes_and_space_are_the_disks", &vault) else { return };
    let raw = mounted.join("m/latest/disks/os.raw");
    assert_eq!(hash(&raw), hash(&image));
    let status = raw.metadata().expect("stat");
    let described = &report.manifest.disks[0];
    assert_eq!(status.size(), disk.size_bytes);
    assert_eq!(status.blocks(), (described.size_bytes - described.zero_bytes).div_ceil(512));

    // What a program that copies sparse files finds is what the map tells, and between there are zeros only.
    let map = vault.disk(&report.point, "os").expect("map");
    let file = File::open(&raw).expect("open");
    let (mut at, mut holes) = (0, 0);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        assert_eq!(map.seek(at, true).expect("map"), Some(start));
        let mut hole = vec![1; usize::try_from(start - at).expect("small")];
        file.read_exact_at(&mut hole, at).expect("read");
        assert!(hole.iter().all(|byte| *byte == 0), "data in the hole {at}..{start}");
        at = seek(&file, SeekFrom::Hole(start)).expect("an end");
        assert_eq!(map.seek(start, false).expect("map"), Some(at));
        holes += 1;
    }
    assert!(holes > 5 && map.seek(at, true).expect("map").is_none());
    assert!(File::options().write(true).open(&raw).is_err(), "read-only");
}

#[test]
fn new_points_and_machines_appear_while_mounted() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let first = common::backup_bytes(&vault, "m", &[("os", b"first")]).expect("backup").point;
    let Some(mounted) = Mounted::new("new_points_and_machines_appear_while_mounted", &vault) else { return };
    let latest = mounted.join("m/latest");
    assert_eq!(std::fs::read_link(&latest).expect("latest"), Path::new(&first.name));
    assert!(!mounted.join("n").exists());

    // By another instance, as by another process.
    let other = common::open(&path);
    let second = common::backup_bytes(&other, "m", &[("os", b"second")]).expect("backup").point;
    common::backup_bytes(&other, "n", &[("os", b"third")]).expect("backup");
    let began = Instant::now();
    while std::fs::read_link(&latest).ok().as_deref() != Some(Path::new(&second.name)) || !mounted.join("n").exists() {
        assert!(began.elapsed() < Duration::from_secs(5), "new points do not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    for (path, content) in [("m/latest/disks/os.raw", "second"), ("n/latest/disks/os.raw", "third")] {
        assert_eq!(std::fs::read_to_string(mounted.join(path)).expect(path), content);
    }
    let kept = mounted.join(&format!("m/{}/disks/os.raw", first.name));
    assert_eq!(std::fs::read_to_string(kept).expect("the old point"), "first");
}

#[test]
fn numbers_are_the_same_in_the_next_mount() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let image = folder.path().join("mbr.raw");
    if let Err(error) = icecore_fixtures::single::mbr_disk(&image, 2) {
        return common::not_run("numbers_are_the_same_in_the_next_mount", &error.to_string());
    }
    let options = icecore::vault::InitOptions { chunk_bytes: 64 << 10, ..common::small() };
    let point = common::backup(&common::init(&path, &options), "m", &[("os", &image)]).point;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let vault = common::open(&path);
        let Some(mounted) = Mounted::new("numbers_are_the_same_in_the_next_mount", &vault) else { return };
        let paths = ["m", "m/latest", "m/P", "m/P/point.json", "m/P/disks/os.raw", "m/P/files/os/p5/sizes/100"];
        let inode = |path: &str| {
            let path = mounted.join(&path.replace('P', &point.name));
            path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).ino()
        };
        numbers.push(paths.map(inode));
    }
    assert_eq!(numbers[0], numbers[1]);
}
