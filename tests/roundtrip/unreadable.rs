//! Promise 2: what could not be read of a disk is an error for ever, never zeros; and without leave there is no point.

use crate::common;
use crate::common::sources::{Failing, Shrinking};
use icecore::backup::{BackupRequest, Progress};
use icecore::point::ByteRange;
use icecore::restore::RestoreOptions;
use icecore::source::{RawSource, Source};
use icecore::{Error, ErrorKind, Vault};
use icecore_fuse::ReadOnlyTree;

fn failing(bytes: &[u8], bad: impl IntoIterator<Item = std::ops::Range<u64>>) -> Failing {
    Failing { bytes: bytes.to_vec(), bad: bad.into_iter().collect() }
}

fn run(
    vault: &Vault,
    source: impl Source + 'static,
    allow_incomplete: bool,
) -> icecore::Result<icecore::backup::BackupReport> {
    let mut request = BackupRequest::new("m").disk("os", source);
    request.allow_incomplete = allow_incomplete;
    vault.backup(&request, &Progress::default())
}

#[test]
fn one_unreadable_byte_fails_the_backup_and_leaves_no_point() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let bytes = common::noise(1, 3 << 20);
    let error = run(&vault, failing(&bytes, Some(2_000_000..2_000_001)), false).expect_err("no leave was given");
    let Error::Source { disk, offset, source } = &error else { panic!("{error}") };
    assert_eq!((disk.as_str(), *offset, source.raw_os_error()), ("os", 2_000_000 / 4096 * 4096, Some(libc::EIO)));
    assert_eq!((error.kind(), error.is_out_of_space()), (ErrorKind::Medium, false));
    assert!(matches!(vault.points("m"), Err(Error::UnknownMachine { .. })));
    // What had been stored is of use to the next backup.
    let next = run(&vault, failing(&bytes, None), false).expect("healthy again");
    common::assert_same(&common::restored(&vault, &next.point, "os").expect("restore"), &bytes, "healthy");
}

#[test]
fn with_leave_the_point_lists_exactly_the_blocks_that_are_missing() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    // Chunks of several blocks: the rest of such a chunk is kept.
    let options = icecore::vault::InitOptions { chunk_bytes: 16 << 10, ..common::small() };
    let vault = common::init(&path, &options);
    let mut bytes = common::noise(1, (3 << 20) + 500);
    let size = bytes.len() as u64;
    let bad = [5000..5001, 40_960..45_056, 1_048_570..1_048_580, 2_000_000..2_100_000, size - 1..size];
    let report = run(&vault, failing(&bytes, bad), true).expect("incomplete");
    let block = |at: u64| at / 4096 * 4096;
    let expected: Vec<ByteRange> = [
        (block(5000), 8192),
        (40_960, 45_056),
        (block(1_048_570), (1 << 20) + 4096),
        (block(2_000_000), block(2_099_999) + 4096),
        (block(size - 1), size),
    ]
    .map(|(start, end)| ByteRange { start, end })
    .into();
    assert_eq!(report.manifest.disks[0].missing, expected);
    assert_eq!(report.missing().map(|(disk, range)| (disk, *range)).collect::<Vec<_>>().len(), 5);

    let vault = common::open(&path);
    let point = vault.point("m", "latest").expect("point");
    let tree = vault.tree();
    let node = tree.resolve("m/latest/disks/os.raw", true).expect("node");
    let mut buffer = [0; 512];
    for start in (0..size).step_by(512) {
        let end = (start + 512).min(size);
        let lost = expected.iter().any(|range| range.start < end && start < range.end);
        match tree.read(node, start, &mut buffer) {
            Ok(read) if !lost => common::assert_same(&buffer[..read], &bytes[start as usize..end as usize], "whole"),
            Err(Error::Missing { disk, .. }) if lost && disk == "os" => {}
            other => panic!("bytes {start}..{end}, missing: {lost}: {other:?}"),
        }
    }
    let target = folder.path().join("restored");
    let progress = icecore::restore::Progress::default();
    let refused = vault.restore(&point, "os", &target, &RestoreOptions::default(), &progress);
    assert!(matches!(refused, Err(Error::Missing { .. })), "{refused:?}");
    assert!(!target.exists());
    let allowed = RestoreOptions { allow_incomplete: true, ..RestoreOptions::default() };
    let restored = vault.restore(&point, "os", &target, &allowed, &progress).expect("restore");
    assert_eq!(restored.missing, expected);
    for range in &expected {
        bytes[range.start as usize..range.end as usize].fill(0);
    }
    common::assert_same(&std::fs::read(&target).expect("file"), &bytes, "zeros where it was missing");
    assert!(common::verify(&vault).is_clean(), "nothing of the vault is damaged");
}

#[test]
fn an_incomplete_point_is_no_parent_that_hides_what_can_be_read_again() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let bytes = common::noise(1, 1 << 20);
    run(&vault, failing(&bytes, Some(100_000..300_000)), true).expect("incomplete");
    let whole = run(&vault, failing(&bytes, None), false).expect("whole");
    assert_eq!(whole.manifest.disks[0].missing, []);
    common::assert_same(&common::disk_bytes(&vault, &whole.point, "os").expect("read"), &bytes, "whole");
}

#[test]
fn a_disk_that_becomes_shorter_while_it_is_read_makes_no_point() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    for left in [0, 1, 1 << 20, 1_500_000, (2 << 20) - 1] {
        let source = Shrinking { bytes: common::noise(1, 2 << 20), left };
        let error = run(&vault, source, false).expect_err("it shrank");
        assert!(matches!(&error, Error::Source { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof));
        assert!(vault.points("m").is_err());
    }
}

#[test]
fn a_file_that_is_truncated_while_it_is_read_makes_no_point() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    for left in [0, 5000, 1 << 20] {
        let image = folder.path().join("image");
        std::fs::write(&image, common::noise(1, 2 << 20)).expect("image");
        let source = RawSource::open(&image).expect("source");
        std::fs::OpenOptions::new().write(true).open(&image).expect("open").set_len(left).expect("truncate");
        let error = run(&vault, source, false).map(|report| report.manifest).expect_err("the end is gone, not zeros");
        assert!(matches!(error, Error::Source { .. }), "{error}");
    }
}

#[test]
fn content_that_changes_while_it_is_read_makes_a_valid_point() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    for _ in 0..3 {
        run(&vault, common::sources::Changing { size: 5 << 20, reads: 0.into() }, false).expect("backup");
    }
    let vault = common::open(&path);
    assert!(common::verify(&vault).is_clean());
    for point in vault.points("m").expect("points") {
        let map = common::disk_bytes(&vault, &point, "os").expect("read");
        common::assert_same(&common::restored(&vault, &point, "os").expect("restore"), &map, "both ways");
    }
}
