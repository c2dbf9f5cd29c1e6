//! Crash images of ext file systems: a load on a mounted file system, and copies of the device below it.
//!
//! A copy is a clone (`FICLONE`) of the file behind the loop device, on an XFS that is there for that: all of one moment,
//! whatever is written meanwhile, as a snapshot of a running machine's disk is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use super::image::Mount;
use super::{source, xfs};

/// A directory whose files can be cloned.
pub struct ClonePlace {
    mount: Mount,
    place: tempfile::TempDir,
}

impl ClonePlace {
    pub fn new() -> Result<Self, String> {
        xfs::can_make()?;
        let place = xfs::scratch();
        let image = place.path().join("clones");
        xfs::make(&image, "3G", &["-m", "reflink=1"]);
        let mount = Mount::new(&image, &place.path().join("mount"), "rw")?;
        Ok(Self { mount, place })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.mount.path.join(name)
    }

    /// Where to mount what lies here.
    pub fn mount_path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Clones a file as it is at one moment.
pub fn clone(from: &Path, to: &Path) {
    let _ = fs::remove_file(to);
    let (from, to) = (File::open(from).expect("the image"), File::create(to).expect("a file"));
    rustix::fs::ioctl_ficlone(&to, &from).expect("XFS clones files");
}

/// Numbers that look random, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // Seeds that are close begin with numbers that are.
        for _ in 0..8 {
            random.number();
        }
        random
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// What a machine does to its files, step by step; what fails (no such file, no room) is left out.
pub struct Load {
    root: PathBuf,
    random: Random,
    /// Deleted while open: a copy that is made now has orphans.
    pub orphans: Vec<File>,
    /// Syncs a file every so many steps, on average.
    pub steps_per_sync: u64,
    /// Whether what is deleted while open stays open.
    pub keeps_orphans: bool,
    /// Whether operations are left out that fast commits have no words for.
    pub is_fast: bool,
}

impl Load {
    pub fn new(root: &Path, seed: u64) -> Self {
        fs::create_dir_all(root).expect("a directory");
        let random = Random::new(seed);
        Self {
            root: root.to_owned(),
            random,
            orphans: Vec::new(),
            steps_per_sync: 6,
            keeps_orphans: true,
            is_fast: false,
        }
    }

    fn directory(&mut self) -> PathBuf {
        let all = ["", "a", "a/b", "c", "c/d", "c/d/e"];
        self.root.join(*self.random.pick(&all))
    }

    fn path(&mut self) -> PathBuf {
        let number = self.random.below(30);
        self.directory().join(format!("{number}-{}", "n".repeat((number * number % 150) as usize)))
    }

    fn content(&mut self, most: u64) -> Vec<u8> {
        let length = if self.random.below(3) == 0 { self.random.below(200) } else { self.random.below(most) };
        let mut content = source::noise(self.random.number(), length as usize);
        if self.random.below(4) == 0 {
            // What begins as the journal's own blocks do is escaped in the log.
            for block in content.chunks_mut(1024).filter(|block| block.len() >= 4) {
                block[..4].copy_from_slice(&0xC03B_3998_u32.to_be_bytes());
            }
        }
        content
    }

    fn file(&mut self) -> io::Result<File> {
        File::options().write(true).open(self.path())
    }

    /// One change.
    pub fn step(&mut self) {
        let _ = self.change();
        if self.random.below(self.steps_per_sync) == 0 {
            let _ = self.sync();
        }
    }

    fn change(&mut self) -> io::Result<()> {
        let at = self.random.below(600_000);
        let length = self.random.below(100_000) + 1;
        match self.random.below(if self.is_fast { 22 } else { 27 }) {
            0..=3 => {
                let path = self.path();
                fs::write(path, self.content(60_000))?;
            }
            4 | 5 => {
                let path = self.path();
                File::options().append(true).open(path)?.write_all(&self.content(30_000))?;
            }
            6 => self.file()?.write_all_at(&self.content(20_000), at)?,
            7 => self.file()?.set_len(at)?,
            8 => self.file()?.set_len(at / 64)?,
            9 => rustix::fs::fallocate(self.file()?, FallocateFlags::empty(), at, length)?,
            10 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(self.file()?, flags, at, length)?;
            }
            11 => rustix::fs::fallocate(self.file()?, FallocateFlags::KEEP_SIZE, at, length)?,
            12 => fs::hard_link(self.path(), self.path())?,
            13 | 14 => {
                let (from, to) = (self.path(), self.path());
                if !from.is_dir() {
                    fs::rename(from, to)?;
                }
            }
            15 | 16 => fs::remove_file(self.path())?,
            17 => fs::create_dir_all(self.directory())?,
            18 => std::os::unix::fs::symlink("t".repeat(self.random.below(200) as usize + 1), self.path())?,
            19 => fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600 + self.random.below(64) as u32))?,
            20 => {
                let path = self.path();
                let file = File::options().write(true).open(&path)?;
                fs::remove_file(path)?;
                self.orphans.push(file);
                if self.orphans.len() > 3 || !self.keeps_orphans {
                    self.orphans.remove(0);
                }
            }
            21 => {
                // Comes and goes at once, so that its number is used again.
                let path = self.path().with_extension("brief");
                fs::write(&path, self.content(20_000))?;
                fs::remove_file(path)?;
            }
            22 => fs::remove_dir_all(self.directory().join("many"))?,
            23 | 24 => {
                let directory = self.directory().join("many");
                fs::create_dir(&directory)?;
                for number in 0..self.random.below(150) {
                    fs::write(directory.join(format!("{number}-{}", "m".repeat(60))), b"")?;
                }
            }
            25 => {
                let (path, value) = (self.path(), self.content(900));
                rustix::fs::setxattr(path, "user.value", &value, rustix::fs::XattrFlags::empty())?;
            }
            _ => {
                let flags = FallocateFlags::ZERO_RANGE;
                rustix::fs::fallocate(self.file()?, flags, at, length)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.random.below(8) {
            0 => File::open(self.directory())?.sync_all(),
            1 => File::open(self.path())?.sync_data(),
            2..=4 => File::open(self.path())?.sync_all(),
            _ => {
                let marker = self.root.join("marker");
                let file = File::options().create(true).append(true).open(marker)?;
                (&file).write_all(b"x")?;
                file.sync_all()
            }
        }
    }
}
