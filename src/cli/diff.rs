//! `icecore diff`

use clap::Args;
use icecore::point::ByteRange;
use serde::Serialize;

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::paths::PointPath;
use super::problem::Problem;
use icecore::error::Error;

const EXAMPLES: &str = "\
Examples:
  icecore diff web01/2026-11-19T02-00-00Z web01/latest
  icecore diff web01/3f9a01c2 web02/latest --disk os --json";

/// Tell which ranges of the disks of two points differ
///
/// Tells which ranges of each disk differ between two recovery points, to the chunk, without reading the disks. Equal
/// points and different ones both end with 0.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// One point
    #[arg(value_name = "MACHINE/POINT")]
    a: PointPath,
    /// The other
    #[arg(value_name = "MACHINE/POINT")]
    b: PointPath,
    /// Compare this disk only
    #[arg(long, value_name = "NAME")]
    disk: Option<String>,
}

/// How a disk differs.
#[derive(Debug, Serialize)]
struct DiskDiff {
    disk: String,
    /// Its size in either point, in bytes; none where that point has no such disk.
    size_bytes: [Option<u64>; 2],
    /// Bytes in the ranges that differ; none where one side has no such disk.
    differing_bytes: Option<u64>,
    ranges: Vec<ByteRange>,
}

#[derive(Serialize)]
struct Diff<'a> {
    a: &'a str,
    b: &'a str,
    disks: &'a [DiskDiff],
}

/// Compares.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let (a, b) = (arguments.a.find(&vault)?, arguments.b.find(&vault)?);
    let manifests = (vault.manifest(&a)?, vault.manifest(&b)?);
    let wanted = |name: &str| arguments.disk.as_deref().is_none_or(|disk| disk == name);
    let mut names: Vec<&str> = manifests.0.disks.iter().map(|disk| disk.name.as_str()).collect();
    names.extend(
        manifests.1.disks.iter().map(|disk| disk.name.as_str()).filter(|name| manifests.0.disk(name).is_none()),
    );
    names.retain(|name| wanted(name));
    if let (Some(disk), true) = (&arguments.disk, names.is_empty()) {
        return Err(Error::UnknownDisk { point: a.name.clone(), disk: disk.clone() }.into());
    }
    let mut disks = Vec::new();
    for name in names {
        let size = [&manifests.0, &manifests.1].map(|manifest| manifest.disk(name).map(|disk| disk.size_bytes));
        let ranges = if size.iter().all(Option::is_some) { Some(vault.diff((&a, name), (&b, name))?) } else { None };
        disks.push(DiskDiff {
            disk: name.to_owned(),
            size_bytes: size,
            differing_bytes: ranges.as_ref().map(|ranges| ranges.iter().map(ByteRange::bytes).sum()),
            ranges: ranges.unwrap_or_default(),
        });
    }
    let (a, b) = (format!("{}/{}", a.machine, a.name), format!("{}/{}", b.machine, b.name));
    if global.json {
        output::json(&Diff { a: &a, b: &b, disks: &disks })?;
    } else {
        tell(&a, &b, &disks)?;
    }
    Ok(Exit::Done)
}

fn tell(a: &str, b: &str, disks: &[DiskDiff]) -> Result<(), Problem> {
    let mut out = Output::open();
    for diff in disks {
        let disk = &diff.disk;
        match (diff.size_bytes, diff.differing_bytes) {
            ([Some(_), None], _) => out.line(&format!("{disk}: only in {a}"))?,
            ([None, _], _) => out.line(&format!("{disk}: only in {b}"))?,
            ([Some(before), Some(after)], differing) => {
                let size = if before == after {
                    human::size(after)
                } else {
                    format!("{} now {}", human::size(before), human::size(after))
                };
                let differing = differing.unwrap_or(0);
                let ranges = human::count(diff.ranges.len() as u64, "range", "ranges");
                let what = if differing == 0 {
                    "equal".to_owned()
                } else {
                    format!("{} differ in {ranges}", human::size(differing))
                };
                out.line(&format!("{disk} ({size}): {what}"))?;
            }
        }
        for range in &diff.ranges {
            out.line(&format!("  {}..{}  {}", range.start, range.end, human::size(range.bytes())))?;
        }
    }
    out.flush()
}
