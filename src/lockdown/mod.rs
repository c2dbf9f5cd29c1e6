//! What a process gives up that only reads a vault and serves what is in it.
//!
//! The parsers of guests' disks are safe code, yet the bytes come from whoever was root in the guest. Should one of them take
//! the process over all the same, it has the keys that are in memory, and nothing else: it reads the vault, answers the
//! mount, writes its log, and that is all that the kernel lets it do.
//!
//! - Landlock: files outside the vault can't be opened; inside nothing can be written; no sockets, no signals to others.
//! - seccomp: a list of the system calls that serving takes; any other is answered with `ENOSYS`.
//! - no new privileges, no capabilities but the one that reading may take, no core dump, not even to be looked at by a
//!   debugger of the same user.
//!
//! All of it holds for the calling thread and for threads that it starts later. So it is to be called while there is only one
//! thread, when the vault is open and every other file that is needed too, and before the first byte of a guest is read.
//! There is no way back. Unmounting is among what is given up: [`icecore_fuse::attach`] tells how another process keeps that.
//!
//! What a kernel can't do is returned, not fatal: which kernels may serve is the caller's to decide.

mod calls;
mod files;
mod privileges;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the kernel may take to bury a thread.
const THREAD_WAIT: Duration = Duration::from_millis(500);

/// What the process goes on to use.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// The vault's directory: everything below it can be read.
    pub vault: &'a Path,
    /// A directory of its own, below which anything can be done, for an index that gets too large for memory.
    pub scratch: Option<&'a Path>,
    /// A device that can be opened for reading and writing, such as [`icecore_fuse::DEVICE`].
    pub device: Option<&'a Path>,
}

/// Something that could not be given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Kept {
    /// There is no Landlock: the kernel is older than 5.13, or it is switched off.
    #[error("it can open every file that its user can: this kernel has no Landlock, or has it switched off")]
    FilesUnsupported,
    /// Landlock refused.
    #[error("it can open every file that its user can: {0}")]
    Files(#[from] landlock::RulesetError),
    /// There is no seccomp, or not for this processor.
    #[error("it can make every system call: {0}")]
    Calls(#[from] seccompiler::Error),
    /// Privileges that did not go.
    #[error("it has privileges that it does not need: {0}")]
    Privileges(io::Error),
    /// Other threads go on as before.
    #[error("{0} other threads run already, and keep what they have")]
    Threads(usize),
}

/// Gives up all but what `needs` says. Returns what could not be given up; all the rest is.
pub fn lock_down(needs: &Needs<'_>) -> Vec<Kept> {
    let mut kept = Vec::new();
    kept.extend(other_threads().map(Kept::Threads));
    // The list of system calls comes last: it has no place for those that give up the rest.
    kept.extend(privileges::give_up().err().map(|error| Kept::Privileges(error.into())));
    kept.extend(files::give_up(needs).err());
    kept.extend(calls::give_up().err());
    kept
}

/// How many threads there are besides this one, if any. One that was waited for is listed a moment longer.
fn other_threads() -> Option<usize> {
    let count = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let deadline = Instant::now() + THREAD_WAIT;
    while count() > 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    count().checked_sub(1).filter(|others| *others > 0)
}
