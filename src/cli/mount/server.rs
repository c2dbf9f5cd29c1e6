//! The process that reads guests' bytes and answers for the mount; [`keeper`](super::keeper) is the other one.
//!
//! In this order:
//! 1. it closes what it was born with and does not need, and opens the vault, so that a wrong password is told;
//! 2. it leaves the terminal, but for standard error where that is the log;
//! 3. it gives up what it does not need. Nothing that a guest wrote was read so far;
//! 4. it asks to be mounted, gets the device, serves, and ends when the mount does.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use icecore::Vault;
use icecore::lockdown::{self, Needs};
use icecore::seal::Credential;
use icecore::store::CacheSizes;
use icecore::vault::OpenOptions;
use icecore_fuse::{MountOptions, Session};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::link;
use super::log::Log;
use super::{Arguments, Sandbox, daemon, with_source};
use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::problem::Problem;
use crate::cli::salvage;
use crate::cli::signals;

/// Serves until the mount ends. What fails once the terminal is left goes to the keeper, who tells it.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    mount_options: &MountOptions,
    needs: &Needs<'_>,
    credential: &Credential,
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
    let vault = Vault::open(needs.vault, credential, &options)?;
    salvage::tell(&vault, global);
    let tree = Arc::new(vault.tree());
    // Whoever ends this process wants the mount to end, which is the other one's to do.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let keeper = keeper.try_clone().map_err(signals::refused)?;
        pipe::register(signal, keeper).map_err(signals::refused)?;
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
    log: Log,
    keeper: &UnixStream,
) -> Result<(), String> {
    let device = link::tell(keeper, link::OPEN).and_then(|()| icecore_fuse::receive_device(keeper));
    let Some(device) = device.map_err(|error| error.to_string())? else {
        return Err("nothing came to be served".to_owned());
    };
    let session = Session::begin(tree, device, options, move |failure| log.tell(&failure.to_string()));
    let session = session.map_err(|error| with_source(&error))?;
    // A keeper that is gone can't unmount any more; whoever looks at the mount is served all the same.
    let _ = link::tell(keeper, link::UP);
    session.run();
    Ok(())
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

/// Of the terminal only standard error stays, in the foreground, where it is the log; of that, only writing.
fn leave(foreground: bool) -> io::Result<()> {
    if !foreground {
        return daemon::leave();
    }
    rustix::process::chdir("/")?;
    let null = daemon::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    if io::stderr().is_terminal() {
        rustix::stdio::dup2_stderr(fs::OpenOptions::new().write(true).open("/proc/self/fd/2")?)?;
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
