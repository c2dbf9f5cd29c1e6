//! Promise 5: a volume that was copied while its machine wrote to it shows what the guest would see after a restart.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::{self, Mount, run};
use crate::guest_support::{FileDisk, NotRun, not_run, open, source};
use icecore::guest::{GuestFileSystem, StaleReason, VolumeState};

/// Name, `mke2fs` options, options of the mount that writes.
const MADE_WITH: &[(&str, &str, &str)] = &[
    ("checksums of version 3", "-b 4096 -t ext4", "rw"),
    ("checksums of version 3, 32-bit", "-b 1024 -t ext4 -O ^64bit -J size=2", "rw"),
    ("data in the journal", "-b 4096 -t ext4", "rw,data=journal"),
    ("data in the journal, no checksums", "-b 1024 -t ext4 -O ^metadata_csum,^64bit", "rw,data=journal"),
    ("no checksums", "-b 4096 -t ext4 -O ^metadata_csum", "rw,nodelalloc"),
    ("checksums of version 1", "-b 4096 -t ext4 -O ^metadata_csum", "rw,journal_checksum"),
    ("asynchronous commits", "-b 4096 -t ext4", "rw,journal_async_commit,data=writeback"),
    ("ext3", "-b 1024 -t ext3 -J size=2", "rw"),
    ("ext3, data in the journal", "-b 4096 -t ext3", "rw,data=journal"),
];

/// Copies an image whose file system is mounted, as a snapshot of a running machine would.
fn copy_while_mounted(image: &Path, copy: &Path) {
    run("cp", &["--sparse=always", image.to_str().expect("UTF-8"), copy.to_str().expect("UTF-8")]);
}

/// Commits the running transaction. Unlike `sync` it leaves the changed metadata where it is, in the journal only.
fn commit(mount: &Path) {
    let file = File::options().create(true).append(true).open(mount.join("marker")).expect("a file");
    (&file).write_all(b"x").expect("a write");
    file.sync_all().expect("a sync");
}

/// Several transactions: files, directories that come, go and come back as files in the same blocks, content that
/// looks like the journal's own blocks.
///
/// The files that it answers with were deleted while open: where they are closed after the copy, the copy has orphans.
#[must_use]
fn work(root: &Path, rounds: u64) -> Vec<File> {
    let mut orphans = Vec::new();
    for round in 0..rounds {
        let directory = root.join(format!("round-{round}"));
        fs::create_dir(&directory).expect("a directory");
        for number in 0..60 {
            let path = directory.join(format!("file-{number}-{}", "n".repeat(40)));
            fs::write(path, source::noise(round * 100 + number, 300 * number as usize)).expect("a file");
        }
        let mut content = source::noise(round, 40_000);
        for block in content.chunks_mut(1024) {
            block[..4].copy_from_slice(&0xC03B_3998_u32.to_be_bytes());
        }
        fs::write(root.join(format!("like-a-journal-{round}")), content).expect("a file");
        if let Some(before) = round.checked_sub(2) {
            fs::remove_dir_all(root.join(format!("round-{before}"))).expect("the directory goes");
            let file = File::create(root.join(format!("in-its-place-{round}"))).expect("a file");
            file.write_all_at(&source::noise(round + 7, 200_000), 0).expect("a write");
            file.set_len(150_001).expect("a length");
        }
        let orphan = root.join("orphan");
        orphans.push(File::create(&orphan).expect("a file"));
        fs::write(&orphan, source::noise(round, 30_000)).expect("a write");
        fs::remove_file(orphan).expect("the file goes");
        fs::rename(directory.join(format!("file-7-{}", "n".repeat(40))), root.join("moved")).expect("a move");
        let _ = std::os::unix::fs::symlink("x".repeat(70), root.join(format!("link-{}", round % 5)));
        let flags = rustix::fs::XattrFlags::empty();
        let value = source::noise(round, 500);
        rustix::fs::setxattr(root.join("moved"), "user.round", &value, flags).expect("an attribute");
        commit(root);
    }
    orphans
}

