//! The life of a mount: from the first request to the last, and everybody's way to end it.
//!
//! One thread runs the session with the kernel and knows when it ended. Whoever unmounts detaches the mount and waits
//! for that thread's word; where files are still open on the mount, nobody waits for their users.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};

use super::attach::Attached;
use super::detach::{Detached, detach};
use super::error::{MountError, UnmountError};
use super::mount_point::{MountPoint, Whereabouts};
use super::negotiate;
use super::options::MountOptions;

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

/// Serves `attached` from now on.
pub(super) fn start<F: fuser::Filesystem>(
    filesystem: F,
    attached: Attached,
    options: &MountOptions,
) -> Result<Mount, MountError> {
    let Attached { device, mount_point, may_clone } = attached;
    let shared = Arc::new(Shared {
        mount_point,
        phase: Mutex::new(Phase::Serving),
        phase_changed: Condvar::new(),
        detaching: Mutex::new(()),
    });
    let mut config = Config::default();
    // The kernel itself keeps other users out unless `allow_other` was given.
    config.acl = SessionACL::All;
    config.n_threads = Some(options.threads.get());
    // A descriptor each spares the threads a common queue lock on replies.
    config.clone_fd = may_clone;

    let serving = Arc::clone(&shared);
    let started = Session::from_fd(filesystem, device, config.acl, config).and_then(|session| {
        thread::Builder::new().name("icecore-fuse".to_owned()).spawn(move || {
            // The error has nobody to go to and nothing to add: the session is over either way.
            let _ = session.run();
            serving.over();
        })
    });
    if let Err(error) = started {
        let _ = detach(&shared.mount_point);
        return Err(MountError::Session(error));
    }
    negotiate::raise_readahead(&shared.mount_point);
    Ok(Mount { shared })
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
        if self.mount_point.whereabouts() == Whereabouts::Attached {
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
}
