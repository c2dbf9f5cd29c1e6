//! Promise 2: a disk of any size, holes and map levels whatever, reads back byte for byte, by every way of reading.

use crate::common;
use crate::common::{Random, assert_same};
use icecore::media::ReadMode;
use icecore::vault::InitOptions;
use icecore_fuse::ReadOnlyTree;

const CHUNK: usize = 4096;

/// Sizes around every border: of a chunk, of a map node (128 chunks), of a read piece (1 MiB), of two map levels.
const SIZES: [usize; 14] = [
    0,
    1,
    511,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    3 * CHUNK,
    128 * CHUNK - 1,
    128 * CHUNK,
    128 * CHUNK + 1,
    (1 << 20) + 13,
    2 * (1 << 20),
    300 * CHUNK + 77,
    129 * 128 * CHUNK + 5,
];

/// Data, zeros, and data that repeats.
fn disk(size: usize) -> Vec<u8> {
    let mut bytes = common::noise(size as u64, size.min(3 << 20));
    bytes.resize(size, 0);
    let zeros = size / 3..size / 2;
    bytes[zeros].fill(0);
    if size > 40 * CHUNK {
        bytes.copy_within(0..4 * CHUNK, 20 * CHUNK);
        let end = size - 100;
        bytes[end..].copy_from_slice(&common::text(7, 100));
    }
    bytes
}

#[test]
fn every_size_reads_back_by_restore_map_and_tree() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let disks: Vec<(String, Vec<u8>)> = SIZES.iter().map(|size| (format!("d{size}"), disk(*size))).collect();
    let named: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let vault = common::init(&path, &InitOptions { chunk_bytes: CHUNK as u32, ..common::small() });
    common::backup_bytes(&vault, "m", &named).expect("backup");
    drop(vault);
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let vault = common::open_with(&path, mode).expect("open");
        let point = vault.point("m", "latest").expect("point");
        for (name, bytes) in &disks {
            let what = format!("{name} by {mode:?}");
            assert_same(&common::disk_bytes(&vault, &point, name).expect("map"), bytes, &what);
            assert_same(&common::restored(&vault, &point, name).expect("restore"), bytes, &what);
            let through = common::tree_bytes(&vault, &format!("m/latest/disks/{name}.raw")).expect("tree");
            assert_same(&through, bytes, &what);
        }
    }
}

#[test]
fn the_tree_gives_the_right_bytes_at_any_offset_and_length() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let bytes = disk(300 * CHUNK + 77);
    common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    let tree = vault.tree();
    let node = tree.resolve("m/latest/disks/os.raw", true).expect("node");
    let mut random = Random(5);
    for round in 0..2000 {
        let offset = random.below(bytes.len() as u64 + 9000);
        let length = random.below(if round % 10 == 0 { 1 << 20 } else { 9000 }) as usize;
        let mut buffer = vec![0x55; length];
        let read = tree.read(node, offset, &mut buffer).expect("read");
        let start = usize::try_from(offset).expect("small").min(bytes.len());
        let expected = &bytes[start..bytes.len().min(start + length)];
        assert_same(&buffer[..read], expected, &format!("{length} bytes at {offset}"));
        assert!(buffer[read..].iter().all(|byte| *byte == 0x55), "nothing is written past the end");
    }
}
