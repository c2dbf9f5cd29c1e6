//! `icecore backup --due`: points of all machines whose policy says that one is due.

use icecore::policy::{Machine, Policy};
use icecore::quiesce::QuiescedBackup;
use icecore::vault::{Documents, Due, DueBackup, request_of};
use icecore::{Error, Vault};
use jiff::Timestamp;
use serde_json::json;

use super::arguments::Global;
use super::backup::{self, Arguments};
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::problem::{Doing, Problem};
use super::salvage::Salvage;
use super::seen;
use super::signals::{self, Interrupt};

/// What became of a machine that was due.
enum Outcome {
    Made,
    /// Its point lacks ranges that could not be read, or is less consistent than was wanted.
    Incomplete,
    /// Another process was faster.
    Others,
}

/// How many machines came to which end.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    made: u64,
    incomplete: u64,
    others: u64,
    failed: u64,
}

impl Count {
    fn exit(self) -> Exit {
        match (self.failed, self.incomplete, self.made) {
            (0, 0, _) => Exit::Done,
            (1.., 0, 0) => Exit::Failed,
            _ => Exit::Incomplete,
        }
    }
}

/// Backs up what is due, one machine after the other; a machine that fails does not stop the others.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let interrupt = Interrupt::noted_to_the_end().map_err(signals::refused)?;
    let documents = vault.documents()?;
    let mut count = Count::default();
    let (mut due, mut next) = (Vec::new(), None::<Timestamp>);
    for name in wanted(arguments, &documents)? {
        match is_due(&vault, &documents, name) {
            Ok((one, after)) => {
                due.extend(one);
                next = next.into_iter().chain(after).min();
            }
            Err(error) => {
                tell_failed(name, &error, global);
                count.failed += 1;
            }
        }
    }
    if arguments.dry_run {
        tell_due(&due, next, global)?;
        return Ok(if count.failed > 0 { Exit::Incomplete } else { Exit::Done });
    }
    for one in &due {
        match make(&vault, one, arguments, global, &interrupt) {
            Ok(Outcome::Made) => count.made += 1,
            Ok(Outcome::Incomplete) => count.incomplete += 1,
            Ok(Outcome::Others) => count.others += 1,
            Err(Problem::Engine(Error::Interrupted)) => return Err(Error::Interrupted.into()),
            Err(Problem::Engine(error)) => {
                tell_failed(&one.machine, &error, global);
                count.failed += 1;
            }
            Err(other) => return Err(other),
        }
    }
    if count.made + count.incomplete > 0 {
        seen::look(&vault, global.json, true);
    }
    heard(tell_end(count, next, global))?;
    Ok(count.exit())
}

/// The machine that is named, or all that are described.
fn wanted<'a>(arguments: &'a Arguments, documents: &'a Documents) -> Result<Vec<&'a str>, Problem> {
    match &arguments.machine {
        Some(name) => documents.machine(name).map(|_| vec![name.as_str()]).map_err(Problem::from),
        None => Ok(documents.machines().collect()),
    }
}

/// A machine's own documents; nothing where it is under no policy.
fn described(documents: &Documents, name: &str) -> Result<Option<(Machine, Policy)>, Error> {
    let machine = documents.machine(name)?;
    let Some(policy) = &machine.policy else { return Ok(None) };
    let policy = documents.policy(policy)?;
    Ok(Some((machine, policy)))
}

/// Whether a machine is due, and when it is next.
fn is_due(vault: &Vault, documents: &Documents, name: &str) -> Result<(Option<Due>, Option<Timestamp>), Error> {
    let Some((_, policy)) = described(documents, name)? else { return Ok((None, None)) };
    let now = Timestamp::now();
    let zone = policy.zone()?;
    let next = policy.schedule.as_ref().and_then(|schedule| schedule.next_after(name, &zone, now));
    Ok((vault.due(name, &policy, now)?, next))
}

