//! ext2, ext3 and ext4, read-only, from their published layout (kernel documentation, `filesystems/ext4`).
//!
//! It promises: a read returns the bytes that the guest would see, or a typed error that names the damaged object.
//! Where structures carry checksums, each is verified before it is believed.
//!
//! Invariants:
//! - a node number is an inode number; the root is 2; an inode without links does not exist;
//! - no block number leads out of the file system, no depth exceeds the format's, nothing is allocated by a number
//!   that was not compared with the size of the file system or a constant;
//! - every call takes `&self`; what is cached is immutable and bounded.
//!
//! It refuses to know: how to write, how to repair, keys of encrypted directories (their names are shown opaque, their
//! files are errors), case folding (names are compared byte by byte).

mod acl;
mod changes;
mod dir;
mod dirent;
mod extent;
mod features;
mod file;
mod group;
mod indirect;
mod inline;
mod inode;
mod journal;
mod map;
mod opaque;
mod overlay;
mod superblock;
mod tree;
mod xattr;

use std::sync::Arc;

use super::bytes::narrow;
use super::cache::Cache;
use super::listing::Listing;
use super::window::Window;
use super::{BlockRead, Error, StaleReason, VolumeInfo, VolumeState};

use changes::Changes;
use features::{compat, incompat};
use group::Group;
use inode::Inode;
use superblock::Superblock;

pub(in crate::guest) use superblock::{looks_like_ext, looks_like_journal};

const ROOT: u64 = 2;

const GROUPS_CACHE_BYTES: u64 = 4 << 20;
const INODES_CACHE_BYTES: u64 = 32 << 20;
const WINDOWS_CACHE_BYTES: u64 = 32 << 20;
const LISTINGS_CACHE_BYTES: u64 = 64 << 20;

/// An open ext2, ext3 or ext4 file system.
pub struct Ext {
    volume: Arc<dyn BlockRead>,
    sb: Superblock,
    info: VolumeInfo,
    changes: Changes,
    groups: Cache<Group>,
    inodes: Cache<Inode>,
    /// By inode and number of the window.
    windows: Cache<Window, (u64, u64)>,
    listings: Cache<Listing>,
}

impl Ext {
    /// Opens the file system on a volume.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the superblock or the root directory can't be believed, [`Error::Unsupported`] where
    /// it has a feature that is not known here, [`Error::Medium`] where the volume can't be read.
    pub fn open(volume: Arc<dyn BlockRead>) -> Result<Self, Error> {
        let sb = Superblock::read(volume.as_ref())?;
        let state = state_of(&sb);
        let mut ext = Self::assemble(volume, sb, state);
        if state == (VolumeState::Stale { reason: StaleReason::JournalNotReplayed }) {
            ext = ext.replay()?;
        }
        ext.directory(ROOT)?;
        Ok(ext)
    }

    /// The same file system with its journal replayed, or labelled with why it could not be.
    fn replay(mut self) -> Result<Self, Error> {
        match journal::replay(&self) {
            Ok(journal::Replayed { volume, state, fast_commits, has_errors }) => {
                match Superblock::read(volume.as_ref()) {
                    // What was cached shows the volume before the replay: begin anew.
                    Ok(mut sb) => {
                        sb.has_errors |= has_errors;
                        return Self::assemble(volume, sb, state).replay_fast(&fast_commits);
                    }
                    Err(Error::Medium(error)) => return Err(error.into()),
                    Err(_) => self.info.state = VolumeState::Stale { reason: StaleReason::DamagedJournal },
                }
            }
            Err(journal::Problem::Stale(reason)) => self.info.state = VolumeState::Stale { reason },
            Err(journal::Problem::Medium(error)) => return Err(error),
        }
        Ok(self)
    }

    /// The same file system with fast commits replayed too; all of them or none.
    fn replay_fast(mut self, fast_commits: &[journal::FastChange]) -> Result<Self, Error> {
        match journal::replay_fast(&self, fast_commits) {
            // What was cached knows nothing of them.
            Ok(changes) => return Ok(Self { changes, ..Self::assemble(self.volume, self.sb, self.info.state) }),
            Err(journal::Problem::Stale(_)) => {
                self.info.state = VolumeState::Stale { reason: StaleReason::FastCommits };
            }
            Err(journal::Problem::Medium(error)) => return Err(error),
        }
        Ok(self)
    }

    fn assemble(volume: Arc<dyn BlockRead>, sb: Superblock, state: VolumeState) -> Self {
        let info = VolumeInfo {
            file_system: sb.type_name(),
            label: sb.label.clone(),
            uuid: (!sb.uuid.is_nil()).then_some(sb.uuid),
            size_bytes: sb.blocks * sb.block_bytes,
            used_bytes: (sb.blocks - sb.free_blocks) * sb.block_bytes,
            state,
            has_recorded_errors: sb.has_errors,
        };
        Self {
            volume,
            sb,
            info,
            changes: Changes::default(),
            groups: Cache::new(GROUPS_CACHE_BYTES),
            inodes: Cache::new(INODES_CACHE_BYTES),
            windows: Cache::new(WINDOWS_CACHE_BYTES),
            listings: Cache::new(LISTINGS_CACHE_BYTES),
        }
    }

    /// Reads a block that was found to lie in the file system.
    fn read_block(&self, block: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; narrow(self.sb.block_bytes)];
        self.volume.read_exact_at(block.saturating_mul(self.sb.block_bytes), &mut bytes)?;
        Ok(bytes)
    }
}

fn state_of(sb: &Superblock) -> VolumeState {
    if sb.has_incompat(incompat::RECOVER) {
        let reason = if sb.journal_inode == 0 { StaleReason::ExternalJournal } else { StaleReason::JournalNotReplayed };
        return VolumeState::Stale { reason };
    }
    if sb.is_valid || sb.has_compat(compat::HAS_JOURNAL) { VolumeState::Clean } else { VolumeState::NotUnmounted }
}
