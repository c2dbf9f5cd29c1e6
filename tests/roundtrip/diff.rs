//! Promise 6: what differs between two points is told without reading them, disks that grew or shrank included.

use crate::common;
use crate::common::{Random, assert_same};
use icecore::point::ByteRange;

const CHUNK: u64 = 4096;

/// What a diff must tell, chunk by chunk: chunks whose bytes or whose lengths differ, but for zeros against nothing.
fn expected(a: &[u8], b: &[u8]) -> Vec<ByteRange> {
    let size = a.len().max(b.len()) as u64;
    let chunk = |bytes: &[u8], at: u64| {
        let (start, end) = ((at as usize).min(bytes.len()), ((at + CHUNK) as usize).min(bytes.len()));
        let chunk = bytes[start..end].to_vec();
        chunk.iter().any(|byte| *byte != 0).then_some(chunk)
    };
    let mut ranges: Vec<ByteRange> = Vec::new();
    for at in (0..size).step_by(CHUNK as usize) {
        if chunk(a, at) != chunk(b, at) {
            let end = (at + CHUNK).min(size);
            match ranges.last_mut().filter(|last| last.end == at) {
                Some(last) => last.end = end,
                None => ranges.push(ByteRange { start: at, end }),
            }
        }
    }
    ranges
}

#[test]
fn a_disk_that_grows_and_shrinks_reads_right_and_diffs_right() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let mut random = Random(11);
    let mut disk = common::noise(1, 3 << 20);
    let mut days = Vec::new();
    // Up over one map level (128 chunks) and two (16,384), down to nothing, and sizes between chunks.
    for size in [3 << 20, (3 << 20) + 5000, 70 << 20, (70 << 20) - 1, 100_000, 4095, 0, 1, 600_000] {
        disk.resize(size, 0);
        for _ in 0..6 {
            let at = random.below(size as u64 + 1) as usize;
            let end = (at + random.below(20_000) as usize).min(size);
            disk[at..end].copy_from_slice(&common::noise(random.below(1 << 30), end - at));
        }
        let report = common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("backup");
        assert_eq!(report.manifest.disks[0].size_bytes, size as u64);
        days.push((report.point, disk.clone()));
    }
    for (point, bytes) in &days {
        assert_same(&common::disk_bytes(&vault, point, "os").expect("read"), bytes, &format!("{} bytes", bytes.len()));
    }
    for (a, a_bytes) in &days {
        for (b, b_bytes) in &days {
            let ranges = vault.diff((a, "os"), (b, "os")).expect("diff");
            assert_eq!(ranges, expected(a_bytes, b_bytes), "{} bytes against {}", a_bytes.len(), b_bytes.len());
        }
    }
}

#[test]
fn zeros_that_were_added_or_written_are_no_difference_to_a_hole() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let mut disk = common::noise(1, 40 * 4096);
    let first = common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("first").point;
    disk.resize(30 << 20, 0);
    let second = common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("second").point;
    assert_eq!(vault.diff((&first, "os"), (&second, "os")).expect("diff"), []);
    disk[20 << 20] = 1;
    let third = common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("third").point;
    let only = ByteRange { start: 20 << 20, end: (20 << 20) + 4096 };
    for (a, b) in [(&first, &third), (&third, &first), (&second, &third)] {
        assert_eq!(vault.diff((a, "os"), (b, "os")).expect("diff"), [only]);
    }
}
