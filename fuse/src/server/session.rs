//! The life of a mount: from the first request to the last, and everybody's way to end it.
//!
//! A [`Mount`] is the directory's side: who holds it may unmount. A [`Session`] is the answering side. Mostly both are in
//! one process, where a thread runs the session and says when it ended; a session may also run in a process of its own that
//! has no right to unmount anything. Whoever unmounts detaches the mount and waits for the session's end; where files are
//! still open on the mount, nobody waits for their users.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{Config, SessionACL};
use rustix::process::{Resource, getrlimit};

use super::attach;
use super::detach::{Detached, detach};
use super::error::{MountError, UnmountError};
use super::failure::Failure;
use super::filesystem::Server;
use super::mount_point::{MountPoint, Whereabouts};
use super::negotiate;
use super::options::MountOptions;
use crate::{Harmless, ReadOnlyTree};

/// How long to wait for a detached session to end: requests that were under way finish first, and a copy of the mount
/// in another name space keeps the session alive for as long as it likes.
const END_WAIT: Duration = Duration::from_secs(5);

/// How a mount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is unmounted and the last request is answered.
    Unmounted,
    /// It is unmounted, and programs that had files open there may go on reading until they close them or this
    /// process ends, whichever is first.
    StillInUse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Unmounted lazily; the session goes on for whoever has files open.
    Detached,
    Over,
}

#[derive(Debug)]
struct Shared {
    mount_point: MountPoint,
    phase: Mutex<Phase>,
    phase_changed: Condvar,
    /// Held while detaching, so that two callers do not detach one after the other.
    detaching: Mutex<()>,
}

/// A mounted tree. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    shared: Arc<Shared>,
}

/// A handle that unmounts from any thread, such as the one that handles signals; cheap to clone.
#[derive(Clone, Debug)]
pub struct Unmounter {
    shared: Arc<Shared>,
}

/// The answering side of a mount: agreed with the kernel on how to talk, and waiting to be run. It needs no right but to
/// read what the tree reads, and its device; it may live in another process than its [`Mount`].
pub struct Session {
    run: Run,
}

type Run = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Session {
    /// Agrees with the kernel. `device` is what [`attach`](crate::attach) gave. See [`mount`](crate::mount) for the rest.
    ///
    /// # Errors
    /// [`MountError::Session`].
    pub fn begin<T: ReadOnlyTree + 'static>(
        tree: Arc<T>,
        device: OwnedFd,
        options: &MountOptions,
        on_failure: impl Fn(&Failure<'_, T::Error>) + Send + Sync + 'static,
    ) -> Result<Self, MountError> {
        let on_failure = Box::new(on_failure);
        let run = if options.keep_modes {
            handshake(Server::new(tree, on_failure, options), device, options)
        } else {
            let tree = Arc::new(Harmless::new(tree));
            handshake(Server::new(tree, on_failure, options), device, options)
        };
        Ok(Self { run: run.map_err(MountError::Session)? })
    }

    /// Answers on threads of its own until it is unmounted; returns then.
    ///
    /// # Errors
    /// The system's, where it does not give the threads, or takes the device away; nobody answers any more then.
    pub fn run(self) -> io::Result<()> {
        (self.run)()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

fn handshake<F: fuser::Filesystem>(filesystem: F, device: OwnedFd, options: &MountOptions) -> io::Result<Run> {
    let mut config = Config::default();
    // The kernel itself keeps other users out unless `allow_other` was given.
    config.acl = SessionACL::All;
    config.n_threads = Some(options.threads.get());
    // A descriptor each spares the threads a common queue lock on replies; only who may open the device can have them.
    config.clone_fd = has_descriptors(options.threads) && attach::open_device().is_ok();
    try_threads(options.threads)?;
    let session = fuser::Session::from_fd(filesystem, device, config.acl, config)?;
    Ok(Box::new(move || session.run()))
}

/// Whether the system gives so many threads. The session starts them one by one, and would serve with the first ones for a
/// moment before it ends for want of the others.
fn try_threads(threads: NonZeroUsize) -> io::Result<()> {
    let gate = Mutex::new(());
    let closed = gate.lock();
    thread::scope(|scope| {
        let wait = || drop(gate.lock());
        let all = (0..threads.get()).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, wait).map(drop));
        drop(closed);
        all
    })
}

