//! Walking a tree whose shape somebody else decided.
//!
//! A guest's file system may lie: directories that hold themselves, or are named twice. Each directory is entered once,
//! so that every walk ends; and no walk recurses, so that depth costs memory in the heap only.

use std::collections::HashSet;

use icecore::error::{Error, Result};
use icecore_fuse::{FileType, NodeId, ReadOnlyTree};

use super::paths;

/// Longest path that is walked, in bytes.
const MOST_PATH_BYTES: usize = 64 << 10;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// Its node.
    pub node: NodeId,
    /// That node's kind.
    pub kind: FileType,
}

/// The entries of a directory, by name.
pub fn entries(tree: &impl ReadOnlyTree<Error = Error>, directory: NodeId) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    tree.read_directory(directory, 0, &mut |entry| {
        entries.push(Entry { name: entry.name.to_vec(), node: entry.node, kind: entry.kind });
        true
    })?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The directories that a walk has entered.
#[derive(Debug, Default)]
pub struct Entered(HashSet<NodeId>);

impl Entered {
    /// Enters a directory; an error where the walk was there before.
    pub fn enter(&mut self, directory: NodeId, path: &[u8]) -> Result<()> {
        if path.len() <= MOST_PATH_BYTES && self.0.insert(directory) {
            return Ok(());
        }
        let path = String::from_utf8_lossy(path).into_owned();
        Err(Error::WrongNode { path, wanted: "a directory of a sound file system: it was met before or lies too deep" })
    }
}

/// Gets each path of a walk with what is there, or why a directory could not be read.
pub type Visit<'a, E> = dyn FnMut(&[u8], Result<&Entry>) -> std::result::Result<(), E> + 'a;

/// Walks the subtree of `start`, itself included, in order of path.
pub fn walk<E>(
    tree: &impl ReadOnlyTree<Error = Error>,
    path: &[u8],
    start: NodeId,
    visit: &mut Visit<'_, E>,
) -> std::result::Result<(), E> {
    let kind = match tree.attributes(start) {
        Ok(attributes) => attributes.kind,
        Err(error) => return visit(path, Err(error)),
    };
    let first = Entry { name: paths::last(path).to_vec(), node: start, kind };
    let mut entered = Entered::default();
    // The next one last.
    let mut left = vec![(path.to_vec(), first)];
    while let Some((path, entry)) = left.pop() {
        visit(&path, Ok(&entry))?;
        if entry.kind != FileType::Directory {
            continue;
        }
        match entered.enter(entry.node, &path).and_then(|()| entries(tree, entry.node)) {
            Ok(below) => {
                left.extend(below.into_iter().rev().map(|entry| (paths::joined(&path, &entry.name), entry)));
            }
            Err(error) => visit(&path, Err(error))?,
        }
    }
    Ok(())
}
