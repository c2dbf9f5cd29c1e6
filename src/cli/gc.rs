//! `icecore gc`

use std::time::Duration;

use clap::Args;
use icecore::vault::{ClockAhead, GcOptions, GcReport};
use serde_json::json;

use super::arguments::Global;
use super::duration;
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::problem::Problem;
use super::progress;
use super::salvage::Salvage;
use super::seen;
use super::signals::{self, Interrupt};
use super::size;

const EXAMPLES: &str = "\
Examples:
  icecore gc --dry-run
  icecore gc
  icecore gc --max-rewrite 20G";

/// Give back the space of what no point needs
///
/// Purges forgotten points whose time is over, then removes every segment of which nothing is needed, and moves the rest
/// out of those that are mostly not needed. Space is back when it returns. Backups, mounts and restores go on meanwhile, and
/// nobody waits for the other to end; what a running backup relies on stays until the next run.
///
/// Where the catalog or a map is damaged, nothing is removed: `icecore repair` comes first. `icecore gc` may be killed at any
/// moment, also by power loss; run again it goes on. Ends with 3 where something stays that should go, as by a clock that is not
/// believed. Needs a key of role admin.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only tell what would be given back
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Move at most so many bytes out of segments that are mostly not needed
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_rewrite: Option<u64>,
    /// Rewrite segments of which at least so many percent are not needed
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    min_dead: u8,
    /// Wait at most so long: for `repair`, `key rotate`, and a copy of the vault's own files; for each running backup it is a
    /// moment, unless its process is stopped
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    wait: Duration,
    /// Remove points without a catalog entry too, as a backup leaves that was interrupted at its end: at once, and for good
    #[arg(long)]
    drop_unlisted: bool,
}

/// Gives it back.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    let options = GcOptions {
        most_rewritten_bytes: arguments.max_rewrite.unwrap_or(u64::MAX),
        least_dead_percent: arguments.min_dead,
        drops_unlisted: arguments.drop_unlisted,
        seen: seen::known(&vault),
        most_wait: arguments.wait,
        dry_run: arguments.dry_run,
    };
    let report = progress::shown(global, &interrupt, "segments", |progress| vault.gc(&options, progress))?;
    seen::look(&vault, global.json, false);
    for error in &report.left {
        output::warning(&format!("{error}; that segment stays"), global.json);
    }
    if let Some(clock) = &report.clock_ahead {
        output::warning(&not_believed(clock), global.json);
    }
    for point in &report.doubtful {
        output::notice(
            &format!(
                "{point} is kept: an entry that was given up may have brought it back; if it was not, `icecore undelete` it and \
                 forget it again"
            ),
            global.json,
        );
    }
    for point in &report.kept_by_policy {
        output::notice(
            &format!(
                "{point} is kept: its machine's policy is locked, and keeps it; `icecore undelete` lists it again"
            ),
            global.json,
        );
    }
    for point in &report.in_use {
        output::warning(&format!("{point} is being read; the next run purges it"), global.json);
    }
    if !report.unlisted.is_empty() && !global.json {
        let points = human::count(report.unlisted.len() as u64, "point has", "points have");
        output::notice(
            &format!(
                "{points} no catalog entry, and what they need is kept: enter them with `icecore repair --adopt`, or give \
                 it back with --drop-unlisted"
            ),
            false,
        );
    }
    tell(&report, arguments.dry_run, global)?;
    let is_done = report.left.is_empty() && report.clock_ahead.is_none();
    Ok(if is_done { Exit::Done } else { Exit::Incomplete })
}

fn not_believed(clock: &ClockAhead) -> String {
    format!(
        "the clock says {}, and nothing in the vault was recorded since {}: nothing is purged; if the clock is right, run it \
         again in a day",
        human::moment(clock.now),
        human::moment(clock.last),
    )
}

fn tell(report: &GcReport, dry_run: bool, global: &Global) -> Result<(), Problem> {
    if global.json {
        return output::json(&json!({
            "message_type": if dry_run { "would_give_back" } else { "gave_back" },
            "purged": report.purged,
            "doubtful": report.doubtful,
            "kept_by_policy": report.kept_by_policy,
            "in_use": report.in_use,
            "clock_ahead": report.clock_ahead.is_some(),
            "points": report.points,
            "unlisted": report.unlisted,
            "live_records": report.live_records,
            "segments": report.segments,
            "bytes": report.bytes,
            "removed_segments": report.removed_segments,
            "removed_bytes": report.removed_bytes,
            "rewritten_segments": report.rewritten_segments,
            "rewritten_bytes": report.rewritten_bytes,
            "written_bytes": report.written_bytes,
            "freed_bytes": report.freed_bytes(),
            "relied_segments": report.relied_segments,
            "dead_bytes_left": report.dead_bytes_left,
            "left": report.left.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "mark_seconds": report.mark_seconds,
            "seconds": report.seconds,
        }));
    }
    if global.quiet {
        return Ok(());
    }
    let mut out = Output::open();
    let would = if dry_run { "would be " } else { "" };
    for point in &report.purged {
        out.line(&format!("{point} {would}purged"))?;
    }
    let segments = |number| human::count(number, "segment", "segments");
    out.line(&format!(
        "{} {would}given back: {} {would}removed, {} {would}rewritten ({} of records moved), in {:.1} s",
        human::size(report.freed_bytes()),
        segments(report.removed_segments),
        segments(report.rewritten_segments),
        human::size(report.written_bytes),
        report.seconds,
    ))?;
    out.line(&format!(
        "{} and {} records are needed by {}; {} stay that nobody needs, in segments that are mostly needed",
        human::size(report.bytes.saturating_sub(report.freed_bytes() + report.dead_bytes_left)),
        report.live_records,
        human::count(report.points, "point", "points"),
        human::size(report.dead_bytes_left),
    ))?;
    if report.relied_segments > 0 {
        let stay = segments(report.relied_segments);
        out.line(&format!("{stay} more can go once the backups have ended that rely on some of it"))?;
    }
    out.flush()
}
