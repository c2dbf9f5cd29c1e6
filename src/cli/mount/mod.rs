//! `icecore mount`

mod daemon;
mod log;
mod overlap;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use icecore::Vault;
use icecore::seal::Credential;
use icecore::store::CacheSizes;
use icecore::vault::OpenOptions;
use icecore_fuse::{MountError, MountOptions, Unmounter};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::arguments::Global;
use super::exit::Exit;
use super::problem::{Problem, Sentence};
use super::{human, output, secrets, signals, size};
use daemon::{Ready, Side};
use log::Log;

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
        return serve(arguments, global, &vault, &credential, log, None);
    }
    // Before any thread starts: a fork takes only the thread that calls it along.
    match daemon::fork()? {
        Side::Parent(Exit::Done) => {
            tell(arguments, global)?;
            Ok(Exit::Done)
        }
        // The child said why.
        Side::Parent(exit) => Ok(exit),
        Side::Child(ready) => serve(arguments, global, &vault, &credential, log, Some(ready)),
    }
}

fn serve(
    arguments: &Arguments,
    global: &Global,
    vault: &Path,
    credential: &Credential,
    log: Log,
    ready: Option<Ready>,
) -> Result<Exit, Problem> {
    let cache = CacheSizes { chunk_bytes: arguments.cache, ..CacheSizes::default() };
    let options = OpenOptions { read_mode: global.read_mode.into(), cache };
    let tree = Arc::new(Vault::open(vault, credential, &options)?.tree());
    let mut options = MountOptions { allow_other: arguments.allow_other, ..MountOptions::default() };
    options.threads = arguments.threads.unwrap_or(options.threads);
    options.direct_io_bytes = options.direct_io_bytes.filter(|_| !arguments.page_cache);
    // From here on a signal waits until there is something to unmount.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(signals::refused)?;
    let log = Arc::new(log);
    let failures = Arc::clone(&log);
    let mount = icecore_fuse::mount(tree, &arguments.mount_point, &options, move |failure| {
        failures.tell(&failure.to_string());
    });
    let mount = mount.map_err(|error| refused(&error))?;
    match ready {
        None => tell(arguments, global)?,
        // Should this fail, the mount is dropped and with it unmounted.
        Some(ready) => ready.signal(&log)?,
    }
    let unmounter = mount.unmounter();
    std::thread::spawn(move || end_on_signal(signals, &unmounter, &log));
    mount.join();
    Ok(Exit::Done)
}

fn end_on_signal(mut signals: Signals, unmounter: &Unmounter, log: &Log) {
    for _ in signals.forever() {
        if let Err(error) = unmounter.unmount() {
            log.tell(&format!("cannot unmount: {}", with_source(&error)));
        }
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
