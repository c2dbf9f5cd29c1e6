//! `icecore policy plan`

use std::time::Duration;

use clap::Args;
use icecore::Vault;
use icecore::point::Until;
use icecore::policy::{Day, Facts, Going, Planned};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cli::arguments::Global;
use crate::cli::duration;
use crate::cli::exit::Exit;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::problem::Problem;

const EXAMPLES: &str = "\
Examples:
  icecore policy plan web01
  icecore policy plan web01 --for 90d --kept
  icecore policy plan web01 --for 8w --json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The machine
    machine: String,
    /// How far, as 30d or 8w; up to ten years
    #[arg(long = "for", value_name = "TIME", default_value = "30d", value_parser = duration::parse_days)]
    length: Duration,
    /// Print on each day what is kept too, and why
    #[arg(long)]
    kept: bool,
}

/// Ten years.
const MOST_SECONDS: u64 = 3653 * 86_400;

/// Prints the plan.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    if arguments.length.as_secs() > MOST_SECONDS || arguments.length.is_zero() {
        return Err(Problem::usage("a plan is for up to ten years", "write it as --for 90d"));
    }
    let vault = global.open()?;
    let (name, policy) = vault.documents()?.policy_of(&arguments.machine)?;
    let now = Timestamp::now();
    let length = SignedDuration::try_from(arguments.length).unwrap_or(SignedDuration::ZERO);
    let until = now.checked_add(length).unwrap_or(Timestamp::MAX);
    let days =
        icecore::policy::plan(&policy, &arguments.machine, points(&vault, &arguments.machine, now)?, now, until)?;
    let zone = policy.zone()?;
    let mut out = Output::open();
    if global.json {
        for day in &days {
            out.json(&as_json(day, &zone))?;
        }
        out.flush()?;
        return Ok(Exit::Done);
    }
    let mut last = None;
    for day in &days {
        tell(&mut out, day, &zone, arguments.kept)?;
        last = Some(day);
    }
    if let (Some(day), false) = (last, arguments.kept) {
        out.line(&format!("kept at the end, under policy {name}:"))?;
        kept(day).try_for_each(|one| out.line(&line('=', one)))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// The points that are there.
fn points(vault: &Vault, machine: &str, now: Timestamp) -> Result<Vec<Planned>, Problem> {
    let points = match vault.points(machine) {
        Ok(points) => points,
        // A machine that was never backed up has a plan all the same.
        Err(icecore::Error::UnknownMachine { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let facts: Vec<Facts> = vault.facts(&points, now);
    let planned = points.iter().zip(facts).map(|(point, facts)| Planned {
        name: Some(point.name.clone()),
        facts,
        protected_until: point.protected.map(|until| match until {
            Until::Time(time) => time,
            Until::Ever => Timestamp::MAX,
        }),
    });
    Ok(planned.collect())
}

fn kept(day: &Day) -> impl Iterator<Item = &Going> {
    day.points.iter().filter(|one| one.decision.keep)
}

fn dropped(day: &Day) -> impl Iterator<Item = &Going> {
    day.points.iter().filter(|one| !one.decision.keep)
}

fn name_of(point: &Planned) -> String {
    let to_come = || point.facts.time.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    point.name.clone().unwrap_or_else(to_come)
}

/// The day of the zone, by its last moment but one.
fn date_of(day: &Day, zone: &TimeZone) -> String {
    let inside = day.end.checked_sub(SignedDuration::from_secs(1)).unwrap_or(day.end);
    zone.to_datetime(inside).date().to_string()
}

fn line(sign: char, one: &Going) -> String {
    format!("  {sign} {}: {}", name_of(&one.point), one.decision.reasons())
}

fn tell(out: &mut Output, day: &Day, zone: &TimeZone, tells_kept: bool) -> Result<(), Problem> {
    let (is_kept, is_dropped) = (kept(day).count() as u64, dropped(day).count() as u64);
    let points = human::count(is_kept, "point", "points");
    out.line(&format!("{}: {} made, {is_dropped} dropped, {points} kept", date_of(day, zone), day.made.len()))?;
    day.made.iter().try_for_each(|made| out.line(&format!("  + {}", name_of(made))))?;
    dropped(day).try_for_each(|one| out.line(&line('-', one)))?;
    if tells_kept {
        kept(day).try_for_each(|one| out.line(&line('=', one)))?;
    }
    Ok(())
}

fn as_json(day: &Day, zone: &TimeZone) -> Value {
    let told = |one: &Going| json!({"point": name_of(&one.point), "is_made": one.point.name.is_some(), "why": one.decision.reasons()});
    json!({
        "message_type": "day",
        "date": date_of(day, zone),
        "made": day.made.iter().map(name_of).collect::<Vec<_>>(),
        "dropped": dropped(day).map(told).collect::<Vec<_>>(),
        "kept": kept(day).map(told).collect::<Vec<_>>(),
    })
}
