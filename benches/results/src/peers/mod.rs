//! Section `peers`: icecore beside programs that do something alike.
//!
//! All in one run, one after the other, on the same image at the same path: two backups, a restore, a mount.

mod borg;
mod desync;
mod figures;
mod icecore;
mod peer;
mod restic;
mod rustic;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::place::Place;
use crate::{child, medium, memory, reads, table};
use peer::{Ground, Peer};
use turn::{Conditions, Turn};

/// The section's name in the document and on the command line.
pub const NAME: &str = "peers";

/// The section's heading.
pub const TITLE: &str = "Side by side";

/// Above this part of all cores' time, what others use meanwhile is told. The kernel's threads that write to disks and the
/// host's own share are among it.
const DISTURBING: f64 = 0.1;

/// What can be chosen.
#[derive(Args, Debug)]
pub struct Options {
    /// Turns of every peer; the table has the medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How long random reads last each time
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    read_seconds: u64,
    /// Touch most of the free memory once before anything is measured, where more than 4 GiB are free
    #[arg(long, value_name = "YES", default_value_t = true, action = clap::ArgAction::Set)]
    warm_memory: bool,
    /// Only these, and icecore: restic, rustic, borg, desync
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// restic, where PATH does not lead to it
    #[arg(long, value_name = "PATH")]
    restic: Option<PathBuf>,
    /// rustic, where PATH does not lead to it
    #[arg(long, value_name = "PATH")]
    rustic: Option<PathBuf>,
    /// borg, where PATH does not lead to it
    #[arg(long, value_name = "PATH")]
    borg: Option<PathBuf>,
    /// desync, where PATH does not lead to it
    #[arg(long, value_name = "PATH")]
    desync: Option<PathBuf>,
    /// desync's version, which it does not tell itself
    #[arg(long, value_name = "VERSION")]
    desync_version: Option<String>,
}

/// A peer with what was measured of it.
struct Entrant {
    peer: Box<dyn Peer>,
    version: String,
    turns: Vec<Turn>,
}

/// Measures, and returns the section's text.
pub fn run(place: &Place, options: &Options) -> Result<String> {
    let ground = Ground::new(place.dir().join(NAME))?;
    let (mut entrants, mut notes) = entrants(place, &ground, options)?;
    let images = [place.os_disk(1)?, place.os_disk(2)?];
    let mut conditions = Conditions {
        blocks: reads::blocks_with_data(&images[1])?,
        images,
        duration: Duration::from_secs(options.read_seconds),
        compare: true,
    };
    let warmed = memory::warm(place, options.warm_memory)?;
    let medium = medium::describe(place, conditions.duration)?;
    for run in 1..=options.runs {
        for entrant in &mut entrants {
            eprintln!("run {run} of {}: {}", options.runs, entrant.version);
            match turn::take(&*entrant.peer, &ground, &conditions) {
                Ok(turn) => entrant.turns.push(turn),
                Err(error) => notes.push(format!("{}: failed: {error:#}", entrant.peer.name())),
            }
            child::check_interrupted()?;
        }
        // Once is enough.
        conditions.compare = false;
    }
    notes.extend(entrants.iter().flat_map(without_mount));
    notes.extend(entrants.iter().flat_map(disturbed));
    let text =
        [explanation(&conditions, options, &warmed, &medium)?, settings(&entrants), table(&entrants), list(&notes)];
    Ok(text.join("\n"))
}

