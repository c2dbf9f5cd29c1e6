//! Promise 2: a read returns the right bytes; here: of a file that changes while mounted, though the kernel caches it.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount};

#[test]
fn a_mutable_file_shows_its_new_content() {
    if !can_mount("a_mutable_file_shows_its_new_content") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 2, Content::File(b"before".to_vec()));
    tree.change(2, |file| file.immutable = false);
    let mounted = Mounted::new(tree);
    assert_eq!(fs::read(mounted.join("file")).unwrap(), b"before");

    mounted.tree.change(2, |file| {
        file.content = Content::File(b"after!".to_vec());
        file.attributes.modified.nanoseconds += 1;
    });
    sleep(Duration::from_millis(1500));
    assert_eq!(fs::read(mounted.join("file")).unwrap(), b"after!");
}
