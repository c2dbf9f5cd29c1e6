//! Replay of the journal into an overlay (kernel documentation, ext4, "Journal (jbd2)").
//!
//! The log is a ring of blocks. From the place and sequence that its superblock names come transactions: descriptor
//! blocks, each followed by the copies that its tags name; revoke blocks; a commit block. The first block that is not
//! what must come next ends the log: a transaction without its commit never happened.
//!
//! What recovery does besides changes nothing that a reader sees: inodes on the orphan list either have no links, and
//! do not exist here, or are cut to the size that they have already.
//!
//! Bounds: each block of the ring is visited once; copies and revocations are capped.

mod format;
mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;

use icecore_fuse::FileType;

use crate::guest::bytes::{u16_at, u32_at};
use crate::guest::{BlockRead, Error, StaleReason, VolumeState};

use super::Ext;
use super::inode::{Inode, flags};
use super::overlay::{Copy, Overlay};

pub(super) use format::MAGIC;
use format::{Refusal, Superblock};
use scan::Log;

/// A volume with its journal replayed, and what that makes of its state.
pub(super) struct Replayed {
    pub volume: Arc<dyn BlockRead>,
    pub state: VolumeState,
}

/// Why a journal can't be replayed.
pub(super) enum Problem {
    /// The volume can be shown as of its last checkpoint.
    Stale(StaleReason),
    /// The volume can't be read.
    Medium(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Medium(_) => Self::Medium(error),
            _ => Self::Stale(StaleReason::DamagedJournal),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Stale(match refusal {
            Refusal::Damaged => StaleReason::DamagedJournal,
            Refusal::Unsupported => StaleReason::UnsupportedJournal,
        })
    }
}

/// The journal of a file system, as a ring of blocks.
pub(super) struct Journal<'a> {
    ext: &'a Ext,
    inode: Arc<Inode>,
}

impl Journal<'_> {
    /// Reads a block of the journal, and says where in the volume it lies.
    fn read(&self, index: u64) -> Result<(u64, Vec<u8>), Problem> {
        let window = self.ext.window(&self.inode, index)?;
        let run = window.run_from(index).filter(|run| run.logical <= index);
        let run = run.ok_or(Problem::Stale(StaleReason::DamagedJournal))?;
        let block = run.physical.saturating_add(index - run.logical);
        Ok((block, self.ext.read_block(block)?))
    }
}

/// Replays the journal of a file system that needs it.
pub(super) fn replay(ext: &Ext) -> Result<Replayed, Problem> {
    let damaged = Problem::Stale(StaleReason::DamagedJournal);
    let inode = ext.inode(ext.sb.journal_inode.into())?;
    if inode.kind != FileType::Regular || inode.has_flag(flags::INLINE_DATA) {
        return Err(damaged);
    }
    let journal = Journal { ext, inode };
    let superblock = Superblock::parse(&journal.read(0)?.1)?;
    let fits = superblock.end.checked_mul(ext.sb.block_bytes).is_some_and(|bytes| bytes <= journal.inode.size_bytes);
    if superblock.block_bytes != ext.sb.block_bytes || !fits {
        return Err(damaged);
    }
    let log = scan::scan(&journal, &superblock)?;
    let copies = latest_copies(&journal, &superblock, &log)?;
    let has_fast_commits = superblock.has_fast_commits() && has_fast_commit(&journal, &superblock, &log)?;
    let blocks = u64::try_from(copies.len()).unwrap_or(u64::MAX);
    let state = if has_fast_commits {
        VolumeState::Stale { reason: StaleReason::FastCommits }
    } else {
        VolumeState::Replayed { transactions: log.transactions, blocks }
    };
    let overlay = Overlay::new(Arc::clone(&ext.volume), ext.sb.block_bytes, copies);
    Ok(Replayed { volume: Arc::new(overlay), state })
}

/// For each block that the log has copies of and does not revoke later, the last one.
fn latest_copies(journal: &Journal<'_>, sb: &Superblock, log: &Log) -> Result<BTreeMap<u64, Copy>, Problem> {
    let damaged = || Problem::Stale(StaleReason::DamagedJournal);
    let mut copies = BTreeMap::new();
    for logged in &log.copies {
        let tag = &logged.tag;
        let is_revoked = log.revoked.get(&tag.block).is_some_and(|at| format::is_at_or_after(*at, logged.sequence));
        if is_revoked {
            continue;
        }
        if tag.block >= journal.ext.sb.blocks {
            return Err(damaged());
        }
        let (block, bytes) = journal.read(logged.index)?;
        if !sb.copy_is_right(tag, logged.sequence, &bytes) {
            return Err(damaged());
        }
        copies.insert(tag.block, Copy { block, is_escaped: tag.is_escaped });
    }
    Ok(copies)
}

/// Whether the area behind the log begins with a fast commit of the transaction that would come next.
///
/// Linux leaves the area's first block unused (`j_fc_first` is `j_last + 1`).
fn has_fast_commit(journal: &Journal<'_>, sb: &Superblock, log: &Log) -> Result<bool, Problem> {
    const TAG_HEAD: u16 = 0x9;
    let first = sb.last + 1;
    if first >= sb.end {
        return Ok(false);
    }
    let (_, block) = journal.read(first)?;
    // Unlike all else in the journal, fast commits are little-endian.
    Ok(u16_at(&block, 0) == Some(TAG_HEAD) && u32_at(&block, 8) == Some(log.next.0))
}
