//! From a path to a node, as a person types it.

use icecore_fuse::{FileType, NodeId, ReadOnlyTree};

use super::VaultTree;
use super::nodes::{Node, guest_parts};
use crate::error::{Error, Result};

/// Most symbolic links that one path may pass through, as in Linux.
const MOST_LINKS: u32 = 40;

/// Longest path, with what links add to it, in bytes.
const MOST_BYTES: usize = 64 << 10;

impl VaultTree {
    /// The node of a path such as `web01/latest/files/os/p2/etc`. A point may also be named by the first digits of its
    /// id. Links inside a guest's volume are followed within that volume, absolute ones from its root; the last one
    /// only where `follow` is set.
    pub fn resolve(&self, path: impl AsRef<[u8]>, follow: bool) -> Result<NodeId> {
        let path = path.as_ref();
        let wrong = || Error::NoSuchPath { path: String::from_utf8_lossy(path).into_owned() };
        let mut at = self.root();
        // The names still to be walked, the next one last.
        let mut left: Vec<Vec<u8>> = split(path).rev().collect();
        let (mut links, mut bytes) = (0, path.len());
        while let Some(name) = left.pop() {
            if name == b".." {
                at = self.up(at)?;
                continue;
            }
            let node = self.step(at, &name).map_err(|error| if is_absent(&error) { wrong() } else { error })?;
            let node = node.ok_or_else(wrong)?;
            let is_last = left.is_empty();
            if (is_last && !follow) || self.attributes(node)?.kind != FileType::Symlink {
                at = node;
                continue;
            }
            let target = self.read_link(node)?;
            (links, bytes) = (links + 1, bytes + target.len());
            if links > MOST_LINKS || bytes > MOST_BYTES {
                return Err(Error::WrongNode {
                    path: String::from_utf8_lossy(path).into_owned(),
                    wanted: "free of link loops",
                });
            }
            if target.first() == Some(&b'/') {
                at = self.volume_root(at)?;
            }
            left.extend(split(&target).rev());
        }
        Ok(at)
    }

    fn step(&self, at: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        if let Some(node) = self.lookup(at, name)? {
            return Ok(Some(node));
        }
        // Below a machine, the digits of an id do as well as a point's name.
        match (self.nodes.get(at).as_deref(), std::str::from_utf8(name)) {
            (Some(Node::Machine(machine)), Ok(text)) => {
                let point = self.catalog.point(machine, text)?;
                Ok(Some(self.nodes.add(Node::Point(self.nodes.point(&point)))))
            }
            _ => Ok(None),
        }
    }

    /// The parent; a volume's root is its own, as the guest sees it.
    fn up(&self, at: NodeId) -> Result<NodeId> {
        if guest_parts(at).is_some() && self.volume_root(at)? == at { Ok(at) } else { self.parent(at) }
    }

    /// The root of the volume that a guest's node is in; any other node itself.
    fn volume_root(&self, at: NodeId) -> Result<NodeId> {
        match self.find(at)? {
            super::Found::Guest(shown, prefix, _) => {
                let root = Self::guest(&shown, |guest| Ok(guest.root()))?;
                super::nodes::guest_node(prefix, root)
            }
            super::Found::Own(_) => Ok(at),
        }
    }
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::WrongNode { .. }) || matches!(error, Error::Guest(crate::guest::Error::NotADirectory { .. }))
}
