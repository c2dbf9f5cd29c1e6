//! Why a verb ended early, and the one line that a person gets for it.
//!
//! The line has three parts: what happened, what is still safe, what to do next. The first comes from the error, the
//! second from the verb that was running, the third from both. It stays one line whatever names the error carries.

use std::io;
use std::path::Path;

use icecore::error::Error;
use icecore::format::{catalog_entry, header};
use icecore::quiesce::Phase;
use serde::Serialize;

use super::exit::Exit;
use super::human;

/// Why a verb ended early.
#[derive(Debug)]
pub enum Problem {
    /// The engine said so.
    Engine(Error),
    /// The command line itself found it.
    Said {
        /// What to tell.
        sentence: Sentence,
        /// The exit code.
        exit: Exit,
    },
    /// Whoever read our output has gone, as `head` does: no failure.
    OutputClosed,
}

/// What was being done when something went wrong: says what is still safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Making a vault.
    Init,
    /// Making a point.
    Backup,
    /// Only reading the vault.
    Reading,
    /// Reading the vault, copying files out of it.
    Copying,
    /// Reading the vault, writing a new file.
    RestoreFile,
    /// Reading the vault, writing a device in place.
    RestoreDevice,
    /// Changing key slots.
    Keys,
    /// Beginning a new epoch of the keys, or moving records under it.
    Rotating,
    /// Mounting.
    Mount,
    /// Measuring, in a directory of its own.
    Bench,
    /// Repairing a vault.
    Repair,
    /// Forgetting points, bringing them back, protecting them.
    Retaining,
    /// Setting and removing policies and machines.
    Describing,
    /// Giving back space.
    Collecting,
    /// Copying points into another vault.
    Replicating,
}

/// One line for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// What happened.
    pub happened: String,
    /// What is still safe.
    pub safe: String,
    /// What to do next.
    pub next: String,
}

impl Sentence {
    /// A sentence of three parts.
    pub fn new(happened: impl Into<String>, safe: impl Into<String>, next: impl Into<String>) -> Self {
        Self { happened: happened.into(), safe: safe.into(), next: next.into() }
    }

    /// The line, without the newline.
    pub fn line(&self) -> String {
        human::escaped(format!("{}; {}; {}", self.happened, self.safe, self.next).as_bytes())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Problem {
    /// The command line makes no sense.
    pub fn usage(happened: impl Into<String>, next: impl Into<String>) -> Self {
        Self::said(Exit::Usage, Sentence::new(happened, "nothing was done", next))
    }

    /// Any other exit code.
    pub fn said(exit: Exit, sentence: Sentence) -> Self {
        Self::Said { sentence, exit }
    }

    /// A file of the user's that can't be used.
    pub fn file(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Engine(Error::File { operation, path: path.clone(), source })
    }

    /// A write to standard output failed.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::file("write to", Path::new(STANDARD_OUTPUT))(error)
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Engine(error) => Exit::of(error),
            Self::Said { exit, .. } => *exit,
            Self::OutputClosed => Exit::Done,
        }
    }

    /// What to tell, if anything.
    pub fn sentence(&self, doing: Doing) -> Option<Sentence> {
        match self {
            Self::Engine(error) => Some(sentence(error, doing)),
            Self::Said { sentence, .. } => Some(sentence.clone()),
            Self::OutputClosed => None,
        }
    }
}

/// An error of the engine as one sentence.
pub fn sentence(error: &Error, doing: Doing) -> Sentence {
    let happened = match error {
        Error::Vault { path, .. } if error.is_out_of_space() => {
            format!("no space is left under the vault (writing {})", path.display())
        }
        Error::Interrupted => "interrupted".to_owned(),
        Error::NoRoom { path, available, needed } => {
            let (available, needed) = (human::size(*available), human::size(*needed));
            format!("{} has {available} free, {needed} are needed", path.display())
        }
        Error::OverQuota { machine, counted_bytes, hard_bytes } => {
            let whose = if machine.is_empty() { "the vault" } else { machine };
            let (counted, hard) = (human::size(*counted_bytes), human::size(*hard_bytes));
            format!("the quota of {whose} is reached: {counted} of {hard}")
        }
        error => error.to_string(),
    };
    Sentence { happened, safe: safe(error, doing).to_owned(), next: next(error, doing) }
}

