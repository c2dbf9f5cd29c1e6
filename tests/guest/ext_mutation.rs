//! Promise 5, on hostile disks: whatever bytes a guest's root writes, nothing panics, hangs or takes memory without
//! bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest_support::image::Mount;
use crate::guest_support::{MemoryDisk, image, not_run, source};
use icecore::guest::{Probe, probe};
use icecore_fuse::{FileType, ReadOnlyTree, Seek};

/// How many entries one walk looks at, and how much it reads of one file.
const STEPS: u32 = 3000;
const READS: u64 = 40;
const TIME_MAX: Duration = Duration::from_secs(5);

const MADE_WITH: &[(&str, &str)] = &[
    ("ext4", "-t ext4 -b 1024 -O ^has_journal,metadata_csum -N 256"),
    ("ext4 without checksums", "-t ext4 -b 1024 -O ^has_journal,^metadata_csum,inline_data,ea_inode -N 256"),
    ("ext2", "-t ext2 -b 1024 -N 256 -O ^resize_inode"),
];

fn fill(root: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    for directory in ["a", "a/b", "many"] {
        std::fs::create_dir(root.join(directory)).expect("a directory");
    }
    for number in 0..120 {
        std::fs::write(root.join(format!("many/quite-a-long-name-{number:030}")), b"x").expect("a file");
    }
    std::fs::write(root.join("a/b/large"), source::noise(1, 400_000)).expect("a file");
    std::fs::write(root.join("small"), source::noise(2, 130)).expect("a file");
    let file = std::fs::File::create(root.join("a/sparse")).expect("a file");
    for piece in 0..90 {
        file.write_all_at(&source::noise(piece, 1024), piece * 4096).expect("a write");
    }
    std::os::unix::fs::symlink("x".repeat(200), root.join("link")).expect("a link");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(root.join("small"), "user.x", &source::noise(3, 700), flags).expect("an attribute");
}

/// Walks everything that can be reached, as far as the budget goes. Answers how many entries it met.
fn walk(bytes: Vec<u8>) -> u32 {
    let Ok(Probe::FileSystem(tree)) = probe(Arc::new(MemoryDisk(bytes))) else {
        return 0;
    };
    let mut steps = 0;
    let mut todo = vec![tree.root()];
    let mut buffer = vec![0; 64 << 10];
    while let Some(directory) = todo.pop() {
        let _ = tree.parent(directory);
        let mut met = Vec::new();
        let _ = tree.read_directory(directory, 0, &mut |entry| {
            assert!(!entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0));
            assert!(entry.name != b"." && entry.name != b"..");
            met.push((entry.name.to_vec(), entry.node, entry.kind));
            steps += 1;
            steps < STEPS
        });
        for (name, node, kind) in met {
            let _ = tree.lookup(directory, &name);
            let size = tree.attributes(node).map_or(0, |attributes| attributes.size_bytes);
            for name in tree.list_xattrs(node).unwrap_or_default() {
                let _ = tree.xattr(node, &name);
            }
            let _ = tree.read_link(node);
            let _ = tree.seek(node, 0, Seek::Hole);
            for part in 0..READS {
                let _ = tree.read(node, size / READS * part, &mut buffer);
            }
            if kind == FileType::Directory && steps < STEPS {
                todo.push(node);
            }
        }
    }
    let _ = tree.space();
    steps
}

#[test]
fn no_bytes_panic_or_hang() {
    let place = tempfile::tempdir().expect("a directory");
    let from = place.path().join("source");
    std::fs::create_dir(&from).expect("a directory");
    fill(&from);
    for (name, options) in MADE_WITH {
        let made = place.path().join("image");
        image::make(&made, "2M", &options.split(' ').collect::<Vec<_>>(), Some(&from));
        let whole = std::fs::read(&made).expect("the image");
        assert!(walk(whole.clone()) > 120, "{name}: the whole image is walked");
        let used = used_blocks(&whole);
        let mut random = source::random(42, 8 * 1500);
        let mut met = 0;
        for round in 0..1500 {
            let mut bytes = whole.clone();
            for _ in 0..=round % 8 {
                let Some(value) = random.next() else { break };
                damage(&mut bytes, &used, value);
            }
            let start = Instant::now();
            met += walk(bytes);
            assert!(start.elapsed() < TIME_MAX, "{name}: round {round} takes too long");
        }
        eprintln!("{name}: 1500 damaged images, {met} entries met");
    }
}

#[test]
fn no_journal_panics_or_hangs() {
    let place = tempfile::tempdir().expect("a directory");
    let (made, copy) = (place.path().join("image"), place.path().join("copy"));
    for options in ["-t ext4 -b 1024 -J size=1", "-t ext4 -b 1024 -J size=1 -O ^metadata_csum,^64bit"] {
        image::make(&made, "4M", &options.split(' ').collect::<Vec<_>>(), None);
        match Mount::new(&made, &place.path().join("mount"), "rw,data=journal") {
            Ok(mount) => {
                for round in 0..4 {
                    let directory = mount.path.join(format!("round-{round}"));
                    std::fs::create_dir(&directory).expect("a directory");
                    std::fs::write(directory.join("file"), source::noise(round, 20_000)).expect("a file");
                    let _ = std::fs::remove_dir_all(mount.path.join(format!("round-{}", round - round % 2)));
                    image::run("sync", &["-f", mount.path.to_str().expect("UTF-8")]);
                }
                std::fs::copy(&made, &copy).expect("a copy");
            }
            Err(why) => return not_run("no_journal_panics_or_hangs", &why),
        }
        let whole = std::fs::read(&copy).expect("the image");
        let is_journal = |block: &[u8]| block.starts_with(&[0xC0, 0x3B, 0x39, 0x98]);
        let used: Vec<usize> =
            whole.chunks(1024).enumerate().filter(|(_, block)| is_journal(block)).map(|(index, _)| index).collect();
        assert!(used.len() > 8, "{} blocks of a journal", used.len());
        for (round, value) in source::random(7, 3000).enumerate() {
            let mut bytes = whole.clone();
            // Most fields lie at the start of their block.
            let at = used[(value >> 40) as usize % used.len()] * 1024 + (value >> 20) as usize % 100;
            damage_at(&mut bytes, at, value);
            let start = Instant::now();
            walk(bytes);
            assert!(start.elapsed() < TIME_MAX, "round {round} takes too long");
        }
    }
}

/// Blocks of 1 KiB with anything in them that could be structure: zeros and noise of files teach nothing.
fn used_blocks(bytes: &[u8]) -> Vec<usize> {
    let is_structure = |block: &[u8]| {
        let zeros = block.iter().filter(|byte| **byte == 0).count();
        (100..1020).contains(&zeros)
    };
    bytes.chunks(1024).enumerate().filter(|(_, block)| is_structure(block)).map(|(index, _)| index).collect()
}

/// One change: a bit, a byte, a word of ones or a word of another place.
fn damage(bytes: &mut [u8], used: &[usize], value: u64) {
    let block = used[(value >> 40) as usize % used.len()];
    let at = block * 1024 + (value >> 20) as usize % 1020;
    damage_at(bytes, at, value);
}

fn damage_at(bytes: &mut [u8], at: usize, value: u64) {
    match value % 5 {
        0 => bytes[at] ^= 1 << ((value >> 8) & 7),
        1 => bytes[at] = (value >> 8) as u8,
        2 => bytes[at..at + 4].fill(0xFF),
        3 => bytes[at..at + 4].fill(0),
        _ => bytes[at / 4 * 4..][..4].copy_from_slice(&((value >> 8) as u32 % 2048).to_le_bytes()),
    }
}
