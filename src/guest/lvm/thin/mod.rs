//! Thin volumes: devices that share the chunks of a pool (`drivers/md/dm-thin-metadata.c`).
//!
//! ```text
//! the first block of the pool's metadata:
//!   0    4  checksum of bytes 4..4096
//!  32    8  magic number
//!  40    4  version, 2
//! 320    8  root of a tree: number of a device -> root of its own tree: chunk of the device -> chunk of the pool
//! 336    4  size of a chunk, in sectors
//! 340    4  size of a block of metadata, in sectors: 8
//! 360    4  features that a reader must know: none are known
//! ```
//!
//! A chunk of the pool is the upper 40 bits of what a device's tree tells, the lower ones are a time. All metadata is
//! written to new places before this block names it, so that what it names is whole whenever the guest stops.

mod node;

use std::sync::Arc;

use crate::guest::bytes::{u32_at, u64_at};
use crate::guest::cache::Cache;
use crate::guest::crc::crc32c;
use crate::guest::{BlockRead, Damage, Error, Fault, MediumError, Object};

use super::pieces::{self, Source, past_end};
use super::problem::Problem;
use node::Node;

const BLOCK_BYTES: usize = 4096;
const BLOCK_SECTORS: u32 = 8;
const CHECKSUM_XOR: u32 = 160_774;
const MAGIC: u64 = 27_022_010;
const VERSION: u32 = 2;
const SECTOR_BYTES: u64 = 512;
/// The kernel takes chunks of 64 KiB to 1 GiB.
const CHUNK_SECTORS: std::ops::RangeInclusive<u32> = 128..=1 << 21;
const TIME_BITS: u32 = 24;
/// A tree of 2^64 entries in nodes that are a third full is less deep.
const LEVELS_MAX: u32 = 12;
/// Blocks of metadata of one pool: the kernel uses no more than 16 GiB of it.
const BLOCK_BITS: u32 = 22;

/// Decoded nodes of all pools of a point: their memory is bounded together.
pub(super) struct Nodes(Cache<Node>);

/// What all nodes together may take.
const NODES_BYTES: u64 = 16 << 20;

impl Default for Nodes {
    fn default() -> Self {
        Self(Cache::new(NODES_BYTES))
    }
}

/// A pool as far as a reader needs it.
struct Pool {
    metadata: Arc<dyn BlockRead>,
    data: Arc<dyn BlockRead>,
    nodes: Arc<Nodes>,
    /// Tells this pool's nodes from those of others.
    number: u64,
    chunk_bytes: u64,
}

/// A thin volume as a disk.
pub(super) struct Thin {
    pool: Pool,
    root: u64,
    size_bytes: u64,
    /// What chunks show that the device does not have; zeros where there is none, and behind its end.
    origin: Option<Arc<dyn BlockRead>>,
}

/// Whether a block's first word is the checksum of the rest, with what its kind adds.
fn checksum(block: &[u8], xor: u32) -> Result<(), Fault> {
    let stored = u32_at(block, 0).ok_or(Fault::CutShort)?;
    let computed = crc32c(u32::MAX, block.get(4..).ok_or(Fault::CutShort)?) ^ xor;
    if stored == computed { Ok(()) } else { Err(Fault::Checksum { stored, computed }) }
}

/// Where a pool's parts lie, and how it is told from the others.
pub(super) struct PoolParts {
    pub metadata: Arc<dyn BlockRead>,
    pub data: Arc<dyn BlockRead>,
    pub nodes: Arc<Nodes>,
    pub number: u64,
}

impl Thin {
    /// Finds a device in a pool.
    pub fn open(
        parts: PoolParts,
        device: u64,
        size_bytes: u64,
        origin: Option<Arc<dyn BlockRead>>,
    ) -> Result<Self, Error> {
        let damaged = |fault| Error::from(Damage { object: Object::ThinSuperblock, fault });
        let mut block = vec![0; BLOCK_BYTES];
        parts.metadata.read_exact_at(0, &mut block)?;
        let word = |at| u32_at(&block, at).unwrap_or_default();
        let field = |field, value: u32| damaged(Fault::Field { field, value: value.into() });
        if u64_at(&block, 32) != Some(MAGIC) {
            return Err(damaged(Fault::Magic));
        }
        checksum(&block, CHECKSUM_XOR).map_err(damaged)?;
        for (name, value, is_known) in [
            ("version", word(40), (1..=VERSION).contains(&word(40))),
            ("data_block_size", word(336), CHUNK_SECTORS.contains(&word(336))),
            ("metadata_block_size", word(340), word(340) == BLOCK_SECTORS),
            ("incompat_flags", word(360), word(360) == 0),
        ] {
            if !is_known {
                return Err(field(name, value));
            }
        }
        let PoolParts { metadata, data, nodes, number } = parts;
        let pool =
            Pool { metadata, data, nodes, number, chunk_bytes: u64::from(word(336)).saturating_mul(SECTOR_BYTES) };
        let root = pool.find(u64_at(&block, 320).unwrap_or_default(), device)?;
        let root = root.ok_or(Problem::NoSuchDevice { device })?;
        Ok(Self { pool, root, size_bytes, origin })
    }

    /// Where a byte lies, and how many from there on lie together.
    fn find(&self, offset: u64) -> Result<(Source<'_>, u64), MediumError> {
        let left = self.size_bytes.checked_sub(offset).filter(|left| *left > 0).ok_or_else(past_end)?;
        let chunk_bytes = self.pool.chunk_bytes;
        let (chunk, within) = (offset.div_euclid(chunk_bytes), offset.rem_euclid(chunk_bytes));
        let together = left.min(chunk_bytes.saturating_sub(within));
        if let Some(value) = self.pool.find(self.root, chunk)? {
            let at = (value >> TIME_BITS).checked_mul(chunk_bytes).and_then(|at| at.checked_add(within));
            return Ok((Source::Device(self.pool.data.as_ref(), at.ok_or_else(past_end)?), together));
        }
        let of_origin = |origin: &Arc<dyn BlockRead>| origin.size_bytes().saturating_sub(offset).min(together);
        Ok(match &self.origin {
            Some(origin) if of_origin(origin) > 0 => (Source::Device(origin.as_ref(), offset), of_origin(origin)),
            _ => (Source::Zeros, together),
        })
    }
}

impl Pool {
    /// What a tree tells of a key.
    fn find(&self, root: u64, key: u64) -> Result<Option<u64>, Error> {
        let mut block = root;
        for _ in 0..LEVELS_MAX {
            let node = self.node(block)?;
            let Some((found, value)) = node.find(key) else { return Ok(None) };
            if node.is_leaf {
                return Ok((found == key).then_some(value));
            }
            block = value;
        }
        Err(Damage { object: Object::ThinNode { block }, fault: Fault::Order }.into())
    }

    fn node(&self, block: u64) -> Result<Arc<Node>, Error> {
        if block >> BLOCK_BITS != 0 {
            return Err(Damage { object: Object::ThinNode { block }, fault: Fault::BlockOutOfRange { block } }.into());
        }
        let key = self.number << BLOCK_BITS | block;
        if let Some(node) = self.nodes.0.get(key) {
            return Ok(node);
        }
        let node = Node::read(self.metadata.as_ref(), block)?;
        let weight = node.weight_bytes();
        Ok(self.nodes.0.insert(key, node, weight))
    }
}

impl BlockRead for Thin {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        pieces::read(offset, buffer, |offset| self.find(offset))
    }
}
