//! `icecore stats`

use clap::Args;
use icecore::vault::{Forecast, Limit, MachineUsage, PointUsage, Stats, Usage};
use serde::Serialize;

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::problem::Problem;
use super::progress;
use super::salvage::Salvage;
use super::signals::{self, Interrupt};

const EXAMPLES: &str = "\
Examples:
  icecore stats
  icecore stats web01
  icecore stats --points --json | jq .usage.machines
  icecore stats --json | jq .stored_bytes";

/// Tell what the vault holds, what takes how much, and how it grows
///
/// Tells what the vault holds and what it takes, how fast it grows by what the points of the last four weeks added, and when
/// quotas and the free space are reached if nothing is forgotten. SIZE and USED are those of a machine's newest point: the
/// size of its disks, and what of that is neither zeros nor holes; ADDED is what its points stored when they were made.
///
/// With a machine, or with --points for all of them, tells of each point what it needs in the vault (STORED), what of that
/// no other point needs (ALONE: what `icecore gc` gives back once that point alone is forgotten and its time over), and what
/// it shares. For that all segments' tables and all maps are read once, which takes a while in a large vault. Bytes are
/// those of records in segments, without parity.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Tell of each point of these machines
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
    /// Tell of each point of all machines
    #[arg(long, conflicts_with = "machines")]
    points: bool,
}

/// Everything, for programs.
#[derive(Serialize)]
struct All<'a> {
    #[serde(flatten)]
    stats: &'a Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a Usage>,
}

/// Tells it.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    if !arguments.points && arguments.machines.is_empty() {
        let stats = global.open()?.stats()?;
        return tell(&stats, None, arguments, global);
    }
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    // Before the long part; of its points, some may be forgotten.
    let known = vault.all_forgotten();
    for name in &arguments.machines {
        if !known.iter().any(|point| point.machine == *name) {
            vault.points(name)?;
        }
    }
    let stats = vault.stats()?;
    let mut usage = progress::shown(global, &interrupt, "segments", |progress| vault.usage(progress))?;
    if !arguments.points {
        usage.machines.retain(|machine| arguments.machines.contains(&machine.machine));
    }
    for damage in &usage.damaged {
        output::warning(&format!("{}: {}; what it needs is not all counted", damage.what, damage.why), global.json);
    }
    tell(&stats, Some(&usage), arguments, global)
}

fn tell(stats: &Stats, usage: Option<&Usage>, arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let exit = if usage.is_some_and(|usage| !usage.damaged.is_empty()) { Exit::Incomplete } else { Exit::Done };
    if global.json {
        return output::json(&All { stats, usage }).map(|()| exit);
    }
    let mut out = Output::open();
    if let Some(usage) = usage {
        tell_usage(&mut out, usage)?;
    }
    if arguments.machines.is_empty() {
        tell_stats(&mut out, stats)?;
    }
    out.flush()?;
    Ok(exit)
}

