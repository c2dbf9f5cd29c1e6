//! What a busy machine does to a file system: every operation whose traces in a log differ, chosen by a seed.
//!
//! A load never fails: the file system may be full, or shut down below it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags};

use super::source::noise;

/// Numbers that look random, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound.max(1)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// Loads of several threads, each in a directory of its own, until they are stopped.
pub fn run(root: &Path, seed: u64, threads: u64, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut load = Load::new(&root.join(format!("thread-{thread}")), seed * 16 + thread);
                while !stop.load(Ordering::Relaxed) {
                    load.step();
                }
            });
        }
    });
}

struct Load {
    root: PathBuf,
    random: Random,
    /// Deleted, and still open.
    orphans: Vec<File>,
    steps: u64,
}

/// Most blocks of a file, of 4 KiB.
const BLOCKS: u64 = 600;

impl Load {
    fn new(root: &Path, seed: u64) -> Self {
        let _ = fs::create_dir_all(root);
        Self { root: root.to_owned(), random: Random::new(seed), orphans: Vec::new(), steps: 0 }
    }

    /// Whatever comes up next; that it fails is part of the load.
    fn step(&mut self) {
        self.steps += 1;
        let seed = self.random.below(1 << 40);
        let file = self.file();
        let _ = match self.random.below(16) {
            0 => self.write(&file, seed),
            1 => self.share(&file),
            2 => self.share(&file).and_then(|()| self.overwrite(&file, seed)),
            3 => self.overwrite(&file, seed),
            4 => self.reshape(&file),
            5 => self.fragment(&file, seed),
            6 | 7 => self.names(),
            8 | 9 => self.xattrs(&file, seed),
            10 => self.move_names(),
            11 => self.links(seed),
            12 => self.orphan(&file),
            13 => self.own(&file),
            14 => File::open(&self.root).and_then(|directory| directory.sync_all()),
            _ => fs::remove_file(&file),
        };
    }

    fn file(&mut self) -> PathBuf {
        self.root.join(format!("file-{}", self.random.below(12)))
    }

    fn open(path: &Path) -> std::io::Result<File> {
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
    }

    fn write(&mut self, path: &Path, seed: u64) -> std::io::Result<()> {
        let file = Self::open(path)?;
        let length = self.random.below(200_000) as usize;
        file.write_all_at(&noise(seed, length), self.random.below(4) * 50_000)?;
        self.sync(&file)
    }

    fn sync(&mut self, file: &File) -> std::io::Result<()> {
        if self.random.below(3) == 0 { file.sync_all() } else { Ok(()) }
    }

    /// Shares blocks of one file with another, and of a file with itself.
    fn share(&mut self, path: &Path) -> std::io::Result<()> {
        let (from, to) = (Self::open(&self.file())?, Self::open(path)?);
        if self.random.below(3) == 0 {
            rustix::fs::ioctl_ficlone(&to, &from)?;
        }
        for _ in 0..self.random.below(6) {
            let (mut at, mut into) = (self.random.below(BLOCKS) * 4096, self.random.below(BLOCKS) * 4096);
            let length = (1 + self.random.below(20) as usize) * 4096;
            rustix::fs::copy_file_range(&from, Some(&mut at), &to, Some(&mut into), length)?;
        }
        self.sync(&to)
    }

    /// Small writes over what is there, shared or not.
    fn overwrite(&mut self, path: &Path, seed: u64) -> std::io::Result<()> {
        let file = Self::open(path)?;
        for piece in 0..self.random.below(30) {
            let length = 1 + self.random.below(9000) as usize;
            file.write_all_at(&noise(seed + piece, length), self.random.below(BLOCKS * 4096))?;
        }
        rustix::fs::fdatasync(&file)?;
        Ok(())
    }

    fn reshape(&mut self, path: &Path) -> std::io::Result<()> {
        let file = Self::open(path)?;
        let (at, length) = (self.random.below(BLOCKS) * 4096, (1 + self.random.below(40)) * 4096);
        let how = [
            FallocateFlags::empty(),
            FallocateFlags::KEEP_SIZE,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            FallocateFlags::ZERO_RANGE,
            FallocateFlags::COLLAPSE_RANGE,
            FallocateFlags::INSERT_RANGE,
            FallocateFlags::UNSHARE_RANGE,
        ];
        match self.random.below(how.len() as u64 + 1) {
            0 => file.set_len(at + self.random.below(4096))?,
            _ => rustix::fs::fallocate(&file, *self.random.pick(&how), at, length)?,
        }
        self.sync(&file)
    }

