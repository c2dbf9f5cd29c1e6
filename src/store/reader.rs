//! Reading records: one at a time by id, or through a cache of decoded ones.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Store;
use super::segments::RecordFault;
use crate::error::{Error, Problem, Result};
use crate::format::map_node::MapNode;
use crate::format::segment::{self, RecordType};
use crate::format::{Hash, hex};

/// Reads a record; looks it up in the segments themselves before it is called damaged.
pub(super) fn read(store: &Store, kind: RecordType, id: &Hash) -> Result<Vec<u8>> {
    let first = match store.locate(id) {
        Some(place) => match store.segments.read(kind, id, &place) {
            Ok(plain) => return Ok(plain),
            Err(RecordFault::Here(error)) => return Err(error),
            Err(RecordFault::Elsewhere(error)) if store.index.distrust() => Some(error),
            Err(RecordFault::Elsewhere(error)) => return Err(error),
        },
        None => None,
    };
    let gone = || {
        let id = hex(&id[..4]);
        Error::damaged(segment::FOLDER, 0, Problem::Unreachable { what: kind.name(), id })
    };
    let place = store.search(id)?.ok_or_else(|| first.unwrap_or_else(gone))?;
    store.segments.read(kind, id, &place).map_err(|fault| match fault {
        RecordFault::Here(error) | RecordFault::Elsewhere(error) => error,
    })
}

/// How much decoded data a reader keeps, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    /// Decoded chunks.
    pub chunk_bytes: u64,
    /// Decoded map nodes.
    pub node_bytes: u64,
}

impl Default for CacheSizes {
    fn default() -> Self {
        Self { chunk_bytes: 128 << 20, node_bytes: 32 << 20 }
    }
}

#[derive(Clone)]
struct ByLength;

impl Weighter<Hash, Arc<Vec<u8>>> for ByLength {
    fn weight(&self, _: &Hash, chunk: &Arc<Vec<u8>>) -> u64 {
        chunk.len() as u64 + 64
    }
}

/// Reads chunks and map nodes through a cache. However many ask for one at once, it is decoded once.
pub struct Reader {
    store: Arc<Store>,
    chunks: Cache<Hash, Arc<Vec<u8>>, ByLength>,
    nodes: Cache<Hash, Arc<MapNode>>,
}

/// Memory of a decoded map node, in bytes.
const NODE_BYTES: u64 = 128 * 33 + 64;

impl Reader {
    /// A reader with caches of the given sizes.
    pub fn new(store: Arc<Store>, sizes: CacheSizes) -> Self {
        let chunk_bytes = u64::from(store.header().chunk_bytes());
        let chunks = usize::try_from(sizes.chunk_bytes / chunk_bytes).unwrap_or(usize::MAX).max(1);
        let nodes = usize::try_from(sizes.node_bytes / NODE_BYTES).unwrap_or(usize::MAX).max(16);
        Self { store, chunks: Cache::with_weighter(chunks, sizes.chunk_bytes, ByLength), nodes: Cache::new(nodes) }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// A chunk's plain bytes.
    pub fn chunk(&self, id: &Hash) -> Result<Arc<Vec<u8>>> {
        self.chunks.get_or_insert_with(id, || self.store.read(RecordType::Chunk, id).map(Arc::new))
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
        let bytes = self.store.read(RecordType::MapNode, id)?;
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
