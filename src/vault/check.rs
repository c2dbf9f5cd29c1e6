//! Checking a vault: every segment, every chain, every map.
//!
//! First all segments, in parallel, record by record; then every point, whose map must lead to records that are there
//! and whole. Subtrees that points share are walked once; memory grows with the number of map nodes and of damaged
//! records, not with the number of chunks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Vault;
use crate::error::{Error, Result};
use crate::format::header;
use crate::format::index_run::Tag;
use crate::format::map_node::MapNode;
use crate::format::segment::{ALIGNMENT, RecordType};
use crate::format::{Hash, Id};
use crate::point::{ByteRange, DiskMap, ManifestDisk, PointInfo};
pub use crate::progress::Progress as VerifyProgress;
use crate::store::{Place, SegmentCheck};

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

impl Vault {
    /// Checks everything that the keys at hand can check.
    pub fn verify(&self, progress: &VerifyProgress) -> Result<VerifyReport> {
        let began = Instant::now();
        self.refresh()?;
        let store = self.reader.store();
        store.refresh()?;
        let ids = store.segments().list()?;
        for id in &ids {
            progress.add_total(store.segments().length(id).unwrap_or(0));
        }
        let mut report = VerifyReport { data_opened: store.keys().reads_data(), ..VerifyReport::default() };
        report.damage.extend(self.catalog_damage().into_iter().map(Error::Damaged));
        report.damage.extend(super::keys::read_slots(self.media.as_ref())?.1);
        for copy in [header::OBJECT, header::COPY] {
            let checked = super::read_header(self.media.as_ref(), copy)
                .and_then(|decoded| store.keys().check_header(copy, &decoded).map(|()| decoded));
            report.damage.extend(checked.err());
        }
        let whole = self.check_segments(&ids, progress, &mut report)?;
        let mut maps = Maps { vault: self, whole: &whole, bad: HashMap::new() };
        for machine in self.machines() {
            for point in self.points(&machine)? {
                maps.check_point(&point, &mut report);
            }
        }
        if !report.damage.is_empty() {
            // What is not whole must not pass for known: the next backup stores it again. Where the index can't be
            // written, everything stays as it was.
            let is_whole = |tag: &Tag, place: &Place| {
                let trace = Self::trace(tag, place.offset);
                whole.get(&place.segment).is_some_and(|whole| whole.binary_search(&trace).is_ok())
            };
            let _ = store.keep_whole(&is_whole);
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    fn check_segments(&self, ids: &[Id], progress: &VerifyProgress, report: &mut VerifyReport) -> Result<Whole> {
        let store = self.reader.store();
        let next = AtomicUsize::new(0);
        let found = Mutex::new((report, Whole::new()));
        let threads = crate::cores();
        let work = || {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                progress.check()?;
                // A segment that the medium does not give is damage like any other: the check goes on.
                let check = store
                    .segments()
                    .check(id, &|kind, plain| store.id_of(kind, plain))
                    .unwrap_or_else(|error| SegmentCheck { damage: vec![error], ..SegmentCheck::default() });
                let whole =
                    check.whole.iter().map(|(offset, id)| Self::trace(&store.keys().index_tag(id), *offset)).collect();
                progress.add_done(check.bytes);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.0.segments += 1;
                found.0.records += check.records;
                found.0.bytes += check.bytes;
                found.0.damage.extend(check.damage);
                found.1.insert(*id, whole);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Error::Poisoned)))
        })?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// What is remembered of a record that was whole.
    fn trace(tag: &Tag, offset: u64) -> Trace {
        (offset / ALIGNMENT, u32::from_le_bytes([tag[0], tag[1], tag[2], tag[3]]))
    }
}

/// A record that was whole: its place in the segment in units of 16 bytes, and enough of its tag to tell it from another.
type Trace = (u64, u32);

/// What was whole, by segment, in order of place.
type Whole = HashMap<Id, Vec<Trace>>;

/// Walks the maps of points; what is wrong below a node is remembered, so that shared nodes are walked once.
struct Maps<'a> {
    vault: &'a Vault,
    whole: &'a Whole,
    /// For each node that was walked: the damaged ranges below it, in chunks from its first.
    bad: HashMap<Hash, Vec<(u64, u64)>>,
}

impl Maps<'_> {
    fn check_point(&mut self, point: &PointInfo, report: &mut VerifyReport) {
        report.points += 1;
        let manifest = match self.vault.manifest(point) {
            Ok(manifest) => manifest,
            Err(error) => {
                report.damage.push(error);
                report.hit.push(damaged(point, "(all)", ByteRange { start: 0, end: 0 }));
                return;
            }
        };
        for disk in &manifest.disks {
            for range in self.check_disk(disk) {
                report.hit.push(damaged(point, &disk.name, range));
            }
        }
    }

    fn check_disk(&mut self, disk: &ManifestDisk) -> Vec<ByteRange> {
        // The reader's own checks of the manifest: it would refuse the whole disk too.
        if DiskMap::open(Arc::clone(&self.vault.reader), disk).is_err() {
            return vec![ByteRange { start: 0, end: disk.size_bytes }];
        }
        let Some(root) = disk.root() else { return Vec::new() };
        let chunk_bytes = u64::from(disk.chunk_bytes);
        let bytes = |chunks: u64| chunks.saturating_mul(chunk_bytes).min(disk.size_bytes);
        let ranges = self.check_node(&root, disk.map_level);
        ranges.into_iter().map(|(start, end)| ByteRange { start: bytes(start), end: bytes(end) }).collect()
    }

    fn check_node(&mut self, id: &Hash, level: u8) -> Vec<(u64, u64)> {
        if let Some(known) = self.bad.get(id) {
            return known.clone();
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
                    let Some(child) = child else { continue };
                    let base = number.saturating_mul(span);
                    if level > 0 {
                        for (start, end) in self.check_node(child, level - 1) {
                            push(base.saturating_add(start), base.saturating_add(end));
                        }
                    } else if !self.is_there(child) {
                        push(base, base + 1);
                    }
                }
            }
            Err(_) => push(0, MapNode::chunks_per_child(level + 1)),
        }
        self.bad.insert(*id, ranges.clone());
        ranges
    }

    /// Whether a reader would get a chunk. The segments say what is there; the index only where to look first.
    fn is_there(&self, chunk: &Hash) -> bool {
        let store = self.vault.reader.store();
        let seen = store.locate(chunk).is_some_and(|place| {
            let whole = self.whole.get(&place.segment).map_or(&[][..], Vec::as_slice);
            whole.binary_search(&Vault::trace(&store.keys().index_tag(chunk), place.offset)).is_ok()
        });
        // Otherwise what a reader would get decides: the record may be whole elsewhere. A role that can't open data
        // can't try, and goes by what was seen whole.
        seen || match store.read(RecordType::Chunk, chunk) {
            Ok(_) => true,
            Err(Error::NotPermitted { .. }) => self.whole_anywhere(chunk),
            Err(_) => false,
        }
    }

    fn whole_anywhere(&self, chunk: &Hash) -> bool {
        let (_, tag) = Vault::trace(&self.vault.reader.store().keys().index_tag(chunk), 0);
        self.whole.values().flatten().any(|(_, of)| *of == tag)
    }
}

fn damaged(point: &PointInfo, disk: &str, range: ByteRange) -> DamagedRange {
    DamagedRange { machine: point.machine.clone(), point: point.name.clone(), disk: disk.to_owned(), range }
}
