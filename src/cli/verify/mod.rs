//! `icecore verify`

mod summary;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use icecore::Vault;
use icecore::point::{Heads, MOST_HEADS_BYTES};
use icecore::vault::{Subset, VerifyOptions, VerifyProgress};

use super::arguments::Global;
use super::duration;
use super::exit::Exit;
use super::problem::Problem;
use super::progress;
use super::salvage::Salvage;
use super::signals::{self, Interrupt};

const EXAMPLES: &str = "\
Examples:
  icecore verify
  icecore verify --json | tail -n 1 | jq .hit
  icecore verify --max-time 30m            each night: goes on where the last run ended
  icecore verify --subset 3/7              on the third of seven days
  icecore verify --expect /mnt/usb/heads   what `icecore points --head` printed
  icecore verify --scrub --vault /srv/vault  on the storage server, which has no key";

/// Check the whole vault, or a part of it
///
/// Reads and authenticates everything in the vault, and walks the map of every point. Lists what is damaged, and which
/// ranges of which disks of which points can't be read any more. Ends with 1 if there are any.
///
/// With --subset or --max-time only a part of the segments is read; the maps of all points are walked all the same. A run
/// begins with what was never checked, then with what was checked longest ago: the vault remembers. One that finds
/// nothing ends with 3 where segments that it did not look at were damaged when they were last checked.
///
/// Of each damaged segment it says whether its parity can mend it; reads are corrected by then, and `icecore repair` mends
/// the file. Parity that is damaged or missing costs no data; a run that finds nothing else ends with 3.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Check checksums only: needs no password or key file, and can't tell which points are hit
    #[arg(long)]
    scrub: bool,
    /// Read only part N of T; T runs with all parts read everything once
    #[arg(long, value_name = "N/T", value_parser = subset)]
    subset: Option<Subset>,
    /// Fail where the vault went back behind what this file tells: what `icecore points --head` printed earlier
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    expect: Option<PathBuf>,
    /// Begin to read no more segments after this time, as 90s, 30m or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    max_time: Option<Duration>,
    #[command(flatten)]
    salvage: Salvage,
}

fn subset(text: &str) -> Result<Subset, String> {
    let numbers = text.split_once('/').and_then(|(number, parts)| Some((number.parse().ok()?, parts.parse().ok()?)));
    let subset = numbers.and_then(|(number, parts)| Subset::new(number, parts).ok());
    subset.ok_or_else(|| "write it as 1/7, 2/7 up to 7/7".to_owned())
}

/// Verifies.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let options = VerifyOptions { subset: arguments.subset, max_time: arguments.max_time };
    let expected = arguments.expect.as_deref().map(|path| expected(path).map(|heads| (path, heads))).transpose()?;
    if arguments.scrub {
        let path = global.existing_vault()?;
        if let Some((file, heads)) = &expected {
            summary::compared(&Vault::setbacks_without_key(&path, heads)?, file, heads, global)?;
        }
        let report = checked(global, |progress| Vault::scrub(&path, &options, progress))?;
        return summary::scrubbed(&report, global);
    }
    let vault = global.open_to_check(arguments.salvage)?;
    if let Some((file, heads)) = &expected {
        summary::compared(&vault.setbacks(heads)?, file, heads, global)?;
    }
    // The report tells.
    vault.on_correction(|_| {});
    let report = checked(global, |progress| vault.verify_with(&options, progress))?;
    summary::verified(&report, global)
}

/// Reads what `points --head` printed.
fn expected(path: &Path) -> Result<Heads, Problem> {
    let failed = Problem::file("read", path);
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_HEADS_BYTES).read_to_end(&mut text));
    read.map_err(failed)?;
    Ok(Heads::decode(&String::from_utf8_lossy(&text))?)
}

fn checked<R>(global: &Global, work: impl FnOnce(&VerifyProgress) -> icecore::Result<R>) -> Result<R, Problem> {
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    progress::shown(global, &interrupt, "segments", work)
}

#[cfg(test)]
mod tests {
    use super::subset;

    #[test]
    fn a_subset_is_one_of_several() {
        assert!(["1/1", "1/7", "7/7"].iter().all(|text| subset(text).is_ok()));
        for wrong in ["", "1", "0/7", "8/7", "1/0", "1/7/7", "-1/7", "a/b"] {
            assert!(subset(wrong).is_err(), "{wrong:?}");
        }
    }
}
