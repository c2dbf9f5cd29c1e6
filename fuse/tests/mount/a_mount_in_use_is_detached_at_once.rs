//! Promise 5: browsing needs no care afterwards; here: a program can end though others have files open on its mount.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, is_mounted, noise};
use icecore_fuse::Ended;

#[test]
fn a_mount_in_use_is_detached_at_once() {
    if !can_mount("a_mount_in_use_is_detached_at_once") {
        return;
    }
    let bytes = noise(9, 8 << 20);
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 2, Content::File(bytes.clone()));
    let mut mounted = Mounted::new(tree);
    let file = File::open(mounted.join("file")).unwrap();

    let started = Instant::now();
    let unmounter = mounted.mount.as_ref().unwrap().unmounter();
    assert_eq!(unmounter.unmount().unwrap(), Ended::StillInUse);
    assert_eq!(mounted.mount.take().unwrap().join(), Ended::StillInUse);
    assert!(started.elapsed().as_secs() < 2);
    assert!(!is_mounted(mounted.path()));

    // Who has it open reads on.
    let mut buffer = vec![0; 100_000];
    file.read_exact_at(&mut buffer, 5_000_000).unwrap();
    assert!(buffer == bytes[5_000_000..5_100_000]);
}
