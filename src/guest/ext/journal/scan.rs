//! The walk along the log: which transactions were committed.

use std::collections::HashMap;

use crate::guest::StaleReason;
use crate::guest::crc::crc32_be;

use super::format::{self, Commit, Kind, Sequence, Superblock, Tag};
use super::{Journal, Problem};

/// More would not fit in the memory that a volume may take. A journal of 4 GiB has as many blocks.
const COPIES_MAX: usize = 1 << 20;
const REVOKED_MAX: usize = 1 << 21;
/// `h_chksum_type` of a transaction's CRC-32.
const KIND_CRC32: u8 = 1;

/// One copy of a block in a committed transaction.
pub(super) struct Logged {
    pub tag: Tag,
    pub sequence: Sequence,
    /// Where in the journal it lies.
    pub index: u64,
}

/// The committed part of a log.
pub(super) struct Log {
    pub transactions: u64,
    /// In the order in which they were logged.
    pub copies: Vec<Logged>,
    /// Per revoked block the last transaction that revoked it.
    pub revoked: HashMap<u64, Sequence>,
    /// The transaction that would come next.
    pub next: Sequence,
}

/// A transaction whose commit block is still to come.
struct Open {
    copies: Vec<Logged>,
    revoked: Vec<u64>,
    /// Running checksum of version 1: over descriptors and copies.
    checksum: u32,
    /// A descriptor's or revoke block's checksum was wrong: torn, left over from the ring's last turn, or damaged.
    is_suspect: bool,
}

impl Open {
    fn new() -> Self {
        Self { copies: Vec::new(), revoked: Vec::new(), checksum: u32::MAX, is_suspect: false }
    }
}

struct Scan<'a> {
    journal: &'a Journal<'a>,
    sb: &'a Superblock,
    /// The block to look at next.
    at: u64,
    blocks_left: u64,
    /// Of the transaction that is read.
    sequence: Sequence,
    log: Log,
    last_commit_seconds: u64,
    /// A commit's checksum was wrong, and writes may have been under way: it must be the last one.
    has_failed: bool,
}

pub(super) fn scan(journal: &Journal<'_>, sb: &Superblock) -> Result<Log, Problem> {
    let log = Log { transactions: 0, copies: Vec::new(), revoked: HashMap::new(), next: sb.sequence };
    let mut scan = Scan {
        journal,
        sb,
        at: sb.start,
        blocks_left: sb.last - sb.first,
        sequence: sb.sequence,
        log,
        last_commit_seconds: 0,
        has_failed: false,
    };
    if sb.start != 0 {
        while scan.transaction()? {}
    }
    Ok(scan.log)
}

impl Scan<'_> {
    /// Steps over a block; `None` where the ring was gone round once.
    fn step(&mut self) -> Option<u64> {
        let at = self.at;
        self.blocks_left = self.blocks_left.checked_sub(1)?;
        self.at = if at + 1 >= self.sb.last { self.sb.first } else { at + 1 };
        Some(at)
    }

    /// Reads one transaction; false where the log ends before its commit.
    fn transaction(&mut self) -> Result<bool, Problem> {
        let mut open = Open::new();
        loop {
            let Some(at) = self.step() else {
                return Ok(false);
            };
            let block = self.journal.read(at)?;
            match format::header(&block) {
                Some((_, sequence)) if sequence != self.sequence => return Ok(false),
                Some((Kind::Descriptor, _)) => {
                    if !self.descriptor(&block, &mut open)? {
                        return Ok(false);
                    }
                }
                Some((Kind::Revoke, _)) => self.revoke(&block, &mut open)?,
                Some((Kind::Commit, _)) => return self.commit(&block, open),
                None => return Ok(false),
            }
        }
    }

    fn descriptor(&mut self, block: &[u8], open: &mut Open) -> Result<bool, Problem> {
        open.is_suspect |= !self.sb.tail_is_right(block);
        if self.sb.has_transaction_checksum {
            open.checksum = crc32_be(open.checksum, block);
        }
        for tag in self.sb.tags(block) {
            let Some(index) = self.step() else {
                return Ok(false);
            };
            if self.sb.has_transaction_checksum {
                open.checksum = crc32_be(open.checksum, &self.journal.read(index)?);
            }
            open.copies.push(Logged { tag, sequence: self.sequence, index });
        }
        if open.copies.len() + self.log.copies.len() > COPIES_MAX {
            return Err(Problem::Stale(StaleReason::UnsupportedJournal));
        }
        Ok(true)
    }

    fn revoke(&mut self, block: &[u8], open: &mut Open) -> Result<(), Problem> {
        open.is_suspect |= !self.sb.tail_is_right(block);
        match self.sb.revoked(block) {
            Some(blocks) => open.revoked.extend(blocks),
            // Whoever wrote it, a length that can't be is no torn write.
            None => return Err(Problem::Stale(StaleReason::DamagedJournal)),
        }
        if open.revoked.len() + self.log.revoked.len() > REVOKED_MAX {
            return Err(Problem::Stale(StaleReason::UnsupportedJournal));
        }
        Ok(())
    }

    fn commit(&mut self, block: &[u8], open: Open) -> Result<bool, Problem> {
        let Some(commit) = format::commit(block) else {
            return Ok(false);
        };
        let damaged = || Problem::Stale(StaleReason::DamagedJournal);
        // Left over from the ring's last turn with a sequence that happens to fit: older than what precedes it.
        let is_left_over = commit.seconds < self.last_commit_seconds;
        let is_right = self.sb.commit_is_right(block) && self.checksum_is_right(&commit, &open);
        if open.is_suspect || (!is_right && !self.sb.has_async_commits()) {
            // A commit is written once all that it commits is: no torn write explains it.
            return if is_left_over { Ok(false) } else { Err(damaged()) };
        }
        if self.has_failed {
            return Err(damaged());
        }
        if !is_right {
            // A commit that went out together with what it commits, of which not all arrived. With checksums of version 1
            // Linux makes sure that no other commit follows.
            self.has_failed = true;
            self.sequence += 1;
            return Ok(self.sb.has_transaction_checksum && !is_left_over);
        }
        self.last_commit_seconds = commit.seconds;
        for revoked in open.revoked {
            self.log.revoked.insert(revoked, self.sequence);
        }
        self.log.copies.extend(open.copies);
        self.log.transactions += 1;
        self.sequence += 1;
        self.log.next = self.sequence;
        Ok(true)
    }

    /// Version 1: one checksum over the whole transaction, in the commit block. One that was written before the feature
    /// was set has none.
    fn checksum_is_right(&self, commit: &Commit, open: &Open) -> bool {
        match (commit.checksum_kind, commit.checksum_bytes) {
            _ if !self.sb.has_transaction_checksum => true,
            (KIND_CRC32, 4) => commit.checksum == open.checksum,
            (0, 0) => commit.checksum == 0,
            _ => false,
        }
    }
}
