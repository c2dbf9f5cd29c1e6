//! Access control lists, from their form on the disk to the form that `getxattr` hands out.
//!
//! On the disk (version 1): `a_version` 4 bytes, then entries of tag 2, permissions 2 and, for named users and groups
//! only, id 4. From `getxattr` (version 2, `linux/posix_acl_xattr.h`): the same with an id in every entry.

use crate::guest::bytes::{u16_at, u32_at};

const VERSION_ON_DISK: u32 = 1;
const VERSION_OF_XATTR: u32 = 2;
const NO_ID: u32 = u32::MAX;

const TAG_USER: u16 = 0x02;
const TAG_GROUP: u16 = 0x08;
const TAGS_WITHOUT_ID: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

/// The value for `getxattr`; `None` where the stored one makes no sense.
pub(super) fn acl_from_disk(stored: &[u8]) -> Option<Vec<u8>> {
    if u32_at(stored, 0)? != VERSION_ON_DISK {
        return None;
    }
    let mut value = VERSION_OF_XATTR.to_le_bytes().to_vec();
    let mut at = 4;
    while at < stored.len() {
        let tag = u16_at(stored, at)?;
        let permissions = u16_at(stored, at + 2)?;
        let id = match tag {
            TAG_USER | TAG_GROUP => u32_at(stored, at + 4)?,
            tag if TAGS_WITHOUT_ID.contains(&tag) => NO_ID,
            _ => return None,
        };
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
        at += if id == NO_ID && TAGS_WITHOUT_ID.contains(&tag) { 4 } else { 8 };
    }
    Some(value)
}
