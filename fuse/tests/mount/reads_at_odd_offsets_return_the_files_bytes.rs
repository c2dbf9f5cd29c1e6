//! Promise 2: a read returns the bytes that were backed up; here: at any offset, of any size, to the last byte.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, noise};

#[test]
fn reads_at_odd_offsets_return_the_files_bytes() {
    if !can_mount("reads_at_odd_offsets_return_the_files_bytes") {
        return;
    }
    let bytes = noise(1, 3_333_333);
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 1, Content::File(bytes.clone()));
    tree.add(ROOT, "empty", 2, Content::File(Vec::new()));
    let mounted = Mounted::new(tree);

    let file = File::open(mounted.join("file")).unwrap();
    let mut offset = 3_333_332;
    for size in [1, 2, 511, 4095, 4097, 131_071, 131_073, 1_048_577, 5_000_000] {
        for _ in 0..8 {
            offset = (offset * 31 + 17) % (bytes.len() + 10_000);
            let mut buffer = vec![0xee; size];
            let read = file.read_at(&mut buffer, offset as u64).unwrap();
            let expected = bytes.get(offset..).unwrap_or_default();
            assert_eq!(read, expected.len().min(size));
            assert_eq!(buffer[..read], expected[..read]);
        }
    }
    assert_eq!(fs::read(mounted.join("file")).unwrap(), bytes);
    assert_eq!(fs::read(mounted.join("empty")).unwrap(), b"");
}
