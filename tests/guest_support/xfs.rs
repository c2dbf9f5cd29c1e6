//! XFS images, and what to put on them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use super::image::{Mount, run};
use super::source;
use super::xfs_load::Random;

/// Whether images can be made here; else why not.
pub fn can_make() -> Result<(), String> {
    match std::process::Command::new("mkfs.xfs").arg("-V").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("mkfs.xfs is not installed".to_owned()),
    }
}

/// A directory for images, in memory where there is room: they are synced often, and the disk below is not the point.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// Makes an image of `size` (as `truncate` takes it).
///
/// Releases of xfsprogs make file systems this small only where they are told that it is for tests.
pub fn make(image: &Path, size: &str, options: &[&str]) {
    let image = image.to_str().expect("a path in UTF-8");
    let _ = fs::remove_file(image);
    run("truncate", &["-s", size, image]);
    let mut arguments = vec!["-q", "-f"];
    if run("mkfs.xfs", &["-V"]).contains("version 6") {
        arguments.push("--unsupported");
    }
    arguments.extend(options);
    arguments.push(image);
    run("mkfs.xfs", &arguments);
}

/// Bits of `sb_features_incompat`: content can be exchanged; files point to the directories that they are in.
pub const EXCHANGE_AND_PARENTS: u32 = 0x40 | 0x80;

/// Gives a new file system features that the tools that made it do not know; an empty one needs nothing else for them.
pub fn add_features(image: &Path, bits: u32) {
    let path = image.to_str().expect("a path in UTF-8");
    let mut superblock = [0; 512];
    File::open(image).expect("the image").read_exact_at(&mut superblock, 0).expect("a superblock");
    let field = |at: usize| u32::from_be_bytes(superblock[at..at + 4].try_into().expect("4 bytes"));
    let write = format!("write -d features_incompat {:#x}", field(216) | bits);
    for group in 0..field(88) {
        run("xfs_db", &["-x", "-c", &format!("sb {group}"), "-c", &write, path]);
    }
}

/// Makes an image of version 4 with what is in a directory; the error says why that can't be done here.
///
/// Newer kernels do not mount version 4, so its content comes in with `mkfs.xfs`: no owners, times or attributes.
pub fn make_version_4(image: &Path, size: &str, options: &[&str], from: &Path) -> Result<(), String> {
    let list = image.with_extension("list");
    fs::write(&list, format!("/no-boot-block\n0 0\nd--755 0 0\n{}$\n", prototype(from))).expect("a list");
    let path = image.to_str().expect("a path in UTF-8");
    let _ = fs::remove_file(image);
    run("truncate", &["-s", size, path]);
    let mut command = std::process::Command::new("mkfs.xfs");
    command.args(["-q", "-f", "-m", "crc=0", "-p"]).arg(&list);
    if run("mkfs.xfs", &["-V"]).contains("version 6") {
        command.arg("--unsupported");
    }
    let output = command.args(options).arg(path).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).replace('\n', " ")) }
}

/// Gives an inode of an unmounted image an attribute of the users' namespace: so many times the letter v.
pub fn set_xattr(image: &Path, inode: u64, name: &str, bytes: usize) {
    let set = format!("attr_set -v {bytes} -u {name}");
    run("xfs_db", &["-x", "-c", &format!("inode {inode}"), "-c", &set, image.to_str().expect("UTF-8")]);
}

/// A directory as a list that `mkfs.xfs` copies from.
fn prototype(directory: &Path) -> String {
    let mut list = String::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        list += &if path.is_symlink() {
            format!("{name} l--777 0 0 {}\n", fs::read_link(&path).expect("a target").display())
        } else if path.is_dir() {
            format!("{name} d--755 0 0\n{}$\n", prototype(&path))
        } else {
            format!("{name} ---644 0 0 {}\n", path.display())
        };
    }
    list
}

