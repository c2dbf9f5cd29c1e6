//! Promise 5: any recovery point can be browsed; here: a large directory is listed whole, twice, in order.

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount};

const ENTRIES: u64 = 20_000;

#[test]
fn listing_shows_every_entry_of_a_large_directory() {
    if !can_mount("listing_shows_every_entry_of_a_large_directory") {
        return;
    }
    let tree = MemoryTree::new();
    for immutable in [true, false] {
        let directory = if immutable { 2 } else { 3 };
        tree.add(ROOT, if immutable { "fixed" } else { "growing" }, directory, Content::Directory(Vec::new()));
        tree.change(directory, |node| node.immutable = immutable);
        for number in 0..ENTRIES {
            // Names of many lengths, so that the kernel's buffers fill up at many places.
            let name = format!("{number}-{}", "x".repeat(number as usize % 200));
            tree.add(directory, &name, directory * 100_000 + number, Content::File(vec![0; number as usize % 7]));
        }
    }
    let mounted = Mounted::new(tree);

    for directory in ["fixed", "growing"] {
        let base = if directory == "fixed" { 200_000 } else { 300_000 };
        // The second time comes from the kernel's cache where the directory is immutable.
        for _ in 0..2 {
            let mut seen = 0;
            for (number, entry) in fs::read_dir(mounted.join(directory)).unwrap().enumerate() {
                let entry = entry.unwrap();
                assert!(entry.file_name().to_str().unwrap().starts_with(&format!("{number}-")));
                assert_eq!(entry.ino(), base + number as u64);
                assert!(entry.file_type().unwrap().is_file());
                if number % 100 == 0 {
                    assert_eq!(entry.metadata().unwrap().len(), number as u64 % 7);
                }
                seen += 1;
            }
            assert_eq!(seen, ENTRIES);
        }
    }
    // The root has the kernel's number and not the tree's, everywhere.
    assert_eq!(fs::metadata(mounted.path()).unwrap().ino(), 1);
    assert_eq!(fs::metadata(mounted.join("fixed/..")).unwrap().ino(), 1);
}
