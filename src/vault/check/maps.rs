//! Walking the maps of points: which ranges of which disks lead nowhere.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::report::{DamagedRange, VerifyReport};
use super::{Seen, short_tag};
use crate::error::Error;
use crate::format::Hash;
use crate::format::index_run::Tag;
use crate::format::map_node::MapNode;
use crate::format::segment::RecordType;
use crate::point::{ByteRange, DiskMap, ManifestDisk, PointInfo};
use crate::vault::Vault;

/// What stands for the disk where a point's manifest can't be read.
pub(super) const ALL_DISKS: &str = "(all)";

/// What is known of a chunk that a map names.
enum Found {
    /// It was read in this run, and is whole.
    Read,
    /// It has a place in a segment that this run did not look at.
    Located,
    /// Nobody gets it.
    Lost,
}

/// Walks the maps of points; what is wrong below a node is remembered, so that shared nodes are walked once.
pub(super) struct Maps<'a> {
    vault: &'a Vault,
    seen: &'a Seen,
    /// For each node that was walked: the damaged ranges below it, in chunks from its first.
    bad: HashMap<Hash, Vec<(u64, u64)>>,
    /// Records that were read and are damaged, or are nowhere.
    lost: HashSet<Tag>,
    /// Short tags of all records in the segments that were not looked at.
    elsewhere: OnceCell<HashSet<u32>>,
    chunks_read: u64,
    chunks_located: u64,
}

impl<'a> Maps<'a> {
    pub(super) fn new(vault: &'a Vault, seen: &'a Seen) -> Self {
        Self {
            vault,
            seen,
            bad: HashMap::new(),
            lost: HashSet::new(),
            elsewhere: OnceCell::new(),
            chunks_read: 0,
            chunks_located: 0,
        }
    }

    /// The tags of records that were read and are damaged, or are nowhere.
    pub(super) fn lost(self) -> HashSet<Tag> {
        self.lost
    }

    pub(super) fn check_point(&mut self, point: &PointInfo, report: &mut VerifyReport) {
        report.points += 1;
        match self.vault.manifest(point) {
            Ok(manifest) => {
                for disk in &manifest.disks {
                    for range in self.check_disk(disk) {
                        report.hit.push(damaged(point, &disk.name, range));
                    }
                }
            }
            Err(error) => {
                report.damage.push(error);
                report.hit.push(damaged(point, ALL_DISKS, ByteRange { start: 0, end: 0 }));
            }
        }
        (report.chunks_read, report.chunks_located) = (self.chunks_read, self.chunks_located);
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
                        continue;
                    }
                    match self.look_for(child) {
                        Found::Read => self.chunks_read += 1,
                        Found::Located => self.chunks_located += 1,
                        Found::Lost => push(base, base + 1),
                    }
                }
            }
            Err(_) => {
                self.lost.insert(self.vault.reader.store().keys().index_tag(id));
                push(0, MapNode::chunks_per_child(level + 1));
            }
        }
        self.bad.insert(*id, ranges.clone());
        ranges
    }

    /// What a reader would get of a chunk. The segments say what is there; the index only where to look first.
    fn look_for(&mut self, chunk: &Hash) -> Found {
        let store = self.vault.reader.store();
        let tag = store.keys().index_tag(chunk);
        if let Some(place) = store.locate(chunk) {
            match self.seen.has(&tag, &place) {
                Some(true) => return Found::Read,
                None if self.seen.left.contains(&place.segment) => return Found::Located,
                Some(false) | None => {}
            }
        }
        // Otherwise what a reader would get decides: the record may be whole elsewhere. A role that can't open data
        // can't try, and goes by what was seen whole.
        let found = match store.read(RecordType::Chunk, chunk) {
            Ok(_) => Found::Read,
            Err(Error::NotPermitted { .. }) if self.seen.has_anywhere(&tag) => Found::Read,
            Err(Error::NotPermitted { .. }) if self.is_mendable(chunk) => Found::Read,
            Err(Error::NotPermitted { .. }) if self.is_elsewhere(&tag) => Found::Located,
            Err(_) => Found::Lost,
        };
        if matches!(found, Found::Lost) {
            self.lost.insert(tag);
        }
        found
    }

    /// Whether a chunk is in a segment that parity can mend: then its checksums fit.
    fn is_mendable(&self, chunk: &Hash) -> bool {
        let place = self.vault.reader.store().locate(chunk);
        place.is_some_and(|place| self.seen.mendable.contains(&place.segment))
    }

    /// Whether a segment that was not looked at holds a record, by the segment's own table.
    fn is_elsewhere(&self, tag: &Tag) -> bool {
        let store = self.vault.reader.store();
        let all = || {
            // What can't be read of one segment is no reason not to look into the next.
            let entries = self.seen.left.iter().flat_map(|id| store.segments().entries(id).unwrap_or_default());
            entries.map(|entry| short_tag(&store.keys().index_tag(&entry.id))).collect()
        };
        self.elsewhere.get_or_init(all).contains(&short_tag(tag))
    }
}

fn damaged(point: &PointInfo, disk: &str, range: ByteRange) -> DamagedRange {
    DamagedRange { machine: point.machine.clone(), point: point.name.clone(), disk: disk.to_owned(), range }
}
