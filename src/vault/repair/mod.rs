//! Repairing a vault: finding out what can be had again and from where, then writing it.
//!
//! A damaged segment is made whole byte for byte where its pieces suffice: its own, those that a copy has, and whatever
//! else can make its bytes ([`sources::Spare`]). That needs no key. Of segments that stay damaged, the records that points
//! need are stored anew in new segments: from a copy, opened and authenticated, or from the disk that was backed up.
//! Headers, key slots and catalog entries come back whole or not at all.
//!
//! Invariants:
//! - planning writes nothing, nowhere;
//! - no byte is written in place: an object that was damaged is replaced in one step, by one that passed every check;
//! - what can't be made whole stays as it is, and nothing is removed but derived files;
//! - sources are only read, and believed only as far as checksums, authenticators and ids bear them out;
//! - a repair that ends anywhere leaves no less than there was, and the next one goes on.

mod disk;
mod objects;
mod parallel;
mod records;
mod report;
mod segments;
mod sources;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::check::{Depth, Memory, writers_lock_alone};
use super::{FOLDERS, LOCKS, OpenOptions, Unlocked, Vault, unlock};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::PointMade;
use crate::format::header::Header;
use crate::format::segment;
use crate::format::{Hash, Id};
use crate::media::{DirectoryMedia, LockKind, Media, ReadMode, ReadOnlyMedia};
use crate::point::PointInfo;
pub use crate::progress::Progress as RepairProgress;
use crate::seal::Credential;
use crate::store::{Store, WRITERS_LOCK, Writer, forget_runs};

use objects::{Object, Objects};
use records::{Have, Records, Wanted, fetch};
pub use report::{CopyFacts, Mended, RepairPlan, RepairReport, Restored};
use segments::{Mendable, Pieces};
pub use sources::RepairSources;
use sources::{CopyOfVault, Original, Spare, refuse_nothing};

/// A repair that was planned and can be done.
pub struct Repair {
    media: Arc<dyn Media>,
    vault: Id,
    /// Where keys are at hand.
    unlocked: Option<Unlocked>,
    copies: Vec<CopyOfVault>,
    stores: Vec<Option<Store>>,
    disks: Vec<Original>,
    objects: Vec<Object>,
    mendable: Vec<Mendable>,
    records: Vec<(Hash, Wanted)>,
    adopted: Vec<PointMade>,
    plan: RepairPlan,
}

impl Vault {
    /// Finds out what of a vault in a directory is damaged, and what of that can be had again from `sources`. Writes
    /// nothing. Without a credential, what needs no key: headers, slots, entries and segments that can be made whole.
    pub fn plan_repair(
        path: &Path,
        credential: Option<&Credential>,
        sources: RepairSources,
        progress: &RepairProgress,
    ) -> Result<Repair> {
        Self::plan_repair_on(Arc::new(DirectoryMedia::new(path, ReadMode::Pread)), credential, sources, progress)
    }

    /// The same on any media.
    pub fn plan_repair_on(
        media: Arc<dyn Media>,
        credential: Option<&Credential>,
        sources: RepairSources,
        progress: &RepairProgress,
    ) -> Result<Repair> {
        let began = Instant::now();
        let adopt = sources.adopt;
        let mut repair = Repair::begin(media, credential, sources)?;
        repair.look(adopt, progress)?;
        repair.plan.seconds = began.elapsed().as_secs_f64();
        Ok(repair)
    }
}

