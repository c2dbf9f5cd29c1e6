//! `icecore restore`

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use icecore::restore::{Progress, RestoreOptions, RestoreReport};
use serde_json::json;

use super::arguments::Global;
use super::exit::Exit;
use super::paths::PointPath;
use super::problem::{Doing, Problem};
use super::progress::{self, State};
use super::salvage::Salvage;
use super::signals::{self, Interrupt};
use super::watch::watched;
use super::{human, output};

const EXAMPLES: &str = "\
Examples:
  icecore restore web01/latest --disk os --to /images/new.raw
  icecore restore web01/2026-11-20T02-00-00Z --disk data --to /dev/vg/data --force
  icecore restore web01/3f9a01c2 --disk os --to old.raw --json";

/// Write a disk of a point to a file or a block device
///
/// Writes a whole disk of a recovery point to a file or a block device. A file is sparse, and appears under its name when
/// it is whole. A device is written in place, zeros included; one that is mounted is refused. Every byte is authenticated
/// on its way.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The point
    #[arg(value_name = "MACHINE/POINT")]
    point: PointPath,
    /// The disk's name
    #[arg(long, value_name = "NAME")]
    disk: String,
    /// The file or device to write
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    to: PathBuf,
    /// Replace an existing file, or overwrite a device that holds something
    #[arg(long)]
    force: bool,
    /// Where the backup could not read the disk, write zeros, instead of restoring nothing
    #[arg(long)]
    allow_incomplete: bool,
    #[command(flatten)]
    salvage: Salvage,
}

/// What is at stake when it fails.
pub fn doing(arguments: &Arguments) -> Doing {
    let device = std::fs::metadata(&arguments.to).is_ok_and(|found| found.file_type().is_block_device());
    if device { Doing::RestoreDevice } else { Doing::RestoreFile }
}

/// Restores.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(arguments.salvage)?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    let point = arguments.point.find(&vault)?;
    let options = RestoreOptions {
        force: arguments.force,
        allow_incomplete: arguments.allow_incomplete,
        salvage: arguments.salvage.salvage,
        workers: None,
    };
    let progress = Progress::default();
    let watcher = progress::watcher(global, || {
        vec![State {
            name: arguments.disk.clone(),
            total_bytes: progress.total_bytes(),
            done_bytes: progress.done_bytes(),
            new_bytes: None,
        }]
    });
    let work = || vault.restore(&point, &arguments.disk, &arguments.to, &options, &progress);
    let report = watched(&interrupt, watcher, || progress.cancel(), work)?;
    tell(&report, arguments, &point.name, global)?;
    Ok(if report.missing.is_empty() && report.lost.is_empty() { Exit::Done } else { Exit::Incomplete })
}

fn tell(report: &RestoreReport, arguments: &Arguments, point: &str, global: &Global) -> Result<(), Problem> {
    if global.json {
        return output::json(&json!({
            "message_type": "summary",
            "machine": arguments.point.machine,
            "point": point,
            "disk": arguments.disk,
            "target": report.target.to_string_lossy(),
            "size_bytes": report.size_bytes,
            "written_bytes": report.written_bytes,
            "seconds": report.seconds,
            "missing": report.missing,
            "lost": report.lost,
        }));
    }
    for range in &report.lost {
        let text = format!("bytes {}..{} are lost in the vault and are zeros now", range.start, range.end);
        output::warning(&text, false);
    }
    for range in &report.missing {
        let text = format!("bytes {}..{} could not be read by the backup and are zeros now", range.start, range.end);
        output::warning(&text, false);
    }
    if global.quiet {
        return Ok(());
    }
    output::line(&format!(
        "{}/{point} disk {} is in {}: {}, written {} in {:.1} s ({})",
        arguments.point.machine,
        arguments.disk,
        human::escaped(report.target.as_os_str().as_encoded_bytes()),
        human::size(report.size_bytes),
        human::size(report.written_bytes),
        report.seconds,
        human::rate(report.written_bytes, report.seconds),
    ))
}