/// Who takes part, icecore first; and why others don't.
fn entrants(place: &Place, ground: &Ground, options: &Options) -> Result<(Vec<Entrant>, Vec<String>)> {
    let ground = || ground.clone();
    let mut peers: Vec<Box<dyn Peer>> =
        vec![Box::new(icecore::Icecore { program: place.icecore().to_owned(), ground: ground() })];
    let mut notes = Vec::new();
    let mut look = |name: &str, given: Option<&Path>, how: &str| {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            return None;
        }
        let found = peer::find(name, given);
        if found.is_none() {
            notes.push(format!("{name}: not measured: not installed ({how})"));
        }
        found
    };
    if let Some(program) = look("restic", options.restic.as_deref(), "restic 0.19.1 is in Debian sid") {
        peers.push(Box::new(restic::Restic { program, ground: ground() }));
    }
    if let Some(program) = look("rustic", options.rustic.as_deref(), "`cargo install rustic-rs --features mount`") {
        peers.push(Box::new(rustic::Rustic { program, ground: ground() }));
    }
    if let Some(program) = look("borg", options.borg.as_deref(), "`apt-get install borgbackup python3-pyfuse3`") {
        peers.push(Box::new(borg::Borg { program, ground: ground() }));
    }
    if let Some(program) = look("desync", options.desync.as_deref(), "desync 1.0.4 is in Debian sid") {
        let version = options.desync_version.clone();
        peers.push(Box::new(desync::Desync { program, version, ground: ground() }));
    }
    let with_version = |peer: Box<dyn Peer>| Ok(Entrant { version: peer.version()?, peer, turns: Vec::new() });
    Ok((peers.into_iter().map(with_version).collect::<Result<_>>()?, notes))
}

/// How it was measured.
fn explanation(conditions: &Conditions, options: &Options, warmed: &str, medium: &str) -> Result<String> {
    let image_bytes = conditions.images[1].metadata()?.len();
    let cold = if memory::drop_caches() {
        "everything cold for restores and for each of the mount's figures: the kernel's caches dropped, a mount of its own"
    } else {
        "only root can drop the kernel's caches, so restores and mounts find the store warm; each of the mount's figures \
         is from a mount of its own"
    };
    Ok(format!(
        "One image of {image} MB, {data} MB of them not zero, backed up by everybody in turn, and again at the same path as \
         it is a day later; then the second day restored to a sparse file, which is compared with the original, and read \
         through a mount. The page cache is warm for backups; {cold}. The whole image is read by `dd bs=1M`, zeros counted; \
         random reads go to blocks that are not zero, each reader to its own, for {seconds} s. Memory is the largest \
         anonymous memory, without files that were mapped, looked at every 20 ms. {warmed} {medium} {runs}\n\n\
         In brackets: how many times as good icecore is; below 1 the other is better. icecore ends a restore when all is \
         on the disk, others may end it before; the second line of the restore adds a `sync` for everybody.\n",
        image = table::number(image_bytes as f64 / 1e6, 0),
        data = table::number(conditions.blocks.len() as f64 * 4096.0 / 1e6, 0),
        seconds = options.read_seconds,
        runs = if options.runs == 1 { "One run.".to_owned() } else { format!("Medians of {} runs.", options.runs) },
    ))
}

fn settings(entrants: &[Entrant]) -> String {
    let line = |entrant: &Entrant| format!("- {}: {}\n", entrant.version, entrant.peer.settings());
    entrants.iter().map(line).collect()
}

fn table(entrants: &[Entrant]) -> String {
    let columns: Vec<&str> = entrants.iter().map(|entrant| entrant.peer.name()).collect();
    let turns: Vec<&[Turn]> = entrants.iter().map(|entrant| entrant.turns.as_slice()).collect();
    table::ratios(&columns, &figures::rows(&turns))
}

/// Why a peer has no figures of a mount.
fn without_mount(entrant: &Entrant) -> Option<String> {
    let error = entrant.turns.iter().find_map(|turn| turn.mount.as_ref().err())?;
    Some(format!("{}: mount not measured: {error:#}", entrant.peer.name()))
}

/// A warning where somebody else took so much of the processor that the figures may be wrong.
fn disturbed(entrant: &Entrant) -> Option<String> {
    let others = entrant.turns.iter().map(Turn::others).fold(0.0, f64::max);
    let name = entrant.peer.name();
    let percent = others * 100.0;
    (others > DISTURBING)
        .then(|| format!("{name}: disturbed: other programs used up to {percent:.0} % of the cores meanwhile"))
}

fn list(notes: &[String]) -> String {
    notes.iter().map(|note| format!("- {note}\n")).collect()
}
