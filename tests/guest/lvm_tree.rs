//! Promise 5: the logical volumes of a point stand in its tree, whichever of its disks they lie on; what is missing or
//! damaged of them is told beside the others. Promise 3: damage elsewhere hides none of them.

use std::path::Path;

use crate::common;
use crate::guest_support;
use crate::guest_support::physical::*;
use icecore::Vault;

const MEBIBYTE: usize = 1 << 20;

/// An ext2 file system of eight extents with a file in it.
fn file_system(folder: &Path) -> Vec<u8> {
    let content = folder.join("content");
    std::fs::create_dir_all(content.join("etc")).expect("a folder");
    std::fs::write(content.join("etc/hostname"), b"web01\n").expect("a file");
    std::fs::write(content.join("noise"), common::noise(9, 300_000)).expect("a file");
    let image = folder.join("image");
    guest_support::image::make(&image, "512k", &["-t", "ext2", "-b", "1024"], Some(&content));
    std::fs::read(&image).expect("the image")
}

/// A disk with two partitions: one of a MiB of noise, then a physical volume.
fn partitioned(physical: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 2 * MEBIBYTE];
    for (number, (first, length)) in [(1, 1), (2, physical.len() / MEBIBYTE)].into_iter().enumerate() {
        let entry = &mut disk[446 + 16 * number..][..16];
        entry[4] = if number == 0 { 0x83 } else { 0x8E };
        entry[8..12].copy_from_slice(&(first * 2048_u32).to_le_bytes());
        entry[12..].copy_from_slice(&(length as u32 * 2048).to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk[MEBIBYTE..].copy_from_slice(&common::noise(3, MEBIBYTE));
    [disk, physical.to_vec()].concat()
}

/// A group over a partition of one disk and the whole of another one, with a file system, swap, and noise on it.
fn disks(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let root = volume("root", true, &[&linear(0, 5, "pv0", 0), &linear(5, 3, "pv1", 2)]);
    let text = group(
        "vg",
        3,
        "ab",
        &[
            root,
            one("swap", true, "pv0", 6),
            one("b", true, "pv0", 7),
            one("far", true, "pv1", 8),
            one("hidden", false, "pv0", 8),
            volume("cached", true, &["start_extent = 0 extent_count = 1 type = \"cache\" origin = \"b\""]),
        ],
    );
    let [mut a, mut b] = pair(&text);
    let files = file_system(folder);
    a[DATA_AT..][..5 * EXTENT].copy_from_slice(&files[..5 * EXTENT]);
    b[DATA_AT + 2 * EXTENT..][..3 * EXTENT].copy_from_slice(&files[5 * EXTENT..]);
    a[DATA_AT + 6 * EXTENT + 0xFF6..][..10].copy_from_slice(b"SWAPSPACE2");
    (partitioned(&a), b)
}

fn json(vault: &Vault, machine: &str) -> serde_json::Value {
    let text = common::tree_bytes(vault, &format!("{machine}/latest/point.json")).expect("point.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn named<'a>(json: &'a serde_json::Value, disk: usize, name: &str) -> &'a serde_json::Value {
    let volumes = json["volumes"][disk]["volumes"].as_array().expect("volumes");
    volumes.iter().find(|volume| volume["name"] == name).unwrap_or_else(|| panic!("{name} in {json}"))
}

#[test]
fn logical_volumes_stand_below_the_disk_that_they_begin_on() {
    let folder = common::scratch();
    let (os, data) = disks(folder.path());
    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup_bytes(&vault, "web", &[("os", &os), ("data", &data)]).expect("backup");
    let names = |path: &str| common::tree_names(&vault, path).expect("names");
    assert_eq!(
        names("web/latest/files/os"),
        ["p1.raw", "p2.raw", "vg-b.raw", "vg-cached.ERROR", "vg-root", "vg-swap.raw"]
    );
    assert_eq!(names("web/latest/files/data"), ["whole.raw", "vg-far.raw"]);
    let read = |path: &str| common::tree_bytes(&vault, &format!("web/latest/files/{path}")).expect("read");
    assert_eq!(read("os/vg-root/etc/hostname"), b"web01\n");
    common::assert_same(&read("os/vg-root/noise"), &common::noise(9, 300_000), "noise");
    common::assert_same(&read("os/vg-b.raw"), extent(&os[2 * MEBIBYTE..], 7), "b");
    common::assert_same(&read("data/vg-far.raw"), extent(&data, 8), "far");
    common::assert_same(&read("os/p2.raw"), &os[2 * MEBIBYTE..], "the physical volume itself");

    let json = json(&vault, "web");
    let root = named(&json, 0, "vg-root");
    assert_eq!(root["content"], "ext2");
    assert_eq!(root["size_bytes"], 8 * EXTENT);
    assert_eq!(root["logical_volume"]["group"], "vg");
    assert_eq!(root["logical_volume"]["group_uuid"], id('g'));
    assert_eq!(root["logical_volume"]["layouts"], serde_json::json!(["striped"]));
    assert_eq!(named(&json, 0, "vg-swap")["content"], "swap");
    assert_eq!(named(&json, 0, "p2")["content"], "LVM2 physical volume");
    assert!(named(&json, 0, "vg-cached")["problem"].as_str().is_some_and(|problem| problem.contains("cache")));
}

#[test]
fn a_disk_that_was_not_chosen_is_named() {
    let folder = common::scratch();
    let (os, _) = disks(folder.path());
    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup_bytes(&vault, "half", &[("os", &os)]).expect("backup");
    let names = common::tree_names(&vault, "half/latest/files/os").expect("names");
    let expected = ["p1.raw", "p2.raw", "vg-b.raw", "vg-cached.ERROR", "vg-far.ERROR", "vg-root.ERROR", "vg-swap.raw"];
    assert_eq!(names, expected);
    let why = common::tree_bytes(&vault, "half/latest/files/os/vg-root.ERROR").expect("a note");
    let why = String::from_utf8_lossy(&why);
    assert!(why.contains(&id('b')) && why.contains("is on none of the disks of this point"), "{why}");
}

#[test]
fn names_that_meet_are_told_apart() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let other = |letter: char, group_id: char, name: &str, volumes: &[String]| {
        let text = group(name, 1, &letter.to_string(), volumes).replace(&id('g'), &id(group_id));
        let mut disk = physical(&id(letter), &text, 0);
        disk[DATA_AT..].copy_from_slice(&common::noise(letter as u64, EXTENTS * EXTENT));
        disk
    };
    // Two groups of one name, hyphens that make names meet, and a name that is that of a file beside another volume.
    let first =
        other('a', 'g', "vg", &[one("a-b", true, "pv0", 1), one("c", true, "pv0", 2), one("c.raw", true, "pv0", 3)]);
    let second = other('b', 'h', "vg", &[one("a-b", true, "pv0", 4)]);
    let third = other('c', 'i', "vg-a", &[one("b", true, "pv0", 5)]);
    let disk = [first, second.clone(), third].concat();
    let mut table = vec![0; MEBIBYTE];
    for number in 0..3_u32 {
        let entry = &mut table[446 + 16 * number as usize..][..16];
        entry[4] = 0x8E;
        entry[8..12].copy_from_slice(&((1 + 2 * number) * 2048).to_le_bytes());
        entry[12..].copy_from_slice(&4096_u32.to_le_bytes());
    }
    table[510..512].copy_from_slice(&[0x55, 0xAA]);
    let disk = [table, disk].concat();
    common::backup_bytes(&vault, "web", &[("os", &disk)]).expect("backup");
    let names = common::tree_names(&vault, "web/latest/files/os").expect("names");
    let expected = [
        "p1.raw",
        "p2.raw",
        "p3.raw",
        "vg-a-b.raw",
        "vg-c.raw",
        "vg-c.raw-gggggggg.raw",
        "vg-a-b-hhhhhhhh.raw",
        "vg-a-b-iiiiiiii.raw",
    ];
    assert_eq!(names, expected);
    let read = |name: &str| common::tree_bytes(&vault, &format!("web/latest/files/os/{name}")).expect("read");
    common::assert_same(&read("vg-a-b-hhhhhhhh.raw"), extent(&second, 4), "of the second group");
    common::assert_same(&read("vg-c.raw"), extent(&disk[MEBIBYTE..], 2), "c");
}

#[test]
fn damage_elsewhere_hides_no_volume() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let (os, data) = disks(folder.path());
    let vault = common::init(&path, &common::small());
    // What the second backup has and the first one has not is damaged then: where the first partition begins, and the label
    // of the second disk.
    let (mut os_before, mut data_before) = (os.clone(), data.clone());
    os_before[MEBIBYTE..MEBIBYTE + 4096].fill(0);
    data_before[..4096].fill(0);
    common::backup_bytes(&vault, "web", &[("os", &os_before), ("data", &data_before)]).expect("backup");
    let before = common::files(&path.join("segments"));
    common::backup_bytes(&vault, "web", &[("os", &os), ("data", &data)]).expect("backup");
    for file in common::files(&path.join("segments")).into_iter().filter(|file| !before.contains(file)) {
        let mut bytes = std::fs::read(&file).expect("a segment");
        if bytes[12] == 1 {
            let records: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"ICER")).collect();
            assert_eq!(records.len(), 2, "the two chunks that differ");
            for record in records {
                bytes[record + 96 + 40] ^= 1;
            }
            std::fs::write(&file, bytes).expect("damage");
        }
    }
    let vault = common::open(&path);
    let names = common::tree_names(&vault, "web/latest/files/os").expect("names");
    let expected =
        ["p1.raw", "p1.ERROR", "p2.raw", "vg-b.raw", "vg-cached.ERROR", "vg-far.ERROR", "vg-root.ERROR", "vg-swap.raw"];
    assert_eq!(names, expected);
    let read = |name: &str| common::tree_bytes(&vault, &format!("web/latest/files/os/{name}")).expect("read");
    common::assert_same(&read("vg-b.raw"), extent(&os[2 * MEBIBYTE..], 7), "b");
    let why = String::from_utf8_lossy(&read("vg-far.ERROR")).into_owned();
    assert!(why.contains("disk data") && why.contains("damaged"), "where it might be is told: {why}");
    let json = json(&vault, "web");
    assert!(named(&json, 0, "p1")["problem"].is_string());
    assert_eq!(named(&json, 0, "vg-swap")["content"], "swap");
}

