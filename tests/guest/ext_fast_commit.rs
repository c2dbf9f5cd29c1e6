//! Promise 5: a volume whose journal ends in fast commits shows what the guest would see after a restart.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::ext::{ClonePlace, Load, clone};
use crate::guest_support::image::{self, Mount, run};
use crate::guest_support::{FileDisk, not_run, open};
use icecore::guest::{FileSystem, GuestFileSystem, StaleReason, VolumeState};
use icecore_fuse::ReadOnlyTree;

/// Name and `mke2fs` options.
const MADE_WITH: &[(&str, &str)] = &[
    ("4 KiB", "-b 4096 -t ext4 -O fast_commit"),
    ("1 KiB", "-b 1024 -t ext4 -O fast_commit -J size=8"),
    ("no checksums", "-b 4096 -t ext4 -O fast_commit,^metadata_csum,^64bit"),
    ("clusters", "-b 4096 -t ext4 -O fast_commit,bigalloc"),
];

const TAG_TAIL: u16 = 8;
const TAG_HEAD: u16 = 9;

/// The area of fast commits of an image.
struct Area {
    block_bytes: usize,
    /// Where each of its blocks lies in the image, in bytes.
    places: Vec<usize>,
}

impl Area {
    fn of(image: &Path, block_bytes: usize) -> Self {
        let text = run("debugfs", &["-R", "blocks <8>", image.to_str().expect("UTF-8")]);
        let blocks: Vec<usize> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let mut superblock = [0; 1024];
        let at = (blocks[0] * block_bytes) as u64;
        File::open(image).expect("the image").read_exact_at(&mut superblock, at).expect("a read");
        let field = |at: usize| u32::from_be_bytes(superblock[at..at + 4].try_into().expect("a field")) as usize;
        let (end, count) = (field(0x10), if field(0x54) == 0 { 256 } else { field(0x54) });
        let places = (end - count + 1..end).map(|index| blocks[index] * block_bytes).collect();
        Self { block_bytes, places }
    }

    /// Where the tails of the last transaction's fast commits lie, as block of the area and byte in it.
    fn tails(&self, image: &Path) -> Vec<(usize, usize)> {
        let bytes = fs::read(image).expect("the image");
        let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("a field"));
        let sequence_at = |at: usize| &bytes[at..at + 4];
        let first = self.places[0];
        let mut tails = Vec::new();
        for (index, place) in self.places.iter().enumerate().filter(|_| u16_at(first) == TAG_HEAD) {
            let mut at = 0;
            while at + 12 <= self.block_bytes {
                match u16_at(place + at) {
                    0 | 10.. => return tails,
                    TAG_TAIL if sequence_at(place + at + 4) == sequence_at(first + 8) => tails.push((index, at)),
                    TAG_TAIL => return tails,
                    _ => {}
                }
                at += 4 + usize::from(u16_at(place + at + 2));
            }
        }
        tails
    }
}

/// A place for images of file systems that this kernel commits to fast; where it can't be had, the test is not run.
fn place(test: &str) -> Option<ClonePlace> {
    let is_known = Path::new("/sys/fs/ext4/features/fast_commit").exists();
    let place = if is_known { ClonePlace::new() } else { Err("this kernel has no fast commits".to_owned()) };
    place.map_err(|why| not_run(test, &why)).ok()
}

/// Makes an image and mounts it for writing.
fn mount(place: &ClonePlace, image: &Path, options: &str) -> Mount {
    image::make(image, "128M", &options.split(' ').collect::<Vec<_>>(), None);
    Mount::new(image, &place.mount_path("load"), "rw").expect("a mount, as the place itself is one")
}

fn expect_replayed(tree: &FileSystem) {
    let state = tree.info().state;
    assert!(matches!(state, VolumeState::Replayed { transactions: 1.., .. }), "{state:?}");
}

#[test]
fn they_are_replayed_as_the_kernel_does() {
    let Some(place) = place("they_are_replayed_as_the_kernel_does") else { return };
    let (made, ours, theirs) = (place.path("image"), place.path("ours"), place.path("theirs"));
    let mut with_fast_commits = 0;
    for (seed, (name, options)) in (0..).zip(MADE_WITH) {
        let mount = mount(&place, &made, options);
        let mut load = Load::new(&mount.path.join("tree"), seed);
        load.is_fast = true;
        for round in 0..6 {
            // The kernel does not recover what was deleted while open: see the test of that.
            load.orphans.clear();
            load.keeps_orphans = false;
            (0..80).for_each(|_| load.step());
            clone(&made, &ours);
            clone(&ours, &theirs);
            let block_bytes = if name.contains("1 KiB") { 1024 } else { 4096 };
            with_fast_commits += usize::from(!Area::of(&ours, block_bytes).tails(&ours).is_empty());
            let tree = open(FileDisk::open(&ours));
            expect_replayed(&tree);
            drop(Mount::new(&theirs, &place.mount_path("recovered"), "rw").expect("the kernel recovers it"));
            let recovered = Mount::new(&theirs, &place.mount_path("recovered"), "ro").expect("a mount");
            compare(&tree, &recovered.path, Against::FastCommits).expect_same(&format!("{name}, round {round}"));
        }
    }
    assert!(with_fast_commits > 10, "only {with_fast_commits} images had fast commits");
}

