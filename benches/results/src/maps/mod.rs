//! Section `maps`: what a point of a disk of a tebibyte costs, where nothing or little changed.

mod disk;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use icecore::Vault;
use icecore::backup::{BackupReport, BackupRequest, ChangedSince, Progress};
use icecore::point::ByteRange;

use crate::engine;
use crate::memory;
use crate::place::Place;
use crate::syncs::{self, Syncs};
use disk::{Disk, Shape};

/// The section's name in the document and on the command line.
pub const NAME: &str = "maps";

/// The section's heading.
pub const TITLE: &str = "Points of a disk of a tebibyte";

/// Of the sparse disk, one chunk in so many holds something.
const SPARSE: u64 = 1000;

/// Times that short things are done; the median counts.
const ROUNDS: usize = 7;

/// Chunks that change between two points.
const CHANGES: [u64; 4] = [0, 100, 1000, 10_000];

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {
    /// Size of the disks in GiB, for a quick look
    #[arg(id = "maps-gib", long = "maps-gib", value_name = "N", default_value_t = 1024)]
    gib: u64,
    /// Size of the chunks in bytes
    #[arg(id = "maps-chunk-bytes", long = "maps-chunk-bytes", value_name = "N", default_value_t = 64 << 10)]
    chunk_bytes: u32,
}

/// Measures, and returns the section's text.
pub fn run(place: &Place, options: &Options) -> Result<String> {
    let mut out = format!(
        "Disks of {} GiB whose content is computed when it is read, in chunks of {} KiB. The broad one holds something in \
         every chunk, so its map is as large as it can be; the sparse one in one chunk of {SPARSE}, the rest are holes. \
         From the second point on the changed ranges are known, and a sample of the rest is read all the same. Times \
         are medians of {ROUNDS}; \"waiting\" is the part that fsync took, of the number of files and folders given: what \
         makes a point durable, whatever its size.\n",
        options.gib,
        options.chunk_bytes >> 10,
    );
    let _ = writeln!(out, "\n{}", memory::warm(place, true)?);
    for (name, shape) in [("Broad", Shape::Broad), ("Sparse", Shape::OneIn(SPARSE))] {
        let path = place.dir().join("vault");
        let disk = Disk::new(shape, options.chunk_bytes, options.gib << 30);
        measure(&path, name, &disk, options.chunk_bytes, &mut out)?;
        fs::remove_dir_all(&path)?;
    }
    Ok(out)
}

fn measure(path: &Path, name: &str, disk: &Disk, chunk_bytes: u32, out: &mut String) -> Result<()> {
    drop(engine::init(path, chunk_bytes, 1, 64 << 20)?);
    let syncs = Arc::new(Syncs::default());
    let vault = syncs::open(path, &syncs)?;
    eprintln!("{name}: first point");
    let (first, seconds) = back_up(&vault, disk, None)?;
    let data: u64 = first.manifest.disks.iter().map(|disk| disk.stored_bytes).sum();
    let _ = writeln!(
        out,
        "\n{name}. First point, everything read: {seconds:.1} s, {:.1} MB, of which {:.1} MB are chunks and the rest is \
         the map.\n\n\
         | changed chunks | ms | of which waiting | fsyncs | added KB | diff, nothing cached, ms | diff again, ms |\n\
         |---|---|---|---|---|---|---|",
        mb(first.added_bytes),
        mb(data),
    );
    let (mut last, mut when) = (first.point, 0);
    for count in CHANGES {
        let mut rows = Vec::new();
        for _ in 0..ROUNDS {
            when += 1;
            let ranges = disk.change(when, count);
            let expected: u64 = ranges.len() as u64;
            // A process of its own would find nothing cached either.
            let vault = syncs::open(path, &syncs)?;
            syncs.take();
            let since = ChangedSince { point: last.id.clone(), ranges };
            let (report, seconds) = back_up(&vault, disk, Some(since))?;
            let (calls, waited) = syncs.take();
            anyhow::ensure!(report.refuted.is_empty(), "the changed ranges were not believed");
            let vault = engine::open(path)?;
            let diff = || vault.diff((&last, "os"), (&report.point, "os"));
            let (differ, cold) = engine::timed(diff);
            let (_, warm) = engine::timed(diff);
            anyhow::ensure!(differ?.iter().map(ByteRange::bytes).sum::<u64>() <= expected * u64::from(chunk_bytes));
            rows.push([seconds, waited.as_secs_f64(), calls as f64, report.added_bytes as f64, cold, warm]);
            last = report.point;
        }
        let median = |column: usize| {
            let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let _ = writeln!(
            out,
            "| {count} | {:.1} | {:.1} | {} | {:.1} | {:.2} | {:.2} |",
            median(0) * 1e3,
            median(1) * 1e3,
            median(2),
            median(3) / 1e3,
            median(4) * 1e3,
            median(5) * 1e3,
        );
    }
    Ok(())
}

fn back_up(vault: &Vault, disk: &Disk, changed: Option<ChangedSince>) -> Result<(BackupReport, f64)> {
    let request = BackupRequest::new("web01").disk("os", disk.clone());
    let request = changed.into_iter().fold(request, BackupRequest::changed);
    let (report, seconds) = engine::timed(|| vault.backup(&request, &Progress::default()));
    Ok((report?, seconds))
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
