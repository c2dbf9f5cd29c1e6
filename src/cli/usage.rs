//! What the parser has to say: help as it is, errors as one line.

use std::io::IsTerminal;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::arguments::CommandLine;
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
            output::error(&sentence(error), Exit::Usage, as_json);
            Exit::Usage
        }
    }
}

/// The parser's paragraphs as one sentence: what is wrong, its tips, and where the help is.
fn sentence(error: &clap::Error) -> Sentence {
    let help = verb().map_or_else(|| "icecore --help".to_owned(), |verb| format!("icecore {verb} --help"));
    if matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        return Sentence::new("no verb is given", "nothing was done", format!("see `{help}`"));
    }
    let rendered = error.render().to_string();
    let mut paragraphs = rendered.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let happened = match lines.as_slice() {
        [] => "the command line makes no sense".to_owned(),
        [one] => (*one).to_owned(),
        [one, more @ ..] => format!("{one} {}", more.join(", ")),
    };
    let happened = happened.strip_prefix("error: ").unwrap_or(&happened);
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: ")?.lines().next());
    let next = tip.map_or_else(|| format!("see `{help}`"), |tip| format!("{tip} (see `{help}`)"));
    Sentence::new(happened, "nothing was done", next)
}

/// The verb that was meant: the first argument that is one.
fn verb() -> Option<String> {
    let command = CommandLine::command();
    let known = |argument: &String| command.get_subcommands().any(|verb| verb.get_name() == argument.as_str());
    std::env::args_os().skip(1).filter_map(|argument| argument.into_string().ok()).find(known)
}