/// A file, a second name, a directory with a file in it, a name that goes, a hole: each in a fast commit of its own.
fn known_work(root: &Path) {
    fs::write(root.join("goes"), b"gone").expect("a file");
    fs::write(root.join("holed"), vec![7; 40_000]).expect("a file");
    run("sync", &["-f", root.to_str().expect("UTF-8")]);
    let sync = |path: &str| File::open(root.join(path)).expect("a file").sync_all().expect("a sync");
    fs::write(root.join("first"), b"as synced").expect("a file");
    sync("first");
    fs::hard_link(root.join("first"), root.join("second")).expect("a link");
    sync("second");
    fs::create_dir(root.join("made")).expect("a directory");
    fs::write(root.join("made/inside"), vec![9; 5000]).expect("a file");
    sync("made/inside");
    fs::remove_file(root.join("goes")).expect("the file goes");
    sync("first");
    let holed = File::options().write(true).open(root.join("holed")).expect("a file");
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&holed, flags, 8192, 16_384).expect("a hole");
    holed.sync_all().expect("a sync");
}

/// What of the known work is there, as a line of text.
fn seen(tree: &FileSystem) -> String {
    let find = |path: &str| {
        path.split('/').try_fold(tree.root(), |node, name| tree.lookup(node, name.as_bytes()).expect("a lookup"))
    };
    let mut seen = Vec::new();
    for path in ["goes", "first", "second", "made", "made/inside"] {
        if find(path).is_some() {
            seen.push(path.to_owned());
        }
    }
    let mut holed = vec![0; 40_000];
    let read = tree.read(find("holed").expect("a file"), 0, &mut holed).expect("a read");
    seen.push(format!("{read} bytes, {} of them zeros", holed.iter().filter(|byte| **byte == 0).count()));
    seen.join(" ")
}

#[test]
fn what_was_synced_is_there_up_to_the_last_whole_commit() {
    let Some(place) = place("what_was_synced_is_there_up_to_the_last_whole_commit") else { return };
    let (made, whole, torn) = (place.path("image"), place.path("whole"), place.path("torn"));
    let mount = mount(&place, &made, "-b 1024 -t ext4 -O fast_commit -J size=8");
    known_work(&mount.path);
    clone(&made, &whole);
    let area = Area::of(&whole, 1024);
    let tails = area.tails(&whole);
    assert_eq!(tails.len(), 5, "one for each sync: {tails:?}");
    let expected = [
        "goes 40000 bytes, 0 of them zeros",
        "goes first 40000 bytes, 0 of them zeros",
        "goes first second 40000 bytes, 0 of them zeros",
        "goes first second made made/inside 40000 bytes, 0 of them zeros",
        "first second made made/inside 40000 bytes, 0 of them zeros",
        "first second made made/inside 40000 bytes, 16384 of them zeros",
    ];
    assert_eq!(seen(&open(FileDisk::open(&whole))), expected[5]);
    for (commits, (block, at)) in tails.iter().enumerate() {
        clone(&whole, &torn);
        let file = File::options().write(true).open(&torn).expect("the image");
        // One byte of the tail's checksum.
        file.write_all_at(&[0xA5], (area.places[*block] + at + 9) as u64).expect("a write");
        let tree = open(FileDisk::open(&torn));
        expect_replayed(&tree);
        assert_eq!(seen(&tree), expected[commits], "{commits} whole commits");
        if commits == 0 {
            // Linux's recovery takes a first one that is torn for damage.
            continue;
        }
        drop(Mount::new(&torn, &place.mount_path("recovered"), "rw").expect("the kernel recovers it"));
        let recovered = Mount::new(&torn, &place.mount_path("recovered"), "ro").expect("a mount");
        compare(&tree, &recovered.path, Against::FastCommits).expect_same(&format!("{commits} whole commits"));
    }
}

