//! A second process of this program, and a pair of sockets between the two.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, waitid};

/// Which of the two processes this is, with its end of the sockets.
pub enum Side {
    /// The one that called; and the other one.
    Parent(UnixStream, Child),
    /// The new one.
    Child(UnixStream),
}

/// The new process, as its parent sees it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// How it ended, once somebody waited for that: from then on its number may be another's.
    ended: Mutex<Option<HowEnded>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// How often who waits for a moment looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Forks. Must be called while there is only one thread.
pub fn fork() -> io::Result<Side> {
    let (ours, theirs) = UnixStream::pair()?;
    // SAFETY: no other thread exists yet, so nothing that the child goes on to use (locks of the allocator, of standard
    // output) can be held by a thread that does not exist there.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child(theirs)),
        // The other end is closed on return, or ours would not end with the child.
        child => match Pid::from_raw(child).filter(|_| child > 0) {
            Some(pid) => Ok(Side::Parent(ours, Child { pid, ended: Mutex::new(None) })),
            None => Err(io::Error::last_os_error()),
        },
    }
}

impl Child {
    /// Ends it whatever it does, if it has not ended.
    pub fn kill(&self) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            // Not waited for yet, so the number is still its own. One that has ended is none to be told of.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Ends it, and waits until it has.
    pub fn end(&self) {
        self.kill();
        let _ = self.wait();
    }

    /// Ends it if it does not end by itself within `grace`.
    pub fn end_after(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        // What can't be asked has ended: somebody waited for it.
        while let Ok(None) = self.look(WaitIdOptions::NOHANG)
            && Instant::now() < deadline
        {
            std::thread::sleep(LOOK_AGAIN);
        }
        self.kill();
    }

    /// Waits for its end.
    pub fn wait(&self) -> io::Result<HowEnded> {
        // Waited for without the lock, so that others may end it meanwhile; its number stays its own until the lock is held.
        let looked = self.look(WaitIdOptions::empty());
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = *ended {
            return Ok(ended);
        }
        let how = looked?.ok_or(io::ErrorKind::NotFound)?;
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED))?;
        *ended = Some(how);
        Ok(how)
    }

    /// How it ended, if it did; it stays to be waited for.
    fn look(&self, options: WaitIdOptions) -> io::Result<Option<HowEnded>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | options;
        let status = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), options))?;
        Ok(status.and_then(|status| HowEnded::of(&status)))
    }
}

impl HowEnded {
    fn of(status: &WaitIdStatus) -> Option<Self> {
        status.exit_status().map(Self::Exited).or_else(|| status.terminating_signal().map(Self::Killed))
    }
}
