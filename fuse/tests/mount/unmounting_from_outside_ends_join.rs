//! Promise 5: browsing needs no care afterwards; here: `umount` and `fusermount3 -u` end the server and leave nothing.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use crate::common::{MemoryTree, Mounted, can_mount, has, is_mounted, is_root};
use icecore_fuse::Ended;

#[test]
fn unmounting_from_outside_ends_join() {
    if !can_mount("unmounting_from_outside_ends_join") {
        return;
    }
    for (program, arguments) in [("umount", &[][..]), ("fusermount3", &["-u"][..])] {
        if !has(program) || (program == "umount" && !is_root()) {
            eprintln!("NOT RUN: unmounting_from_outside_ends_join: no {program} for this user");
            continue;
        }
        let tree = MemoryTree::new();
        let mut mounted = Mounted::new(Arc::clone(&tree));
        assert!(is_mounted(mounted.path()));
        let unmounter = mounted.mount.as_ref().unwrap().unmounter();
        let status = Command::new(program).args(arguments).arg(mounted.path()).status().unwrap();
        assert!(status.success(), "{program}");

        assert_eq!(mounted.mount.take().unwrap().join(), Ended::Unmounted);
        assert!(!is_mounted(mounted.path()));
        assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
        // The tree is let go; only this test and its mount hold it still.
        assert_eq!(Arc::strong_count(&tree), 2);
        // Too late is no error, and touches no other mount that came to the same place.
        assert_eq!(unmounter.unmount().unwrap(), Ended::Unmounted);
    }
}
