//! Measures icecore and keeps `benches/RESULTS.md`, one section a subcommand.
//!
//! A section is a module with `NAME`, `TITLE`, the options of its own, and `run`, which measures and returns Markdown.
//! This file runs what was asked for, and puts each result, under a heading that says when, where and how it was
//! measured, between the section's markers in the document. The other sections stay as they are.
//!
//! The peers are programs that are started; nothing of them is linked, and nothing of this is linked into icecore.

mod anonymous;
mod child;
mod chunks;
mod document;
mod engine;
mod guests;
mod heading;
mod machine;
mod maps;
mod medium;
mod memory;
mod mounted;
mod pages;
mod peers;
mod place;
mod reads;
mod scale;
mod stages;
mod syncs;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use place::Place;

/// Measures icecore and keeps benches/RESULTS.md
#[derive(Parser, Debug)]
#[command(name = "results")]
struct CommandLine {
    #[command(subcommand)]
    sections: Sections,
    #[command(flatten)]
    common: Common,
}

/// What holds for every section.
#[derive(Args, Debug)]
struct Common {
    /// Where to work, on a file system with 16 GB free; nothing stays there [default: the system's temporary directory]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Disks as `make-disks --out DIR` makes them [default: made anew in the scratch directory]
    #[arg(long, global = true, value_name = "DIR")]
    disks: Option<PathBuf>,
    /// The document whose sections are replaced [default: benches/RESULTS.md]
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One subcommand a section.
#[derive(Subcommand, Debug)]
enum Sections {
    /// Every section, one after the other
    All(All),
    /// icecore beside restic, rustic, borg and desync
    Peers(peers::Options),
    /// Where the time of a backup goes
    Stages(stages::Options),
    /// What the size of chunks costs and gains
    Chunks(chunks::Options),
    /// What a point of a disk of a tebibyte costs
    Maps(maps::Options),
    /// What a vault of millions of chunks costs
    Scale(scale::Options),
    /// A guest's files, beside the kernel's own driver
    Guests(guests::Options),
    /// Makes a vault as large as section `scale` needs
    MakeVault(scale::MakeVault),
    /// What section `scale` runs
    #[command(name = scale::PROBE, hide = true)]
    Probe(scale::ProbeOptions),
    /// What `memory::warm` runs
    #[command(name = memory::TOUCH, hide = true)]
    TouchMemory {
        /// How much
        bytes: usize,
    },
}

/// The options of all sections together.
#[derive(Args, Debug)]
struct All {
    #[command(flatten)]
    peers: peers::Options,
    #[command(flatten)]
    stages: stages::Options,
    #[command(flatten)]
    chunks: chunks::Options,
    #[command(flatten)]
    maps: maps::Options,
    #[command(flatten)]
    scale: scale::Options,
    #[command(flatten)]
    guests: guests::Options,
}

fn main() -> ExitCode {
    match run(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("results: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: &CommandLine) -> Result<()> {
    match &line.sections {
        Sections::TouchMemory { bytes } => {
            memory::touch(*bytes);
            return Ok(());
        }
        Sections::MakeVault(options) => return scale::make_vault(options),
        Sections::Probe(options) => return scale::probe(options),
        _ => {}
    }
    child::end_with_us()?;
    let commit = heading::commit()?;
    let place = Place::new(line.common.dir.as_deref(), line.common.disks.as_deref())?;
    let out = line.common.out.clone().unwrap_or_else(|| place::repository().join("benches/RESULTS.md"));
    let keep = |name, title, body: Result<String>| {
        let body = body.with_context(|| format!("section {name}"))?;
        document::keep(&out, name, &heading::with(&commit, name, title, &body))
    };
    let peers = |options| keep(peers::NAME, peers::TITLE, peers::run(&place, options));
    let stages = |options| keep(stages::NAME, stages::TITLE, stages::run(&place, options));
    let chunks = |options| keep(chunks::NAME, chunks::TITLE, chunks::run(&place, options));
    let maps = |options| keep(maps::NAME, maps::TITLE, maps::run(&place, options));
    let scale = |options| keep(scale::NAME, scale::TITLE, scale::run(&place, options));
    let guests = |options| keep(guests::NAME, guests::TITLE, guests::run(&place, options));
    match &line.sections {
        Sections::Peers(options) => peers(options),
        Sections::Stages(options) => stages(options),
        Sections::Chunks(options) => chunks(options),
        Sections::Maps(options) => maps(options),
        Sections::Scale(options) => scale(options),
        Sections::Guests(options) => guests(options),
        // A section that fails leaves the others their turn.
        Sections::All(all) => {
            let parts = [
                peers(&all.peers),
                stages(&all.stages),
                chunks(&all.chunks),
                maps(&all.maps),
                scale(&all.scale),
                guests(&all.guests),
            ];
            parts.into_iter().collect()
        }
        Sections::TouchMemory { .. } | Sections::MakeVault(_) | Sections::Probe(_) => Ok(()),
    }
}
