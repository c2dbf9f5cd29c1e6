//! File systems of the ext family: small images, changed in a few places, walked as a mount would.
//!
//! Only the changes are the input. An image of a megabyte would be mostly zeros and the content of files, and a mutation
//! would hit neither a structure nor the same one twice.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use icecore::guest::{FileSystem, GuestFileSystem, Probe, probe};
use icecore_fuse::{FileType, NodeId, ReadOnlyTree, Seek};

use super::{fast_commit, take_u8, take_u16};
use crate::disk::PatchedDisk;

/// The images, and what `mke2fs` makes them with. Those with a journal have it to be replayed, the last one with fast commits.
pub const BASES: [(&str, &str); 6] = [
    ("ext4", "-t ext4 -b 1024 -N 64 -O ^has_journal,metadata_csum"),
    ("ext4-plain", "-t ext4 -b 1024 -N 64 -O ^has_journal,^metadata_csum"),
    ("ext4-inline", "-t ext4 -b 1024 -N 64 -I 256 -O ^has_journal,^metadata_csum,inline_data,ea_inode"),
    ("ext2", "-t ext2 -b 1024 -N 64 -O ^resize_inode"),
    ("ext4-journal", "-t ext4 -b 1024 -N 64 -J size=1 -O ^metadata_csum"),
    ("ext4-fast", "-t ext4 -b 1024 -N 64 -J size=2 -O ^metadata_csum,fast_commit"),
];

const PIECE_BYTES: usize = 256;
const SUPERBLOCK_AT: u64 = 1024;

/// Most entries that a walk meets, reads of one file, and bytes and calls that all of it may read. The two bounds are what
/// a hostile image makes of the first ones at worst: more means that some call of its own is not bounded.
const STEPS: u32 = 200;
const READS: u64 = 6;
const MOST_READ_BYTES: u64 = 4 << 30;
const MOST_READS: u64 = 4_000_000;

struct Base {
    bytes: Vec<u8>,
    /// Where fast commits begin, if there are any.
    fast_at: Option<usize>,
    /// Where pieces begin that hold more than zeros and noise.
    structures: Vec<u64>,
    has_checksum: bool,
}

/// Where an image lies.
pub fn base_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(format!("{name}.zst"))
}

/// The bytes of a compressed image.
pub fn unpack(compressed: &[u8]) -> Vec<u8> {
    zstd::decode_all(compressed).expect("an image that was packed")
}

fn base(number: u8) -> &'static Base {
    static ALL: OnceLock<Vec<Base>> = OnceLock::new();
    let load = || {
        BASES.iter().map(|(name, _)| {
            let packed = std::fs::read(base_path(name)).expect("an image; make-seeds makes it");
            Base::new(unpack(&packed))
        })
    };
    let all = ALL.get_or_init(|| load().collect());
    &all[usize::from(number) % all.len()]
}

impl Base {
    fn new(bytes: Vec<u8>) -> Self {
        let mut structures = structures(&bytes, PIECE_BYTES / 8);
        let has_checksum = bytes[1024 + 0x65] & 0x4 != 0;
        let fast_at = fast_commit::find(&bytes);
        if let Some(at) = fast_at {
            // Most changes are to be made there.
            let area =
                (at as u64..).step_by(PIECE_BYTES).take(fast_commit::BLOCKS * fast_commit::BLOCK_BYTES / PIECE_BYTES);
            let area: Vec<u64> = area.collect();
            structures = area.iter().copied().cycle().take(2 * structures.len()).chain(structures).collect();
        }
        Self { bytes, fast_at, structures, has_checksum }
    }
}

/// Which image; then changes.
pub fn run(mut data: &[u8]) -> bool {
    let base = base(take_u8(&mut data));
    let mut disk = PatchedDisk::new(&base.bytes, base.bytes.len() as u64);
    change(&mut disk, &base.structures, data);
    if base.has_checksum {
        fix_superblock(&mut disk);
    }
    if let Some(at) = base.fast_at {
        fast_commit::fix(&mut disk, at as u64);
    }
    open_and_walk(disk)
}

