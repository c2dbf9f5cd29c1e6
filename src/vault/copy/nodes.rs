//! Copying disk maps with all that is below them: a node of the source becomes one of the same shape in the target.
//!
//! Nothing is read below a node of which the target is known to have the same: because an earlier point has it at the same
//! place and was copied, or because this call met it before. What is known is asked for in the target all the same, down to
//! each chunk's place: that it was there once is not enough.

use quick_cache::sync::Cache;

use crate::error::{Error, Problem, Result};
use crate::format::map_node::{FANOUT, MapNode};
use crate::format::segment::{self, RecordType};
use crate::format::{Hash, hex};
use crate::meter::Stage;
use crate::progress::Progress;
use crate::store::{Buffers, Found, Opened, Reader, Stored, Writer};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::vault::parallel::each;

/// Most ids that are remembered, some 20 MiB: of what was forgotten the chunks are read again, and found to be known.
const MOST_REMEMBERED: usize = 1 << 17;

/// Lost ranges of a point after which nobody looks for more.
pub(super) const MOST_LOST: usize = 256;

/// Which record of the target is what a record of the source is. Both kinds of ids are keyed: no node is taken for a chunk.
pub(super) struct Memory(Cache<Hash, Hash>);

impl Memory {
    pub(super) fn new() -> Self {
        Self(Cache::new(MOST_REMEMBERED))
    }
}

/// Nodes of the target below which everything is there, for as long as nobody may remove any of it: as while one point is
/// made.
pub(super) struct Whole(Cache<Hash, ()>);

impl Whole {
    pub(super) fn new() -> Self {
        Self(Cache::new(MOST_REMEMBERED))
    }
}

/// A node of the source, and the one of the target that is the same.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub here: Hash,
    pub there: Hash,
}

/// What of a point could not be read.
#[derive(Default)]
pub(super) struct Lost {
    /// Disk, first chunk, and first chunk after.
    pub ranges: Vec<(usize, u64, u64)>,
    /// The first error.
    pub error: Option<Error>,
}

/// Bytes of chunks, for one disk.
#[derive(Default)]
pub(super) struct Counts {
    pub read: AtomicU64,
    pub new: AtomicU64,
    pub stored: AtomicU64,
}

/// What is needed to copy the maps of one point.
pub(super) struct Nodes<'a> {
    pub source: &'a Reader,
    pub target: &'a Reader,
    pub writer: &'a Writer,
    pub memory: &'a Memory,
    pub progress: &'a Progress,
    pub whole: &'a Whole,
    pub lost: Mutex<Lost>,
}

/// A disk whose map is copied.
pub(super) struct Disk<'a> {
    pub number: usize,
    pub size_bytes: u64,
    pub chunk_bytes: u64,
    pub counts: &'a Counts,
}

impl Disk<'_> {
    /// Bytes of the disk in so many chunks from `first` on.
    fn bytes(&self, first: u64, chunks: u64) -> u64 {
        let byte = |chunk: u64| chunk.saturating_mul(self.chunk_bytes).min(self.size_bytes);
        byte(first.saturating_add(chunks)) - byte(first)
    }
}

