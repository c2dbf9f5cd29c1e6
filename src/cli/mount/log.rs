//! Where a mount tells what went wrong: there is no terminal any more.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::cli::human;
use crate::cli::problem::Problem;

/// The system's log (syslog(3)).
const SYSLOG: &str = "/dev/log";

/// Facility daemon, severity error (RFC 3164, section 4.1.1).
const DAEMON_ERROR: u8 = 3 * 8 + 3;

/// Where it tells, and what it told last: what repeats itself is told once.
pub struct Log {
    to: To,
    last: Mutex<String>,
}

enum To {
    StandardError,
    File(File),
    Syslog(UnixDatagram),
    Nowhere,
}

impl Log {
    /// The file if one is named, else standard error in the foreground and the system's log in the background.
    pub fn open(file: Option<&Path>, foreground: bool) -> Result<Self, Problem> {
        let to = match file {
            Some(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                To::File(file.map_err(Problem::file("open the log", path))?)
            }
            None if foreground => To::StandardError,
            None => syslog().map_or(To::Nowhere, To::Syslog),
        };
        Ok(Self { to, last: Mutex::default() })
    }

    /// What it writes to, if that is its own.
    pub fn descriptor(&self) -> Option<RawFd> {
        match &self.to {
            To::File(file) => Some(file.as_raw_fd()),
            To::Syslog(socket) => Some(socket.as_raw_fd()),
            To::StandardError | To::Nowhere => None,
        }
    }

    /// Tells one thing in one line.
    pub fn tell(&self, text: &str) {
        let text = human::escaped(text.as_bytes());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == text {
            return;
        }
        let process = std::process::id();
        // A log that can't be written leaves nobody to tell.
        let _ = match &self.to {
            To::StandardError => writeln!(std::io::stderr(), "icecore: {text}"),
            To::File(file) => {
                let line = format!("{:.0} icecore[{process}]: {text}\n", Timestamp::now());
                (&*file).write_all(line.as_bytes())
            }
            To::Syslog(socket) => {
                socket.send(format!("<{DAEMON_ERROR}>icecore[{process}]: {text}").as_bytes()).map(|_| ())
            }
            To::Nowhere => Ok(()),
        };
        *last = text;
    }
}

fn syslog() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(SYSLOG).ok()?;
    Some(socket)
}
