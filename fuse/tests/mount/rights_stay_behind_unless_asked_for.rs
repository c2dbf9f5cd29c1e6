//! THREATS.md, a guest's root: copying out of a mount gives nobody its set-user-id programs, capabilities and devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;
use std::sync::Arc;

use crate::common::{Content, MemoryTree, Mounted, Place, ROOT, can_mount, has};
use icecore_fuse::{FileType, MountOptions};
use rustix::fs::{lgetxattr, listxattr};
use rustix::io::Errno;

const CAPABILITIES: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn tree() -> Arc<MemoryTree> {
    let tree = MemoryTree::new();
    tree.add(ROOT, "program", 2, Content::File(b"#!/bin/sh".to_vec()));
    tree.change(2, |node| {
        node.attributes.mode = 0o6755;
        node.xattrs = [("security.capability", CAPABILITIES), ("security.SMACK64EXEC", b"_"), ("user.kept", b"yes")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec();
    });
    for (name, number, kind) in [("sda", 3, FileType::BlockDevice), ("null", 4, FileType::CharDevice)] {
        tree.add(ROOT, name, number, Content::Special);
        tree.change(number, |node| {
            (node.attributes.kind, node.attributes.device, node.attributes.mode) = (kind, (1, 3), 0o666);
        });
    }
    tree.add(ROOT, "shared", 5, Content::Directory(Vec::new()));
    tree.change(5, |node| node.attributes.mode = 0o7777);
    tree.add(ROOT, "pipe", 6, Content::Special);
    tree
}

#[test]
fn rights_stay_behind_unless_asked_for() {
    if !can_mount("rights_stay_behind_unless_asked_for") {
        return;
    }
    let mounted = Mounted::new(tree());
    let seen = |name: &str| fs::symlink_metadata(mounted.join(name)).unwrap();
    // Once as asked for, once as a listing brings them.
    for _ in 0..2 {
        assert_eq!((seen("program").mode() & 0o7777, seen("shared").mode() & 0o7777), (0o755, 0o1777));
        for device in ["sda", "null"] {
            assert!(seen(device).file_type().is_socket());
            assert_eq!(seen(device).rdev(), 0);
        }
        assert!(seen("pipe").file_type().is_fifo());
        let sockets = fs::read_dir(mounted.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_socket());
        assert_eq!(sockets.count(), 2);
    }
    // No reader takes a device for an empty file.
    assert_eq!(fs::File::open(mounted.join("sda")).unwrap_err().raw_os_error(), Some(Errno::NXIO.raw_os_error()));
    let program = mounted.join("program");
    let mut names = [0; 100];
    let length = listxattr(&program, &mut names[..]).unwrap();
    assert_eq!(&names[..length], b"user.kept\0");
    for withheld in ["security.capability", "security.SMACK64EXEC"] {
        assert_eq!(lgetxattr(&program, withheld, &mut names[..]), Err(Errno::NODATA), "{withheld}");
    }
    assert_eq!(lgetxattr(&program, "user.kept", &mut names[..]), Ok(3));

    if !has("cp") {
        return eprintln!("NOT RUN: rights_stay_behind_unless_asked_for: cp is missing");
    }
    let place = Place::new();
    let copied = Command::new("cp").arg("-a").arg(mounted.path()).arg(place.0.join("copy")).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let copy = |name: &str| fs::symlink_metadata(place.0.join("copy").join(name)).unwrap();
    assert_eq!(copy("program").mode() & 0o7777, 0o755);
    assert!(copy("sda").file_type().is_socket() && copy("null").file_type().is_socket());
    fs::remove_dir_all(place.0.join("copy")).unwrap();
}

#[test]
fn rights_pass_where_they_are_asked_for() {
    if !can_mount("rights_pass_where_they_are_asked_for") {
        return;
    }
    let mounted = Mounted::with(tree(), &MountOptions { keep_modes: true, ..MountOptions::default() });
    let seen = |name: &str| fs::symlink_metadata(mounted.join(name)).unwrap();
    assert_eq!((seen("program").mode() & 0o7777, seen("shared").mode() & 0o7777), (0o6755, 0o7777));
    assert!(seen("sda").file_type().is_block_device() && seen("null").file_type().is_char_device());
    assert_eq!(seen("null").rdev(), rustix::fs::makedev(1, 3));
    let mut value = [0; 100];
    let length = lgetxattr(mounted.join("program"), "security.capability", &mut value[..]).unwrap();
    assert_eq!(&value[..length], CAPABILITIES);
}
