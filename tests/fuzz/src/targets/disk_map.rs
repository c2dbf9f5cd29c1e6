//! A disk over a tree of map nodes that a key holder made as no map ever is.

use std::sync::Arc;

use icecore::format::Hash;
use icecore::format::map_node::{HIGHEST_LEVEL, MapNode};
use icecore::format::segment::{Encoding, RecordType, TableEntry, Trailer, padded};
use icecore::point::{DiskMap, ManifestDisk};
use icecore::seal::SegmentSeal;

use super::{store, take_u8, take_u64};
use crate::keys::{record_id, vault_keys};
use crate::memory::Memory;

/// Most nodes, and most children of one. More children below each other would only take longer to go through.
const MOST_NODES: usize = 24;
const MOST_CHILDREN: u8 = 6;
const CHUNK: [u8; 4096] = [0x5A; 4096];

/// Two disks, each of a size, a chunk size, a level and a root; then nodes, each of a level and children: a place, and
/// which record it names.
pub fn run(mut data: &[u8]) -> bool {
    let disks = [take_disk(&mut data), take_disk(&mut data)];
    let mut records = Records::begin();
    records.push(RecordType::Chunk, &CHUNK);
    while !data.is_empty() && records.entries.len() < MOST_NODES {
        let mut node = MapNode::empty(take_u8(&mut data) % (HIGHEST_LEVEL + 1));
        for _ in 0..take_u8(&mut data) % MOST_CHILDREN {
            let place = usize::from(take_u8(&mut data)) % node.children.len();
            node.children[place] = Some(records.id(take_u8(&mut data)));
        }
        let bytes = node.encode();
        records.push(RecordType::MapNode, &bytes);
    }
    let roots = disks.each_ref().map(|disk| records.id(disk.root));
    let media = Arc::new(Memory::default());
    records.finish(&media);
    let reader = store::reader(&media);
    let open = |(disk, root): (&Disk, Hash)| DiskMap::open(Arc::clone(&reader), &disk.described(root)).ok();
    let maps: Vec<DiskMap> = disks.iter().zip(roots).filter_map(open).collect();
    maps.iter().for_each(store::look_at);
    if let [one, other] = maps.as_slice()
        && let Ok(ranges) = one.diff(other)
    {
        let most = one.size_bytes().max(other.size_bytes());
        assert!(ranges.iter().all(|range| range.start < range.end && range.end <= most), "differences lie on a disk");
        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "in order, none touching the next");
    }
    !maps.is_empty()
}

struct Disk {
    size_bytes: u64,
    chunk_log2: u8,
    level: u8,
    root: u8,
}

fn take_disk(data: &mut &[u8]) -> Disk {
    let size_bytes = take_u64(data);
    Disk { size_bytes, chunk_log2: 12 + take_u8(data) % 11, level: take_u8(data), root: take_u8(data) }
}

impl Disk {
    fn described(&self, root: Hash) -> ManifestDisk {
        ManifestDisk {
            name: "os".to_owned(),
            size_bytes: self.size_bytes,
            chunk_bytes: 1 << self.chunk_log2,
            map: Some(icecore::format::hex(&root)),
            map_level: self.level,
            read_bytes: 0,
            zero_bytes: 0,
            new_bytes: 0,
            stored_bytes: 0,
            missing: Vec::new(),
        }
    }
}

/// A segment of records that are as they should be.
struct Records {
    seal: SegmentSeal,
    bytes: Vec<u8>,
    entries: Vec<TableEntry>,
}

impl Records {
    fn begin() -> Self {
        let (seal, bytes) = SegmentSeal::begin(vault_keys(), false).expect("random numbers");
        Self { seal, bytes, entries: Vec::new() }
    }

    /// The id of a record that is there, or one that is nowhere.
    fn id(&self, number: u8) -> Hash {
        self.entries.get(usize::from(number)).map_or([number; 32], |entry| entry.id)
    }

    fn push(&mut self, kind: RecordType, plain: &[u8]) {
        let id = record_id(if kind == RecordType::Chunk { 1 } else { 2 }, plain);
        let number = u32::try_from(self.entries.len()).expect("few");
        let plain_bytes = u32::try_from(plain.len()).expect("short");
        let mut record = [[0; 96].as_slice(), plain, &[0; 16]].concat();
        let header = self.seal.seal_record(number, kind, Encoding::Plain, plain_bytes, &id, &mut record);
        let offset = self.bytes.len() as u64;
        record.resize(96 + usize::try_from(padded(header.stored_bytes)).expect("short"), 0);
        self.bytes.extend(record);
        self.entries.push(TableEntry { id, offset, stored_bytes: header.stored_bytes, plain_bytes, kind });
    }

    fn finish(mut self, media: &Memory) {
        let segment = *self.seal.segment();
        let records = u32::try_from(self.entries.len()).expect("few");
        let trailer = Trailer::new(segment, records, self.bytes.len() as u64);
        self.bytes.extend(self.seal.seal_table(&trailer, &self.entries));
        // No reader needs the hash over it all.
        self.bytes.extend(trailer.encode([0; 32]));
        media.put(icecore::format::segment::object(&segment), self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. A map whose every node names one child 128 times has 2^49 chunks and eight records: who looks for a hole
    // in it looks into each record once.
    #[test]
    fn a_map_of_one_path_is_searched_along_that_path() {
        let mut records = Records::begin();
        records.push(RecordType::Chunk, &CHUNK);
        const LEVELS: u8 = 7;
        for level in 0..LEVELS {
            let mut node = MapNode::empty(level);
            node.children.fill(Some(records.id(level)));
            let bytes = node.encode();
            records.push(RecordType::MapNode, &bytes);
        }
        let root = records.id(LEVELS);
        let media = Arc::new(Memory::default());
        records.finish(&media);
        let size_bytes = 4096 << (7 * LEVELS);
        let disk = Disk { size_bytes, chunk_log2: 12, level: LEVELS - 1, root: 0 };
        let map = DiskMap::open(store::reader(&media), &disk.described(root)).expect("a map");
        assert_eq!(map.seek(5, false).expect("searched"), Some(size_bytes));
        assert_eq!(map.extent(0).expect("searched").map(|extent| (extent.start, extent.end)), Some((0, size_bytes)));
    }
}
