//! `icecore machine`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use icecore::policy::Machine;
use icecore::{Error, Vault};
use serde_json::json;

use super::arguments::Global;
use super::backup::{Level, name};
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::policy::{as_json, level_name, parse_tag, set_tags, tags_of, tell_removed};
use super::problem::{Doing, Problem};
use super::{duration, seen};

const EXAMPLES: &str = "\
Examples:
  icecore machine set web01 --disk os=/images/web01-os.raw --disk data=/dev/vg0/web01-data --policy gold
  icecore machine set web01 --exclude-disk data --tag owner=alice
  icecore machine show web01 --json
  icecore backup --due --dry-run";

/// Say what is backed up of a machine, and under which policy
///
/// What is said of a machine lies in the vault, signed by an administrator; `icecore backup --due` goes by it. A machine that
/// is backed up by hand needs none of it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Describe a machine, or change what is given of it
    Set(Box<Set>),
    /// Show what is said of a machine
    Show(Named),
    /// List the machines that are described
    List,
    /// Remove what is said of a machine; its points stay
    Remove(Named),
}

#[derive(Args, Debug)]
struct Named {
    /// Its name
    #[arg(value_name = "MACHINE")]
    name: String,
}

/// What can be taken back of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Field {
    Disks,
    ExcludeDisks,
    Policy,
    Tags,
    PreScript,
    PostScript,
    HookTimeout,
    SnapshotCommand,
    Reflink,
    SnapshotDir,
    Consistency,
}

const SET_HELP: &str = "\
Only what is given changes. `--disk data=` takes one disk away, `--tag owner=` one label, and --clear all of a field:
  icecore machine set web01 --clear disks --disk os=/images/new.raw
  icecore machine set web01 --clear pre-script --clear hook-timeout";

#[derive(Args, Debug)]
#[command(after_help = SET_HELP)]
struct Set {
    /// Its name
    #[arg(value_name = "MACHINE", value_parser = |text: &str| name("machine name", text))]
    name: String,
    /// A disk: its name in points, and the file or device; give it once for each disk
    #[arg(long = "disk", value_name = "NAME=PATH", value_parser = parse_disk, value_hint = ValueHint::FilePath)]
    disks: Vec<(String, PathBuf)>,
    /// A disk that is not backed up; may be given several times
    #[arg(long = "exclude-disk", value_name = "NAME")]
    exclude: Vec<String>,
    /// The policy that it is under
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// A label for its points, as owner=alice; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Shell command that makes the machine hold still before its disks are read, see `icecore backup --help`
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pre_script: Option<String>,
    /// Shell command that lets it go on; runs whenever the pre-script was started, which it needs
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    post_script: Option<String>,
    /// How long each of these commands may take, and --reflink, as 90s [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    hook_timeout: Option<std::time::Duration>,
    /// Shell command that makes a snapshot of its disks and removes it, see `icecore backup --help`
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    snapshot_command: Option<String>,
    /// Read copies of the images that share their blocks, as XFS and btrfs can make them
    #[arg(long)]
    reflink: bool,
    /// Make those copies in this directory of the same file system, instead of beside each image
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    snapshot_dir: Option<PathBuf>,
    /// How consistent the scripts make the disks, which its points are then called [default: as its policy asks, and
    /// application where that asks for nothing]
    #[arg(long, value_enum, value_name = "LEVEL")]
    consistency: Option<Level>,
    /// First take back all that was set of this; may be given several times
    #[arg(long, value_enum, value_name = "FIELD")]
    clear: Vec<Field>,
}

/// `NAME=PATH`; with an empty path where a disk is to go.
fn parse_disk(text: &str) -> Result<(String, PathBuf), String> {
    let (disk, path) = text.split_once('=').ok_or("write it as NAME=PATH, such as os=/images/web01.raw")?;
    Ok((name("disk name", disk)?, path.into()))
}

/// What is being done, for the line that tells what is safe.
pub fn doing(arguments: &Arguments) -> Doing {
    match arguments.action {
        Action::Set(_) | Action::Remove(_) => Doing::Describing,
        Action::Show(_) | Action::List => Doing::Reading,
    }
}

/// Does what is asked.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    match &arguments.action {
        Action::Set(set) => self::set(set, global),
        Action::Show(Named { name }) => show(&global.open()?, name, global),
        Action::List => list(global),
        Action::Remove(Named { name }) => {
            let vault = global.open()?;
            vault.remove_machine(name)?;
            seen::look(&vault, global.json, false);
            tell_removed("machine", name, global)
        }
    }
}

