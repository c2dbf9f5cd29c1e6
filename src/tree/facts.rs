//! What a point's guest says of itself, read from those of its volumes that hold file systems.

use std::sync::Arc;

use super::point::{Content, MOST_VOLUMES, PointVolume, Shown};
use crate::guest::facts::{self, Facts, Part};
use crate::guest::{Error, FileSystem, Uuid};

/// The volumes of a point that have been opened, for as long as questions are asked.
#[derive(Default)]
pub(super) struct Opened(Vec<OpenVolume>);

struct OpenVolume {
    /// Its name in the point: `os/p2`.
    name: String,
    volume: String,
    partition_label: Option<String>,
    partition_uuid: Option<Uuid>,
    shown: Arc<Shown>,
}

impl Opened {
    /// Adds a volume. No more are held than are kept open anyway.
    pub(super) fn add(&mut self, disk: &str, volume: &PointVolume, shown: &Arc<Shown>) {
        if matches!(shown.content, Content::Files(_)) && self.0.len() < MOST_VOLUMES {
            let (partition_label, partition_uuid) = match volume {
                PointVolume::Partition(volume) => (volume.label.clone(), volume.uuid),
                PointVolume::Logical(_) => (None, None),
            };
            let (name, volume) = (format!("{disk}/{}", volume.name()), volume.name());
            self.0.push(OpenVolume { name, volume, partition_label, partition_uuid, shown: Arc::clone(shown) });
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
            volume: self.volume.clone(),
            partition_label: self.partition_label.as_deref(),
            partition_uuid: self.partition_uuid,
            tree,
        })
    }
}
