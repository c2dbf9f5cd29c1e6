//! From a point to a file or a block device.
//!
//! A file is written beside its target under another name and takes its place when it is whole and synced; a failed
//! restore leaves what was there before. A device is written in place, zeros included. Every chunk is authenticated and
//! decoded by the same path as any other read, so what arrives is what was backed up, or the restore fails.

mod piece;
mod target;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::{Error, Result, worse};
use crate::meter::Stage;
use crate::point::{ByteRange, DiskMap};
pub use crate::progress::Progress;
use piece::Piece;
use target::Target;

/// Bytes that a worker takes at a time, where chunks are not larger.
const PIECE_BYTES: u64 = 1 << 20;

/// How to restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions {
    /// Whether an existing file is replaced, or a device that holds something overwritten.
    pub force: bool,
    /// Whether a disk with ranges that the backup could not read is restored with zeros there.
    pub allow_incomplete: bool,
    /// Whether a disk of which the vault lost ranges is restored with zeros there. Includes `allow_incomplete`.
    pub salvage: bool,
    /// Worker threads; twice as many as there are cores, where none is given.
    pub workers: Option<usize>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreReport {
    /// Where the disk is now.
    pub target: PathBuf,
    /// Size of the disk in bytes.
    pub size_bytes: u64,
    /// Bytes written, zeros on a device included.
    pub written_bytes: u64,
    /// Ranges that the backup could not read; zeros in the target.
    pub missing: Vec<ByteRange>,
    /// Ranges that the vault has lost; zeros in the target.
    pub lost: Vec<ByteRange>,
    /// Seconds it took, the sync at the end included.
    pub seconds: f64,
}

/// Restores a disk.
pub(crate) fn run(
    disk: &DiskMap,
    path: &Path,
    data_bytes: u64,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoreReport> {
    let allow_missing = options.allow_incomplete || options.salvage;
    if let Some(range) = disk.missing().first().filter(|_| !allow_missing) {
        return Err(Error::Missing { disk: disk.name().to_owned(), start: range.start, end: range.end });
    }
    let began = Instant::now();
    progress.add_total(disk.size_bytes());
    let target = Target::open(path, disk.size_bytes(), data_bytes, options.force)?;
    let shared =
        Shared { written: AtomicU64::new(0), next: AtomicU64::new(0), lost: options.salvage.then(Mutex::default) };
    // Twice the cores: half of them may wait for the medium.
    let workers = options.workers.unwrap_or_else(|| 2 * crate::cores()).max(1);
    let outcome = std::thread::scope(|scope| {
        let work = || copy(disk, &target, &shared, progress).inspect_err(|_| progress.fail());
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut outcome = Ok(());
        for thread in threads {
            outcome = worse(outcome, thread.join().unwrap_or(Err(Error::Poisoned)));
        }
        outcome
    });
    outcome?;
    disk.meter().time(Stage::WriteSync, 0, || target.finish())?;
    Ok(RestoreReport {
        target: path.to_path_buf(),
        size_bytes: disk.size_bytes(),
        written_bytes: shared.written.into_inner(),
        missing: disk.missing().to_vec(),
        lost: joined(shared.lost),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// What the workers share.
struct Shared {
    /// Bytes written.
    written: AtomicU64,
    /// Number of the next chunk.
    next: AtomicU64,
    /// Chunks that are lost, as ranges of the disk; none where a lost one ends the restore.
    lost: Option<Mutex<Vec<ByteRange>>>,
}

/// Ranges in order, those that touch made one.
fn joined(lost: Option<Mutex<Vec<ByteRange>>>) -> Vec<ByteRange> {
    let mut ranges = lost.map(|lost| lost.into_inner().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default();
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        let touches = later.start <= earlier.end;
        if touches {
            earlier.end = earlier.end.max(later.end);
        }
        touches
    });
    ranges
}

impl Shared {
    /// Puts the plain bytes of a chunk into `plain`; false where it is all zeros, or lost where that is no error.
    fn chunk(&self, disk: &DiskMap, chunk: u64, plain: &mut Vec<u8>) -> Result<bool> {
        match (disk.chunk_uncached(chunk, plain), &self.lost) {
            (Err(Error::Damaged(_) | Error::Vault { .. }), Some(lost)) => {
                let start = chunk * disk.chunk_bytes();
                let range = ByteRange { start, end: start + disk.chunk_length(chunk) };
                lost.lock().unwrap_or_else(PoisonError::into_inner).push(range);
                Ok(false)
            }
            (read, _) => read,
        }
    }
}

fn copy(disk: &DiskMap, target: &Target, shared: &Shared, progress: &Progress) -> Result<()> {
    let Shared { written, next, .. } = shared;
    let chunks_of_piece = (PIECE_BYTES / disk.chunk_bytes()).max(1);
    let mut piece = Piece::new(narrow(chunks_of_piece * disk.chunk_bytes()));
    let mut plain = Vec::new();
    loop {
        progress.check()?;
        let first = next.fetch_add(chunks_of_piece, Ordering::Relaxed);
        if first >= disk.chunks() {
            return Ok(());
        }
        let start = first * disk.chunk_bytes();
        // Chunks that lie together are written together, as large as media like it.
        let mut run = 0..0;
        let mut end = 0;
        for chunk in first..(first + chunks_of_piece).min(disk.chunks()) {
            let at = end;
            end += narrow(disk.chunk_length(chunk));
            let out = &mut piece.bytes()[at..end];
            if shared.chunk(disk, chunk, &mut plain)? {
                out.copy_from_slice(&plain);
            } else if target.needs_zeros() {
                out.fill(0);
            } else {
                write(disk, target, start, &piece.bytes()[run.clone()], run.start, written)?;
                run = end..end;
                continue;
            }
            run.end = end;
        }
        write(disk, target, start, &piece.bytes()[run.clone()], run.start, written)?;
        progress.add_done(end as u64);
    }
}

/// Writes a run of the piece that begins at `start`.
fn write(disk: &DiskMap, target: &Target, start: u64, run: &[u8], from: usize, written: &AtomicU64) -> Result<()> {
    if run.is_empty() {
        return Ok(());
    }
    written.fetch_add(run.len() as u64, Ordering::Relaxed);
    disk.meter().time(Stage::Write, run.len(), || target.write_at(start + from as u64, run))
}

fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a few chunks fit into memory")
}
