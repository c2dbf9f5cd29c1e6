//! Access control lists, from their form on the disk to the form that `getxattr` hands out.
//!
//! On the disk: a count of 4 bytes, then entries of tag 4, id 4, permissions 2, padding 2, all big-endian. From
//! `getxattr` (version 2, `linux/posix_acl_xattr.h`): version 4, then entries of tag 2, permissions 2, id 4.

use crate::guest::bytes::{be16_at, be32_at, wide};

const VERSION_OF_XATTR: u32 = 2;
const NO_ID: u32 = u32::MAX;
const ENTRY_BYTES: usize = 12;

const TAG_USER: u16 = 0x02;
const TAG_GROUP: u16 = 0x08;
const TAGS_WITHOUT_ID: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

/// The value for `getxattr`; `None` where the stored one makes no sense.
pub(super) fn acl_from_disk(stored: &[u8]) -> Option<Vec<u8>> {
    let entries = stored.get(4..)?;
    if u64::from(be32_at(stored, 0)?) * wide(ENTRY_BYTES) != wide(entries.len()) {
        return None;
    }
    let mut value = VERSION_OF_XATTR.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let tag = u16::try_from(be32_at(entry, 0)?).ok()?;
        let id = match tag {
            TAG_USER | TAG_GROUP => be32_at(entry, 4)?,
            tag if TAGS_WITHOUT_ID.contains(&tag) => NO_ID,
            _ => return None,
        };
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&be16_at(entry, 8)?.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Some(value)
}
