//! `icecore cat`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use icecore::error::Error;
use icecore_fuse::{FileType, NodeId, ReadOnlyTree};

use super::arguments::Global;
use super::exit::Exit;
use super::output::Output;
use super::paths::{self, PathTree};
use super::problem::Problem;
use super::salvage::{self, Lost, Salvage};
use super::stale::StaleWarnings;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  icecore cat web01/latest/files/os/p2/etc/hostname
  icecore cat web01/latest/point.json | jq .disks
  icecore cat web01/latest/disks/os.raw | sha256sum";

/// Print files of the vault
///
/// Prints files of the vault on standard output, byte for byte, one after the other.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    salvage: Salvage,
}

/// Prints.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_to_read(arguments.salvage)?;
    let tree = vault.tree();
    let mut out = Output::open();
    let mut exit = Exit::Done;
    let mut stale = StaleWarnings::new(global.json);
    for path in &arguments.paths {
        let path = paths::trimmed(path.as_bytes());
        let node = tree_file(&tree, &path)?;
        stale.look(&tree, node);
        if arguments.salvage.salvage {
            let mut lost = Lost::default();
            print(&mut |offset, buffer| salvage::read_around(&tree, node, offset, buffer, &mut lost), &mut out)?;
            out.flush()?;
            lost.tell(&path, global.json);
            exit = if lost.is_empty() { exit } else { Exit::Incomplete };
        } else {
            print(&mut |offset, buffer| tree.read(node, offset, buffer), &mut out)?;
        }
    }
    out.flush()?;
    Ok(exit)
}

fn tree_file(tree: &impl PathTree, path: &[u8]) -> Result<NodeId, Problem> {
    let node = tree.resolve(path, true)?;
    if tree.attributes(node)?.kind == FileType::Regular {
        return Ok(node);
    }
    Err(Error::WrongNode { path: String::from_utf8_lossy(path).into_owned(), wanted: "a file" }.into())
}

/// Reads a file from an offset on.
type Read<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<usize, Error>;

fn print(read: Read<'_>, out: &mut Output) -> Result<(), Problem> {
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    loop {
        let length = read(offset, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        out.bytes(&buffer[..length])?;
        offset += length as u64;
    }
}