/// Mounts beside a mount of a copy: `nouuid`.
pub fn mount(image: &Path, path: &Path, options: &str) -> Result<Mount, String> {
    Mount::new(image, path, &format!("{options},nouuid"))
}

/// One of everything, and each form of directories, block maps and attributes that blocks of this size have.
pub fn fill(root: &Path, names_max: u32) {
    source::fill(root, 50_000);
    let file = File::create(root.join("preallocated")).expect("a file");
    if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 3 << 20).is_ok() {
        file.write_all_at(&source::noise(9, 10_000), 1_000_000).expect("a write");
    }
    for (pieces, name) in [(5, "few"), (40, "some"), (1500, "many")] {
        fragmented(&root.join(format!("{name}-extents")), pieces);
    }
    directories(root, names_max);
    xattrs(root);
    let clone = File::create(root.join("clone")).expect("a file");
    let from = File::open(root.join("file-5000001")).expect("a file");
    // Only where the file system shares blocks.
    if rustix::fs::ioctl_ficlone(&clone, &from).is_ok() {
        clone.write_all_at(b"no longer shared", 100_000).expect("a write");
    }
    run("sync", &["-f", root.to_str().expect("a path in UTF-8")]);
}

/// A file of that many extents: every other block is a hole.
pub fn fragmented(path: &Path, pieces: u64) {
    let file = File::create(path).expect("a file");
    for piece in 0..pieces {
        file.write_all_at(&source::noise(piece, 4096), piece * 8192).expect("a write");
    }
}

/// Directories from one name up; and one that lost most of its names, so that it has holes.
fn directories(root: &Path, names_max: u32) {
    for names in [1, 2, 5, 12, 40, 150, 700, 3000, 20_000].into_iter().filter(|names| *names <= names_max) {
        let directory = root.join(format!("names-{names}"));
        fs::create_dir(&directory).expect("a directory");
        for number in 0..names {
            File::create(directory.join(format!("{number}-{}", "n".repeat(number as usize % 60)))).expect("a file");
        }
    }
    let directory = root.join("holes-between-names");
    fs::create_dir(&directory).expect("a directory");
    let path = |number: u32| directory.join(format!("{number:0200}"));
    for number in 0..600 {
        File::create(path(number)).expect("a file");
    }
    for number in (30..600).filter(|number| number % 100 != 0) {
        fs::remove_file(path(number)).expect("the file goes");
    }
}

/// Attributes in the inode, in one leaf, in leaves below nodes, and with large values.
fn xattrs(root: &Path) {
    let directory = root.join("xattrs");
    fs::create_dir(&directory).expect("a directory");
    for (count, bytes) in [(1, 10), (3, 60), (12, 100), (60, 200), (300, 150), (3, 5000), (2, 65_536)] {
        let path = directory.join(format!("{count}-of-{bytes}"));
        fs::write(&path, b"content").expect("a file");
        for number in 0..count {
            let prefix = if number % 3 == 1 { "trusted" } else { "user" };
            let value = source::noise(number, bytes);
            rustix::fs::setxattr(&path, format!("{prefix}.{number}"), &value, XattrFlags::empty())
                .expect("an attribute");
        }
    }
}

/// Where a structure of version 5 keeps its checksum, by its magic number.
fn checksum_place(block: &[u8]) -> Option<usize> {
    match &block[..4] {
        b"XFSB" => Some(224),
        b"BMA3" => Some(64),
        b"XDB3" | b"XDD3" => Some(4),
        b"XSLM" | b"XARM" => Some(12),
        _ => matches!(&block[8..10], [0x3B, 0xEE] | [0x3E, 0xBE] | [0x3D, 0xF1 | 0xFF]).then_some(12),
    }
}

/// Makes the checksum at a place of a structure right.
pub fn put_checksum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = crc32c::crc32c(bytes);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Makes the checksums of a block right, where it has any: as hostile root would.
pub fn put_checksums(block: &mut [u8], inode_bytes: usize) {
    if block.starts_with(b"IN") {
        block.chunks_exact_mut(inode_bytes).for_each(|inode| put_checksum(inode, 100));
    } else if block.starts_with(b"XFSB") {
        put_checksum(&mut block[..512], 224);
    } else if let Some(at) = checksum_place(block) {
        put_checksum(block, at);
    }
}

