//! What is known of a volume once its file system is open.

use icecore_fuse::ReadOnlyTree;

use super::{Error, Uuid};

/// A file system on a guest's volume: a tree, and what is known of the whole.
pub trait GuestFileSystem: ReadOnlyTree<Error = Error> {
    /// Type, name, size and state, as found when it was opened.
    fn info(&self) -> &VolumeInfo;
}

/// What a file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Type, as `mount -t` names it: `ext4`.
    pub file_system: &'static str,
    /// The name that its owner gave it.
    pub label: Option<String>,
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// Size in bytes, its own structures included.
    pub size_bytes: u64,
    /// How much of that is in use, in bytes.
    pub used_bytes: u64,
    /// What stands between the tree that is shown and the guest's own view of it.
    pub state: VolumeState,
    /// Whether the guest recorded that it had met errors in this file system.
    pub has_recorded_errors: bool,
}

/// What stands between the tree that is shown and the tree that the guest would see after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Cleanly unmounted: nothing.
    Clean,
    /// Not unmounted, and it has no journal: shown as it lies on the disk, which is what the guest would see too.
    NotUnmounted,
    /// The journal was replayed in memory: nothing.
    Replayed {
        /// Number of transactions replayed, fast commits included.
        transactions: u64,
        /// Number of distinct file system blocks that come from the journal.
        blocks: u64,
    },
    /// Shown as of the last checkpoint; later changes are missing.
    Stale {
        /// Why.
        reason: StaleReason,
    },
}

/// Why a volume is shown as of its last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// Its journal holds changes that were not replayed.
    JournalNotReplayed,
    /// Its journal lies on another device.
    ExternalJournal,
    /// Its journal is damaged.
    DamagedJournal,
    /// Its journal uses a feature that is unknown here.
    UnsupportedJournal,
    /// Its journal ends between the parts of an operation, which a kernel would finish, and which was not finished here.
    UnfinishedOperations,
    /// Its journal ends in fast commits, which were not replayed; what precedes them was.
    FastCommits,
}

impl std::fmt::Display for StaleReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::JournalNotReplayed => "its journal holds changes that were not replayed",
            Self::ExternalJournal => "its journal lies on another device",
            Self::DamagedJournal => "its journal is damaged",
            Self::UnsupportedJournal => "its journal uses a feature that is unknown here",
            Self::UnfinishedOperations => "its journal ends in the midst of an operation, which was not finished",
            Self::FastCommits => "its journal ends in fast commits, which were not replayed",
        })
    }
}
