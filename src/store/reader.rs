//! Reading records: one at a time by id, or through a cache of decoded ones.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::ahead::Ahead;
use super::segments::RecordFault;
use super::{Place, Store};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::format::map_node::MapNode;
use crate::format::segment::{self, RecordType};
use crate::format::{Hash, hex};
use crate::meter::Stage;

/// Why a record was not at a place.
enum Miss {
    /// The index knows no place.
    Unknown,
    /// The place holds something else.
    Elsewhere(Error),
    /// The record is there, and damaged or not to be had.
    Here(Error),
}

impl Miss {
    /// Whether the record may be in a segment that is newer than what is known of the vault: nothing is known of it, or
    /// the segment is gone that it was in.
    fn may_have_moved(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Elsewhere(_) => false,
            Self::Here(error) => error.is_absent(),
        }
    }
}

/// Reads a record. Before it is called damaged it is looked for with all means: among what others published since, by the
/// segments' own tables, and in any other segment that holds it too.
pub(super) fn read(store: &Store, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> Result<()> {
    let mut miss = match read_located(store, kind, id, plain) {
        Ok(()) => return Ok(()),
        Err(miss) => miss,
    };
    if miss.may_have_moved() {
        store.refresh()?;
        miss = match read_located(store, kind, id, plain) {
            Ok(()) => return Ok(()),
            Err(miss) => miss,
        };
    }
    if (miss.may_have_moved() || matches!(miss, Miss::Elsewhere(_)))
        && let Some(place) = store.locate_in_tables(id)?
    {
        miss = match read_at(store, kind, id, &place, plain) {
            Ok(()) => return Ok(()),
            Err(miss) => miss,
        };
    }
    let error = match miss {
        Miss::Here(error) if !matches!(error, Error::Damaged(_)) => return Err(error),
        Miss::Here(error) | Miss::Elsewhere(error) => error,
        Miss::Unknown => {
            let id = hex(&id[..4]);
            Error::damaged(segment::FOLDER, 0, Problem::Unreachable { what: kind.name(), id })
        }
    };
    if read_twin(store, kind, id, plain)? { Ok(()) } else { Err(error) }
}

/// The same without a search: false where the record is not, whole, at a place that index or tables tell.
pub(super) fn read_placed(store: &Store, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> Result<bool> {
    match read_located(store, kind, id, plain) {
        Ok(()) => return Ok(true),
        Err(Miss::Here(error)) if matches!(error, Error::NotPermitted { .. }) => return Err(error),
        Err(_) => {}
    }
    let place = store.locate_in_tables(id)?;
    Ok(place.is_some_and(|place| read_at(store, kind, id, &place, plain).is_ok()))
}

fn read_located(store: &Store, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> std::result::Result<(), Miss> {
    read_at(store, kind, id, &store.locate(id).ok_or(Miss::Unknown)?, plain)
}

fn read_at(
    store: &Store,
    kind: RecordType,
    id: &Hash,
    place: &Place,
    plain: &mut Vec<u8>,
) -> std::result::Result<(), Miss> {
    store.segments.read(kind, id, place, plain).map_err(|fault| match fault {
        RecordFault::Here(error) => Miss::Here(error),
        RecordFault::Elsewhere(error) => Miss::Elsewhere(error),
    })?;
    // Authentication says that somebody who may add points sealed these bytes under this id. Only the id itself says
    // that they are the chunk: the thief of a `backup` key must not change what older points read.
    if store.meter.time(Stage::Rehash, plain.len(), || store.id_of(kind, plain)) == *id {
        return Ok(());
    }
    let problem = Problem::Authentication("record id");
    Err(Miss::Here(Error::damaged(segment::object(&place.segment), place.offset, problem)))
}

/// The same record from another segment: two writers may have stored it at once. Records that have none are remembered,
/// since this reads the tables of all segments.
fn read_twin(store: &Store, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> Result<bool> {
    // Another backup may have stored it again since.
    store.refresh()?;
    let rotated = || Error::Rotated { since_unix_seconds: None };
    if let Some(is_newer) = store.hopeless.get(id) {
        return if is_newer { Err(rotated()) } else { Ok(false) };
    }
    let (mut failed, mut is_newer) = (None, false);
    for segment in store.segments.list()? {
        // What can't be read of one segment is no reason not to look into the next. But a record that is not found is not
        // lost where the medium did not let us look.
        let entries = store.segments.entries(&segment).unwrap_or_else(|error| {
            is_newer |= error.needs_newer_keys();
            failed = failed.take().or_else(|| (error.kind() == ErrorKind::Medium).then_some(error));
            Vec::new()
        });
        for entry in entries {
            let place = Place {
                segment,
                offset: entry.offset,
                stored_bytes: entry.stored_bytes,
                plain_bytes: entry.plain_bytes,
            };
            if entry.id == *id && read_at(store, kind, id, &place, plain).is_ok() {
                // Where it can't be remembered it is looked for again.
                let _ = store.index.correct(store.keys.index_tag(id), place);
                return Ok(true);
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let is_newer = is_newer && store.is_rotated();
    store.hopeless.insert(*id, is_newer);
    // It may have been moved under keys that came since.
    if is_newer { Err(rotated()) } else { Ok(false) }
}

/// How much decoded data a reader keeps, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    /// Decoded chunks; at least four of them are kept whatever this says.
    pub chunk_bytes: u64,
    /// Decoded map nodes.
    pub node_bytes: u64,
}

impl Default for CacheSizes {
    fn default() -> Self {
        Self { chunk_bytes: 128 << 20, node_bytes: 32 << 20 }
    }
}

/// What a chunk in the cache costs beside its bytes.
const ENTRY_BYTES: u64 = 64;

#[derive(Clone)]
struct ByLength;

impl Weighter<Hash, Arc<Vec<u8>>> for ByLength {
    fn weight(&self, _: &Hash, chunk: &Arc<Vec<u8>>) -> u64 {
        chunk.len() as u64 + ENTRY_BYTES
    }
}

/// The cache of decoded chunks. However many ask for one at once, it is decoded once.
pub(super) struct Chunks {
    store: Arc<Store>,
    cache: Cache<Hash, Arc<Vec<u8>>, ByLength>,
}

impl Chunks {
    /// A chunk's plain bytes.
    pub(super) fn get(&self, id: &Hash) -> Result<Arc<Vec<u8>>> {
        self.cache.get_or_insert_with(id, || self.store.read(RecordType::Chunk, id).map(Arc::new))
    }

    /// Decodes a chunk for whoever asks for it soon. One that is not whole where the index says is left to them: nobody
    /// need go through all segments for a guess.
    pub(super) fn get_ahead(&self, id: &Hash) {
        let decode = || {
            let mut plain = Vec::new();
            read_located(&self.store, RecordType::Chunk, id, &mut plain).map(|()| Arc::new(plain))
        };
        let _ = self.cache.get_or_insert_with(id, decode);
    }
}

/// Half of the room is for what was asked for once. That is what is decoded ahead, and it must stay until its reader
/// comes; shards are few for the same reason, as the fullest of them decides.
fn chunk_cache(chunks: usize, bytes: u64) -> Cache<Hash, Arc<Vec<u8>>, ByLength> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(chunks)
        .weight_capacity(bytes)
        .hot_allocation(0.5)
        .shards((chunks / CHUNKS_PER_SHARD).clamp(1, 4 * crate::cores()))
        .build()
        .expect("all that must be set is set");
    Cache::with_options(options, ByLength, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

/// Fewest chunks for which a shard is worth its while.
const CHUNKS_PER_SHARD: usize = 128;

/// Reads chunks and map nodes through caches.
pub struct Reader {
    chunks: Arc<Chunks>,
    nodes: Cache<Hash, Arc<MapNode>>,
    ahead: Ahead,
    /// Chunks that may be decoded ahead for one stream.
    most_ahead: u64,
}

/// Memory of a decoded map node, in bytes.
const NODE_BYTES: u64 = 128 * 33 + 64;

/// Bytes that are decoded ahead for a stream: a few requests of the kernel's.
const AHEAD_BYTES: u64 = 4 << 20;

impl Reader {
    /// A reader with caches of the given sizes.
    pub fn new(store: Arc<Store>, sizes: CacheSizes) -> Self {
        let chunk_bytes = u64::from(store.header().chunk_bytes());
        // Fewer than four would not be kept at all: half of the room must hold one.
        let cache_bytes = sizes.chunk_bytes.max(4 * (chunk_bytes + ENTRY_BYTES));
        let chunks = usize::try_from(cache_bytes / chunk_bytes).unwrap_or(usize::MAX);
        let nodes = usize::try_from(sizes.node_bytes / NODE_BYTES).unwrap_or(usize::MAX).max(16);
        // Several streams must fit, or what was decoded for one would push out the other's.
        let most_ahead = AHEAD_BYTES.min(cache_bytes / 4) / chunk_bytes;
        let chunks = Arc::new(Chunks { store, cache: chunk_cache(chunks, cache_bytes) });
        Self { chunks, nodes: Cache::new(nodes), ahead: Ahead::default(), most_ahead }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<Store> {
        &self.chunks.store
    }

    /// A chunk's plain bytes.
    pub fn chunk(&self, id: &Hash) -> Result<Arc<Vec<u8>>> {
        self.chunks.get(id)
    }

    /// Chunks that may be decoded ahead for one stream.
    pub(crate) fn most_ahead(&self) -> u64 {
        self.most_ahead
    }

    /// Has a chunk decoded by others, for whoever asks for it soon; false where nobody has time for more.
    pub(crate) fn decode_ahead(&self, id: &Hash) -> bool {
        self.chunks.cache.contains_key(id) || self.ahead.wish(&self.chunks, id)
    }

    /// A map node, which must be of `level`.
    pub fn node(&self, id: &Hash, level: u8) -> Result<Arc<MapNode>> {
        let node = self.nodes.get_or_insert_with(id, || self.load_node(id).map(Arc::new))?;
        check_level(id, &node, level)?;
        Ok(node)
    }

    /// A map node as it is stored now, past the cache: a check must not be told what was once read.
    pub fn node_uncached(&self, id: &Hash, level: u8) -> Result<MapNode> {
        let node = self.load_node(id)?;
        check_level(id, &node, level)?;
        Ok(node)
    }

    fn load_node(&self, id: &Hash) -> Result<MapNode> {
        let bytes = self.store().read(RecordType::MapNode, id)?;
        MapNode::decode(&bytes).map_err(|error| error.at(&node_name(id), 0))
    }
}

fn node_name(id: &Hash) -> String {
    format!("map node {}", hex(&id[..4]))
}

/// Content-addressed nodes can't form a loop, but a map that hangs one in at a wrong depth is refused all the same.
fn check_level(id: &Hash, node: &MapNode, level: u8) -> Result<()> {
    if node.level == level { Ok(()) } else { Err(Error::damaged(node_name(id), 12, Problem::Field("level"))) }
}
