//! Promise 6: zeros cost nothing, whether they are holes or were written: no chunk is stored and none is read.

use crate::common;
use crate::common::assert_same;
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, padded};
use std::path::Path;

/// How many chunks all segments of a vault hold, told by the record headers alone.
fn chunk_records(vault: &Path) -> usize {
    let mut found = 0;
    for file in common::files(&vault.join("segments")) {
        let bytes = std::fs::read(&file).expect("segment");
        let mut at = HEADER_BYTES;
        while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
            let Ok(header) = RecordHeader::decode(header) else { break };
            found += usize::from(header.kind == RecordType::Chunk);
            at += RECORD_HEADER_BYTES + padded(header.stored_bytes) as usize;
        }
    }
    found
}

#[test]
fn a_disk_of_nothing_but_a_hole_stores_no_chunk() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let image = folder.path().join("hole.raw");
    icecore_fixtures::single::zero_disk(&image, 10 << 30).expect("disk");
    let vault = common::init(&path, &common::small());
    let report = common::backup(&vault, "m", &[("os", &image)]);
    let disk = &report.manifest.disks[0];
    assert_eq!((disk.read_bytes, disk.zero_bytes, disk.new_bytes, disk.stored_bytes), (0, 10 << 30, 0, 0));
    assert_eq!((disk.map.as_deref(), chunk_records(&path)), (None, 0));
    assert!(report.added_bytes < 4096, "{} bytes for nothing", report.added_bytes);
    let stats = vault.stats().expect("stats");
    assert_eq!((stats.protected_bytes, stats.used_bytes), (10 << 30, 0));
    let map = vault.disk(&report.point, "os").expect("disk");
    assert_eq!((map.seek(5, true).expect("seek"), map.seek(5, false).expect("seek")), (None, Some(5)));
    let mut last = [1; 100];
    assert_eq!(map.read((10 << 30) - 40, &mut last).expect("read"), 40);
    assert!(last[..40].iter().all(|byte| *byte == 0));
}

#[test]
fn written_zeros_store_no_chunk_either() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let report = common::backup_bytes(&vault, "m", &[("os", &vec![0; 3_000_001])]).expect("backup");
    let disk = &report.manifest.disks[0];
    assert_eq!((disk.read_bytes, disk.zero_bytes), (3_000_001, 3_000_001));
    assert_eq!((disk.map.as_deref(), chunk_records(&path)), (None, 0));
}

#[test]
fn a_disk_with_holes_stores_its_data_only_and_tells_where_it_is() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let image = folder.path().join("holes.raw");
    let (disk, ranges) = icecore_fixtures::single::raw_with_holes(&image, 24 << 20, 3).expect("disk");
    let vault = common::init(&path, &common::small());
    let report = common::backup(&vault, "m", &[("os", &image)]);
    let original = std::fs::read(&disk.path).expect("image");
    assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &original, "restored");
    let chunks = original.chunks(4096).filter(|chunk| chunk.iter().any(|byte| *byte != 0)).count();
    assert_eq!(chunk_records(&path), chunks, "each chunk of data once, none of zeros");
    assert!(report.manifest.disks[0].read_bytes < disk.size_bytes / 2, "holes are not read");

    // The data that the map tells are the ranges that were written, widened to whole chunks.
    let map = vault.disk(&report.point, "os").expect("map");
    let mut told = Vec::new();
    let mut at = 0;
    while let Some(start) = map.seek(at, true).expect("data") {
        at = map.seek(start, false).expect("hole").expect("an end");
        told.push(start..at);
    }
    let mut expected: Vec<std::ops::Range<u64>> = Vec::new();
    for range in ranges {
        let (start, end) = (range.start / 4096 * 4096, range.end.next_multiple_of(4096).min(disk.size_bytes));
        match expected.last_mut().filter(|last| last.end >= start) {
            Some(last) => last.end = end.max(last.end),
            None => expected.push(start..end),
        }
    }
    assert_eq!(told, expected);
}
