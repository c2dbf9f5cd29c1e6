//! `icecore find`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Args, ValueEnum};
use globset::{GlobBuilder, GlobMatcher};
use icecore_fuse::FileType;

use super::arguments::Global;
use super::exit::Exit;
use super::node::NodeJson;
use super::output::{self, Output};
use super::paths::{self, PathTree};
use super::problem::Problem;
use super::salvage::Salvage;
use super::stale::StaleWarnings;
use super::walk::{self, Entry};

const EXAMPLES: &str = "\
Examples:
  icecore find web01/latest '*.conf'
  icecore find web01/latest/files/os/p2/etc --type l
  icecore find web01/3f9a01c2/files/os 'passwd*' --json";

/// Find files by name
///
/// Lists everything below a path of the vault, or what has a name that fits a pattern, by a path that `cp` and `cat` take.
/// Links are not followed, but for PATH itself.
///
/// With --json: one object a line.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where to look: a machine, a point, or a directory in it
    path: OsString,
    /// Pattern for the name: *, ?, [a-z], {a,b}
    #[arg(value_parser = parse_glob)]
    glob: Option<GlobMatcher>,
    /// List only files, directories or links
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    #[command(flatten)]
    salvage: Salvage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Regular files
    F,
    /// Directories
    D,
    /// Symbolic links
    L,
}

fn parse_glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

impl Arguments {
    fn fits(&self, entry: &Entry) -> bool {
        let kind = match self.kind {
            None => true,
            Some(Kind::F) => entry.kind == FileType::Regular,
            Some(Kind::D) => entry.kind == FileType::Directory,
            Some(Kind::L) => entry.kind == FileType::Symlink,
        };
        kind && self.glob.as_ref().is_none_or(|glob| glob.is_match(OsStr::from_bytes(&entry.name)))
    }
}

/// Finds.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_to_read(arguments.salvage)?;
    find(&vault.tree(), arguments, global)
}

fn find(tree: &impl PathTree, arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let path = paths::trimmed(arguments.path.as_bytes());
    let start = tree.resolve(&path, true)?;
    let mut out = Output::open();
    let mut exit = Exit::Done;
    let mut stale = StaleWarnings::new(global.json);
    let mut failed = |path: &[u8], error: icecore::Error| {
        exit = Exit::Incomplete;
        output::warning(&format!("{}: {error}", String::from_utf8_lossy(path)), global.json);
    };
    walk::walk(tree, &path, start, &mut |path, found| {
        let entry = match found {
            Ok(entry) => entry,
            Err(error) => {
                failed(path, error);
                return Ok(());
            }
        };
        if entry.kind == FileType::Directory {
            stale.look(tree, entry.node);
        }
        // The root has no name.
        if path.is_empty() || !arguments.fits(entry) {
            return Ok(());
        }
        if !global.json {
            out.name(path)?;
            return out.line("");
        }
        let link = if entry.kind == FileType::Symlink { tree.read_link(entry.node).map(Some) } else { Ok(None) };
        match link.and_then(|link| Ok((tree.attributes(entry.node)?, link))) {
            Ok((attributes, link)) => out.json(&NodeJson::new(path, &attributes, link.as_deref())),
            Err(error) => {
                failed(path, error);
                Ok(())
            }
        }
    })?;
    out.flush()?;
    Ok(exit)
}
