//! `icecore copy`

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use icecore::point::PointInfo;
use icecore::vault::{CopyOptions, CopyPlan, CopyReport, CopySkip, CopyWanted, CopyWay, OpenOptions};
use icecore::{Error, Vault};
use serde_json::{Value, json};

use super::arguments::{Global, TargetKey};
use super::exit::Exit;
use super::opening::corrected;
use super::output::{self, Output};
use super::problem::{self, Doing, Problem, Sentence};
use super::salvage::Salvage;
use super::signals::{self, Interrupt};
use super::{human, progress, quota, secrets, seen};

const EXAMPLES: &str = "\
Examples:
  icecore copy --to /mnt/usb/vault                     every point that the target lacks
  icecore copy web01 db01/latest --to /mnt/usb/vault   one machine, and one point of another
  icecore copy --to /mnt/usb/vault --dry-run
  ICECORE_TO_KEY_FILE=/root/usb.key icecore copy --to /mnt/usb/vault";

/// Copy points into another vault, which has keys of its own
///
/// Copies every point that is named and that the target lacks; all of them, where none is named. A point keeps its id, time,
/// consistency and tags. What the target has already is not stored again, and what did not change since the point before is
/// not even read: a second copy costs what changed. Interrupted, run it again: it goes on, and no half point is ever listed.
///
/// The target is made by `icecore init`, with chunks of the same size. Needs a key of role restore or admin here, and one of
/// role backup in the target, which comes from the options and variables below, or a prompt. That a point is protected or
/// forgotten is each vault's own: it is not copied, and what was forgotten or purged in the target stays so.
///
/// Where the target is a copy of the same vault, made earlier by copying its files, segments and catalog entries are carried
/// over as they are, with what was forgotten and protected: of each machine everything, so single points can't be named. A copy
/// into which something was backed up, or in which something was forgotten, is refused: it has a history of its own.
///
/// What is damaged here, or beyond the quota of its machine in the target, is told and left out, and the other points go on;
/// then it ends with 3.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Machines, or points of them [default: every machine]
    #[arg(value_name = "MACHINE[/POINT]", value_parser = parse_wanted)]
    what: Vec<CopyWanted>,
    /// The directory of the vault that points are copied to
    #[arg(long, value_name = "DIR", env = "ICECORE_TO_VAULT", value_hint = ValueHint::DirPath)]
    to: PathBuf,
    #[command(flatten)]
    key: TargetKey,
    /// Only print which points would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read every chunk of each point, also where an earlier point that both vaults have has the same
    #[arg(long)]
    read_all: bool,
    /// Do not decode and compare what was stored before a point is acknowledged
    #[arg(long)]
    no_verify: bool,
}

fn parse_wanted(text: &str) -> Result<CopyWanted, String> {
    let wrong = || "write it as MACHINE, or as MACHINE/POINT such as web01/latest".to_owned();
    let (machine, point) = match text.trim_end_matches('/').split_once('/') {
        Some((machine, point)) => (machine, Some(point)),
        None => (text.trim_end_matches('/'), None),
    };
    if machine.is_empty() || point.is_some_and(|point| point.is_empty() || point.contains('/')) {
        return Err(wrong());
    }
    Ok(CopyWanted { machine: machine.to_owned(), point: point.map(str::to_owned) })
}

/// Copies.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    if arguments.to.as_os_str().is_empty() {
        return Err(Problem::usage("no target is named", "give --to DIR"));
    }
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let target = open_target(arguments, &vault, global).map_err(|problem| of_target(problem, &arguments.to))?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    let plan = vault.plan_copy(&target, &arguments.what)?;
    tell_plan(&plan, arguments, global)?;
    if arguments.dry_run {
        return Ok(Exit::Done);
    }
    let options = CopyOptions { reads_all: arguments.read_all, verify: !arguments.no_verify };
    let report =
        progress::shown(global, &interrupt, "copying", |progress| vault.copy_to(&target, &plan, &options, progress));
    // Where files are carried over, it may have been either.
    let report = match is_same_vault(&plan) {
        true => report?,
        false => report.map_err(|problem| of_target(problem, &arguments.to))?,
    };
    if !is_same_vault(&plan) {
        seen::look(&target, global.json, false);
    }
    tell(&plan, &report, global)?;
    // What the catalog can't tell of here was not copied.
    let hides = arguments.what.is_empty() && !vault.catalog_damage().is_empty();
    for damage in vault.catalog_damage().iter().filter(|_| hides) {
        output::warning(&format!("{damage}; a point that it hides was not copied"), global.json);
    }
    let stays = plan.skipped.iter().any(|(point, skip)| *skip != CopySkip::Known && is_named(arguments, point));
    Ok(if report.is_complete() && !hides && !stays { Exit::Done } else { Exit::Incomplete })
}

