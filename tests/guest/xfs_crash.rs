//! Promise 5: whatever an XFS volume's machine was doing when it stopped, it shows what the guest would see after a
//! restart.
//!
//! The disk of a busy file system lies on another that shares blocks, so that a copy of it is one of a moment. The
//! kernel recovers one such copy, and this reader another; both are compared whole, and again with a torn log.
//!
//! With `ICECORE_CAMPAIGN` set, random file systems go on for `ICECORE_CAMPAIGN_SECONDS` (120, if not set). A seed that
//! fails there belongs into `SEEDS`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common;
use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::{Mount, run};
use crate::guest_support::xfs_load::{self, Random};
use crate::guest_support::{FileDisk, not_run, open, xfs};
use icecore::guest::{GuestFileSystem, StaleReason, VolumeState};

/// Seeds of file systems and loads that are gone through each time.
const SEEDS: [u64; 2] = [1, 2];

/// What `mkfs.xfs` makes them with; and features that it does not know yet.
const MADE_WITH: &[&str] = &[
    "",
    PARENTS,
    "-b size=1024",
    "-n size=16384 -i size=1024",
    "-m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0",
    "-m rmapbt=1 -i nrext64=1",
    "-m rmapbt=1 -b size=2048 -i size=1024,nrext64=1",
    "-l su=32k -d agcount=5",
    "-s size=4096 -m rmapbt=1",
    "-m reflink=0 -l size=6m",
    "-m reflink=0,finobt=0 -l size=4m -d agcount=2",
];

const PARENTS: &str = "-m rmapbt=1 -i nrext64=1 ";

const MOUNTED_WITH: &[&str] = &["rw", "rw,logbsize=256k", "rw,logbsize=32k", "rw,logbufs=2", "rw,wsync"];

/// What was done, for a person to see.
#[derive(Default, Debug)]
struct Counts {
    images: u64,
    torn: u64,
    replayed: u64,
    unfinished: u64,
    refused: u64,
    entries: u64,
}

/// A file system that shares blocks, for images of others.
struct Shelf {
    mount: Option<Mount>,
    place: tempfile::TempDir,
}

impl Shelf {
    fn new() -> Result<Self, String> {
        xfs::can_make()?;
        let place = xfs::scratch();
        let image = place.path().join("shelf");
        xfs::make(&image, "3G", &["-m", "reflink=1"]);
        let mount = Mount::new(&image, &place.path().join("on-the-shelf"), "rw,nouuid")?;
        Ok(Self { mount: Some(mount), place })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.as_ref().map_or_else(|| self.place.path().to_owned(), |mount| mount.path.clone()).join(name)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        // Before the directory that it is in goes.
        self.mount = None;
    }
}

/// The image as it is at this moment.
fn snapshot(image: &Path, to: &Path) {
    run("cp", &["--reflink=always", image.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")]);
}

/// Lets a load run, takes images while it does and when it was stopped; answers them.
fn crash(shelf: &Shelf, seed: u64, snapshots: u64) -> Vec<PathBuf> {
    let mut random = Random::new(seed);
    let image = shelf.path("image");
    let options = *random.pick(MADE_WITH);
    let mounted_with = *random.pick(MOUNTED_WITH);
    let size = *random.pick(&["96M", "300M", "600M"]);
    eprintln!("seed {seed}: {size}, mkfs.xfs {options}, mounted {mounted_with}");
    xfs::make(&image, size, &options.split_whitespace().collect::<Vec<_>>());
    if options == PARENTS {
        xfs::add_features(&image, xfs::EXCHANGE_AND_PARENTS);
    }
    let mount = xfs::mount(&image, &shelf.place.path().join("busy"), mounted_with).expect("a new file system");
    let stop = AtomicBool::new(false);
    let mut images = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| xfs_load::run(&mount.path, seed, 3, &stop));
        for number in 0..snapshots {
            std::thread::sleep(Duration::from_millis(50 + random.below(600)));
            let taken = shelf.path(&format!("moment-{number}"));
            snapshot(&image, &taken);
            images.push(taken);
        }
        let how: &[&str] = if random.below(2) == 0 { &["shutdown -f"] } else { &["shutdown"] };
        run("xfs_io", &["-x", "-c", how[0], mount.path.to_str().expect("UTF-8")]);
        stop.store(true, Ordering::Relaxed);
    });
    drop(mount);
    images.push(image);
    images
}

