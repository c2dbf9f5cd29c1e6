//! Promise 5, on hostile disks: whatever bytes a guest's root writes to an XFS, checksums made right or not, nothing
//! panics, hangs or takes memory without bounds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest_support::{PatchedDisk, not_run, source, xfs};
use icecore::guest::{Probe, probe};
use icecore_fuse::{FileType, ReadOnlyTree, Seek};

/// How many entries one walk looks at, and how much it reads of one file.
const STEPS: u32 = 600;
const READS: u64 = 10;
/// Only a hang takes as long.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Walks everything that can be reached, as far as the budget goes. Answers how many entries it met.
fn walk(disk: PatchedDisk) -> u32 {
    let Ok(Probe::FileSystem(tree)) = probe(Arc::new(disk)) else {
        return 0;
    };
    let mut steps = 0;
    let mut todo = vec![tree.root()];
    let mut buffer = vec![0; 64 << 10];
    while let Some(directory) = todo.pop() {
        let _ = tree.parent(directory);
        let _ = tree.lookup(directory, b"no such name");
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

/// One change: a bit, a byte, a word of ones, of zeros, or a small number.
fn damage_at(bytes: &mut [u8], at: usize, value: u64) {
    match value % 5 {
        0 => bytes[at] ^= 1 << ((value >> 8) & 7),
        1 => bytes[at] = (value >> 8) as u8,
        2 => bytes[at..at + 4].fill(0xFF),
        3 => bytes[at..at + 4].fill(0),
        _ => bytes[at / 4 * 4..][..4].copy_from_slice(&((value >> 8) as u32 % 2048).to_be_bytes()),
    }
}

/// Blocks that begin as a structure does, the log's left out.
fn used_blocks(bytes: &[u8], block_bytes: usize) -> Vec<usize> {
    let is_structure = |block: &[u8]| {
        let magics: [&[u8]; 9] = [b"XFSB", b"IN", b"BMA", b"XDB", b"XD2", b"XDD", b"XSLM", b"XARM", b"XAG"];
        magics.iter().any(|magic| block.starts_with(magic))
            || matches!(block[8..10], [0x3B | 0xFB, 0xEE] | [0x3E | 0xFE, 0xBE] | [0x3D | 0xD2, 0xF1 | 0xFF])
    };
    // Inodes that were never used teach nothing.
    let is_used = |block: &[u8]| !block.starts_with(b"IN") || block.chunks(256).any(|inode| inode[2..4] != [0, 0]);
    let blocks = bytes.chunks(block_bytes).enumerate();
    blocks.filter(|(_, block)| is_structure(block) && is_used(block)).map(|(index, _)| index * block_bytes).collect()
}

fn fill(root: &Path) {
    std::fs::create_dir_all(root.join("a/b")).expect("directories");
    std::fs::create_dir(root.join("many")).expect("a directory");
    for number in 0..150 {
        std::fs::write(root.join(format!("many/quite-a-long-name-{number:030}")), b"x").expect("a file");
    }
    xfs::fragmented(&root.join("a/b/large"), 300);
    std::fs::write(root.join("a/small"), source::noise(2, 130)).expect("a file");
    std::os::unix::fs::symlink("x".repeat(900), root.join("link")).expect("a link");
}

fn fill_xattrs(root: &Path) {
    let flags = rustix::fs::XattrFlags::empty();
    for number in 0..40 {
        let value = source::noise(number, 90 * number as usize);
        rustix::fs::setxattr(root.join("a/small"), format!("user.{number}"), &value, flags).expect("an attribute");
    }
}

/// `inode_bytes` where there are checksums to make right.
fn try_damaged(name: &str, whole: &Arc<Vec<u8>>, block_bytes: usize, inode_bytes: Option<usize>, rounds: usize) {
    let used = used_blocks(whole, block_bytes);
    assert!(used.len() > 20, "{name}: {} blocks of structure", used.len());
    let mut random = source::random(42, 8 * rounds);
    let mut met = 0;
    for round in 0..rounds {
        let mut disk = PatchedDisk { bytes: Arc::clone(whole), patches: Vec::new() };
        for value in random.by_ref().take(round % 4 + 1) {
            let at = used[(value >> 40) as usize % used.len()];
            let mut block = disk.get(at, block_bytes);
            // Most fields lie at the start of their structure.
            let reach = if value & 0x8000 == 0 { 200 } else { block_bytes - 4 };
            damage_at(&mut block, (value >> 20) as usize % reach, value);
            // Now and then the checksum is left wrong, so that this way is gone too.
            if let Some(inode_bytes) = inode_bytes.filter(|_| value & 0x7_0000 != 0) {
                xfs::put_checksums(&mut block, inode_bytes);
            }
            disk.patches.push((at, block));
        }
        let start = Instant::now();
        met += walk(disk);
        assert!(start.elapsed() < TIME_MAX, "{name}: round {round} takes too long");
    }
    eprintln!("{name}: {rounds} damaged images, {met} entries met");
    assert!(met > 0, "{name}: nothing could be read");
}

#[test]
fn no_bytes_panic_or_hang() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("no_bytes_panic_or_hang", &why);
    }
    let made = place.path().join("image");
    xfs::make(&made, "32M", &["-i", "nrext64=1"]);
    match xfs::mount(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            fill(&mount.path);
            fill_xattrs(&mount.path);
        }
        Err(why) => return not_run("no_bytes_panic_or_hang", &why),
    }
    let whole = Arc::new(std::fs::read(&made).expect("the image"));
    let steps = walk(PatchedDisk { bytes: Arc::clone(&whole), patches: Vec::new() });
    assert!(steps > 150, "the whole image is walked, {steps} entries");
    try_damaged("version 5", &whole, 4096, Some(512), 1500);
}