/// Whether a point of that machine was asked for by itself.
fn is_named(arguments: &Arguments, point: &PointInfo) -> bool {
    let names = |wanted: &CopyWanted| match &wanted.point {
        None => false,
        Some(named) => *named == point.name || named == "latest" || point.id.starts_with(&named.to_ascii_lowercase()),
    };
    arguments.what.iter().any(|wanted| wanted.machine == point.machine && names(wanted))
}

fn is_same_vault(plan: &CopyPlan) -> bool {
    plan.way == CopyWay::Files
}

fn open_target(arguments: &Arguments, vault: &Vault, global: &Global) -> Result<Vault, Problem> {
    let place = Global { vault: Some(arguments.to.clone()), ..global.clone() };
    let path = place.existing_vault()?;
    let credential = secrets::target_credential(&arguments.key, global)?;
    let options = OpenOptions { read_mode: global.read_mode.into(), ..OpenOptions::default() };
    let target = Vault::open(&path, &credential, &options)?;
    let as_json = global.json;
    target.on_correction(move |correction| {
        output::notice(&format!("in the target, {}", corrected(correction)), as_json);
    });
    // An earlier copy of the same vault is behind what was seen of it, as it should be.
    if target.heads().vault != vault.heads().vault {
        seen::look(&target, global.json, true);
    }
    Ok(target)
}

/// Says that it was the target, where a problem would else be taken for the vault's own.
fn of_target(problem: Problem, target: &Path) -> Problem {
    let Problem::Engine(error) = problem else { return problem };
    let exit = Exit::of(&error);
    let sentence = problem::sentence(&error, Doing::Replicating);
    let next = match &error {
        Error::NoVault { .. } => "check --to, or make a vault there with `icecore init`".to_owned(),
        Error::WrongKey { .. } => {
            "check the target's password or key file (ICECORE_TO_PASSWORD_FILE, --to-key-file)".to_owned()
        }
        Error::Damaged(_) => {
            let to = human::escaped(target.as_os_str().as_encoded_bytes());
            format!("run `icecore verify` and `icecore repair` with --vault {to}")
        }
        Error::Interrupted | Error::Invalid { .. } | Error::File { .. } => return Problem::Engine(error),
        _ => sentence.next.clone(),
    };
    Problem::said(exit, Sentence { happened: format!("the target: {}", sentence.happened), next, ..sentence })
}

fn why(skip: CopySkip) -> &'static str {
    match skip {
        CopySkip::Known => "it is there",
        CopySkip::Forgotten => "it was forgotten in the target, where `icecore undelete` brings it back",
        CopySkip::Purged => "it was purged in the target",
    }
}

/// The exact list, before anything is done.
fn tell_plan(plan: &CopyPlan, arguments: &Arguments, global: &Global) -> Result<(), Problem> {
    let path = |point: &PointInfo| point.path();
    if global.json {
        if !arguments.dry_run {
            return Ok(());
        }
        let points: Vec<Value> =
            plan.points.iter().map(|point| json!({"point": path(point), "id": point.id})).collect();
        let skip = |skip: &CopySkip| match skip {
            CopySkip::Known => "known",
            CopySkip::Forgotten => "forgotten",
            CopySkip::Purged => "purged",
        };
        let skipped: Vec<Value> = (plan.skipped.iter())
            .map(|(point, why)| json!({"point": path(point), "id": point.id, "why": skip(why)}))
            .collect();
        return output::json(&json!({
            "message_type": "would_copy",
            "as_files": is_same_vault(plan),
            "points": points,
            "skipped": skipped,
            "entries": plan.entries,
            "segments": plan.segments,
            "segment_bytes": plan.segment_bytes,
        }));
    }
    let mut out = Output::open();
    let mut stay = 0;
    for (point, skip) in &plan.skipped {
        if is_named(arguments, point) {
            let text = format!("{} is not copied: {}", path(point), why(*skip));
            match skip {
                CopySkip::Known if global.quiet => {}
                CopySkip::Known => out.line(&text)?,
                _ => output::warning(&text, false),
            }
        } else {
            stay += u64::from(*skip != CopySkip::Known);
        }
    }
    if global.quiet {
        return out.flush();
    }
    if stay > 0 {
        let points = human::count(stay, "point was", "points were");
        out.line(&format!("{points} forgotten or purged in the target, and not copied again"))?;
    }
    let verb = if arguments.dry_run { "would copy" } else { "copying" };
    for point in &plan.points {
        out.line(&format!("{verb} {}", path(point)))?;
    }
    if is_same_vault(plan) {
        out.line(&format!(
            "{verb} {} ({}) and {} of the same vault as they are",
            human::count(plan.segments, "segment", "segments"),
            human::size(plan.segment_bytes),
            human::count(plan.entries, "catalog entry", "catalog entries"),
        ))?;
    } else if plan.points.is_empty() {
        out.line("there is nothing to copy")?;
    }
    out.flush()
}

