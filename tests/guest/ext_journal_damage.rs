//! Promise 2: a damaged journal is replayed as far as Linux replays it, and where Linux refuses it, the volume says so.
//!
//! With `ICECORE_CAMPAIGN` set, more damage is done, for `ICECORE_CAMPAIGN_SECONDS` (120, if not set).

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::common;
use crate::guest_support;
use crate::guest_support::compare::{Against, compare};
use crate::guest_support::ext::{Load, Random};
use crate::guest_support::image::{self, Mount, run};
use crate::guest_support::{MemoryDisk, NotRun, open, xfs};
use icecore::guest::{GuestFileSystem, StaleReason, VolumeState};

const BLOCK: usize = 1024;
const MAGIC: [u8; 4] = [0xC0, 0x3B, 0x39, 0x98];
/// Damages of each file system that are done each time.
const TIMES: u64 = 8;

/// Name, `mke2fs` options, options of the mount that writes, and whether copies in the log have checksums of their own.
const MADE_WITH: &[(&str, &str, &str, bool)] = &[
    ("version 3", "-b 1024 -t ext4 -J size=1", "rw", true),
    ("version 3, asynchronous", "-b 1024 -t ext4 -J size=1", "rw,journal_async_commit,data=writeback", true),
    ("version 1", "-b 1024 -t ext4 -O ^metadata_csum -J size=1", "rw,journal_checksum", true),
    (
        "version 1, asynchronous",
        "-b 1024 -t ext4 -O ^metadata_csum -J size=1",
        "rw,journal_async_commit,data=writeback",
        true,
    ),
    ("none", "-b 1024 -t ext4 -O ^metadata_csum,^64bit -J size=1", "rw", false),
    ("ext3", "-b 1024 -t ext3 -J size=1", "rw", false),
];

/// An image with several transactions in its journal, and where the blocks of that lie.
struct Logged {
    bytes: Vec<u8>,
    journal: Vec<usize>,
    has_checksums: bool,
}

impl Logged {
    fn make(place: &Path, options: &str, mount: &str, has_checksums: bool) -> Result<Self, String> {
        let (made, copy) = (place.join("image"), place.join("copy"));
        image::make(&made, "16M", &options.split(' ').collect::<Vec<_>>(), None);
        let mount = Mount::new(&made, &place.join("mount"), mount)?;
        let mut load = Load::new(&mount.path.join("tree"), 3);
        (0..250).for_each(|_| load.step());
        xfs::copy(&made, &copy);
        let text = run("debugfs", &["-R", "blocks <8>", copy.to_str().expect("UTF-8")]);
        let journal = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Ok(Self { bytes: std::fs::read(&copy).expect("the copy"), journal, has_checksums })
    }

    fn block<'a>(&self, bytes: &'a mut [u8], index: usize) -> &'a mut [u8] {
        &mut bytes[self.journal[index] * BLOCK..][..BLOCK]
    }

    fn is_control(&self, index: usize) -> bool {
        self.bytes[self.journal[index] * BLOCK..].starts_with(&MAGIC)
    }

    /// The image with one thing in its journal wrong, and what that is.
    fn damaged(&self, random: &mut Random) -> (Vec<u8>, String) {
        let mut bytes = self.bytes.clone();
        let control: Vec<usize> = (1..self.journal.len()).filter(|index| self.is_control(*index)).collect();
        let commits: Vec<usize> =
            control.iter().copied().filter(|index| self.bytes[self.journal[*index] * BLOCK + 7] == 2).collect();
        let what = match random.below(6) {
            0 | 1 => {
                let index = *random.pick(&commits);
                let at = random.below(64) as usize;
                self.block(&mut bytes, index)[at] ^= 1 << random.below(8);
                format!("byte {at} of commit block {index}")
            }
            2 => {
                let index = *random.pick(&commits);
                self.block(&mut bytes, index).fill(0);
                format!("no commit block {index}")
            }
            3 => {
                let index = *random.pick(&control);
                let at = if self.has_checksums { random.below(BLOCK as u64) } else { random.below(12) } as usize;
                self.block(&mut bytes, index)[at] ^= 1 << random.below(8);
                format!("byte {at} of block {index}")
            }
            4 if self.has_checksums => {
                let index = 1 + random.below(self.journal.len() as u64 - 1) as usize;
                let at = random.below(BLOCK as u64) as usize;
                self.block(&mut bytes, index)[at] ^= 1 << random.below(8);
                format!("byte {at} of block {index}, whatever it is")
            }
            _ => {
                let (from, to) = (*random.pick(&control), *random.pick(&control));
                let copy = self.block(&mut bytes, from).to_vec();
                self.block(&mut bytes, to).copy_from_slice(&copy);
                format!("block {from} in place of block {to}")
            }
        };
        (bytes, what)
    }

    /// The image with other sequence numbers in its journal, which has no checksums.
    fn renumbered(&self, first: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let add = |field: &mut [u8], number: u32| {
            let old = u32::from_be_bytes(field.try_into().expect("a field"));
            field.copy_from_slice(&old.wrapping_add(number).to_be_bytes());
        };
        let superblock = self.block(&mut bytes, 0);
        let old = u32::from_be_bytes(superblock[0x18..0x1C].try_into().expect("a field"));
        let by = first.wrapping_sub(old);
        add(&mut superblock[0x18..0x1C], by);
        for index in (1..self.journal.len()).filter(|index| self.is_control(*index)) {
            add(&mut self.block(&mut bytes, index)[8..12], by);
        }
        bytes
    }
}

