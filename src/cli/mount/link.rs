//! What the serving process tells the one that keeps the mount: single letters, and the reason for a failure.
//!
//! The keeper believes none of it further than to mount once and to unmount: who serves may be in a guest's hands.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// The vault is open and all is given up: mount now.
pub const OPEN: u8 = b'o';

/// The kernel's first question is answered: the mount is up.
pub const UP: u8 = b'u';

/// A signal came; [`super::server`] sends it from the signal's handler.
pub const SIGNALLED: u8 = b's';

/// It failed, and this is why.
const FAILED: u8 = b'f';

/// Longest reason that is heard.
const MOST_REASON_BYTES: u64 = 4096;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A letter.
    Letter(u8),
    /// A failure; it ends now.
    Failed(String),
    /// It has ended.
    Nothing,
}

/// Tells that something is done.
pub fn tell(mut keeper: &UnixStream, letter: u8) -> io::Result<()> {
    keeper.write_all(&[letter])
}

/// Tells why it failed.
pub fn fail(mut keeper: &UnixStream, reason: &str) -> io::Result<()> {
    keeper.write_all(&[&[FAILED], reason.as_bytes()].concat())
}

/// Waits until something is told.
pub fn listen(mut server: &UnixStream) -> Heard {
    let mut letter = [0];
    match server.read_exact(&mut letter) {
        Ok(()) if letter == [FAILED] => {
            let mut reason = Vec::new();
            // What came before an error is the reason as far as it is known.
            let _ = server.take(MOST_REASON_BYTES).read_to_end(&mut reason);
            Heard::Failed(String::from_utf8_lossy(&reason).into_owned())
        }
        Ok(()) => Heard::Letter(letter[0]),
        Err(_) => Heard::Nothing,
    }
}
