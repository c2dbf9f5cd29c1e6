//! `icecore cp`
//!
//! What is copied was named by a guest, and lands in the directories of whoever runs this: see [`place`] for how it is
//! kept from landing elsewhere.

mod content;
mod copier;
mod place;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};
use icecore::error::Error;
use icecore_fuse::NodeId;
use serde_json::json;

use super::arguments::Global;
use super::exit::Exit;
use super::paths::{self, PathTree};
use super::problem::{Problem, Sentence};
use super::salvage::Salvage;
use super::signals::{self, Interrupt};
use super::{human, output};
use copier::{Copied, Copier};
use place::Place;

const EXAMPLES: &str = "\
Examples:
  icecore cp web01/latest/files/os/p2/etc/fstab .
  icecore cp -r web01/2026-11-20T02-00-00Z/files/os/p2/etc/nginx ./nginx-back
  icecore cp -r web01/latest/files/data/p1/srv web01/latest/files/data/p1/home /restore";

/// Copy files out of the vault
///
/// Copies files out of the vault, with mode, times and extended attributes, and with their owner when root runs it. Holes
/// stay holes. A link named as SRC is followed; links below it stay links. Directories that exist are filled up; files that
/// exist are left alone unless --force is given.
///
/// What can't be copied is told, one line each, and the command ends with 3. A file appears under its name when it is whole.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What to copy, by its path in the vault
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<OsString>,
    /// Where to: a directory that exists, or the name that the copy gets
    #[arg(required = true, value_name = "DST", value_hint = ValueHint::AnyPath)]
    target: PathBuf,
    /// Copy directories with everything below them
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// Replace files that exist
    #[arg(short, long)]
    force: bool,
    /// Keep set-user-id and set-group-id bits and file capabilities, which give rights to whoever runs the copy
    #[arg(long)]
    keep_modes: bool,
    /// Make device nodes, which root only may do
    #[arg(long)]
    devices: bool,
    #[command(flatten)]
    salvage: Salvage,
}

/// Copies.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(arguments.salvage)?;
    let interrupt = Interrupt::noted().map_err(signals::refused)?;
    copy(&vault.tree(), arguments, global, &interrupt)
}

fn copy(tree: &impl PathTree, arguments: &Arguments, global: &Global, interrupt: &Interrupt) -> Result<Exit, Problem> {
    let began = Instant::now();
    let many = arguments.sources.len() > 1;
    let into = arguments.target.is_dir();
    if many && !into {
        let happened = format!("{} is not a directory", arguments.target.display());
        return Err(Problem::usage(happened, "several sources need a directory that exists"));
    }
    let mut copier = Copier::new(tree, arguments.into(), interrupt, global.json);
    for source in &arguments.sources {
        let path = paths::trimmed(source.as_bytes());
        let (folder, name) =
            if into { (arguments.target.as_path(), own_name(&path)?) } else { named(&arguments.target)? };
        let folder = Place::open(folder)?;
        let copied = node(tree, &path).and_then(|node| copier.copy(&path, node, &folder, name.as_bytes()));
        match copied {
            Ok(()) => {}
            // The only line that there is to tell.
            Err(problem) if !many => return Err(problem),
            Err(problem) => copier.failed(&path, problem)?,
        }
    }
    let copied = copier.end();
    tell(&copied, began.elapsed().as_secs_f64(), global)?;
    Ok(match (copied.failed, copied.nodes()) {
        (0, _) if copied.incomplete == 0 => Exit::Done,
        (0, _) => Exit::Incomplete,
        (_, 0) => Exit::Failed,
        _ => Exit::Incomplete,
    })
}

/// The node of a source: what a link leads to, or the link itself where it leads nowhere.
fn node(tree: &impl PathTree, path: &[u8]) -> Result<NodeId, Problem> {
    match tree.resolve(path, true) {
        Err(Error::NoSuchPath { .. } | Error::WrongNode { .. }) => Ok(tree.resolve(path, false)?),
        found => Ok(found?),
    }
}

/// The name of a source in a directory that exists.
fn own_name(path: &[u8]) -> Result<&OsStr, Problem> {
    match paths::last(path) {
        b"" | b".." => Err(Problem::usage("that source has no name of its own", "name the copy: cp SRC DST/NAME")),
        name => Ok(OsStr::from_bytes(name)),
    }
}

/// Directory and name of a target that does not exist yet, or is a file.
fn named(target: &Path) -> Result<(&Path, &OsStr), Problem> {
    let Some(name) = target.file_name() else {
        return Err(Problem::usage(format!("{} does not exist", target.display()), "make that directory first"));
    };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder, name))
}

fn tell(copied: &Copied, seconds: f64, global: &Global) -> Result<(), Problem> {
    if global.json {
        return output::json(&json!({
            "message_type": "summary",
            "files": copied.files,
            "directories": copied.directories,
            "links": copied.links,
            "others": copied.others,
            "bytes": copied.bytes,
            "failed": copied.failed,
            "incomplete": copied.incomplete,
            "seconds": seconds,
        }));
    }
    if global.quiet {
        return Ok(());
    }
    let parts = [
        (copied.files, "file", "files"),
        (copied.directories, "directory", "directories"),
        (copied.links, "link", "links"),
        (copied.others, "special file", "special files"),
    ];
    let mut done: Vec<String> =
        parts.into_iter().filter(|part| part.0 > 0).map(|(n, one, many)| human::count(n, one, many)).collect();
    if done.is_empty() {
        done.push("nothing".to_owned());
    }
    let mut failed = if copied.failed > 0 { format!("; {} not copied", copied.failed) } else { String::new() };
    if copied.incomplete > 0 {
        failed.push_str(&format!("; {} with zeros where bytes are lost", copied.incomplete));
    }
    let size = human::size(copied.bytes);
    output::line(&format!("copied {}: {size} in {seconds:.1} s{failed}", done.join(", ")))
}

/// A directory that was named without `-r`.
fn is_directory(path: &[u8]) -> Problem {
    let happened = format!("{} is a directory", String::from_utf8_lossy(path));
    Problem::said(Exit::Failed, Sentence::new(happened, "nothing of it was copied", "add -r to copy all of it"))
}