impl Repair {
    fn begin(media: Arc<dyn Media>, credential: Option<&Credential>, sources: RepairSources) -> Result<Self> {
        let RepairSources { copies, disks, adopt: _ } = sources;
        refuse_nothing(media.as_ref())?;
        let unlocked = match credential {
            Some(credential) => {
                let copies: Vec<&dyn Media> = copies.iter().map(AsRef::as_ref).collect();
                Some(unlock::unlock(media.as_ref(), &copies, credential, true)?)
            }
            None => None,
        };
        let told = || -> Result<Id> {
            let nothing = || Error::damaged(crate::format::header::OBJECT, 0, Problem::Absent);
            unlock::id_of(media.as_ref())?.ok_or_else(nothing)
        };
        let vault = unlocked.as_ref().map_or_else(told, |unlocked| Ok(*unlocked.keys.vault()))?;
        let copies: Vec<CopyOfVault> =
            copies.into_iter().map(|copy| CopyOfVault::new(copy, media.as_ref(), &vault)).collect::<Result<_>>()?;
        let store = |copy: &CopyOfVault| unlocked.as_ref().and_then(|by| copy.store(&by.keys, &by.header));
        let stores = copies.iter().map(store).collect();
        let plan = RepairPlan { with_keys: unlocked.is_some(), ..RepairPlan::default() };
        Ok(Self {
            media,
            vault,
            unlocked,
            copies,
            stores,
            disks,
            objects: Vec::new(),
            mendable: Vec::new(),
            records: Vec::new(),
            adopted: Vec::new(),
            plan,
        })
    }

    /// What was found, and would be done.
    pub fn plan(&self) -> &RepairPlan {
        &self.plan
    }

    /// What else than the vault may have a segment's bytes, in the order in which they are asked.
    fn pieces<'a>(&'a self, media: &'a dyn Media) -> Pieces<'a> {
        let spares = self.copies.iter().map(|copy| copy as &dyn Spare).collect();
        Pieces { media, vault: &self.vault, keys: self.unlocked.as_ref().map(|by| by.keys.as_ref()), spares }
    }

    fn look(&mut self, adopt: bool, progress: &RepairProgress) -> Result<()> {
        // Whatever is asked of it: who looks writes nothing.
        let media: Arc<dyn Media> = Arc::new(ReadOnlyMedia(Arc::clone(&self.media)));
        let open = |by: &Unlocked| Vault::assemble(Arc::clone(&media), by.clone(), &OpenOptions::default());
        let vault = self.unlocked.as_ref().map(open).transpose()?;
        let objects = self.look_at_objects(media.as_ref(), vault.as_ref())?;
        let store = vault.as_ref().map(|vault| vault.reader.store());
        let survey = segments::survey(media.as_ref(), &self.vault, store, progress)?;
        let present: HashSet<Id> = segments_of(media.as_ref())?;
        let of_copies: Vec<HashSet<Id>> =
            self.copies.iter().map(|copy| segments_of(copy.media.as_ref())).collect::<Result<_>>()?;
        let wanted = segments::wanted(&survey.damaged, &present, &of_copies);
        let (mut mendable, mended) = self.pieces(media.as_ref()).plan(&wanted, progress)?;
        self.plan.folders = self.media.not_laid_out(&FOLDERS, &LOCKS)?;
        self.plan.segments = survey.segments;
        self.plan.bytes = survey.bytes;
        self.plan.copies = self.copies.iter().zip(&of_copies).map(|(copy, has)| facts(copy, &present, has)).collect();
        if let Some(vault) = &vault {
            let mut records = Records::new(vault, &survey, &mended, &self.stores, &self.disks);
            let adopted = look_at_points(&mut records, vault, &objects.points, adopt, &mut self.plan, progress)?;
            let mut used = vec![false; mendable.len()];
            for wanted in records.wanted.values() {
                if let Have::Mended(number) = wanted.have {
                    used[number] = true;
                }
            }
            // What is gone and nobody needs was perhaps removed.
            let mut used = used.into_iter();
            mendable.retain(|segment| used.next().unwrap_or(false) || !segment.is_absent);
            let found: Vec<(Hash, Wanted)> = records.wanted.into_iter().collect();
            self.adopted = adopted;
            self.take_records(found);
        }
        self.take(objects, survey.damaged, mendable);
        Ok(())
    }

