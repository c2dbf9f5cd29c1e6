//! An open store over objects that a target made, and a look at the disks in it.

use std::sync::Arc;

use icecore::format::header::Header;
use icecore::point::DiskMap;
use icecore::store::{CacheSizes, Reader, Store};

use crate::keys::{PUBLIC, VAULT, vault_keys};
use crate::memory::Memory;

/// The header of the vault that all targets share.
pub fn header() -> Header {
    Header {
        vault: VAULT,
        created_unix_seconds: 1_800_000_000,
        chunk_size_log2: 12,
        level: 1,
        segment_bytes: 1 << 20,
        parity_percent: 5,
        public: PUBLIC,
    }
}

/// Opens the store. Whatever is in the objects, a store opens: what is damaged is absent.
pub fn open(media: &Arc<Memory>) -> Store {
    let media: Arc<Memory> = Arc::clone(media);
    Store::open(media, Arc::clone(vault_keys()), header()).expect("no damage keeps a store from opening")
}

/// The same, for disks.
pub fn reader(media: &Arc<Memory>) -> Arc<Reader> {
    Arc::new(Reader::new(Arc::new(open(media)), CacheSizes { chunk_bytes: 1 << 20, node_bytes: 1 << 20 }))
}

/// Most extents of a disk that are asked for.
const MOST_EXTENTS: usize = 64;

/// Asks a disk what a mount and a restore would ask.
pub fn look_at(map: &DiskMap) {
    let size = map.size_bytes();
    let mut buffer = [0; 10_000];
    for offset in [0, 1, size / 3, size / 2, size.saturating_sub(5000), size.saturating_sub(1), size, u64::MAX] {
        if let Ok(read) = map.read(offset, &mut buffer) {
            assert_eq!(read as u64, size.saturating_sub(offset).min(buffer.len() as u64), "a read is as long as told");
        }
        for data in [false, true] {
            if let Ok(Some(found)) = map.seek(offset, data) {
                assert!(found >= offset && found <= size, "what is sought lies ahead, and on the disk");
            }
        }
        let _ = map.chunk_id(offset);
        let _ = map.data_bytes(offset, offset.saturating_add(1 << 20).min(size));
    }
    let mut at = 0;
    for _ in 0..MOST_EXTENTS {
        let Ok(Some(extent)) = map.extent(at) else { break };
        assert!(extent.start <= at && extent.end > at && extent.end <= size, "extents follow each other");
        at = extent.end;
    }
    assert!(map.chunk_id(map.chunks()).is_ok_and(|id| id.is_none()), "nothing is past the end");
}
