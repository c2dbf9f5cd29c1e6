//! `icecore forget`

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use icecore::point::PointInfo;
use icecore::policy::{Decision, Retention, is_future};
use icecore::vault::Documents;
use icecore::{Error, Vault};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::arguments::Global;
use super::duration;
use super::exit::Exit;
use super::output::{self, Output};
use super::paths::PointPath;
use super::problem::{Problem, Sentence};
use super::seen;

const EXAMPLES: &str = "\
Examples:
  icecore forget web01/2026-11-20T02-00-00Z
  icecore forget web01 --keep daily=7,weekly=4,monthly=12 --dry-run
  icecore forget web01 --older-than 90d --reason 'kept for 90 days' && icecore gc
  icecore forget --all-machines --policy && icecore gc";

/// Forget points; they can be brought back for a time
///
/// A forgotten point is listed no more and goes from the mount, but stays whole in the vault for the vault's grace time (14
/// days, unless `icecore soft-delete` says otherwise): `icecore points --deleted` lists it, `icecore undelete` brings it back.
/// After that, `icecore gc` purges it and gives back its space.
///
/// With --keep, of each hour, day, week, month and year the last point stands for it, and so many of them stay: the list
/// says of every point why it stays or goes, and the reason is recorded. With --policy, the rules and the time zone are those
/// of each machine's policy, whose name is recorded too. A point of a time that is still to come stays, and stands for nothing.
///
/// Prints the exact list before it does anything. Protected points stay, and so does the last point of a machine, unless
/// --all says so. Needs a key of role admin, whose signature others can check: a stolen backup key forgets nothing.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The points, as MACHINE/POINT; or machines, with --older-than, --keep or --policy
    #[arg(value_name = "MACHINE[/POINT]", required_unless_present = "all_machines")]
    what: Vec<String>,
    /// Of the machines that are named, forget the points that are older than that, as 90d or 8w
    #[arg(long, value_name = "AGE", value_parser = duration::parse_days)]
    older_than: Option<Duration>,
    /// Of the machines that are named, forget all but these, as last=5,hourly=24,daily=7,weekly=4,monthly=12,yearly=10; also
    /// min-age=2d and max-age=10y
    #[arg(long, value_name = "RULES", value_parser = parse_keep, conflicts_with = "older_than")]
    keep: Option<Retention>,
    /// Of the machines that are named, forget what their policies do not keep
    #[arg(long, conflicts_with_all = ["older_than", "keep"])]
    policy: bool,
    /// Of all machines that are under a policy
    #[arg(long, requires = "policy", conflicts_with = "what")]
    all_machines: bool,
    /// Whose days and weeks those are, as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone, requires = "keep")]
    time_zone: TimeZone,
    /// Why, for those who see it in `icecore points --deleted`
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Forget the last point of a machine too; --keep and --policy keep it all the same
    #[arg(long)]
    all: bool,
    /// Only print the list
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Rules for what to keep.
pub(super) fn parse_keep(text: &str) -> Result<Retention, String> {
    text.parse().map_err(|error: Error| match error {
        Error::Invalid { value, rule, .. } => format!("{value}: {rule}"),
        other => other.to_string(),
    })
}

fn parse_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| "name it as Europe/Berlin or UTC".to_owned())
}

/// What becomes of a point, and why.
struct Chosen {
    point: Arc<PointInfo>,
    goes: bool,
    why: String,
}

