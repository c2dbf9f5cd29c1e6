//! Reading a disk through its map.

use std::collections::HashSet;
use std::sync::Arc;

use super::hold::Hold;
use super::manifest::{ByteRange, ManifestDisk};
use super::streams::Streams;
use crate::error::{Error, Problem, Result};
use crate::format::Hash;
use crate::format::map_node::{FANOUT, HIGHEST_LEVEL, MapNode};
use crate::format::segment::RecordType;
use crate::meter::Meter;
use crate::store::Reader;

/// A run of chunks that are alike in being there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// First byte after.
    pub end: u64,
    /// Whether there are chunks; otherwise it is all zeros.
    pub data: bool,
}

/// One disk of a point, readable at any place by any number of threads.
pub struct DiskMap {
    reader: Arc<Reader>,
    name: String,
    root: Option<Hash>,
    level: u8,
    size_bytes: u64,
    chunk_bytes: u64,
    zero_bytes: u64,
    missing: Vec<ByteRange>,
    streams: Streams,
    /// Keeps its point from being purged.
    _held: Option<Hold>,
}

/// What is looked for in a map.
struct Search {
    chunk: u64,
    present: bool,
    until: u64,
    /// Nodes above the lowest that were gone through in vain. A map may name one node as often as it likes, and one that
    /// somebody made up names it 128 times on each level: each is gone through once.
    barren: HashSet<Hash>,
}

impl DiskMap {
    /// The same, of a point that is held.
    pub(crate) fn held_by(self, held: Hold) -> Self {
        Self { _held: Some(held), ..self }
    }

    /// The disk that a manifest describes.
    pub fn open(reader: Arc<Reader>, disk: &ManifestDisk) -> Result<Self> {
        let chunk_bytes = u64::from(disk.chunk_bytes);
        let level = MapNode::root_level(disk.size_bytes.div_ceil(chunk_bytes));
        if disk.map_level != level || level > HIGHEST_LEVEL {
            let why = format!("disk {:?} has a map of level {}", disk.name, disk.map_level);
            return Err(Error::damaged("manifest", 0, Problem::Manifest(why)));
        }
        Ok(Self {
            reader,
            name: disk.name.clone(),
            root: disk.root(),
            level,
            size_bytes: disk.size_bytes,
            chunk_bytes,
            zero_bytes: disk.zero_bytes,
            missing: disk.missing.clone(),
            streams: Streams::default(),
            _held: None,
        })
    }

    /// Where the time goes in reading it.
    pub(crate) fn meter(&self) -> &Meter {
        self.reader.store().meter()
    }

    /// Name of the disk.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ranges that the backup could not read.
    pub fn missing(&self) -> &[ByteRange] {
        &self.missing
    }

    /// Size of the disk in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes that were zero or in holes, as counted when the point was made.
    pub fn zero_bytes(&self) -> u64 {
        self.zero_bytes
    }

    /// Size of its chunks in bytes.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Number of its chunks.
    pub fn chunks(&self) -> u64 {
        self.size_bytes.div_ceil(self.chunk_bytes)
    }

    /// The id of a chunk; `None` where it is all zeros, or past the end.
    pub fn chunk_id(&self, chunk: u64) -> Result<Option<Hash>> {
        // Past the end the numbers would wrap around to the front of the tree.
        self.subtree(chunk, 0)
    }

    /// The id of the child that a node of `level` on the way to `chunk` has there: a chunk at level 0, else a node one
    /// level lower. `None` where it is all zeros or past the end.
    pub fn subtree(&self, chunk: u64, level: u8) -> Result<Option<Hash>> {
        let mut id = self.root.filter(|_| chunk < self.chunks());
        // From the root's level downwards; a child of the level above the root is the root itself.
        for at in (level..=self.level).rev() {
            let Some(node) = id else { break };
            id = self.reader.node(&node, at)?.children[child_of(chunk, at)];
        }
        Ok(id)
    }

    /// The first chunk at or after `chunk` that is there (`present`) or that is all zeros; the number of chunks where
    /// there is none. Passes over whole subtrees.
    pub fn find(&self, chunk: u64, present: bool) -> Result<u64> {
        self.find_until(chunk, present, self.chunks())
    }

    /// The same, but looks no further than up to the chunk `until`, and tells that where there is none before.
    fn find_until(&self, chunk: u64, present: bool, until: u64) -> Result<u64> {
        let until = until.min(self.chunks());
        let mut search = Search { chunk, present, until, barren: HashSet::new() };
        let found = match self.root {
            Some(root) => self.find_below(&root, (self.level, 0), &mut search)?,
            None if present => None,
            None => Some(chunk),
        };
        Ok(found.unwrap_or(u64::MAX).min(until))
    }

