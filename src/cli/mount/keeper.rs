//! The process that mounts and unmounts, and knows no more than that.
//!
//! A mount is two processes. One reads what guests wrote and answers the kernel ([`server`](super::server)); it gives up
//! every right, that to unmount included. The other, this one, has no vault, no key and no guest's byte. It mounts, hands the
//! device over, and unmounts when it is told to: by a signal, by the server that got one, or by the server's end, whatever
//! ended it, so that no dead mount stays behind.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use icecore_fuse::{Ended, Mount, MountOptions};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::daemon::{self, Ready};
use super::fork::Child;
use super::link::{self, Heard};
use super::log::Log;
use super::{Arguments, Sandbox, refused, with_source};
use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::problem::{Problem, Sentence};
use crate::cli::signals;

/// Mounts what `child` serves, and keeps the mount until it ends.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    options: &MountOptions,
    child: Child,
    server: UnixStream,
    log: Log,
    ready: Option<Ready>,
) -> Result<Exit, Problem> {
    match link::listen(&server) {
        Heard::Letter(link::OPEN) => {}
        other => return stopped(other, child, arguments.sandbox),
    }
    // From here on a signal waits until there is something to unmount.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(signals::refused)?;
    let (device, mount) = match icecore_fuse::attach(&arguments.mount_point, options) {
        Ok(attached) => attached,
        Err(error) => {
            child.end();
            return Err(refused(&error));
        }
    };
    // A child that is gone can't be sent anything, nor does it tell anything.
    let _ = icecore_fuse::send_device(&server, device);
    match link::listen(&server) {
        Heard::Letter(link::UP) => mount.session_began(),
        other => {
            // The child first: as long as it has the device, nobody can tell that nobody will answer.
            let stopped = stopped(other, child, arguments.sandbox);
            mount.unmounter().session_ended();
            return stopped;
        }
    }
    match ready {
        None => super::tell(arguments, global)?,
        // Should this fail, the mount is dropped and with it unmounted.
        Some(ready) => ready.signal(&log)?,
    }
    Ok(keep(mount, signals, child, server, log))
}

/// What became of a server that did not come up.
fn stopped(heard: Heard, child: Child, sandbox: Sandbox) -> Result<Exit, Problem> {
    let next = match sandbox {
        Sandbox::Require => "use --sandbox auto to do with what there is",
        Sandbox::Auto | Sandbox::Off => "look at the kernel's log (dmesg)",
    };
    let failed = |happened: String| Problem::said(Exit::Failed, Sentence::new(happened, "nothing was mounted", next));
    match heard {
        Heard::Failed(reason) => {
            child.end();
            Err(failed(reason))
        }
        // A signal.
        Heard::Letter(_) => {
            child.end();
            Ok(Exit::Interrupted)
        }
        // It said why, unless it could not.
        Heard::Nothing => match child.wait().map(|status| (status.exit_status(), daemon::exit_of(status))) {
            Ok((Some(_), exit)) if exit != Exit::Done => Ok(exit),
            _ => Err(failed("the process that was to serve the mount was ended".to_owned())),
        },
    }
}

fn keep(mount: Mount, mut signals: Signals, child: Child, server: UnixStream, log: Log) -> Exit {
    let log = Arc::new(log);
    let (unmounter, listener) = (mount.unmounter(), mount.unmounter());
    let told = Arc::clone(&log);
    thread::spawn(move || {
        for _ in signals.forever() {
            if let Err(error) = unmounter.unmount() {
                told.tell(&format!("cannot unmount: {}", with_source(&error)));
            }
        }
    });
    thread::spawn(move || {
        while let Heard::Letter(_) = link::listen(&server) {
            // To the thread above: this one must go on, to hear of the end that the other waits for.
            let _ = kill_process(getpid(), Signal::TERM);
        }
        listener.session_ended();
    });
    if mount.join() == Ended::StillInUse {
        child.end();
        return Exit::Done;
    }
    match child.wait() {
        Ok(status) if status.exit_status() == Some(0) => Exit::Done,
        Ok(status) => {
            let how =
                status.terminating_signal().map_or("by itself".to_owned(), |signal| format!("by signal {signal}"));
            log.tell(&format!("the process that served the mount ended {how}; it is unmounted"));
            Exit::Failed
        }
        Err(_) => Exit::Failed,
    }
}
