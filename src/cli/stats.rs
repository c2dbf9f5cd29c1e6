//! `icecore stats`

use clap::Args;

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::problem::Problem;

const EXAMPLES: &str = "\
Examples:
  icecore stats
  icecore stats --json | jq .stored_bytes";

/// Tell what the vault holds, in numbers
///
/// Tells what the vault holds and what it takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Tells it.
pub fn run(_: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let stats = global.open()?.stats()?;
    if global.json {
        output::json(&stats)?;
        return Ok(Exit::Done);
    }
    let mut out = Output::open();
    let mut lines = vec![["MACHINE", "POINTS", "LATEST", "SIZE", "USED", "ADDED"].map(str::to_owned)];
    lines.extend(stats.machines.iter().map(|machine| {
        [
            machine.machine.clone(),
            machine.points.to_string(),
            machine.latest.clone(),
            human::size(machine.protected_bytes),
            human::size(machine.used_bytes),
            human::size(machine.added_bytes),
        ]
    }));
    if !stats.machines.is_empty() {
        human::columns(&lines, &[1, 3, 4, 5]).iter().try_for_each(|line| out.line(line))?;
        out.line("")?;
    }
    let facts = [
        ["points".to_owned(), stats.points.to_string()],
        ["forgotten, and can be brought back".to_owned(), stats.forgotten_points.to_string()],
        ["disks of all points".to_owned(), human::size(stats.protected_bytes)],
        ["of that not zeros".to_owned(), human::size(stats.used_bytes)],
        [
            "stored".to_owned(),
            format!("{} in {}", human::size(stats.stored_bytes), human::count(stats.segments, "segment", "segments")),
        ],
        [
            "parity".to_owned(),
            match (stats.segments_with_parity, stats.segments) {
                (0, _) => "none".to_owned(),
                (of, all) if of == all => human::size(stats.parity_bytes),
                (of, all) => format!("{} for {of} of {all} segments", human::size(stats.parity_bytes)),
            },
        ],
        [
            "index".to_owned(),
            format!("{} for {}", human::size(stats.index_bytes), human::count(stats.records, "record", "records")),
        ],
        ["kept per stored byte".to_owned(), format!("{:.1} bytes", stats.ratio)],
        [
            "checked".to_owned(),
            match stats.oldest_check {
                Some(oldest) => format!(
                    "{} of {}, the longest ago {}",
                    stats.segments_checked,
                    human::count(stats.segments, "segment", "segments"),
                    human::moment(oldest)
                ),
                None => "never".to_owned(),
            },
        ],
    ];
    human::columns(&facts, &[]).iter().try_for_each(|line| out.line(line))?;
    out.flush()?;
    Ok(Exit::Done)
}
