//! `icecore completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::arguments::CommandLine;
use super::exit::Exit;
use super::output::Output;
use super::problem::Problem;

const EXAMPLES: &str = "\
Examples:
  icecore completions bash > /etc/bash_completion.d/icecore
  icecore completions zsh > ~/.zfunc/_icecore";

/// Print completions for a shell
///
/// Prints completions for a shell on standard output.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints them.
pub fn run(arguments: &Arguments) -> Result<Exit, Problem> {
    // Into memory first: the generator panics where it can't write.
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "icecore", &mut text);
    let mut out = Output::open();
    out.bytes(&text)?;
    out.flush()?;
    Ok(Exit::Done)
}