    fn look_at_objects(&self, media: &dyn Media, vault: Option<&Vault>) -> Result<Objects> {
        let mut objects = Objects::default();
        let keys = self.unlocked.as_ref().map(|by| by.keys.as_ref());
        let header = || vault.map(completed_header);
        objects::headers(media, &self.vault, keys, &header, &self.copies, &mut objects)?;
        objects::slots(media, &self.vault, &self.copies, &mut objects)?;
        objects::entries(media, &self.vault, keys, &self.copies, &mut objects)?;
        Ok(objects)
    }

    /// The records that are to be stored, in the order in which their sources give them best.
    fn take_records(&mut self, found: Vec<(Hash, Wanted)>) {
        let is_had = |wanted: &Wanted| matches!(wanted.have, Have::Copy(_) | Have::Disk { .. } | Have::Bytes(_));
        self.records = found.into_iter().filter(|(_, wanted)| is_had(wanted)).collect();
        let stores = &self.stores;
        self.records.sort_by_cached_key(|(id, wanted)| match wanted.have {
            Have::Copy(copy) => {
                let place = stores.get(copy).and_then(Option::as_ref).and_then(|store| store.locate(id));
                (copy, place.map(|place| place.segment), place.map_or(0, |place| place.offset))
            }
            Have::Disk { disk, offset, .. } => (stores.len() + disk, None, offset),
            _ => (usize::MAX, None, 0),
        });
        let of_disks = |wanted: &Wanted| matches!(wanted.have, Have::Disk { .. } | Have::Bytes(_));
        self.plan.records = self.records.len() as u64;
        self.plan.record_bytes = self.records.iter().map(|(_, wanted)| wanted.plain_bytes).sum();
        self.plan.records_from_disks = self.records.iter().filter(|(_, wanted)| of_disks(wanted)).count() as u64;
    }

    /// Takes over what was found, and tells it.
    fn take(&mut self, objects: Objects, damaged: Vec<(Id, Vec<Error>)>, mendable: Vec<Mendable>) {
        let will_be_whole: HashSet<Id> = mendable.iter().map(|segment| segment.id).collect();
        self.plan.objects = objects.restorable.iter().map(|object| object.told.clone()).collect();
        self.plan.remaining = objects.remaining;
        self.plan.damage = objects.damage;
        for (id, damage) in damaged {
            if !will_be_whole.contains(&id) {
                self.plan.left_damaged.push(segment::object(&id));
            }
            self.plan.damage.extend(damage);
        }
        self.plan.left_damaged.sort_unstable();
        self.plan.mended = mendable
            .iter()
            .map(|segment| Mended {
                object: segment::object(&segment.id),
                is_absent: segment.is_absent,
                bytes: segment.whole.bytes,
                foreign_bytes: segment.whole.foreign_bytes,
            })
            .collect();
        self.objects = objects.restorable;
        self.mendable = mendable;
    }
}

fn segments_of(media: &dyn Media) -> Result<HashSet<Id>> {
    Ok(media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect())
}

fn facts(copy: &CopyOfVault, own: &HashSet<Id>, has: &HashSet<Id>) -> CopyFacts {
    CopyFacts {
        path: copy.media.location().to_path_buf(),
        lacks: own.difference(has).count() as u64,
        alone: has.difference(own).count() as u64,
    }
}

/// The header of an open vault; of one that has none, what a slot and the points say of it.
fn completed_header(vault: &Vault) -> Header {
    let mut header = vault.header.clone();
    let manifests = vault.catalog.all().into_iter().filter_map(|point| vault.manifest(&point).ok());
    let disk = manifests.flat_map(|manifest| manifest.disks).next();
    if let Some(log2) = disk.and_then(|disk| u8::try_from(disk.chunk_bytes.trailing_zeros()).ok()) {
        header.chunk_size_log2 = log2;
    }
    header
}

