//! Promise 6: a backup that is told what changed reads only that, and a wrong list is found out, not believed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common;
use icecore::backup::{BackupReport, BackupRequest, ChangedSince, Progress};
use icecore::point::ByteRange;
use icecore::source::Source;
use icecore::{Error, Vault};

const CHUNK: usize = 4096;

/// A disk in memory that counts what is read of it.
struct Counted {
    bytes: Vec<u8>,
    read: Arc<AtomicU64>,
}

impl Source for Counted {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[usize::try_from(offset).expect("small")..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

fn backup(vault: &Vault, bytes: &[u8], changed: Option<ChangedSince>) -> (BackupReport, u64) {
    let read = Arc::new(AtomicU64::new(0));
    let mut request = BackupRequest::new("vm").disk("os", Counted { bytes: bytes.to_vec(), read: Arc::clone(&read) });
    if let Some(changed) = changed {
        request = request.changed(changed);
    }
    let report = vault.backup(&request, &Progress::default()).expect("backup");
    (report, read.load(Ordering::Relaxed))
}

fn assert_holds(vault: &Vault, report: &BackupReport, expected: &[u8]) {
    let disk = vault.disk(&report.point, "os").expect("disk");
    let mut bytes = vec![1; expected.len() + 1];
    assert_eq!(disk.read(0, &mut bytes).expect("read"), expected.len());
    assert!(bytes[..expected.len()] == *expected, "the point differs from the disk");
}

fn new_vault(path: &Path) -> Vault {
    common::init(&path.join("vault"), &common::small())
}

/// 12 MiB: several levels of the map, text, noise and a hole.
fn disk() -> Vec<u8> {
    [common::text(1, 4 << 20), vec![0; 4 << 20], common::noise(2, (4 << 20) - 100)].concat()
}

#[test]
fn only_changed_ranges_are_read() {
    let dir = tempfile::tempdir().expect("tempdir");
    let vault = new_vault(dir.path());
    let mut bytes = disk();
    let (first, _) = backup(&vault, &bytes, None);
    let zeros_before = first.manifest.disks[0].zero_bytes;
    // One change in data, one in the hole, one in the short last chunk.
    let mut ranges = Vec::new();
    for at in [123_456, (6 << 20) + 17, bytes.len() - 5] {
        bytes[at..at + 5].copy_from_slice(b"hello");
        ranges.push(ByteRange { start: at as u64, end: at as u64 + 5 });
    }
    ranges.reverse();
    let (second, read) = backup(&vault, &bytes, Some(ChangedSince { point: first.point.id.clone(), ranges }));
    assert_eq!(second.refuted, []);
    assert!(read <= 40 * CHUNK as u64, "{read} bytes were read for three chunks and a sample");
    assert_holds(&vault, &second, &bytes);
    assert_eq!(second.manifest.disks[0].zero_bytes, zeros_before - CHUNK as u64);
    assert_holds(&vault, &first, &disk());
    // The map is the one that a full read makes.
    let (third, _) = backup(&vault, &bytes, None);
    assert_eq!(third.manifest.disks[0].map, second.manifest.disks[0].map);
    assert_eq!(third.manifest.disks[0].zero_bytes, second.manifest.disks[0].zero_bytes);
}

#[test]
fn a_disk_that_grew_or_shrank_is_read_at_its_end() {
    let dir = tempfile::tempdir().expect("tempdir");
    let vault = new_vault(dir.path());
    let mut bytes = disk();
    let (mut last, _) = backup(&vault, &bytes, None);
    for length in [bytes.len() + (9 << 20) + 1, 5 << 20, 3 << 20, 700 << 10] {
        bytes.resize(length, 7);
        let changed = ChangedSince { point: last.point.id.clone(), ranges: Vec::new() };
        let (report, _) = backup(&vault, &bytes, Some(changed));
        assert_eq!(report.refuted, [], "at {length}");
        assert_holds(&vault, &report, &bytes);
        last = report;
    }
}

#[test]
fn a_wrong_list_is_found_out() {
    let dir = tempfile::tempdir().expect("tempdir");
    let vault = new_vault(dir.path());
    let mut bytes = disk();
    let (first, _) = backup(&vault, &bytes, None);
    // Everything changed, and nothing is said to have.
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    let (second, read) =
        backup(&vault, &bytes, Some(ChangedSince { point: first.point.id.clone(), ranges: Vec::new() }));
    assert_eq!(second.refuted.len(), 1, "the list is refuted");
    assert_eq!(second.refuted[0].0, "os");
    assert!(read >= bytes.len() as u64, "then the disk is read whole");
    assert_holds(&vault, &second, &bytes);
}

#[test]
fn a_list_since_an_unknown_point_is_not_used() {
    let dir = tempfile::tempdir().expect("tempdir");
    let vault = new_vault(dir.path());
    let bytes = disk();
    backup(&vault, &bytes, None);
    let unknown = ChangedSince { point: "0".repeat(32), ranges: Vec::new() };
    let (report, read) = backup(&vault, &bytes, Some(unknown));
    assert_eq!((report.refuted.len(), read), (0, bytes.len() as u64));
    assert!(matches!(vault.point("vm", &"0".repeat(32)), Err(Error::UnknownPoint { .. })));
}