/// Where results go.
const STANDARD_OUTPUT: &str = "standard output";

/// Whether only the telling failed.
fn is_output(error: &Error) -> bool {
    matches!(error, Error::File { path, .. } if path.as_os_str() == STANDARD_OUTPUT)
}

fn safe(error: &Error, doing: Doing) -> &'static str {
    let acts_first = matches!(
        doing,
        Doing::Init
            | Doing::Backup
            | Doing::Keys
            | Doing::Rotating
            | Doing::Repair
            | Doing::Retaining
            | Doing::Describing
            | Doing::Collecting
            | Doing::Replicating
    );
    if is_output(error) && acts_first {
        return "what was done before that stays done";
    }
    let untouched = matches!(
        error,
        Error::TargetExists { .. }
            | Error::TargetTooSmall { .. }
            | Error::TargetInUse { .. }
            | Error::UnknownMachine { .. }
            | Error::UnknownPoint { .. }
            | Error::Purged { .. }
            | Error::AmbiguousPoint { .. }
            | Error::UnknownDisk { .. }
            | Error::Missing { .. }
            | Error::WrongKey { .. }
            | Error::Rotated { .. }
            | Error::RemovedKey
            | Error::External { .. }
            | Error::NoVault { .. }
    );
    match doing {
        Doing::Init if matches!(error, Error::VaultExists { .. } | Error::NotEmpty { .. }) => {
            "nothing in it was changed"
        }
        Doing::Init => "no vault was made",
        Doing::Backup if error.is_out_of_space() || matches!(error, Error::OverQuota { .. }) => {
            "no point was made, earlier points are intact and the space of this attempt was given back"
        }
        _ if matches!(error, Error::NoVault { .. }) => "nothing was done",
        Doing::Backup => "no point was made and earlier points are intact",
        Doing::Reading if matches!(error, Error::Damaged(_)) => "points that do not need those bytes are whole",
        Doing::Reading => "the vault is unchanged",
        Doing::Copying | Doing::RestoreFile | Doing::RestoreDevice if untouched => "nothing was written",
        Doing::Copying => "the vault is unchanged and every file that was copied is whole",
        Doing::RestoreFile => "the vault is unchanged and no partial file was left",
        Doing::RestoreDevice => "the vault is unchanged but the device now holds only part of the disk",
        Doing::Keys => "the key slots are unchanged",
        Doing::Rotating if untouched => "the keys are unchanged",
        Doing::Rotating => "every key opens the vault as before, every point is whole, and the next run goes on",
        Doing::Mount => "nothing was mounted",
        Doing::Repair if matches!(error, Error::WrongKey { .. } | Error::Invalid { .. }) => "nothing was changed",
        Doing::Repair => "what was whole is whole, and what was repaired until then stays repaired",
        Doing::Retaining => "every point is whole, and what was done before is told above",
        Doing::Describing => "policies and machines are as they were",
        Doing::Collecting if matches!(error, Error::Damaged(_) | Error::SetBack(_)) => {
            "nothing was removed, since it may hide what is needed"
        }
        Doing::Collecting => "all points are whole, and the next run goes on",
        Doing::Replicating if untouched || matches!(error, Error::Invalid { .. } | Error::NotPermitted { .. }) => {
            "nothing was copied"
        }
        Doing::Replicating if error.is_out_of_space() => {
            "the points that were copied before are whole there, and the space of this attempt was given back"
        }
        Doing::Replicating => "the vault is unchanged, and the points that were copied before are whole in the target",
        Doing::Bench => "no vault of yours was touched and nothing is left behind",
    }
}

