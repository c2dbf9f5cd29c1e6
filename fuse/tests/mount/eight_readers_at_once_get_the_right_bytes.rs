//! Promise 2: a read returns the bytes that were backed up; here: to eight readers at once.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, noise};

#[test]
fn eight_readers_at_once_get_the_right_bytes() {
    if !can_mount("eight_readers_at_once_get_the_right_bytes") {
        return;
    }
    let tree = MemoryTree::new();
    for file in 0..4 {
        tree.add(ROOT, &file.to_string(), 10 + file, Content::File(noise(file, 4 << 20)));
    }
    let mounted = Mounted::new(tree);
    thread::scope(|scope| {
        for reader in 0..8_u64 {
            let path = mounted.join(&(reader % 4).to_string());
            scope.spawn(move || {
                let expected = noise(reader % 4, 4 << 20);
                // Half of them around the cache, so that every read comes from the server.
                let direct = if reader < 4 { rustix::fs::OFlags::DIRECT.bits() as i32 } else { 0 };
                let file = OpenOptions::new().read(true).custom_flags(direct).open(path).unwrap();
                let mut buffer = vec![0; 20 * 4096];
                let start = buffer.as_ptr().align_offset(4096);
                for step in 0..500_usize {
                    let size = 4096 * (1 + step % 16);
                    let offset = (step * 7919 + reader as usize * 31) % 1000 * 4096;
                    let read = file.read_at(&mut buffer[start..start + size], offset as u64).unwrap();
                    let expected = &expected[offset..][..size.min(expected.len() - offset)];
                    assert!(buffer[start..start + read] == *expected);
                }
            });
        }
    });
}
