//! Copying points record by record, one after the other: of each the maps and what is below, the manifest, the entry.

use std::collections::HashSet;

use super::CopyProgress;
use super::nodes::{Counts, Disk, Lost, MOST_LOST, Memory, Nodes, Pair, Whole};
use super::report::{CopiedPoint, CopyFailure, CopyOptions, CopyPlan, CopyReport};
use crate::backup::Session;
use crate::error::{Error, Problem, Result};
use crate::format::segment::{self, RecordType};
use crate::format::{Hash, hex};
use crate::point::{ByteRange, DiskMap, Manifest, ManifestDisk, PointInfo};
use crate::store::{Reader, Stored};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex};
use crate::vault::{DamagedRange, Vault};

/// Chunks of an earlier point that are read and compared before what the target has of it is taken for the same.
const SAMPLES: u64 = 32;

/// What of a point can't be read where its manifest can't.
const ALL_DISKS: &str = "(all)";

/// One call, and what it remembers.
struct Copier<'a> {
    source: &'a Vault,
    target: &'a Vault,
    options: &'a CopyOptions,
    progress: &'a CopyProgress,
    memory: Memory,
    /// Points that this call copied: nobody need compare them.
    own: HashSet<String>,
}

/// What became of a point.
enum Outcome {
    Copied(CopiedPoint),
    Failed(CopyFailure),
}

impl Vault {
    pub(super) fn copy_points(
        &self,
        target: &Self,
        plan: &CopyPlan,
        options: &CopyOptions,
        progress: &CopyProgress,
        report: &mut CopyReport,
    ) -> Result<()> {
        let (memory, own) = (Memory::new(), HashSet::new());
        let mut copier = Copier { source: self, target, options, progress, memory, own };
        let mut wanted = Vec::new();
        for point in &plan.points {
            progress.check()?;
            match self.manifest(point) {
                Ok(manifest) => {
                    progress.add_total(manifest.disks.iter().map(|disk| disk.size_bytes).sum());
                    wanted.push((point, manifest));
                }
                Err(error) => {
                    let all = DamagedRange {
                        machine: point.machine.clone(),
                        point: point.name.clone(),
                        disk: ALL_DISKS.to_owned(),
                        range: ByteRange { start: 0, end: 0 },
                    };
                    report.failed.push(copier.failure(point, error, vec![all], true));
                }
            }
        }
        for (point, manifest) in wanted {
            copier.point(point, &manifest, report)?;
        }
        Ok(())
    }
}

