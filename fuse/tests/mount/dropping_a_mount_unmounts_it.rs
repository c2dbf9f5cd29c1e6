//! Promise 5: browsing needs no care afterwards; here: a mount that is forgotten about goes away.

use std::fs;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, is_mounted};

#[test]
fn dropping_a_mount_unmounts_it() {
    if !can_mount("dropping_a_mount_unmounts_it") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 2, Content::File(Vec::new()));
    let mut mounted = Mounted::new(tree);
    assert!(fs::metadata(mounted.join("file")).is_ok());
    drop(mounted.mount.take());
    assert!(!is_mounted(mounted.path()));
    assert!(fs::metadata(mounted.join("file")).is_err());
}