#[test]
fn a_copy_of_a_mounted_volume_is_replayed() {
    let place = tempfile::tempdir().expect("a directory");
    let mut not_run = NotRun::new("a_copy_of_a_mounted_volume_is_replayed");
    for (name, options, mount_options) in MADE_WITH {
        for rounds in [1, 4, 25] {
            let (made, ours, theirs) =
                (place.path().join("image"), place.path().join("ours"), place.path().join("theirs"));
            image::make(&made, "64M", &options.split(' ').collect::<Vec<_>>(), None);
            match Mount::new(&made, &place.path().join("mount"), mount_options) {
                Ok(mount) => {
                    let _orphans = work(&mount.path, rounds);
                    copy_while_mounted(&made, &ours);
                }
                Err(why) => {
                    not_run.add(name, &why);
                    continue;
                }
            }
            fs::copy(&ours, &theirs).expect("a copy");
            let tree = open(FileDisk::open(&ours));
            let state = tree.info().state;
            assert!(
                matches!(state, VolumeState::Replayed { transactions: 1.., blocks: 1.. }),
                "{name}, {rounds} rounds: {state:?}"
            );
            // Mounted for writing, the kernel replays its copy.
            let mount =
                Mount::new(&theirs, &place.path().join("mount"), "rw,noatime").expect("the copy can be mounted");
            compare(&tree, &mount.path, Against::Kernel).expect_same(&format!("{name}, {rounds} rounds, {state:?}"));
        }
    }
}

/// A directory's blocks are logged, freed and written again as a file's content, which is not logged. To replay the
/// log without its revocations would put the directory back into the file.
#[test]
fn a_revoked_block_is_not_replayed() {
    let place = tempfile::tempdir().expect("a directory");
    for options in ["-b 1024 -t ext4", "-b 1024 -t ext4 -O ^metadata_csum,^64bit", "-b 4096 -t ext3"] {
        let (made, ours, theirs) = (place.path().join("image"), place.path().join("ours"), place.path().join("theirs"));
        image::make(&made, "16M", &options.split(' ').collect::<Vec<_>>(), None);
        match Mount::new(&made, &place.path().join("mount"), "rw") {
            Ok(mount) => {
                let directory = mount.path.join("directory");
                fs::create_dir(&directory).expect("a directory");
                for number in 0..400 {
                    fs::write(directory.join(format!("{number}-{}", "n".repeat(100))), b"").expect("a file");
                }
                commit(&mount.path);
                fs::remove_dir_all(&directory).expect("the directory goes");
                commit(&mount.path);
                let mut file = File::create(mount.path.join("everything")).expect("a file");
                let content = source::noise(1, 64 << 10);
                while file.write_all(&content).is_ok() {}
                let _ = file.sync_all();
                copy_while_mounted(&made, &ours);
            }
            Err(why) => return not_run("a_revoked_block_is_not_replayed", &why),
        }
        fs::copy(&ours, &theirs).expect("a copy");
        let tree = open(FileDisk::open(&ours));
        assert!(matches!(tree.info().state, VolumeState::Replayed { .. }));
        let mount = Mount::new(&theirs, &place.path().join("mount"), "rw,noatime").expect("the copy can be mounted");
        compare(&tree, &mount.path, Against::Kernel).expect_same(&format!("revoked, {options}"));
    }
}

/// Where the journal lies, from debugfs: the blocks of inode 8, in order.
fn journal_blocks(image: &Path) -> Vec<usize> {
    let text = run("debugfs", &["-R", "blocks <8>", image.to_str().expect("UTF-8")]);
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_log_with_a_torn_end_is_replayed_up_to_it() {
    let place = tempfile::tempdir().expect("a directory");
    let (made, whole) = (place.path().join("image"), place.path().join("whole"));
    image::make(&made, "64M", &["-b", "4096", "-t", "ext4"], None);
    match Mount::new(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            let _orphans = work(&mount.path, 6);
            copy_while_mounted(&made, &whole);
        }
        Err(why) => return not_run("a_log_with_a_torn_end_is_replayed_up_to_it", &why),
    }
    let journal = journal_blocks(&whole);
    let bytes = fs::read(&whole).expect("the image");
    let is_commit = |block: &usize| bytes[block * 4096..].starts_with(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 2]);
    let commits: Vec<usize> = journal.iter().copied().filter(is_commit).collect();
    assert!(commits.len() > 4, "{} commits", commits.len());
    let mut seen = Vec::new();
    for torn in commits.iter().rev().take(4) {
        let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
        let mut bytes = bytes.clone();
        bytes[torn * 4096..][..4096].fill(0);
        fs::write(&ours, &bytes).expect("an image");
        fs::write(&theirs, &bytes).expect("an image");
        let tree = open(FileDisk::open(&ours));
        let VolumeState::Replayed { transactions, .. } = tree.info().state else { panic!("{:?}", tree.info().state) };
        seen.push(transactions);
        let mount = Mount::new(&theirs, &place.path().join("mount"), "rw,noatime").expect("the copy can be mounted");
        let report = compare(&tree, &mount.path, Against::Kernel);
        report.expect_same(&format!("torn, {transactions} transactions"));
    }
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "each is shorter: {seen:?}");
}

