//! XFS, versions 4 and 5, read-only, from its published layout ("XFS Filesystem Structure", 3rd edition).
//!
//! It promises: a read returns the bytes that the guest would see, or a typed error that names the damaged object.
//! Where structures carry checksums, owners and their own places, each is verified before it is believed.
//!
//! A log that was not replayed is replayed in memory; blocks that it changes have no right checksum any more,
//! and those of the log stand in for it. Where a log can't be replayed, the volume is labelled.
//!
//! Invariants:
//! - a node number is an inode number; the root's is in the superblock; an inode without links does not exist;
//! - no block number leads out of its allocation group, no depth exceeds the format's, nothing is allocated by a number
//!   that was not compared with the size of the file system or a constant;
//! - every call takes `&self`; what is cached is immutable and bounded.
//!
//! It refuses to know: how to write, how to repair, the realtime device (its files are errors, all others are not),
//! case folding (names are compared byte by byte), directories of version 1.

mod acl;
mod block;
mod dir;
mod dirent;
mod features;
mod file;
mod index;
mod inode;
mod link;
mod log;
mod map;
mod space;
mod superblock;
mod tree;
mod xattr;

use std::sync::Arc;

use super::cache::Cache;
use super::listing::Listing;
use super::window::Window;
use super::{BlockRead, Error, VolumeInfo, VolumeState};

use inode::{Inode, Which};
use superblock::Superblock;

pub(in crate::guest) use superblock::looks_like_xfs;

const INODES_CACHE_BYTES: u64 = 32 << 20;
const WINDOWS_CACHE_BYTES: u64 = 32 << 20;
const LISTINGS_CACHE_BYTES: u64 = 64 << 20;

/// An open XFS file system.
pub struct Xfs {
    volume: Arc<dyn BlockRead>,
    /// The same as `volume`, where the log was replayed.
    replayed: Option<Arc<log::Overlay>>,
    /// What the log left to do when maps are read.
    outcome: log::Outcome,
    sb: Superblock,
    info: VolumeInfo,
    inodes: Cache<Inode>,
    /// By inode, fork and number of the window.
    windows: Cache<Window, (u64, Which, u64)>,
    listings: Cache<Listing>,
}

impl Xfs {
    /// Opens the file system on a volume.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the superblock or the root directory can't be believed, [`Error::Unsupported`] where
    /// it has a feature that is not known here, [`Error::Medium`] where the volume can't be read.
    pub fn open(volume: Arc<dyn BlockRead>) -> Result<Self, Error> {
        let sb = Superblock::read(volume.as_ref())?;
        let xfs = match log::replay(&volume, &sb) {
            Ok(None) => Self::assemble(volume, None, sb, VolumeState::Clean),
            Ok(Some(log::Replayed { overlay, sb, outcome, state })) => {
                let volume: Arc<dyn BlockRead> = overlay.clone();
                Self { outcome, ..Self::assemble(volume, Some(overlay), sb, state) }
            }
            Err(log::Problem::Stale(reason)) => Self::assemble(volume, None, sb, VolumeState::Stale { reason }),
            Err(log::Problem::Medium(error)) => return Err(error),
        };
        xfs.directory(xfs.sb.root)?;
        Ok(xfs)
    }

    fn assemble(
        volume: Arc<dyn BlockRead>,
        replayed: Option<Arc<log::Overlay>>,
        mut sb: Superblock,
        state: VolumeState,
    ) -> Self {
        if state != VolumeState::Clean && sb.has_lazy_counters {
            // The superblock's own counts are written at unmounts only.
            space::count(volume.as_ref(), &mut sb);
        }
        let info = VolumeInfo {
            file_system: "xfs",
            label: sb.label.clone(),
            uuid: (!sb.uuid.is_nil()).then_some(sb.uuid),
            size_bytes: sb.size_bytes(),
            used_bytes: (sb.blocks - sb.free_blocks) * sb.block_bytes,
            state,
            has_recorded_errors: sb.needs_repair,
        };
        Self {
            volume,
            replayed,
            outcome: log::Outcome::default(),
            sb,
            info,
            inodes: Cache::new(INODES_CACHE_BYTES),
            windows: Cache::new(WINDOWS_CACHE_BYTES),
            listings: Cache::new(LISTINGS_CACHE_BYTES),
        }
    }

    /// Whether any of `length` bytes of the volume come from the log.
    fn is_replayed(&self, place: u64, length: u64) -> bool {
        self.replayed.as_ref().is_some_and(|overlay| overlay.has_any(place, place.saturating_add(length)))
    }
}
