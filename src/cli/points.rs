//! `icecore points`

use clap::Args;
use icecore::Vault;
use icecore::point::{ChainHead, Manifest, PointInfo, Until};
use serde_json::{Value, json};

use super::arguments::Global;
use super::details;
use super::duration;
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::paths::PointPath;
use super::problem::Problem;
use super::salvage::Salvage;

const EXAMPLES: &str = "\
Examples:
  icecore points
  icecore points web01
  icecore points web01/latest
  icecore points --deleted
  icecore points --head > /mnt/usb/heads
  icecore points web01 --json | jq -r '.[-1].point'";

/// List recovery points
///
/// Lists recovery points, oldest first: all, or those of one machine. Times are UTC. Of one point, tells what is in it: the
/// guest's system, and each volume with what it holds and whether it is shown as the guest would see it.
///
/// With --head: a few lines to keep outside of the vault, on paper or on another machine. Given to `icecore verify --expect`,
/// they tell whether anything that was there is gone or was replaced, an older copy of the whole vault included.
///
/// With --json: one array of objects, sizes in bytes; of one point, its `point.json`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// List the points of this machine only, or tell of this point
    #[arg(value_name = "MACHINE[/POINT]")]
    machine: Option<String>,
    #[command(flatten)]
    salvage: Salvage,
    /// List points that were forgotten and can be brought back, and why they were forgotten
    #[arg(long, conflicts_with = "head")]
    deleted: bool,
    /// Print how far each machine's chain of points has come, for `verify --expect`
    #[arg(long)]
    head: bool,
}

/// Lists them. A point that can't be read does not hide the others.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let point = arguments.machine.as_ref().filter(|machine| machine.contains('/'));
    let point: Option<PointPath> = point
        .map(|path| path.parse())
        .transpose()
        .map_err(|rule: &str| Problem::usage("that is neither a machine nor a point", rule))?;
    let vault = global.open_to_read(arguments.salvage)?;
    if arguments.head {
        return heads(&vault, arguments.machine.as_deref(), global);
    }
    if arguments.deleted {
        return deleted(&vault, arguments.machine.as_deref(), global);
    }
    if let Some(point) = point {
        return details::run(&vault, &point, global);
    }
    let machines = arguments.machine.clone().map_or_else(|| vault.machines(), |machine| vec![machine]);
    let mut rows = Vec::new();
    let mut damaged = Vec::new();
    for machine in machines {
        for point in vault.points(&machine)? {
            match vault.manifest(&point) {
                Ok(manifest) => rows.push((point, Some(manifest))),
                Err(error) => {
                    damaged.push(format!("{machine}/{}: {error}", point.name));
                    rows.push((point, None));
                }
            }
        }
    }
    damaged.extend(vault.catalog_damage().into_iter().map(|damage| damage.to_string()));
    let mut out = Output::open();
    if global.json {
        let points: Vec<Value> = rows.iter().map(|(point, manifest)| describe(point, manifest.as_ref())).collect();
        out.json(&points)?;
    } else if rows.is_empty() {
        if !global.quiet {
            let has_records = vault.stats()?.segments > 0;
            let next = if has_records && !arguments.salvage.salvage {
                "no points: look for those that the catalog lost with --salvage"
            } else {
                "no points yet: make one with `icecore backup`"
            };
            out.line(next)?;
        }
    } else {
        table(&mut out, &rows)?;
    }
    out.flush()?;
    for text in &damaged {
        output::warning(text, global.json);
    }
    if !vault.catalog_damage().is_empty() && !arguments.salvage.salvage {
        let text =
            "points that the catalog lost are listed with --salvage; `icecore repair` says what can be had again";
        output::notice(text, global.json);
    }
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Incomplete })
}

