//! Paths in a vault, as the verbs take them from people and print them for people to paste.

use std::sync::Arc;

use icecore::Vault;
use icecore::error::{Error, Result};
use icecore::point::PointInfo;
use icecore::tree::{StaleVolume, VaultTree};
use icecore_fuse::{NodeId, ReadOnlyTree};

use super::problem::Problem;

/// What the verbs need of the vault's tree: nodes that are found by their path.
pub trait PathTree: ReadOnlyTree<Error = Error> {
    /// The node at a path from the root, parts separated by `/`. `follow` follows a symbolic link at its end.
    fn resolve(&self, path: &[u8], follow: bool) -> Result<NodeId>;

    /// The volume that a node lies in, where that is shown as of its last checkpoint.
    fn stale(&self, node: NodeId) -> Result<Option<StaleVolume>>;
}

impl PathTree for VaultTree {
    fn resolve(&self, path: &[u8], follow: bool) -> Result<NodeId> {
        Self::resolve(self, path, follow)
    }

    fn stale(&self, node: NodeId) -> Result<Option<StaleVolume>> {
        Self::stale(self, node)
    }
}

/// A point named as `MACHINE/POINT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointPath {
    /// The machine.
    pub machine: String,
    /// The point: its name, `latest`, or the first digits of its id.
    pub point: String,
}

impl std::str::FromStr for PointPath {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text.trim_end_matches('/').split_once('/') {
            Some((machine, point)) if !machine.is_empty() && !point.is_empty() && !point.contains('/') => {
                Ok(Self { machine: machine.to_owned(), point: point.to_owned() })
            }
            _ => Err("write it as MACHINE/POINT, such as web01/latest"),
        }
    }
}

impl PointPath {
    /// The point.
    pub fn find(&self, vault: &Vault) -> std::result::Result<Arc<PointInfo>, Problem> {
        Ok(vault.point(&self.machine, &self.point)?)
    }
}

/// A path without the slashes at its ends and without doubled ones.
pub fn trimmed(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

/// The path of `name` in a directory.
pub fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// The last part of a path; empty for the root.
pub fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_with_their_machine() {
        let parsed: PointPath = "web01/latest/".parse().expect("a point");
        assert_eq!(parsed, PointPath { machine: "web01".to_owned(), point: "latest".to_owned() });
        for wrong in ["web01", "web01/", "/latest", "web01/latest/disks", ""] {
            assert!(wrong.parse::<PointPath>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_come_out_as_they_can_be_pasted() {
        assert_eq!(trimmed(b"/web01//latest/./files/"), b"web01/latest/files");
        assert_eq!(joined(b"", b"web01"), b"web01");
        assert_eq!(joined(b"web01", b"latest"), b"web01/latest");
        assert_eq!(last(b"a/b"), b"b");
    }
}
