//! Promise 5: browsing needs no care afterwards; here: the kernel aborts the session, and no dead mount point stays.

use std::fs::{self, File};

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, is_mounted, is_root};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

const NAME: &str = "an_aborted_session_leaves_no_dead_mount_point";

#[test]
fn an_aborted_session_leaves_no_dead_mount_point() {
    if !can_mount(NAME) {
        return;
    }
    if !is_root() {
        eprintln!("NOT RUN: {NAME}: only root can abort");
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 2, Content::File(Vec::new()));
    let mut mounted = Mounted::new(tree);
    let open = File::open(mounted.join("file")).unwrap();

    // Aborts, and then cannot unmount: the file is open.
    assert_eq!(unmount(mounted.path(), UnmountFlags::FORCE), Err(Errno::BUSY));
    mounted.mount.take().unwrap().join();
    assert!(!is_mounted(mounted.path()));
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
    drop(open);
}
