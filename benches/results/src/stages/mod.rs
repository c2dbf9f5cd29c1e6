//! Section `stages`: where the time goes, as `icecore bench` tells it.

mod report;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::place::Place;
use crate::{child, memory};

/// The section's name in the document and on the command line.
pub const NAME: &str = "stages";

/// The section's heading.
pub const TITLE: &str = "Where the time goes";

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {
    /// Read only that much of the OS disk, as `icecore bench --size` takes it [default: all]
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
}

/// Measures, and returns the section's text.
pub fn run(place: &Place, options: &Options) -> Result<String> {
    let mut bench = Command::new(place.icecore());
    bench.args(["bench", "--json", "--dir"]).arg(place.dir());
    bench.arg("--disk").arg(place.os_disk(2)?);
    if let Some(size) = &options.size {
        bench.args(["--size", size]);
    }
    let log = place.dir().join("bench.log");
    memory::settle();
    child::run(&mut bench, &log)?;
    report::markdown(&summary(&fs::read_to_string(&log)?)?)
}

/// The report among what the command printed: the last line that is an object.
fn summary(printed: &str) -> Result<Value> {
    let Some(line) = printed.lines().rev().find(|line| line.starts_with('{')) else {
        bail!("icecore bench --json printed no object");
    };
    serde_json::from_str(line).context("what icecore bench --json printed")
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_report_is_the_last_object_that_was_printed() {
        let printed = "{\"percent\":50}\n{\"runs\":[]}\nwarning: other programs run\n";
        assert!(summary(printed).unwrap()["runs"].is_array());
        assert!(summary("nothing\n").is_err());
    }
}
