//! What a check found, as people and programs read it.

use std::path::Path;

use icecore::error::Error;
use icecore::point::{Heads, Setback};
use icecore::store::parity::Repair;
use icecore::vault::{Coverage, DamagedSegment, ScrubReport, VerifyReport};
use serde_json::{Map, Value, json};

use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::hits;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::problem::{Problem, Sentence};

/// Tells what a check with keys found.
pub fn verified(report: &VerifyReport, global: &Global) -> Result<Exit, Problem> {
    let mut out = Output::open();
    if global.json {
        let mut summary = coverage_json(&report.coverage);
        summary.extend(members(json!({
            "message_type": "summary",
            "scrub": false,
            "clean": report.is_clean(),
            "segments": report.segments,
            "records": report.records,
            "points": report.points,
            "bytes": report.bytes,
            "chunks_read": report.chunks_read,
            "chunks_located": report.chunks_located,
            "data_opened": report.data_opened,
            "seconds": report.seconds,
            "damage": hits::told(&report.damage),
            "repairs": repairs_json(&report.repairs),
            "parity": hits::told(&report.parity),
            "harmless": hits::told(&report.harmless),
            "spare": hits::told(&report.spare),
            "hit": hits::json(&report.hit),
            "unlisted": report.unlisted,
            "lost_machines": report.lost_machines,
        })));
        out.json(&summary)?;
    } else {
        damage_lines(&mut out, &report.damage)?;
        repair_lines(&mut out, &report.repairs, &report.parity)?;
        for hit in &report.hit {
            let place = format!("{}/{} disk {}", hit.machine, hit.point, hit.disk);
            let text = format!("can't be read: {place} bytes {}..{}", hit.range.start, hit.range.end);
            out.line(&human::escaped(text.as_bytes()))?;
        }
        for point in &report.unlisted {
            let text = format!("{point} has no catalog entry; `icecore repair --adopt` enters it if it is whole");
            out.line(&human::escaped(text.as_bytes()))?;
        }
        for machine in &report.lost_machines {
            let text = format!("{machine} has only such points: perhaps its part of the catalog is lost");
            out.line(&human::escaped(text.as_bytes()))?;
        }
        coverage_lines(&mut out, &report.coverage)?;
        if !global.quiet {
            for spare in &report.spare {
                let text = format!("no point needs it any more: {spare}");
                out.line(&human::escaped(text.as_bytes()))?;
            }
            out.line(&format!(
                "checked {} with {} and {}: {} in {:.1} s ({})",
                looked_at(report.segments, &report.coverage),
                human::count(report.records, "whole record", "whole records"),
                human::count(report.points, "point", "points"),
                human::size(report.bytes),
                report.seconds,
                human::rate(report.bytes, report.seconds),
            ))?;
            if report.coverage.left > 0 {
                let (read, located) = (report.chunks_read, report.chunks_located);
                out.line(&format!("of the chunks that points need: {read} were read, {located} only located"))?;
            }
            rest_lines(&mut out, &report.coverage, &report.harmless)?;
            if !report.data_opened {
                out.line("This key does not open data: chunks were checked by their checksums only.")?;
            }
        }
    }
    out.flush()?;
    match report.is_clean() {
        false => Err(damage_verified(report)),
        true if !report.lost_machines.is_empty() => Ok(Exit::Incomplete),
        true => Ok(end_of(&report.coverage, &report.parity)),
    }
}

