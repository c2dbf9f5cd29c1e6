//! Promise 5: the log of an XFS of version 4, and one with quotas, is replayed to what a kernel makes of it. Newer
//! kernels do not mount that version any more, so one of its own is asked: it writes, is ended as by a power cut, and
//! recovers copies.
//!
//! With `ICECORE_CAMPAIGN` set, this goes on for `ICECORE_CAMPAIGN_SECONDS` (120, if not set). A seed that fails there
//! belongs into `SEEDS`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common;
use crate::guest_support::compare::list;
use crate::guest_support::xfs_load::Random;
use crate::guest_support::{FileDisk, not_run, open, uml, xfs};
use icecore::guest::{FileSystem, GuestFileSystem, VolumeState};
use icecore_fuse::{FileType, NodeId, ReadOnlyTree, Timestamp};

const SEEDS: [u64; 1] = [1];

/// Options of `mkfs.xfs` and of the mount; the letter of the disk, the more of them. Quotas are what this machine's kernel
/// may lack too.
const MADE_WITH: &[(&str, &str)] = &[
    ("-m crc=0", "uquota,gquota"),
    ("-m crc=0 -l version=1 -b size=1024", "rw"),
    ("-m rmapbt=1", "uquota,gquota,pquota"),
    ("-m crc=0 -n ftype=1 -i size=512", "rw"),
    ("-m crc=0 -l su=32k", "uquota,pquota"),
    ("-m crc=0 -l version=1", "rw"),
    ("-m crc=0 -b size=512", "rw"),
];
/// How many of them are made each time.
const COMPACT: usize = 3;

const LIMIT: Duration = Duration::from_secs(240);

/// Has a machine write to all disks, and ends it in the midst.
fn crash(disks: &[PathBuf], seed: u64) {
    let load = fs::canonicalize("tests/guest_support/xfs_load.pl").expect("the load");
    let mut script = "load xfs\n".to_owned();
    for (number, (_, mounted_with)) in MADE_WITH.iter().enumerate().take(disks.len()) {
        let (letter, load) = (letter(number), load.display());
        let seed = seed * 16 + number as u64;
        writeln!(script, "mkdir /run/{number}; mount -o {mounted_with} /dev/ubd{letter} /run/{number}").expect("text");
        writeln!(script, "perl {load} /run/{number} {seed} {}", 3 + seed % 9).expect("text");
        writeln!(script, "perl {load} /run/{number} {} 100000 &", seed + 1).expect("text");
    }
    script += "sleep 1\necho now\nsleep 60\n";
    let paths: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    uml::run_until(&paths, &script, "now", LIMIT);
}

fn letter(number: usize) -> char {
    (b'a'..).nth(number).map_or('a', char::from)
}

/// Has a machine recover the disks, and tell what is on each; or why it can't.
fn recover(disks: &[PathBuf], made_with: &[(&str, &str)]) -> Vec<Result<Manifest, String>> {
    let mut script = "load xfs\n".to_owned();
    for number in 0..disks.len() {
        let (_, mounted_with) = made_with[number % made_with.len()];
        // Where something can't be read, or recovery ends it, there is nothing to compare with.
        let one = format!(
            "echo disk; mount -o noatime,{mounted_with} /dev/ubd{} /run/mnt && cd /run/mnt && \
             find . -mindepth 1 -printf '+|%P|%y|%m|%U|%G|%n|%s|%T@|%C@|%A@|%l\\n' >/run/entries && \
             find . -type f -exec cksum {{}} + >/run/sums && getfattr -R -h -d -m - -e hex . >/run/attributes && \
             (cat /run/entries; echo sums; cat /run/sums; echo attributes; cat /run/attributes) || (echo refused; dmesg | grep XFS | tail -n 4)\n\
             cd /; umount /run/mnt || true\n",
            letter(number)
        );
        script += &one;
    }
    let paths: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let said = uml::run(&paths, &script, LIMIT);
    let all: Vec<_> = said.split("disk\n").skip(1).map(parse).collect();
    assert_eq!(all.len(), disks.len(), "{said}");
    all
}

/// What there is at a path: a line of everything but content and attributes; the sum of the content; attributes.
type Manifest = BTreeMap<String, (String, Option<u32>, BTreeMap<String, String>)>;

fn parse(said: &str) -> Result<Manifest, String> {
    let (entries, rest) = said.split_once("sums\n").ok_or(said)?;
    let (sums, attributes) = rest.split_once("attributes\n").expect("attributes follow the sums");
    let mut manifest = Manifest::new();
    for line in entries.lines().filter_map(|line| line.strip_prefix("+|")) {
        let (path, line) = line.split_once('|').expect("a path");
        manifest.insert(path.to_owned(), (line.to_owned(), None, BTreeMap::new()));
    }
    for line in sums.lines() {
        let mut words = line.splitn(3, ' ');
        let sum = words.next().and_then(|sum| sum.parse().ok()).expect("a sum");
        let path = words.nth(1).and_then(|path| path.strip_prefix("./")).expect("a path");
        manifest.get_mut(path).expect("a path that was listed").1 = Some(sum);
    }
    let mut path = "";
    for line in attributes.lines() {
        if let Some(next) = line.strip_prefix("# file: ") {
            path = next;
        } else if let Some((name, value)) = line.split_once('=') {
            let value = value.strip_prefix("0x").unwrap_or("").to_owned();
            manifest.get_mut(path).expect("a path that was listed").2.insert(name.to_owned(), value);
        }
    }
    Ok(manifest)
}

