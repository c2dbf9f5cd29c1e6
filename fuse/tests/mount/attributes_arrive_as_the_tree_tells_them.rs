//! Promise 5: any recovery point can be browsed; here: kinds, modes, owners, devices and times of four centuries.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount};
use icecore_fuse::{FileType, MountOptions, Timestamp};
use rustix::fs::{major, minor, statvfs};

#[test]
fn attributes_arrive_as_the_tree_tells_them() {
    if !can_mount("attributes_arrive_as_the_tree_tells_them") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "device", 2, Content::Special);
    tree.change(2, |node| {
        node.attributes.kind = FileType::BlockDevice;
        node.attributes.device = (259, 70_000);
        node.attributes.mode = 0o6751;
        (node.attributes.uid, node.attributes.gid, node.attributes.links) = (1000, 4_000_000_000, 3);
        node.attributes.accessed = Timestamp { seconds: -1, nanoseconds: 999_999_999 };
        node.attributes.modified = Timestamp { seconds: -10_000_000_000, nanoseconds: 1 };
        node.attributes.changed = Timestamp { seconds: 5_000_000_000, nanoseconds: 123_456_789 };
    });
    for (number, kind) in [(3, FileType::CharDevice), (4, FileType::Fifo), (5, FileType::Socket)] {
        tree.add(ROOT, &number.to_string(), number, Content::Special);
        tree.change(number, |node| node.attributes.kind = kind);
    }
    let mounted = Mounted::with(tree, &MountOptions { keep_modes: true, ..MountOptions::default() });

    // Once as a listing brings them, once as asked for.
    for _ in 0..2 {
        let status = fs::symlink_metadata(mounted.join("device")).unwrap();
        assert!(status.file_type().is_block_device());
        assert_eq!((major(status.rdev()), minor(status.rdev())), (259, 70_000));
        assert_eq!(status.mode() & 0o7777, 0o6751);
        assert_eq!((status.uid(), status.gid(), status.nlink(), status.ino()), (1000, 4_000_000_000, 3, 2));
        assert_eq!((status.atime(), status.atime_nsec()), (-1, 999_999_999));
        assert_eq!((status.mtime(), status.mtime_nsec()), (-10_000_000_000, 1));
        assert_eq!((status.ctime(), status.ctime_nsec()), (5_000_000_000, 123_456_789));
        assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 4);
    }
    assert!(fs::symlink_metadata(mounted.join("3")).unwrap().file_type().is_char_device());
    assert!(fs::symlink_metadata(mounted.join("4")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(mounted.join("5")).unwrap().file_type().is_socket());

    let space = statvfs(mounted.path()).unwrap();
    assert_eq!((space.f_blocks * space.f_frsize, space.f_bfree, space.f_files), (1 << 40, 0, 12_345));

    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mine = all.lines().find(|line| line.contains(mounted.path().to_str().unwrap())).unwrap();
    assert!(mine.contains(" ro,nosuid,nodev,noatime "), "{mine}");
    assert!(mine.contains(" - fuse.icecore icecore ro,"), "{mine}");
}
