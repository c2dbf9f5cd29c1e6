//! Extended attributes, by the rules of getxattr(2) and listxattr(2): a buffer of size zero asks for the size, one that
//! is too small gets `ERANGE`, and what no buffer can take gets `E2BIG`.

use fuser::{Errno, ReplyXattr};

/// The largest value or list of names that the kernel passes on (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MAX_BYTES: usize = 65_536;

/// Longest name (`XATTR_NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;

pub(super) fn answer(reply: ReplyXattr, buffer_bytes: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(bytes) if value.len() <= MAX_BYTES => {
            if buffer_bytes == 0 {
                reply.size(bytes);
            } else if bytes <= buffer_bytes {
                reply.data(value);
            } else {
                reply.error(Errno::ERANGE);
            }
        }
        _ => reply.error(Errno::E2BIG),
    }
}

/// Names one after the other, each ended by a NUL. The kernel refuses a whole list for one name that is empty, and
/// takes one with a NUL for two: both are left out.
pub(super) fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    let mut list = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for name in names {
        if !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(&0) {
            list.extend_from_slice(name);
            list.push(0);
        }
    }
    list
}
