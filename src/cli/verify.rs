//! `icecore verify`

use clap::Args;
use icecore::vault::{VerifyProgress, VerifyReport};
use serde_json::json;

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::output::Output;
use super::problem::{Problem, Sentence};
use super::progress::{self, State};
use super::signals::{self, Interrupt};
use super::watch::watched;

const EXAMPLES: &str = "\
Examples:
  icecore verify
  icecore verify --json | tail -n 1 | jq .hit";

/// Check the whole vault
///
/// Reads and authenticates everything in the vault, and walks the map of every point. Lists what is damaged, and which
/// ranges of which disks of which points can't be read any more. Ends with 1 if there are any.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Verifies.
pub fn run(_: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are()?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    let progress = VerifyProgress::default();
    let watcher = progress::watcher(global, || {
        vec![State {
            name: "segments".to_owned(),
            total_bytes: progress.total_bytes(),
            done_bytes: progress.done_bytes(),
            new_bytes: None,
        }]
    });
    let report = watched(&interrupt, watcher, || progress.cancel(), || vault.verify(&progress))?;
    tell(&report, global)?;
    if report.is_clean() { Ok(Exit::Done) } else { Err(found(&report)) }
}

fn tell(report: &VerifyReport, global: &Global) -> Result<(), Problem> {
    let mut out = Output::open();
    if global.json {
        let damage: Vec<String> = report.damage.iter().map(ToString::to_string).collect();
        let hit = report.hit.iter().map(|hit| {
            json!({
                "machine": hit.machine, "point": hit.point, "disk": hit.disk,
                "start": hit.range.start, "end": hit.range.end,
            })
        });
        out.json(&json!({
            "message_type": "summary",
            "clean": report.is_clean(),
            "segments": report.segments,
            "records": report.records,
            "points": report.points,
            "bytes": report.bytes,
            "data_opened": report.data_opened,
            "seconds": report.seconds,
            "damage": damage,
            "hit": hit.collect::<Vec<_>>(),
        }))?;
        return out.flush();
    }
    for damage in &report.damage {
        out.line(&human::escaped(damage.to_string().as_bytes()))?;
    }
    for hit in &report.hit {
        let place = format!("{}/{} disk {}", hit.machine, hit.point, hit.disk);
        out.line(&human::escaped(
            format!("can't be read: {place} bytes {}..{}", hit.range.start, hit.range.end).as_bytes(),
        ))?;
    }
    if !global.quiet {
        out.line(&format!(
            "checked {} with {} and {}: {} in {:.1} s ({})",
            human::count(report.segments, "segment", "segments"),
            human::count(report.records, "whole record", "whole records"),
            human::count(report.points, "point", "points"),
            human::size(report.bytes),
            report.seconds,
            human::rate(report.bytes, report.seconds),
        ))?;
        if !report.data_opened {
            out.line("This key does not open data: chunks were checked by their checksums only.")?;
        }
    }
    out.flush()
}

fn found(report: &VerifyReport) -> Problem {
    let mut points: Vec<_> = report.hit.iter().map(|hit| (&hit.machine, &hit.point)).collect();
    points.sort_unstable();
    points.dedup();
    let hit = points.len() as u64;
    let damage = human::count(report.damage.len().max(1) as u64, "damaged place", "damaged places");
    let whole = report.points.saturating_sub(hit);
    let safe = format!("{} of {} whole", whole, human::count(report.points, "point", "points"));
    let safe = if report.points == 1 { format!("{safe} is") } else { safe };
    let safe = safe.replace(" whole is", " is whole");
    let next = if hit == 0 {
        "back up again, and check the disk under the vault"
    } else {
        "restore what else you need from those points, back the machines up again, and check the disk under the vault"
    };
    Problem::said(Exit::Failed, Sentence::new(format!("verify found {damage}"), safe, next))
}
