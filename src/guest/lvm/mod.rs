//! LVM2: the logical volumes that lie on physical ones, read from their own metadata. Nothing is activated.
//!
//! It promises: a logical volume reads as device-mapper would give it after the guest's next start, or it is named with the
//! reason why not. Groups and volumes are told apart by their ids; physical volumes may lie on several disks.
//!
//! Read are linear and striped volumes, mirrors, RAID of all levels whose data parts are whole (parity is never used), thin
//! volumes, and snapshots of both kinds. Caches, integrity, VDO, and what is being rearranged are refused by name.
//!
//! The way from disks to volumes:
//! 1. [`PhysicalVolume::read`] reads a partition's label (`label`);
//! 2. [`assemble`] reads the copies of the metadata (`area`, `text`), takes the newest one of each group (`group`,
//!    `segment`), and finds out which physical volumes belong together;
//! 3. [`LogicalVolume::open`] makes a disk of one (`build`, `mapped`), reading what its layout keeps for itself (`copies`,
//!    `thin`, `snapshot`).
//!
//! Invariants:
//! - of several copies of a group's metadata the whole one with the highest `seqno` counts;
//! - no mapping leads out of its physical volume, none leads back to its own volume;
//! - a disk and its clone are never mixed;
//! - of several copies of data only one that is known to be whole is read; where what would tell can't be read, the volume
//!   carries a [`Caution`];
//! - one bad volume, group or copy hides no other;
//! - memory and time to open a volume follow the size of the metadata, whatever it says.

mod area;
mod assemble;
mod build;
mod copies;
mod group;
mod id;
mod label;
mod mapped;
mod mirror;
mod parity;
mod pieces;
mod problem;
mod raid;
mod segment;
mod snapshot;
mod text;
mod thin;

use std::sync::Arc;

use super::{BlockRead, Error};
use build::Instance;
use label::Label;

pub use id::LvmId;
pub use problem::{Caution, Problem};

/// What LVM2's checksums start from (`lib/misc/crc.h`).
const CHECKSUM_SEED: u32 = 0xf597_a6cf;

/// A volume that holds a part of a group of volumes.
pub struct PhysicalVolume {
    device: Arc<dyn BlockRead>,
    disk: usize,
    place: String,
    label: Label,
}

impl PhysicalVolume {
    /// Reads the label of a volume, of which `disk` says on which disk it lies, and `place` where, to a person. `None` where
    /// it has no label.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its label can't be believed, [`Error::Medium`] where it can't be read.
    pub fn read(device: Arc<dyn BlockRead>, disk: usize, place: String) -> Result<Option<Self>, Error> {
        let label = label::read(device.as_ref())?;
        Ok(label.map(|label| Self { device, disk, place, label }))
    }

    /// Its id.
    pub fn id(&self) -> LvmId {
        self.label.id
    }

    /// The copies of its group's metadata that lie on it.
    fn texts(&self) -> impl Iterator<Item = Result<Option<Vec<u8>>, Error>> {
        self.label.areas.iter().map(|(offset, size)| area::read(self.device.as_ref(), *offset, *size))
    }
}

/// What [`assemble`] makes.
#[derive(Default)]
pub struct Assembly {
    /// The volumes that a user of the groups sees, by the disk that they begin on, group and name.
    pub volumes: Vec<LogicalVolume>,
    /// What is wrong with groups, or copies of their metadata. What could be read is there all the same.
    pub problems: Vec<GroupProblem>,
    /// Physical volumes that no metadata names, by what they were given as.
    pub orphans: Vec<String>,
    /// Whether bytes could not be had that would have told more.
    has_unread: bool,
}

/// Something wrong with a group's metadata, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupProblem {
    /// The physical volume, as it was given, or the group.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl Assembly {
    /// Whether bytes could not be had so far that would have told more: it may be worth to assemble again later.
    pub fn has_unread(&self) -> bool {
        self.has_unread || self.volumes.iter().any(|volume| volume.instance.has_unread())
    }
}

/// The logical volumes of all groups that lie on these physical ones. `unreadable` tells of places that could not be looked
/// at and might hold more.
pub fn assemble(physical: &[PhysicalVolume], unreadable: &[String]) -> Assembly {
    assemble::assemble(physical, unreadable)
}

/// A logical volume as a disk.
#[derive(Clone)]
pub struct Opened {
    /// Its bytes.
    pub device: Arc<dyn BlockRead>,
    /// What must be said of them, if anything.
    pub caution: Option<Caution>,
}

/// A volume of a group.
#[derive(Clone)]
pub struct LogicalVolume {
    instance: Arc<Instance>,
    at: usize,
    home: usize,
}

impl LogicalVolume {
    fn new(instance: Arc<Instance>, at: usize) -> Self {
        let home = instance.home(at);
        Self { instance, at, home }
    }

    /// The group's name.
    pub fn group_name(&self) -> &str {
        &self.instance.group.name
    }

    /// The group's id.
    pub fn group_id(&self) -> LvmId {
        self.instance.group.id
    }

    /// Its name in the group.
    pub fn name(&self) -> &str {
        self.description().map_or("", |volume| &volume.name)
    }

    /// Its id; the group's where it has none.
    pub fn id(&self) -> LvmId {
        self.description().map_or(self.group_id(), |volume| volume.id)
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.instance.size_bytes(self.at)
    }

    /// The layouts of its segments as LVM2 names them, each once.
    pub fn layouts(&self) -> Vec<&str> {
        let mut layouts: Vec<&str> = Vec::new();
        for segment in self.description().into_iter().flat_map(|volume| &volume.segments) {
            if layouts.last() != Some(&segment.kind.as_str()) {
                layouts.push(&segment.kind);
            }
        }
        layouts.sort_unstable();
        layouts.dedup();
        layouts
    }

    /// Whether it is what a store of changes makes of another volume.
    pub fn is_snapshot(&self) -> bool {
        self.instance.is_snapshot(self.at)
    }

    /// The disk that it begins on; the first one of its group's where that can't be said.
    pub fn home(&self) -> usize {
        self.home
    }

    /// Makes it readable.
    ///
    /// # Errors
    /// [`Error::LogicalVolume`] where it can't be read as the guest would; [`Error::Damaged`] where its own structures
    /// can't be believed; [`Error::Medium`] where the disk can't be read.
    pub fn open(&self) -> Result<Opened, Error> {
        self.instance.open(self.at)
    }

    fn description(&self) -> Option<&group::Logical> {
        self.instance.group.logical.get(self.at)
    }
}
