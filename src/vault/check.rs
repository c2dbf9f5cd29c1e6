//! Checking a vault: every segment, every chain, every map.
//!
//! First all segments, in parallel, record by record; then every point, whose map must lead to records that are there
//! and whole. Subtrees that points share are walked once; memory grows with the number of map nodes and of damaged
//! records, not with the number of chunks.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Vault;
use crate::error::{Error, Result};
use crate::format::map_node::MapNode;
use crate::format::{Hash, Id};
use crate::point::{ByteRange, ManifestDisk, PointInfo};

/// What a check found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Segments looked at.
    pub segments: u64,
    /// Records that were whole.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Points whose maps were walked.
    pub points: u64,
    /// Everything that was wrong in files of the vault, and what could not be read of a point.
    pub damage: Vec<Error>,
    /// The ranges of disks that can't be read any more.
    pub hit: Vec<DamagedRange>,
    /// False where the role can't open data: then chunks were checked by their checksums only.
    pub data_opened: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// A range of a disk that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The machine.
    pub machine: String,
    /// The point's name.
    pub point: String,
    /// The disk.
    pub disk: String,
    /// The range, in bytes of the disk.
    pub range: ByteRange,
}

impl VerifyReport {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.hit.is_empty()
    }
}

/// How far a check is, and the wish to stop it.
#[derive(Default)]
pub struct VerifyProgress {
    total: AtomicU64,
    done: AtomicU64,
    cancelled: AtomicBool,
}

impl VerifyProgress {
    /// Bytes of all segments, once the check has begun.
    pub fn total_bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes checked.
    pub fn done_bytes(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Asks the check to stop; it ends with [`Error::Interrupted`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
}

impl Vault {
    /// Checks everything that the keys at hand can check.
    pub fn verify(&self, progress: &VerifyProgress) -> Result<VerifyReport> {
        let began = Instant::now();
        self.refresh()?;
        let store = self.reader.store();
        store.refresh()?;
        let ids = store.segments().list()?;
        for id in &ids {
            progress.total.fetch_add(store.segments().length(id).unwrap_or(0), Ordering::Relaxed);
        }
        let mut report = VerifyReport { data_opened: store.keys().reads_data(), ..VerifyReport::default() };
        report.damage.extend(self.catalog_damage().into_iter().map(Error::Damaged));
        report.damage.extend(super::keys::read_slots(self.media.as_ref())?.1);
        let damaged = self.check_segments(&ids, progress, &mut report)?;
        let mut maps = Maps { vault: self, damaged: &damaged, bad: HashMap::new() };
        for machine in self.machines() {
            for point in self.points(&machine)? {
                maps.check_point(&point, &mut report)?;
            }
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    fn check_segments(&self, ids: &[Id], progress: &VerifyProgress, report: &mut VerifyReport) -> Result<Damaged> {
        let store = self.reader.store();
        let next = AtomicUsize::new(0);
        let found = Mutex::new((report, Damaged::new()));
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let work = || {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                if progress.cancelled.load(Ordering::Acquire) {
                    return Err(Error::Interrupted);
                }
                let check = store.segments().check(id, &|kind, plain| store.id_of(kind, plain))?;
                progress.done.fetch_add(check.bytes, Ordering::Relaxed);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.0.segments += 1;
                found.0.records += check.records;
                found.0.bytes += check.bytes;
                if !check.damage.is_empty() {
                    found.1.insert(*id, check.whole);
                }
                found.0.damage.extend(check.damage);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Error::Poisoned)))
        })?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).1)
    }
}

/// The segments that are damaged, and the offsets of the records in them that are whole all the same.
type Damaged = HashMap<Id, HashSet<u64>>;

/// Walks the maps of points; what is wrong below a node is remembered, so that shared nodes are walked once.
struct Maps<'a> {
    vault: &'a Vault,
    damaged: &'a Damaged,
    /// For each node that was walked: the damaged ranges below it, in chunks from its first.
    bad: HashMap<Hash, Vec<(u64, u64)>>,
}

impl Maps<'_> {
    fn check_point(&mut self, point: &PointInfo, report: &mut VerifyReport) -> Result<()> {
        report.points += 1;
        let manifest = match self.vault.manifest(point) {
            Ok(manifest) => manifest,
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(error) => {
                report.damage.push(error);
                let range = ByteRange { start: 0, end: 0 };
                report.hit.push(damaged(point, "(all)", range));
                return Ok(());
            }
        };
        for disk in &manifest.disks {
            for range in self.check_disk(disk)? {
                report.hit.push(damaged(point, &disk.name, range));
            }
        }
        Ok(())
    }

    fn check_disk(&mut self, disk: &ManifestDisk) -> Result<Vec<ByteRange>> {
        let Some(root) = disk.root() else {
            return Ok(Vec::new());
        };
        let chunk_bytes = u64::from(disk.chunk_bytes);
        let ranges = self.check_node(&root, disk.map_level)?;
        let bytes = |chunks: u64| chunks.saturating_mul(chunk_bytes).min(disk.size_bytes);
        Ok(ranges.into_iter().map(|(start, end)| ByteRange { start: bytes(start), end: bytes(end) }).collect())
    }

    fn check_node(&mut self, id: &Hash, level: u8) -> Result<Vec<(u64, u64)>> {
        if let Some(known) = self.bad.get(id) {
            return Ok(known.clone());
        }
        let span = MapNode::chunks_per_child(level);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut push = |start: u64, end: u64| match ranges.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => ranges.push((start, end)),
        };
        match self.vault.reader.node_uncached(id, level) {
            Ok(node) => {
                for (number, child) in (0_u64..).zip(node.children.iter()) {
                    let (Some(child), base) = (child, number.saturating_mul(span)) else {
                        continue;
                    };
                    if level > 0 {
                        for (start, end) in self.check_node(child, level - 1)? {
                            push(base + start, base.saturating_add(end));
                        }
                    } else if !self.is_there(child)? {
                        push(base, base + 1);
                    }
                }
            }
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(_) => push(0, MapNode::chunks_per_child(level + 1)),
        }
        self.bad.insert(*id, ranges.clone());
        Ok(ranges)
    }

    fn is_there(&self, chunk: &Hash) -> Result<bool> {
        let store = self.vault.reader.store();
        let place = match store.locate(chunk) {
            // A damaged index is no damage.
            None if store.rebuild_index()? => store.locate(chunk),
            place => place,
        };
        match place {
            None => return Ok(false),
            Some(place) => match self.damaged.get(&place.segment) {
                Some(whole) if !whole.contains(&place.offset) => {}
                _ => return Ok(true),
            },
        }
        // What a reader would get decides: where the index was wrong, the record may be whole elsewhere.
        match store.read(crate::format::segment::RecordType::Chunk, chunk) {
            Ok(_) => Ok(true),
            Err(error @ Error::Vault { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }
}

fn damaged(point: &PointInfo, disk: &str, range: ByteRange) -> DamagedRange {
    DamagedRange { machine: point.machine.clone(), point: point.name.clone(), disk: disk.to_owned(), range }
}
