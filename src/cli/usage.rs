//! What the parser has to say: help as it is, errors as one line.

use std::io::IsTerminal;

use clap::error::ErrorKind;

use super::exit::Exit;
use super::output;
use super::problem::Sentence;

/// Prints help, or tells why the command line makes no sense.
pub fn refuse(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let rendered = error.render();
            let text = if std::io::stdout().is_terminal() { rendered.ansi().to_string() } else { rendered.to_string() };
            // Whoever closed the pipe has read enough.
            let _ = output::line(text.trim_end());
            Exit::Done
        }
        _ => {
            let as_json = std::env::args_os().any(|argument| argument == "--json");
            output::error(&sentence(&error.render().to_string()), Exit::Usage, as_json);
            Exit::Usage
        }
    }
}

/// The parser's paragraphs as one sentence: what is wrong, its tips, and where the help is.
fn sentence(rendered: &str) -> Sentence {
    let paragraphs: Vec<&str> = rendered.split("\n\n").collect();
    let first = paragraphs.first().copied().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let happened = match lines.as_slice() {
        [] => "the command line makes no sense".to_owned(),
        [one] => (*one).to_owned(),
        [one, more @ ..] => format!("{one} {}", more.join(", ")),
    };
    let happened = happened.strip_prefix("error: ").unwrap_or(&happened).to_owned();
    let verb = rendered.lines().find_map(|line| line.strip_prefix("Usage: icecore ")?.split(' ').next());
    let verb = verb.filter(|verb| verb.bytes().all(|byte| byte.is_ascii_lowercase()));
    let help = verb.map_or_else(|| "icecore --help".to_owned(), |verb| format!("icecore {verb} --help"));
    let tip = paragraphs.iter().find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let next = match tip.and_then(|tip| tip.lines().next()) {
        Some(tip) => format!("{tip} (see `{help}`)"),
        None => format!("see `{help}`"),
    };
    let happened = if error_is_help(rendered) { "no verb is given".to_owned() } else { happened };
    Sentence::new(happened, "nothing was done", next)
}

/// Without any argument the parser answers with its help instead of an error.
fn error_is_help(rendered: &str) -> bool {
    !rendered.starts_with("error: ")
}
