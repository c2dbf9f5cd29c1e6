//! The command line: one file per verb, and the only code that prints.
//!
//! A verb parses its own arguments, calls the engine and tells the result. It returns an [`Exit`], or a
//! [`Problem`](problem::Problem), which becomes exactly one line on standard error, here and nowhere else.

mod arguments;
mod backup;
mod bench;
mod cat;
mod completions;
mod copy;
mod cp;
mod details;
mod diff;
mod due;
mod duration;
mod exit;
mod external;
mod find;
mod forget;
mod gc;
mod hits;
mod human;
mod init;
mod key;
mod ls;
mod machine;
mod man;
mod mount;
mod node;
mod opening;
mod output;
mod paths;
mod points;
mod policy;
mod problem;
mod progress;
mod protect;
mod quota;
mod recovery;
mod repair;
mod restore;
mod salvage;
mod secrets;
mod seen;
mod signals;
mod size;
mod soft_delete;
mod stale;
mod stats;
mod umount;
mod undelete;
mod usage;
mod verify;
mod walk;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use arguments::{CommandLine, Global, Verb};
use exit::Exit;
use problem::{Doing, Problem};

/// Runs the command.
pub fn main() -> ExitCode {
    // What a locked policy keeps must not depend on what somebody calls a zone: only the system's own zones count.
    // SAFETY: this process has one thread so far.
    unsafe { std::env::remove_var("TZDIR") };
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return usage::refuse(&error).into(),
    };
    // A benchmark has no keys but its own, and asks the system about itself.
    if !matches!(line.verb, Verb::Bench(_)) {
        keep_to_itself();
    }
    let (outcome, doing) = run(&line.verb, &line.global);
    match outcome {
        Ok(exit) => exit.into(),
        Err(problem) => {
            if let Some(sentence) = problem.sentence(doing) {
                output::error(&sentence, problem.exit(), line.global.json);
            }
            problem.exit().into()
        }
    }
}

/// This process will have keys: nobody of the same user may look into it, and no dump of it is written. What it starts, such
/// as a command for the password, may set its own limit again.
fn keep_to_itself() {
    // Refused, all works as well.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
}

fn run(verb: &Verb, global: &Global) -> (Result<Exit, Problem>, Doing) {
    match verb {
        Verb::Init(arguments) => (init::run(arguments, global), Doing::Init),
        Verb::Backup(arguments) => (backup::run(arguments, global), Doing::Backup),
        Verb::Points(arguments) => (points::run(arguments, global), Doing::Reading),
        Verb::Ls(arguments) => (ls::run(arguments, global), Doing::Reading),
        Verb::Cat(arguments) => (cat::run(arguments, global), Doing::Reading),
        Verb::Cp(arguments) => (cp::run(arguments, global), Doing::Copying),
        Verb::Find(arguments) => (find::run(arguments, global), Doing::Reading),
        Verb::Diff(arguments) => (diff::run(arguments, global), Doing::Reading),
        Verb::Restore(arguments) => (restore::run(arguments, global), restore::doing(arguments)),
        Verb::Verify(arguments) => (verify::run(arguments, global), Doing::Reading),
        Verb::Repair(arguments) => (repair::run(arguments, global), Doing::Repair),
        Verb::Copy(arguments) => (copy::run(arguments, global), Doing::Replicating),
        Verb::Forget(arguments) => (forget::run(arguments, global), Doing::Retaining),
        Verb::Undelete(arguments) => (undelete::run(arguments, global), Doing::Retaining),
        Verb::Protect(arguments) => (protect::run(arguments, global), Doing::Retaining),
        Verb::SoftDelete(arguments) => (soft_delete::run(arguments, global), Doing::Retaining),
        Verb::Quota(arguments) => (quota::run(arguments, global), Doing::Retaining),
        Verb::Policy(arguments) => (policy::run(arguments, global), policy::doing(arguments)),
        Verb::Machine(arguments) => (machine::run(arguments, global), machine::doing(arguments)),
        Verb::Gc(arguments) => (gc::run(arguments, global), Doing::Collecting),
        Verb::Stats(arguments) => (stats::run(arguments, global), Doing::Reading),
        Verb::Bench(arguments) => (bench::run(arguments, global), Doing::Bench),
        Verb::Mount(arguments) => (mount::run(arguments, global), Doing::Mount),
        Verb::Umount(arguments) => (umount::run(arguments), Doing::Reading),
        Verb::Key(arguments) => (key::run(arguments, global), key::doing(arguments)),
        Verb::Completions(arguments) => (completions::run(arguments), Doing::Reading),
        Verb::Man(arguments) => (man::run(arguments), Doing::Reading),
    }
}
