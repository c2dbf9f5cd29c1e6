//! The mapper: puts the chunk ids of each disk in order and builds the disk maps.

use std::collections::BTreeMap;

use super::{BackupDisk, Progress, store_node};
use crate::error::{Error, Result};
use crate::format::Hash;
use crate::format::map_node::MapNode;
use crate::point::{ByteRange, DiskMap, ManifestDisk, MapBuilder};
use crate::store::{Store, Writer};
use crate::sync::Arc;
use crate::sync::channel::Receiver;

/// Ids of consecutive chunks.
pub(super) enum Ids {
    /// One by one; `None` is all zeros.
    Chunks(Vec<Option<Hash>>),
    /// So many chunks of zeros.
    Zeros(u64),
    /// So many chunks that are as they were in the base.
    Unchanged(u64),
}

/// Chunks of a disk that are dealt with.
pub(super) struct Done {
    /// The disk's number in the request.
    pub disk: usize,
    /// Number of the first chunk.
    pub first: u64,
    pub ids: Ids,
    /// Ranges of the disk that could not be read.
    pub missing: Vec<ByteRange>,
}

struct Disk<'a> {
    builder: MapBuilder<'a>,
    base: Option<&'a DiskMap>,
    next: u64,
    chunks: u64,
    /// What came before its turn; bounded by the pieces that are under way.
    early: BTreeMap<u64, Ids>,
    missing: Vec<ByteRange>,
}

/// Builds all maps; returns what the manifest says of each disk.
pub(super) fn run(
    done: &Receiver<Done>,
    writer: &Writer,
    store: &Store,
    disks: &[BackupDisk],
    bases: &[Option<Arc<DiskMap>>],
    progress: &Progress,
) -> Result<Vec<ManifestDisk>> {
    let chunk_bytes = store.header().chunk_bytes();
    let keep = |node: &MapNode| store_node(writer, store, node);
    let mut maps: Vec<Disk<'_>> = disks
        .iter()
        .zip(bases)
        .map(|(disk, base)| {
            let chunks = disk.source.size_bytes().div_ceil(u64::from(chunk_bytes));
            Disk {
                builder: MapBuilder::new(chunks, &keep),
                base: base.as_deref(),
                next: 0,
                chunks,
                early: BTreeMap::new(),
                missing: Vec::new(),
            }
        })
        .collect();
    for Done { disk, first, ids, missing } in done {
        let map = maps.get_mut(disk).ok_or(Error::Poisoned)?;
        map.missing.extend(missing);
        if map.missing.len() > 2 * MOST_MISSING {
            map.missing = joined(std::mem::take(&mut map.missing));
        }
        map.early.insert(first, ids);
        map.advance()?;
    }
    let mut described = Vec::with_capacity(disks.len());
    for ((disk, map), counted) in disks.iter().zip(maps).zip(progress.disks()) {
        if map.next != map.chunks {
            // A scout or worker stopped early; it tells why.
            return Err(Error::Poisoned);
        }
        let map_level = map.builder.root_level();
        let root = map.builder.finish()?;
        described.push(ManifestDisk {
            name: disk.name.clone(),
            size_bytes: disk.source.size_bytes(),
            chunk_bytes,
            map: ManifestDisk::map_text(root),
            map_level,
            read_bytes: counted.read_bytes(),
            zero_bytes: counted.zero_bytes(),
            new_bytes: counted.new_bytes(),
            stored_bytes: counted.stored_bytes(),
            missing: joined(map.missing),
        });
    }
    Ok(described)
}

impl Disk<'_> {
    fn advance(&mut self) -> Result<()> {
        while let Some(ids) = self.early.remove(&self.next) {
            match ids {
                Ids::Zeros(count) => {
                    self.builder.push_zeros(count)?;
                    self.next += count;
                }
                Ids::Unchanged(count) => {
                    let base = self.base.ok_or(Error::Poisoned)?;
                    self.builder.push_unchanged(base, self.next, count)?;
                    self.next += count;
                }
                Ids::Chunks(ids) => {
                    self.next += ids.len() as u64;
                    ids.into_iter().try_for_each(|id| self.builder.push(id))?;
                }
            }
        }
        Ok(())
    }
}

/// Most ranges of a disk that are listed as missing: the manifest must stay a record of reasonable size.
const MOST_MISSING: usize = 4096;

/// Ranges in order, those that touch made one. Where there are too many, those with the smallest gaps between them are
/// made one too: better that a little more counts as missing than that a dying disk can't be backed up.
fn joined(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.sort_unstable();
    let mut gap = 0;
    loop {
        ranges.dedup_by(|later, earlier| {
            let touches = later.start <= earlier.end.saturating_add(gap);
            if touches {
                earlier.end = earlier.end.max(later.end);
            }
            touches
        });
        if ranges.len() <= MOST_MISSING {
            return ranges;
        }
        gap = (gap * 2).max(4096);
    }
}
