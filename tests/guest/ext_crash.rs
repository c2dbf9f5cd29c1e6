//! Promise 5: whatever an ext file system was made with, and whatever was being written as it was copied, it shows what
//! the guest would see after a restart.
//!
//! With `ICECORE_CAMPAIGN` set, random file systems under random loads go on for `ICECORE_CAMPAIGN_SECONDS` (120, if not
//! set). A seed tells the file system and what each thread does, not when they meet: an image that is shown wrongly is kept.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::common;
use crate::guest_support::compare::{Against, compare_recovered};
use crate::guest_support::ext::{ClonePlace, Load, Random, clone};
use crate::guest_support::image::{self, Mount, run};
use crate::guest_support::{FileDisk, NotRun, open};
use icecore::guest::{GuestFileSystem, VolumeState};

/// Seeds of cases that are walked through each time.
const SEEDS: std::ops::Range<u64> = 0..8;

/// Options of the mount that writes.
const MOUNTS: [&str; 7] = [
    "rw",
    "rw,nodelalloc",
    "rw,journal_checksum",
    "rw,journal_async_commit,data=writeback",
    "rw,data=writeback",
    "rw,data=journal",
    "rw,data=journal,nodelalloc",
];

#[derive(Default, Debug)]
struct Counts {
    images: u64,
    entries: u64,
    bytes: u64,
    transactions: u64,
    with_fast_commits: u64,
    /// Files that the kernel cut as it recovered.
    cut: u64,
    /// That the kernel does not recover: nothing to compare with.
    refused: u64,
    not_made: u64,
}

/// A file system that is made at random.
struct Case {
    options: String,
    mount: String,
    is_fast: bool,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let block_bytes = 1024 << random.below(3);
        let is_ext3 = random.below(6) == 0;
        let mut features = Vec::new();
        let mut maybe = |feature: &'static str, random: &mut Random| {
            let is_on = random.below(4) == 0;
            if is_on {
                features.push(feature);
            }
            is_on
        };
        let mut is_fast = false;
        if !is_ext3 {
            is_fast = random.below(3) == 0;
            for feature in ["^metadata_csum", "ea_inode", "orphan_file", "^dir_index", "large_dir"] {
                maybe(feature, random);
            }
            maybe("meta_bg,^resize_inode", random);
            maybe("sparse_super2", random);
            if !maybe("^64bit,^extents", random) && !maybe("^64bit", random) {
                maybe("bigalloc", random);
            }
        }
        // The smallest journal is of 1024 blocks: it is gone round within seconds.
        let smallest = block_bytes / 1024;
        let journal = smallest * *random.pick(&[1, 1, 2, 4]) + if is_fast { smallest } else { 0 };
        let mount = *random.pick(&MOUNTS);
        let has_ordered_data = !mount.contains("data=");
        // Linux 6.18 waits for itself where data is ordered, a file outgrows its inode and the log is full; and it loses the
        // blocks of such a file where that was committed fast.
        if !is_ext3 && !is_fast && !has_ordered_data && random.below(3) == 0 {
            features.push("inline_data");
        }
        if is_fast {
            features.push("fast_commit");
        }
        let kind = if is_ext3 { "ext3" } else { "ext4" };
        let features = if features.is_empty() { String::new() } else { format!(" -O {}", features.join(",")) };
        let options = format!("-b {block_bytes} -t {kind} -J size={journal}{features}");
        Self { options, mount: format!("{mount},commit=1"), is_fast }
    }
}

