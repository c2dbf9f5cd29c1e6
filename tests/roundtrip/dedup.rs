//! Promise 6: a second backup costs what changed, and equal content is stored once, whatever disk it is on.

use crate::common;
use crate::common::assert_same;

#[test]
fn an_unchanged_second_backup_adds_less_than_4_kib() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let (os, data) = (common::noise(1, 6 << 20), common::text(2, 3 << 20));
    let disks: [(&str, &[u8]); 2] = [("os", &os), ("data", &data)];
    let first = common::backup_bytes(&vault, "m", &disks).expect("first");
    let second = common::backup_bytes(&vault, "m", &disks).expect("second");
    assert!(first.added_bytes > 6 << 20);
    assert!(second.added_bytes < 4096, "{} bytes", second.added_bytes);
    // Nor from another instance, nor for another machine with the same disks.
    let other = common::open(&folder.path().join("vault"));
    assert!(common::backup_bytes(&other, "m", &disks).expect("third").added_bytes < 4096);
    let clone = common::backup_bytes(&other, "clone", &[("a", &data), ("b", &os)]).expect("clone");
    assert!(clone.added_bytes < 4096, "{} bytes", clone.added_bytes);
    assert_eq!(clone.manifest.disks[0].new_bytes, 0);
    assert_same(&common::restored(&other, &clone.point, "b").expect("restore"), &os, "the clone's disk");
}

#[test]
fn equal_disks_of_one_backup_are_stored_once() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let disk = common::noise(3, 4 << 20);
    let named: Vec<(String, &[u8])> = (0..5).map(|number| (format!("d{number}"), disk.as_slice())).collect();
    let disks: Vec<(&str, &[u8])> = named.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let report = common::backup_bytes(&vault, "m", &disks).expect("backup");
    let new: u64 = report.manifest.disks.iter().map(|disk| disk.new_bytes).sum();
    assert_eq!(new, 4 << 20, "each chunk counts as new once");
    assert!(common::segment_bytes(&path) < (4 << 20) + (4 << 20) / 10);
    for (name, _) in &disks {
        assert_same(&common::disk_bytes(&vault, &report.point, name).expect("read"), &disk, name);
    }
}

#[test]
fn a_changed_byte_costs_a_chunk_and_its_path_in_the_map() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let mut disk = common::noise(4, 8 << 20);
    common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("first");
    disk[5_000_000] ^= 1;
    let second = common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("second");
    assert_eq!(second.manifest.disks[0].new_bytes, 4096);
    // The chunk, two map nodes of up to 4 KiB each, the manifest, two segments' frames.
    assert!(second.added_bytes < 16 << 10, "{} bytes", second.added_bytes);
    assert_same(&common::restored(&vault, &second.point, "os").expect("restore"), &disk, "second");
}
