//! Disks that hold still while they are read: a machine's scripts, snapshots, and copies that share blocks.
//!
//! ```text
//! pre-script -> snapshot command or reflink -> post-script -> reading -> release of the snapshot
//! pre-script -> reading -> post-script                                   without one of those
//! ```
//!
//! Invariants:
//! - whatever happens, once the pre-script was started the post-script runs, once; once the snapshot command was started, its
//!   release runs, once; neither is cut short by a wish to stop, only by its own timeout;
//! - whatever failed, the post-script comes before the release: a machine is frozen for as short as can be;
//! - a command has a process group of its own, and no longer than the timeout; then the group is ended;
//! - no command gets a key: neither by its environment nor by a descriptor;
//! - what a command prints is bounded, and believed in nothing but the paths that it was asked for;
//! - a reflink copy has no name: nobody has to remove it, not even after the process was killed.
//!
//! It knows no vault. [`Vault::backup_quiesced`](crate::Vault::backup_quiesced) puts the backup in its place.

mod freeze;
mod reflink;
mod script;
mod snapshot;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use freeze::{Achieved, Freeze};
use serde::Serialize;

use crate::backup::BackupReport;
use crate::error::{Error, Result};
use crate::point::{Consistency, check_name};

/// Longest time that a command may be given.
const MOST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// How often the wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// How long a command may take where nobody says.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// How a machine's disks are made to hold still. By default nothing is done, and the disks are read as they are.
///
/// Commands are run by `sh -c` with what they need to know in their environment:
///
/// | variable | |
/// |---|---|
/// | `ICECORE_PHASE` | `pre`, `post`, `snapshot` or `release` |
/// | `ICECORE_MACHINE` | the machine's name |
/// | `ICECORE_DISKS` | the names of its disks, one a line |
/// | `ICECORE_DISK_COUNT` | how many there are |
/// | `ICECORE_DISK_<n>_NAME`, `ICECORE_DISK_<n>_PATH` | each disk's name and absolute path, from 1 on |
/// | `ICECORE_DISK_<n>_SNAPSHOT` | for `release`: the path that `snapshot` printed, where it got that far |
/// | `ICECORE_RESULT` | for `post`: `ok` if the disks hold still or were read; for `release`: `ok` if there is a point; else `failed` |
///
/// Every other variable whose name begins with `ICECORE_` is taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiesce {
    /// Run first: makes applications or file systems hold still.
    pub pre_script: Option<String>,
    /// Undoes that. Always runs after the pre-script was started, once, also where that failed.
    pub post_script: Option<String>,
    /// How long each command may take, and the reflink copies together.
    pub timeout: Duration,
    /// Makes a snapshot in phase `snapshot`, and prints `NAME=PATH` for each disk: where to read it. Removes it in phase
    /// `release`.
    pub snapshot_command: Option<String>,
    /// Whether each disk, an image file on XFS or btrfs, is copied by sharing its blocks, and the copy is read.
    pub reflink: bool,
    /// The directory of the unnamed copies, on the file system of the images; beside each image, where none is given.
    pub snapshot_dir: Option<PathBuf>,
    /// How consistent the disks are where the scripts succeeded, or without any. Where none is said, it is
    /// [`Consistency::Application`] with scripts and [`Consistency::Crash`] without.
    pub consistency: Option<Consistency>,
    /// Whether a point is made all the same, as [`Consistency::Crash`], where the scripts fail.
    pub allow_crash: bool,
}

impl Default for Quiesce {
    fn default() -> Self {
        Self {
            pre_script: None,
            post_script: None,
            timeout: DEFAULT_TIMEOUT,
            snapshot_command: None,
            reflink: false,
            snapshot_dir: None,
            consistency: None,
            allow_crash: false,
        }
    }
}

impl Quiesce {
    /// Refuses what makes no sense, before anything is run.
    pub fn check(&self) -> Result<()> {
        let invalid = |what, value: &str, rule| Err(Error::Invalid { what, value: value.to_owned(), rule });
        let commands = [
            ("pre-script", &self.pre_script),
            ("post-script", &self.post_script),
            ("snapshot command", &self.snapshot_command),
        ];
        for (what, command) in commands {
            match command.as_deref() {
                Some(text) if text.trim().is_empty() => return invalid(what, text, "it is empty"),
                Some(text) if text.contains('\0') => return invalid(what, text, "it may hold no NUL"),
                _ => {}
            }
        }
        if let (None, Some(post)) = (&self.pre_script, &self.post_script) {
            return invalid("post-script", post, "it undoes a pre-script, and there is none");
        }
        if let (true, Some(command)) = (self.reflink, &self.snapshot_command) {
            return invalid("snapshot command", command, "a reflink copy is one already");
        }
        if let (false, Some(dir)) = (self.reflink, &self.snapshot_dir) {
            return invalid(
                "snapshot directory",
                &dir.to_string_lossy(),
                "it is for reflink copies, and none are made",
            );
        }
        if self.timeout.is_zero() || self.timeout > MOST_TIMEOUT {
            let value = format!("{} s", self.timeout.as_secs_f64());
            return invalid("timeout", &value, "a script needs some time, and a day at most");
        }
        Ok(())
    }

