//! Promise 1: a cancelled backup leaves no point, and what it had stored serves the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common;
use crate::common::sources::{Gate, Gated};
use icecore::Error;
use icecore::backup::{BackupRequest, Progress};
use icecore::source::Source;

#[test]
fn a_cancelled_backup_leaves_no_point_and_the_next_uses_its_segments() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::protected());
    let bytes = common::noise(1, 12 << 20);
    let gate = Arc::new(Gate::default());
    let progress = Progress::default();
    let source = Gated { bytes: bytes.clone(), at: 8 << 20, gate: Arc::clone(&gate) };
    let request = BackupRequest::new("m").disk("os", source);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| vault.backup(&request, &progress));
        gate.wait_reached();
        common::wait_until("four segments", || common::files(&path.join("segments")).len() >= 4);
        progress.cancel();
        gate.open();
        let error = running.join().expect("no panic").expect_err("cancelled");
        assert!(matches!(error, Error::Interrupted), "{error}");
    });
    assert!(vault.points("m").is_err() && common::open(&path).points("m").is_err(), "no point");
    assert_eq!(common::files(&path.join("tmp")), Vec::<std::path::PathBuf>::new());
    let kept = common::segment_bytes(&path);
    assert!(kept > 3 << 20, "{kept} bytes were published and stay");

    for vault in [common::open(&path), vault] {
        let report = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
        assert!(report.manifest.disks[0].new_bytes <= (12 << 20) - (3 << 20), "the published chunks are not new");
        common::assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &bytes, "restored");
    }
    assert!(common::segment_bytes(&path) < (13 << 20), "nothing is stored twice");
    assert!(common::verify(&common::open(&path)).is_clean());
}

#[test]
fn a_backup_cancelled_before_it_began_does_nothing() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::protected());
    let progress = Progress::default();
    progress.cancel();
    let outcome = vault.backup(&common::memory_request("m", &[("os", &common::noise(1, 1 << 20))]), &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)));
    assert!(vault.points("m").is_err());
}

/// A disk whose code panics in one place.
struct Panicking {
    read: Arc<AtomicU64>,
}

impl Source for Panicking {
    fn size_bytes(&self) -> u64 {
        1 << 40
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert!(offset != 8 << 20, "on purpose");
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(buffer.len())
    }
}

#[test]
fn a_source_that_panics_ends_the_backup_soon() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::protected());
    let read = Arc::new(AtomicU64::new(0));
    let request = BackupRequest::new("m").disk("os", Panicking { read: Arc::clone(&read) });
    assert!(vault.backup(&request, &Progress::default()).is_err());
    assert!(vault.points("m").is_err(), "no point");
    let bytes = read.load(Ordering::Relaxed);
    assert!(bytes < 1 << 36, "{bytes} bytes of a tebibyte were read after it was over");
}