impl Nodes<'_> {
    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What could not be read so far.
    pub(super) fn into_lost(self) -> Lost {
        self.lost.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that chunks can't be read.
    pub(super) fn lose(&self, disk: &Disk<'_>, first: u64, chunks: u64, error: Error) -> Result<()> {
        if matches!(error, Error::NotPermitted { .. }) {
            return Err(error);
        }
        let mut lost = self.lost();
        lost.ranges.push((disk.number, first, first.saturating_add(chunks)));
        lost.error.get_or_insert(error);
        Ok(())
    }

    fn is_given_up(&self) -> bool {
        self.lost().ranges.len() >= MOST_LOST
    }

    /// Copies the node `id` of a level, which begins at chunk `first` of a disk, with all that is below. `base` is what
    /// an earlier point has at the same place. `None` where something could not be read.
    pub(super) fn subtree(
        &self,
        disk: &Disk<'_>,
        (id, level, first): (&Hash, u8, u64),
        base: Option<Pair>,
    ) -> Result<Option<Hash>> {
        self.progress.check()?;
        if self.is_given_up() {
            return Ok(None);
        }
        let span = MapNode::chunks_per_child(level);
        let same = base.filter(|base| base.here == *id).map(|base| base.there);
        if let Some(there) = same.or_else(|| self.memory.0.get(id))
            && self.is_whole(&there, level)?
        {
            self.memory.0.insert(*id, there);
            self.progress.add_done(disk.bytes(first, span.saturating_mul(FANOUT as u64)));
            return Ok(Some(there));
        }
        let node = match self.source.node_uncached(id, level) {
            Ok(node) => node,
            Err(error) => {
                self.lose(disk, first, span.saturating_mul(FANOUT as u64), error)?;
                return Ok(None);
            }
        };
        let base = base.and_then(|base| {
            Some((self.source.node(&base.here, level).ok()?, self.target.node(&base.there, level).ok()?))
        });
        let pair = |number: usize| {
            let (here, there) = base.as_ref()?;
            Some(Pair { here: here.children[number]?, there: there.children[number]? })
        };
        let children: Vec<(usize, Hash)> =
            node.children.iter().enumerate().filter_map(|(number, child)| Some((number, (*child)?))).collect();
        let start = |number: usize| first.saturating_add((number as u64).saturating_mul(span));
        let copied = if level == 0 {
            self.chunks(disk, first, &children, &pair)?
        } else {
            let copy =
                |&(number, id): &(usize, Hash)| self.subtree(disk, (&id, level - 1, start(number)), pair(number));
            if level == 1 {
                // The nodes of chunks, many at once.
                each(&children, self.progress, copy)?
            } else {
                children.iter().map(copy).collect::<Result<_>>()?
            }
        };
        let absent = (0..FANOUT).filter(|number| level == 0 || node.children[*number].is_none());
        self.progress.add_done(absent.map(|number| disk.bytes(start(number), span)).sum());
        let mut made = MapNode::empty(level);
        for ((number, _), there) in children.iter().zip(copied) {
            let Some(there) = there else { return Ok(None) };
            made.children[*number] = Some(there);
        }
        let plain = made.encode();
        let there = self.target.store().id_of(RecordType::MapNode, &plain);
        self.writer.store(RecordType::MapNode, &there, &plain)?;
        self.memory.0.insert(*id, there);
        Ok(Some(there))
    }

    /// Copies the chunks below a node of level 0.
    fn chunks(
        &self,
        disk: &Disk<'_>,
        first: u64,
        children: &[(usize, Hash)],
        pair: &dyn Fn(usize) -> Option<Pair>,
    ) -> Result<Vec<Option<Hash>>> {
        let mut buffers = Buffers::default();
        let mut copied = Vec::with_capacity(children.len());
        for (number, id) in children {
            self.progress.check()?;
            let same = pair(*number).filter(|base| base.here == *id).map(|base| base.there);
            let known = same.or_else(|| self.memory.0.get(id));
            if let Some(there) = known.filter(|there| self.writer.has(there)) {
                copied.push(Some(there));
                continue;
            }
            match self.source.store().open_anywhere(RecordType::Chunk, id, &mut buffers) {
                Ok(found) => {
                    let there = self.chunk(&found, disk.counts)?;
                    self.memory.0.insert(*id, there);
                    copied.push(Some(there));
                }
                Err(error) => {
                    self.lose(disk, first.saturating_add(*number as u64), 1, error)?;
                    copied.push(None);
                    if self.is_given_up() {
                        copied.resize(children.len(), None);
                        break;
                    }
                }
            }
        }
        Ok(copied)
    }

    /// Stores a chunk in the target, as it is compressed.
    fn chunk(&self, found: &Found<'_>, counts: &Counts) -> Result<Hash> {
        let (Found::Opened(Opened { plain, .. }) | Found::Plain(plain)) = found;
        let store = self.target.store();
        let id = store.meter().time(Stage::Hash, plain.len(), || store.id_of(RecordType::Chunk, plain));
        let stored = match found {
            Found::Opened(Opened { encoding, encoded, .. }) => {
                let plain_bytes = u32::try_from(plain.len()).map_err(|_| Error::Poisoned)?;
                self.writer.store_encoded(RecordType::Chunk, &id, *encoding, plain_bytes, encoded)?
            }
            Found::Plain(plain) => self.writer.store(RecordType::Chunk, &id, plain)?,
        };
        let bytes = plain.len() as u64;
        counts.read.fetch_add(bytes, Ordering::Relaxed);
        if let Stored::New { place } = stored {
            counts.new.fetch_add(bytes, Ordering::Relaxed);
            counts.stored.fetch_add(u64::from(place.stored_bytes), Ordering::Relaxed);
        }
        Ok(id)
    }

    fn is_whole(&self, there: &Hash, level: u8) -> Result<bool> {
        match self.look(there, level) {
            Ok(()) => Ok(true),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            // It is copied like any other.
            Err(_) => Ok(false),
        }
    }

    /// Fails where a node of the target, or anything below it, is not there.
    pub(super) fn look(&self, there: &Hash, level: u8) -> Result<()> {
        if self.whole.0.get(there).is_some() {
            return Ok(());
        }
        self.progress.check()?;
        // A node that is still in memory may be gone.
        self.is_located(RecordType::MapNode, there)?;
        let node: Arc<MapNode> = self.target.node(there, level)?;
        let children: Vec<&Hash> = node.children.iter().flatten().collect();
        match level {
            0 => children.iter().try_for_each(|chunk| self.is_located(RecordType::Chunk, chunk))?,
            1 => drop(each(&children, self.progress, |child| self.look(child, 0))?),
            _ => children.iter().try_for_each(|child| self.look(child, level - 1))?,
        }
        self.whole.0.insert(*there, ());
        Ok(())
    }

    fn is_located(&self, kind: RecordType, id: &Hash) -> Result<()> {
        if self.writer.has(id) {
            return Ok(());
        }
        let (what, id) = (kind.name(), hex(&id[..4]));
        Err(Error::damaged(segment::FOLDER, 0, Problem::Unreachable { what, id }))
    }
}