    /// A tree of extents, from one block of data in two.
    fn fragment(&mut self, path: &Path, seed: u64) -> std::io::Result<()> {
        let file = Self::open(path)?;
        for piece in 0..self.random.below(BLOCKS / 2) {
            file.write_all_at(&noise(seed + piece, 700), piece * 8192)?;
            if piece % 64 == 0 {
                self.sync(&file)?;
            }
        }
        file.sync_all()
    }

    /// A directory that grows or shrinks, through all its forms.
    fn names(&mut self) -> std::io::Result<()> {
        let directory = self.root.join(format!("names-{}", self.random.below(4)));
        fs::create_dir_all(&directory)?;
        let (first, count) = (self.random.below(400), 1 + self.random.below(150));
        let name = |number: u64| directory.join(format!("{number}-{}", "n".repeat(number as usize * 7 % 90)));
        if self.random.below(2) == 0 {
            for number in first..first + count {
                match number % 5 {
                    0 => fs::create_dir_all(name(number))?,
                    _ => fs::write(name(number), noise(number, number as usize % 300))?,
                }
            }
        } else if self.random.below(4) == 0 {
            fs::remove_dir_all(&directory)?;
        } else {
            for number in first..first + count {
                let _ = fs::remove_file(name(number)).or_else(|_| fs::remove_dir(name(number)));
            }
        }
        Ok(())
    }

    /// Attributes in the inode, in a leaf, below nodes, and with large values; set, replaced, removed.
    fn xattrs(&mut self, path: &Path, seed: u64) -> std::io::Result<()> {
        if self.random.below(3) > 0 {
            Self::open(path)?;
        }
        let (most, bytes) = *self.random.pick(&[(3, 20), (12, 100), (60, 200), (120, 150), (4, 5000), (2, 60_000)]);
        for _ in 0..1 + self.random.below(most) {
            let name = format!("{}.{}", self.random.pick(&["user", "trusted"]), self.random.below(most));
            let value = noise(seed, self.random.below(bytes) as usize);
            if self.random.below(4) == 0 {
                let _ = rustix::fs::lremovexattr(path, name.as_str());
            } else {
                rustix::fs::lsetxattr(path, name.as_str(), &value, XattrFlags::empty())?;
            }
        }
        Ok(())
    }

    fn move_names(&mut self) -> std::io::Result<()> {
        let names = [self.file(), self.file(), self.root.join("names-0"), self.root.join("names-1/moved")];
        let (from, to) = (self.random.pick(&names).clone(), self.random.pick(&names).clone());
        let how = *self.random.pick(&[RenameFlags::empty(), RenameFlags::EXCHANGE, RenameFlags::WHITEOUT]);
        rustix::fs::renameat_with(CWD, from, CWD, to, how)?;
        Ok(())
    }

    fn links(&mut self, seed: u64) -> std::io::Result<()> {
        let link = self.root.join(format!("link-{}", self.random.below(6)));
        let _ = fs::remove_file(&link);
        match self.random.below(3) {
            0 => fs::hard_link(self.file(), link),
            1 => std::os::unix::fs::symlink("x".repeat(1 + self.random.below(1023) as usize), link),
            _ => {
                let device = rustix::fs::makedev((seed % 300) as u32, (seed % 70_000) as u32);
                let kind = rustix::fs::FileType::CharacterDevice;
                Ok(rustix::fs::mknodat(CWD, &link, kind, Mode::from_raw_mode(0o600), device)?)
            }
        }
    }

    /// Recovery ends the life of what was deleted while it was open.
    fn orphan(&mut self, path: &Path) -> std::io::Result<()> {
        if self.random.below(3) == 0 {
            self.orphans.clear();
        }
        if self.random.below(2) == 0 {
            self.orphans.push(Self::open(path)?);
            fs::remove_file(path)
        } else {
            let flags = OFlags::TMPFILE | OFlags::RDWR;
            let file = File::from(rustix::fs::openat(CWD, &self.root, flags, Mode::from_raw_mode(0o600))?);
            file.write_all_at(&noise(1, 20_000), 0)?;
            self.orphans.push(file);
            Ok(())
        }
    }

    fn own(&mut self, path: &Path) -> std::io::Result<()> {
        let (user, group) = (self.random.below(5) as u32 * 1000, self.random.below(5) as u32 * 1000);
        rustix::fs::chownat(CWD, path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), AtFlags::empty())?;
        Ok(())
    }
}