/// Whether the limit of open files leaves half of them to the tree.
fn has_descriptors(threads: NonZeroUsize) -> bool {
    let limit = getrlimit(Resource::Nofile).current;
    limit.is_none_or(|limit| u64::try_from(threads.get()).is_ok_and(|threads| threads < limit / 2))
}

impl Shared {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        // Nothing panics while holding it; were it so, the phase would still be whole.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.phase() = phase;
        self.phase_changed.notify_all();
    }

    /// The session is over. Where it was aborted, not unmounted, nobody answers at the mount point any more: detach
    /// it, or every look at it would fail with "Transport endpoint is not connected".
    fn over(&self) {
        if self.mount_point.whereabouts() == Whereabouts::Attached && self.mount_point.is_dead() {
            let _ = detach(&self.mount_point);
        }
        self.enter(Phase::Over);
    }

    fn unmount(&self) -> Result<Ended, UnmountError> {
        let _alone = self.detaching.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.phase() == Phase::Serving && detach(&self.mount_point)? == Detached::Idle {
            let guard = self.phase();
            drop(self.phase_changed.wait_timeout_while(guard, END_WAIT, |phase| *phase == Phase::Serving));
        }
        let mut phase = self.phase();
        if *phase == Phase::Serving {
            *phase = Phase::Detached;
            self.phase_changed.notify_all();
        }
        Ok(ended(*phase))
    }

    fn wait(&self) -> Ended {
        let mut phase = self.phase();
        while *phase == Phase::Serving {
            phase = self.phase_changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
        ended(*phase)
    }
}

fn ended(phase: Phase) -> Ended {
    if phase == Phase::Over { Ended::Unmounted } else { Ended::StillInUse }
}

impl Mount {
    pub(super) fn new(mount_point: MountPoint) -> Self {
        let (phase, phase_changed) = (Mutex::new(Phase::Serving), Condvar::new());
        Self { shared: Arc::new(Shared { mount_point, phase, phase_changed, detaching: Mutex::new(()) }) }
    }

    /// Runs its session on a thread of this process.
    pub(super) fn run(&self, session: Session) -> Result<(), MountError> {
        let unmounter = self.unmounter();
        let started = thread::Builder::new().name("icecore-fuse".to_owned()).spawn(move || {
            // Whoever looks at the mount learns that nobody answers; here is nobody to tell why.
            let _ = session.run();
            unmounter.session_ended();
        });
        started.map_err(MountError::Session)?;
        self.session_began();
        Ok(())
    }

    /// Its session began, in this process or another: sets what the kernel lets be set only now.
    pub fn session_began(&self) {
        negotiate::raise_readahead(&self.shared.mount_point);
    }

    /// Whether somebody answers: asks for the root directory, and waits until there is an answer, or there will be none.
    pub fn answers(&self) -> bool {
        !self.shared.mount_point.is_dead()
    }

    /// The directory that the tree is mounted on, as a full path.
    pub fn mount_point(&self) -> &Path {
        &self.shared.mount_point.path
    }

    /// Blocks until somebody unmounts: `umount`, `fusermount3 -u`, or an [`Unmounter`].
    pub fn join(self) -> Ended {
        self.shared.wait()
    }

    /// Unmounts. Where files are open on the mount it is detached at once all the same and nobody waits for them, so
    /// that a program can always end.
    ///
    /// # Errors
    /// See [`UnmountError`]. Dropping `self`, which happens then, tries once more.
    pub fn unmount(self) -> Result<Ended, UnmountError> {
        self.shared.unmount()
    }

    /// A handle for other threads.
    pub fn unmounter(&self) -> Unmounter {
        Unmounter { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.shared.unmount();
    }
}

impl Unmounter {
    /// As [`Mount::unmount`]; a thread in [`Mount::join`] then returns. Does nothing once it is unmounted.
    ///
    /// # Errors
    /// See [`UnmountError`]. The mount goes on.
    pub fn unmount(&self) -> Result<Ended, UnmountError> {
        self.shared.unmount()
    }

    /// Nobody answers any more: to be called when the session, or the process that ran it, ended. Detaches the mount where
    /// that was not the reason, so that no dead one stays behind; a thread in [`Mount::join`] then returns.
    pub fn session_ended(&self) {
        self.shared.over();
    }
}