/// Has the kernel recover a copy, and compares with what is made of the image here.
fn compare_image(shelf: &Shelf, image: &Path, what: &str, is_torn: bool, counts: &mut Counts) {
    // Not the name of one before: its loop device may linger.
    let theirs = shelf.path(&format!("theirs-{}", counts.images));
    snapshot(image, &theirs);
    let tree = open(FileDisk::open(image));
    let state = tree.info().state;
    counts.images += 1;
    let recovered = xfs::mount(&theirs, &shelf.place.path().join("recovered"), "rw,noatime");
    match (recovered, state) {
        (Ok(_), VolumeState::Stale { reason: StaleReason::UnfinishedOperations }) => counts.unfinished += 1,
        (Ok(mount), state) => {
            let report = compare(&tree, &mount.path, Against::KernelAtWork);
            for unreadable in &report.unreadable {
                eprintln!("{what}: the kernel: {unreadable}");
            }
            assert!(is_torn || report.unreadable.is_empty(), "{what}: the kernel can't read what it recovered");
            if report.unreadable.iter().any(|unreadable| unreadable.contains("os error 5")) {
                // What it recovered made no sense, so it stopped.
                counts.refused += 1;
            } else {
                counts.entries += report.entries;
                counts.replayed += u64::from(matches!(state, VolumeState::Replayed { .. }));
                report.expect_same(&format!("{what}, {state:?}"));
            }
        }
        // A disk that loses what it said to have written leaves what no kernel can put in order.
        (Err(why), state) => {
            assert!(is_torn, "{what}: {state:?}, but the kernel: {why}");
            eprintln!("{what}: {state:?}, and the kernel: {why}");
            counts.refused += 1;
        }
    }
    fs::remove_file(theirs).expect("the copy goes");
}

fn crash_and_compare(shelf: &Shelf, seed: u64, snapshots: u64, torn: u64, counts: &mut Counts) {
    let mut random = Random::new(seed + 1000);
    for (number, image) in crash(shelf, seed, snapshots).into_iter().enumerate() {
        compare_image(shelf, &image, &format!("seed {seed}, image {number}"), false, counts);
        for tear_number in 0..torn {
            let damaged = shelf.path("torn");
            snapshot(&image, &damaged);
            xfs::tear(&damaged, &mut random);
            counts.torn += 1;
            compare_image(shelf, &damaged, &format!("seed {seed}, image {number}, torn {tear_number}"), true, counts);
        }
        let _ = fs::remove_file(image);
    }
}

#[test]
fn any_moment_of_a_busy_volume_is_what_the_kernel_recovers() {
    let shelf = match Shelf::new() {
        Ok(shelf) => shelf,
        Err(why) => return not_run("any_moment_of_a_busy_volume_is_what_the_kernel_recovers", &why),
    };
    let began = Instant::now();
    let mut counts = Counts::default();
    for seed in SEEDS {
        crash_and_compare(&shelf, seed, 2, 1, &mut counts);
    }
    for seed in common::campaign_seeds(began) {
        crash_and_compare(&shelf, seed, 6, 2, &mut counts);
    }
    println!(
        "CAMPAIGN: guest_xfs_crash: {} images compared, {} of them with a torn log, {} replayed, {} with an unfinished \
         operation, {} refused by the kernel, {} entries, 0 differences, {:.0} s",
        counts.images,
        counts.torn,
        counts.replayed,
        counts.unfinished,
        counts.refused,
        counts.entries,
        began.elapsed().as_secs_f64(),
    );
    assert!(counts.replayed > 0, "nothing was replayed: {counts:?}");
}
