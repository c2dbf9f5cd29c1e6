//! The guest's own tree: its root volume, and others where it mounts them.

use std::collections::BTreeMap;

use icecore_fuse::{Attributes, FileType, NodeId};

use super::fstab::Mount;
use super::{Part, text};
use crate::guest::bytes::narrow;
use crate::guest::{Error, GuestFileSystem};

/// Most bytes that are read of a file.
const MOST_BYTES: u64 = 64 << 10;
/// Most names that are read of a directory.
const MOST_NAMES: usize = 4096;
/// A larger directory is not looked into: a look-up may have to walk all of it.
const MOST_DIRECTORY_BYTES: u64 = 16 << 20;
/// Most names and links that one path leads through.
const MOST_STEPS: u32 = 128;

/// The guest's tree.
pub(super) struct View<'a, T> {
    parts: &'a [Part<'a, T>],
    root: usize,
    /// Where other parts are mounted, by the names that lead there.
    mounts: BTreeMap<Vec<Vec<u8>>, usize>,
}

/// A node of one of the parts.
#[derive(Clone, Copy)]
struct Place {
    part: usize,
    node: NodeId,
}

impl<'a, T: GuestFileSystem> View<'a, T> {
    pub(super) fn new(parts: &'a [Part<'a, T>], root: usize) -> Self {
        Self { parts, root, mounts: BTreeMap::new() }
    }

    /// Mounts what the guest mounts, as far as it is there. Of two at one place the later one counts, as in the guest.
    pub(super) fn mount(&mut self, mounts: &[Mount]) {
        for mount in mounts.iter().filter(|mount| !mount.place.is_empty()) {
            let part = self.parts.iter().position(|part| mount.what.names(part));
            if let Some(part) = part.filter(|part| *part != self.root) {
                self.mounts.insert(mount.place.clone(), part);
            }
        }
    }

    /// Where each part is mounted, in words.
    pub(super) fn mounts(&self) -> BTreeMap<String, String> {
        let path = |names: &[Vec<u8>]| text(&[b"/", names.join(&b'/').as_slice()].concat()).unwrap_or_default();
        let root = [(&Vec::new(), &self.root)];
        let named = |(names, part): (&Vec<Vec<u8>>, &usize)| Some((path(names), self.parts.get(*part)?.name.clone()));
        self.mounts.iter().chain(root).filter_map(named).collect()
    }

    /// Whether the root has what the root of any Linux has.
    pub(super) fn looks_like_root(&self) -> Result<bool, Error> {
        Ok(self.has_directory("etc")? && (self.has_directory("usr")? || self.has_directory("bin")?))
    }

    /// Whether there is such a directory.
    pub(super) fn has_directory(&self, path: &str) -> Result<bool, Error> {
        let Some(place) = self.walk(path, true)? else { return Ok(false) };
        Ok(self.kind(place)? == FileType::Directory)
    }

    /// The first bytes of a file; `None` where there is no such file.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read_up_to(path, MOST_BYTES)
    }

    /// At most so many of the first bytes of a file.
    pub(super) fn read_up_to(&self, path: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.walk(path, true)? else { return Ok(None) };
        let Some(tree) = self.tree(place.part) else { return Ok(None) };
        let attributes = tree.attributes(place.node)?;
        if attributes.kind != FileType::Regular {
            return Ok(None);
        }
        let mut bytes = vec![0; narrow(attributes.size_bytes.min(most_bytes))];
        let length = tree.read(place.node, 0, &mut bytes)?;
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// The target of a link; `None` where there is no such link.
    pub(super) fn read_link(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.walk(path, false)? else { return Ok(None) };
        match self.tree(place.part) {
            Some(tree) if self.kind(place)? == FileType::Symlink => tree.read_link(place.node).map(Some),
            _ => Ok(None),
        }
    }

    /// The first names in a directory; none where there is no such directory. Damage costs what lies behind it.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        let Some(place) = self.walk(path, true)? else { return Ok(names) };
        let Some(tree) = self.tree(place.part).filter(|_| self.is_small_directory(place).unwrap_or(false)) else {
            return Ok(names);
        };
        let read = tree.read_directory(place.node, 0, &mut |entry| {
            names.push(entry.name.to_vec());
            names.len() < MOST_NAMES
        });
        if names.is_empty() { read.map(|()| names) } else { Ok(names) }
    }

    fn tree(&self, part: usize) -> Option<&'a T> {
        self.parts.get(part).map(|part| part.tree)
    }

    fn attributes(&self, place: Place) -> Result<Attributes, Error> {
        let attributes = self.tree(place.part).map(|tree| tree.attributes(place.node)).transpose()?;
        attributes.ok_or(Error::NoSuchNode { node: place.node })
    }

    fn kind(&self, place: Place) -> Result<FileType, Error> {
        Ok(self.attributes(place)?.kind)
    }

    fn is_small_directory(&self, place: Place) -> Result<bool, Error> {
        let attributes = self.attributes(place)?;
        Ok(attributes.kind == FileType::Directory && attributes.size_bytes <= MOST_DIRECTORY_BYTES)
    }

    /// The root of a part.
    fn top(&self, part: usize) -> Option<Place> {
        Some(Place { part, node: self.tree(part)?.root() })
    }

    /// What a path leads to, links followed inside the guest's own tree; the last one only where `follow` is set.
    fn walk(&self, path: &str, follow: bool) -> Result<Option<Place>, Error> {
        // The names that led here, each with its node: `..` goes back along them.
        let mut way: Vec<(Vec<u8>, Place)> = Vec::new();
        // The names still to be walked, the next one last.
        let mut left: Vec<Vec<u8>> = names(path.as_bytes()).rev().collect();
        let mut steps = 0;
        while let Some(name) = left.pop() {
            steps += 1;
            if steps > MOST_STEPS {
                return Ok(None);
            }
            if name == b".." {
                way.pop();
                continue;
            }
            let Some(here) = way.last().map(|(_, place)| *place).or_else(|| self.top(self.root)) else {
                return Ok(None);
            };
            let Some(next) = self.step(here, &name)? else { return Ok(None) };
            let kind = self.kind(next)?;
            if kind == FileType::Symlink && (follow || !left.is_empty()) {
                let target =
                    self.tree(next.part).map(|tree| tree.read_link(next.node)).transpose()?.unwrap_or_default();
                if target.first() == Some(&b'/') {
                    way.clear();
                }
                left.extend(names(&target).rev());
                continue;
            }
            way.push((name, next));
            if let Some(part) = self.mounted(&way).filter(|_| kind == FileType::Directory)
                && let (Some(top), Some((_, place))) = (self.top(part), way.last_mut())
            {
                *place = top;
            }
        }
        Ok(way.last().map(|(_, place)| *place).or_else(|| self.top(self.root)))
    }

    fn step(&self, here: Place, name: &[u8]) -> Result<Option<Place>, Error> {
        match self.tree(here.part) {
            Some(tree) if self.is_small_directory(here)? => {
                Ok(tree.lookup(here.node, name)?.map(|node| Place { node, ..here }))
            }
            _ => Ok(None),
        }
    }

    /// The part that is mounted at the end of a way.
    fn mounted(&self, way: &[(Vec<u8>, Place)]) -> Option<usize> {
        if self.mounts.is_empty() {
            return None;
        }
        let names: Vec<Vec<u8>> = way.iter().map(|(name, _)| name.clone()).collect();
        self.mounts.get(&names).copied()
    }
}

/// The names of a path.
pub(super) fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}
