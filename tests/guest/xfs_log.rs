//! Promise 5: an XFS volume that was copied while its machine wrote to it shows what the guest would see after a
//! restart.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::run;
use crate::guest_support::{FileDisk, MemoryDisk, NotRun, not_run, open, source, xfs};
use icecore::guest::{GuestFileSystem, StaleReason, VolumeState};

/// Name, `mkfs.xfs` options, options of the mount that writes.
const MADE_WITH: &[(&str, &str, &str)] = &[
    ("defaults", "", "rw"),
    ("1 KiB blocks", "-b size=1024", "rw,logbsize=256k"),
    ("directory blocks of 16 KiB", "-n size=16384", "rw"),
    ("old features", "-m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0", "rw"),
    ("all features", "-m rmapbt=1 -i nrext64=1,size=1024", "rw,logbsize=64k"),
    ("log stripes", "-l su=32k", "rw,logbsize=256k"),
    ("4 KiB sectors", "-s size=4096", "rw"),
];

/// Writes the log. Unlike `sync` it leaves the changed structures where they are, in the log only.
fn commit(root: &Path) {
    let file = File::options().create(true).append(true).open(root.join("marker")).expect("a file");
    (&file).write_all(b"x").expect("a write");
    file.sync_all().expect("a sync");
}

/// One round of what a machine does: directories that come and go, files that take their place, trees of extents,
/// attributes, links; each round other names. Errors end it: the file system may be shut down below it.
fn round(root: &Path, number: u64) -> std::io::Result<()> {
    let directory = root.join(format!("round-{number}"));
    fs::create_dir(&directory)?;
    for file in 0..70 {
        let path = directory.join(format!("file-{file}-{}", "n".repeat(file as usize)));
        fs::write(&path, source::noise(number * 100 + file, 150 * file as usize))?;
        if file % 9 == 0 {
            let value = source::noise(file, 40 * file as usize);
            rustix::fs::setxattr(&path, "user.round", &value, rustix::fs::XattrFlags::empty())?;
        }
    }
    let file = File::create(root.join(format!("extents-{}", number % 3)))?;
    for piece in 0..40 {
        file.write_all_at(&source::noise(number + piece, 4096), (piece * 7 + number % 5) * 8192)?;
    }
    file.sync_all()?;
    if let Some(before) = number.checked_sub(2) {
        fs::remove_dir_all(root.join(format!("round-{before}")))?;
        let file = File::create(root.join(format!("in-its-place-{}", number % 7)))?;
        file.write_all_at(&source::noise(number + 7, 200_000), 0)?;
        file.set_len(150_001)?;
    }
    let moved = directory.join(format!("file-7-{}", "n".repeat(7)));
    fs::rename(moved, root.join("moved"))?;
    let link = root.join(format!("link-{}", number % 5));
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink("x".repeat(20 + (number as usize * 97) % 1000), link)?;
    Ok(())
}

/// Replays one copy of an image, has the kernel recover another, and compares.
fn compare_copies(place: &Path, image: &Path, what: &str) -> VolumeState {
    let ours = xfs::copy(image, &place.join("ours"));
    let theirs = xfs::copy(image, &place.join("theirs"));
    let tree = open(FileDisk::open(&ours));
    let state = tree.info().state;
    let mount = xfs::mount(&theirs, &place.join("recovered"), "rw,noatime").expect("the copy can be mounted");
    compare(&tree, &mount.path, Against::Kernel).expect_same(&format!("{what}, {state:?}"));
    state
}

fn is_replayed(state: VolumeState) -> bool {
    matches!(state, VolumeState::Replayed { transactions: 1.., blocks: 1.. })
}

#[test]
fn a_copy_of_a_mounted_volume_is_replayed() {
    let place = xfs::scratch();
    let mut not_run = NotRun::new("a_copy_of_a_mounted_volume_is_replayed");
    if let Err(why) = xfs::can_make() {
        return not_run.add("all of it", &why);
    }
    for (name, options, mount_options) in MADE_WITH {
        let made = place.path().join("image");
        xfs::make(&made, "96M", &options.split_whitespace().collect::<Vec<_>>());
        let mount = match xfs::mount(&made, &place.path().join("mount"), mount_options) {
            Ok(mount) => mount,
            Err(why) => {
                not_run.add(name, &why);
                continue;
            }
        };
        let mut number = 0;
        for rounds in [1, 6] {
            for _ in 0..rounds {
                round(&mount.path, number).expect("a round");
                number += 1;
            }
            // Deleted while open: recovery ends its life.
            let orphan = File::create(mount.path.join("orphan")).expect("a file");
            fs::remove_file(mount.path.join("orphan")).expect("the file goes");
            commit(&mount.path);
            let state = compare_copies(place.path(), &made, &format!("{name}, {number} rounds"));
            assert!(is_replayed(state), "{name}: {state:?}");
            drop(orphan);
        }
    }
}

