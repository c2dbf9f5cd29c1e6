//! LVM2: the logical volumes that lie on physical ones, read from their own metadata. Nothing is activated.
//!
//! It promises: a logical volume reads as device-mapper would give it, or it is named with the reason why not. Groups
//! are told apart by their ids, so two of one name are no problem; physical volumes may lie on several disks.
//!
//! Read are linear and striped volumes, RAID 0 and 1, and mirrors; thin volumes, snapshots, caches and RAID with
//! parity are refused by name.
//!
//! Invariants:
//! - of several copies of a group's metadata the whole one with the highest `seqno` counts;
//! - no mapping leads out of its physical volume, none leads back to its own volume;
//! - one bad volume, group or copy hides no other.

mod label;
mod logical;
mod mapped;
mod raid;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{BlockRead, Error};

use logical::Group;
use text::Section;

/// Longer names LVM2 does not give.
const NAME_BYTES_MAX: usize = 127;

/// A volume that holds a part of a group of volumes.
pub struct PhysicalVolume {
    device: Arc<dyn BlockRead>,
    id: String,
    metadata: Option<Section>,
}

impl PhysicalVolume {
    /// Reads the label and the metadata on a volume.
    ///
    /// # Errors
    /// [`Error::Damaged`] where either can't be believed, [`Error::Medium`] where the volume can't be read.
    pub fn read(device: Arc<dyn BlockRead>) -> Result<Self, Error> {
        let label = label::read(device.as_ref())?;
        Ok(Self { device, id: label.id, metadata: label.metadata })
    }
}

/// A volume of a group.
#[derive(Clone)]
pub struct LogicalVolume {
    /// The group's name.
    pub group: String,
    /// The group's id, with hyphens.
    pub group_id: String,
    /// Its name in the group.
    pub name: String,
    /// Its id, with hyphens.
    pub id: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How it is laid out, as LVM2 calls it: `striped`, `raid1`...
    pub layout: String,
    /// The physical volume that holds its first byte, by its place in what [`assemble`] was given; the first one that
    /// is there of its group where that can't be said.
    pub home: usize,
    /// The volume as a disk.
    pub device: Result<Arc<dyn BlockRead>, Problem>,
}

/// Why a logical volume can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A part of it lies on a physical volume that is none of those given.
    #[error("physical volume {id} is not on the disks of this point")]
    Missing {
        /// The id, with hyphens.
        id: String,
    },
    /// It is laid out in a way that is not known here.
    #[error("its layout {layout} can't be read")]
    Layout {
        /// The layout's name in LVM2.
        layout: String,
    },
    /// The metadata contradicts itself.
    #[error("its metadata is damaged: {what}")]
    Metadata {
        /// Where.
        what: &'static str,
    },
    /// None of the copies that it is kept in can be relied on.
    #[error("none of its copies is whole")]
    NoCopy,
}

/// The logical volumes that can be seen of all groups of which a physical volume is given, by group and name.
pub fn assemble(physical: &[Arc<PhysicalVolume>]) -> Vec<LogicalVolume> {
    // By the group's id the newest metadata, whichever volume holds it.
    let mut newest: BTreeMap<&str, (u64, &str, &Section)> = BTreeMap::new();
    for volume in physical {
        let groups = volume.metadata.iter().flat_map(|metadata| metadata.sections());
        for (name, group) in groups {
            let (Some(id), Some(seqno)) = (group.text("id"), group.number("seqno")) else { continue };
            if name.len() > NAME_BYTES_MAX {
                continue;
            }
            let known = newest.entry(id).or_insert((seqno, name, group));
            if seqno > known.0 {
                *known = (seqno, name, group);
            }
        }
    }
    let places: HashMap<&str, usize> =
        physical.iter().enumerate().map(|(at, volume)| (volume.id.as_str(), at)).collect();
    let mut found: Vec<LogicalVolume> = newest
        .into_iter()
        .flat_map(|(id, (_, name, section))| Group::new(id, name, section, physical, &places).volumes())
        .collect();
    found.sort_by(|a, b| (&a.group, &a.name, &a.id).cmp(&(&b.group, &b.name, &b.id)));
    found
}
