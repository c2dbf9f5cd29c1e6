//! What must be said to whoever reads files of a volume without having seen the note beside it.

use icecore_fuse::NodeId;

use super::{VaultTree, describe};
use crate::error::Result;

/// A volume that is shown as of its last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleVolume {
    /// Its number, the same for all nodes of the volume.
    pub volume: u64,
    /// Its path in the vault.
    pub path: String,
    /// That it is stale, and why.
    pub text: String,
}

impl VaultTree {
    /// The volume that a guest's node lies in, where that is shown as of its last checkpoint, or from a copy that may be
    /// behind; `None` for any other node.
    pub fn stale(&self, node: NodeId) -> Result<Option<StaleVolume>> {
        let super::Found::Guest(shown, prefix, _) = self.find(node)? else { return Ok(None) };
        let Some(text) = describe::stale(&shown) else { return Ok(None) };
        let (point, disk, volume) = self.nodes.volume(prefix).ok_or_else(super::gone)?;
        let name = point.manifest_disk(&self.opener, disk)?.name;
        let volume = point.volume(&self.opener, disk, volume)?.name();
        let path = format!("{}/{}/files/{name}/{volume}", point.info.machine, point.info.name);
        Ok(Some(StaleVolume { volume: prefix, path, text }))
    }
}