/// Runs a load and copies the device below it again and again; each copy is shown by us and recovered by the kernel.
fn crash(place: &ClonePlace, seed: u64, copies: u64, counts: &mut Counts) {
    let mut random = Random::new(seed);
    let case = Case::new(&mut random);
    let what = format!("seed {seed}: {} -o {}", case.options, case.mount);
    println!("{what}");
    let made = place.path("image");
    image::make(&made, "96M", &case.options.split(' ').collect::<Vec<_>>(), None);
    let Ok(mount) = Mount::new(&made, &place.mount_path("load"), &case.mount) else {
        counts.not_made += 1;
        return;
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..1 + random.below(2) {
            let mut load = Load::new(&mount.path.join(format!("tree-{thread}")), seed * 8 + thread);
            load.is_fast = case.is_fast;
            load.keeps_orphans = !case.is_fast;
            load.steps_per_sync = [2, 6, 20, 60][random.below(4) as usize];
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    load.step();
                }
            });
        }
        for _ in 0..copies {
            std::thread::sleep(Duration::from_millis(50 + random.below(400)));
            if let Err(differences) = compare_copies(place, &made, case.is_fast, counts) {
                stop.store(true, Ordering::Relaxed);
                let kept = std::env::temp_dir().join(format!("icecore-ext-crash-{seed}.image"));
                run("cp", &["--sparse=always", path(&place.path("ours")), path(&kept)]);
                panic!("{what}: kept as {}: {differences}", kept.display());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn compare_copies(place: &ClonePlace, made: &Path, is_fast: bool, counts: &mut Counts) -> Result<(), String> {
    let (ours, theirs) = (place.path("ours"), place.path("theirs"));
    clone(made, &ours);
    clone(&ours, &theirs);
    let tree = open(FileDisk::open(&ours));
    let state = tree.info().state;
    let VolumeState::Replayed { transactions, .. } = state else {
        return Err(format!("{state:?}"));
    };
    let at = place.mount_path("recovered");
    let began = SystemTime::now();
    if let Err(why) = Mount::new(&theirs, &at, "rw") {
        if !is_fast {
            return Err(format!("the kernel does not recover it: {why}"));
        }
        // Linux's own recovery gives up on fast commits of a file that was deleted while open, and on a first one that is
        // torn; `e2fsck` stops there too.
        counts.refused += 1;
        return Ok(());
    }
    // Mounted anew: a mount that recovers has parts of what it cut in its page cache, where it does not see holes.
    let mount = Mount::new(&theirs, &at, "ro")?;
    let against = if is_fast { Against::FastCommits } else { Against::Kernel };
    let report = compare_recovered(&tree, &mount.path, against, Some(began));
    counts.images += 1;
    counts.entries += report.entries;
    counts.bytes += report.bytes;
    counts.cut += report.cut;
    counts.transactions += transactions;
    counts.with_fast_commits += u64::from(is_fast);
    if report.differences.is_empty() { Ok(()) } else { Err(format!("{state:?}: {}", report.differences.join("\n"))) }
}

#[test]
fn copies_under_load_show_what_the_kernel_recovers() {
    let began = Instant::now();
    let mut not_run = NotRun::new("copies_under_load_show_what_the_kernel_recovers");
    let place = match ClonePlace::new() {
        Ok(place) => place,
        Err(why) => return not_run.add("all of it", &why),
    };
    let mut counts = Counts::default();
    let only = std::env::var("ICECORE_CAMPAIGN_SEED").ok().map(|seed| seed.parse().expect("a seed"));
    match only {
        Some(seed) => crash(&place, seed, 30, &mut counts),
        None => {
            SEEDS.for_each(|seed| crash(&place, seed, 2, &mut counts));
            common::campaign_seeds(began).for_each(|seed| crash(&place, seed, 8, &mut counts));
        }
    }
    let Counts { images, entries, bytes, transactions, with_fast_commits, cut, refused, not_made } = counts;
    println!(
        "CAMPAIGN: guest_ext_journal: {images} images compared, 0 differences, {entries} entries, {bytes} bytes, \
         {transactions} transactions replayed, {cut} files cut, {with_fast_commits} images with fast commits, {refused} more that the \
         kernel does not recover, {not_made} file systems that it does not mount, {:.0} s",
        began.elapsed().as_secs_f64(),
    );
    assert!(images >= 10 && transactions > 10, "{images} images");
}
