//! Replay of the journal into an overlay (kernel documentation, ext4, "Journal (jbd2)").
//!
//! The log is a ring of blocks. From the place and sequence that its superblock names come transactions: descriptor
//! blocks, each followed by the copies that its tags name; revoke blocks; a commit block. The first block that is not
//! what must come next ends the log: a transaction without its commit never happened.
//!
//! What recovery does besides changes no name and no byte: inodes on the orphan list either have no links, and do not
//! exist here, or are cut to the size that they have already. (Linux gives those the time of that moment; here they keep
//! the guest's.)
//!
//! Behind the log may come fast commits ([`fast`]), which change inodes and names, not blocks: they are handed out for
//! [`replay_fast`], once the log is replayed.
//!
//! Bounds: each block of the ring is visited once; copies and revocations are capped.

mod fast;
mod fast_replay;
mod format;
mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;

use icecore_fuse::FileType;

use crate::guest::bytes::wide;
use crate::guest::{BlockRead, Error, StaleReason, VolumeState};

use super::Ext;
use super::inode::{Inode, flags};
use super::overlay::{Copy, Overlay};

pub(super) use fast::Change as FastChange;
pub(super) use fast_replay::replay_fast;
pub(super) use format::MAGIC;
use format::{Refusal, Superblock};
use scan::Log;

/// A volume with its journal replayed, and what that makes of its state.
pub(super) struct Replayed {
    pub volume: Arc<dyn BlockRead>,
    pub state: VolumeState,
    /// What is to be changed besides.
    pub fast_commits: Vec<FastChange>,
    /// Whether the guest left word of an error in the journal, from where a mount takes it to the superblock.
    pub has_errors: bool,
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
    /// Where in the volume a block of the journal lies.
    fn place(&self, index: u64) -> Result<u64, Problem> {
        let window = self.ext.window(&self.inode, index)?;
        let run = window.run_from(index).filter(|run| run.logical <= index);
        let run = run.ok_or(Problem::Stale(StaleReason::DamagedJournal))?;
        Ok(run.physical.saturating_add(index - run.logical))
    }

    fn read(&self, index: u64) -> Result<Vec<u8>, Problem> {
        Ok(self.ext.read_block(self.place(index)?)?)
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
    let superblock = Superblock::parse(&journal.read(0)?)?;
    let fits = superblock.end.checked_mul(ext.sb.block_bytes).is_some_and(|bytes| bytes <= journal.inode.size_bytes);
    if superblock.block_bytes != ext.sb.block_bytes || !fits {
        return Err(damaged);
    }
    let log = scan::scan(&journal, &superblock)?;
    let copies = latest_copies(&journal, &superblock, &log)?;
    // Without a log to replay there is no transaction that they could follow.
    let has_fast = superblock.has_fast_commits() && superblock.start != 0;
    let scanned = if has_fast { fast::scan(&journal, &superblock, log.next) } else { Ok(fast::Fast::default()) };
    let (fast_commits, state) = match scanned {
        Ok(fast) => {
            let transactions = log.transactions.saturating_add(fast.commits);
            (fast.changes, VolumeState::Replayed { transactions, blocks: wide(copies.len()) })
        }
        // What precedes them is replayed all the same.
        Err(Problem::Stale(_)) => (Vec::new(), VolumeState::Stale { reason: StaleReason::FastCommits }),
        Err(problem) => return Err(problem),
    };
    let overlay = Overlay::new(Arc::clone(&ext.volume), ext.sb.block_bytes, copies);
    Ok(Replayed { volume: Arc::new(overlay), state, fast_commits, has_errors: superblock.has_errors })
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
        let block = journal.place(logged.index)?;
        if sb.seed.is_some() && !sb.copy_is_right(tag, logged.sequence, &journal.ext.read_block(block)?) {
            return Err(damaged());
        }
        copies.insert(tag.block, Copy { block, is_escaped: tag.is_escaped });
    }
    Ok(copies)
}
