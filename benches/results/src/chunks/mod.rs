//! Section `chunks`: what the size of chunks costs and gains, end to end.

mod reads;
mod restic;
mod size;
mod writes;

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::memory;
use crate::pages::{PAGE_BYTES, Pages};
use crate::place::Place;
use size::Figures;

/// The section's name in the document and on the command line.
pub const NAME: &str = "chunks";

/// The section's heading.
pub const TITLE: &str = "The size of chunks";

/// The sizes that are compared, in bytes.
const SIZES: [u32; 3] = [64 << 10, 128 << 10, 256 << 10];

/// Days of scattered small writes.
const DAYS: u64 = 14;

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {
    /// restic, to store the same days
    #[arg(id = "chunks-restic", long = "chunks-restic", value_name = "FILE")]
    restic: Option<PathBuf>,
}

/// Measures, and returns the section's text.
pub fn run(place: &Place, options: &Options) -> Result<String> {
    let days = [place.os_disk(1)?, place.os_disk(2)?];
    let memory = memory::warm(place, true)?;
    let pages = Pages::of(&days[0])?;
    let mut figures = Vec::new();
    for chunk_bytes in SIZES {
        eprintln!("chunks of {} KiB", chunk_bytes >> 10);
        figures.push(size::measure(place.dir(), chunk_bytes, &days, &pages)?);
    }
    let restic = match &options.restic {
        Some(program) => Some(restic::stored(program, place.dir(), &days[0], &pages, DAYS)?),
        None => None,
    };
    Ok(format!("{}\n{memory}\n", text(&figures, restic.as_deref(), &pages)))
}

fn text(figures: &[Figures], restic: Option<&[u64]>, pages: &Pages) -> String {
    let mut out = format!(
        "The OS disk of 8 GiB, {:.2} GB of it not zeros. Backups verify what they store; the image is in the page cache. \
         Reads go through the tree of a freshly opened vault, at the same random pages for every size; cold: none \
         of the vault was in memory before. The days of small writes: {} writes of 4 to 16 KiB a day for {DAYS} days over the first day's \
         image, half of them to random places that hold data, half within {} KiB behind the one before, with the content of \
         database pages; each day is one point.\n\n",
        pages.count() as f64 * PAGE_BYTES as f64 / 1e9,
        writes::WRITES_A_DAY,
        writes::NEAR_BYTES >> 10,
    );
    let _ = writeln!(out, "| | {} |", SIZES.map(|size| format!("{} KiB", size >> 10)).join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(SIZES.len()));
    let mut row = |what: &str, value: &dyn Fn(&Figures) -> String| {
        let _ = writeln!(out, "| {what} | {} |", figures.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let rate = |bytes_a_second: f64| format!("{:.0}", bytes_a_second / 1e6);
    row("first backup, s", &|of| format!("{:.2}", of.first_seconds));
    row("first backup, MB/s of data", &|of| rate(of.data_bytes as f64 / of.first_seconds));
    row("stored, MB", &|of| mb(of.first_stored));
    row("stored, of the data", &|of| format!("{:.4}", of.first_stored as f64 / of.data_bytes as f64));
    row("stored at level 3, MB", &|of| mb(of.level_3_stored));
    row("first backup at level 3, s", &|of| format!("{:.2}", of.level_3_seconds));
    row("second day, everything read, s", &|of| format!("{:.2}", of.second_seconds));
    row("second day, added MB", &|of| mb(of.second_added));
    row("restore to a file, cold, s", &|of| format!("{:.2}", of.restore_seconds));
    row("random 4 KiB/s, cold, 1 thread", &|of| format!("{:.0}", of.rates.cold_1));
    row("random 4 KiB/s, cold, 4 threads", &|of| format!("{:.0}", of.rates.cold_4));
    row("random 4 KiB/s, warm, 1 thread", &|of| format!("{:.0}", of.rates.warm_1));
    row("random 4 KiB/s, warm, 4 threads", &|of| format!("{:.0}", of.rates.warm_4));
    row("sequential, warm, 1 thread, MB/s", &|of| rate(of.rates.sequential));
    row("index, bytes for each different chunk", &|of| format!("{:.1}", of.index_bytes_each));
    row("index, MB for each TiB of different data", &|of| {
        mb((of.index_bytes_each * (1_u64 << 40) as f64 / f64::from(of.chunk_bytes)) as u64)
    });
    row("small writes: added in 14 days, MB", &|of| mb(of.days.iter().sum()));
    row("small writes: added a day, MB", &|of| {
        let bounds = (of.days.iter().min(), of.days.iter().max());
        format!("{}-{}", mb(*bounds.0.unwrap_or(&0)), mb(*bounds.1.unwrap_or(&0)))
    });
    row("small writes: seconds a day, changed ranges known", &|of| format!("{:.2}", of.day_seconds));
    row("first point and 14 days, MB", &|of| mb(of.first_stored + of.days.iter().sum::<u64>()));
    if let (Some(first), Some(last)) = (restic.and_then(<[u64]>::first), restic.and_then(<[u64]>::last)) {
        let _ = writeln!(
            out,
            "\nrestic, at its defaults, stores {} MB for the first day and adds {} MB in the {DAYS} days: {} MB.",
            mb(*first),
            mb(last - first),
            mb(*last),
        );
    }
    out
}
