//! Blocks that describe themselves ("XFS Filesystem Structure", "Metadata Integrity").
//!
//! Version 5 gives each block a checksum, the UUID of its file system, its own place and its owner. All four are
//! checked before a byte of it is believed, so that neither a stray write nor an old block passes for a new one.

use crate::guest::Fault;
use crate::guest::bytes::{be32_at, be64_at, bytes16_at, u32_at};

use super::superblock::{Superblock, checksum};

/// Places of blocks are stored in units of this.
const UNIT_BYTES: u64 = 512;

/// A block, or several that belong together, as read.
pub(super) struct Block {
    /// Where the first lies in the volume, in bytes.
    pub place: u64,
    pub bytes: Vec<u8>,
    /// Whether a part of it comes from the log. The log has no checksums of what its changes result in; its own
    /// checksums stand in for them.
    pub is_replayed: bool,
}

/// Where a kind of block keeps what describes it.
pub(super) struct Layout {
    checksum_at: usize,
    place_at: usize,
    uuid_at: usize,
    owner_at: usize,
    /// Length of all that.
    pub bytes: usize,
}

/// What the last check names that fails.
pub(super) const OWNER: &str = "owner";

/// Nodes of an inode's block map.
pub(super) const MAP_NODE: Layout = Layout { checksum_at: 64, place_at: 24, uuid_at: 40, owner_at: 56, bytes: 72 };
/// Blocks with names of a directory.
pub(super) const NAMES: Layout = Layout { checksum_at: 4, place_at: 8, uuid_at: 24, owner_at: 40, bytes: 48 };
/// Indexes of directories, and blocks of extended attributes.
pub(super) const INDEX: Layout = Layout { checksum_at: 12, place_at: 16, uuid_at: 32, owner_at: 48, bytes: 56 };
/// Targets of symbolic links, and large values of extended attributes.
pub(super) const REMOTE: Layout = Layout { checksum_at: 12, place_at: 40, uuid_at: 16, owner_at: 32, bytes: 56 };

impl Layout {
    /// Checks what describes a block of version 5 that belongs to inode `owner`.
    pub fn check(&self, sb: &Superblock, block: &Block, owner: u64) -> Result<(), Fault> {
        let Block { place, bytes, is_replayed } = block;
        let stored = u32_at(bytes, self.checksum_at).ok_or(Fault::CutShort)?;
        let computed = checksum(bytes, self.checksum_at).ok_or(Fault::CutShort)?;
        if stored != computed && !is_replayed {
            return Err(Fault::Checksum { stored, computed });
        }
        if bytes16_at(bytes, self.uuid_at) != Some(sb.meta_uuid) {
            return Err(Fault::ForeignUuid);
        }
        let found = be64_at(bytes, self.place_at).ok_or(Fault::CutShort)?;
        if found != place / UNIT_BYTES {
            return Err(Fault::Field { field: "blkno", value: found });
        }
        let found = be64_at(bytes, self.owner_at).ok_or(Fault::CutShort)?;
        if found != owner {
            return Err(Fault::Field { field: OWNER, value: found });
        }
        Ok(())
    }
}

/// Whether a block begins with a magic number of four bytes.
pub(super) fn has_magic(bytes: &[u8], magic: &[u8; 4]) -> bool {
    be32_at(bytes, 0) == Some(u32::from_be_bytes(*magic))
}