/// Copies an image as it is, holes kept.
pub fn copy(image: &Path, to: &Path) -> PathBuf {
    run("cp", &["--sparse=always", image.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")]);
    to.to_owned()
}

/// Whether a sector of a log is the header of a record.
pub fn is_record(sector: &[u8]) -> bool {
    sector.starts_with(&0xFEED_BABE_u32.to_be_bytes())
}

/// A record of a log.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Where it begins in the image.
    pub at: u64,
    /// Headers and data.
    pub bytes: u64,
}

/// Where the log of an image lies.
pub struct Log {
    image: File,
    pub start: u64,
    pub bytes: u64,
}

impl Log {
    pub fn of(image: &Path) -> Self {
        let image = File::open(image).expect("the image");
        let mut superblock = [0; 512];
        image.read_exact_at(&mut superblock, 0).expect("a superblock");
        let field = |at: usize, bytes: usize| {
            superblock[at..at + bytes].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (block_bytes, start, group_blocks, bits) = (field(4, 4), field(48, 8), field(84, 4), field(124, 1));
        let linear = (start >> bits) * group_blocks + (start & ((1 << bits) - 1));
        Self { image, start: linear * block_bytes, bytes: field(96, 4) * block_bytes }
    }

    /// The same place, counted on from the end of the log to its start.
    pub fn wrap(&self, at: u64) -> u64 {
        self.start + (at - self.start) % self.bytes
    }

    /// The records that headers tell of, oldest first.
    pub fn records(&self) -> Vec<Record> {
        let mut log = vec![0; usize::try_from(self.bytes).expect("a small log")];
        self.image.read_exact_at(&mut log, self.start).expect("the log");
        let be32 = |header: &[u8], at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let mut found: Vec<(u64, Record)> = log
            .chunks_exact(512)
            .zip((self.start..).step_by(512))
            .filter(|(sector, _)| is_record(sector) && be32(sector, 12) > 0)
            .map(|(header, at)| {
                let headers = u64::from(be32(header, 320).div_ceil(32 << 10).max(1));
                let bytes = (headers + u64::from(be32(header, 12)).div_ceil(512)) * 512;
                (u64::from(be32(header, 16)) << 32 | u64::from(be32(header, 20)), Record { at, bytes })
            })
            .collect();
        found.sort_unstable_by_key(|(lsn, _)| *lsn);
        found.into_iter().map(|(_, record)| record).collect()
    }
}

/// Takes from the log of an image what a power cut may have kept from it: some of its newest sectors.
pub fn tear(image: &Path, random: &mut Random) {
    let log = Log::of(image);
    let records = log.records();
    let file = File::options().read(true).write(true).open(image).expect("the image");
    for _ in 0..1 + random.below(3) {
        let back = 1 + random.below(5) as usize;
        let Some(record) = records.len().checked_sub(back).map(|index| records[index]) else {
            continue;
        };
        let sectors = record.bytes / 512;
        let first = random.below(sectors);
        for sector in first..first + 1 + random.below(sectors - first) {
            let at = log.wrap(record.at + sector * 512);
            let mut bytes = [0; 512];
            file.read_exact_at(&mut bytes, at).expect("a read");
            // What was there one turn ago, or before the first.
            let cycle_at = if is_record(&bytes) { 4 } else { 0 };
            let cycle = u32::from_be_bytes(bytes[cycle_at..cycle_at + 4].try_into().expect("4 bytes"));
            if is_record(&bytes) {
                bytes.fill(0);
            }
            bytes[..4].copy_from_slice(&cycle.saturating_sub(1).to_be_bytes());
            file.write_all_at(&bytes, at).expect("a write");
        }
    }
}
