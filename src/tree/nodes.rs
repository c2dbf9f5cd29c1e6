//! Numbers of nodes.
//!
//! The tree's own nodes have the top bit set; the rest is a hash of what they are. A guest's file has the top bit
//! clear, 23 bits for its volume, 40 bits for its number in the guest's file system.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use icecore_fuse::NodeId;

use super::describe::Note;
use super::point::PointNode;
use crate::error::{Error, Result};
use crate::point::PointInfo;

const OWN: u64 = 1 << 63;
const INODE_BITS: u32 = 40;
const PREFIXES: u64 = 1 << (63 - INODE_BITS);

/// A volume of a disk of a point.
pub(super) type VolumePlace = (Arc<PointNode>, usize, usize);

/// One of the tree's own nodes.
pub(super) enum Node {
    Root,
    Machine(String),
    Latest(String),
    Point(Arc<PointNode>),
    Disks(Arc<PointNode>),
    Files(Arc<PointNode>),
    PointJson(Arc<PointNode>),
    Disk(Arc<PointNode>, usize),
    Volumes(Arc<PointNode>, usize),
    RawVolume(Arc<PointNode>, usize, usize),
    Note(Arc<PointNode>, usize, Note),
}

impl Node {
    /// What it is, in one line; the number is made from this.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Root => "the root".to_owned(),
            Self::Machine(machine) => format!("machine {machine}"),
            Self::Latest(machine) => format!("latest point of {machine}"),
            Self::Point(point) => format!("point {}", point.info.id),
            Self::Disks(point) => format!("disks of point {}", point.info.id),
            Self::Files(point) => format!("files of point {}", point.info.id),
            Self::PointJson(point) => format!("point.json of point {}", point.info.id),
            Self::Disk(point, disk) => format!("disk {disk} of point {}", point.info.id),
            Self::Volumes(point, disk) => format!("volumes of disk {disk} of point {}", point.info.id),
            Self::RawVolume(point, disk, volume) => {
                format!("volume {volume} of disk {disk} of point {}", point.info.id)
            }
            Self::Note(point, disk, note) => {
                format!("{} of volume {} of disk {disk} of point {}", note.suffix, note.volume, point.info.id)
            }
        }
    }

    /// The point that it belongs to.
    pub(super) fn point(&self) -> Option<&Arc<PointNode>> {
        match self {
            Self::Root | Self::Machine(_) | Self::Latest(_) => None,
            Self::Point(point)
            | Self::Disks(point)
            | Self::Files(point)
            | Self::PointJson(point)
            | Self::Disk(point, _)
            | Self::Volumes(point, _)
            | Self::RawVolume(point, ..)
            | Self::Note(point, ..) => Some(point),
        }
    }

    /// The directory that holds it.
    pub(super) fn parent(&self) -> Self {
        match self {
            Self::Root | Self::Machine(_) => Self::Root,
            Self::Latest(machine) => Self::Machine(machine.clone()),
            Self::Point(point) => Self::Machine(point.info.machine.clone()),
            Self::Disks(point) | Self::Files(point) | Self::PointJson(point) => Self::Point(Arc::clone(point)),
            Self::Disk(point, _) => Self::Disks(Arc::clone(point)),
            Self::Volumes(point, _) => Self::Files(Arc::clone(point)),
            Self::RawVolume(point, disk, _) | Self::Note(point, disk, _) => Self::Volumes(Arc::clone(point), *disk),
        }
    }
}

/// The nodes that have been handed out.
#[derive(Default)]
pub(super) struct Nodes {
    own: RwLock<HashMap<NodeId, Arc<Node>>>,
    points: RwLock<HashMap<String, Arc<PointNode>>>,
    volumes: RwLock<HashMap<u64, VolumePlace>>,
}

fn hash(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Volume and inode of a guest's node; `None` for the tree's own.
pub(super) fn guest_parts(node: NodeId) -> Option<(u64, u64)> {
    (node & OWN == 0).then_some((node >> INODE_BITS, node & ((1 << INODE_BITS) - 1)))
}

/// The node of an inode of a volume.
pub(super) fn guest_node(prefix: u64, inode: u64) -> Result<NodeId> {
    if inode >> INODE_BITS == 0 {
        return Ok(prefix << INODE_BITS | inode);
    }
    Err(Error::Invalid { what: "inode", value: inode.to_string(), rule: "numbers of 2^40 and above are not shown" })
}

impl Nodes {
    /// Hands out a node.
    pub(super) fn add(&self, node: Node) -> NodeId {
        let id = OWN | hash(&node.describe());
        if !self.own.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id) {
            self.own.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(node));
        }
        id
    }

    pub(super) fn get(&self, node: NodeId) -> Option<Arc<Node>> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// The one node of a point: what is open of it is shared by all that lies below.
    pub(super) fn point(&self, info: &Arc<PointInfo>) -> Arc<PointNode> {
        if let Some(point) = self.points.read().unwrap_or_else(PoisonError::into_inner).get(&info.id) {
            return Arc::clone(point);
        }
        let mut points = self.points.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(points.entry(info.id.clone()).or_insert_with(|| Arc::new(PointNode::new(Arc::clone(info)))))
    }

    /// The prefix of a volume's numbers: from what it is, and where that is taken, the next that is free.
    pub(super) fn prefix(&self, place: &VolumePlace) -> u64 {
        let same = |other: &VolumePlace| Arc::ptr_eq(&other.0, &place.0) && (other.1, other.2) == (place.1, place.2);
        let mut prefix = hash(&format!("{} {} {}", place.0.info.id, place.1, place.2)) % PREFIXES;
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        // Zero stays free, so that no node of a guest is zero.
        while prefix == 0 || volumes.get(&prefix).is_some_and(|other| !same(other)) {
            prefix = (prefix + 1) % PREFIXES;
        }
        volumes.entry(prefix).or_insert_with(|| place.clone());
        prefix
    }

    pub(super) fn volume(&self, prefix: u64) -> Option<VolumePlace> {
        self.volumes.read().unwrap_or_else(PoisonError::into_inner).get(&prefix).cloned()
    }
}