#[test]
fn a_group_whose_metadata_is_damaged_everywhere_is_told_of() {
    let folder = common::scratch();
    let (mut os, mut data) = disks(folder.path());
    for metadata in [&mut os[2 * MEBIBYTE..], &mut data[..]] {
        // The first letters of the text, wherever in the ring it begins.
        let at = u64::from_le_bytes(metadata[AREA_AT + 40..][..8].try_into().expect("eight bytes")) as usize;
        metadata[AREA_AT + at] ^= 1;
    }
    data[512 + 40] ^= 1;
    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup_bytes(&vault, "web", &[("os", &os), ("data", &data)]).expect("backup");
    let names = |path: &str| common::tree_names(&vault, path).expect("names");
    assert_eq!(names("web/latest/files/os"), ["p1.raw", "p2.raw", "p2.ERROR"]);
    assert_eq!(names("web/latest/files/data"), ["whole.raw", "whole.ERROR"]);
    let read = |path: &str| common::tree_bytes(&vault, &format!("web/latest/files/{path}")).expect("a note");
    assert!(String::from_utf8_lossy(&read("os/p2.ERROR")).contains("LVM2 metadata at byte 4096: checksum"));
    assert!(String::from_utf8_lossy(&read("data/whole.ERROR")).contains("label of an LVM2 physical volume: checksum"));
    assert!(json(&vault, "web")["volumes"][1]["problems"][0].as_str().is_some_and(|problem| problem.contains("label")));
}
