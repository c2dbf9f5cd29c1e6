//! Checking a vault: with keys everything, without keys what has a checksum; all of it, a part, or as much as fits a time.
//!
//! With keys: first segments, in parallel, record by record; then every point, whose map must lead to records that are
//! there. Subtrees that points share are walked once; memory grows with the number of map nodes, and by eight bytes for
//! each record that was looked at.
//!
//! Invariants:
//! - a chunk is called damaged only after it was looked at: in its segment, or by reading it;
//! - only what was looked at and is not whole is taken out of the index;
//! - what earlier runs saw decides on the order of work alone.

mod maps;
mod memory;
mod options;
mod report;
mod round;
mod scrub;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Vault;
use crate::error::{Error, Result};
use crate::format::header;
use crate::format::index_run::Tag;
use crate::format::segment::{self, ALIGNMENT};
use crate::format::{Hash, Id};
use crate::media::{Lock, LockKind, Media};
use crate::point::{PointInfo, vault_chain};
pub use crate::progress::Progress as VerifyProgress;
use crate::store::parity::Repair;
use crate::store::{Place, SegmentCheck, Store, WRITERS_LOCK};

use maps::Maps;
pub(super) use memory::{Depth, Memory, time};
pub use options::{Subset, VerifyOptions};
pub use report::{Coverage, DamagedRange, DamagedSegment, ScrubReport, VerifyReport};
use round::Round;

/// How long a check that waits for backups to end sleeps before it looks again.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

impl Vault {
    /// Checks everything that the keys at hand can check.
    pub fn verify(&self, progress: &VerifyProgress) -> Result<VerifyReport> {
        self.verify_with(&VerifyOptions::default(), progress)
    }

