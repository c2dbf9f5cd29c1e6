//! Warnings of volumes that are shown as of their last checkpoint: whoever names a file of one sees no note beside it.

use std::collections::HashSet;

use icecore_fuse::NodeId;

use super::output;
use super::paths::PathTree;

/// Warns, once for each volume.
#[derive(Debug)]
pub struct StaleWarnings {
    told: HashSet<u64>,
    as_json: bool,
}

impl StaleWarnings {
    /// Nothing was told so far.
    pub fn new(as_json: bool) -> Self {
        Self { told: HashSet::new(), as_json }
    }

    /// Looks at a node that was named or entered. Where even that fails, reading it tells why.
    pub fn look(&mut self, tree: &impl PathTree, node: NodeId) {
        if let Ok(Some(stale)) = tree.stale(node)
            && self.told.insert(stale.volume)
        {
            output::notice(&format!("{} is {}", stale.path, stale.text), self.as_json);
        }
    }
}
