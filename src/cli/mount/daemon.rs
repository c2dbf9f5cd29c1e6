//! Going into the background, in an order that lets the parent tell how it went:
//!
//! 1. fork, while there is one thread only; parent and child share a pipe;
//! 2. the child opens the vault and mounts, still on the terminal, so that its errors are seen and Ctrl-C stops it;
//! 3. when the mount is up it leaves the terminal, and says so through the pipe;
//! 4. the parent ends: with success if it heard so, else with the child's own exit code.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::Path;

use rustix::process::{Pid, WaitOptions};

use super::log::Log;
use crate::cli::exit::Exit;
use crate::cli::problem::Problem;

/// Which of the two processes this is.
pub enum Side {
    /// The one that the shell waits for, and how the child did.
    Parent(Exit),
    /// The one that serves.
    Child(Ready),
}

/// What the child tells its parent with.
pub struct Ready(PipeWriter);

/// Forks. Must be called while there is only one thread; the parent returns when the child is ready or has ended.
pub fn fork() -> Result<Side, Problem> {
    let failed = Problem::file("start", Path::new("a background process"));
    let (reader, writer) = io::pipe().map_err(&failed)?;
    // SAFETY: no other thread exists yet, so nothing that the child goes on to use (locks of the allocator, of standard
    // output) can be held by a thread that does not exist there.
    match unsafe { libc::fork() } {
        -1 => Err(failed(io::Error::last_os_error())),
        0 => {
            drop(reader);
            Ok(Side::Child(Ready(writer)))
        }
        child => {
            // Ours must be closed, or the pipe would not end with the child.
            drop(writer);
            wait(reader, child).map(Side::Parent).map_err(failed)
        }
    }
}

fn wait(mut reader: PipeReader, child: libc::pid_t) -> io::Result<Exit> {
    let mut byte = [0];
    if reader.read(&mut byte)? == 1 {
        return Ok(Exit::Done);
    }
    let ended = rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty())?;
    let code = ended.and_then(|(_, status)| status.exit_status()).and_then(|code| u8::try_from(code).ok());
    // A child that ended well without having been ready was ended from outside.
    Ok(code.filter(|code| *code != 0).map_or(Exit::Failed, Exit::from_code))
}

impl Ready {
    /// Leaves the terminal for good and tells the parent that all is up.
    pub fn signal(mut self, log: &Log) -> Result<(), Problem> {
        leave().map_err(Problem::file("leave", Path::new("the terminal")))?;
        // A parent that was killed meanwhile is no reason to stop.
        if let Err(error) = self.0.write_all(&[1]) {
            log.tell(&format!("mounted, but nobody waited for it: {error}"));
        }
        Ok(())
    }
}

fn leave() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
