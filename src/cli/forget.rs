//! `icecore forget`

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use icecore::Vault;
use icecore::point::PointInfo;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::arguments::Global;
use super::duration;
use super::exit::Exit;
use super::output::{self, Output};
use super::paths::PointPath;
use super::problem::Problem;

const EXAMPLES: &str = "\
Examples:
  icecore forget web01/2026-11-20T02-00-00Z
  icecore forget web01 --older-than 90d --dry-run
  icecore forget web01 --older-than 90d --reason 'kept for 90 days' && icecore gc";

/// Forget points; they can be brought back for a time
///
/// A forgotten point is listed no more and goes from the mount, but stays whole in the vault for the vault's grace time (14
/// days, unless `icecore soft-delete` says otherwise): `icecore points --deleted` lists it, `icecore undelete` brings it back.
/// After that, `icecore gc` purges it and gives back its space.
///
/// Prints the exact list before it does anything. Protected points stay, and so does the last point of a machine, unless
/// --all says so. Needs a key of role admin, whose signature others can check: a stolen backup key forgets nothing.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The points, as MACHINE/POINT; or machines, with --older-than
    #[arg(value_name = "MACHINE[/POINT]", required = true)]
    what: Vec<String>,
    /// Of the machines that are named, forget the points that are older than that, as 90d or 8w
    #[arg(long, value_name = "AGE", value_parser = duration::parse_days)]
    older_than: Option<Duration>,
    /// Why, for those who see it in `icecore points --deleted`
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Forget the last point of a machine too
    #[arg(long)]
    all: bool,
    /// Only print the list
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Forgets them, one after the other.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let points = chosen(arguments, &vault)?;
    let mut out = Output::open();
    if points.is_empty() {
        if !global.quiet && !global.json {
            out.line("no point is that old; nothing was forgotten")?;
        }
        return Ok(Exit::Done);
    }
    // The exact list before anything is done.
    if !global.json && !global.quiet {
        let verb = if arguments.dry_run { "would forget" } else { "forgetting" };
        for point in &points {
            out.line(&format!("{verb} {}/{} ({})", point.machine, point.name, &point.id[..8]))?;
        }
        out.flush()?;
    }
    if arguments.dry_run {
        if global.json {
            let paths: Vec<_> = points.iter().map(|point| json!(format!("{}/{}", point.machine, point.name))).collect();
            out.json(&json!({"message_type": "would_forget", "points": paths}))?;
        }
        return Ok(Exit::Done);
    }
    let reason = match arguments.older_than {
        Some(age) if arguments.reason.is_empty() => format!("older than {}", duration::words(age.as_secs())),
        _ => arguments.reason.clone(),
    };
    for point in &points {
        let gone = vault.forget(point, &reason, arguments.all)?;
        if global.json {
            let until = gone.forgotten.as_ref().map(|forgotten| forgotten.until);
            let path = format!("{}/{}", point.machine, point.name);
            out.json(&json!({"message_type": "forgotten", "point": path, "id": point.id, "until": until}))?;
        }
    }
    if !global.json && !global.quiet {
        let points = super::human::count(points.len() as u64, "point", "points");
        let until = match vault.soft_delete()?.grace_seconds {
            0 => "`icecore gc` gives back the space, and until it ran `icecore undelete` brings back".to_owned(),
            grace => {
                let grace = duration::words(grace);
                format!("`icecore undelete` brings back for {grace}, then `icecore gc` gives back the space")
            }
        };
        out.line(&format!("forgot {points}; {until}"))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// The points that are meant, each once.
fn chosen(arguments: &Arguments, vault: &Vault) -> Result<Vec<Arc<PointInfo>>, Problem> {
    let mut chosen: Vec<Arc<PointInfo>> = Vec::new();
    for what in &arguments.what {
        match (what.parse::<PointPath>(), arguments.older_than) {
            (Ok(path), None) => chosen.push(path.find(vault)?),
            (Ok(_), Some(_)) => {
                return Err(Problem::usage("that is a point, and --older-than chooses points", "name its machine"));
            }
            (Err(_), None) => {
                return Err(Problem::usage("that is a machine", "name points of it, or add --older-than 90d"));
            }
            (Err(_), Some(age)) => {
                let before = Timestamp::now().checked_sub(SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX));
                let before = before.unwrap_or(Timestamp::MIN);
                let now = Timestamp::now();
                let mut old = vault.points(what.trim_end_matches('/'))?;
                let newest = old.last().map(|point| point.id.clone());
                // What is protected is not asked for, nor is the newest, so that something is left to restore.
                old.retain(|point| point.time < before && !point.is_protected(now));
                old.retain(|point| arguments.all || newest.as_ref() != Some(&point.id));
                chosen.extend(old);
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|point| seen.insert(point.id.clone()));
    Ok(chosen)
}

/// Tells that something was done with a point.
pub(super) fn tell(global: &Global, message: &str, words: &str, point: &PointInfo) -> Result<(), Problem> {
    let path = format!("{}/{}", point.machine, point.name);
    if global.json {
        return output::json(&json!({"message_type": message, "point": path, "id": point.id}));
    }
    if global.quiet { Ok(()) } else { output::line(&format!("{path} {words}")) }
}
