//! Promise 5, at speed: a random read in a file of many fragments costs a search in what is known of its block map and
//! the read of its own bytes, not another look at the map, however the reads hop between the file's ends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::guest_support::{FileDisk, image, not_run, open, xfs};
use icecore::guest::{BlockRead, FileSystem, MediumError};
use icecore_fuse::ReadOnlyTree;

/// Size of a block here, and of each fragment and each hole between two of them.
const BLOCK: u64 = 1024;
/// More than any one piece of a block map that is decoded at a time.
const FRAGMENTS: u64 = 70_000;
const READS: u64 = 2000;

/// Counts the reads of a disk.
struct Counted {
    disk: Arc<dyn BlockRead>,
    reads: AtomicU64,
}

impl BlockRead for Counted {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.disk.read_exact_at(offset, buffer)
    }
}

fn fragment(number: u64) -> Vec<u8> {
    number.wrapping_add(1).to_le_bytes().repeat((BLOCK / 8) as usize)
}

/// A block, a hole, a block, a hole, ...
fn write_fragments(path: &Path) {
    let file = File::create(path).expect("a file");
    for number in 0..FRAGMENTS {
        file.write_all_at(&fragment(number), number * 2 * BLOCK).expect("a write");
    }
}

/// Reads fragments at both ends by turns; answers how often that read the disk.
fn reads_of_a_round(guest: &FileSystem, disk: &Counted, file: u64) -> u64 {
    let before = disk.reads.load(Ordering::Relaxed);
    for turn in 0..READS {
        let near = turn * 7919 % (FRAGMENTS / 3);
        let number = if turn % 2 == 0 { near } else { FRAGMENTS - 1 - near };
        let mut found = vec![0; BLOCK as usize];
        guest.read(file, number * 2 * BLOCK, &mut found).expect("a read");
        assert_eq!(found, fragment(number), "fragment {number}");
    }
    disk.reads.load(Ordering::Relaxed) - before
}

fn check(made: &Path, what: &str) {
    let disk = Arc::new(Counted { disk: FileDisk::open(made), reads: AtomicU64::new(0) });
    let guest = open(disk.clone());
    let file = guest.lookup(guest.root(), b"fragmented").expect("a lookup").expect("the file");
    let first = reads_of_a_round(&guest, &disk, file);
    // The map itself takes a few hundred blocks of the disk, each read once or twice.
    assert!(first < 2 * READS, "{what}: {first} reads of the disk for {READS} reads of the file");
    let second = reads_of_a_round(&guest, &disk, file);
    assert_eq!(second, READS, "{what}: reads of the disk once the map is known");
}

#[test]
fn ext_extents_and_block_numbers() {
    let place = xfs::scratch();
    let (from, made) = (place.path().join("from"), place.path().join("image"));
    std::fs::create_dir(&from).expect("a directory");
    write_fragments(&from.join("fragmented"));
    for kind in ["ext4", "ext2"] {
        image::make(&made, "200M", &["-t", kind, "-b", "1024"], Some(&from));
        check(&made, kind);
    }
}

#[test]
fn xfs_extents() {
    const TEST: &str = "xfs_extents";
    if let Err(why) = xfs::can_make() {
        return not_run(TEST, &why);
    }
    let place = xfs::scratch();
    let made = place.path().join("image");
    xfs::make(&made, "300M", &["-b", "size=1024"]);
    match xfs::mount(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => write_fragments(&mount.path.join("fragmented")),
        Err(why) => return not_run(TEST, &why),
    }
    check(&made, "xfs");
}
