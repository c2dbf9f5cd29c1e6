//! Members of Linux software RAID (kernel documentation, `admin-guide/md`; `uapi/linux/raid/md_p.h`).
//!
//! The superblock lies where its version says: 1.1 at the start, 1.2 at 4096, 1.0 some 8 to 12 KiB before the end, 0.90 64 to
//! 128 KiB before it. Behind the same magic number, version 1 has the set's UUID at 16 and its name at 32 (32 bytes); version
//! 0.90 has the UUID in words, at 20, 52, 56 and 60.

use super::{Identity, bytes16_at, read, slice_at, text, u32_at, uuid};
use crate::guest::{BlockRead, Error};

const MAGIC: &[u8] = b"\xfc\x4e\x2b\xa9";
const SECTOR: u64 = 512;
const RESERVED_BYTES: u64 = 64 << 10;

/// Whether a superblock lies at the volume's end, where the beginning tells nothing of it.
pub(in crate::guest) fn ends_in_superblock(volume: &dyn BlockRead) -> Result<bool, Error> {
    for place in at_the_end(volume.size_bytes()).into_iter().flatten() {
        if read(volume, place, 64)?.is_some_and(|bytes| bytes.starts_with(MAGIC)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn at_the_end(size_bytes: u64) -> [Option<u64>; 2] {
    let version_0 = (size_bytes / RESERVED_BYTES).checked_sub(1).map(|unit| unit * RESERVED_BYTES);
    let version_1 = (size_bytes / SECTOR).checked_sub(16).map(|sector| sector / 8 * 8 * SECTOR);
    [version_1, version_0]
}

pub(super) fn identify(volume: &dyn BlockRead) -> Result<Identity, Error> {
    let at_the_start = [Some(4096), Some(0)];
    for place in at_the_start.into_iter().chain(at_the_end(volume.size_bytes())).flatten() {
        let bytes = read(volume, place, 64)?.filter(|bytes| bytes.starts_with(MAGIC));
        let Some(bytes) = bytes else { continue };
        return Ok(if u32_at(&bytes, 4) == Some(1) {
            Identity {
                uuid: bytes16_at(&bytes, 16).and_then(uuid),
                label: slice_at(&bytes, 32, 32).and_then(text),
                ..Identity::default()
            }
        } else {
            Identity { uuid: words(&bytes).and_then(uuid), ..Identity::default() }
        });
    }
    Ok(Identity::default())
}

fn words(bytes: &[u8]) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    for (place, at) in uuid.chunks_exact_mut(4).zip([20, 52, 56, 60]) {
        place.copy_from_slice(&u32_at(bytes, at)?.to_be_bytes());
    }
    Some(uuid)
}
