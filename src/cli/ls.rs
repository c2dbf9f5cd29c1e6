//! `icecore ls`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use icecore::error::Error;
use icecore_fuse::{Attributes, FileType, NodeId, ReadOnlyTree};

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::node::{self, NodeJson};
use super::output::{self, Output};
use super::paths::{self, PathTree};
use super::problem::Problem;
use super::salvage::Salvage;
use super::stale::StaleWarnings;
use super::walk::{self, Entry};

const EXAMPLES: &str = "\
Examples:
  icecore ls
  icecore ls -l web01/latest/files/os/p2/etc
  icecore ls --json web01/latest/disks";

/// List a directory of the vault
///
/// Lists a directory of the vault by name: machines, points, disks, or a guest's own files. All names are shown.
///
/// With --json: one object a line.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The directory, or one file [default: all machines]
    path: Option<OsString>,
    /// Show kind, mode, links, owner, size, time of modification (UTC) and link targets
    #[arg(short, long)]
    long: bool,
    /// Taken for habit's sake: names that begin with a dot are always shown
    #[arg(short, long, hide = true)]
    all: bool,
    #[command(flatten)]
    salvage: Salvage,
}

/// Lists.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_to_read(arguments.salvage)?;
    let path = paths::trimmed(arguments.path.as_deref().map(OsStrExt::as_bytes).unwrap_or_default());
    list(&vault.tree(), &path, arguments.long, global)
}

fn list(tree: &impl PathTree, path: &[u8], long: bool, global: &Global) -> Result<Exit, Problem> {
    let node = target(tree, path, long)?;
    StaleWarnings::new(global.json).look(tree, node);
    let attributes = tree.attributes(node)?;
    let is_directory = attributes.kind == FileType::Directory;
    let entries = if is_directory {
        walk::entries(tree, node)?
    } else {
        vec![Entry { name: path.to_vec(), node, kind: attributes.kind }]
    };
    let mut out = Output::open();
    let mut unreadable = Vec::new();
    let mut rows = Vec::new();
    for entry in &entries {
        let full = if is_directory { paths::joined(path, &entry.name) } else { path.to_vec() };
        if !long && !global.json {
            out.name(&entry.name)?;
            out.line("")?;
            continue;
        }
        match look(tree, entry) {
            Ok((attributes, link)) if global.json => out.json(&NodeJson::new(&full, &attributes, link.as_deref()))?,
            Ok((attributes, link)) => rows.push((entry, attributes, link)),
            Err(error) => unreadable.push((full, error)),
        }
    }
    print_long(&mut out, &rows)?;
    out.flush()?;
    for (path, error) in &unreadable {
        output::warning(&format!("{}: {error}", String::from_utf8_lossy(path)), global.json);
    }
    Ok(if unreadable.is_empty() { Exit::Done } else { Exit::Incomplete })
}

/// A link to a directory is entered; another is shown itself where its details are wanted, and where it leads nowhere.
fn target(tree: &impl PathTree, path: &[u8], long: bool) -> Result<NodeId, Problem> {
    let itself = tree.resolve(path, false)?;
    if tree.attributes(itself)?.kind != FileType::Symlink {
        return Ok(itself);
    }
    match tree.resolve(path, true) {
        Ok(node) if !long || tree.attributes(node)?.kind == FileType::Directory => Ok(node),
        Ok(_) | Err(Error::NoSuchPath { .. } | Error::WrongNode { .. }) => Ok(itself),
        Err(error) => Err(error.into()),
    }
}

fn look(tree: &impl ReadOnlyTree<Error = Error>, entry: &Entry) -> Result<(Attributes, Option<Vec<u8>>), Error> {
    let attributes = tree.attributes(entry.node)?;
    let link = if attributes.kind == FileType::Symlink { Some(tree.read_link(entry.node)?) } else { None };
    Ok((attributes, link))
}

fn print_long(out: &mut Output, rows: &[(&Entry, Attributes, Option<Vec<u8>>)]) -> Result<(), Problem> {
    let lines: Vec<[String; 6]> = rows
        .iter()
        .map(|(_, attributes, _)| {
            let size = match attributes.kind {
                FileType::BlockDevice | FileType::CharDevice => {
                    format!("{}, {}", attributes.device.0, attributes.device.1)
                }
                _ => human::size(attributes.size_bytes),
            };
            [
                node::mode_text(attributes.kind, attributes.mode),
                attributes.links.to_string(),
                attributes.uid.to_string(),
                attributes.gid.to_string(),
                size,
                human::time(attributes.modified),
            ]
        })
        .collect();
    for (line, (entry, _, link)) in human::columns(&lines, &[1, 2, 3, 4]).iter().zip(rows) {
        out.text(line)?;
        out.text("  ")?;
        out.name(&entry.name)?;
        if let Some(link) = link {
            out.text(" -> ")?;
            out.name(link)?;
        }
        out.line("")?;
    }
    Ok(())
}
