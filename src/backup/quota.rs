//! Quotas: what counts, and where a backup stops.
//!
//! The vault counts with the bytes of its segments and its parity. A machine counts with what its points tell of themselves,
//! which costs a look at their manifests: what its oldest point needs, and what each later one added. Of the oldest point, what
//! the vault had already when it was made counts as if it compressed like what this machine stored: else the points that are
//! left would count nearly nothing once the first one, which stored most, is gone. So a machine counts about as much as it
//! would take if it were alone in the vault, whatever it shares with others. Forgotten points count until they are purged.
//!
//! Invariants:
//! - a hard quota that is reached keeps points from being made, and nothing else: what is there stays and can be read;
//! - a backup that would go beyond one ends as soon as that shows, before the point is made;
//! - of two backups of a machine at once, the one that ends last counts the other's point.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::format::vault_event::Quota;
use crate::point::{Catalog, Manifest, PointInfo};
use crate::store::Store;
use crate::sync::Arc;

/// What a machine or the vault may take, and what of that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// The machine's name; empty for the vault as a whole.
    pub machine: String,
    /// What it may take.
    pub quota: Quota,
    /// What it counts with, in bytes.
    pub counted_bytes: u64,
}

impl QuotaUse {
    /// What is taken of a quota; of that of the vault where `machine` is empty.
    pub(crate) fn of(store: &Store, catalog: &Catalog, machine: &str, quota: Quota) -> Result<Self> {
        let counted_bytes = match machine {
            "" => store.space()?.bytes(),
            machine => machine_bytes(store, &catalog.of_machine(machine)),
        };
        Ok(Self { machine: machine.to_owned(), quota, counted_bytes })
    }

    /// Whether a backup warns of it.
    pub fn is_warning(&self) -> bool {
        self.quota.warn_bytes > 0 && self.counted_bytes >= self.quota.warn_bytes
    }

    /// Whether no more points are made.
    pub fn is_full(&self) -> bool {
        self.quota.hard_bytes > 0 && self.counted_bytes >= self.quota.hard_bytes
    }

    fn refuse(&self, counted_bytes: u64) -> Error {
        Error::OverQuota { machine: self.machine.clone(), counted_bytes, hard_bytes: self.quota.hard_bytes }
    }

    /// Fails where it goes beyond the hard level with some more bytes.
    fn allows(&self, more_bytes: u64) -> Result<()> {
        let counted = self.counted_bytes.saturating_add(more_bytes);
        let is_over = self.quota.hard_bytes > 0 && counted > self.quota.hard_bytes;
        if is_over { Err(self.refuse(counted)) } else { Ok(()) }
    }
}

/// The quotas that a backup has to do with.
pub(super) struct Limits {
    vault: Option<QuotaUse>,
    machine: Option<QuotaUse>,
    /// The machine's points that were counted, by id.
    counted: HashSet<String>,
}

impl Limits {
    /// Looks at what is taken; fails where a quota is reached already.
    pub(super) fn look(
        store: &Store,
        catalog: &Catalog,
        machine: &str,
        quota_of: &dyn Fn(&str) -> Option<Quota>,
    ) -> Result<Self> {
        let of = |name| quota_of(name).map(|quota| QuotaUse::of(store, catalog, name, quota)).transpose();
        let counted = catalog.of_machine(machine).iter().map(|point| point.id.clone()).collect();
        let limits = Self { vault: of("")?, machine: of(machine)?, counted };
        let full = limits.each().find(|known| known.is_full()).map(|full| full.refuse(full.counted_bytes));
        full.map_or(Ok(limits), Err)
    }

