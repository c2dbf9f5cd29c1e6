//! Promise 5: anyone can browse; here: who mounts in the wrong place is told what is wrong with it.

use std::fs;
use std::path::Path;

use crate::common::{MemoryTree, Place, can_mount, is_mounted};
use icecore_fuse::{Mount, MountError, MountOptions, mount};

fn attempt(path: &Path) -> Result<Mount, MountError> {
    mount(MemoryTree::new(), path, &MountOptions::default(), |_| {})
}

#[test]
fn a_wrong_mount_point_is_named() {
    if !can_mount("a_wrong_mount_point_is_named") {
        return;
    }
    let place = Place::new();
    let missing = attempt(&place.0.join("missing"));
    assert!(matches!(missing, Err(MountError::MountPointMissing(_))), "{missing:?}");

    let file = place.0.join("file");
    fs::write(&file, b"").unwrap();
    let no_directory = attempt(&file);
    let below = attempt(&file.join("below"));
    let not_empty = attempt(&place.0);
    fs::remove_file(&file).unwrap();
    assert!(matches!(no_directory, Err(MountError::MountPointNotADirectory(_))), "{no_directory:?}");
    assert!(matches!(below, Err(MountError::MountPointNotADirectory(_))), "{below:?}");
    assert!(matches!(not_empty, Err(MountError::MountPointNotEmpty(_))), "{not_empty:?}");
    assert!(!is_mounted(&place.0));
}
