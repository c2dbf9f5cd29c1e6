//! The process that mounts and unmounts, and knows no more than that.
//!
//! A mount is two processes. One reads what guests wrote and answers the kernel ([`server`](super::server)); it gives up
//! every right, that to unmount included. The other, this one, has no vault, no key and no guest's byte. It mounts, hands the
//! device over, and unmounts when it is told to: by a signal, by the server that got one, or by the server's end, whatever
//! ended it, so that no dead mount stays behind.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use icecore_fuse::{Ended, Mount, MountOptions, Unmounter};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::daemon::{self, Ready};
use super::fork::{Child, HowEnded};
use super::link::{self, Heard};
use super::log::Log;
use super::{Arguments, Sandbox, refused, with_source};
use crate::cli::arguments::Global;
use crate::cli::exit::Exit;
use crate::cli::problem::{Problem, Sentence};
use crate::cli::signals;

/// How long a server that says nothing more may take to end by itself.
const END_GRACE: Duration = Duration::from_secs(1);

/// What a signal ends.
enum Stage {
    /// Nothing is served yet: the server, whatever it is at.
    Starting,
    /// The mount.
    Up(Unmounter),
}

/// The process that serves, and what a signal does to it.
struct Served {
    child: Child,
    stage: Mutex<Stage>,
    /// A signal came before the mount was up.
    was_stopped: AtomicBool,
    log: Log,
}

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
    let served =
        Arc::new(Served { child, stage: Mutex::new(Stage::Starting), was_stopped: AtomicBool::new(false), log });
    // From here on a signal ends what the server does, and with it this process, which leaves nothing behind.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(signals::refused)?;
    let signalled = Arc::clone(&served);
    thread::spawn(move || signals.forever().for_each(|_| signalled.signal()));

    match link::listen(&server) {
        Heard::Letter(link::OPEN) => {}
        other => return served.stopped(other, arguments.sandbox),
    }
    let (device, mount) = match icecore_fuse::attach(&arguments.mount_point, options) {
        Ok(attached) => attached,
        Err(error) => {
            served.child.end();
            return Err(refused(&error));
        }
    };
    // A child that is gone can't be sent anything, nor does it tell anything.
    let _ = icecore_fuse::send_device(&server, device);
    let heard = link::listen(&server);
    // The session is agreed on; whether its threads run, only an answer tells.
    if heard != Heard::Letter(link::UP) || !mount.answers() || !served.is_up(mount.unmounter()) {
        let heard = if heard == Heard::Letter(link::UP) { link::listen(&server) } else { heard };
        // The child first: as long as it has the device, nobody can tell that nobody will answer.
        let stopped = served.stopped(heard, arguments.sandbox);
        mount.unmounter().session_ended();
        return stopped;
    }
    mount.session_began();
    let told = match ready {
        None => super::tell(arguments, global),
        Some(ready) => ready.signal(&served.log),
    };
    if let Err(error) = told {
        served.child.end();
        mount.unmounter().session_ended();
        return Err(error);
    }
    Ok(served.keep(mount, server))
}

impl Served {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Nothing panics while holding it; were it so, the stage would still be whole.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a signal unmounts. False where one came before, which has ended the server.
    fn is_up(&self, unmounter: Unmounter) -> bool {
        *self.stage() = Stage::Up(unmounter);
        !self.was_stopped.load(Ordering::Acquire)
    }

    fn signal(&self) {
        let stage = self.stage();
        let unmounter = match &*stage {
            Stage::Starting => {
                // While the stage is held: whoever enters the next one knows of it.
                self.was_stopped.store(true, Ordering::Release);
                return self.child.kill();
            }
            Stage::Up(unmounter) => unmounter.clone(),
        };
        drop(stage);
        if let Err(error) = unmounter.unmount() {
            self.log.tell(&format!("cannot unmount: {}", with_source(&error)));
        }
    }

    /// What became of a server that did not come up.
    fn stopped(&self, heard: Heard, sandbox: Sandbox) -> Result<Exit, Problem> {
        let next = match sandbox {
            Sandbox::Require => "use --sandbox auto to do with what there is",
            Sandbox::Auto | Sandbox::Off => "look at the kernel's log (dmesg)",
        };
        let failed =
            |happened: String| Problem::said(Exit::Failed, Sentence::new(happened, "nothing was mounted", next));
        match heard {
            Heard::Failed(reason) => {
                self.child.end();
                Err(failed(reason))
            }
            // A signal.
            Heard::Letter(_) => {
                self.child.end();
                Ok(Exit::Interrupted)
            }
            // It said why, unless it could not.
            Heard::Nothing => match self.child.wait().map(|ended| (ended, daemon::exit_of(ended))) {
                Ok((HowEnded::Exited(_), exit)) if exit != Exit::Done => Ok(exit),
                Ok(_) if self.was_stopped.load(Ordering::Acquire) => Ok(Exit::Interrupted),
                Ok((_, Exit::Interrupted)) => Ok(Exit::Interrupted),
                _ => Err(failed("the process that was to serve the mount was ended".to_owned())),
            },
        }
    }

    fn keep(self: &Arc<Self>, mount: Mount, server: UnixStream) -> Exit {
        let (listener, heard) = (mount.unmounter(), Arc::clone(self));
        thread::spawn(move || {
            loop {
                match link::listen(&server) {
                    // To the thread of signals: this one must go on, to hear of the end that the other waits for.
                    Heard::Letter(_) => drop(kill_process(getpid(), Signal::TERM)),
                    Heard::Failed(reason) => break heard.log.tell(&reason),
                    Heard::Nothing => break,
                }
            }
            // Whoever says nothing more has ended, or else is in other hands and would answer the mount no more.
            heard.child.end_after(END_GRACE);
            listener.session_ended();
        });
        if mount.join() == Ended::StillInUse {
            self.child.end();
            return Exit::Done;
        }
        match self.child.wait() {
            Ok(HowEnded::Exited(0)) => Exit::Done,
            Ok(ended) => {
                let how = match ended {
                    HowEnded::Exited(_) => "by itself".to_owned(),
                    HowEnded::Killed(signal) => format!("by signal {signal}"),
                };
                self.log.tell(&format!("the process that served the mount ended {how}; it is unmounted"));
                Exit::Failed
            }
            Err(_) => Exit::Failed,
        }
    }
}