/// Tells what a check without keys found.
pub fn scrubbed(report: &ScrubReport, global: &Global) -> Result<Exit, Problem> {
    let mut out = Output::open();
    if global.json {
        let mut summary = coverage_json(&report.coverage);
        summary.extend(members(json!({
            "message_type": "summary",
            "scrub": true,
            "clean": report.is_clean(),
            "segments": report.segments,
            "records": report.records,
            "bytes": report.bytes,
            "seconds": report.seconds,
            "damage": hits::told(&report.damage),
            "repairs": repairs_json(&report.repairs),
            "parity": hits::told(&report.parity),
            "harmless": hits::told(&report.harmless),
        })));
        out.json(&summary)?;
    } else {
        damage_lines(&mut out, &report.damage)?;
        repair_lines(&mut out, &report.repairs, &report.parity)?;
        coverage_lines(&mut out, &report.coverage)?;
        if !global.quiet {
            out.line(&format!(
                "scrubbed {} with {}: {} in {:.1} s ({})",
                looked_at(report.segments, &report.coverage),
                human::count(report.records, "whole record", "whole records"),
                human::size(report.bytes),
                report.seconds,
                human::rate(report.bytes, report.seconds),
            ))?;
            rest_lines(&mut out, &report.coverage, &report.harmless)?;
            out.line(
                "No key was used: only `icecore verify` finds missing and forged files, and names the points hit.",
            )?;
        }
    }
    out.flush()?;
    if report.is_clean() {
        return Ok(end_of(&report.coverage, &report.parity));
    }
    let damage = human::count(report.damage.len() as u64, "damaged place", "damaged places");
    let safe = "points that do not need those bytes are whole";
    let next = if can_all_be_repaired(&report.damage, &report.repairs) {
        "run `icecore repair --no-key`, and check the disk under the vault"
    } else {
        "run `icecore verify` with a key to see which points are hit, see what a copy of the vault brings back with \
         `icecore repair --no-key --from COPY`, and check the disk under the vault"
    };
    Err(Problem::said(Exit::Failed, Sentence::new(format!("scrub found {damage}"), safe, next)))
}

/// Tells which chains went back behind what was expected; that alone ends the check.
pub fn compared(setbacks: &[Setback], file: &Path, heads: &Heads, global: &Global) -> Result<(), Problem> {
    let mut out = Output::open();
    for setback in setbacks {
        if global.json {
            out.json(&json!({
                "message_type": "setback",
                "machine": setback.head.machine,
                "chain": setback.head.chain_hex(),
                "entries": setback.head.entries,
                "certain": setback.is_certain(),
                "message": setback.to_string(),
            }))?;
        } else {
            out.line(&human::escaped(setback.to_string().as_bytes()))?;
        }
    }
    let file = human::escaped(file.as_os_str().as_encoded_bytes());
    let all = heads.chains.len() as u64;
    if setbacks.is_empty() {
        if !global.json && !global.quiet {
            out.line(&format!(
                "every chain went on from where {file} has it: {}",
                human::count(all, "chain", "chains")
            ))?;
        }
        return out.flush();
    }
    out.flush()?;
    let back = setbacks.len() as u64;
    let happened =
        format!("{} of {} did not go on from where {file} has them", back, human::count(all, "chain", "chains"));
    let safe = "the points that are listed are whole as far as nothing else is said";
    let next =
        "find out whether this is an older copy of the vault and who could write to it, and look for a newer copy";
    Err(Problem::said(Exit::Failed, Sentence::new(happened, safe, next)))
}

/// `40 segments`, or `12 of 40 segments (30 %)`.
fn looked_at(looked: u64, coverage: &Coverage) -> String {
    let all = human::count(coverage.segments, "segment", "segments");
    if coverage.left == 0 {
        return all;
    }
    format!("{looked} of {all} ({:.0} %)", 100.0 * human::fraction(looked, coverage.segments))
}

fn damage_lines(out: &mut Output, damage: &[Error]) -> Result<(), Problem> {
    damage.iter().try_for_each(|damage| out.line(&human::escaped(damage.to_string().as_bytes())))
}

/// What can be done for damaged segments, and what is wrong with parity.
fn repair_lines(out: &mut Output, repairs: &[DamagedSegment], parity: &[Error]) -> Result<(), Problem> {
    for segment in repairs {
        let text = match segment.repair {
            Repair::Possible => "can be repaired: run `icecore repair`",
            Repair::BeyondParity => "is damaged beyond what its parity can repair",
            Repair::NoParity => "has no parity that could repair it",
        };
        out.line(&format!("{} {text}", segment.object))?;
    }
    for error in parity {
        let text = format!("parity, no data is lost: {error}");
        out.line(&human::escaped(text.as_bytes()))?;
    }
    Ok(())
}