#[test]
fn a_damaged_journal_is_labelled() {
    let place = tempfile::tempdir().expect("a directory");
    let (made, copy) = (place.path().join("image"), place.path().join("copy"));
    image::make(&made, "64M", &["-b", "4096", "-t", "ext4"], None);
    match Mount::new(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            let _orphans = work(&mount.path, 3);
            copy_while_mounted(&made, &copy);
        }
        Err(why) => return not_run("a_damaged_journal_is_labelled", &why),
    }
    let journal = journal_blocks(&copy);
    let mut bytes = fs::read(&copy).expect("the image");
    // The first copy behind the first descriptor: not the end of the log, so no torn write explains it.
    let is_descriptor = |block: &&usize| bytes[**block * 4096..].starts_with(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 1]);
    let first = journal.iter().position(|block| is_descriptor(&block)).expect("a descriptor");
    bytes[journal[first + 1] * 4096 + 99] ^= 1;
    fs::write(&copy, &bytes).expect("an image");
    let state = open(FileDisk::open(&copy)).info().state;
    assert_eq!(state, VolumeState::Stale { reason: StaleReason::DamagedJournal });
}

/// `debugfs` makes a volume's journal one of another device, as `mke2fs -J device=` would, which wants a real one.
#[test]
fn a_journal_on_another_device_is_named() {
    let place = tempfile::tempdir().expect("a directory");
    let made = place.path().join("image");
    image::make(&made, "16M", &["-t", "ext4", "-O", "^metadata_csum"], None);
    let set = ["ssv journal_inum 0", "ssv journal_dev 0x831", "feature needs_recovery"];
    image::debugfs(&made, &set);
    let state = open(FileDisk::open(&made)).info().state;
    assert_eq!(state, VolumeState::Stale { reason: StaleReason::ExternalJournal });
}

/// A journal that says that it is empty has nothing to replay, whatever its blocks still hold; fast commits neither.
#[test]
fn an_empty_log_is_not_replayed() {
    let place = tempfile::tempdir().expect("a directory");
    let (made, ours, theirs) = (place.path().join("image"), place.path().join("ours"), place.path().join("theirs"));
    let options = ["-b", "4096", "-t", "ext4", "-O", "fast_commit,^metadata_csum"];
    image::make(&made, "64M", &options, None);
    match Mount::new(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            let _orphans = work(&mount.path, 2);
            copy_while_mounted(&made, &ours);
        }
        Err(why) => return not_run("an_empty_log_is_not_replayed", &why),
    }
    let mut bytes = fs::read(&ours).expect("the image");
    // `s_start`; nothing was written back, so that only an empty tree is left.
    let superblock = journal_blocks(&ours)[0] * 4096;
    bytes[superblock + 0x1C..][..4].fill(0);
    fs::write(&ours, &bytes).expect("an image");
    fs::write(&theirs, &bytes).expect("an image");
    let tree = open(FileDisk::open(&ours));
    assert_eq!(tree.info().state, VolumeState::Replayed { transactions: 0, blocks: 0 });
    let mount = Mount::new(&theirs, &place.path().join("mount"), "rw,noatime").expect("the copy can be mounted");
    compare(&tree, &mount.path, Against::Kernel).expect_same("an empty log");
}

/// Linux leaves word of an error in the journal before it does so in the superblock.
#[test]
fn an_error_that_the_journal_tells_of_is_recorded() {
    let place = tempfile::tempdir().expect("a directory");
    let made = place.path().join("image");
    image::make(&made, "16M", &["-b", "1024", "-t", "ext4", "-O", "^metadata_csum"], None);
    image::debugfs(&made, &["feature needs_recovery"]);
    assert!(!open(FileDisk::open(&made)).info().has_recorded_errors);
    let mut bytes = fs::read(&made).expect("the image");
    // `s_errno`, of either sign.
    bytes[journal_blocks(&made)[0] * 1024 + 0x20..][..4].copy_from_slice(&(-5_i32).to_be_bytes());
    fs::write(&made, &bytes).expect("an image");
    assert!(open(FileDisk::open(&made)).info().has_recorded_errors);
}
