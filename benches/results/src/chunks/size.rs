//! Everything that is measured of one size of chunks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use icecore::Vault;
use icecore::backup::{BackupReport, BackupRequest, ChangedSince, Progress};
use icecore::restore::{self, RestoreOptions};
use icecore::source::{RawSource, Source};

use super::DAYS;
use super::reads::{self, Rates};
use super::writes::Written;
use crate::engine;
use crate::memory;
use crate::pages::Pages;

/// Size at which segments are closed, in bytes.
const SEGMENT_BYTES: u32 = 64 << 20;

/// First backups and restores are done so often, and the best time counts.
const ROUNDS: usize = 2;

/// What came out.
pub struct Figures {
    pub chunk_bytes: u32,
    /// Bytes of the first day's disk in chunks that are not all zeros.
    pub data_bytes: u64,
    pub first_seconds: f64,
    pub first_stored: u64,
    pub level_3_seconds: f64,
    pub level_3_stored: u64,
    pub second_seconds: f64,
    pub second_added: u64,
    pub restore_seconds: f64,
    pub rates: Rates,
    /// Bytes of the index for each record.
    pub index_bytes_each: f64,
    /// Bytes that each day of small writes added.
    pub days: Vec<u64>,
    /// Average seconds of a backup of such a day.
    pub day_seconds: f64,
}

/// Measures one size.
pub fn measure(dir: &Path, chunk_bytes: u32, images: &[PathBuf; 2], pages: &Pages) -> Result<Figures> {
    let path = dir.join("vault");
    let (level_3_seconds, level_3_stored) = first_day(&path, chunk_bytes, 3, &images[0])?;
    fs::remove_dir_all(&path)?;
    let (mut first_seconds, mut first_stored) = (f64::MAX, 0);
    for round in 0..ROUNDS {
        if round > 0 {
            fs::remove_dir_all(&path)?;
        }
        let (seconds, stored) = first_day(&path, chunk_bytes, 1, &images[0])?;
        (first_seconds, first_stored) = (first_seconds.min(seconds), stored);
    }
    let rates = reads::measure(&path, "web01", &images[0], pages)?;
    let restore_seconds = restore(&path, &dir.join("restored.raw"))?;
    let vault = engine::open(&path)?;
    let first = vault.manifest(&*vault.point("web01", "latest")?)?;
    let data_bytes = first.disks[0].size_bytes - first.disks[0].zero_bytes;
    let stats = vault.stats()?;
    let index_bytes_each = stats.index_bytes as f64 / stats.records as f64;
    images.iter().try_for_each(|image| memory::read_into_cache(image))?;
    let (second, second_seconds) = back_up(&vault, "web01", RawSource::open(&images[1])?, None)?;
    let (days, day_seconds) = small_writes(&vault, &images[0], pages)?;
    drop(vault);
    fs::remove_dir_all(&path)?;
    Ok(Figures {
        chunk_bytes,
        data_bytes,
        first_seconds,
        first_stored,
        level_3_seconds,
        level_3_stored,
        second_seconds,
        second_added: second.added_bytes,
        restore_seconds,
        rates,
        index_bytes_each,
        days,
        day_seconds,
    })
}

fn first_day(path: &Path, chunk_bytes: u32, level: i8, image: &Path) -> Result<(f64, u64)> {
    let vault = engine::init(path, chunk_bytes, level, SEGMENT_BYTES)?;
    memory::read_into_cache(image)?;
    memory::settle();
    let (_, seconds) = back_up(&vault, "web01", RawSource::open(image)?, None)?;
    Ok((seconds, engine::bytes_below(path)?))
}

fn back_up(
    vault: &Vault,
    machine: &str,
    source: impl Source + 'static,
    changed: Option<ChangedSince>,
) -> Result<(BackupReport, f64)> {
    let request = BackupRequest::new(machine).disk("os", source);
    let request = changed.into_iter().fold(request, BackupRequest::changed);
    let (report, seconds) = engine::timed(|| vault.backup(&request, &Progress::default()));
    Ok((report?, seconds))
}

fn restore(path: &Path, target: &Path) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        engine::forget_below(path)?;
        let vault = engine::open(path)?;
        let point = vault.point("web01", "latest")?;
        let (report, seconds) = engine::timed(|| {
            vault.restore(&point, "os", target, &RestoreOptions::default(), &restore::Progress::default())
        });
        report?;
        best = best.min(seconds);
        fs::remove_file(target)?;
    }
    Ok(best)
}

/// Bytes that each day adds, and the average of the seconds that its backup takes.
fn small_writes(vault: &Vault, image: &Path, pages: &Pages) -> Result<(Vec<u64>, f64)> {
    let mut written = Written::over(image)?;
    // All its chunks are there already, from the other machine.
    let mut last = back_up(vault, "mail01", written.clone(), None)?.0.point;
    let (mut added, mut total) = (Vec::new(), 0.0);
    for day in 1..=DAYS {
        let ranges = written.pass_day(day, pages);
        let since = ChangedSince { point: last.id.clone(), ranges };
        let (report, seconds) = back_up(vault, "mail01", written.clone(), Some(since))?;
        added.push(report.added_bytes);
        total += seconds;
        last = report.point;
    }
    Ok((added, total / DAYS as f64))
}