    fn each(&self) -> impl Iterator<Item = &QuotaUse> + use<'_> {
        self.vault.iter().chain(&self.machine)
    }

    /// Fails where what was stored so far is too much: bytes of records, and those of chunks among them.
    pub(super) fn check(&self, record_bytes: u64, chunk_bytes: impl FnOnce() -> u64) -> Result<()> {
        self.vault.as_ref().map_or(Ok(()), |vault| vault.allows(record_bytes))?;
        self.machine.as_ref().map_or(Ok(()), |machine| machine.allows(chunk_bytes()))
    }

    /// What a machine would count with, given its points as they are, if one more were made; fails where that is too much.
    pub(super) fn with(&self, manifest: &Manifest, store: &Store, points: &[Arc<PointInfo>]) -> Result<Option<u64>> {
        let Some(machine) = &self.machine else { return Ok(None) };
        let mut machine = machine.clone();
        let is_counted = |point: &Arc<PointInfo>| self.counted.contains(&point.id);
        if points.len() != self.counted.len() || !points.iter().all(is_counted) {
            machine.counted_bytes = machine_bytes(store, points);
        }
        let added = Added::of(manifest);
        let more = if points.is_empty() { added.whole(added) } else { added.stored };
        machine.allows(more)?;
        Ok(Some(machine.counted_bytes.saturating_add(more)))
    }

    /// Takes into account that the machine counts with so much now.
    pub(super) fn note(&mut self, counted_bytes: u64) {
        if let Some(machine) = &mut self.machine {
            machine.counted_bytes = counted_bytes;
        }
    }

    /// Fails where the vault takes too much, now that all is there that a point needs.
    pub(super) fn check_vault(&mut self, store: &Store) -> Result<()> {
        let Some(vault) = &mut self.vault else { return Ok(()) };
        vault.counted_bytes = store.space()?.bytes();
        vault.allows(0)
    }

    /// The quotas of which a backup warns.
    pub(super) fn warnings(&self) -> Vec<QuotaUse> {
        self.each().filter(|known| known.is_warning()).cloned().collect()
    }
}

/// What a manifest tells, in bytes.
#[derive(Clone, Copy, Default)]
struct Added {
    used: u64,
    new: u64,
    stored: u64,
}

impl Added {
    fn of(manifest: &Manifest) -> Self {
        manifest.disks.iter().fold(Self::default(), |sum, disk| Self {
            used: sum.used.saturating_add(disk.size_bytes.saturating_sub(disk.zero_bytes)),
            new: sum.new.saturating_add(disk.new_bytes),
            stored: sum.stored.saturating_add(disk.stored_bytes),
        })
    }

    /// What a point would take by itself, where what it did not store compresses as `all` did.
    fn whole(self, all: Self) -> u64 {
        let found = u128::from(self.used.saturating_sub(self.new));
        let found = if all.new == 0 { found } else { found * u128::from(all.stored) / u128::from(all.new) };
        self.stored.saturating_add(u64::try_from(found).unwrap_or(u64::MAX))
    }
}

/// What a machine counts with, by the manifests of its points. One that can't be read counts nothing: damage is no reason
/// to make no points.
fn machine_bytes(store: &Store, points: &[Arc<PointInfo>]) -> u64 {
    let read = |point: &Arc<PointInfo>| {
        let manifest = crate::vault::read_manifest(store, point).ok()?;
        Some((point.entry.recorded_unix_seconds, Added::of(&manifest)))
    };
    let points: Vec<(i64, Added)> = points.iter().filter_map(read).collect();
    let all = points.iter().fold(Added::default(), |sum, (_, point)| Added {
        used: 0,
        new: sum.new.saturating_add(point.new),
        stored: sum.stored.saturating_add(point.stored),
    });
    let Some((_, oldest)) = points.iter().min_by_key(|(made, _)| *made) else { return 0 };
    all.stored.saturating_sub(oldest.stored).saturating_add(oldest.whole(all))
}

#[cfg(test)]
mod tests {
    use super::{Added, Quota, QuotaUse};

    // What the first point stored still counts when that is gone and a later one needs it.
    #[test]
    fn what_a_point_found_counts_as_if_it_were_compressed_like_the_rest() {
        let later = Added { used: 1000, new: 100, stored: 50 };
        assert_eq!(later.whole(later), 50 + 450);
        let copy = Added { used: 1000, new: 0, stored: 0 };
        assert_eq!(copy.whole(copy), 1000, "nothing is known of how it compresses");
        let absurd = Added { used: u64::MAX, new: 1, stored: u64::MAX };
        assert_eq!(absurd.whole(absurd), u64::MAX);
    }

    #[test]
    fn no_level_is_reached_by_nothing_and_none_where_there_is_none() {
        let of = |warn_bytes, hard_bytes, counted_bytes| QuotaUse {
            machine: String::new(),
            quota: Quota { warn_bytes, hard_bytes },
            counted_bytes,
        };
        let told = |known: &QuotaUse| (known.is_warning(), known.is_full(), known.allows(1).is_ok());
        assert_eq!(told(&of(0, 0, u64::MAX)), (false, false, true));
        assert_eq!(told(&of(5, 10, 4)), (false, false, true));
        assert_eq!(told(&of(5, 10, 9)), (true, false, true));
        assert_eq!(told(&of(5, 10, 10)), (true, true, false));
        assert_eq!(told(&of(5, 10, u64::MAX)), (true, true, false));
    }
}