/// Whether parity mends everything that is damaged.
fn can_all_be_repaired(damage: &[Error], repairs: &[DamagedSegment]) -> bool {
    let can = |object: &str| repairs.iter().any(|one| one.object == object && one.repair == Repair::Possible);
    damage.iter().all(|error| error.object().is_some_and(can))
}

fn repairs_json(repairs: &[DamagedSegment]) -> Vec<Value> {
    let name = |repair| match repair {
        Repair::Possible => "possible",
        Repair::BeyondParity => "beyond-parity",
        Repair::NoParity => "no-parity",
    };
    repairs.iter().map(|segment| json!({ "object": segment.object, "repair": name(segment.repair) })).collect()
}

/// How a run ends that found no damage of data. Damage that it did not look at is still there, for all that is known, and
/// parity that is damaged mends nothing.
fn end_of(coverage: &Coverage, parity: &[Error]) -> Exit {
    if coverage.damaged_before.is_empty() && parity.is_empty() { Exit::Done } else { Exit::Incomplete }
}

/// Damage that is only remembered.
fn coverage_lines(out: &mut Output, coverage: &Coverage) -> Result<(), Problem> {
    coverage.damaged_before.iter().try_for_each(|object| {
        out.line(&format!("{object} was damaged when it was last checked; this run did not look at it"))
    })
}

/// What is known of what was not looked at, and what a person may want to know of the run.
fn rest_lines(out: &mut Output, coverage: &Coverage, harmless: &[Error]) -> Result<(), Problem> {
    if coverage.left > 0 {
        let mut parts = Vec::new();
        if coverage.time_is_up {
            parts.push("the time was up".to_owned());
        }
        if let Some(oldest) = coverage.oldest_check {
            parts.push(format!("oldest check of the rest: {}", human::moment(oldest)));
        }
        parts.push(format!("never checked: {}", coverage.never_checked));
        out.line(&parts.join("; "))?;
    }
    for harmless in harmless {
        let text = format!("harmless, as it is made again when it is needed: {harmless}");
        out.line(&human::escaped(text.as_bytes()))?;
    }
    if let Some(error) = &coverage.not_remembered {
        let text = format!("The next run will not know what this one checked: {error}");
        out.line(&human::escaped(text.as_bytes()))?;
    }
    Ok(())
}

fn coverage_json(coverage: &Coverage) -> Map<String, Value> {
    members(json!({
        "segments_in_vault": coverage.segments,
        "segments_left": coverage.left,
        "never_checked": coverage.never_checked,
        "oldest_check": coverage.oldest_check.map(|time| time.to_string()),
        "damaged_before": coverage.damaged_before,
        "time_is_up": coverage.time_is_up,
        "remembered": coverage.not_remembered.is_none(),
    }))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn damage_verified(report: &VerifyReport) -> Problem {
    let mut points: Vec<_> = report.hit.iter().map(|hit| (&hit.machine, &hit.point)).collect();
    points.sort_unstable();
    points.dedup();
    let hit = points.len() as u64;
    let damage = human::count(report.damage.len().max(1) as u64, "damaged place", "damaged places");
    let whole = report.points.saturating_sub(hit);
    let points = human::count(report.points, "point", "points");
    let safe = match (report.coverage.left, report.points) {
        (0, 1) => format!("{whole} of {points} is whole"),
        (0, _) => format!("{whole} of {points} are whole"),
        _ => format!("{whole} of {points} met no damage in what was looked at"),
    };
    let next = if hit == 0 && can_all_be_repaired(&report.damage, &report.repairs) {
        "run `icecore repair`, and check the disk under the vault"
    } else if hit == 0 {
        "see what can be had again with `icecore repair`, and check the disk under the vault"
    } else {
        "see what can be had again with `icecore repair`, from a copy of the vault or the original disks, or back the \
         machines up again, and check the disk under the vault"
    };
    Problem::said(Exit::Failed, Sentence::new(format!("verify found {damage}"), safe, next))
}