/// A file within its inode, and one that outgrows it. Of that, Linux's recovery shows zeros; what was synced is there.
#[test]
fn a_file_may_outgrow_its_inode() {
    let Some(place) = place("a_file_may_outgrow_its_inode") else { return };
    let (made, ours) = (place.path("image"), place.path("ours"));
    let mount = mount(&place, &made, "-b 4096 -t ext4 -O fast_commit,inline_data");
    fs::write(mount.path.join("grows"), vec![1; 40]).expect("a file");
    run("sync", &["-f", mount.path.to_str().expect("UTF-8")]);
    for (name, bytes) in [("tiny", 30), ("grows", 10_000)] {
        let mut file = File::options().create(true).append(true).open(mount.path.join(name)).expect("a file");
        file.write_all(&vec![1; bytes]).expect("a write");
        file.sync_all().expect("a sync");
    }
    clone(&made, &ours);
    let tree = open(FileDisk::open(&ours));
    expect_replayed(&tree);
    for (name, bytes) in [("tiny", 30), ("grows", 10_040)] {
        let node = tree.lookup(tree.root(), name.as_bytes()).expect("a lookup").expect("the file");
        let mut content = vec![0; 20_000];
        let read = tree.read(node, 0, &mut content).expect("a read");
        assert_eq!(content[..read], vec![1; bytes], "{name}");
    }
}

/// A file that was deleted while open and synced: Linux's recovery fails at it, `e2fsck` does not.
#[test]
fn a_file_that_was_deleted_while_open_is_gone() {
    let Some(place) = place("a_file_that_was_deleted_while_open_is_gone") else { return };
    let (made, ours) = (place.path("image"), place.path("ours"));
    let mount = mount(&place, &made, "-b 4096 -t ext4 -O fast_commit");
    known_work(&mount.path);
    let mut file = File::options().append(true).open(mount.path.join("holed")).expect("a file");
    fs::rename(mount.path.join("first"), mount.path.join("holed")).expect("a move over it");
    file.write_all(b"more").expect("a write");
    file.sync_all().expect("a sync");
    clone(&made, &ours);
    let tree = open(FileDisk::open(&ours));
    expect_replayed(&tree);
    let names = ["first", "second", "holed"].map(|name| tree.lookup(tree.root(), name.as_bytes()).expect("a lookup"));
    assert_eq!(names[0], None);
    assert_eq!(names[1], names[2], "two names of what was written first");
    assert_eq!(tree.attributes(names[1].expect("a file")).expect("attributes").size_bytes, 9);
}

fn tag(kind: u16, value: &[&[u8]]) -> Vec<u8> {
    let value = value.concat();
    [&kind.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), &value].concat()
}

/// Puts a fast commit of these tags in the place of those that an image has.
fn replace(image: &Path, tags: &[Vec<u8>]) {
    let area = Area::of(image, 1024);
    let head = fs::read(image).expect("the image")[area.places[0]..][..12].to_vec();
    let tags = [&head, &tags.concat()[..]].concat();
    let length = (1024 - tags.len() - 4) as u16;
    let mut block = [&tags, &TAG_TAIL.to_le_bytes()[..], &length.to_le_bytes(), &head[8..]].concat();
    block.extend((!crc32c::crc32c_append(!0, &block)).to_le_bytes());
    block.resize(1024, 0);
    let file = File::options().write(true).open(image).expect("the image");
    file.write_all_at(&block, area.places[0] as u64).expect("a write");
}

/// An image that the kernel wrote fast commits to.
fn known_image(place: &ClonePlace) -> PathBuf {
    let (made, copy) = (place.path("image"), place.path("ours"));
    let mount = mount(place, &made, "-b 1024 -t ext4 -O fast_commit -J size=8");
    known_work(&mount.path);
    clone(&made, &copy);
    copy
}

/// Where fast commits can't be what a kernel wrote, none is replayed, and the volume says so.
#[test]
fn fast_commits_that_can_not_be_are_labelled() {
    let Some(place) = place("fast_commits_that_can_not_be_are_labelled") else { return };
    let image = known_image(&place);
    // An inode that does not exist gets a name.
    replace(&image, &[tag(3, &[&2_u32.to_le_bytes(), &3000_u32.to_le_bytes(), b"x"])]);
    let tree = open(FileDisk::open(&image));
    assert_eq!(tree.info().state, VolumeState::Stale { reason: StaleReason::FastCommits });
    assert_eq!(seen(&tree), "goes 40000 bytes, 0 of them zeros");
}

/// Where others have their block map, a short link has its target. Newer kernels commit none fast; what older ones wrote
/// they can't read.
#[test]
fn a_short_link_keeps_its_target() {
    let Some(place) = place("a_short_link_keeps_its_target") else { return };
    let image = known_image(&place);
    let mut raw = [0; 128];
    raw[..2].copy_from_slice(&0o120_777_u16.to_le_bytes());
    raw[0x4] = 8;
    raw[0x1A] = 1;
    raw[0x28..0x30].copy_from_slice(b"a/target");
    let number = 3000_u32.to_le_bytes();
    replace(&image, &[tag(6, &[&number, &raw]), tag(3, &[&2_u32.to_le_bytes(), &number, b"link"])]);
    let tree = open(FileDisk::open(&image));
    expect_replayed(&tree);
    let link = tree.lookup(tree.root(), b"link").expect("a lookup").expect("it is there");
    assert_eq!(tree.read_link(link).expect("a target"), b"a/target");
}