/// Walks the maps of all points: those of the catalog, those whose entries come back, and, where that is wished, those that
/// have none. Returns the last, as far as they are whole or will be.
fn look_at_points(
    records: &mut Records<'_>,
    vault: &Vault,
    restored: &[PointMade],
    adopt: bool,
    plan: &mut RepairPlan,
    progress: &RepairProgress,
) -> Result<Vec<PointMade>> {
    for point in restored {
        vault.catalog.add_found(point.clone());
    }
    let listed = vault.catalog.all();
    let unlisted = vault.unlisted_points()?.0;
    let mut unlisted: Vec<Arc<PointInfo>> = if adopt {
        for point in &unlisted {
            vault.catalog.add_found(point.clone());
        }
        let is_new = |point: &Arc<PointInfo>| !listed.iter().any(|known| known.id == point.id);
        vault.catalog.all().into_iter().filter(is_new).collect()
    } else {
        plan.found = unlisted.iter().map(|point| path_of(&point.machine, point.time_unix_seconds)).collect();
        Vec::new()
    };
    for point in listed.iter().chain(&unlisted) {
        records.point(point, progress)?;
    }
    look_on_disks(records, listed.iter().chain(&unlisted), progress)?;
    for point in &listed {
        let (regained, lost) = records.point(point, progress)?;
        plan.regained.extend(regained);
        plan.lost.extend(lost);
        plan.points += 1;
    }
    let mut whole = Vec::new();
    unlisted.sort_by_key(|point| point.time);
    for point in unlisted {
        let path = format!("{}/{}", point.machine, point.name);
        if records.point(&point, progress)?.1.is_empty() {
            plan.adopted.push(path.clone());
            whole.push(point.entry.clone());
        }
        plan.found.push(path);
    }
    Ok(whole)
}

fn path_of(machine: &str, time: i64) -> String {
    let time = jiff::Timestamp::from_second(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{machine}/{}", crate::point::point_name(time))
}

/// Looks for what is lost on the disks that were given, beside each point's map of them.
fn look_on_disks<'a>(
    records: &mut Records<'_>,
    points: impl Iterator<Item = &'a Arc<PointInfo>> + Clone,
    progress: &RepairProgress,
) -> Result<()> {
    let disks = records.disks;
    for (number, original) in disks.iter().enumerate() {
        let is_its =
            |point: &&Arc<PointInfo>| original.machine.as_ref().is_none_or(|machine| *machine == point.machine);
        for point in points.clone().filter(is_its) {
            let Some(manifest) = records.manifest(point) else { continue };
            if let Some(described) = manifest.disk(&original.name) {
                records.look_on_disk(number, described, progress)?;
            }
        }
        records.forget_walks();
    }
    Ok(())
}

