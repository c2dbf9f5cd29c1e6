//! The file system below a vault, with every wait for the medium counted.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use icecore::Vault;
use icecore::media::files::{File, FileLock, Files, Listed, SystemFiles};
use icecore::media::{DirectoryMedia, LockKind, ReadMode};
use icecore::vault::OpenOptions;

use crate::engine;

/// How often something was synced, and how long that took.
#[derive(Default)]
pub struct Syncs {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Syncs {
    /// What was counted since this was asked last.
    pub fn take(&self) -> (u64, Duration) {
        let nanoseconds = self.nanoseconds.swap(0, Ordering::Relaxed);
        (self.calls.swap(0, Ordering::Relaxed), Duration::from_nanos(nanoseconds))
    }

    fn count<R>(&self, sync: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = sync();
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}

/// Opens a vault whose syncs are counted.
pub fn open(path: &Path, syncs: &Arc<Syncs>) -> Result<Vault> {
    let files = Arc::new(Counting(Arc::clone(syncs)));
    let media = Arc::new(DirectoryMedia::over(files, path, ReadMode::default()));
    Ok(Vault::open_on(media, &engine::credential()?, &OpenOptions::default())?)
}

struct Counting(Arc<Syncs>);

struct CountingFile {
    file: Arc<dyn File>,
    syncs: Arc<Syncs>,
}

impl Counting {
    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile { file, syncs: Arc::clone(&self.0) })
    }
}

impl Files for Counting {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        SystemFiles.create_new(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path, mapped: bool) -> io::Result<Arc<dyn File>> {
        SystemFiles.open(path, mapped)
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename_over(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.make_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        SystemFiles.list(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.0.count(|| SystemFiles.sync_directory(path))
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<FileLock>> {
        SystemFiles.lock(path, kind, wait)
    }

    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> io::Result<Option<FileLock>> {
        SystemFiles.lock_parts(path, parts, kind)
    }
}

impl File for CountingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.count(|| self.file.sync())
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        self.file.start_writeback(offset, length);
    }

    fn drop_cached(&self) {
        self.file.drop_cached();
    }

    fn mark_in_use(&self) -> io::Result<bool> {
        self.file.mark_in_use()
    }
}