fn next(error: &Error, doing: Doing) -> String {
    let fixed = match error {
        _ if is_output(error) => {
            "look at what is there, with `icecore points` or `icecore key list`, before running it again"
        }
        Error::NoRoom { .. } => "choose another directory with --dir, or a smaller disk with --size",
        Error::OverQuota { .. } => {
            "see `icecore quota`: an administrator raises it, or forgets points and gives back space with `icecore gc`"
        }
        Error::TargetInUse { .. } if doing == Doing::Bench => "choose another directory with --dir",
        Error::Source { .. } if doing == Doing::Bench => "check that disk, or measure without --disk",
        Error::NoVault { .. } => "check --vault or ICECORE_VAULT, or make a vault there with `icecore init`",
        Error::VaultExists { .. } => "use it as it is, or choose another directory",
        Error::NotEmpty { .. } => "choose an empty or a new directory",
        Error::UnknownMachine { .. } => {
            "see the machines with `icecore points`, and with --salvage those that the catalog lost"
        }
        Error::UnknownPoint { machine, .. } => {
            return format!(
                "see its points with `icecore points {machine}`, and with --salvage those that the catalog lost"
            );
        }
        Error::Purged { machine, .. } => {
            return format!("see what there is with `icecore points {machine}`, also in a copy of the vault");
        }
        Error::Forgotten { machine, point, .. } => {
            return format!("bring it back with `icecore undelete {machine}/{point}`");
        }
        Error::Protected { machine, point, .. } => {
            return format!("an administrator ends that with `icecore protect --release {machine}/{point}`");
        }
        Error::PointExists { .. } => "see it with `icecore points`, and `icecore points --deleted`",
        Error::NoDocument { kind, .. } => return format!("see what there is with `icecore {kind} list`"),
        Error::Document { .. } => "use a newer icecore, or have an administrator remove it",
        Error::PolicyInUse { .. } => "put its machines under another policy first, with `icecore machine set`",
        Error::KeptByPolicy { .. } => "until then nobody forgets it, but as the policy's own rules let it go",
        Error::PolicyLocked { .. } => "until then it can be made to keep more, never less, by nobody",
        Error::LastPoint { .. } => "add --all to forget it all the same",
        Error::AmbiguousPoint { .. } => "give more digits of the id, or the point's time",
        Error::UnknownDisk { .. } => "see its disks with `icecore points --json`",
        Error::NoSuchPath { .. } => "look around with `icecore ls`",
        Error::WrongNode { .. } => "see what it is with `icecore ls -l`",
        Error::Invalid { what: "target", .. } => "choose another target with --to",
        Error::Invalid { .. } => "choose another value",
        Error::DuplicateDisk { .. } => "give each disk a name of its own",
        Error::TargetExists { .. } => "choose another target, or overwrite it with --force",
        Error::TargetTooSmall { .. } => "choose a larger target",
        Error::TargetInUse { .. } => "unmount it or stop what uses it",
        Error::WrongKey { .. } => "check the password or key file (ICECORE_PASSWORD_FILE, --key-file)",
        Error::NotPermitted { .. } => "use a password or key file of that role (`icecore key list`)",
        Error::Rotated { .. } if doing == Doing::Rotating => "run it again: somebody else rotated just now",
        Error::Rotated { .. } => "use a key that `icecore key list` shows, or have an administrator add yours again",
        Error::RemovedKey => "use another key, or have an administrator add one for you",
        Error::External { .. } => "try that command by itself, or open the vault with another key",
        Error::OwnSlot => "add --own to remove it all the same",
        Error::LastAdminSlot => "add another admin key with `icecore key add --role admin` first",
        Error::Vault { .. } if error.is_out_of_space() => "free some space there and run it again",
        Error::Script { phase: Phase::Pre | Phase::Post, .. } => {
            "run that script by itself, or have a crash-consistent point made all the same with --allow-crash"
        }
        Error::Script { .. } => "run that command by itself",
        Error::Source { .. } => "check that disk, or keep what can be read with --allow-incomplete",
        Error::Vault { source, .. } | Error::File { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            "run it as a user who may do that"
        }
        Error::Vault { .. } => "check the file system under the vault, then run it again",
        Error::File { source, .. } if source.kind() == io::ErrorKind::NotFound => "check the path",
        Error::File { .. } if error.is_out_of_space() => "free some space there and run it again",
        Error::File { .. } => "check that file or device, then run it again",
        Error::UnsupportedVersion { found, supported, .. } if found > supported => "use a newer icecore",
        Error::UnsupportedVersion { .. } => "check that this is a vault of icecore",
        Error::Guest(_) => "read the disk itself under disks/, and check the guest's own file system",
        Error::SetBack(_) => {
            "where that is as you want it, remove the file that the notice above names, then run it again"
        }
        Error::Damaged(damage) if doing == Doing::Collecting && damage.object.starts_with(catalog_entry::FOLDER) => {
            "bring it back with `icecore repair --from DIR`, or give it up with `icecore repair --give-up`"
        }
        Error::Damaged(damage)
            if damage.object.starts_with(catalog_entry::FOLDER)
                && matches!(doing, Doing::Backup | Doing::Keys | Doing::Retaining | Doing::Describing) =>
        {
            "bring it back with `icecore repair --from DIR`; where nobody has it, `icecore repair --give-up` says what to do"
        }
        Error::Damaged(_) if doing == Doing::Repair => "give a copy of the vault with --from",
        Error::Damaged(damage) if damage.object == header::OBJECT || damage.object == header::COPY => {
            "rebuild it with `icecore repair`, or read what is left with --salvage"
        }
        Error::Damaged(_) if matches!(doing, Doing::RestoreFile | Doing::RestoreDevice | Doing::Copying) => {
            "see with `icecore repair` what can be had again, or add --salvage to get the rest, with zeros there"
        }
        Error::Damaged(_) => {
            "run `icecore verify` to see which points are hit, and `icecore repair` to see what can be had again"
        }
        Error::Missing { .. } if matches!(doing, Doing::RestoreFile | Doing::RestoreDevice) => {
            "add --allow-incomplete to restore the rest, with zeros there, or take another point"
        }
        Error::Missing { .. } => "take that range from another point",
        Error::Busy { .. } => "wait until that has ended, then run it again",
        Error::Interrupted if doing == Doing::Replicating => "run it again when it suits: it goes on",
        Error::Interrupted => "run it again when it suits",
        _ => "run it again; if it fails again, report it",
    };
    fixed.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn full() -> Error {
        Error::Vault {
            operation: "write",
            path: PathBuf::from("tmp/x"),
            source: io::Error::from(io::ErrorKind::StorageFull),
        }
    }

    #[test]
    fn a_sentence_says_what_happened_what_is_safe_and_what_to_do() {
        let line = |error: &Error, doing| sentence(error, doing).line();
        assert_eq!(
            line(&Error::NoVault { path: "/srv/v".into() }, Doing::Backup),
            "no vault at /srv/v; nothing was done; check --vault or ICECORE_VAULT, or make a vault there with `icecore init`"
        );
        assert_eq!(
            line(&full(), Doing::Backup),
            "no space is left under the vault (writing tmp/x); no point was made, earlier points are intact and the \
             space of this attempt was given back; free some space there and run it again"
        );
        assert_eq!(
            line(&Error::Interrupted, Doing::RestoreDevice),
            "interrupted; the vault is unchanged but the device now holds only part of the disk; run it again when it suits"
        );
        assert!(line(&Error::TargetExists { path: "x".into() }, Doing::RestoreDevice).contains("nothing was written"));
    }

    #[test]
    fn a_hostile_name_stays_on_its_line() {
        let error = Error::NoSuchPath { path: "a\nicecore: all is well\u{1b}[2K".into() };
        let line = sentence(&error, Doing::Reading).line();
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn exit_codes_follow_who_must_act() {
        let of = |error| Problem::Engine(error).exit().code();
        assert_eq!(of(Error::NoVault { path: "x".into() }), 10);
        assert_eq!(of(Error::Busy { what: "x" }), 11);
        assert_eq!(of(Error::WrongKey { slots: 1 }), 12);
        assert_eq!(of(Error::OverQuota { machine: String::new(), counted_bytes: 2, hard_bytes: 1 }), 14);
        assert_eq!(of(Error::Interrupted), 130);
        assert_eq!(of(Error::DuplicateDisk { name: "x".into() }), 2);
        assert_eq!(of(Error::UnknownMachine { name: "x".into() }), 1);
        assert_eq!(of(full()), 1);
    }
}
