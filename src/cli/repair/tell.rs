//! What a repair would do and what it did, as people and programs read it.

use icecore::vault::{DamagedRange, RepairPlan, RepairReport};
use serde_json::{Value, json};

use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::hits;
use crate::cli::human;
use crate::cli::output::{self, Output};
use crate::cli::problem::{Problem, Sentence};

/// Tells what was found and what would be done.
pub fn planned(plan: &RepairPlan, writes: bool, global: &Global) -> Result<(), Problem> {
    let mut out = Output::open();
    if global.json {
        out.json(&plan_json(plan, writes))?;
        return out.flush();
    }
    let mut line = |text: String| out.line(&human::escaped(text.as_bytes()));
    for damage in &plan.damage {
        line(damage.to_string())?;
    }
    for folder in &plan.folders {
        line(format!("{folder} is gone: is made again, empty"))?;
    }
    let state = |is_absent: bool| if is_absent { "gone" } else { "damaged" };
    for object in &plan.objects {
        line(format!("{} is {}: comes back {}", object.object, state(object.is_absent), object.from))?;
    }
    for one in &plan.mended {
        let parts = [(one.parity_bytes, "computed from parity"), (one.foreign_bytes, "from elsewhere")];
        let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
        let parts: Vec<String> = parts.map(|(bytes, what)| format!("{} of it {what}", human::size(*bytes))).collect();
        let (all, state) = (human::size(one.bytes), state(one.is_absent));
        line(format!("{} is {state}: can be made whole ({})", one.object, [vec![all], parts].concat().join(", ")))?;
    }
    for parity in &plan.parity {
        line(format!("{} is {}: is made anew, {}", parity.object, state(parity.is_absent), parity.from))?;
    }
    if plan.records > 0 {
        let records = human::count(plan.records, "record", "records");
        let (size, disks, moved) = (human::size(plan.record_bytes), plan.records_from_disks, plan.records_moved);
        let copies = plan.records - disks - moved;
        let parts = [(copies, "from copies"), (disks, "from disks"), (moved, "out of segments that stay damaged")];
        line(format!("{records} ({size}) can be stored anew: {}", listed(&parts)))?;
    }
    for hit in &plan.regained {
        line(format!("can be read again: {}", range(hit)))?;
    }
    for hit in &plan.lost {
        line(format!("stays lost: {}", range(hit)))?;
    }
    for damage in &plan.remaining {
        line(format!("stays as it is: {damage}"))?;
    }
    for object in &plan.left_damaged {
        let why = if plan.with_keys && plan.lost.is_empty() {
            "stays damaged; no point needs what is damaged there"
        } else {
            "stays damaged"
        };
        line(format!("{object} {why}"))?;
    }
    found_lines(plan, &mut line)?;
    if !global.quiet {
        for copy in plan.copies.iter().filter(|copy| copy.lacks > 0) {
            let lacks = human::count(copy.lacks, "segment", "segments");
            line(format!(
                "{} does not have {lacks} of this vault: it is older, or lost some itself",
                copy.path.display()
            ))?;
        }
        let segments = human::count(plan.segments, "segment", "segments");
        let points = human::count(plan.points, "point", "points");
        let of_points = if plan.with_keys { format!(" and {points}") } else { String::new() };
        let size = human::size(plan.bytes);
        line(format!("looked at {segments}{of_points}: {size} in {:.1} s", plan.seconds))?;
        if !plan.with_keys {
            line(
                "No key was used: which points are hit, and what a copy holds of them, only a key can tell.".to_owned(),
            )?;
        }
        if plan.only_elsewhere > 0 {
            let files =
                human::count(plan.only_elsewhere, "segment or newest entry is", "segments or newest entries are");
            line(format!(
                "{files} in a copy and not here: lost, removed by `icecore gc`, or made up, which only a key can tell; --gone \
                 brings back"
            ))?;
        }
        if plan.with_keys && !plan.data_opened && !plan.copies.is_empty() {
            line("This key does not open data: of a copy it takes whole segments, and no single chunks.".to_owned())?;
        }
        if plan.damage.is_empty() && plan.regained.is_empty() && plan.lost.is_empty() {
            line("nothing is damaged".to_owned())?;
        }
    }
    out.flush()
}

fn found_lines(plan: &RepairPlan, line: &mut impl FnMut(String) -> Result<(), Problem>) -> Result<(), Problem> {
    for path in &plan.found {
        let what = if plan.adopted.contains(path) { "is entered into the catalog" } else { "has no catalog entry" };
        line(format!("found in a segment: {path} {what}"))?;
    }
    if !plan.found.is_empty() && plan.adopted.is_empty() {
        line("read found points with --salvage; --adopt enters those that are whole".to_owned())?;
    }
    Ok(())
}

fn range(hit: &DamagedRange) -> String {
    let DamagedRange { machine, point, disk, range } = hit;
    format!("{machine}/{point} disk {disk} bytes {}..{}", range.start, range.end)
}

