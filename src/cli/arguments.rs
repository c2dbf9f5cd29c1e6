//! The command line's definition: parser, `--help`, completions and man pages all come from here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use icecore::media::ReadMode;

use super::exit;
use super::{
    backup, bench, cat, completions, copy, cp, diff, duration, find, forget, gc, init, key, ls, machine, man, mount,
    points, policy, protect, quota, repair, restore, soft_delete, stats, umount, undelete, verify,
};

/// The file of a recovery key that stands for asking for its words.
pub const ASK: &str = "-";

/// Heading of the options that every verb takes.
const GLOBAL: &str = "Options of every verb";

const LONG_ABOUT: &str = "\
Keeps recovery points of virtual machine disks in an encrypted, deduplicated vault, and lets anyone with the key walk \
into any of them as a read-only directory.

Everything in a vault has one path, the same in `ls`, `cat`, `cp`, `find` and in the mount:

  MACHINE/POINT/disks/DISK.raw           a disk, byte for byte
  MACHINE/POINT/files/DISK/VOLUME/...    the guest's own files
  MACHINE/POINT/point.json               what the point is
  MACHINE/latest                         the newest point

POINT is a point's time (2026-11-20T02-00-00Z), the first digits of its id, or `latest`.";

const SECRETS_HELP: &str = "\
The password or key file comes from the first of these that is there:
  --key-file, --password-file, --password-command, --recovery-key, --unwrap-command
  ICECORE_KEY_FILE           path of a key file, 32 random bytes or more
  ICECORE_PASSWORD_FILE      path of a file whose line is the password
  ICECORE_PASSWORD_COMMAND   shell command that prints the password
  ICECORE_UNWRAP_COMMAND     command that unwraps a key that a key service keeps, see `icecore key add --help`
  ICECORE_PASSWORD           the password
  a prompt, on a terminal";

const EXAMPLES: &str = "\
Examples:
  export ICECORE_VAULT=/srv/vault ICECORE_PASSWORD_FILE=/root/pw
  icecore init
  icecore backup web01 --disk os=/images/web01.raw
  icecore cp -r web01/latest/files/os/p2/etc/nginx ./nginx-back";

/// Recovery points of virtual machine disks, browsable file by file
#[derive(Debug, Parser)]
#[command(name = "icecore", version, long_about = LONG_ABOUT, max_term_width = 120)]
#[command(after_long_help = format!("{SECRETS_HELP}\n\n{}\n\n{EXAMPLES}", exit::HELP))]
#[command(after_help = "`icecore help` says more: paths, passwords, exit codes.")]
pub struct CommandLine {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The vault's directory
    #[arg(long, global = true, env = "ICECORE_VAULT", value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(help_heading = GLOBAL)]
    pub vault: Option<PathBuf>,
    /// Take the password from this file's line [env: ICECORE_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = GLOBAL)]
    pub password_file: Option<PathBuf>,
    /// Take the password from what this shell command prints [env: ICECORE_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", value_hint = ValueHint::CommandString, help_heading = GLOBAL)]
    pub password_command: Option<String>,
    /// Use this file's content instead of a password [env: ICECORE_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = GLOBAL)]
    pub key_file: Option<PathBuf>,
    /// Open with a recovery key: asks for its words, or takes them from FILE. With `init`: print one for the safe
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = GLOBAL)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = ASK)]
    pub recovery_key: Option<PathBuf>,
    /// Open with a key that this command unwraps; no shell [env: ICECORE_UNWRAP_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", value_hint = ValueHint::CommandString, help_heading = GLOBAL)]
    pub unwrap_command: Option<String>,
    /// How long a command that wraps or unwraps a key may take, as 90s or 5m
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    #[arg(help_heading = GLOBAL)]
    pub key_timeout: Duration,
    /// Print JSON for programs, errors included
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// Print no progress and no summary
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// How files of the vault are read: mapped into memory, or read piece by piece
    #[arg(long, global = true, value_enum, default_value_t, value_name = "MODE", help_heading = GLOBAL)]
    pub read_mode: Reading,
}

/// What opens the vault that points are copied to.
#[derive(Args, Clone, Debug)]
pub struct TargetKey {
    /// Take the target's password from this file's line [env: ICECORE_TO_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub to_password_file: Option<PathBuf>,
    /// Take it from what this shell command prints [env: ICECORE_TO_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub to_password_command: Option<String>,
    /// Use this file's content instead of a password [env: ICECORE_TO_KEY_FILE]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub to_key_file: Option<PathBuf>,
    /// Open the target with a recovery key: asks for its words, or takes them from FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = ASK)]
    pub to_recovery_key: Option<PathBuf>,
    /// Open the target with a key that this command unwraps; no shell [env: ICECORE_TO_UNWRAP_COMMAND]
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub to_unwrap_command: Option<String>,
}

/// How files of the vault are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reading {
    /// Through a memory map.
    #[default]
    Map,
    /// With pread.
    Pread,
}

impl From<Reading> for ReadMode {
    fn from(reading: Reading) -> Self {
        match reading {
            Reading::Map => Self::Map,
            Reading::Pread => Self::Pread,
        }
    }
}

/// The verbs. What `--help` says of each stands at its arguments.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Init(init::Arguments),
    Backup(backup::Arguments),
    Points(points::Arguments),
    Ls(ls::Arguments),
    Cat(cat::Arguments),
    Cp(cp::Arguments),
    Find(find::Arguments),
    Diff(diff::Arguments),
    Restore(restore::Arguments),
    Verify(verify::Arguments),
    Repair(repair::Arguments),
    Copy(copy::Arguments),
    Forget(forget::Arguments),
    Undelete(undelete::Arguments),
    Protect(protect::Arguments),
    SoftDelete(soft_delete::Arguments),
    Quota(quota::Arguments),
    Policy(policy::Arguments),
    Machine(machine::Arguments),
    Gc(gc::Arguments),
    Stats(stats::Arguments),
    Bench(bench::Arguments),
    Mount(mount::Arguments),
    Umount(umount::Arguments),
    Key(key::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}
