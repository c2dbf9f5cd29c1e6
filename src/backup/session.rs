//! Adding one point to a vault: what comes before the first record, what makes the point, and what is done where that fails.
//! A backup is one such session, and so is each point that is copied from another vault.
//!
//! Invariants:
//! - from before the vault is asked what it has until the point is made, nobody removes any of what it relies on;
//! - an entry never names what a power cut can take back: records are durable first, then the point is made.

use std::cell::Cell;

use jiff::Timestamp;

use super::quota::{Limits, QuotaUse};
use crate::error::{Error, Result};
use crate::format::catalog_entry::PointMade;
use crate::format::{Hash, Id};
use crate::media::{Lock, LockKind};
use crate::point::vault_chain;
use crate::point::{Catalog, Manifest, PointInfo};
use crate::store::{Attention, Place, REMOVAL_LOCK, Reliance, Store, WRITERS_LOCK, Writer, parity};
use crate::sync::Arc;

/// The right to add a point.
pub(crate) struct Session<'a> {
    store: &'a Arc<Store>,
    catalog: &'a Catalog,
    writer: Writer,
    limits: Limits,
    entries_before: u64,
    _attention: Attention,
    reliance: Arc<Reliance>,
    lock: Option<Lock>,
}

impl<'a> Session<'a> {
    /// Begins to write a point of a machine. With `verify`, each record is opened, decoded and compared before it is written.
    pub(crate) fn begin(store: &'a Arc<Store>, catalog: &'a Catalog, machine: &str, verify: bool) -> Result<Self> {
        clear_up(store)?;
        // Shared with other backups; whoever takes records out of the index or rotates the keys waits until we are through,
        // and we for him. Who gives back space waits until we take notice.
        let lock = store.media().lock(WRITERS_LOCK, LockKind::Shared, true)?;
        // The lock keeps rotations out; one that was before it must have been seen by these keys.
        let chain = vault_chain::check(store.media().as_ref(), store.keys())?;
        let reliance = Arc::new(Reliance::begin(store.media(), store.keys().vault())?);
        let attention = reliance.attend()?;
        store.refresh_for_writing()?;
        store.refuse_if_newer()?;
        catalog.refresh()?;
        if catalog.has_newer() {
            // Somebody put back the vault's own chain as it was before a rotation, and older slots: not to be written under.
            return Err(Error::Rotated { since_unix_seconds: None });
        }
        let quota_of = |name: &str| chain.quotas.get(name).copied();
        let limits = Limits::look(store, catalog, machine, &quota_of)?;
        let entries_before = catalog.entries();
        let writer = Writer::start_relying(Arc::clone(store), verify, Arc::clone(&reliance));
        Ok(Self { store, catalog, writer, limits, entries_before, _attention: attention, reliance, lock })
    }

    /// Stores records.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether nothing is removed at all until this ends.
    pub(super) fn keeps_all(&self) -> bool {
        self.reliance.keeps_all()
    }

    /// How much may be stored.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Makes the records durable. Returns the bytes added, everything included.
    pub(crate) fn finish(&mut self) -> Result<u64> {
        self.writer.finish()
    }

    /// Makes the point, of a manifest that is durable and all whose records are, unless that is more than a quota allows.
    pub(crate) fn append(&mut self, manifest: &Manifest, id: Hash, place: Place) -> Result<Arc<PointInfo>> {
        // With parity, and with what others stored meanwhile.
        self.limits.check_vault(self.store)?;
        self.reliance.check()?;
        let point = crate::format::id_from_hex(&manifest.point).ok_or(Error::Poisoned)?;
        let recorded = Timestamp::now().as_second();
        let counted = Cell::new(None);
        let made = self.catalog.append(&manifest.machine, point, &|predecessor, points| {
            counted.set(self.limits.with(manifest, self.store, points)?);
            Ok(PointMade {
                predecessor,
                consistency: manifest.consistency,
                point,
                time_unix_seconds: manifest.time.as_second(),
                recorded_unix_seconds: recorded,
                segment: place.segment,
                offset: place.offset,
                manifest: id,
                machine: manifest.machine.clone(),
            })
        })?;
        if let Some(counted) = counted.get() {
            self.limits.note(counted);
        }
        Ok(made)
    }

    /// Ends it. What was stored stays, whether a point needs it or not. Returns the quotas that are to be warned of.
    pub(crate) fn end(self) -> Vec<QuotaUse> {
        // An index that can't be written now is made again by the next open.
        let _ = self.store.flush_index();
        self.limits.warnings()
    }

    /// Ends it after a failure, and returns the error that began that.
    pub(crate) fn give_up(self, error: Error) -> Error {
        let Self { store, catalog, writer, entries_before, reliance, lock, .. } = self;
        // What a thread reports may be the echo of a failure that the writer saw first.
        let error = match (writer.failure(), error) {
            (Some(first), Error::Poisoned) => first,
            (_, error) => error,
        };
        let published = writer.abandon();
        // Before the lock that others wait for is let go: who removes segments counts what this published as theirs.
        let removal = match reliance.keeps_all() {
            true => None,
            false => store.media().lock(REMOVAL_LOCK, LockKind::Exclusive, false).ok().flatten(),
        };
        let keeps = removal.is_some() || reliance.keeps_all();
        drop(lock);
        // The next backup would find these segments useful, but on a full medium, or beyond a quota, their space is worth more.
        // And a name whose sync failed may be lost although the folder's next sync succeeds: nobody must come to rely on it.
        let is_worth_it = error.is_out_of_space() || error.is_failed_sync() || matches!(error, Error::OverQuota { .. });
        if is_worth_it && keeps {
            // What can't be given back stays known to the index.
            let _ = give_back(store, catalog, &published, (entries_before, &reliance));
        }
        error
    }
}

/// Removes what writers left that died. Their half segments tell that there may be parity without a segment too, which can
/// be told from that of a living writer only while there is none.
fn clear_up(store: &Store) -> Result<()> {
    let alone = store.media().lock(WRITERS_LOCK, LockKind::Exclusive, false)?;
    if store.media().clear_abandoned()? > 0 && alone.is_some() {
        parity::remove_orphans(store.media().as_ref())?;
    }
    Ok(())
}

/// Removes the segments of a failed backup, if nobody else can be relying on them: no other backup runs, none became a point
/// since this one began (it would have found these segments in the index), and nobody gave back space: he may have removed
/// elsewhere what these have too.
fn give_back(
    store: &Store,
    catalog: &Catalog,
    published: &[Id],
    (entries_before, reliance): (u64, &Reliance),
) -> Result<()> {
    let Some(_alone) = store.media().lock(WRITERS_LOCK, LockKind::Exclusive, false)? else {
        return Ok(());
    };
    catalog.refresh()?;
    let is_alone = catalog.entries() == entries_before && reliance.is_undisturbed()?;
    if is_alone { store.remove_segments(published) } else { Ok(()) }
}
