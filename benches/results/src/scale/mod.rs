//! Section `scale`: what a vault of many chunks and points costs those who open it.

mod garbage;
mod generator;
mod index;
mod open;
mod probe;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::memory;
use crate::place::Place;
use generator::Plan;
use probe::{Outcome, What};

pub use probe::{Options as ProbeOptions, SUBCOMMAND as PROBE, probe};

/// The section's name in the document and on the command line.
pub const NAME: &str = "scale";

/// The section's heading.
pub const TITLE: &str = "Ten million chunks and a thousand points";

/// Times that short things are done; the median counts.
const ROUNDS: usize = 9;

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {
    /// Different chunks of the large vault
    #[arg(id = "scale-chunks", long = "scale-chunks", default_value_t = 10_000_000)]
    chunks: u64,
    /// Points of the large vault
    #[arg(id = "scale-points", long = "scale-points", default_value_t = 1000)]
    points: u64,
    /// The large vault, as `make-vault` made it with these numbers [default: made anew]
    #[arg(id = "scale-vault", long = "scale-vault", value_name = "DIR")]
    vault: Option<PathBuf>,
}

/// A vault to look at, of any size.
#[derive(Args, Debug)]
pub struct MakeVault {
    /// Different chunks
    #[arg(long, default_value_t = 10_000_000)]
    chunks: u64,
    /// Points
    #[arg(long, default_value_t = 1000)]
    points: u64,
    /// Chunks that change from one point of a machine to the next
    #[arg(long, default_value_t = generator::CHANGES)]
    changes: u64,
    /// Where it shall be: a directory that is empty or absent
    #[arg(long, value_name = "DIR")]
    vault: PathBuf,
}

/// A vault, and how it was made.
struct Vault {
    path: PathBuf,
    plan: Plan,
}

impl Vault {
    /// Does something to it in a process of its own.
    fn probe(&self, what: What) -> Result<Outcome> {
        probe::run(&self.path, self.plan.chunks_each(), what)
    }

    /// Does the same many times, perhaps with nothing in memory; the median of the times, and the most memory.
    fn probe_often(&self, what: What, cold: bool) -> Result<Option<Outcome>> {
        let mut outcomes = Vec::new();
        for _ in 0..ROUNDS {
            if cold && !memory::drop_caches() {
                return Ok(None);
            }
            if cold {
                // The program itself and its libraries are in memory.
                self.probe(What::Nothing)?;
            }
            outcomes.push(self.probe(what)?);
        }
        outcomes.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let peak_bytes = outcomes.iter().map(|outcome| outcome.peak_bytes).max().unwrap_or(0);
        let middle = outcomes.swap_remove(ROUNDS / 2);
        Ok(Some(Outcome { peak_bytes, ..middle }))
    }
}

/// Makes a vault of the wanted size.
pub fn make_vault(options: &MakeVault) -> Result<()> {
    generator::make(&options.vault, Plan { chunks: options.chunks, points: options.points, changes: options.changes })
}

/// Measures, and returns the section's text.
pub fn run(place: &Place, options: &Options) -> Result<String> {
    let memory = memory::warm(place, true)?;
    let small = made(&place.dir().join("small"), Plan { chunks: 10, points: 1, changes: generator::CHANGES })?;
    let plan = Plan { chunks: options.chunks, points: options.points, changes: generator::CHANGES };
    let large = match &options.vault {
        Some(path) => Vault { path: path.clone(), plan },
        None => made(&place.dir().join("large"), plan)?,
    };
    let opened = format!("{}{}", open::measure(&small, &large)?, index::measure(place.dir(), &large)?);
    fs::remove_dir_all(&small.path)?;
    if options.vault.is_none() {
        fs::remove_dir_all(&large.path)?;
    }
    // Of a vault whose points differ so much that it is worth while to forget some.
    let changes = plan.chunks / 2 / plan.points.max(1);
    let aging = made(&place.dir().join("aging"), Plan { changes, ..plan })?;
    let text = format!("{opened}{}\n{memory}\n", garbage::measure(&aging)?);
    fs::remove_dir_all(&aging.path)?;
    Ok(text)
}

fn made(path: &Path, plan: Plan) -> Result<Vault> {
    generator::make(path, plan)?;
    Ok(Vault { path: path.to_owned(), plan })
}