/// The same of a tree that is read here.
fn manifest(tree: &FileSystem, directory: NodeId, path: &str, into: &mut Manifest) {
    for (name, node, kind) in list(tree, directory).expect("a listing") {
        let path = format!("{path}{}", String::from_utf8(name).expect("a name in UTF-8"));
        let attributes = tree.attributes(node).expect("attributes");
        let target = if kind == FileType::Symlink { tree.read_link(node).expect("a target") } else { Vec::new() };
        let time = |time: Timestamp| format!("{}.{:09}0", time.seconds, time.nanoseconds);
        let line = format!(
            "{}|{:o}|{}|{}|{}|{}|{}|{}|{}|{}",
            match kind {
                FileType::Directory => 'd',
                FileType::Symlink => 'l',
                _ => 'f',
            },
            attributes.mode,
            attributes.uid,
            attributes.gid,
            attributes.links,
            attributes.size_bytes,
            time(attributes.modified),
            time(attributes.changed),
            time(attributes.accessed),
            String::from_utf8(target).expect("a target in UTF-8"),
        );
        let sum = (kind == FileType::Regular).then(|| {
            let mut content = vec![0; usize::try_from(attributes.size_bytes).expect("a small file")];
            let read = tree.read(node, 0, &mut content).expect("content");
            assert_eq!(read, content.len(), "{path}");
            cksum(&content)
        });
        let value = |name: &[u8]| tree.xattr(node, name).expect("an attribute").expect("a value");
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let xattrs = tree.list_xattrs(node).expect("names of attributes").into_iter();
        let xattrs = xattrs.map(|name| (String::from_utf8(name.clone()).expect("a name in UTF-8"), hex(value(&name))));
        into.insert(path.clone(), (line, sum, xattrs.collect()));
        if kind == FileType::Directory {
            manifest(tree, node, &format!("{path}/"), into);
        }
    }
}

/// The sum that POSIX defines for `cksum`.
fn cksum(content: &[u8]) -> u32 {
    let length = content.len().to_le_bytes();
    let length_bytes = (64 - content.len().leading_zeros()).div_ceil(8) as usize;
    let mut sum = 0_u32;
    for byte in content.iter().chain(&length[..length_bytes]) {
        sum ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 };
        }
    }
    !sum
}

/// What was done, for a person to see.
#[derive(Default, Debug)]
struct Counts {
    images: u64,
    replayed: u64,
    refused: u64,
    entries: usize,
}

fn crash_and_compare(place: &Path, seed: u64, made_with: &[(&str, &str)], counts: &mut Counts) {
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let whole: Vec<PathBuf> = (0..made_with.len()).map(|number| place.join(format!("disk-{number}"))).collect();
    for ((options, _), disk) in made_with.iter().zip(&whole) {
        let options: Vec<&str> = options.split_whitespace().collect();
        xfs::make(disk, "48M", &options);
    }
    crash(&whole, seed);
    let mut images = whole.clone();
    for disk in &whole {
        let torn = xfs::copy(disk, &place.join(format!("torn-{}", images.len())));
        xfs::tear(&torn, &mut random);
        images.push(torn);
    }
    let theirs: Vec<PathBuf> = images.iter().map(|image| xfs::copy(image, &image.with_extension("theirs"))).collect();
    for (number, (image, theirs)) in images.iter().zip(recover(&theirs, made_with)).enumerate() {
        let what = format!("seed {seed}, {:?}, {}", made_with[number % made_with.len()], image.display());
        let tree = open(FileDisk::open(image));
        let state = tree.info().state;
        counts.images += 1;
        let theirs = match theirs {
            Ok(theirs) => theirs,
            // A disk that loses what it said to have written leaves what no kernel can put in order.
            Err(why) => {
                eprintln!("{what}: {state:?}, and the kernel: {why}");
                assert!(number >= whole.len(), "{what}: {state:?}, and the kernel refuses it");
                counts.refused += 1;
                continue;
            }
        };
        assert!(number >= whole.len() || matches!(state, VolumeState::Replayed { .. }), "{what}: {state:?}");
        counts.replayed += u64::from(matches!(state, VolumeState::Replayed { .. }));
        let mut ours = Manifest::new();
        manifest(&tree, tree.root(), "", &mut ours);
        counts.entries += ours.len();
        let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let differ = paths.iter().filter(|path| ours.get(**path) != theirs.get(**path));
        let differences: Vec<_> = differ.map(|path| (path, ours.get(*path), theirs.get(*path))).take(5).collect();
        assert!(differences.is_empty(), "{what}, {state:?}: path, ours, theirs: {differences:#?}");
        eprintln!("{what}: {state:?}, {} entries, 0 differences", ours.len());
    }
}

#[test]
fn a_machine_that_is_ended_in_the_midst_shows_what_its_kernel_recovers() {
    const TEST: &str = "a_machine_that_is_ended_in_the_midst_shows_what_its_kernel_recovers";
    if let Some(why) = uml::why_not() {
        return not_run(TEST, why);
    }
    if let Err(why) = xfs::can_make() {
        return not_run(TEST, &why);
    }
    let place = xfs::scratch();
    let began = Instant::now();
    let mut counts = Counts::default();
    for seed in SEEDS {
        crash_and_compare(place.path(), seed, &MADE_WITH[..COMPACT], &mut counts);
    }
    for seed in common::campaign_seeds(began) {
        crash_and_compare(place.path(), seed, MADE_WITH, &mut counts);
    }
    println!(
        "CAMPAIGN: guest_xfs_v4_log: {} images compared, {} replayed, {} refused by the kernel, {} entries, 0 \
         differences, {:.0} s",
        counts.images,
        counts.replayed,
        counts.refused,
        counts.entries,
        began.elapsed().as_secs_f64(),
    );
}
