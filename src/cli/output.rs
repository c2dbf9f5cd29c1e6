//! Standard output and standard error.
//!
//! Results go to standard output, everything else to standard error. Bytes of names pass as they are into a file or a
//! pipe, and escaped onto a terminal. A reader that goes away ends the command quietly.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use super::exit::Exit;
use super::human;
use super::problem::{Problem, Sentence};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// What a verb prints to. Flush it before the verb ends.
pub struct Output {
    to: BufWriter<StdoutLock<'static>>,
    terminal: bool,
}

impl Output {
    /// Standard output.
    pub fn open() -> Self {
        let to = io::stdout();
        let terminal = to.is_terminal();
        Self { to: BufWriter::with_capacity(BUFFER_BYTES, to.lock()), terminal }
    }

    /// Text that came from us.
    pub fn text(&mut self, text: &str) -> Result<(), Problem> {
        self.to.write_all(text.as_bytes()).map_err(Problem::output)
    }

    /// A line of text that came from us, or several; names in it, of machines and disks, may have come from elsewhere.
    pub fn line(&mut self, text: &str) -> Result<(), Problem> {
        for line in text.split('\n') {
            if self.terminal {
                self.text(&human::escaped(line.as_bytes()))?;
            } else {
                self.text(line)?;
            }
            self.text("\n")?;
        }
        Ok(())
    }

    /// A name that came from a guest or a user.
    pub fn name(&mut self, name: &[u8]) -> Result<(), Problem> {
        if self.terminal {
            return self.text(&human::escaped(name));
        }
        self.bytes(name)
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.to.write_all(bytes).map_err(Problem::output)
    }

    /// A value as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Problem> {
        let json = json_text(value).map_err(|error| Problem::output(error.into()))?;
        self.line(&json)
    }

    /// Writes out what was gathered.
    pub fn flush(&mut self) -> Result<(), Problem> {
        self.to.flush().map_err(Problem::output)
    }
}

/// JSON that can be looked at on a terminal: the same value, with every character escaped that could drive one. JSON itself
/// asks for the first 32 only.
fn json_text(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    if !json.contains(human::changes_terminal) {
        return Ok(json);
    }
    // Outside of strings JSON has none of them, and none is beyond 16 bits.
    let escape = |character: char| match human::changes_terminal(character) {
        true => format!("\\u{:04x}", u32::from(character)),
        false => character.to_string(),
    };
    Ok(json.chars().map(escape).collect())
}

/// Prints one value as a line of JSON at once.
pub fn json(value: &impl Serialize) -> Result<(), Problem> {
    let mut out = Output::open();
    out.json(value)?;
    out.flush()
}

/// Prints one line at once.
pub fn line(text: &str) -> Result<(), Problem> {
    let mut out = Output::open();
    out.line(text)?;
    out.flush()
}

/// An error as whoever reads JSON gets it; restic calls it by the same name.
#[derive(Serialize)]
struct ExitError<'a> {
    message_type: &'static str,
    code: u8,
    message: &'a str,
    #[serde(flatten)]
    sentence: &'a Sentence,
}

/// Tells on standard error why the command failed: one line.
pub fn error(sentence: &Sentence, exit: Exit, as_json: bool) {
    let message = sentence.line();
    let line = if as_json {
        let error = ExitError { message_type: "exit_error", code: exit.code(), message: &message, sentence };
        json_text(&error).unwrap_or(message)
    } else {
        format!("icecore: {message}")
    };
    // Nobody is left to tell that nobody could be told.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Tells on standard error of one thing of several that went wrong; the command goes on.
pub fn warning(text: &str, as_json: bool) {
    tell("error", text, as_json);
}

/// Tells on standard error what must be known of something that went well.
pub fn notice(text: &str, as_json: bool) {
    tell("warning", text, as_json);
}

fn tell(message_type: &'static str, text: &str, as_json: bool) {
    #[derive(Serialize)]
    struct Warning<'a> {
        message_type: &'static str,
        message: &'a str,
    }
    let text = human::escaped(text.as_bytes());
    let line = if as_json {
        json_text(&Warning { message_type, message: &text }).unwrap_or(text)
    } else {
        format!("icecore: {text}")
    };
    let _ = writeln!(io::stderr(), "{line}");
}