fn plan_json(plan: &RepairPlan, writes: bool) -> Value {
    let objects = plan.objects.iter();
    let mended = plan.mended.iter();
    json!({
        "message_type": "plan",
        "write": writes,
        "with_keys": plan.with_keys,
        "segments": plan.segments,
        "points": plan.points,
        "bytes": plan.bytes,
        "seconds": plan.seconds,
        "damage": hits::told(&plan.damage),
        "folders": plan.folders,
        "objects": objects.map(|one| json!({"object": one.object, "from": one.from, "absent": one.is_absent})).collect::<Vec<_>>(),
        "mended": mended.map(|one| json!({
            "object": one.object, "absent": one.is_absent, "bytes": one.bytes, "parity_bytes": one.parity_bytes,
            "foreign_bytes": one.foreign_bytes,
        })).collect::<Vec<_>>(),
        "parity": plan.parity.iter().map(|one| json!({"object": one.object, "absent": one.is_absent})).collect::<Vec<_>>(),
        "records": plan.records,
        "record_bytes": plan.record_bytes,
        "records_from_disks": plan.records_from_disks,
        "records_moved": plan.records_moved,
        "regained": hits::json(&plan.regained),
        "lost": hits::json(&plan.lost),
        "remaining": hits::told(&plan.remaining),
        "left_damaged": plan.left_damaged,
        "only_elsewhere": plan.only_elsewhere,
        "found": plan.found,
        "adopted": plan.adopted,
        "copies": plan.copies.iter().map(|copy| json!({
            "path": copy.path.to_string_lossy(), "lacks": copy.lacks, "alone": copy.alone,
        })).collect::<Vec<_>>(),
        "ends_whole": plan.ends_whole(),
    })
}

/// Those of some numbers that are not zero, each with what it counts.
fn listed(parts: &[(u64, &str)]) -> String {
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// How a run ends that wrote nothing.
pub fn end_of_plan(plan: &RepairPlan) -> Result<Exit, Problem> {
    if !plan.has_work() && plan.ends_whole() {
        return Ok(Exit::Done);
    }
    let damage = match plan.damage.len() {
        0 => "something is gone".to_owned(),
        places => human::count(places as u64, "damaged place", "damaged places"),
    };
    let safe = "nothing was changed";
    let (happened, next) = match (plan.has_work(), plan.ends_whole()) {
        _ if plan.has_lost_catalog() => {
            ("the catalog lists no point, and there are some".to_owned(), "add --adopt --write to enter them")
        }
        (true, true) => (format!("{damage}, and all that points need can be had again"), "add --write to do it"),
        (true, false) => (
            format!("{damage}, and a part of it can be had again"),
            "add --write to do it, and other sources with --from and --from-disk",
        ),
        (false, _) => (
            format!("{damage}, and nothing of it can be had again from here"),
            "give a copy of the vault with --from, or an original disk with --from-disk, or back the machines up again",
        ),
    };
    Err(Problem::said(Exit::Failed, Sentence::new(happened, safe, next)))
}

/// Tells what was done.
pub fn done(plan: &RepairPlan, report: &RepairReport, global: &Global) -> Result<Exit, Problem> {
    if global.json {
        output::json(&json!({
            "message_type": "summary",
            "objects": report.objects,
            "mended": report.mended,
            "mended_bytes": report.mended_bytes,
            "parity": report.parity,
            "records": report.records,
            "record_bytes": report.record_bytes,
            "adopted": report.adopted,
            "failures": hits::told(&report.failures),
            "whole": plan.ends_whole() && report.failures.is_empty(),
            "seconds": report.seconds,
        }))?;
    } else {
        for failure in &report.failures {
            output::warning(&failure.to_string(), false);
        }
        if !global.quiet {
            let mut done = Vec::new();
            if report.mended > 0 {
                let segments = human::count(report.mended, "segment", "segments");
                done.push(format!("made {segments} whole ({})", human::size(report.mended_bytes)));
            }
            if report.parity > 0 {
                done.push(format!("made parity of {} anew", human::count(report.parity, "segment", "segments")));
            }
            if report.objects > 0 {
                done.push(format!("brought back {}", human::count(report.objects, "other file", "other files")));
            }
            if report.records > 0 {
                let records = human::count(report.records, "record", "records");
                done.push(format!("stored {records} anew ({})", human::size(report.record_bytes)));
            }
            if done.is_empty() {
                done.push("made what was missing".to_owned());
            }
            output::line(&format!("{} in {:.1} s", done.join(", "), report.seconds))?;
            if report.adopted > 0 {
                output::line(&format!("entered {} into the catalog", human::count(report.adopted, "point", "points")))?;
            }
        }
    }
    if plan.ends_whole() && report.failures.is_empty() {
        return Ok(Exit::Done);
    }
    if plan.has_lost_catalog() {
        let (happened, next) = ("the catalog lists no point, and there are some", "enter them with --adopt --write");
        return Err(Problem::said(Exit::Incomplete, Sentence::new(happened, "what was repaired is safe", next)));
    }
    let left = plan.lost.len() + plan.remaining.len() + report.failures.len();
    let left = human::count(left.max(1) as u64, "thing stays", "things stay");
    let next =
        "give a copy of the vault with --from, or an original disk with --from-disk, or back the machines up again";
    let safe = "what was repaired is safe, and what was not is as it was";
    Err(Problem::said(Exit::Incomplete, Sentence::new(format!("{left} lost or damaged"), safe, next)))
}