impl Repair {
    /// Does what was planned. What can't be had any more is told and left out; only what is wrong with the vault's own
    /// medium ends it, and what was done until then stays done.
    pub fn write(&self, progress: &RepairProgress) -> Result<RepairReport> {
        let began = Instant::now();
        progress.add_total(self.plan.mended.iter().map(|segment| segment.bytes).sum::<u64>() + self.plan.record_bytes);
        let mut report = RepairReport::default();
        // What empty folders and lock files hold is not lost with them, but nothing can be written without.
        self.media.lay_out(&FOLDERS, &LOCKS)?;
        {
            // Shared with backups: nobody removes segments meanwhile.
            let _shared = self.media.lock(WRITERS_LOCK, LockKind::Shared, true)?;
            self.media.clear_abandoned()?;
            report.objects = objects::write(self.media.as_ref(), &self.objects)?;
            self.mend(&mut report, progress)?;
        }
        match &self.unlocked {
            None => self.forget_index(progress)?,
            Some(by) => {
                let vault = Vault::assemble(Arc::clone(&self.media), by.clone(), &OpenOptions::default())?;
                self.learn(&vault)?;
                self.store(&vault, &mut report, progress)?;
                self.adopt(&vault, &mut report)?;
            }
        }
        self.remember();
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Makes segments whole, several at once.
    fn mend(&self, report: &mut RepairReport, progress: &RepairProgress) -> Result<()> {
        let pieces = self.pieces(self.media.as_ref());
        let mended = parallel::each(&self.mendable, progress, |segment| {
            let whole = pieces.mend(segment)?;
            progress.add_done(segment.whole.bytes);
            Ok((segment.id, whole))
        })?;
        for (id, whole) in mended {
            match whole {
                Some(whole) => {
                    report.mended += 1;
                    report.mended_bytes += whole.bytes;
                }
                None => report.failures.push(vanished(segment::object(&id))),
            }
        }
        if report.mended > 0 {
            self.media.sync_folder(segment::FOLDER)?;
        }
        Ok(())
    }

    /// Without keys nothing can be put into the index. What a check took out of it, because it was damaged, is found again
    /// when the index is made anew.
    fn forget_index(&self, progress: &RepairProgress) -> Result<()> {
        let mended: HashSet<Id> = self.mendable.iter().map(|segment| segment.id).collect();
        if mended.is_empty() {
            return Ok(());
        }
        let _alone = writers_lock_alone(self.media.as_ref(), progress)??;
        forget_runs(self.media.as_ref(), &self.vault, &mended)
    }

    /// Puts the records of segments that are whole again into the index: a check may have taken them out.
    fn learn(&self, vault: &Vault) -> Result<()> {
        if self.mendable.is_empty() {
            return Ok(());
        }
        let store = vault.reader.store();
        let _shared = self.media.lock(WRITERS_LOCK, LockKind::Shared, true)?;
        store.refresh_for_writing()?;
        for segment in &self.mendable {
            store.mended(&segment.id, &segment.whole.entries);
        }
        // An index that can't be written now is made again by who needs it.
        let _ = store.flush_index();
        Ok(())
    }

    /// Stores records anew. The order: first the index forgets where they lie damaged, or they would pass for known; then
    /// they are written into segments of their own, and known when those are durable.
    fn store(&self, vault: &Vault, report: &mut RepairReport, progress: &RepairProgress) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let store = vault.reader.store();
        {
            let _alone = writers_lock_alone(self.media.as_ref(), progress)??;
            let damaged: HashSet<_> = self.records.iter().map(|(id, _)| store.keys().index_tag(id)).collect();
            store.keep_whole(&|tag, _| !damaged.contains(tag))?;
        }
        let _shared = self.media.lock(WRITERS_LOCK, LockKind::Shared, true)?;
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

    /// Enters found points into the catalog, as the next entries of their chains: all that they need is durable.
    fn adopt(&self, vault: &Vault, report: &mut RepairReport) -> Result<()> {
        let recorded_unix_seconds = jiff::Timestamp::now().as_second();
        for found in &self.adopted {
            let point = crate::format::hex(&found.point);
            vault.refresh()?;
            if vault.point(&found.machine, &point).is_ok() {
                continue;
            }
            vault.catalog.append(&found.machine, &|predecessor| PointMade {
                predecessor,
                recorded_unix_seconds,
                ..found.clone()
            })?;
            report.adopted += 1;
        }
        Ok(())
    }

    /// Takes down that segments are whole now, so that the next part of a check does not warn of them.
    fn remember(&self) {
        let Ok(present) = segments_of(self.media.as_ref()) else { return };
        let mut memory = Memory::read(&self.media, Some(self.vault), &present.into_iter().collect::<Vec<_>>());
        for segment in &self.mendable {
            memory.add(segment.id, Depth::Checksums, false);
        }
        // It decides on the order of checks alone.
        let _ = memory.write();
    }
}

/// What was there when it was planned, and is not when it is to be written.
fn vanished(object: String) -> Error {
    Error::damaged(object, 0, Problem::Unreadable("what it was to be made of has changed".to_owned()))
}
