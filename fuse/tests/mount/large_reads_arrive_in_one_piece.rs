//! Promise 5: browsing is quick; here: a read of 1 MiB is one call into the tree, direct or ahead of a reader.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::Ordering;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, is_root, noise};

const MIB: usize = 1 << 20;

#[test]
fn large_reads_arrive_in_one_piece() {
    if !can_mount("large_reads_arrive_in_one_piece") {
        return;
    }
    let bytes = noise(2, 16 * MIB);
    let tree = MemoryTree::new();
    tree.add(ROOT, "direct", 2, Content::File(bytes.clone()));
    tree.add(ROOT, "ahead", 3, Content::File(bytes.clone()));
    let mounted = Mounted::new(tree);

    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(direct).open(mounted.join("direct")).unwrap();
    let mut buffer = vec![0; MIB + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    file.read_exact_at(&mut buffer[start..start + MIB], MIB as u64).unwrap();
    assert_eq!(buffer[start..start + MIB], bytes[MIB..2 * MIB]);
    assert_eq!(mounted.tree.largest_read.swap(0, Ordering::Relaxed), MIB);

    // Only root may raise what the kernel reads ahead.
    let mut read = Vec::new();
    File::open(mounted.join("ahead")).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    let ahead = mounted.tree.largest_read.load(Ordering::Relaxed);
    assert!(ahead >= if is_root() { MIB } else { 128 << 10 }, "{ahead}");
}
