//! How far a backup is, and the wish to stop it: shared between the pipeline and whoever watches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};

/// Counters of a running backup. Any thread may look at any time.
#[derive(Default)]
pub struct Progress {
    disks: OnceLock<Vec<DiskProgress>>,
    cancelled: AtomicBool,
    failed: AtomicBool,
    refuted: Mutex<Vec<(String, u64)>>,
}

/// Counters of one disk, in bytes of the disk.
#[derive(Default)]
pub struct DiskProgress {
    /// The disk's name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    done: AtomicU64,
    read: AtomicU64,
    zero: AtomicU64,
    new: AtomicU64,
    stored: AtomicU64,
}

impl Progress {
    /// Asks the backup to stop. It ends with [`Error::Interrupted`], leaving no point.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The disks, once the backup has begun.
    pub fn disks(&self) -> &[DiskProgress] {
        self.disks.get().map_or(&[], Vec::as_slice)
    }

    /// Sets the counters up. They are one backup's: a second one would count into the first one's disks.
    pub(super) fn begin(&self, disks: impl Iterator<Item = (String, u64)>) -> Result<()> {
        let disks = disks.map(|(name, size_bytes)| DiskProgress { name, size_bytes, ..DiskProgress::default() });
        self.disks.set(disks.collect()).map_err(|_| Error::Invalid {
            what: "progress",
            value: "of another backup".to_owned(),
            rule: "each backup needs one of its own",
        })
    }

    /// Lets the other threads of the pipeline stop, because one of them failed.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Lets the other threads stop too if this one panics while the guard lives: a source is a caller's own code.
    pub(super) fn fail_on_panic(&self) -> impl Drop + '_ {
        PanicGuard(self)
    }

    pub(super) fn refute(&self, disk: &str, offset: u64) {
        self.refuted.lock().unwrap_or_else(PoisonError::into_inner).push((disk.to_owned(), offset));
    }

    pub(super) fn refuted(&self) -> Vec<(String, u64)> {
        self.refuted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if self.failed.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }
}

struct PanicGuard<'a>(&'a Progress);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

impl DiskProgress {
    /// Bytes dealt with.
    pub fn done_bytes(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes read from the source.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes that are zero, holes included.
    pub fn zero_bytes(&self) -> u64 {
        self.zero.load(Ordering::Relaxed)
    }

    /// Bytes that the vault did not have.
    pub fn new_bytes(&self) -> u64 {
        self.new.load(Ordering::Relaxed)
    }

    /// Bytes that those take, sealed.
    pub fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes dealt with without being read: holes, and what did not change.
    pub(super) fn add_unread(&self, bytes: u64, zero: u64) {
        self.zero.fetch_add(zero, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_done(&self, bytes: u64, zero: u64, new: u64, stored: u64) {
        self.zero.fetch_add(zero, Ordering::Relaxed);
        self.new.fetch_add(new, Ordering::Relaxed);
        self.stored.fetch_add(stored, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}
