//! Promise 5: browsing needs no care afterwards; here: as for Ctrl-C, one thread waits and another one unmounts.

use std::thread;
use std::time::Duration;

use crate::common::{MemoryTree, Mounted, can_mount, is_mounted};
use icecore_fuse::Ended;

#[test]
fn a_handle_unmounts_from_another_thread() {
    if !can_mount("a_handle_unmounts_from_another_thread") {
        return;
    }
    let mut mounted = Mounted::new(MemoryTree::new());
    let mount = mounted.mount.take().unwrap();
    let unmounter = mount.unmounter();
    let signal = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        unmounter.unmount().unwrap()
    });
    assert_eq!(mount.join(), Ended::Unmounted);
    assert_eq!(signal.join().unwrap(), Ended::Unmounted);
    assert!(!is_mounted(mounted.path()));
}
