//! Promise 5: any recovery point can be browsed; here: one that is made while the vault is mounted, within 2 seconds.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount};

#[test]
fn new_entries_appear_while_mounted() {
    if !can_mount("new_entries_appear_while_mounted") {
        return;
    }
    let tree = MemoryTree::new();
    tree.change(ROOT, |root| root.immutable = false);
    tree.add(ROOT, "old", 2, Content::File(b"old".to_vec()));
    let mounted = Mounted::new(tree);
    let list = || {
        let mut names: Vec<_> = fs::read_dir(mounted.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // Whatever the kernel can cache of the directory, it caches now.
    for _ in 0..2 {
        assert_eq!(list(), ["old"]);
        assert!(fs::metadata(mounted.join("new")).is_err());
    }

    mounted.tree.add(ROOT, "new", 3, Content::File(b"new".to_vec()));
    sleep(Duration::from_millis(1500));
    assert_eq!(list(), ["new", "old"]);
    assert_eq!(fs::read(mounted.join("new")).unwrap(), b"new");

    mounted.tree.relist(ROOT, |entries| entries.retain(|(name, _)| name == b"new"));
    sleep(Duration::from_millis(1500));
    assert_eq!(list(), ["new"]);
    assert!(fs::metadata(mounted.join("old")).is_err());
}
