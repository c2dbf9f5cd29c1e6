//! Repairs a vault from a copy of it, and says first what that brings: `repair VAULT PASSWORD_FILE COPY`.

use std::path::Path;

use icecore::Vault;
use icecore::seal::Credential;
use icecore::vault::{RepairProgress, RepairSources};

mod support;

fn main() -> support::Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vault, password, copy] = &arguments[..] else { return Err("usage: VAULT PASSWORD_FILE COPY".into()) };
    let credential = Credential::password(std::fs::read_to_string(password)?.trim_end_matches('\n'));
    let sources = RepairSources::default().copy(Path::new(copy));
    // Nothing is written before `write`.
    let repair = Vault::plan_repair(Path::new(vault), Some(&credential), sources, &RepairProgress::default())?;
    let plan = repair.plan();
    println!("{} segments can be made whole, {} records stored anew", plan.mended.len(), plan.records);
    for hit in &plan.lost {
        let (start, end) = (hit.range.start, hit.range.end);
        println!("{}/{} disk {}: bytes {start}..{end} stay lost", hit.machine, hit.point, hit.disk);
    }
    if plan.has_work() {
        let report = repair.write(&RepairProgress::default())?;
        println!("{} segments, {} records in {:.1} s", report.mended, report.records, report.seconds);
    }
    if plan.ends_whole() { Ok(()) } else { Err("a part stays lost".into()) }
}
