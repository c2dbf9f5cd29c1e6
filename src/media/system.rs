//! The real file system below a vault.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{FlockOperation, RenameFlags};

use super::files::{File, FileLock, Files, Listed};
use super::mapped::Mapped;
use super::{HIGHEST_PART, LockKind};

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

struct SystemFile {
    file: fs::File,
    /// The map, once somebody read through it: most of what a vault has many of is small, and read once. None where
    /// reads go another way, or the file can't be mapped.
    map: Option<OnceLock<Option<Mapped>>>,
}

impl SystemFile {
    fn map(&self) -> Option<&Mapped> {
        self.map.as_ref()?.get_or_init(|| Mapped::new(&self.file)).as_ref()
    }
}

/// Asks for a range of a file (of length 0: all from `offset` on) to be written out soon. Only a hint: what it fails to
/// start, the sync at the end does.
pub(crate) fn start_writeback(file: &fs::File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return;
    };
    // SAFETY: plain integers and a descriptor that lives through the call.
    unsafe {
        use std::os::fd::AsRawFd;
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// A locked file.
struct Held(fs::File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing is not enough: a child that was just forked has the same open file until it executes its program.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// A file of which bytes are locked, from one on and so many, perhaps some that it does not have.
struct HeldParts(fs::File, i64, i64);

impl HeldParts {
    fn set(&self, kind: libc::c_int) -> io::Result<()> {
        // SAFETY: a plain structure of numbers, for which zeros are values.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = kind as libc::c_short;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        (range.l_start, range.l_len) = (self.1, self.2);
        // SAFETY: a descriptor and a structure that both live through the call.
        let set = unsafe {
            use std::os::fd::AsRawFd;
            libc::fcntl(self.0.as_raw_fd(), libc::F_OFD_SETLK, &raw const range)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for HeldParts {
    fn drop(&mut self) {
        // As above.
        let _ = self.set(libc::F_UNLCK);
    }
}

impl Files for SystemFiles {
    fn free_bytes(&self, path: &Path) -> Option<u64> {
        let space = rustix::fs::statvfs(path).ok()?;
        Some(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(SystemFile { file, map: None }))
    }

    fn open(&self, path: &Path, mapped: bool) -> io::Result<Arc<dyn File>> {
        // Without waiting: a pipe that somebody put here must not hold us for ever.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Arc::new(SystemFile { file, map: mapped.then(OnceLock::new) }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // File systems without the flag (NFS among them): a hard link never replaces either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is not text is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                let kind = entry.file_type()?;
                // A link counts as where it leads, as for whoever opens what is behind it.
                let leads_to_one = || entry.path().metadata().is_ok_and(|found| found.is_dir());
                let is_directory = kind.is_dir() || (kind.is_symlink() && leads_to_one());
                found.push(Listed { name, is_directory });
            }
        }
        Ok(found)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<FileLock>> {
        // NFS wants a file that it locks alone to be open for writing; whoever may not write may still share.
        let file = fs::OpenOptions::new().read(true).write(true).open(path).or_else(|_| fs::File::open(path))?;
        let operation = match (kind, wait) {
            (LockKind::Shared, true) => FlockOperation::LockShared,
            (LockKind::Shared, false) => FlockOperation::NonBlockingLockShared,
            (LockKind::Exclusive, true) => FlockOperation::LockExclusive,
            (LockKind::Exclusive, false) => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
            Ok(()) => Ok(Some(Box::new(Held(file)))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> io::Result<Option<FileLock>> {
        let mut options = fs::OpenOptions::new();
        // Whoever may only read the vault may still share.
        let file = options.read(true).write(kind == LockKind::Exclusive).open(path)?;
        let offset = |part: u64| i64::try_from(part).map_err(|_| io::ErrorKind::InvalidInput);
        // No length is one without an end.
        let length = if *parts.end() == HIGHEST_PART { 0 } else { parts.end().saturating_sub(*parts.start()) + 1 };
        let held = HeldParts(file, offset(*parts.start())?, offset(length)?);
        let kind = match kind {
            LockKind::Shared => libc::F_RDLCK,
            LockKind::Exclusive => libc::F_WRLCK,
        };
        match held.set(kind) {
            Ok(()) => Ok(Some(Box::new(held))),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl File for SystemFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(count) = self.map().and_then(|map| map.read_at(offset, buffer)) {
            return Ok(count);
        }
        self.read_past_map(offset, buffer)
    }

    fn read_past_map(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        start_writeback(&self.file, offset, length);
    }

    fn drop_cached(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn mark_in_use(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            // A cleaner may have locked and removed the file before we came: then it has no name any more.
            Ok(()) => Ok(self.file.metadata()?.nlink() > 0),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
