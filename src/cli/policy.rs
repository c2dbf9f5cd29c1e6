//! `icecore policy`

mod plan;

use clap::{Args, Subcommand, ValueEnum};
use icecore::point::Consistency;
use icecore::policy::{Document, LockEnd, Policy, Retention, Schedule};
use icecore::{Error, Vault};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::arguments::Global;
use super::backup::{Level, parse_time};
use super::exit::Exit;
use super::forget::parse_keep;
use super::human;
use super::output::{self, Output};
use super::problem::{Doing, Problem};
use super::seen;

const EXAMPLES: &str = "\
Examples:
  icecore policy set gold --schedule 'daily 02:00 spread 2h' --keep daily=7,weekly=4,monthly=12 --time-zone Europe/Berlin
  icecore policy set gold --keep daily=14,weekly=4,monthly=12 --lock-until 2028-01-01
  icecore machine set web01 --disk os=/images/web01-os.raw --policy gold
  icecore policy plan web01 --for 90d
  icecore backup --due && icecore forget --all-machines --policy && icecore gc";

/// Say when points are made, and how long they are kept
///
/// A policy lies in the vault, signed by an administrator. Machines are put under it with `icecore machine set`. Then
/// `icecore backup --due` makes the points that its schedule asks for, and `icecore forget --policy` forgets those that it
/// does not keep.
///
/// A locked policy keeps what it promises: until then nobody, whatever keys he holds, makes it keep less, removes it, or takes
/// a machine from under it, but to one that promises no less: as it is without a schedule, for a machine that is gone. What it
/// keeps nobody forgets, by no rule and no name, and `icecore gc` purges none of it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a policy, or change what is given of one
    Set(Box<Set>),
    /// Show a policy, and the machines that are under it
    Show(Named),
    /// List the policies
    List,
    /// Remove a policy that no machine is under
    Remove(Named),
    /// Print day by day which points of a machine will be made, kept and dropped, and why
    Plan(plan::Arguments),
}

#[derive(Args, Debug)]
struct Named {
    /// Its name
    #[arg(value_name = "POLICY")]
    name: String,
}

/// What can be taken back of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Field {
    Schedule,
    TimeZone,
    IncludeDisks,
    ExcludeDisks,
    AllowCrash,
    Tags,
    Lock,
}

const SET_HELP: &str = "\
Schedules:
  hourly 08:00-20:00          each full hour of that part of the day; without it, of the whole day
  every 4h 22:00-06:00        every so many hours, from the first of these times on
  daily 02:00,14:00           at these times
  weekly sun,wed 03:00        at these times of these days
  ... spread 2h               each machine begins later by up to so much, always by the same
Where clocks are set forward for the summer, a time that is left out comes when the clock jumps over it; where they are set back,
one that is shown twice comes once. What was missed is made up for as soon as `icecore backup --due` runs.

What is kept: a point stays if any rule keeps it.
  last=5                      the newest five
  daily=7                     the last point of each of seven days that have points; so hourly, weekly (from Monday), monthly, yearly
  min-age=2d                  all that is younger
  max-age=10y                 nothing that is older, whatever rule would keep it, but for the newest and what is protected

Examples:
  icecore policy set gold --schedule 'daily 02:00 spread 2h' --keep daily=7,weekly=4 --time-zone Europe/Berlin
  icecore policy set gold --clear tags --tag tier=silver
  icecore policy set gold --always-on";

#[derive(Args, Debug)]
#[command(after_help = SET_HELP)]
struct Set {
    /// Its name
    #[arg(value_name = "POLICY")]
    name: String,
    /// When a point of each machine is due, as 'daily 02:00'; see below
    #[arg(long, value_name = "SCHEDULE", value_parser = parse_schedule)]
    schedule: Option<Schedule>,
    /// What is kept, as last=5,hourly=24,daily=7,weekly=4,monthly=12,yearly=10,min-age=2d,max-age=10y; needed for a new policy
    #[arg(long, value_name = "RULES", value_parser = parse_keep)]
    keep: Option<Retention>,
    /// The zone of the schedule's times and of the days that --keep counts, as Europe/Berlin [default for a new policy: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Back up only disks of this name; may be given several times
    #[arg(long = "include-disk", value_name = "NAME")]
    include: Vec<String>,
    /// Do not back up disks of this name; may be given several times
    #[arg(long = "exclude-disk", value_name = "NAME")]
    exclude: Vec<String>,
    /// How consistent points are to be at least [default for a new policy: crash]
    #[arg(long, value_enum, value_name = "LEVEL")]
    consistency: Option<Level>,
    /// Where the scripts that make them so fail, or there are none, make crash-consistent points and say so, instead of none
    #[arg(long)]
    allow_crash: bool,
    /// A label for the points, as tier=gold; may be given several times; `tier=` takes one away
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Until when nobody can make it keep less, nor end this lock earlier; give it a min-age too
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    lock_until: Option<Timestamp>,
    /// Nobody can make it keep less, nor end this lock, for ever
    #[arg(long, conflicts_with = "lock_until")]
    always_on: bool,
    /// First take back all that was set of this; may be given several times
    #[arg(long, value_enum, value_name = "FIELD")]
    clear: Vec<Field>,
}

