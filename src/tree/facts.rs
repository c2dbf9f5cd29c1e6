//! What a point's guest says of itself, read from those of its volumes that hold file systems.

use std::sync::Arc;

use super::point::{Content, MOST_VOLUMES, Shown};
use crate::guest::facts::{self, Facts, Part};
use crate::guest::partition::Volume;
use crate::guest::{Error, FileSystem};

/// The volumes of a point that have been opened, for as long as questions are asked.
#[derive(Default)]
pub(super) struct Opened(Vec<OpenVolume>);

struct OpenVolume {
    /// Its name in the point: `os/p2`.
    name: String,
    volume: Volume,
    shown: Arc<Shown>,
}

impl Opened {
    /// Adds a volume. No more are held than are kept open anyway.
    pub(super) fn add(&mut self, disk: &str, volume: &Volume, shown: &Arc<Shown>) {
        if matches!(shown.content, Content::Files(_)) && self.0.len() < MOST_VOLUMES {
            let name = format!("{disk}/{}", volume.name());
            self.0.push(OpenVolume { name, volume: volume.clone(), shown: Arc::clone(shown) });
        }
    }

    /// What the guest says of itself, if one of them holds its root.
    pub(super) fn facts(&self) -> Result<Option<Facts>, Error> {
        let parts: Vec<Part<'_, FileSystem>> = self.0.iter().filter_map(OpenVolume::part).collect();
        facts::find(&parts)
    }
}

impl OpenVolume {
    fn part(&self) -> Option<Part<'_, FileSystem>> {
        let Content::Files(tree) = &self.shown.content else { return None };
        Some(Part {
            name: self.name.clone(),
            volume: self.volume.name(),
            partition_label: self.volume.label.as_deref(),
            partition_uuid: self.volume.uuid,
            tree,
        })
    }
}
