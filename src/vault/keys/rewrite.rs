//! Moving what is stored under older keys under the newest, so that nothing in the vault opens with a key that was
//! removed.

use std::collections::HashSet;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::format::Id;
use crate::media::LockKind;
use crate::point::vault_chain::{self, VaultChain};
pub use crate::progress::Progress as RewriteProgress;
use crate::store::{Moved, Need, REMOVAL_LOCK, WRITERS_LOCK};
use crate::vault::Vault;
use crate::vault::check::writers_lock_alone;

/// What a rewrite did.
#[derive(Debug)]
pub struct RewriteReport {
    /// Segments whose records are under the newest keys now.
    pub segments: u64,
    /// Records that were sealed again.
    pub records: u64,
    /// Bytes of those segments.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Why segments stay that are under older keys: they are not whole.
    pub left: Vec<Error>,
    /// How long it took.
    pub seconds: f64,
}

impl Vault {
    /// Whether the last rotation was to move everything under the new keys, and something is not.
    pub fn rewrite_is_pending(&self) -> Result<bool> {
        let chain = VaultChain::read(self.media.as_ref(), self.reader.store().keys())?;
        Ok(chain.rewrites && !self.old_segments()?.0.is_empty())
    }

    /// The segments under older keys, and why it can't be said of others.
    fn old_segments(&self) -> Result<(Vec<Id>, Vec<Error>)> {
        let store = self.reader.store();
        let (mut old, mut unknown) = (Vec::new(), Vec::new());
        for id in store.segments().list()? {
            match store.segments().epoch(&id) {
                Ok(epoch) if epoch < store.keys().epoch() => old.push(id),
                Ok(_) => {}
                Err(error) if error.is_absent() => {}
                Err(error) => unknown.push(error),
            }
        }
        Ok((old, unknown))
    }

    /// Moves every record that is under older keys into new segments. Needs the role `admin`. Others may read and back up
    /// meanwhile; they are kept waiting shortly, each time that old segments are removed.
    ///
    /// It may end at any moment, also by a kill or power loss: called again it goes on.
    pub fn rewrite(&self, progress: &RewriteProgress) -> Result<RewriteReport> {
        self.needs_admin()?;
        let (began, store) = (Instant::now(), self.reader.store());
        let (old, left) = self.old_segments()?;
        let leaving: HashSet<Id> = old.iter().copied().collect();
        let batches = store.batches(&old);
        progress.add_total(batches.iter().flatten().map(|(_, length)| length).sum());
        let mut moved = Moved { left, ..Moved::default() };
        for batch in &batches {
            let copied = {
                let shared = self.media.lock(WRITERS_LOCK, LockKind::Shared, true)?;
                // Whoever rotated meanwhile made these keys old ones too.
                vault_chain::check(self.media.as_ref(), store.keys()).map_err(|error| self.dated(error))?;
                self.media.clear_abandoned()?;
                store.refresh_for_writing()?;
                let copied = store.copy_out(batch, &leaving, &|_| Need::Somewhere, progress, &mut moved);
                drop(shared);
                copied.inspect_err(|error| self.give_back(error, batch, &mut moved))?
            };
            // Between the two locks others may write; they take away nothing that was copied.
            let _alone = writers_lock_alone(self.media.as_ref(), progress)??;
            // Not while a backup that failed takes back what it stored: that may be what these are left for.
            let _removal = self.media.lock(REMOVAL_LOCK, LockKind::Exclusive, true)?;
            store.remove_copied(&copied, &leaving, &|_| Need::Somewhere, &mut moved)?;
            // The removed segments are still in the runs of the index, which costs nobody anything. If it can't be written
            // now, it is made again by the next open.
            let _ = store.flush_index();
        }
        let Moved { segments, records, read_bytes, written_bytes, left, .. } = moved;
        Ok(RewriteReport { segments, records, read_bytes, written_bytes, left, seconds: began.elapsed().as_secs_f64() })
    }

    /// Removes what a failed batch copied, where that is worth it: on a full medium its space is, and a name whose sync
    /// failed may be lost although somebody relies on it.
    pub(in crate::vault) fn give_back(&self, error: &Error, batch: &[(Id, u64)], moved: &mut Moved) {
        if (error.is_out_of_space() || error.is_failed_sync())
            && let Ok(Some(_alone)) = self.media.lock(WRITERS_LOCK, LockKind::Exclusive, false)
        {
            // What can't be given back stays known to the index.
            let _ = self.reader.store().give_back_copies(batch, moved);
        }
    }
}