fn set(set: &Set, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let mut machine = match vault.documents()?.machine(&set.name) {
        Ok(machine) => machine,
        Err(Error::NoDocument { .. }) => Machine::default(),
        Err(error) => return Err(error.into()),
    };
    for field in &set.clear {
        match field {
            Field::Disks => machine.disks.clear(),
            Field::ExcludeDisks => machine.excluded_disks.clear(),
            Field::Policy => machine.policy = None,
            Field::Tags => machine.tags.clear(),
            Field::PreScript => machine.hooks.pre_script = None,
            Field::PostScript => machine.hooks.post_script = None,
            Field::HookTimeout => machine.hooks.timeout_seconds = None,
            Field::SnapshotCommand => machine.snapshot_command = None,
            Field::Reflink => machine.reflink = false,
            Field::SnapshotDir => machine.snapshot_dir = None,
            Field::Consistency => machine.consistency = None,
        }
    }
    for (number, (disk, path)) in set.disks.iter().enumerate() {
        if set.disks.iter().take(number).any(|(before, _)| before == disk) {
            return Err(icecore::Error::DuplicateDisk { name: disk.clone() }.into());
        }
        if path.as_os_str().is_empty() {
            machine.disks.remove(disk);
        } else {
            // Due backups run wherever they are started.
            let path = std::path::absolute(path).map_err(Problem::file("find", path))?;
            machine.disks.insert(disk.clone(), utf8(path)?);
        }
    }
    machine.excluded_disks.extend(set.exclude.iter().cloned());
    if let Some(policy) = &set.policy {
        machine.policy = Some(policy.clone());
    }
    set_tags(&mut machine.tags, &set.tags);
    if let Some(script) = &set.pre_script {
        machine.hooks.pre_script = Some(script.clone());
    }
    if let Some(script) = &set.post_script {
        machine.hooks.post_script = Some(script.clone());
    }
    if let Some(timeout) = set.hook_timeout {
        machine.hooks.timeout_seconds = Some(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX));
    }
    if let Some(command) = &set.snapshot_command {
        machine.snapshot_command = Some(command.clone());
    }
    machine.reflink |= set.reflink;
    if let Some(dir) = &set.snapshot_dir {
        let dir = std::path::absolute(dir).map_err(Problem::file("find", dir))?;
        machine.snapshot_dir = Some(utf8(dir)?);
    }
    if let Some(level) = set.consistency {
        machine.consistency = Some(level.into());
    }
    for name in set.exclude.iter().filter(|name| !machine.disks.contains_key(*name)) {
        output::warning(
            &format!("no disk of {} is called {name:?}, and none is left out by that", set.name),
            global.json,
        );
    }
    vault.set_machine(&set.name, &machine)?;
    seen::look(&vault, global.json, false);
    show(&vault, &set.name, global)
}

/// A path that a document can hold.
fn utf8(path: PathBuf) -> Result<PathBuf, Problem> {
    let refused =
        |path: &Path| Problem::usage(format!("{} is not UTF-8", path.display()), "give the disk another name");
    if path.to_str().is_some() { Ok(path) } else { Err(refused(&path)) }
}

fn show(vault: &Vault, name: &str, global: &Global) -> Result<Exit, Problem> {
    let machine = vault.documents()?.machine(name)?;
    if global.json {
        output::json(&as_json("name", name, &machine)?)?;
        return Ok(Exit::Done);
    }
    if global.quiet {
        return Ok(Exit::Done);
    }
    let mut facts = vec![
        ["machine".to_owned(), name.to_owned()],
        ["policy".to_owned(), machine.policy.clone().unwrap_or_else(|| "none: it is never due".to_owned())],
    ];
    for (disk, path) in &machine.disks {
        let is_out = if machine.excluded_disks.contains(disk) { ", not backed up" } else { "" };
        facts.push([format!("disk {disk}"), format!("{}{is_out}", path.display())]);
    }
    facts.extend(tags_of(&machine.tags).map(|tags| ["tags".to_owned(), tags]));
    let timeout = machine.hooks.timeout_seconds.map(|seconds| format!("{seconds} s"));
    for (what, text) in [
        ("before a backup", &machine.hooks.pre_script),
        ("after a backup", &machine.hooks.post_script),
        ("at most", &timeout),
        ("snapshot", &machine.snapshot_command),
    ] {
        facts.extend(text.clone().map(|text| [what.to_owned(), text]));
    }
    if machine.reflink {
        let dir = machine.snapshot_dir.as_ref().map(|dir| format!(", in {}", dir.display())).unwrap_or_default();
        facts.push(["reflink".to_owned(), format!("yes{dir}")]);
    }
    facts.extend(machine.consistency.map(|level| ["consistency".to_owned(), level_name(level).to_owned()]));
    let mut out = Output::open();
    human::columns(&facts, &[]).iter().try_for_each(|line| out.line(line))?;
    out.flush()?;
    Ok(Exit::Done)
}

fn list(global: &Global) -> Result<Exit, Problem> {
    let documents = global.open()?.documents()?;
    let mut out = Output::open();
    let mut lines = vec![["MACHINE", "POLICY", "DISKS", "TAGS"].map(str::to_owned)];
    let (mut all, mut unread) = (Vec::new(), false);
    for name in documents.machines() {
        // One of a newer program hides no other.
        let machine = match documents.machine(name) {
            Ok(machine) => machine,
            Err(error) => {
                output::warning(&error.to_string(), global.json);
                unread = true;
                continue;
            }
        };
        if global.json {
            all.push(as_json("name", name, &machine)?);
        }
        let disks = machine.disks.keys().filter(|disk| !machine.excluded_disks.contains(*disk));
        lines.push([
            name.to_owned(),
            machine.policy.clone().unwrap_or_default(),
            disks.cloned().collect::<Vec<_>>().join(", "),
            tags_of(&machine.tags).unwrap_or_default(),
        ]);
    }
    if global.json {
        out.json(&json!(all))?;
    } else if lines.len() > 1 {
        human::columns(&lines, &[]).iter().try_for_each(|line| out.line(line))?;
    } else if !global.quiet && !unread {
        out.line("no machine is described; `icecore machine set --help` tells how")?;
    }
    out.flush()?;
    Ok(if unread { Exit::Incomplete } else { Exit::Done })
}
