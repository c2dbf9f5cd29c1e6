//! Promise 5: a volume that lies hides no other one, and whatever walks a disk full of lies comes to an end.
#![cfg(feature = "cli")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli_support::Sandbox;
use crate::common;
use crate::guest_support::image::numbers;
use icecore_fixtures::table::{GptPartition, PartitionType, SECTOR_BYTES, write_gpt};

const MIB: u64 = 1 << 20;
const VOLUME: u64 = 8 * MIB;

fn debugfs(image: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-w", "-R", request]).arg(image).output().expect("debugfs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An ext4 file system without checksums: whoever changes it need not lie twice.
fn ext4(place: &Path, name: &str) -> Option<PathBuf> {
    let from = place.join("from");
    std::fs::create_dir_all(from.join("a/b")).expect("directories");
    std::fs::write(from.join("a/b/file"), "good").expect("a file");
    std::fs::create_dir_all(from.join("cyclic")).expect("a directory");
    let path = place.join(name);
    File::create(&path).and_then(|file| file.set_len(VOLUME)).expect("an image");
    let options = ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal", "-L", name, "-d"];
    let made = Command::new("mke2fs").args(options).arg(&from).arg(&path).output().ok()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(path)
}

fn change(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).and_then(|file| file.write_all_at(bytes, at)).expect("a change");
}

/// Directories that hold what holds them, by one name and by several.
fn with_loops(path: &Path) {
    for link in ["link a a/b/up", "link / a/root", "link a/b a/twin", "link a a/b/up-again"] {
        debugfs(path, link);
    }
}

/// A directory whose block map leads back into itself.
fn with_cyclic_extents(path: &Path) {
    let place = numbers(&debugfs(path, "imap /cyclic"));
    let inode_at = place[place.len() - 2] * 1024 + place[place.len() - 1];
    let block = numbers(&debugfs(path, "blocks /cyclic"))[0];
    let header = |depth: u8, most: u8| [0x0A, 0xF3, 1, 0, most, 0, depth, 0, 0, 0, 0, 0];
    let index = [&[0; 4], &u32::try_from(block).expect("small").to_le_bytes()[..], &[0; 4]].concat();
    for (at, depth, most) in [(inode_at + 40, 2, 4), (block * 1024, 1, 84)] {
        change(path, at, &[header(depth, most).as_slice(), &index].concat());
    }
}

/// A disk with bad volumes between good ones.
fn disk(place: &Path) -> Option<PathBuf> {
    let volume = |name: &str| ext4(place, name);
    let good = volume("good")?;
    let (absurd, loops, cyclic, inodes) = (volume("absurd")?, volume("loops")?, volume("cyclic")?, volume("inodes")?);
    // More blocks than any disk has; more inodes in a group than it has bits for.
    change(&absurd, 1024 + 4, &[0xFF; 4]);
    change(&inodes, 1024 + 40, &[0xFF; 4]);
    with_loops(&loops);
    with_cyclic_extents(&cyclic);
    let xfs = place.join("xfs");
    std::fs::write(&xfs, [b"XFSB".as_slice(), &[0xFF; 4092]].concat()).expect("a file");
    let path = place.join("disk.raw");
    let file = File::create(&path).expect("a disk");
    file.set_len(100 * MIB).expect("a length");
    let contents = [&good, &absurd, &loops, &cyclic, &xfs, &inodes, &good];
    let mut partitions = Vec::new();
    for (number, content) in (0_u64..).zip(contents) {
        let start = MIB + number * VOLUME;
        file.write_all_at(&std::fs::read(content).expect("an image"), start).expect("a volume");
        partitions.push((start, start + VOLUME));
    }
    // One that overlaps all of these, one that lies behind the disk, one that ends before it starts.
    partitions.extend([(MIB, 90 * MIB), (99 * MIB, 1 << 60), (95 * MIB, 95 * MIB - 512)]);
    let partition = |(start, end): (u64, u64)| GptPartition {
        kind: PartitionType::LinuxData,
        name: "x".to_owned(),
        first_sector: start / SECTOR_BYTES,
        last_sector: end / SECTOR_BYTES - 1,
    };
    let partitions: Vec<GptPartition> = partitions.into_iter().map(partition).collect();
    write_gpt(&file, 100 * MIB, &partitions, 1).expect("a table");
    Some(path)
}

