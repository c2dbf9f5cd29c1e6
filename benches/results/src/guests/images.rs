//! The guests' disks: made by the kernel itself, on loop devices.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::sides::Loop;
use crate::child;

/// Fragments of the file that has many, each one block.
pub const FRAGMENTS: u32 = 1 << 16;
/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// A file that every image has.
pub const FIRST: &str = "first";

/// Directories and files in each of them whose making fills the log.
const CHANGES: (u32, u32) = (200, 1000);

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl Kind {
    /// As `mount -t` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// What the kernel needs to mount one that may be mounted elsewhere too.
    pub fn mount_options(self) -> &'static str {
        match self {
            Self::Ext4 => "",
            Self::Xfs => ",nouuid",
        }
    }

    fn make(self, image: &Path, gib: u64, log: &Path) -> Result<()> {
        File::create(image)?.set_len(gib << 30)?;
        let (program, options): (_, &[&str]) = match self {
            Self::Ext4 => ("mkfs.ext4", &["-q", "-F", "-J", "size=256"]),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f", "-l", "size=256m"]),
        };
        child::run(Command::new(program).args(options).arg(image), log)?;
        Ok(())
    }
}

/// A disk, which is one volume.
#[derive(Debug)]
pub struct Image {
    /// What is on it.
    pub kind: Kind,
    /// `files`, `clean` or `dirty`.
    pub state: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What a reader must know of it, if anything.
    pub fact: String,
}

impl Image {
    /// Its name in the vault.
    pub fn disk(&self) -> String {
        format!("{}-{}", self.kind.name(), self.state)
    }
}

/// The image of a kind in a state.
pub fn find<'a>(images: &'a [Image], kind: Kind, state: &str) -> Result<&'a Image> {
    images.iter().find(|image| image.kind == kind && image.state == state).context("no such image")
}

/// Makes all of them.
pub fn make(dir: &Path, from: &Path) -> Result<Vec<Image>> {
    let log = dir.join("log");
    let mut images = Vec::new();
    for kind in [Kind::Ext4, Kind::Xfs] {
        eprintln!("making {} disks", kind.name());
        let image = |state| dir.join(format!("{}-{state}.raw", kind.name()));
        let (files, clean, dirty) = (image("files"), image("clean"), image("dirty"));
        kind.make(&files, 8, &log)?;
        let mounted = Loop::mount(dir, &files, kind, "rw")?;
        let entries = fill(mounted.root(), from, &log)?;
        mounted.unmount()?;
        kind.make(&dirty, 100, &log)?;
        let mounted = Loop::mount(dir, &dirty, kind, "rw")?;
        fs::write(mounted.root().join(FIRST), "here\n")?;
        mounted.unmount()?;
        copy(&dirty, &clean, &log)?;
        let mounted = Loop::mount(dir, &dirty, kind, "rw")?;
        change(mounted.root())?;
        // The log reaches the disk, and nothing of what it tells reaches its place.
        child::run(Command::new("xfs_io").args(["-x", "-c", "shutdown -f"]).arg(mounted.root()), &log)?;
        mounted.unmount()?;
        for path in [&files, &clean, &dirty] {
            File::open(path)?.sync_all()?;
        }
        images.push(Image { kind, state: "files", path: files, fact: format!("{}: {entries} entries", kind.name()) });
        for (state, path) in [("clean", clean), ("dirty", dirty)] {
            images.push(Image { kind, state, path, fact: String::new() });
        }
    }
    Ok(images)
}

/// Copies an image and its holes.
pub fn copy(from: &Path, to: &Path, log: &Path) -> Result<()> {
    child::run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to), log)?;
    Ok(())
}

/// Copies files, and makes the one of many fragments; answers how many entries that are.
fn fill(to: &Path, from: &Path, log: &Path) -> Result<u64> {
    const COPY: &str = "cd \"$0\" && find . -xdev \\( -type f -size +8M -prune -o -print0 \\) \
        | tar --null --no-recursion -cf - -T - | tar -xf - -C \"$1\"";
    child::run(Command::new("sh").args(["-c", COPY]).arg(from).arg(to), log)?;
    fs::write(to.join(FIRST), "here\n")?;
    let file = File::create(to.join("fragmented"))?;
    let mut block = [0; BLOCK as usize];
    for number in 0..FRAGMENTS {
        for (word, bytes) in (1_u32..).zip(block.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&(number ^ word.wrapping_mul(0x9e37_79b9)).to_le_bytes());
        }
        file.write_all_at(&block, u64::from(number) * 2 * BLOCK)?;
    }
    file.sync_all()?;
    let count = Command::new("find").arg(to).args(["-printf", "x"]).output().context("find")?;
    Ok(count.stdout.len() as u64)
}

/// Makes many small changes that the log keeps.
fn change(root: &Path) -> Result<()> {
    for directory in 0..CHANGES.0 {
        let path = root.join(format!("directory-{directory}"));
        fs::create_dir(&path)?;
        for number in 0..CHANGES.1 {
            File::create(path.join(format!("a-name-as-long-as-names-are-{number}")))?;
        }
        if directory % 10 == 9 {
            File::open(&path)?.sync_all()?;
        }
    }
    Ok(())
}
