//! A recovery key on paper: printed once, typed in again when nothing else opens the vault.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use icecore::seal::RecoveryKey;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use zeroize::Zeroizing;

use super::output::Output;
use super::problem::Problem;

/// Words on a line.
const PER_LINE: usize = 4;

/// Asks for the words on a terminal. They are shown as they are typed: 24 words are too many to type blindly.
pub fn ask() -> Result<RecoveryKey, Problem> {
    if !io::stdin().is_terminal() {
        return Err(Problem::usage(
            "there is no terminal to ask for the recovery key on",
            "give --recovery-key=FILE with a file that holds the 24 words",
        ));
    }
    let failed = Problem::file("read", Path::new("the terminal"));
    let _ = write!(io::stderr(), "The 24 words of the recovery key, on one line or several: ");
    let mut text = Zeroizing::new(String::new());
    loop {
        let mut line = Zeroizing::new(String::new());
        let ended = io::stdin().read_line(&mut line).map_err(&failed)? == 0;
        text.push_str(&line);
        let words = text.split_whitespace().count();
        if ended || line.trim().is_empty() || words >= icecore::seal::RECOVERY_WORDS {
            return Ok(RecoveryKey::from_words(&text)?);
        }
    }
}

/// Prints a new recovery key for the safe, as words and as a picture of the same words.
pub fn print(out: &mut Output, key: &RecoveryKey, vault: &str, slot: &str) -> Result<(), Problem> {
    let words = key.words();
    out.line(&format!(
        "\nRecovery key {slot} of vault {}. It opens the vault and everything in it. This is the only time that it is \
         shown:\nwrite it down or print it, and keep it in a safe.\n",
        &vault[..8]
    ))?;
    let numbered: Vec<(usize, &str)> = (1..).zip(words.split(' ')).collect();
    for line in numbered.chunks(PER_LINE) {
        let cells: Vec<String> = line.iter().map(|(number, word)| format!("{number:>2} {word:<9}")).collect();
        out.line(cells.join("  ").trim_end())?;
    }
    // Text of this length always fits one.
    if let Ok(code) = QrCode::new(words.as_bytes()) {
        // Dark on light, whatever the terminal's colours are, only where the terminal is dark; scanners take both.
        let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        out.line("")?;
        picture.lines().try_for_each(|line| out.line(line))?;
    }
    out.line("\nTo use it: icecore --recovery-key, and type the words.")
}