/// Makes the changes that an input has: a piece of the image, where in that, how many bytes, the bytes. Answers where.
pub fn change(disk: &mut PatchedDisk<'_>, pieces: &[u64], mut data: &[u8]) -> Vec<u64> {
    let mut changed = Vec::new();
    while let [_, _, _, _, _, ..] = data {
        let piece = pieces[usize::from(take_u16(&mut data)) % pieces.len()];
        let at = piece + u64::from(take_u8(&mut data));
        let length = (usize::from(take_u8(&mut data)) % 16 + 1).min(data.len());
        let (bytes, rest) = data.split_at(length);
        disk.patch(at, bytes);
        changed.push(at);
        data = rest;
    }
    changed
}

/// Walks what is on a disk, if it is taken for a file system; whether it is.
pub fn open_and_walk(disk: PatchedDisk<'static>) -> bool {
    let disk = Arc::new(disk);
    let opened = probe(Arc::clone(&disk) as Arc<dyn icecore::guest::BlockRead>);
    let is_open = if let Ok(Probe::FileSystem(tree)) = &opened {
        walk(tree);
        true
    } else {
        false
    };
    let (bytes, reads) = disk.read_so_far();
    assert!(bytes <= MOST_READ_BYTES && reads <= MOST_READS, "{bytes} bytes in {reads} reads for one walk");
    is_open
}

/// Where pieces begin that hold more than zeros and noise, with so many zeros at least.
pub fn structures(bytes: &[u8], zeros_min: usize) -> Vec<u64> {
    let is_structure = |piece: &[u8]| {
        let zeros = piece.iter().filter(|byte| **byte == 0).count();
        (zeros_min..PIECE_BYTES).contains(&zeros)
    };
    let pieces = (0_u64..).step_by(PIECE_BYTES).zip(bytes.chunks(PIECE_BYTES));
    pieces.filter(|(_, piece)| is_structure(piece)).map(|(at, _)| at).collect()
}

fn fix_superblock(disk: &mut PatchedDisk<'_>) {
    let mut superblock = [0; 0x3FC];
    icecore::guest::BlockRead::read_exact_at(disk, SUPERBLOCK_AT, &mut superblock).expect("an image has one");
    // The kernel's CRC-32C is not inverted at the end.
    let sum = !crc32c::crc32c(&superblock);
    disk.patch(SUPERBLOCK_AT + 0x3FC, &sum.to_le_bytes());
}

fn walk(tree: &FileSystem) {
    let info = tree.info();
    assert!(info.used_bytes <= info.size_bytes);
    let mut steps = 0;
    let mut todo = vec![tree.root()];
    while let Some(directory) = todo.pop() {
        let _ = tree.parent(directory);
        let mut met: Vec<(Vec<u8>, NodeId, FileType)> = Vec::new();
        let _ = tree.read_directory(directory, 0, &mut |entry| {
            assert!(!entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0));
            assert!(entry.name != b"." && entry.name != b"..");
            assert!(entry.name.len() <= 255);
            met.push((entry.name.to_vec(), entry.node, entry.kind));
            steps += 1;
            steps < STEPS
        });
        for (name, node, kind) in met {
            let _ = tree.lookup(directory, &name);
            look_at(tree, node);
            if kind == FileType::Directory && steps < STEPS {
                todo.push(node);
            }
        }
    }
    let _ = tree.space();
}

fn look_at(tree: &FileSystem, node: NodeId) {
    let mut buffer = [0; 5000];
    let size = tree.attributes(node).map_or(0, |attributes| attributes.size_bytes);
    for name in tree.list_xattrs(node).unwrap_or_default().iter().take(8) {
        let _ = tree.xattr(node, name);
    }
    if let Ok(target) = tree.read_link(node) {
        assert!(target.len() <= 1 << 16, "a link is short");
    }
    for what in [Seek::Data, Seek::Hole] {
        if let Ok(Some(found)) = tree.seek(node, size / 3, what) {
            assert!(found >= size / 3 && found <= size, "what is sought lies ahead, and in the file");
        }
    }
    for part in 0..READS {
        let offset = size / READS * part;
        if let Ok(read) = tree.read(node, offset, &mut buffer) {
            assert!(read as u64 <= size - offset, "no byte behind the end");
        }
    }
}