    /// The same for a part of the segments. The maps of all points are walked all the same, after the segments: each
    /// chunk must at least have a place.
    pub fn verify_with(&self, options: &VerifyOptions, progress: &VerifyProgress) -> Result<VerifyReport> {
        let began = Instant::now();
        self.refresh()?;
        let store = self.reader.store();
        if options.is_partial() {
            // For chunks in the rest, the index is the witness: it must be what a key holder wrote.
            store.refresh_for_writing()?;
        } else {
            store.refresh()?;
        }
        let mut report = VerifyReport { data_opened: store.keys().reads_data(), ..VerifyReport::default() };
        report.damage.extend(self.catalog_damage().into_iter().map(Error::Damaged));
        report.damage.extend(super::keys::read_slots(self.media.as_ref())?.1);
        for copy in [header::OBJECT, header::COPY] {
            let checked = super::read_header(self.media.as_ref(), copy)
                .and_then(|decoded| store.keys().check_header(copy, &decoded).map(|()| decoded));
            report.damage.extend(checked.err());
        }
        report.harmless.extend(crate::store::scrub_index(self.media.as_ref(), store.keys().vault())?);
        let depth = if report.data_opened { Depth::Keys } else { Depth::Checksums };
        let all = store.segments().list()?;
        let known: HashSet<Id> = all.iter().copied().collect();
        let mut round = Round::plan(&self.media, Some(*store.keys().vault()), all, depth, options);
        report.harmless.extend(round.damaged_notes());
        let mut seen = Seen::new(Arc::clone(store));
        let mut damaged: Vec<(Id, Vec<Error>, bool)> = Vec::new();
        report.harmless.extend(crate::store::orphaned_parity(self.media.as_ref())?);
        let check = |id: &Id| store.check_segment(id);
        let mut take = |id: &Id, check: SegmentCheck| {
            if is_gone(self.media.as_ref(), id, &check) {
                return;
            }
            report.segments += 1;
            report.records += check.records;
            report.bytes += check.bytes + check.parity_bytes;
            seen.add(*id, &check);
            report.parity.extend(check.parity);
            report.repairs.extend(check.repair.map(|repair| DamagedSegment::new(id, repair)));
            if !check.damage.is_empty() {
                damaged.push((*id, check.damage, check.is_framed));
            }
        };
        round.run(self.media.as_ref(), progress, &check, &mut take)?;
        self.check_what_came(&known, &check, &mut take, progress)?;
        report.repairs.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        seen.left = round.left();
        let mut maps = Maps::new(self, &seen);
        // Those that were forgotten too: they can be brought back.
        for point in self.catalog.all() {
            let before = (report.damage.len(), report.hit.len());
            maps.check_point(&point, &mut report);
            // One that was purged meanwhile is nobody's loss.
            if (report.damage.len(), report.hit.len()) != before && self.is_purged_now(&point)? {
                report.damage.truncate(before.0);
                report.hit.truncate(before.1);
            }
        }
        self.check_unlisted(&mut report)?;
        let lost = maps.lost();
        // Where the catalog or a manifest hides a point, nobody knows what that needs.
        let sees_all = self.catalog_damage().is_empty()
            && !options.is_partial()
            && report.data_opened
            && !report.hit.iter().any(|hit| hit.disk == maps::ALL_DISKS);
        for (id, damage, is_framed) in damaged {
            // What parity can mend is mended: then nothing there is spare.
            let is_spare = sees_all && !seen.mendable.contains(&id) && seen.is_spare(&id, is_framed, &lost);
            if is_spare { &mut report.spare } else { &mut report.damage }.extend(damage);
        }
        if !report.is_clean() || !report.spare.is_empty() || !lost.is_empty() {
            // To who has the keys of before a rotation, what was written since looks damaged.
            let newest = vault_chain::check(self.media.as_ref(), store.keys()).map_err(|error| self.dated(error));
            if let Err(error @ Error::Rotated { .. }) = newest {
                return Err(error);
            }
            // What is not whole must not pass for known: the next backup stores it again. What parity mends is whole for
            // whoever reads it, and once the segment is repaired. Where the index can't be written, everything stays as it
            // was.
            if let Ok(_alone) = writers_lock_alone(self.media.as_ref(), progress)? {
                let is_whole = |tag: &Tag, place: &Place| {
                    let is_there = seen.has(tag, place) != Some(false) || seen.mendable.contains(&place.segment);
                    is_there && !lost.contains(tag)
                };
                let _ = store.keep_whole(&is_whole);
            }
        }
        report.coverage = round.coverage();
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Where segments went that were there, somebody gave back space or moved records under new keys: what is needed of them
    /// is in segments that came since, which are looked at too.
    fn check_what_came(
        &self,
        known: &HashSet<Id>,
        check: &dyn Fn(&Id) -> SegmentCheck,
        take: &mut dyn FnMut(&Id, SegmentCheck),
        progress: &VerifyProgress,
    ) -> Result<()> {
        let store = self.reader.store();
        let now = store.segments().list()?;
        let there: HashSet<&Id> = now.iter().collect();
        if known.iter().all(|id| there.contains(id)) {
            return Ok(());
        }
        store.refresh()?;
        self.refresh()?;
        for id in now.iter().filter(|id| !known.contains(*id)) {
            progress.check()?;
            take(id, check(id));
        }
        Ok(())
    }

    /// Points that are in segments and have no entry. An interrupted backup leaves one; where its machine has no point at all,
    /// its chain is lost.
    fn check_unlisted(&self, report: &mut VerifyReport) -> Result<()> {
        // Those that can't be read were told with their segments.
        let (unlisted, _) = self.unlisted_points()?;
        for made in unlisted {
            if self.catalog.of_machine(&made.machine).is_empty() && !report.lost_machines.contains(&made.machine) {
                report.lost_machines.push(made.machine.clone());
            }
            let point = crate::point::point_of(made, &|_| false);
            report.unlisted.push(point.path());
        }
        Ok(())
    }

    /// Whether a point was purged since it was listed.
    pub(super) fn is_purged_now(&self, point: &PointInfo) -> Result<bool> {
        self.refresh()?;
        Ok(self.catalog.is_purged(&point.entry))
    }
}

/// Whether a segment was removed while a check looked at it, or before it did.
fn is_gone(media: &dyn Media, id: &Id, check: &SegmentCheck) -> bool {
    // By its name: one that is there and can't be opened is damage.
    !check.damage.is_empty()
        && media.list(segment::FOLDER).is_ok_and(|names| names.iter().all(|name| segment::id_of(name) != Some(*id)))
}

/// Waits until no backup runs, as long as nobody wants to stop. The inner error is the medium's.
pub(super) fn writers_lock_alone(media: &dyn Media, progress: &VerifyProgress) -> Result<Result<Lock>> {
    loop {
        match media.lock(WRITERS_LOCK, LockKind::Exclusive, false) {
            Ok(Some(lock)) => return Ok(Ok(lock)),
            Ok(None) => {
                progress.check()?;
                std::thread::sleep(BETWEEN_TRIES);
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// A record that was whole: its place in the segment in units of 16 bytes, and enough of its tag to tell it from another.
type Trace = (u32, u32);

pub(super) fn short_tag(tag: &Tag) -> u32 {
    u32::from_le_bytes([tag[0], tag[1], tag[2], tag[3]])
}

/// What a run saw of the segments.
pub(super) struct Seen {
    store: Arc<Store>,
    /// The records that were whole, in order of place, of each segment that was looked at.
    whole: HashMap<Id, Vec<Trace>>,
    /// The damaged segments that parity can mend.
    mendable: HashSet<Id>,
    /// The segments that were not looked at.
    left: HashSet<Id>,
}

impl Seen {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, whole: HashMap::new(), mendable: HashSet::new(), left: HashSet::new() }
    }

    pub(super) fn add(&mut self, id: Id, check: &SegmentCheck) {
        if check.repair == Some(Repair::Possible) {
            self.mendable.insert(id);
        }
        let keys = self.store.keys();
        let trace = |(offset, id): &(u64, Hash)| {
            // No segment is so long that this does not fit.
            let units = u32::try_from(offset / ALIGNMENT).unwrap_or(u32::MAX);
            (units, short_tag(&keys.index_tag(id)))
        };
        self.whole.insert(id, check.whole.iter().map(trace).collect());
    }

    /// Whether a record was whole at a place; `None` where the segment was not looked at.
    pub(super) fn has(&self, tag: &Tag, place: &Place) -> Option<bool> {
        let whole = self.whole.get(&place.segment)?;
        let units = u32::try_from(place.offset / ALIGNMENT).unwrap_or(u32::MAX);
        Some(whole.binary_search(&(units, short_tag(tag))).is_ok())
    }

    /// Whether no point needs what is damaged in a segment, given the tags of the records that points need and nobody has.
    /// `is_framed` says whether header, table and trailer are whole.
    fn is_spare(&self, id: &Id, is_framed: bool, lost: &HashSet<Tag>) -> bool {
        let (store, none) = (&self.store, Vec::new());
        let entries = store.segments().entries(id).unwrap_or_default();
        let whole = self.whole.get(id).unwrap_or(&none);
        if !is_framed && !whole.is_empty() {
            // Unless all of its records are whole elsewhere too, they are read from it still.
            let elsewhere = self.others(id);
            return whole.iter().all(|(_, tag)| elsewhere.contains(tag)) && lost.is_empty();
        }
        // What has no name here might be anything.
        !entries.is_empty() && entries.iter().all(|entry| !lost.contains(&store.keys().index_tag(&entry.id)))
    }

    /// Short tags of the records that were whole in other segments than this one.
    pub(super) fn others(&self, segment: &Id) -> HashSet<u32> {
        self.whole.iter().filter(|(id, _)| *id != segment).flat_map(|(_, whole)| whole).map(|(_, tag)| *tag).collect()
    }

    /// Short tags of all records that were whole. One that is not among them is nowhere; one that is may be another's.
    pub(super) fn anywhere(&self) -> HashSet<u32> {
        self.whole.values().flatten().map(|(_, tag)| *tag).collect()
    }

    /// Whether a record was whole in any segment that was looked at.
    fn has_anywhere(&self, tag: &Tag) -> bool {
        let wanted = short_tag(tag);
        self.whole.values().flatten().any(|(_, of)| *of == wanted)
    }
}