    /// Looks below the node `id`, which is of a level and begins at a chunk.
    fn find_below(&self, id: &Hash, (level, base): (u8, u64), search: &mut Search) -> Result<Option<u64>> {
        let Search { chunk, present, until, .. } = *search;
        if search.barren.contains(id) {
            return Ok(None);
        }
        let node = self.reader.node(id, level)?;
        let span = MapNode::chunks_per_child(level);
        let first = usize::try_from(chunk.saturating_sub(base) / span).unwrap_or(FANOUT);
        for (number, child) in (0_u64..).zip(node.children.iter()).skip(first) {
            let start = base.saturating_add(number.saturating_mul(span));
            if start >= until {
                return Ok(Some(until));
            }
            match child {
                Some(id) if level > 0 => {
                    if let Some(found) = self.find_below(id, (level - 1, start), search)? {
                        return Ok(Some(found));
                    }
                }
                child if child.is_some() == present => return Ok(Some(start.max(chunk))),
                _ => {}
            }
        }
        if level > 0 && chunk <= base {
            search.barren.insert(*id);
        }
        Ok(None)
    }

    /// The run of data or zeros that holds the byte at `offset`; `None` at or past the end.
    pub fn extent(&self, offset: u64) -> Result<Option<Extent>> {
        self.extent_until(offset, self.size_bytes)
    }

    /// The same, but looks no further than needed for what lies before the byte `until`.
    fn extent_until(&self, offset: u64, until: u64) -> Result<Option<Extent>> {
        let until = until.min(self.size_bytes);
        if offset >= until {
            return Ok(None);
        }
        let (chunk, last) = (offset / self.chunk_bytes, until.div_ceil(self.chunk_bytes));
        let data = self.chunk_id(chunk)?.is_some();
        let end = self.find_until(chunk, !data, last)?.saturating_mul(self.chunk_bytes).min(self.size_bytes);
        Ok(Some(Extent { start: chunk * self.chunk_bytes, end, data }))
    }

    /// The next data (or, where `data` is false, hole) at or after `offset`; the end of the disk counts as a hole.
    pub fn seek(&self, offset: u64, data: bool) -> Result<Option<u64>> {
        if offset >= self.size_bytes {
            return Ok(None);
        }
        let chunk = offset / self.chunk_bytes;
        if self.chunk_id(chunk)?.is_some() == data {
            return Ok(Some(offset));
        }
        let found = self.find(chunk, data)?;
        if found < self.chunks() {
            return Ok(Some(found * self.chunk_bytes));
        }
        Ok(if data { None } else { Some(self.size_bytes) })
    }

    /// How many bytes from `start` up to `end` lie in chunks that are stored.
    pub fn data_bytes(&self, start: u64, end: u64) -> Result<u64> {
        let (mut at, mut total) = (start, 0);
        // A disk without holes is one extent: to ask for all of it would be to walk the whole map.
        while let Some(extent) = self.extent_until(at, end)? {
            if extent.data {
                total += extent.end.min(end) - at;
            }
            at = extent.end;
        }
        Ok(total)
    }

    /// Length of a chunk in bytes; the last may be shorter.
    pub fn chunk_length(&self, chunk: u64) -> u64 {
        self.size_bytes.saturating_sub(chunk.saturating_mul(self.chunk_bytes)).min(self.chunk_bytes)
    }

    /// Puts the plain bytes of a chunk into `plain`, past the cache, for a reader that comes by once; false where it is
    /// all zeros. Bytes that the backup could not read are zeros here: see [`Self::missing`].
    pub fn chunk_uncached(&self, chunk: u64, plain: &mut Vec<u8>) -> Result<bool> {
        let Some(id) = self.chunk_id(chunk)? else {
            return Ok(false);
        };
        self.reader.store().read_into(RecordType::Chunk, &id, plain)?;
        self.check_length(chunk, plain)?;
        Ok(true)
    }

    fn check_length(&self, chunk: u64, plain: &[u8]) -> Result<()> {
        let (expected, found) = (self.chunk_length(chunk), plain.len() as u64);
        if expected == found {
            return Ok(());
        }
        let object = format!("disk {} of a point", self.name);
        Err(Error::damaged(object, chunk * self.chunk_bytes, Problem::Length { expected, found }))
    }

    /// Fails where a range holds bytes that the backup could not read.
    fn check_missing(&self, start: u64, length: u64) -> Result<()> {
        let end = start.saturating_add(length);
        match self.missing.iter().find(|range| range.start < end && start < range.end) {
            None => Ok(()),
            Some(range) => Err(Error::Missing { disk: self.name.clone(), start: range.start, end: range.end }),
        }
    }