/// What each point and machine takes.
fn tell_usage(out: &mut Output, usage: &Usage) -> Result<(), Problem> {
    let row = |name: String, used: u64, stored: u64, alone: u64, shared: u64, kept: u64| {
        let ratio = if stored == 0 { "-".to_owned() } else { format!("{:.1}", human::fraction(kept, stored)) };
        [name, human::size(used), human::size(stored), human::size(alone), human::size(shared), ratio]
    };
    let mut lines = vec![["POINT", "USED", "STORED", "ALONE", "SHARED", "RATIO"].map(str::to_owned)];
    for machine in &usage.machines {
        let MachineUsage { stored_bytes, unique_bytes, .. } = *machine;
        let newest = machine.points.last().map_or(0, |point| point.used_bytes);
        let kept = machine.points.iter().map(|point| point.used_bytes).fold(0, u64::saturating_add);
        let name = format!("{}: {}", machine.machine, human::count(machine.points.len() as u64, "point", "points"));
        lines.push(row(name, newest, stored_bytes, unique_bytes, machine.shared_bytes(), kept));
        for point in &machine.points {
            let PointUsage { used_bytes, stored_bytes, unique_bytes, .. } = *point;
            let mark = if point.forgotten { " (forgotten)" } else { "" };
            let name = format!("  {}{mark}", point.point);
            lines.push(row(name, used_bytes, stored_bytes, unique_bytes, point.shared_bytes(), used_bytes));
        }
    }
    human::columns(&lines, &[1, 2, 3, 4, 5]).iter().try_for_each(|line| out.line(line))?;
    out.line("")?;
    let mut facts = vec![[
        "needed by points".to_owned(),
        format!("{} in {}", human::size(usage.needed_bytes), human::count(usage.records, "record", "records")),
    ]];
    if usage.unlisted_bytes > 0 {
        let what = "of that by points without a catalog entry alone".to_owned();
        facts.push([what, human::size(usage.unlisted_bytes)]);
    }
    facts.push(["needed by nobody".to_owned(), human::size(usage.unneeded_bytes)]);
    human::columns(&facts, &[]).iter().try_for_each(|line| out.line(line))
}

/// How fast the vault grows, and what is reached when.
fn outlook(stats: &Stats) -> Vec<[String; 2]> {
    let told = |growth: &icecore::vault::Growth| {
        let of = format!(
            "{} of {}",
            human::count(growth.points, "point", "points"),
            human::count(growth.days + 1, "day", "days")
        );
        match growth.bytes_per_day {
            None => format!("unknown: points of four days at least are needed, not {of}"),
            Some(bytes) => {
                let rough = if growth.is_rough { ": roughly, for so few" } else { "" };
                format!("{} a day if nothing is forgotten, by {of}{rough}", human::size(bytes))
            }
        }
    };
    let mut facts = vec![["growth".to_owned(), told(&stats.growth)]];
    facts.extend(stats.forecasts.iter().map(|forecast| {
        let whose = forecast.machine.as_deref().unwrap_or("the vault");
        let what = match forecast.limit {
            Limit::QuotaWarning => format!("warning of {whose}"),
            Limit::QuotaHard => format!("quota of {whose}"),
            Limit::FreeSpace => "free space".to_owned(),
        };
        [what, when(forecast)]
    }));
    facts
}

fn when(forecast: &Forecast) -> String {
    let left = human::size(forecast.left_bytes);
    match (forecast.days, forecast.at) {
        (Some(0), _) if forecast.left_bytes == 0 => "reached".to_owned(),
        (Some(0), _) => format!("{left} left, reached within a day"),
        (Some(days), Some(at)) => {
            let day = at.strftime("%Y-%m-%d");
            format!("{left} left, reached in {} ({day})", human::count(days, "day", "days"))
        }
        (Some(_), None) => format!("{left} left, enough for more than a hundred years"),
        (None, _) => format!("{left} left"),
    }
}

fn tell_stats(out: &mut Output, stats: &Stats) -> Result<(), Problem> {
    let mut lines = vec![["MACHINE", "POINTS", "LATEST", "SIZE", "USED", "ADDED", "PER DAY"].map(str::to_owned)];
    lines.extend(stats.machines.iter().map(|machine| {
        [
            machine.machine.clone(),
            machine.points.to_string(),
            machine.latest.clone(),
            human::size(machine.protected_bytes),
            human::size(machine.used_bytes),
            human::size(machine.added_bytes),
            machine.growth.bytes_per_day.map_or_else(|| "-".to_owned(), human::size),
        ]
    }));
    if !stats.machines.is_empty() {
        human::columns(&lines, &[1, 3, 4, 5, 6]).iter().try_for_each(|line| out.line(line))?;
        out.line("")?;
    }
    let mut facts = vec![
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
    facts.extend(outlook(stats));
    human::columns(&facts, &[]).iter().try_for_each(|line| out.line(line))
}