/// Makes the point of a machine that was found due, if it still is once nobody else can be making it.
fn make(
    vault: &Vault,
    due: &Due,
    arguments: &Arguments,
    global: &Global,
    interrupt: &Interrupt,
) -> Result<Outcome, Problem> {
    let name = due.machine.as_str();
    let Some(_claim) = vault.claim(name)? else {
        heard(tell_others(name, "is being backed up by another `icecore backup --due`", global))?;
        return Ok(Outcome::Others);
    };
    // What others made while the machines before this one took their time; and what an administrator changed.
    vault.refresh()?;
    let Some((machine, policy)) = described(&vault.documents()?, name)? else { return Ok(Outcome::Others) };
    if vault.due(name, &policy, Timestamp::now())?.is_none() {
        heard(tell_others(name, "was backed up meanwhile", global))?;
        return Ok(Outcome::Others);
    }
    let DueBackup { mut request, images, quiesce } = request_of(name, &machine, &policy)?;
    backup::set_ways(arguments, &mut request);
    let QuiescedBackup { outcome, runs } = backup::transfer(vault, request, &images, &quiesce, global, interrupt);
    backup::tell_runs(&runs, outcome.as_ref().err(), global);
    let report = outcome?;
    heard(backup::tell(&report, &runs, global))?;
    let all = report.missing().next().is_none() && runs.iter().all(|run| run.failure.is_none());
    Ok(if all { Outcome::Made } else { Outcome::Incomplete })
}

/// Whether somebody reads what is told or not, the other machines are due all the same.
fn heard(told: Result<(), Problem>) -> Result<(), Problem> {
    match told {
        Err(Problem::OutputClosed) => Ok(()),
        told => told,
    }
}

fn tell_failed(name: &str, error: &Error, global: &Global) {
    let sentence = super::problem::sentence(error, Doing::Backup);
    output::warning(&format!("{name}: {}", sentence.line()), global.json);
}

fn tell_others(name: &str, what: &str, global: &Global) -> Result<(), Problem> {
    if global.json {
        return output::json(&json!({"message_type": "skipped", "machine": name, "why": what}));
    }
    if global.quiet { Ok(()) } else { output::line(&format!("{name} {what}")) }
}

/// When the next point of all is due, in words.
fn next_in_words(next: Option<Timestamp>) -> String {
    let none = || ": no machine that was asked for is under a policy with a schedule".to_owned();
    next.map_or_else(none, |next| format!("; the next point is due at {}", human::moment(next)))
}

fn tell_due(due: &[Due], next: Option<Timestamp>, global: &Global) -> Result<(), Problem> {
    let mut out = Output::open();
    for Due { machine, since, newest } in due {
        if global.json {
            out.json(&json!({"message_type": "due", "machine": machine, "since": since, "newest": newest}))?;
            continue;
        }
        let newest = newest.map_or_else(
            || "it has no point".to_owned(),
            |newest| format!("its newest point is of {}", human::moment(newest)),
        );
        out.line(&format!("{machine} is due since {}; {newest}", human::moment(*since)))?;
    }
    if due.is_empty() && !global.json && !global.quiet {
        out.line(&format!("nothing is due{}", next_in_words(next)))?;
    }
    out.flush()
}

fn tell_end(count: Count, next: Option<Timestamp>, global: &Global) -> Result<(), Problem> {
    if global.json {
        return output::json(&json!({
            "message_type": "due_summary",
            "made": count.made,
            "incomplete": count.incomplete,
            "skipped": count.others,
            "failed": count.failed,
            "next": next,
        }));
    }
    if global.quiet {
        return Ok(());
    }
    let done = count.made + count.incomplete;
    if done + count.failed + count.others == 0 {
        return output::line(&format!("nothing is due{}", next_in_words(next)));
    }
    let failed = if count.failed > 0 { format!(", {} failed", count.failed) } else { String::new() };
    output::line(&format!("{} made of what was due{failed}", human::count(done, "point", "points")))
}
