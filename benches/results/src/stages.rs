//! Section `stages`: where the time of a backup goes.

use anyhow::Result;
use clap::Args;

use crate::place::Place;

/// The section's name in the document and on the command line.
pub const NAME: &str = "stages";

/// The section's heading.
pub const TITLE: &str = "Where the time goes";

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {}

/// Measures, and returns the section's text.
pub fn run(_place: &Place, _options: &Options) -> Result<String> {
    Ok("Not measured yet.".to_owned())
}