/// Forgets them, one after the other.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let chosen = chosen(arguments, &vault)?;
    let mut out = Output::open();
    // The exact list before anything is done.
    tell_list(&mut out, &chosen, arguments, global)?;
    let going: Vec<&Chosen> = chosen.iter().filter(|one| one.goes).collect();
    if arguments.dry_run || going.is_empty() {
        if going.is_empty() && !global.quiet && !global.json {
            out.line("there is nothing to forget")?;
        }
        return out.flush().map(|()| Exit::Done);
    }
    let mut done: Vec<String> = Vec::new();
    let ended = going.iter().try_for_each(|Chosen { point, why, .. }| {
        let gone = vault.forget(point, why, arguments.all)?;
        let path = point.path();
        if global.json {
            let until = gone.forgotten.as_ref().map(|forgotten| forgotten.until);
            out.json(&json!({"message_type": "forgotten", "point": path, "id": point.id, "until": until, "why": why}))?;
        }
        done.push(path);
        Ok::<(), Problem>(())
    });
    seen::look(&vault, global.json, false);
    if let Err(problem) = ended {
        if !done.is_empty() && !global.json {
            output::notice(&format!("forgotten before this failed: {}", done.join(", ")), false);
        }
        return Err(problem);
    }
    if !global.json && !global.quiet {
        let points = super::human::count(going.len() as u64, "point", "points");
        let until = match vault.soft_delete()?.grace_seconds {
            0 => "until `icecore gc` gives back the space, `icecore undelete` brings back".to_owned(),
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

fn tell_list(out: &mut Output, chosen: &[Chosen], arguments: &Arguments, global: &Global) -> Result<(), Problem> {
    if global.json {
        let all: Vec<_> = chosen
            .iter()
            .map(|one| json!({"point": one.point.path(), "id": one.point.id, "forget": one.goes, "why": one.why}))
            .collect();
        let message = if arguments.dry_run { "would_forget" } else { "forgetting" };
        out.json(&json!({"message_type": message, "points": all}))?;
        return out.flush();
    }
    if global.quiet {
        return Ok(());
    }
    let verb = if arguments.dry_run { "would forget" } else { "forgetting" };
    for Chosen { point, goes, why } in chosen {
        let (verb, why) = (if *goes { verb } else { "keeping" }, if why.is_empty() { "" } else { &format!(": {why}") });
        out.line(&format!(
            "{verb} {}/{} ({}){}",
            point.machine,
            point.name,
            &point.id[..8],
            super::human::escaped(why.as_bytes())
        ))?;
    }
    out.flush()
}

/// The points that are meant, each once; with rules for what to keep also those that stay.
fn chosen(arguments: &Arguments, vault: &Vault) -> Result<Vec<Chosen>, Problem> {
    let mut chosen: Vec<Chosen> = Vec::new();
    let by_rule = arguments.older_than.is_some() || arguments.keep.is_some() || arguments.policy;
    let documents = if arguments.policy { vault.documents()? } else { Documents::default() };
    let described = if arguments.all_machines { under_policies(vault, &documents)? } else { Vec::new() };
    for what in arguments.what.iter().chain(&described) {
        match what.parse::<PointPath>() {
            Ok(path) if !by_rule => {
                chosen.push(Chosen { point: path.find(vault)?, goes: true, why: arguments.reason.clone() });
            }
            Ok(_) => return Err(Problem::usage("that is a point, and a rule chooses points", "name its machine")),
            Err(_) if !by_rule => {
                return Err(Problem::usage(
                    "that is a machine",
                    "name points of it, or add --policy, --keep or --older-than",
                ));
            }
            Err(_) => {
                let machine = what.trim_end_matches('/');
                if arguments.policy {
                    documents.policy_of(machine)?;
                }
                let points = vault.points(machine)?;
                chosen.extend(match (&arguments.keep, arguments.older_than) {
                    _ if arguments.policy => by_policy(&documents, machine, arguments, vault, points)?,
                    (Some(keep), _) => by_rules(keep, &arguments.time_zone, arguments, vault, points),
                    (None, age) => by_age(age.unwrap_or_default(), arguments, points),
                });
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|one| seen.insert(one.point.id.clone()));
    spare_locked(&mut chosen, by_rule, vault)?;
    Ok(chosen)
}

/// What a locked policy keeps stays, where a rule chose it. Who names such a point is told before anything is done.
fn spare_locked(chosen: &mut [Chosen], by_rule: bool, vault: &Vault) -> Result<(), Problem> {
    let mut kept = std::collections::HashMap::new();
    for one in chosen.iter_mut().filter(|one| one.goes) {
        let machine = &one.point.machine;
        if !kept.contains_key(machine) {
            kept.insert(machine.clone(), vault.kept_by_lock(machine)?);
        }
        let Some(why) = kept.get(machine).and_then(|kept| kept.get(&one.point.id)) else { continue };
        if !by_rule {
            let point = format!("{machine}/{}", one.point.name);
            return Err(Problem::said(
                Exit::Failed,
                Sentence::new(
                    format!("{point} is kept: {why}"),
                    "nothing was forgotten",
                    "until then nobody forgets it, but as the policy's own rules let it go",
                ),
            ));
        }
        (one.goes, one.why) = (false, why.clone());
    }
    Ok(())
}

/// The machines that are under a policy and have points.
fn under_policies(vault: &Vault, documents: &Documents) -> Result<Vec<String>, Problem> {
    let mut machines = Vec::new();
    for name in documents.machines() {
        if documents.machine(name)?.policy.is_some() && !vault.points(name).unwrap_or_default().is_empty() {
            machines.push(name.to_owned());
        }
    }
    Ok(machines)
}

/// What a machine's policy says of its points.
fn by_policy(
    documents: &Documents,
    machine: &str,
    arguments: &Arguments,
    vault: &Vault,
    points: Vec<Arc<PointInfo>>,
) -> Result<Vec<Chosen>, Problem> {
    let (name, policy) = documents.policy_of(machine)?;
    let mut chosen = by_rules(&policy.retention, &policy.zone()?, arguments, vault, points);
    for one in &mut chosen {
        one.why = format!("{} (policy {name})", one.why);
    }
    Ok(chosen)
}

/// What rules for what to keep say of the points of a machine.
fn by_rules(
    keep: &Retention,
    zone: &TimeZone,
    arguments: &Arguments,
    vault: &Vault,
    points: Vec<Arc<PointInfo>>,
) -> Vec<Chosen> {
    let now = Timestamp::now();
    let decisions = keep.decide(&vault.facts(&points, now), now, zone);
    let decided = |(point, decision): (Arc<PointInfo>, Decision)| {
        let said = match arguments.reason.as_str() {
            reason if !decision.keep && !reason.is_empty() => format!("{reason}; {}", decision.reasons()),
            _ => decision.reasons(),
        };
        Chosen { point, goes: !decision.keep, why: said }
    };
    points.into_iter().zip(decisions).map(decided).collect()
}

/// The points of a machine that are older than an age.
fn by_age(age: Duration, arguments: &Arguments, mut points: Vec<Arc<PointInfo>>) -> Vec<Chosen> {
    let now = Timestamp::now();
    let before =
        now.checked_sub(SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MIN);
    // One of a time to come is not the newest: what is older would go.
    let newest = points.iter().rfind(|point| !is_future(point.time, now)).map(|point| point.id.clone());
    // What is protected is not asked for, nor is the newest, so that something is left to restore.
    points.retain(|point| point.time < before && !point.is_protected(now));
    points.retain(|point| arguments.all || newest.as_ref() != Some(&point.id));
    let why = match arguments.reason.as_str() {
        "" => format!("older than {}", duration::words(age.as_secs())),
        reason => reason.to_owned(),
    };
    points.into_iter().map(|point| Chosen { point, goes: true, why: why.clone() }).collect()
}

/// Tells that something was done with a point.
pub(super) fn tell(global: &Global, message: &str, words: &str, point: &PointInfo) -> Result<(), Problem> {
    let path = point.path();
    if global.json {
        return output::json(&json!({"message_type": message, "point": path, "id": point.id}));
    }
    if global.quiet { Ok(()) } else { output::line(&format!("{path} {words}")) }
}
