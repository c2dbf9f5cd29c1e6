//! Promise 5: browsing is quick; here: of what never changes, the kernel remembers names, absent names, links and bytes.

use std::fs;
use std::sync::atomic::Ordering;
use std::thread::sleep;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, noise};
use icecore_fuse::MUTABLE_TTL;

#[test]
fn what_never_changes_is_asked_once() {
    if !can_mount("what_never_changes_is_asked_once") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "directory", 2, Content::Directory(Vec::new()));
    tree.add(2, "file", 3, Content::File(noise(1, 500_000)));
    tree.add(2, "link", 4, Content::Link(b"file".to_vec()));
    let mounted = Mounted::new(tree);
    let look = || {
        assert_eq!(fs::read_dir(mounted.join("directory")).unwrap().count(), 2);
        assert!(fs::read(mounted.join("directory/file")).unwrap() == noise(1, 500_000));
        assert_eq!(fs::metadata(mounted.join("directory/link")).unwrap().len(), 500_000);
        assert!(fs::metadata(mounted.join("directory/missing")).is_err());
    };
    look();
    // The kernel may forget at any time for lack of memory, and other programs may look in: one quiet round will do.
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let before = mounted.tree.calls.load(Ordering::Relaxed);
        sleep(MUTABLE_TTL * 3 / 2);
        look();
        rounds.push(mounted.tree.calls.load(Ordering::Relaxed) - before);
        // Its size, when the file is opened: large ones are read past the kernel's cache.
        if rounds.last().is_some_and(|calls| *calls <= 1) {
            return;
        }
    }
    panic!("calls in each round: {rounds:?}");
}