/// Lists what can be brought back.
fn deleted(vault: &Vault, machine: Option<&str>, global: &Global) -> Result<Exit, Problem> {
    let now = jiff::Timestamp::now();
    let points = machine.map_or_else(|| vault.all_forgotten(), |machine| vault.forgotten(machine));
    let mut out = Output::open();
    let known = points.iter().filter_map(|point| Some((point, point.forgotten.as_ref()?)));
    if global.json {
        let all: Vec<Value> = known
            .map(|(point, forgotten)| {
                let mut value = describe(point, vault.manifest(point).ok().as_ref());
                value["forgotten"] =
                    json!({"since": forgotten.since, "until": forgotten.until, "reason": forgotten.reason});
                value
            })
            .collect();
        out.json(&all)?;
    } else if points.is_empty() {
        out.line("nothing that was forgotten can be brought back")?;
    } else {
        let mut lines = vec![["POINT", "ID", "FORGOTTEN", "LEFT", "WHY"].map(str::to_owned)];
        lines.extend(known.map(|(point, forgotten)| {
            let left = icecore::vault::time_left(point, now);
            [
                point.path(),
                point.id[..8].to_owned(),
                human::moment(forgotten.since),
                left.map_or_else(|| "until gc".to_owned(), |left| duration::words(left.as_secs().unsigned_abs())),
                forgotten.reason.clone(),
            ]
        }));
        human::columns(&lines, &[]).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn heads(vault: &Vault, machine: Option<&str>, global: &Global) -> Result<Exit, Problem> {
    let mut heads = vault.heads();
    if let Some(machine) = machine {
        // A machine that is not there, or a point, is told so as everywhere.
        vault.points(machine)?;
        heads = heads.of_machine(machine);
    }
    let mut out = Output::open();
    if global.json {
        let chain = |head: &ChainHead| {
            json!({
                "machine": head.machine, "chain": head.chain_hex(), "entries": head.entries, "hash": head.hash_hex(),
            })
        };
        out.json(&json!({"vault": heads.vault, "chains": heads.chains.iter().map(chain).collect::<Vec<_>>()}))?;
    } else {
        out.text(&heads.encode())?;
    }
    out.flush()?;
    // Nobody should keep heads that leave out a machine without knowing it.
    let damage = vault.catalog_damage();
    damage.iter().for_each(|damage| output::warning(&damage.to_string(), global.json));
    Ok(if damage.is_empty() { Exit::Done } else { Exit::Incomplete })
}

fn describe(point: &PointInfo, manifest: Option<&Manifest>) -> Value {
    let mut value = json!({
        "machine": point.machine,
        "point": point.name,
        "id": point.id,
        "path": point.path(),
        "time": point.time,
        "consistency": point.consistency,
        "readable": manifest.is_some(),
        "in_catalog": !point.is_found,
        "protected_until": point.protected.map(protected_until),
    });
    if let (Some(manifest), Some(object)) = (manifest, value.as_object_mut()) {
        object.insert("tags".to_owned(), json!(manifest.tags));
        object.insert("started".to_owned(), json!(manifest.started));
        object.insert("ended".to_owned(), json!(manifest.ended));
        object.insert("disks".to_owned(), json!(manifest.disks));
    }
    value
}

fn protected_until(until: Until) -> Value {
    match until {
        Until::Time(time) => json!(time),
        Until::Ever => json!("ever"),
    }
}

fn table(out: &mut Output, rows: &[(std::sync::Arc<PointInfo>, Option<Manifest>)]) -> Result<(), Problem> {
    let mut lines = vec![["POINT", "ID", "CONSISTENCY", "DISKS", "SIZE", "USED", "STORED", "TAGS"].map(str::to_owned)];
    let now = jiff::Timestamp::now();
    for (point, manifest) in rows {
        let consistency = json!(point.consistency).as_str().unwrap_or_default().to_owned();
        let path = point.path();
        let sum = |part: fn(&icecore::point::ManifestDisk) -> u64| {
            manifest
                .as_ref()
                .map_or_else(|| "?".to_owned(), |manifest| human::size(manifest.disks.iter().map(part).sum()))
        };
        let mut disks = manifest.as_ref().map_or_else(|| "?".to_owned(), names);
        if manifest.as_ref().is_some_and(|manifest| manifest.disks.iter().any(|disk| !disk.missing.is_empty())) {
            disks.push_str(" (incomplete)");
        }
        if point.is_found {
            disks.push_str(" (no catalog entry)");
        }
        if point.is_protected(now) {
            disks.push_str(" (protected)");
        }
        lines.push([
            path,
            point.id[..8].to_owned(),
            consistency,
            disks,
            sum(|disk| disk.size_bytes),
            sum(|disk| disk.size_bytes.saturating_sub(disk.zero_bytes)),
            sum(|disk| disk.stored_bytes),
            manifest.as_ref().map_or_else(String::new, |manifest| manifest.tags.join(",")),
        ]);
    }
    human::columns(&lines, &[4, 5, 6]).iter().try_for_each(|line| out.line(line))
}

fn names(manifest: &Manifest) -> String {
    manifest.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(",")
}
