//! `icecore repair`

mod give_up;
mod tell;

use std::path::PathBuf;

use clap::{Args, ValueHint};
use icecore::source::RawSource;
use icecore::vault::RepairSources;
use icecore::{Error, Vault};

use super::arguments::Global;
use super::backup::{Disk, parse_disk};
use super::exit::Exit;
use super::problem::{Problem, Sentence};
use super::progress;
use super::secrets;
use super::signals::{self, Interrupt};

const EXAMPLES: &str = "\
Examples:
  icecore repair                                     what is damaged; what the vault can mend by itself
  icecore repair --from /mnt/second/vault            what a copy of the vault would bring back
  icecore repair --from /mnt/second/vault --write    do it
  icecore repair --from-disk os=/images/web01-os.raw --machine web01 --write
  icecore repair --give-up --write                   wait no more for catalog entries that nobody has
  icecore repair --no-key --from /mnt/second/vault --write --vault /srv/vault   on the storage server, which has no key";

/// Bring back what is damaged or lost, from copies and original disks
///
/// Says what is damaged, what of that can be had again, and what stays lost; with --write, then does it. Without --write
/// nothing is changed.
///
/// A damaged segment is made whole byte for byte from what is left of it and of the same segment in a copy, which may be
/// damaged elsewhere. Where that does not suffice, what points need of it is stored anew: from the copy, or from the disk
/// that was backed up where that still holds the same bytes. Headers, key slots and catalog entries come back from a copy
/// where they are damaged or gone; never a key slot that was removed, and never what would contradict the catalog.
///
/// Nothing is written in place, and what can't be rebuilt stays as it is. Backups, mounts and other repairs may run
/// meanwhile. A repair that was interrupted goes on when it is run again.
///
/// Ends with 0 where everything is whole, or is now; with 1 where something is damaged and --write was not given, or nothing
/// could be done; with 3 where it is repaired in part.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of the vault, an older one too; may be given several times. It is only read
    #[arg(long = "from", value_name = "DIR", value_hint = ValueHint::DirPath)]
    copies: Vec<PathBuf>,
    /// A disk that was backed up: its name in the points, and the file or device to read; may be given several times
    #[arg(long = "from-disk", value_name = "NAME=PATH", value_parser = parse_disk, value_hint = ValueHint::FilePath)]
    disks: Vec<Disk>,
    /// The machine that the disks are of [default: every machine that has a disk of that name]
    #[arg(long, value_name = "MACHINE", requires = "disks")]
    machine: Option<String>,
    /// Do what was said. Without it, nothing is changed
    #[arg(long)]
    write: bool,
    /// Do what needs no password or key file: whole segments, headers, key slots, catalog entries
    #[arg(long, conflicts_with_all = ["disks", "adopt"])]
    no_key: bool,
    /// With --no-key: bring back segments, and newest catalog entries, that only a copy has. Without a key nobody can tell what
    /// was lost from what `icecore gc` removed, or from what the copy made up
    #[arg(long, requires = "no_key")]
    gone: bool,
    /// Enter points into the catalog that are whole in the segments and that the catalog does not have. A backup that was
    /// interrupted at its very end is such a point too
    #[arg(long)]
    adopt: bool,
    /// Give up the catalog entries that are damaged or gone, once no copy has them: `icecore gc` waits for them no more.
    /// Needs a key of role admin
    #[arg(long, conflicts_with_all = ["copies", "disks", "no_key", "adopt"])]
    give_up: bool,
    /// With --give-up: those too that the medium does not give, and never will again
    #[arg(long, requires = "give_up")]
    unreadable: bool,
}

/// Repairs.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    if arguments.give_up {
        return give_up::run(arguments.write, arguments.unreadable, global);
    }
    let path = global.vault()?;
    let sources = sources(arguments)?;
    let credential = if arguments.no_key { None } else { Some(secrets::credential(global)?) };
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    let is_copy = |path: &PathBuf| arguments.copies.contains(path);
    let repair = progress::shown(global, &interrupt, "looking", |progress| {
        Vault::plan_repair(&path, credential.as_ref(), sources, progress)
    })
    .map_err(|problem| match problem {
        Problem::Engine(Error::NoVault { path }) if is_copy(&path) => Problem::said(
            Exit::NoVault,
            Sentence::new(
                format!("no vault at {}, where a copy should be", path.display()),
                "nothing was done",
                "check --from: is that disk mounted?",
            ),
        ),
        other => other,
    })?;
    tell::planned(repair.plan(), arguments.write, global)?;
    // What nobody has is at least to count as known no more.
    let has_work = repair.plan().has_work() || repair.plan().records_lost > 0;
    if !arguments.write || !has_work {
        return tell::end_of_plan(repair.plan());
    }
    let report = progress::shown(global, &interrupt, "repairing", |progress| repair.write(progress))?;
    tell::done(repair.plan(), &report, global)
}

fn sources(arguments: &Arguments) -> Result<RepairSources, Problem> {
    let mut sources = RepairSources::default();
    for copy in &arguments.copies {
        sources = sources.copy(copy);
    }
    for disk in &arguments.disks {
        let source = RawSource::open(&disk.path).map_err(Problem::file("open disk", &disk.path))?;
        sources = sources.disk(arguments.machine.as_deref(), &disk.name, source);
    }
    let sources = if arguments.gone { sources.gone() } else { sources };
    Ok(if arguments.adopt { sources.adopt() } else { sources })
}
