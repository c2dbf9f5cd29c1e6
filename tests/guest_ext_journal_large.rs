//! Promise 5: a journal of any length is replayed in memory that is in proportion to it, and at once, however large the
//! disk.
//!
//! One test a program: what it takes is measured of the whole process.

mod guest_support;

use std::time::{Duration, Instant};

use guest_support::image::{self, run};
use guest_support::{FileDisk, open, source, xfs};
use icecore::guest::{GuestFileSystem, VolumeState};
use icecore_fuse::ReadOnlyTree;

const BLOCK_BYTES: u64 = 4096;
/// Copies in the log: all but its ends, of 64 MiB.
const COPIES: u64 = 15_000;
/// Most that the replay may take: a hundred bytes a block, and what opening takes in any case.
const MEMORY_MAX: u64 = COPIES * 100 + (4 << 20);
const TIME_MAX: Duration = Duration::from_secs(5);

/// Most memory that this process had at a time since the last call, in bytes.
fn peak_since_last_time() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is forgotten");
    kibibytes * 1024
}

#[test]
fn a_long_log_on_a_large_disk_takes_little() {
    let place = xfs::scratch();
    let (made, content, script) =
        (place.path().join("image"), place.path().join("content"), place.path().join("script"));
    let options = ["-t", "ext4", "-b", "4096", "-J", "size=64", "-E", "lazy_itable_init=1,lazy_journal_init=1"];
    image::make(&made, "100G", &options, None);
    let began = Instant::now();
    let tree = open(FileDisk::open(&made));
    let clean = began.elapsed();
    assert_eq!(tree.info().state, VolumeState::Clean);
    drop(tree);

    std::fs::write(&content, source::noise(1, (COPIES * BLOCK_BYTES) as usize)).expect("a file");
    let last = 1_000_000 + COPIES - 1;
    let log = format!("jo -c\njw -b 1000000-{last} {}\njc\n", content.display());
    std::fs::write(&script, log).expect("a file");
    run("debugfs", &["-w", "-f", script.to_str().expect("UTF-8"), made.to_str().expect("UTF-8")]);

    peak_since_last_time();
    let before = peak_since_last_time();
    let began = Instant::now();
    let tree = open(FileDisk::open(&made));
    let dirty = began.elapsed();
    let memory = peak_since_last_time().saturating_sub(before);
    let VolumeState::Replayed { blocks, .. } = tree.info().state else { panic!("{:?}", tree.info().state) };
    assert_eq!(blocks, COPIES);
    tree.attributes(tree.root()).expect("the root");
    println!(
        "100 GiB: opened in {} ms clean, in {} ms with a log of {} MiB, which took {} KiB",
        clean.as_millis(),
        dirty.as_millis(),
        (COPIES * BLOCK_BYTES) >> 20,
        memory >> 10,
    );
    assert!(memory < MEMORY_MAX, "{memory} bytes");
    assert!(dirty < TIME_MAX, "{dirty:?}");
}