const NAMES: [&str; 13] = [
    "p1",
    "p2.raw",
    "p2.ERROR",
    "p3",
    "p4",
    "p5.raw",
    "p5.ERROR",
    "p6.raw",
    "p6.ERROR",
    "p7",
    "p8.ERROR",
    "p9.ERROR",
    "p10.ERROR",
];

#[test]
fn every_good_volume_is_served_beside_bad_ones_and_walks_end() {
    let test = "every_good_volume_is_served_beside_bad_ones_and_walks_end";
    let sandbox = Sandbox::new();
    let Some(image) = disk(sandbox.path("password").parent().expect("a folder")) else {
        return common::not_run(test, "e2fsprogs are missing");
    };
    sandbox.ok(&["backup", "m", "--disk", &format!("os={}", image.display())]);
    let vault = common::open(&sandbox.path("vault"));
    let names = common::tree_names(&vault, "m/latest/files/os").expect("names");
    assert_eq!(names, NAMES);
    for volume in ["p1", "p3", "p4", "p7"] {
        let file = common::tree_bytes(&vault, &format!("m/latest/files/os/{volume}/a/b/file"));
        assert_eq!(file.expect(volume), b"good", "{volume}");
    }
    for (volume, part) in [("p2", "superblock"), ("p5", "XFS"), ("p6", "superblock"), ("p8", "overlaps volume")] {
        let note = common::tree_bytes(&vault, &format!("m/latest/files/os/{volume}.ERROR")).expect("a note");
        assert!(String::from_utf8_lossy(&note).contains(part), "{volume}: {}", String::from_utf8_lossy(&note));
    }
    assert!(common::tree_names(&vault, "m/latest/files/os/p4/cyclic").is_err(), "its map leads back into itself");
    let json = sandbox.ok(&["cat", "m/latest/point.json"]).json();
    let contents: Vec<_> = (0..7).map(|volume| json.pointer(&format!("/volumes/0/volumes/{volume}/content"))).collect();
    let expected = ["ext4", "ext", "ext4", "ext4", "xfs", "ext", "ext4"].map(serde_json::Value::from);
    assert!(contents.iter().map(|content| content.cloned()).eq(expected.map(Some)), "{contents:?}");
    assert_eq!(json.pointer("/volumes/0/volumes").and_then(|volumes| volumes.as_array()).map(Vec::len), Some(10));

    // A directory that is named again is entered once, told, and costs its neighbours nothing.
    let found = sandbox.run(&["find", "m/latest/files/os", "file"]);
    assert_eq!(found.code, 3, "{}", found.stderr);
    assert_eq!(found.text().lines().count(), 4, "{}", found.text());
    assert!(found.stderr.contains("met before") && found.stderr.contains("p4/cyclic"), "{}", found.stderr);
    let copied = sandbox.run(&["cp", "-r", "m/latest/files/os/p3", "entered"]);
    assert_eq!(copied.code, 3, "{}", copied.stderr);
    assert_eq!(std::fs::read(sandbox.path("entered/a/b/file")).expect("a copy"), b"good");
    // What one source holds is no loop in the next.
    sandbox.ok(&["cp", "-r", "m/latest/files/os/p1/a", "m/latest/files/os/p1/a/b", "."]);

    let Some(mounted) = common::guest::Mounted::new(test, &vault) else { return };
    for volume in ["p3", "p4"] {
        let path = mounted.join(&format!("m/latest/files/os/{volume}/"));
        // The kernel refuses a directory that is its own ancestor, and `find` and `cp` end.
        let walk = Command::new("timeout").args(["60", "find"]).arg(&path).output().expect("find");
        assert_ne!(walk.status.code(), Some(124), "find goes on for ever");
        assert!(String::from_utf8_lossy(&walk.stdout).contains("a/b/file"), "{volume}");
        let to = sandbox.path(&format!("copy-{volume}"));
        let copy = Command::new("timeout").args(["60", "cp", "-r"]).arg(&path).arg(&to).output().expect("cp");
        assert_ne!(copy.status.code(), Some(124), "cp goes on for ever");
        assert_eq!(std::fs::read(to.join("a/b/file")).expect("a copy"), b"good");
    }
}