/// The places of the headers of the last turn's records, in their order.
fn records(image: &Path) -> Vec<usize> {
    let records = xfs::Log::of(image).records();
    records.iter().map(|record| usize::try_from(record.at).expect("a small image")).collect()
}

#[test]
fn a_log_that_went_round_is_replayed() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("a_log_that_went_round_is_replayed", &why);
    }
    let made = place.path().join("image");
    xfs::make(&made, "96M", &["-m", "reflink=0,rmapbt=0,finobt=0", "-l", "size=4m"]);
    let mount = match xfs::mount(&made, &place.path().join("mount"), "rw,logbsize=32k") {
        Ok(mount) => mount,
        Err(why) => return not_run("a_log_that_went_round_is_replayed", &why),
    };
    let mut wrapped = 0;
    for number in 0..48 {
        round(&mount.path, number).expect("a round");
        commit(&mount.path);
        if number % 4 == 3 && number > 20 {
            let state = compare_copies(place.path(), &made, &format!("round {number}"));
            assert!(is_replayed(state), "{state:?}");
            let bytes = fs::read(&made).expect("the image");
            let last = *records(&made).last().expect("a record");
            // The tail is at a later sector than the record that tells of it.
            wrapped += u32::from(bytes[last + 28..last + 32] > bytes[last + 20..last + 24]);
        }
    }
    assert!(wrapped > 0, "the live part never reached over the end of the log");
}

#[test]
fn a_log_with_a_torn_end_is_replayed_up_to_it() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("a_log_with_a_torn_end_is_replayed_up_to_it", &why);
    }
    let (made, whole) = (place.path().join("image"), place.path().join("whole"));
    xfs::make(&made, "96M", &[]);
    match xfs::mount(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            for number in 0..6 {
                round(&mount.path, number).expect("a round");
                commit(&mount.path);
            }
            xfs::copy(&made, &whole);
        }
        Err(why) => return not_run("a_log_with_a_torn_end_is_replayed_up_to_it", &why),
    }
    let bytes = fs::read(&whole).expect("the image");
    let records = records(&whole);
    assert!(records.len() > 6, "{} records", records.len());
    for (back, kind) in [(1, "header"), (1, "data"), (2, "header"), (3, "data"), (5, "data"), (5, "never written")] {
        let at = records[records.len() - back];
        let mut bytes = bytes.clone();
        match kind {
            "header" => bytes[at + 100] ^= 1,
            "data" => bytes[at + 512 + 77] ^= 1,
            _ => bytes[at..at + 1024].fill(0),
        }
        let torn = place.path().join("torn");
        fs::write(&torn, &bytes).expect("an image");
        compare_copies(place.path(), &torn, &format!("{kind} of record {back} from the end"));
    }
}

#[test]
fn a_damaged_log_is_labelled() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("a_damaged_log_is_labelled", &why);
    }
    let (made, copy) = (place.path().join("image"), place.path().join("copy"));
    xfs::make(&made, "96M", &[]);
    match xfs::mount(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            for number in 0..20 {
                round(&mount.path, number).expect("a round");
                commit(&mount.path);
            }
            xfs::copy(&made, &copy);
        }
        Err(why) => return not_run("a_damaged_log_is_labelled", &why),
    }
    let mut bytes = fs::read(&copy).expect("the image");
    let records = records(&copy);
    let last = records[records.len() - 1];
    let tail = usize::try_from(u32::from_be_bytes(bytes[last + 28..last + 32].try_into().expect("4 bytes")));
    let start = usize::try_from(xfs::Log::of(&copy).start).expect("a small image");
    let tail = start + tail.expect("a place") * 512;
    let live = records.iter().position(|at| *at == tail).expect("the tail is a record");
    assert!(records.len() - live > 12, "only {} records are live", records.len() - live);
    // In the midst of the live part: no write that was under way explains it.
    bytes[records[live + 1] + 512 + 9] ^= 1;
    fs::write(&copy, &bytes).expect("an image");
    let state = open(FileDisk::open(&copy)).info().state;
    assert_eq!(state, VolumeState::Stale { reason: StaleReason::DamagedJournal });
}