/// Whether the kernel recovers it; then we must show the same, and otherwise say that we don't.
fn judge(place: &Path, bytes: Vec<u8>, what: &str) -> bool {
    let theirs = place.join("theirs");
    std::fs::write(&theirs, &bytes).expect("an image");
    // No two runs make the same image: one that is judged otherwise must stay.
    let kept =
        std::env::temp_dir().join(format!("icecore-damaged-journal-{}", place.file_name().expect("a name").display()));
    xfs::copy(&theirs, &kept);
    let what = format!("{what} (kept as {})", kept.display());
    let recovered = compare_with_kernel(place, &theirs, bytes, &what);
    std::fs::remove_file(&kept).expect("removed");
    recovered
}

fn compare_with_kernel(place: &Path, theirs: &Path, bytes: Vec<u8>, what: &str) -> bool {
    let tree = open(Arc::new(MemoryDisk(bytes)));
    let state = tree.info().state;
    if let Err(why) = Mount::new(theirs, &place.join("mount"), "rw") {
        let is_labelled = state == VolumeState::Stale { reason: StaleReason::DamagedJournal };
        assert!(is_labelled, "{what}: {state:?}, but the kernel: {why}");
        return false;
    }
    let mount = Mount::new(theirs, &place.join("mount"), "ro").expect("it was mounted before");
    assert!(matches!(state, VolumeState::Replayed { .. }), "{what}: {state:?}, but the kernel recovers it");
    let mut report = compare(&tree, &mount.path, Against::Kernel);
    if !report.differences.is_empty() {
        let passed_over = passed_over(&mount.path);
        report.differences.retain(|told| !passed_over.iter().any(|path| told.starts_with(path)));
    }
    report.expect_same(&format!("{what}, {state:?}"));
    true
}

/// Directories that the kernel lists without their damaged blocks, and tells only its log of: we tell whoever lists them.
fn passed_over(mount: &Path) -> Vec<String> {
    let mount = mount.to_str().expect("UTF-8");
    let path = |line: &str| {
        let (_, told) = line.split_once(" path ")?;
        let (path, _) = told.split_once(": directory fails checksum")?;
        path.starts_with(mount).then(|| path.to_owned())
    };
    run("dmesg", &[]).lines().filter_map(path).collect()
}

#[test]
fn damage_is_judged_as_the_kernel_does() {
    let began = Instant::now();
    let mut not_run = NotRun::new("damage_is_judged_as_the_kernel_does");
    let share = common::campaign().unwrap_or_default() / u32::try_from(MADE_WITH.len()).expect("few");
    let place = xfs::scratch();
    let (mut recovered, mut refused) = (0, 0);
    for (name, options, mount, has_checksums) in MADE_WITH {
        let logged = match Logged::make(place.path(), options, mount, *has_checksums) {
            Ok(logged) => logged,
            Err(why) => {
                not_run.add(name, &why);
                continue;
            }
        };
        let from = Instant::now();
        assert!(judge(place.path(), logged.bytes.clone(), name), "{name}: whole, it is recovered");
        for seed in 0.. {
            if seed >= TIMES && from.elapsed() >= share {
                break;
            }
            let (bytes, what) = logged.damaged(&mut Random::new(seed));
            match judge(place.path(), bytes, &format!("{name}, seed {seed}, {what}")) {
                true => recovered += 1,
                false => refused += 1,
            }
        }
    }
    println!(
        "CAMPAIGN: guest_ext_journal_damage: {} damaged journals, {recovered} of them recovered by the kernel and shown \
         the same, {refused} refused and labelled, {:.0} s",
        recovered + refused,
        began.elapsed().as_secs_f64(),
    );
}

#[test]
fn sequence_numbers_wrap() {
    let place = xfs::scratch();
    let (_, options, mount, has_checksums) = MADE_WITH[4];
    let logged = match Logged::make(place.path(), options, mount, has_checksums) {
        Ok(logged) => logged,
        Err(why) => return guest_support::not_run("sequence_numbers_wrap", &why),
    };
    for first in [u32::MAX, u32::MAX - 2, u32::MAX - 5, i32::MAX as u32 - 2] {
        assert!(judge(place.path(), logged.renumbered(first), &format!("from sequence {first} on")));
    }
}
