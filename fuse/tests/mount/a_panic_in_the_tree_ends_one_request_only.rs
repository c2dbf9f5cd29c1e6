//! Promise 2: a read returns the bytes or an error; here: where the tree has a bug, and everything else goes on.

use std::fs;

use crate::common::{Content, EIO, MemoryTree, Mounted, ROOT, can_mount};

#[test]
fn a_panic_in_the_tree_ends_one_request_only() {
    if !can_mount("a_panic_in_the_tree_ends_one_request_only") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "bug", 2, Content::Panicking);
    tree.add(ROOT, "file", 3, Content::File(b"fine".to_vec()));
    let mounted = Mounted::new(tree);

    // More often than there are threads: were one lost each time, none would be left.
    for _ in 0..50 {
        assert_eq!(fs::read(mounted.join("bug")).unwrap_err().raw_os_error(), Some(EIO));
    }
    assert_eq!(fs::read(mounted.join("file")).unwrap(), b"fine");
    let told = mounted.failures.lock().unwrap().clone();
    assert!(told.contains(&"read of node 2: panicked: a bug on purpose".to_owned()), "{told:?}");
}
