//! Doing what was planned.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::records::fetch;
use super::report::RepairReport;
use super::{Repair, objects, segments_of};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::PointMade;
use crate::format::segment;
use crate::format::{Hash, Id};
use crate::point::{point_of, vault_chain};
use crate::progress::Progress;
use crate::store::parity::make_anew;
use crate::store::{Kept, Writer, forget_runs, scrub_segment};
use crate::vault::check::{Depth, Memory, writers_lock_alone};
use crate::vault::parallel;
use crate::vault::{FOLDERS, LOCKS, OpenOptions, Vault, read_manifest};

impl Repair {
    /// Does what was planned. What can't be had any more is told and left out; only what is wrong with the vault's own
    /// medium ends it, and what was done until then stays done.
    pub fn write(&self, progress: &Progress) -> Result<RepairReport> {
        let began = Instant::now();
        progress.add_total(self.plan.mended.iter().map(|segment| segment.bytes).sum::<u64>() + self.plan.record_bytes);
        let mut report = RepairReport::default();
        // What empty folders and lock files hold is not lost with them, but nothing can be written without.
        self.media.lay_out(&FOLDERS, &LOCKS)?;
        let mended = {
            // Shared with backups: nobody removes segments meanwhile.
            let _kept = Kept::begin(self.media.as_ref(), &|| progress.check())?;
            self.media.clear_abandoned()?;
            let (objects, late) = objects::write(self.media.as_ref(), &self.objects)?;
            report.objects = objects;
            report.failures.extend(late.into_iter().map(vanished));
            let mended = self.mend(&mut report, progress)?;
            self.make_parity(&mut report, progress)?;
            mended
        };
        match &self.unlocked {
            None => self.forget_index(&mended, progress)?,
            Some(by) => {
                let vault = Vault::assemble(Arc::clone(&self.media), by.clone(), &OpenOptions::default())?;
                self.learn(&vault, &mended, progress)?;
                self.store(&vault, &mut report, progress)?;
                self.enter_points(&vault, &mut report, progress)?;
            }
        }
        self.remember(&mended);
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Makes segments whole, several at once. Returns those that are.
    fn mend(&self, report: &mut RepairReport, progress: &Progress) -> Result<HashSet<Id>> {
        let pieces = self.pieces(self.media.as_ref());
        let mended = parallel::each(&self.mendable, progress, |segment| {
            let whole = pieces.mend(segment)?;
            progress.add_done(segment.whole.bytes);
            Ok((segment.id, whole))
        })?;
        let mut whole_now = HashSet::new();
        for (id, whole) in mended {
            match whole {
                Some(whole) => {
                    whole_now.insert(id);
                    report.mended += 1;
                    report.mended_bytes += whole.bytes;
                }
                None => report.failures.push(vanished(segment::object(&id))),
            }
        }
        if !whole_now.is_empty() {
            self.media.sync_folder(segment::FOLDER)?;
        }
        Ok(whole_now)
    }

    /// Makes parity anew, after the segments: of one that is damaged, that of damaged bytes would be made, and what was left
    /// of the true one be lost.
    fn make_parity(&self, report: &mut RepairReport, progress: &Progress) -> Result<()> {
        let media = self.media.as_ref();
        let made = parallel::each(&self.parity, progress, |id| {
            let found = scrub_segment(media, Some(&self.vault), id, false);
            if !found.damage.is_empty() {
                return Ok(Some(vanished(crate::format::parity::object(id))));
            }
            make_anew(media, &self.vault, id, self.parity_percent).map(|_| None)
        })?;
        if !self.parity.is_empty() {
            media.sync_folder(crate::format::parity::FOLDER)?;
        }
        report.parity = made.iter().filter(|failed| failed.is_none()).count() as u64;
        report.failures.extend(made.into_iter().flatten());
        Ok(())
    }

    /// Without keys nothing can be put into the index. What a check took out of it, because it was damaged, is found again
    /// when the index is made anew.
    fn forget_index(&self, mended: &HashSet<Id>, progress: &Progress) -> Result<()> {
        if mended.is_empty() {
            return Ok(());
        }
        let _alone = writers_lock_alone(self.media.as_ref(), progress)??;
        forget_runs(self.media.as_ref(), &self.vault, mended)
    }

    /// Puts the records of segments that are whole again into the index: a check may have taken them out.
    fn learn(&self, vault: &Vault, mended: &HashSet<Id>, progress: &Progress) -> Result<()> {
        if mended.is_empty() {
            return Ok(());
        }
        let store = vault.reader.store();
        let _kept = Kept::begin(self.media.as_ref(), &|| progress.check())?;
        store.refresh_for_writing()?;
        for segment in self.mendable.iter().filter(|segment| mended.contains(&segment.id)) {
            store.mended(&segment.id, &segment.whole.entries);
        }
        // An index that can't be written now is made again by who needs it.
        let _ = store.flush_index();
        Ok(())
    }

    /// Stores records anew. The order: first the index forgets where they lie damaged, or they would pass for known; then
    /// they are written into segments of their own, and known when those are durable.
    fn store(&self, vault: &Vault, report: &mut RepairReport, progress: &Progress) -> Result<()> {
        if self.records.is_empty() && self.lost.is_empty() {
            return Ok(());
        }
        let store = vault.reader.store();
        {
            let _alone = writers_lock_alone(self.media.as_ref(), progress)??;
            // Also what nobody has: whoever backs up a disk that still holds it must not take it for known.
            let damaged = self.records.iter().map(|(id, _)| id).chain(&self.lost);
            let damaged: HashSet<_> = damaged.map(|id| store.keys().index_tag(id)).collect();
            store.keep_whole(&|tag, _| !damaged.contains(tag))?;
        }
        if self.records.is_empty() {
            let _ = store.flush_index();
            return Ok(());
        }
        let _kept = Kept::begin(self.media.as_ref(), &|| progress.check())?;
        // Nothing is written under keys that may not be the newest.
        if let Err(error) = vault_chain::check(self.media.as_ref(), store.keys()) {
            report.failures.push(error);
            return Ok(());
        }
        store.refresh_for_writing()?;
        let mut writer = Writer::start(Arc::clone(store), true);
        let stored = parallel::each(&self.records, progress, |(id, wanted)| {
            let mut plain = Vec::new();
            let is_there = fetch(store, &self.stores, &self.disks, id, wanted, &mut plain);
            if is_there {
                writer.store(wanted.kind, id, &plain)?;
            }
            progress.add_done(wanted.plain_bytes);
            Ok((is_there, plain.len() as u64))
        });
        let ended = stored.and_then(|stored| writer.finish().map(|_| stored));
        let stored = ended.map_err(|error| match (writer.failure(), error) {
            (Some(first), Error::Poisoned) => first,
            (_, error) => error,
        })?;
        for ((id, wanted), (is_there, bytes)) in self.records.iter().zip(stored) {
            if is_there {
                report.records += 1;
                report.record_bytes += bytes;
            } else {
                report.failures.push(vanished(format!("{} {}", wanted.kind.name(), crate::format::hex(&id[..4]))));
            }
        }
        let _ = store.flush_index();
        Ok(())
    }

    /// Enters found points into the catalog, as the next entries of their chains. Only where all that was planned could be
    /// had: they may need it.
    fn enter_points(&self, vault: &Vault, report: &mut RepairReport, progress: &Progress) -> Result<()> {
        if self.adopted.is_empty() || !report.failures.is_empty() {
            return Ok(());
        }
        let _kept = Kept::begin(self.media.as_ref(), &|| progress.check())?;
        if let Err(error) = vault_chain::check(self.media.as_ref(), vault.reader.store().keys()) {
            report.failures.push(error);
            return Ok(());
        }
        // A backup that was interrupted may have left names that would not survive a power cut. An entry must never name
        // what that can take back.
        self.media.sync_folder(segment::FOLDER)?;
        let recorded_unix_seconds = jiff::Timestamp::now().as_second();
        vault.reader.store().refresh_for_writing()?;
        for found in &self.adopted {
            let point = crate::format::hex(&found.point);
            vault.refresh()?;
            if vault.point(&found.machine, &point).is_ok() {
                continue;
            }
            // Somebody may have given back since what only it needs. From here on nobody can.
            if !has_places(vault, found)? {
                report.failures.push(vanished(format!("{} {point}", found.machine)));
                continue;
            }
            let entered = vault.catalog.append(&found.machine, found.point, &|predecessor, _| {
                Ok(PointMade { predecessor, recorded_unix_seconds, ..found.clone() })
            });
            match entered {
                Ok(_) => report.adopted += 1,
                // Forgotten or purged, or somebody else was faster.
                Err(Error::PointExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes down that segments are whole now, so that the next part of a check does not warn of them.
    fn remember(&self, mended: &HashSet<Id>) {
        let Ok(present) = segments_of(self.media.as_ref()) else { return };
        let mut memory = Memory::read(&self.media, Some(self.vault), &present.into_iter().collect::<Vec<_>>());
        for id in mended {
            memory.add(*id, Depth::Checksums, false);
        }
        // It decides on the order of checks alone.
        let _ = memory.write();
    }
}

/// Whether all that a point needs has a place.
fn has_places(vault: &Vault, found: &PointMade) -> Result<bool> {
    let store = vault.reader.store();
    let manifest = match read_manifest(store, &point_of(found.clone(), &|_| false)) {
        Err(Error::Damaged(_)) => return Ok(false),
        manifest => manifest?,
    };
    let mut nodes: Vec<(Hash, u8)> =
        manifest.disks.iter().filter_map(|disk| Some((disk.root()?, disk.map_level))).collect();
    let mut known: HashSet<Hash> = HashSet::new();
    while let Some((id, level)) = nodes.pop() {
        if !known.insert(id) {
            continue;
        }
        let node = match vault.reader.node_uncached(&id, level) {
            Err(Error::Damaged(_)) => return Ok(false),
            node => node?,
        };
        for child in node.children.iter().flatten() {
            match level.checked_sub(1) {
                Some(below) => nodes.push((*child, below)),
                None if store.locate(child).is_none() => return Ok(false),
                None => {}
            }
        }
    }
    Ok(true)
}

/// What was there when it was planned, and is not when it is to be written.
fn vanished(object: String) -> Error {
    Error::damaged(object, 0, Problem::Unreadable("what it was to be made of has changed".to_owned()))
}
