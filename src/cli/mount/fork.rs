//! A second process of this program, and a pair of sockets between the two.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, WaitOptions, WaitStatus};

/// Which of the two processes this is, with its end of the sockets.
pub enum Side {
    /// The one that called; and the other one.
    Parent(UnixStream, Child),
    /// The new one.
    Child(UnixStream),
}

/// The new process, as its parent sees it.
#[derive(Debug)]
pub struct Child(Pid);

/// Forks. Must be called while there is only one thread.
pub fn fork() -> io::Result<Side> {
    let (ours, theirs) = UnixStream::pair()?;
    // SAFETY: no other thread exists yet, so nothing that the child goes on to use (locks of the allocator, of standard
    // output) can be held by a thread that does not exist there.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child(theirs)),
        // The other end is closed on return, or ours would not end with the child.
        child => match Pid::from_raw(child).filter(|_| child > 0) {
            Some(pid) => Ok(Side::Parent(ours, Child(pid))),
            None => Err(io::Error::last_os_error()),
        },
    }
}

impl Child {
    /// Ends it whatever it does, if it has not ended.
    fn kill(&self) {
        // Not waited for yet, so the number is still its own.
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::KILL);
    }

    /// Ends it, and waits until it has.
    pub fn end(self) {
        self.kill();
        let _ = self.wait();
    }

    /// Waits for its end.
    pub fn wait(self) -> io::Result<WaitStatus> {
        let ended = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.0), WaitOptions::empty()))?;
        ended.map(|(_, status)| status).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