fn tell(plan: &CopyPlan, report: &CopyReport, global: &Global) -> Result<(), Problem> {
    let to_repair = "see with `icecore repair` what can be had again";
    for failure in &report.failed {
        let ranges: Vec<String> = (failure.hit.iter())
            .map(|hit| match hit.range.end {
                0 => "all disks".to_owned(),
                end => format!("disk {:?} bytes {}..{end}", hit.disk, hit.range.start),
            })
            .collect();
        let more = if failure.is_all { "" } else { " and more" };
        let hit = if ranges.is_empty() { String::new() } else { format!(": {}{more}", ranges.join(", ")) };
        let next = match (&failure.error, ranges.is_empty()) {
            (Error::OverQuota { .. }, _) => "raise it with `icecore quota set`, or make room in the target",
            (_, true) => "it was purged meanwhile",
            (_, false) => to_repair,
        };
        output::warning(&format!("{} was not copied: {}{hit}; {next}", failure.path, failure.error), global.json);
    }
    for known in &report.quota_warnings {
        output::notice(&quota::sentence(known), global.json);
    }
    for error in &report.left {
        output::warning(&format!("{error}; no catalog entry was copied; {to_repair}"), global.json);
    }
    for disk in &report.refuted {
        let text = format!("what the target has as {disk} is something else than here; nothing was taken over from it");
        output::warning(&text, global.json);
    }
    let (mut read, mut new) = (0, 0);
    for copied in &report.copied {
        read += copied.read_bytes;
        new += copied.new_bytes;
    }
    let path = |point: &PointInfo| point.path();
    if global.json {
        let copied: Vec<Value> = (report.copied.iter())
            .map(|one| {
                json!({"point": path(&one.point), "id": one.point.id, "read_bytes": one.read_bytes, "new_bytes": one.new_bytes})
            })
            .collect();
        let failed: Vec<Value> = (report.failed.iter())
            .map(|one| {
                let hit: Vec<Value> = (one.hit.iter())
                    .map(|hit| json!({"disk": hit.disk, "start": hit.range.start, "end": hit.range.end}))
                    .collect();
                json!({"point": one.path, "error": one.error.to_string(), "hit": hit, "hit_is_all": one.is_all})
            })
            .collect();
        return output::json(&json!({
            "message_type": "copied",
            "as_files": is_same_vault(plan),
            "points": copied,
            "failed": failed,
            "known": report.known,
            "refuted": report.refuted,
            "segments": report.segments,
            "entries": report.entries,
            "left": report.left.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "read_bytes": read,
            "new_bytes": new,
            "added_bytes": report.added_bytes,
            "seconds": report.seconds,
        }));
    }
    if global.quiet || (report.copied.is_empty() && report.entries == 0) {
        return Ok(());
    }
    let points = human::count(report.copied.len() as u64, "point", "points");
    let added = human::size(report.added_bytes);
    output::line(&if is_same_vault(plan) {
        format!(
            "copied {points}, {} and {} in {:.1} s: stored {added}",
            human::count(report.segments, "segment", "segments"),
            human::count(report.entries, "catalog entry", "catalog entries"),
            report.seconds,
        )
    } else {
        format!(
            "copied {points} in {:.1} s: read {} ({}), new {}, stored {added}",
            report.seconds,
            human::size(read),
            human::rate(read, report.seconds),
            human::size(new),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_points_are_told_apart() {
        let wanted = |text: &str| parse_wanted(text).map(|wanted| (wanted.machine, wanted.point));
        assert_eq!(wanted("web01/"), Ok(("web01".to_owned(), None)));
        assert_eq!(wanted("web01/latest"), Ok(("web01".to_owned(), Some("latest".to_owned()))));
        for wrong in ["", "/", "/latest", "a/b/c", "a//b"] {
            assert!(parse_wanted(wrong).is_err(), "{wrong}");
        }
    }
}