#[test]
fn no_log_panics_or_hangs() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("no_log_panics_or_hangs", &why);
    }
    let (made, copy) = (place.path().join("image"), place.path().join("copy"));
    xfs::make(&made, "32M", &["-b", "size=1024"]);
    match xfs::mount(&made, &place.path().join("mount"), "rw,logbsize=32k") {
        Ok(mount) => {
            for round in 0..3 {
                let directory = mount.path.join(format!("round-{round}"));
                std::fs::create_dir(&directory).expect("a directory");
                fill(&directory);
                fill_xattrs(&directory);
                let file = std::fs::File::open(&directory).expect("the directory");
                file.sync_all().expect("a sync");
            }
            xfs::copy(&made, &copy);
        }
        Err(why) => return not_run("no_log_panics_or_hangs", &why),
    }
    let whole = Arc::new(std::fs::read(&copy).expect("the image"));
    let is_header = |sector: &[u8]| sector.starts_with(&0xFEED_BABE_u32.to_be_bytes());
    let records: Vec<usize> =
        whole.chunks(512).enumerate().filter(|(_, sector)| is_header(sector)).map(|(index, _)| index * 512).collect();
    assert!(records.len() > 3, "{} records", records.len());
    let mut random = source::random(7, 3 * 800);
    let mut met = 0;
    for round in 0..800 {
        let mut disk = PatchedDisk { bytes: Arc::clone(&whole), patches: Vec::new() };
        for value in random.by_ref().take(round % 3 + 1) {
            let at = records[(value >> 40) as usize % records.len()];
            let mut header = disk.get(at, 512);
            let length = u32::from_be_bytes(header[12..16].try_into().expect("4 bytes")) as usize;
            let mut data = disk.get(at + 512, length.min(32 << 10));
            if value & 0x8000 == 0 && data.len() > 8 {
                let place = (value >> 20) as usize % (data.len() - 4);
                damage_at(&mut data, place, value);
            } else {
                damage_at(&mut header, (value >> 20) as usize % 330, value);
            }
            header[32..36].fill(0);
            let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..328]), &data);
            header[32..36].copy_from_slice(&sum.to_le_bytes());
            disk.patches.push((at, header));
            disk.patches.push((at + 512, data));
        }
        let start = Instant::now();
        met += walk(disk);
        assert!(start.elapsed() < TIME_MAX, "round {round} takes too long");
    }
    eprintln!("800 damaged logs, {met} entries met");
    assert!(met > 0, "nothing could be read");
}

/// Version 4 has no checksums: every change is believed.
#[test]
fn no_bytes_of_version_4_panic_or_hang() {
    let place = xfs::scratch();
    if let Err(why) = xfs::can_make() {
        return not_run("no_bytes_of_version_4_panic_or_hang", &why);
    }
    let made = place.path().join("image");
    let from = place.path().join("source");
    std::fs::create_dir(&from).expect("a directory");
    fill(&from);
    if let Err(why) = xfs::make_version_4(&made, "32M", &["-b", "size=1024"], &from) {
        return not_run("no_bytes_of_version_4_panic_or_hang", &why);
    }
    let whole = Arc::new(std::fs::read(&made).expect("the image"));
    assert!(walk(PatchedDisk { bytes: Arc::clone(&whole), patches: Vec::new() }) > 150, "the whole image is walked");
    try_damaged("version 4", &whole, 1024, None, 1000);
}