fn parse_schedule(text: &str) -> Result<Schedule, String> {
    text.parse().map_err(|error: Error| match error {
        Error::Invalid { value, rule, .. } => format!("{value}: {rule}"),
        other => other.to_string(),
    })
}

/// `NAME=VALUE`.
pub(super) fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, such as tier=gold".to_owned()),
    }
}

/// Sets the tags that are given, and takes away those without a value.
pub(super) fn set_tags(tags: &mut std::collections::BTreeMap<String, String>, given: &[(String, String)]) {
    for (name, value) in given {
        match value.as_str() {
            "" => drop(tags.remove(name)),
            value => drop(tags.insert(name.clone(), value.to_owned())),
        }
    }
}

/// What is being done, for the line that tells what is safe.
pub fn doing(arguments: &Arguments) -> Doing {
    match arguments.action {
        Action::Set(_) | Action::Remove(_) => Doing::Describing,
        Action::Show(_) | Action::List | Action::Plan(_) => Doing::Reading,
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
            vault.remove_policy(name)?;
            seen::look(&vault, global.json, false);
            tell_removed("policy", name, global)
        }
        Action::Plan(arguments) => plan::run(arguments, global),
    }
}

/// Tells that a document is gone.
pub(super) fn tell_removed(kind: &str, name: &str, global: &Global) -> Result<Exit, Problem> {
    if global.json {
        output::json(&json!({"message_type": "removed", kind: name}))?;
    } else if !global.quiet {
        output::line(&format!("{kind} {name} is removed"))?;
    }
    Ok(Exit::Done)
}

fn set(set: &Set, global: &Global) -> Result<Exit, Problem> {
    if set.lock_until.is_some_and(|until| until <= Timestamp::now()) {
        return Err(Problem::usage("that time is over", "give one that is to come"));
    }
    let vault = global.open()?;
    let mut policy = match vault.documents()?.policy(&set.name) {
        Ok(policy) => policy,
        Err(Error::NoDocument { .. }) => Policy::new(set.keep.ok_or_else(|| {
            Problem::usage(format!("there is no policy {:?} yet", set.name), "say with --keep what a new one keeps")
        })?),
        Err(error) => return Err(error.into()),
    };
    for field in &set.clear {
        match field {
            Field::Schedule => policy.schedule = None,
            Field::TimeZone => "UTC".clone_into(&mut policy.time_zone),
            Field::IncludeDisks => policy.include_disks.clear(),
            Field::ExcludeDisks => policy.exclude_disks.clear(),
            Field::AllowCrash => policy.allow_crash = false,
            Field::Tags => policy.tags.clear(),
            Field::Lock => policy.locked_until = None,
        }
    }
    if let Some(schedule) = &set.schedule {
        policy.schedule = Some(schedule.clone());
    }
    if let Some(keep) = set.keep {
        policy.retention = keep;
    }
    if let Some(zone) = &set.time_zone {
        policy.time_zone.clone_from(zone);
    }
    policy.include_disks.extend(set.include.iter().cloned());
    policy.exclude_disks.extend(set.exclude.iter().cloned());
    if let Some(level) = set.consistency {
        policy.consistency = level.into();
    }
    policy.allow_crash |= set.allow_crash;
    set_tags(&mut policy.tags, &set.tags);
    if let Some(until) = set.lock_until {
        policy.locked_until = Some(LockEnd::Unix(until.as_second()));
    }
    if set.always_on {
        policy.locked_until = Some(LockEnd::Ever);
    }
    vault.set_policy(&set.name, &policy)?;
    seen::look(&vault, global.json, false);
    show(&vault, &set.name, global)
}