impl Copier<'_> {
    fn point(&mut self, point: &Arc<PointInfo>, manifest: &Manifest, report: &mut CopyReport) -> Result<()> {
        let target = self.target;
        // Of one that is purged, its records tell.
        let _held = self.source.hold(point).ok();
        let begun = Session::begin(target.reader.store(), &target.catalog, &point.machine, self.options.verify);
        let mut session = match begun {
            Err(error) if is_of_machine(&error) => {
                report.failed.push(self.failure(point, error, Vec::new(), true));
                return Ok(());
            }
            begun => begun?,
        };
        if target.standing(point).is_some() {
            // Somebody else was faster.
            self.progress.add_done(manifest.disks.iter().map(|disk| disk.size_bytes).sum());
            report.known.push(point.path());
            return Ok(());
        }
        match self.transfer(&mut session, point, manifest, report) {
            Ok(Outcome::Copied(copied)) => {
                for known in session.end() {
                    report.quota_warnings.retain(|before| before.machine != known.machine);
                    report.quota_warnings.push(known);
                }
                self.own.insert(point.id.clone());
                report.copied.push(copied);
                Ok(())
            }
            Ok(Outcome::Failed(failure)) => {
                session.end();
                report.failed.push(failure);
                Ok(())
            }
            Err(Error::PointExists { .. }) => {
                session.end();
                report.known.push(point.path());
                Ok(())
            }
            // Others may have room.
            Err(error @ Error::OverQuota { .. }) if is_of_machine(&error) => {
                let error = session.give_up(error);
                report.failed.push(self.failure(point, error, Vec::new(), true));
                Ok(())
            }
            Err(error) => Err(session.give_up(error)),
        }
    }

    fn transfer(
        &self,
        session: &mut Session<'_>,
        point: &Arc<PointInfo>,
        manifest: &Manifest,
        report: &mut CopyReport,
    ) -> Result<Outcome> {
        let bases = self.bases(point, manifest, report)?;
        let whole = Whole::new();
        let nodes = self.nodes(session, &whole);
        let mut made = manifest.clone();
        let (mut read_bytes, mut new_bytes) = (0, 0);
        for (number, (disk, base)) in made.disks.iter_mut().zip(bases).enumerate() {
            let counts = Counts::default();
            let root = copy_disk(&nodes, &self.source.reader, number, disk, base, &counts)?;
            disk.map = ManifestDisk::map_text(root);
            disk.new_bytes = counts.new.load(Ordering::Relaxed);
            disk.stored_bytes = counts.stored.load(Ordering::Relaxed);
            read_bytes += counts.read.load(Ordering::Relaxed);
            new_bytes += disk.new_bytes;
        }
        let lost = nodes.into_lost();
        if let Lost { ranges, error: Some(error) } = lost {
            // What was stored is of use to the points that go on, and to whoever copies this one once it is repaired.
            report.added_bytes += session.finish()?;
            let is_all = ranges.len() < MOST_LOST;
            return Ok(Outcome::Failed(self.failure(point, error, damaged(point, manifest, ranges), is_all)));
        }
        let store = self.target.reader.store();
        let plain = made.encode();
        let id = store.id_of(RecordType::Manifest, &plain);
        let stored = session.writer().store(RecordType::Manifest, &id, &plain)?;
        report.added_bytes += session.finish()?;
        let place = match stored {
            Stored::New { place } => place,
            // An earlier copy got as far as this, and no further.
            Stored::Known => store.locate(&id).ok_or_else(|| {
                let (what, id) = (RecordType::Manifest.name(), hex(&id[..4]));
                Error::damaged(segment::FOLDER, 0, Problem::Unreachable { what, id })
            })?,
        };
        // Walked as by whoever reads it later: nothing is acknowledged that leads nowhere.
        if store.read(RecordType::Manifest, &id)? != plain {
            return Err(Error::damaged(segment::FOLDER, 0, Problem::Authentication("manifest just sealed")));
        }
        let nodes = self.nodes(session, &whole);
        for disk in &made.disks {
            disk.root().map_or(Ok(()), |root| nodes.look(&root, disk.map_level))?;
        }
        self.progress.check()?;
        let point = session.append(&made, id, place)?;
        Ok(Outcome::Copied(CopiedPoint { point, read_bytes, new_bytes }))
    }

    fn nodes<'a>(&'a self, session: &'a Session<'_>, whole: &'a Whole) -> Nodes<'a> {
        Nodes {
            source: &self.source.reader,
            target: &self.target.reader,
            writer: session.writer(),
            memory: &self.memory,
            progress: self.progress,
            whole,
            lost: Mutex::default(),
        }
    }

    fn failure(&self, point: &PointInfo, mut error: Error, mut hit: Vec<DamagedRange>, is_all: bool) -> CopyFailure {
        // What was purged is not damaged. Where that can't be told, the error is told.
        let is_gone = self.source.refresh().is_ok() && self.source.catalog.is_purged(&point.entry);
        if is_gone {
            error = Error::Purged { machine: point.machine.clone(), point: point.name.clone() };
            hit.clear();
        }
        CopyFailure { path: point.path(), error, hit, is_all }
    }

    /// For each disk of a point, the roots of the same disk in the nearest point that both vaults have.
    fn bases(&self, point: &PointInfo, manifest: &Manifest, report: &mut CopyReport) -> Result<Vec<Option<Pair>>> {
        let none = || manifest.disks.iter().map(|_| None).collect();
        let mut shared = self.source.catalog.of_machine(&point.machine);
        shared.retain(|other| {
            other.id != point.id
                && (!self.options.reads_all || self.own.contains(&other.id))
                && self.target.catalog.with_id(&other.machine, &other.id).is_some()
        });
        let before = shared.partition_point(|other| other.time <= point.time);
        let Some(near) = before.checked_sub(1).map_or(shared.first(), |last| shared.get(last)) else {
            return Ok(none());
        };
        let Some(twin) = self.target.catalog.with_id(&near.machine, &near.id) else { return Ok(none()) };
        let (Ok(here), Ok(there)) = (self.source.manifest(near), self.target.manifest(&twin)) else {
            return Ok(none());
        };
        let mut bases = Vec::with_capacity(manifest.disks.len());
        for disk in &manifest.disks {
            let pair = pair(disk, here.disk(&disk.name), there.disk(&disk.name));
            let Some((pair, here, there)) = pair else {
                bases.push(None);
                continue;
            };
            let is_same = if self.own.contains(&near.id) { Ok(true) } else { self.is_same(here, there) };
            if matches!(is_same, Ok(false)) {
                report.refuted.push(format!("{}/{}", near.path(), disk.name));
            }
            bases.push(is_same.is_ok_and(|same| same).then_some(pair));
        }
        Ok(bases)
    }

    /// Compares a sample of a disk with what the target has of it: that a point has the same id says only that somebody who
    /// may add points there gave it that.
    fn is_same(&self, here: &ManifestDisk, there: &ManifestDisk) -> Result<bool> {
        let here = DiskMap::open(Arc::clone(&self.source.reader), here)?;
        let there = DiskMap::open(Arc::clone(&self.target.reader), there)?;
        let chunks = here.chunks();
        let part = chunks.div_ceil(SAMPLES).max(1);
        let mut plain = Vec::new();
        for sample in 0..SAMPLES {
            let seed = u64::from_le_bytes(crate::seal::random()?);
            // One from each of as many equal parts, so that no region goes unseen; of each what is no hole, if anything.
            let chunk = here.find(sample.saturating_mul(part).saturating_add(seed % part), true)?;
            if chunk >= chunks || !here.chunk_uncached(chunk, &mut plain)? {
                continue;
            }
            if there.chunk_id(chunk)? != Some(self.target.reader.store().id_of(RecordType::Chunk, &plain)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a quota is that of one machine.
fn is_of_machine(error: &Error) -> bool {
    matches!(error, Error::OverQuota { machine, .. } if !machine.is_empty())
}

/// Copies one disk; the root of its map in the target. `None` where it is all zeros, and where something is lost, which
/// the nodes know.
fn copy_disk(
    nodes: &Nodes<'_>,
    source: &Arc<Reader>,
    number: usize,
    disk: &ManifestDisk,
    base: Option<Pair>,
    counts: &Counts,
) -> Result<Option<Hash>> {
    let (size_bytes, chunk_bytes) = (disk.size_bytes, u64::from(disk.chunk_bytes));
    let place = Disk { number, size_bytes, chunk_bytes, counts };
    let Some(root) = disk.root() else {
        nodes.progress.add_done(size_bytes);
        return Ok(None);
    };
    // What a reader would refuse nobody need copy.
    if let Err(error) = DiskMap::open(Arc::clone(source), disk) {
        nodes.lose(&place, 0, size_bytes.div_ceil(chunk_bytes), error)?;
        return Ok(None);
    }
    nodes.subtree(&place, (&root, disk.map_level, 0), base)
}

/// The roots of a disk in an earlier point, here and there, where they are of the same shape as the disk's.
fn pair<'a>(
    disk: &ManifestDisk,
    here: Option<&'a ManifestDisk>,
    there: Option<&'a ManifestDisk>,
) -> Option<(Pair, &'a ManifestDisk, &'a ManifestDisk)> {
    let (here, there) = (here?, there?);
    let shape = |disk: &ManifestDisk| (disk.chunk_bytes, disk.map_level);
    let fits = shape(here) == shape(disk) && shape(there) == shape(disk) && here.size_bytes == there.size_bytes;
    let pair = Pair { here: here.root()?, there: there.root()? };
    fits.then_some((pair, here, there))
}

/// Lost chunks as ranges of bytes, those that touch made one.
fn damaged(point: &PointInfo, manifest: &Manifest, mut lost: Vec<(usize, u64, u64)>) -> Vec<DamagedRange> {
    lost.sort_unstable();
    let mut found: Vec<DamagedRange> = Vec::new();
    for (number, first, after) in lost {
        let Some(disk) = manifest.disks.get(number) else { continue };
        let byte = |chunk: u64| chunk.saturating_mul(u64::from(disk.chunk_bytes)).min(disk.size_bytes);
        let range = ByteRange { start: byte(first), end: byte(after) };
        match found.last_mut() {
            Some(last) if last.disk == disk.name && last.range.end >= range.start => {
                last.range.end = last.range.end.max(range.end);
            }
            _ => found.push(DamagedRange {
                machine: point.machine.clone(),
                point: point.name.clone(),
                disk: disk.name.clone(),
                range,
            }),
        }
    }
    found
}
