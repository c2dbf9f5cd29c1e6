//! `icecore bench`

mod chart;
mod tables;

use std::path::PathBuf;

use clap::{Args, ValueHint};
use icecore::bench::{self, Options, Progress, Report};
use serde::Serialize;

use super::arguments::Global;
use super::exit::Exit;
use super::init::parse_chunk_size;
use super::output::{self, Output};
use super::problem::Problem;
use super::progress;
use super::signals::{self, Interrupt};
use super::size;
use super::watch::watched;

const EXAMPLES: &str = "\
Examples:
  icecore bench
  icecore bench --quick
  icecore bench --disk /images/web01.raw --dir /srv
  icecore bench --json | jq '.runs[] | [.name, .bytes_per_second, .limit.text]'";

/// Measure how fast icecore is on this machine, and what limits it
///
/// Measures the parts that every byte passes (read, hash, compress, seal, open), then whole backups, a restore, reads and
/// a check of a vault made for the purpose, and shows stage by stage where the time goes. Takes about half a minute.
///
/// No vault of yours is opened, whatever ICECORE_VAULT says; a disk that is given is only read. Everything is written to
/// one directory that only you can read, which is removed at the end, also after Ctrl-C: a vault of the disk and, for a
/// moment, a restored copy.
///
/// MB are 1,000,000 bytes. Rates count used bytes of the disk: zeros don't count. POSSIBLE is what the parts alone would
/// allow, REACHED how much of that a run reaches. The disk comes from the page cache, where memory holds it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A raw image or block device to measure with, instead of a disk that is made up
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    disk: Option<PathBuf>,
    /// Where to make the directory for everything: the file system that a vault would be on [default: for temporary files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Size of the disk that is made up, or how much of a given one is read [default: 1GiB, or the whole disk]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    size: Option<u64>,
    /// Size of chunks, as for `icecore init`
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk_size)]
    chunk_size: Option<u32>,
    /// zstd level, as for `icecore init`
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-7..=22))]
    level: Option<i8>,
    /// Take a few seconds only, with 128 MiB of disk: less exact
    #[arg(long)]
    quick: bool,
}

/// What programs get.
#[derive(Serialize)]
struct Document<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

/// Measures.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let interrupt = Interrupt::always_noted().map_err(signals::refused)?;
    let options = options(arguments, global);
    let progress = Progress::default();
    let watcher = progress::steps(global, || (progress.done(), progress.steps(), progress.name()));
    let report = watched(&interrupt, watcher, || progress.cancel(), || bench::run(&options, &progress))?;
    if global.json {
        output::json(&Document { message_type: "summary", report: &report })?;
        return Ok(Exit::Done);
    }
    let mut out = Output::open();
    tables::tell(&report, &mut out)?;
    out.flush()?;
    Ok(Exit::Done)
}

fn options(arguments: &Arguments, global: &Global) -> Options {
    let base = if arguments.quick { Options::quick() } else { Options::default() };
    Options {
        directory: arguments.dir.clone().unwrap_or(base.directory),
        disk: arguments.disk.clone(),
        size_bytes: arguments.size.or(base.size_bytes),
        chunk_bytes: arguments.chunk_size.unwrap_or(base.chunk_bytes),
        level: arguments.level.unwrap_or(base.level),
        read_mode: global.read_mode.into(),
        ..base
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    Some(size::parse(text)?).filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| "it must be at least 1MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_a_least() {
        let sizes = ["1GiB", "1048576", "2M", "1T", "1K", "x", "", "99999999999T"].map(|text| parse_bytes(text).ok());
        assert_eq!(sizes, [Some(1 << 30), Some(1 << 20), Some(2 << 20), Some(1 << 40), None, None, None, None]);
    }
}
