//! `icecore man`

use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueHint};
use clap_mangen::Man;

use super::arguments::CommandLine;
use super::exit::Exit;
use super::output::Output;
use super::problem::Problem;

const EXAMPLES: &str = "\
Examples:
  icecore man | man -l -
  icecore man --out /usr/local/share/man/man1";

/// Print the man page, or write those of all verbs
///
/// Prints the man page, or writes those of all verbs into a directory.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Write icecore.1, icecore-backup.1 and so on into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,
}

/// Prints or writes them.
pub fn run(arguments: &Arguments) -> Result<Exit, Problem> {
    let command = CommandLine::command();
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).map_err(Problem::file("create", folder))?;
        clap_mangen::generate_to(command, folder).map_err(Problem::file("write man pages to", folder))?;
        return Ok(Exit::Done);
    }
    let mut text = Vec::new();
    Man::new(command).render(&mut text).map_err(Problem::output)?;
    let mut out = Output::open();
    out.bytes(&text)?;
    out.flush()?;
    Ok(Exit::Done)
}