/// A document as JSON, with its name first.
pub(super) fn as_json(kind: &str, name: &str, document: &impl Document) -> Result<Value, Problem> {
    let bytes = document.encode()?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| Problem::output(error.into()))?;
    let mut all = json!({kind: name});
    if let (Some(all), Value::Object(fields)) = (all.as_object_mut(), value) {
        all.extend(fields);
    }
    Ok(all)
}

fn show(vault: &Vault, name: &str, global: &Global) -> Result<Exit, Problem> {
    let documents = vault.documents()?;
    let policy = documents.policy(name)?;
    let under: Vec<&str> = documents.under(name).collect();
    if global.json {
        let mut all = as_json("name", name, &policy)?;
        all["machines"] = json!(under);
        output::json(&all)?;
        return Ok(Exit::Done);
    }
    if global.quiet {
        return Ok(Exit::Done);
    }
    let join = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        ["policy", name].map(str::to_owned),
        ["schedule".to_owned(), schedule_of(&policy)],
        ["keeps".to_owned(), policy.retention.to_string()],
        ["consistency".to_owned(), consistency_of(&policy)],
    ];
    for (what, names) in [("only disks", &policy.include_disks), ("not disks", &policy.exclude_disks)] {
        if !names.is_empty() {
            facts.push([what.to_owned(), join(names)]);
        }
    }
    facts.extend(tags_of(&policy.tags).map(|tags| ["tags".to_owned(), tags]));
    facts.extend(lock_of(&policy).map(|lock| ["locked".to_owned(), lock]));
    facts.push(["machines".to_owned(), if under.is_empty() { "none".to_owned() } else { under.join(", ") }]);
    let mut out = Output::open();
    human::columns(&facts, &[]).iter().try_for_each(|line| out.line(line))?;
    out.flush()?;
    Ok(Exit::Done)
}

fn schedule_of(policy: &Policy) -> String {
    match &policy.schedule {
        Some(schedule) => format!("{schedule} ({})", policy.time_zone),
        None => format!("none; days of {}", policy.time_zone),
    }
}

fn consistency_of(policy: &Policy) -> String {
    format!("{}{}", level_name(policy.consistency), if policy.allow_crash { ", or crash" } else { "" })
}

/// A level as it is written.
pub(super) fn level_name(level: Consistency) -> &'static str {
    match level {
        Consistency::Crash => "crash",
        Consistency::FileSystem => "file-system",
        Consistency::Application => "application",
    }
}

/// Tags in one line, where there are some.
pub(super) fn tags_of(tags: &std::collections::BTreeMap<String, String>) -> Option<String> {
    let all: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// How it is locked, where it is.
fn lock_of(policy: &Policy) -> Option<String> {
    match policy.locked_until.filter(|end| end.is_after(Timestamp::now().as_second()))? {
        LockEnd::Ever => Some("for ever".to_owned()),
        until => Some(format!("until {until}")),
    }
}

fn list(global: &Global) -> Result<Exit, Problem> {
    let documents = global.open()?.documents()?;
    let mut out = Output::open();
    let mut lines = vec![["POLICY", "SCHEDULE", "KEEPS", "MACHINES", "LOCKED"].map(str::to_owned)];
    let (mut all, mut unread) = (Vec::new(), false);
    for name in documents.policies() {
        // One of a newer program hides no other.
        let policy = match documents.policy(name) {
            Ok(policy) => policy,
            Err(error) => {
                output::warning(&error.to_string(), global.json);
                unread = true;
                continue;
            }
        };
        let machines = documents.under(name).count();
        if global.json {
            let mut value = as_json("name", name, &policy)?;
            value["machines"] = json!(documents.under(name).collect::<Vec<_>>());
            all.push(value);
        }
        lines.push([
            name.to_owned(),
            schedule_of(&policy),
            policy.retention.to_string(),
            machines.to_string(),
            lock_of(&policy).unwrap_or_default(),
        ]);
    }
    if global.json {
        out.json(&all)?;
    } else if lines.len() > 1 {
        human::columns(&lines, &[3]).iter().try_for_each(|line| out.line(line))?;
    } else if !global.quiet && !unread {
        out.line("no policies; `icecore policy set --help` tells how to make one")?;
    }
    out.flush()?;
    Ok(if unread { Exit::Incomplete } else { Exit::Done })
}
