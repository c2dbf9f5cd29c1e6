//! A node of one of a pool's trees (`drivers/md/persistent-data/dm-btree-internal.h`).
//!
//! ```text
//!   0    4  checksum of bytes 4..4096
//!   4    4  flags: 1 inner node, 2 leaf
//!   8    8  number of this block
//!  16    4  number of entries
//!  20    4  number of entries that there is room for
//!  24    4  size of a value, in bytes
//!  32       keys, 8 bytes each, ascending; behind the room for all of them the values
//! ```

use crate::guest::bytes::{slice_at, u32_at, u64_at};
use crate::guest::{BlockRead, Damage, Error, Fault, Object};

use super::{BLOCK_BYTES, checksum};

const CHECKSUM_XOR: u32 = 121_107;
const INNER: u32 = 1;
const LEAF: u32 = 2;
const HEADER_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;

/// A node whose values are numbers: those of blocks below, or what its tree is for.
pub(super) struct Node {
    pub is_leaf: bool,
    keys: Vec<u64>,
    values: Vec<u64>,
}

impl Node {
    /// Reads and checks a block of a pool's metadata.
    pub fn read(metadata: &dyn BlockRead, block: u64) -> Result<Self, Error> {
        let damaged = |fault| Error::from(Damage { object: Object::ThinNode { block }, fault });
        let mut bytes = vec![0; BLOCK_BYTES];
        let length = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
        let at = block
            .checked_mul(length)
            .filter(|at| at.checked_add(length).is_some_and(|end| end <= metadata.size_bytes()));
        let Some(at) = at else { return Err(damaged(Fault::BlockOutOfRange { block })) };
        metadata.read_exact_at(at, &mut bytes)?;
        checksum(&bytes, CHECKSUM_XOR).map_err(damaged)?;
        let word = |at| u32_at(&bytes, at).unwrap_or_default();
        let field = |field, value: u32| damaged(Fault::Field { field, value: value.into() });
        if u64_at(&bytes, 8) != Some(block) {
            return Err(damaged(Fault::Field { field: "blocknr", value: u64_at(&bytes, 8).unwrap_or_default() }));
        }
        let is_leaf = match word(4) {
            LEAF => true,
            INNER => false,
            flags => return Err(field("flags", flags)),
        };
        let (count, room) =
            (usize::try_from(word(16)).unwrap_or(usize::MAX), usize::try_from(word(20)).unwrap_or(usize::MAX));
        if count > room {
            return Err(field("nr_entries", word(16)));
        }
        if usize::try_from(word(24)) != Ok(NUMBER_BYTES) {
            return Err(field("value_size", word(24)));
        }
        let room_bytes = room.checked_mul(NUMBER_BYTES);
        let values_at = room_bytes.and_then(|keys| keys.checked_add(HEADER_BYTES));
        let numbers = |at: Option<usize>| {
            let bytes = at.and_then(|at| slice_at(&bytes, at, room_bytes?))?;
            Some(bytes.chunks_exact(NUMBER_BYTES).take(count).filter_map(|bytes| u64_at(bytes, 0)).collect::<Vec<_>>())
        };
        let (Some(keys), Some(values)) = (numbers(Some(HEADER_BYTES)), numbers(values_at)) else {
            return Err(field("max_entries", word(20)));
        };
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(damaged(Fault::Order));
        }
        Ok(Self { is_leaf, keys, values })
    }

    /// About what it takes in memory.
    pub fn weight_bytes(&self) -> u64 {
        let numbers = self.keys.len().saturating_add(self.values.len()).saturating_mul(NUMBER_BYTES);
        u64::try_from(numbers.saturating_add(size_of::<Self>())).unwrap_or(u64::MAX)
    }

    /// The last entry whose key is not above `key`.
    pub fn find(&self, key: u64) -> Option<(u64, u64)> {
        let at = self.keys.partition_point(|found| *found <= key).checked_sub(1)?;
        Some((*self.keys.get(at)?, *self.values.get(at)?))
    }
}
