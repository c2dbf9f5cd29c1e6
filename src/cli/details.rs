//! `icecore points MACHINE/POINT`: all that is known of one point, which is what its `point.json` says.

use icecore::Vault;
use icecore::error::Error;
use icecore_fuse::ReadOnlyTree;
use serde_json::Value;

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::output::Output;
use super::paths::PointPath;
use super::problem::Problem;

/// Tells it.
pub fn run(vault: &Vault, path: &PointPath, global: &Global) -> Result<Exit, Problem> {
    let point = path.find(vault)?;
    let path = point.path();
    let text = read(vault, &format!("{path}/point.json"))?;
    let json: Value = serde_json::from_slice(&text).unwrap_or_default();
    let mut out = Output::open();
    if global.json {
        out.json(&json)?;
    } else {
        tell(&mut out, &path, &json)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// A small file of the tree's own.
fn read(vault: &Vault, path: &str) -> Result<Vec<u8>, Error> {
    let tree = vault.tree();
    let node = tree.resolve(path, true)?;
    let size = tree.attributes(node)?.size_bytes;
    let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    let length = tree.read(node, 0, &mut text)?;
    text.truncate(length);
    Ok(text)
}

fn tell(out: &mut Output, path: &str, json: &Value) -> Result<(), Problem> {
    let mut facts = vec![
        ["point".to_owned(), path.to_owned()],
        ["id".to_owned(), text(json, "/point")],
        ["consistency".to_owned(), text(json, "/consistency")],
        ["read from".to_owned(), text(json, "/quiesced/read")],
        ["scripts".to_owned(), text(json, "/quiesced/scripts")],
        ["script failure".to_owned(), text(json, "/quiesced/failure")],
    ];
    let guest = [
        ("system", "/guest/os"),
        ("host name", "/guest/host_name"),
        ("architecture", "/guest/architecture"),
        ("boots next", "/guest/boots_next"),
        ("time zone", "/guest/time_zone"),
    ];
    facts.extend(guest.map(|(name, pointer)| [name.to_owned(), text(json, pointer)]));
    let kernels: Vec<&str> = list(json, "/guest/kernels").filter_map(Value::as_str).collect();
    facts.push(["kernels".to_owned(), kernels.join(", ")]);
    facts.extend(list(json, "/guest/unreadable").map(|line| ["unreadable".to_owned(), string(line)]));
    for disk in list(json, "/volumes") {
        let problem = |problem| ["problem".to_owned(), format!("{}: {}", text(disk, "/disk"), string(problem))];
        facts.extend(list(disk, "/problems").map(problem));
    }
    facts.retain(|[_, value]| !value.is_empty());
    human::columns(&facts, &[]).iter().try_for_each(|line| out.line(line))?;

    let mut rows = vec![["VOLUME", "CONTENT", "LABEL", "UUID", "SIZE", "USED", "MOUNTED", "STATE"].map(str::to_owned)];
    for disk in list(json, "/volumes") {
        rows.extend(list(disk, "/volumes").map(|volume| row(json, &text(disk, "/disk"), volume)));
    }
    out.line("")?;
    human::columns(&rows, &[4, 5]).iter().try_for_each(|line| out.line(line))
}

fn row(json: &Value, disk: &str, volume: &Value) -> [String; 8] {
    let name = format!("{disk}/{}", text(volume, "/name"));
    let mounts = json.pointer("/guest/mounts").and_then(Value::as_object);
    let mounted = mounts.and_then(|mounts| mounts.iter().find(|(_, volume)| volume.as_str() == Some(&name)));
    let size = |pointer| volume.pointer(pointer).and_then(Value::as_u64).map(human::size).unwrap_or_default();
    [
        name.clone(),
        text(volume, "/content"),
        text(volume, "/label"),
        text(volume, "/uuid"),
        size("/size_bytes"),
        size("/used_bytes"),
        mounted.map(|(place, _)| place.clone()).unwrap_or_default(),
        state(volume),
    ]
}

fn state(volume: &Value) -> String {
    let number = |pointer| volume.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let mut state = match text(volume, "/state/is").as_str() {
        "not-unmounted" => "not unmounted".to_owned(),
        "replayed" => {
            let transactions = human::count(number("/state/transactions"), "transaction", "transactions");
            format!("replayed: {transactions}, {}", human::count(number("/state/blocks"), "block", "blocks"))
        }
        "stale" => format!("STALE: {}", text(volume, "/state/reason")),
        other => other.to_owned(),
    };
    if volume.pointer("/has_recorded_errors") == Some(&Value::Bool(true)) {
        state.push_str("; the guest met errors in it");
    }
    match text(volume, "/problem") {
        problem if problem.is_empty() => state,
        problem => format!("ERROR: {problem}"),
    }
}

fn list<'a>(json: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    json.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text(json: &Value, pointer: &str) -> String {
    json.pointer(pointer).map(string).unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
