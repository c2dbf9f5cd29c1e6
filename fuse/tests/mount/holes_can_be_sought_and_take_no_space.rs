//! Promise 5: any recovery point can be browsed; here: programs that copy sparse files find the holes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, noise};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

const SIZE: u64 = 1 << 40;

#[test]
fn holes_can_be_sought_and_take_no_space() {
    if !can_mount("holes_can_be_sought_and_take_no_space") {
        return;
    }
    let tree = MemoryTree::new();
    let pieces = BTreeMap::from([(1 << 20, noise(1, 8192)), (1 << 35, noise(2, 4096))]);
    tree.add(ROOT, "sparse", 2, Content::Sparse(pieces));
    tree.change(2, |node| {
        node.attributes.size_bytes = SIZE;
        node.attributes.blocks_512 = 24;
    });
    let mounted = Mounted::new(tree);

    let status = fs::metadata(mounted.join("sparse")).unwrap();
    assert_eq!((status.len(), status.blocks()), (SIZE, 24));

    let file = File::open(mounted.join("sparse")).unwrap();
    for (from, found) in [
        (SeekFrom::Data(0), Ok(1 << 20)),
        (SeekFrom::Hole(0), Ok(0)),
        (SeekFrom::Data((1 << 20) + 5), Ok((1 << 20) + 5)),
        (SeekFrom::Hole(1 << 20), Ok((1 << 20) + 8192)),
        (SeekFrom::Data((1 << 20) + 8192), Ok(1 << 35)),
        (SeekFrom::Data((1 << 35) + 4096), Err(Errno::NXIO)),
        (SeekFrom::Hole(SIZE - 1), Ok(SIZE - 1)),
        (SeekFrom::Hole(SIZE), Err(Errno::NXIO)),
        (SeekFrom::Data(SIZE), Err(Errno::NXIO)),
        (SeekFrom::Data(u64::MAX >> 1), Err(Errno::NXIO)),
        (SeekFrom::End(-1), Ok(SIZE - 1)),
    ] {
        assert_eq!(seek(&file, from), found, "{from:?}");
    }
}