    /// Whether anything is run or made that must be undone.
    pub fn is_something(&self) -> bool {
        self.pre_script.is_some() || self.copies()
    }

    /// Whether a copy is read instead of the disks.
    fn copies(&self) -> bool {
        self.reflink || self.snapshot_command.is_some()
    }

    /// The level of a point whose scripts, if any, succeeded.
    fn level(&self) -> Consistency {
        let default = if self.pre_script.is_some() { Consistency::Application } else { Consistency::Crash };
        self.consistency.unwrap_or(default)
    }
}

/// A disk to be backed up, by the image file or device that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskImage {
    /// Its name in the point.
    pub name: String,
    /// The file or device.
    pub path: PathBuf,
}

impl DiskImage {
    /// A disk of that name at that path.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into() }
    }
}

/// Refuses disks that could not become a point, before a machine is frozen for them.
pub(crate) fn check_images(images: &[DiskImage]) -> Result<()> {
    for (number, image) in images.iter().enumerate() {
        check_name("disk name", &image.name)?;
        if images.iter().take(number).any(|before| before.name == image.name) {
            return Err(Error::DuplicateDisk { name: image.name.clone() });
        }
    }
    Ok(())
}

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The pre-script.
    Pre,
    /// The post-script.
    Post,
    /// The snapshot command, to make a snapshot.
    Snapshot,
    /// The snapshot command, to remove it.
    Release,
}

impl Phase {
    /// As the command gets it in `ICECORE_PHASE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
            Self::Snapshot => "snapshot",
            Self::Release => "release",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Pre => "the pre-script",
            Self::Post => "the post-script",
            Self::Snapshot => "the snapshot command",
            Self::Release => "the snapshot command's release",
        })
    }
}

/// Why a command counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptFailure {
    /// It could not be started, or not be waited for.
    #[error("can't be run: {0}")]
    NotRun(std::io::ErrorKind),
    /// It said so.
    #[error("ended with {0}")]
    Ended(std::process::ExitStatus),
    /// It took longer than it may.
    #[error("took longer than {} s and was stopped", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The backup was to stop.
    #[error("was stopped, as the backup was interrupted")]
    Interrupted,
    /// It printed more than any list of paths.
    #[error("printed more than {0} bytes and was stopped")]
    TooMuch(usize),
    /// It printed something else than it was asked for.
    #[error("printed {line:?}: {rule}")]
    Answer {
        /// The beginning of the line.
        line: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// It printed no path for a disk.
    #[error("printed no path for disk {0:?}")]
    Unanswered(String),
}

/// A command that was run.
#[derive(Clone, Debug)]
pub struct ScriptRun {
    /// What for.
    pub phase: Phase,
    /// Why it failed, if it did.
    pub failure: Option<ScriptFailure>,
    /// The end of what it printed, without the paths of a snapshot.
    pub output: String,
    /// How long it took.
    pub seconds: f64,
}

impl ScriptRun {
    /// The failure as an error that ends a backup, with the end of what the command printed.
    pub fn error(&self) -> Option<Error> {
        let (phase, output) = (self.phase, self.output.clone());
        self.failure.clone().map(|failure| Error::Script { phase, failure, output })
    }
}

/// How a backup ended, and what was run for it.
#[derive(Debug)]
pub struct QuiescedBackup {
    /// What the backup did, or why there is no point.
    pub outcome: Result<BackupReport>,
    /// Every command that was run, in order. One that failed is told here alone if something else failed before, or if the
    /// point was made all the same.
    pub runs: Vec<ScriptRun>,
}

/// Text as one line without control characters, of so many bytes at most.
fn one_line(text: &str, most_bytes: usize) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    let mut line = String::new();
    for character in text.trim().chars().map(plain) {
        if line.len() + character.len_utf8() > most_bytes {
            break;
        }
        line.push(character);
    }
    line
}
