//! Promise 5: browsing is quick; here: a large file fills no pages that nobody asks for again, and is a file all the same.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, noise};
use icecore_fuse::MountOptions;

const BYTES: usize = (3 << 20) + 777;

fn tree() -> Arc<MemoryTree> {
    let tree = MemoryTree::new();
    tree.add(ROOT, "large", 2, Content::File(noise(5, BYTES)));
    tree.add(ROOT, "small", 3, Content::File(noise(6, 5000)));
    tree
}

/// Reads the file twice; how often the tree was asked for bytes the second time.
fn asked_again(mounted: &Mounted, name: &str) -> usize {
    fs::read(mounted.join(name)).unwrap();
    mounted.tree.largest_read.store(0, Ordering::Relaxed);
    fs::read(mounted.join(name)).unwrap();
    mounted.tree.largest_read.load(Ordering::Relaxed)
}

#[test]
fn large_files_go_past_the_page_cache() {
    if !can_mount("large_files_go_past_the_page_cache") {
        return;
    }
    let mounted = Mounted::new(tree());
    let bytes = noise(5, BYTES);
    let file = File::open(mounted.join("large")).unwrap();
    for (offset, length) in [(0, 1), (1, 4096), (4095, 70_000), (BYTES - 10, 10), (1 << 20, 2 << 20)] {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, offset as u64).unwrap();
        assert!(buffer == bytes[offset..offset + length], "{length} bytes at {offset}");
    }
    assert_eq!(file.read_at(&mut [0; 10], BYTES as u64).unwrap(), 0, "the end");
    // SAFETY: the file never changes.
    let shared = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    assert!(shared[..] == bytes[..], "mapped");
    assert_eq!(asked_again(&mounted, "small"), 0, "small files stay in the page cache");
    if asked_again(&mounted, "large") == 0 {
        eprintln!("NOT RUN: large_files_go_past_the_page_cache: Linux before 6.6 can't map such files");
    }
}

#[test]
fn who_wants_them_in_the_page_cache_can_have_that() {
    if !can_mount("who_wants_them_in_the_page_cache_can_have_that") {
        return;
    }
    let mounted = Mounted::with(tree(), &MountOptions { direct_io_bytes: None, ..MountOptions::default() });
    assert!(fs::read(mounted.join("large")).unwrap() == noise(5, BYTES));
    // The kernel may drop pages at any time: one round without a request will do.
    assert!((0..4).any(|_| asked_again(&mounted, "large") == 0), "it was read again each time");
}