/// Makes the newest inode's change in the log one of another type.
fn change_last_item(bytes: &mut [u8], records: &[usize], to: u16) {
    for at in records.iter().rev().copied() {
        let data_bytes = u32::from_be_bytes(bytes[at + 12..at + 16].try_into().expect("4 bytes")) as usize;
        let data = &mut bytes[at + 512..at + 512 + data_bytes];
        // Behind the header of an operation; not at the start of a sector, where the cycle stands.
        let is_item = |place: &usize| {
            !place.is_multiple_of(512)
                && data[place - 4..place - 2] == [0x69, 0]
                && data[*place..place + 2] == 0x123B_u16.to_le_bytes()
                && matches!(data[place + 2..place + 4], [2..=4, 0])
        };
        if let Some(place) = (12..data_bytes.saturating_sub(64)).step_by(4).rfind(is_item) {
            data[place..place + 2].copy_from_slice(&to.to_le_bytes());
            bytes[at + 32..at + 36].fill(0);
            let sum = crc32c::crc32c(&bytes[at..at + 328]);
            let sum = crc32c::crc32c_append(sum, &bytes[at + 512..at + 512 + data_bytes]);
            bytes[at + 32..at + 36].copy_from_slice(&sum.to_le_bytes());
            return;
        }
    }
    panic!("no inode was logged");
}

#[test]
fn changes_that_are_not_known_are_labelled() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("changes_that_are_not_known_are_labelled", &why);
    }
    let (made, copy) = (place.path().join("image"), place.path().join("copy"));
    xfs::make(&made, "96M", &[]);
    match xfs::mount(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            round(&mount.path, 0).expect("a round");
            commit(&mount.path);
            xfs::copy(&made, &copy);
        }
        Err(why) => return not_run("changes_that_are_not_known_are_labelled", &why),
    }
    let records = records(&copy);
    let whole = fs::read(&copy).expect("the image");
    // Blocks that are mapped to a file, attributes that are set, content that is exchanged: begun, not finished.
    for (kind, reason) in [
        (0x1244, StaleReason::UnfinishedOperations),
        (0x1246, StaleReason::UnfinishedOperations),
        (0x1248, StaleReason::UnfinishedOperations),
        (0x1299, StaleReason::UnsupportedJournal),
    ] {
        let mut bytes = whole.clone();
        change_last_item(&mut bytes, &records, kind);
        let tree = open(std::sync::Arc::new(MemoryDisk(bytes)));
        assert_eq!(tree.info().state, VolumeState::Stale { reason }, "{kind:#x}");
    }
}

#[test]
fn a_log_on_another_device_is_labelled() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("a_log_on_another_device_is_labelled", &why);
    }
    let (made, log) = (place.path().join("image"), place.path().join("log"));
    run("truncate", &["-s", "64M", log.to_str().expect("UTF-8")]);
    xfs::make(&made, "96M", &["-l", &format!("logdev={},size=32m", log.display())]);
    let state = open(FileDisk::open(&made)).info().state;
    assert_eq!(state, VolumeState::Stale { reason: StaleReason::ExternalJournal });
}

/// The tools that make a file system write a record without a checksum into its log.
#[test]
fn a_new_volume_is_clean() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("a_new_volume_is_clean", &why);
    }
    for options in [&[][..], &["-l", "su=256k"], &["-b", "size=1024"]] {
        let made = place.path().join("image");
        xfs::make(&made, "96M", options);
        assert_eq!(open(FileDisk::open(&made)).info().state, VolumeState::Clean, "{options:?}");
    }
}

/// The blocks of the maps still name the inode that had them; so does the log, which leaves it to whoever replays it.
/// Kernels up to 6.18 at least fail to recover what they themselves logged here, so that what was there is compared.
#[test]
fn files_that_exchanged_their_blocks_are_replayed() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("files_that_exchanged_their_blocks_are_replayed", &why);
    }
    let made = place.path().join("image");
    xfs::make(&made, "96M", &["-m", "rmapbt=0,reflink=0", "-b", "size=1024"]);
    let root = place.path().join("mount");
    let (file, donor) = (root.join("file"), root.join("donor"));
    match xfs::mount(&made, &root, "rw") {
        Ok(_mount) => [&file, &donor].into_iter().for_each(|path| xfs::fragmented(path, 600)),
        Err(why) => return not_run("files_that_exchanged_their_blocks_are_replayed", &why),
    }
    // A block that nothing else changed is not logged with its new owner.
    let mount = xfs::mount(&made, &root, "rw,noatime").expect("it could be mounted before");
    run("xfs_io", &["-c", &format!("swapext {}", donor.display()), file.to_str().expect("UTF-8")]);
    commit(&mount.path);
    let copy = xfs::copy(&made, &place.path().join("copy"));
    let tree = open(FileDisk::open(&copy));
    let state = tree.info().state;
    assert!(is_replayed(state), "{state:?}");
    compare(&tree, &mount.path, Against::Kernel).expect_same(&format!("exchanged, {state:?}"));
}
