//! `icecore mount`

mod daemon;
mod fork;
mod keeper;
mod link;
mod log;
mod overlap;
mod scratch;
mod server;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use icecore::lockdown::Needs;
use icecore::seal::Credential;
use icecore_fuse::{DEVICE, MountError, MountOptions};
use serde_json::json;

use super::arguments::Global;
use super::exit::Exit;
use super::problem::{Problem, Sentence};
use super::salvage::Salvage;
use super::{human, output, secrets, size};
use daemon::{Ready, Side};
use log::Log;
use scratch::Scratch;

const EXAMPLES: &str = "\
Examples:
  icecore mount /mnt/points && ls /mnt/points/web01/latest/files
  icecore mount /mnt/points --foreground
  icecore mount /mnt/points --allow-other --log /var/log/icecore-mount.log";

/// Mount the vault as a read-only directory
///
/// Mounts everything in the vault as a read-only directory: machines, points, disks, and the guests' own files. New points
/// appear while it is mounted. Needs no root where fusermount3 is installed.
///
/// Returns when the mount is up and goes on in the background. It ends, with 0, by `icecore umount`, `umount`,
/// `fusermount3 -u`, SIGTERM, or Ctrl-C in the foreground. What goes wrong meanwhile goes to the system's log, or to the
/// file that --log names; in the foreground to standard error.
///
/// The guests' disks are read by a process of its own, which can't do anything but that: once the vault is open it gives up
/// all files but the vault's, which it may read, all system calls but those that serving takes, and every privilege but root's
/// to read the vault's files whoever they belong to. A vault that is moved, or mounted anew, has to be mounted again.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// An empty directory, outside the vault
    #[arg(value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    mount_point: PathBuf,
    /// Stay in the foreground
    #[arg(long)]
    foreground: bool,
    /// Let other users in too, as far as the permissions of the files go
    #[arg(long)]
    allow_other: bool,
    /// Threads that serve requests [default: twice the cores, 4 to 16]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Memory for decoded chunks that may be asked for again
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = size::parse)]
    cache: u64,
    /// Let the kernel's page cache hold large files too, for programs that read the same places again and again
    #[arg(long)]
    page_cache: bool,
    /// Append what goes wrong while mounted to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    log: Option<PathBuf>,
    /// Show set-user-id and set-group-id bits, file capabilities and device nodes as they are: a copy made by root has them
    /// too. Otherwise the bits and capabilities are left out, and device nodes look like sockets
    #[arg(long)]
    keep_modes: bool,
    /// Whether the process that reads the guests' disks is locked down
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    sandbox: Sandbox,
    #[command(flatten)]
    salvage: Salvage,
}

/// Whether the process that serves is locked down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sandbox {
    /// As far as this kernel can; what it can't goes to the log
    Auto,
    /// Entirely, or nothing is mounted
    Require,
    /// Not at all
    Off,
}

/// Mounts.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    // A daemon has no current directory.
    let vault = global.existing_vault()?;
    let vault = vault.canonicalize().map_err(Problem::file("open the vault", &vault))?;
    overlap::check(&vault, &arguments.mount_point)?;
    let log = Log::open(arguments.log.as_deref(), arguments.foreground)?;
    let credential = secrets::credential(global)?;
    if arguments.foreground {
        return mount(arguments, global, &vault, credential, log, None);
    }
    // Before any thread starts: a fork takes only the thread that calls it along.
    match daemon::fork()? {
        Side::Parent(Exit::Done) => {
            tell(arguments, global)?;
            Ok(Exit::Done)
        }
        // The child said why.
        Side::Parent(exit) => Ok(exit),
        Side::Child(ready) => mount(arguments, global, &vault, credential, log, Some(ready)),
    }
}

/// Becomes two processes, of which one keeps the mount and one serves it.
fn mount(
    arguments: &Arguments,
    global: &Global,
    vault: &Path,
    credential: Credential,
    log: Log,
    ready: Option<Ready>,
) -> Result<Exit, Problem> {
    let options = mount_options(arguments);
    let scratch = if arguments.sandbox == Sandbox::Off { Scratch::none() } else { Scratch::make() };
    match fork::fork().map_err(Problem::file("start", Path::new("a process that serves")))? {
        fork::Side::Parent(server, child) => {
            drop(credential);
            keeper::run(arguments, global, &options, child, server, log, ready)
        }
        fork::Side::Child(keeper) => {
            drop(ready);
            let scratch = scratch.into_path();
            let needs = Needs { vault, scratch: scratch.as_deref(), device: Some(Path::new(DEVICE)) };
            server::run(arguments, global, &options, &needs, credential, log, &keeper)
        }
    }
}

fn mount_options(arguments: &Arguments) -> MountOptions {
    let default = MountOptions::default();
    MountOptions {
        allow_other: arguments.allow_other,
        threads: arguments.threads.unwrap_or(default.threads),
        direct_io_bytes: default.direct_io_bytes.filter(|_| !arguments.page_cache),
        keep_modes: arguments.keep_modes,
        ..default
    }
}

fn tell(arguments: &Arguments, global: &Global) -> Result<(), Problem> {
    let path = &arguments.mount_point;
    if global.json {
        return output::json(&json!({"message_type": "mounted", "mount_point": path.to_string_lossy()}));
    }
    if global.quiet {
        return Ok(());
    }
    let path = human::escaped(path.as_os_str().as_encoded_bytes());
    let end = if arguments.foreground { "Ctrl-C".to_owned() } else { format!("`icecore umount {path}`") };
    output::line(&format!("mounted at {path}; {end} ends it"))
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn refused(error: &MountError) -> Problem {
    let next = match error {
        MountError::MountPointMissing(_) => "make that directory first",
        MountError::MountPointNotADirectory(_) | MountError::MountPointNotEmpty(_) => "choose an empty directory",
        MountError::MountPointDead(_) => "unmount it first",
        MountError::MountPointDenied(..) => "choose a directory that you may write",
        MountError::DeviceMissing(_) => "run `modprobe fuse`, or give the container /dev/fuse",
        MountError::DeviceDenied(_) => "make /dev/fuse accessible (mode 0666)",
        MountError::HelperMissing => "install the package fuse3",
        MountError::AllowOtherForbidden => "change that, or leave --allow-other out",
        _ => "look at the kernel's log (dmesg)",
    };
    Problem::said(Exit::Failed, Sentence::new(with_source(error), "nothing was mounted", next))
}
