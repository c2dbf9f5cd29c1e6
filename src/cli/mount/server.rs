//! The process that reads guests' bytes and answers for the mount; [`keeper`](super::keeper) is the other one.
//!
//! In this order:
//! 1. it closes what it was born with and does not need, and opens the vault, so that a wrong password is told;
//! 2. it leaves the terminal, but for standard error where that is the log;
//! 3. it gives up what it does not need. Nothing that a guest wrote was read so far;
//! 4. it asks to be mounted, gets the device, serves, and ends when the mount does.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::{fs, iter};

use icecore::Vault;
use icecore::lockdown::{self, Needs};
use icecore::seal::Credential;
use icecore::store::CacheSizes;
use icecore::vault::OpenOptions;
use icecore_fuse::{Cause, MountOptions, Session};
use rustix::io::Errno;
use rustix::net::SendFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;

use super::link;
use super::log::Log;
use super::{Arguments, Sandbox, daemon, with_source};
use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::opening::corrected;
use crate::cli::problem::Problem;
use crate::cli::{salvage, seen, signals};

/// Serves until the mount ends. What fails once the terminal is left goes to the keeper, who tells it.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    mount_options: &MountOptions,
    needs: &Needs<'_>,
    credential: Credential,
    log: Log,
    keeper: &UnixStream,
) -> Result<Exit, Problem> {
    close_all_but(&[keeper.as_raw_fd(), log.descriptor().unwrap_or(0)]);
    if let Some(scratch) = needs.scratch {
        // SAFETY: this process was just forked and has one thread, which reads no environment meanwhile.
        unsafe { std::env::set_var("TMPDIR", scratch) };
    }
    let cache = CacheSizes { chunk_bytes: arguments.cache, ..CacheSizes::default() };
    let options = OpenOptions { read_mode: global.read_mode.into(), cache, salvage: arguments.salvage.salvage };
    let vault = Vault::open(needs.vault, &credential, &options)?;
    // Wiped: whoever takes this process over later has the vault's keys, and not what opens it elsewhere.
    drop(credential);
    salvage::tell(&vault, global);
    seen::look(&vault, global.json, true);
    let log = Arc::new(log);
    let corrections = Arc::clone(&log);
    vault.on_correction(move |correction| corrections.tell(&corrected(correction)));
    let tree = Arc::new(vault.tree());
    // Whoever ends this process wants the mount to end, which is the other one's to do.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let keeper = keeper.try_clone().map_err(signals::refused)?;
        // SAFETY: makes one system call, or ends the process by another; neither allocates nor locks.
        unsafe { low_level::register(signal, move || pass_on(&keeper)) }.map_err(signals::refused)?;
    }
    leave(arguments.foreground).map_err(Problem::file("leave", Path::new("the terminal")))?;
    let served = lock_down(arguments.sandbox, needs, &log).and_then(|()| serve(tree, mount_options, log, keeper));
    if let Err(reason) = served {
        // Nobody left to tell it to: then nothing was mounted either.
        let _ = link::fail(keeper, &reason);
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn serve(
    tree: Arc<icecore::tree::VaultTree>,
    options: &MountOptions,
    log: Arc<Log>,
    keeper: &UnixStream,
) -> Result<(), String> {
    let device = link::tell(keeper, link::OPEN).and_then(|()| icecore_fuse::receive_device(keeper));
    let Some(device) = device.map_err(|error| error.to_string())? else {
        return Err("nothing came to be served".to_owned());
    };
    let session = Session::begin(tree, device, options, move |failure| {
        let hint = if matches!(failure.cause, Cause::Error(error) if is_denied(error)) { REPLACED } else { "" };
        log.tell(&format!("{failure}{hint}"));
    });
    let session = session.map_err(|error| with_source(&error))?;
    // A keeper that is gone can't unmount any more; whoever looks at the mount is served all the same.
    let _ = link::tell(keeper, link::UP);
    session.run().map_err(|error| format!("the threads that serve ended: {error}"))
}

/// The lock-down holds for the directory that was there when it began, not for its name.
const REPLACED: &str = " (was the vault moved, mounted anew or restored? then unmount and mount again)";

fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let all = iter::successors(Some(error), |error| (*error).source());
    all.filter_map(|error| error.downcast_ref::<io::Error>()).any(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// What a signal does: it goes to the keeper. Where that is gone, this process is all that is left to end.
fn pass_on(keeper: &UnixStream) {
    let sent = rustix::net::send(keeper, &[link::SIGNALLED], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    if let Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) = sent {
        low_level::exit(i32::from(Exit::Interrupted.code()));
    }
}

fn lock_down(sandbox: Sandbox, needs: &Needs<'_>, log: &Log) -> Result<(), String> {
    if sandbox == Sandbox::Off {
        return Ok(());
    }
    for kept in lockdown::lock_down(needs) {
        let text = format!("the process that serves the mount is not locked down: {kept}");
        if sandbox == Sandbox::Require {
            return Err(text);
        }
        log.tell(&text);
    }
    Ok(())
}

/// Of the terminal only standard error stays, in the foreground, where it is the log; of that, only writing where possible.
fn leave(foreground: bool) -> io::Result<()> {
    if !foreground {
        return daemon::leave();
    }
    rustix::process::chdir("/")?;
    let null = daemon::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    // Another user's terminal can't be opened once more, nor can any where there is no /proc: then it stays as it is.
    if io::stderr().is_terminal()
        && let Ok(terminal) = fs::OpenOptions::new().write(true).open("/proc/self/fd/2")
    {
        rustix::stdio::dup2_stderr(terminal)?;
    }
    Ok(())
}

/// Closes what the shell, or whoever started this, left open; standard input, output and error stay.
fn close_all_but(needed: &[RawFd]) {
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2 && !needed.contains(descriptor)) {
        // SAFETY: this process was just forked. What it uses itself is in `needed`; nothing else here has an owner that
        // goes on to use it, or closes it too. The one that listed them is closed already, which is no error.
        unsafe { libc::close(descriptor) };
    }
}
