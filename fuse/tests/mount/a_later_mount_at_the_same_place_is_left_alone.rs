//! Promise 5: browsing harms nothing; here: a handle of an ended mount does not unmount what came after it.

use std::fs;
use std::sync::Arc;

use crate::common::{Content, MemoryTree, Mounted, Place, ROOT, can_mount, is_mounted};
use icecore_fuse::{MountOptions, UnmountError, mount};

#[test]
fn a_later_mount_at_the_same_place_is_left_alone() {
    if !can_mount("a_later_mount_at_the_same_place_is_left_alone") {
        return;
    }
    let place = Place::new();
    let start = |tree: &Arc<MemoryTree>| mount(Arc::clone(tree), &place.0, &MountOptions::default(), |_| {}).unwrap();
    let tree = MemoryTree::new();
    let first = start(&tree);
    let first_handle = first.unmounter();
    first.unmount().unwrap();
    let second = start(&tree);
    first_handle.unmount().unwrap();
    assert!(is_mounted(&place.0));

    // Nor does one that is covered tear away what covers it.
    let above = MemoryTree::new();
    above.add(ROOT, "above", 5, Content::File(Vec::new()));
    let third = start(&above);
    assert!(matches!(second.unmounter().unmount(), Err(UnmountError::Covered(_))));
    assert!(fs::metadata(place.0.join("above")).is_ok());
    third.unmount().unwrap();
    second.unmount().unwrap();
    assert!(!is_mounted(&place.0));
    drop(Mounted::new(tree));
}