    /// Fills `buffer` from `offset` on; returns the bytes read, fewer than asked only at the end of the disk.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let left = self.size_bytes.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.check_missing(offset, length as u64)?;
        self.look_ahead(offset, length as u64);
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let (chunk, within) = (at / self.chunk_bytes, usize::try_from(at % self.chunk_bytes).unwrap_or(0));
            let take = usize::try_from(self.chunk_length(chunk)).unwrap_or(0).saturating_sub(within).min(length - done);
            let out = &mut buffer[done..done + take];
            match self.chunk_id(chunk)? {
                None => out.fill(0),
                Some(id) => {
                    let plain = self.reader.chunk(&id)?;
                    self.check_length(chunk, &plain)?;
                    out.copy_from_slice(&plain[within..within + take]);
                }
            }
            done += take;
        }
        Ok(length)
    }

    /// Has what will be read next decoded on other cores.
    fn look_ahead(&self, offset: u64, length: u64) {
        let most = self.reader.most_ahead();
        let Some(last) = length.checked_sub(1).filter(|_| most > 0) else { return };
        let chunks = self.streams.note(offset / self.chunk_bytes, (offset + last) / self.chunk_bytes, most);
        for chunk in chunks.start..chunks.end.min(self.chunks()) {
            match self.chunk_id(chunk) {
                Ok(Some(id)) if !self.reader.decode_ahead(&id) => break,
                // What can't be read is told when it is asked for.
                _ => {}
            }
        }
    }

    /// The ranges that differ between two disks, chunk by chunk, equal subtrees passed over; the longer disk's tail
    /// differs unless it is zeros.
    pub fn diff(&self, other: &Self) -> Result<Vec<ByteRange>> {
        let mut ranges: Vec<ByteRange> = Vec::new();
        let mut push = |start: u64, end: u64| match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start < end => ranges.push(ByteRange { start, end }),
            _ => {}
        };
        if self.chunk_bytes != other.chunk_bytes {
            push(0, self.size_bytes.max(other.size_bytes));
            return Ok(ranges);
        }
        let level = self.level.max(other.level);
        let roots = (self.lifted(level), other.lifted(level));
        self.diff_below(other, roots, level, 0, &mut |chunk, count| {
            let most = self.size_bytes.max(other.size_bytes);
            // A map that a key holder made by hand may name chunks past any end.
            let byte = |chunk: u64| chunk.saturating_mul(self.chunk_bytes).min(most);
            push(byte(chunk), byte(chunk.saturating_add(count)));
        })?;
        Ok(ranges)
    }

    /// The root as the first child of as many levels as make it `level` high.
    fn lifted(&self, level: u8) -> Subtree {
        Subtree { id: self.root, above: level - self.level }
    }

    fn diff_below(
        &self,
        other: &Self,
        (mine, theirs): (Subtree, Subtree),
        level: u8,
        base: u64,
        differ: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        if mine == theirs || (mine.id.is_none() && theirs.id.is_none()) {
            return Ok(());
        }
        let (mine, theirs) = (mine.children(&self.reader, level)?, theirs.children(&other.reader, level)?);
        let span = MapNode::chunks_per_child(level);
        for ((number, mine), theirs) in (0_u64..).zip(mine).zip(theirs) {
            let start = base.saturating_add(number.saturating_mul(span));
            if level > 0 {
                self.diff_below(other, (mine, theirs), level - 1, start, differ)?;
            } else if mine.id != theirs.id {
                differ(start, 1);
            }
        }
        Ok(())
    }
}

/// A subtree, perhaps of a map that is lower than the one it is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Subtree {
    id: Option<Hash>,
    above: u8,
}

impl Subtree {
    fn children(self, reader: &Reader, level: u8) -> Result<Vec<Self>> {
        let nothing = Self { id: None, above: 0 };
        let mut children = vec![nothing; FANOUT];
        match self.id {
            None => {}
            Some(_) if self.above > 0 => children[0] = Self { id: self.id, above: self.above - 1 },
            Some(id) => {
                let node = reader.node(&id, level)?;
                for (out, id) in children.iter_mut().zip(node.children.iter()) {
                    *out = Self { id: *id, above: 0 };
                }
            }
        }
        Ok(children)
    }
}

fn child_of(chunk: u64, level: u8) -> usize {
    usize::try_from(chunk / MapNode::chunks_per_child(level) % FANOUT as u64).unwrap_or(0)
}
