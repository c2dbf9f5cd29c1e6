//! Going into the background, in an order that lets the parent tell how it went:
//!
//! 1. fork, while there is one thread only;
//! 2. the child opens the vault and mounts, still on the terminal, so that its errors are seen and Ctrl-C stops it;
//! 3. when the mount is up it leaves the terminal, and says so;
//! 4. the parent ends: with success if it heard so, else with the child's own exit code.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::fork::{self, HowEnded};
use super::log::Log;
use crate::cli::exit::Exit;
use crate::cli::problem::Problem;

/// Which of the two processes this is.
pub enum Side {
    /// The one that the shell waits for, and how the child did.
    Parent(Exit),
    /// The one that goes on.
    Child(Ready),
}

/// What the child tells its parent with.
pub struct Ready(UnixStream);

/// Forks. Must be called while there is only one thread; the parent returns when the child is ready or has ended.
pub fn fork() -> Result<Side, Problem> {
    let failed = Problem::file("start", Path::new("a background process"));
    match fork::fork().map_err(&failed)? {
        fork::Side::Child(socket) => Ok(Side::Child(Ready(socket))),
        fork::Side::Parent(mut socket, child) => {
            let mut byte = [0];
            // An end of the socket that comes as an error is one too.
            if socket.read(&mut byte).is_ok_and(|length| length == 1) {
                return Ok(Side::Parent(Exit::Done));
            }
            // A child that ended well without having been ready was ended from outside.
            let exit = exit_of(child.wait().map_err(failed)?);
            Ok(Side::Parent(if exit == Exit::Done { Exit::Failed } else { exit }))
        }
    }
}

/// What a child of this program ended with.
pub fn exit_of(ended: HowEnded) -> Exit {
    match ended {
        HowEnded::Exited(code) => u8::try_from(code).map_or(Exit::Failed, Exit::from_code),
        HowEnded::Killed(SIGHUP | SIGINT | SIGTERM) => Exit::Interrupted,
        HowEnded::Killed(_) => Exit::Failed,
    }
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

/// Leaves the terminal, its session, and the current directory.
pub fn leave() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    let null = null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// What can be read from and written to without effect.
pub fn null() -> io::Result<std::fs::File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}
