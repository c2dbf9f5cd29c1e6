//! The lower seam: the file system calls that a vault in a directory needs, no more.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::LockKind;
pub use super::system::SystemFiles;

/// What a directory holds, as [`Files::list`] tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name within the directory.
    pub name: String,
    /// Whether it is itself a directory.
    pub is_directory: bool,
}

/// A lock of a file or of parts of it, held until this is dropped.
pub type FileLock = Box<dyn Send + Sync>;

/// File system calls. Paths are absolute or relative to the process, as the vault was opened.
pub trait Files: Send + Sync {
    /// Creates a file that must not exist yet, for writing and reading, mode 0600.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading; `mapped` asks for reads through a memory map.
    fn open(&self, path: &Path, mapped: bool) -> io::Result<Arc<dyn File>>;

    /// Gives a file a new name in the same file system; fails with `AlreadyExists` where the name is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a new name in the same file system, atomically in the place of whatever has it.
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes one directory, mode 0700; its parent exists.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, `.` and `..` left out.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>>;

    /// Makes the entries of a directory survive power loss.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written where a path is, as far as that is known.
    fn free_bytes(&self, _: &Path) -> Option<u64> {
        None
    }

    /// Locks a file by its open description; `None` where somebody else holds it and `wait` is false.
    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<FileLock>>;

    /// Locks parts of a file by its open description, and nothing else of it; `None` where somebody else holds any of them.
    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> io::Result<Option<FileLock>>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Writes `bytes` at `offset`, or as many of them as the system takes at once; returns how many.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Reads into `buffer` from `offset` on as much as the system gives at once; returns how much. 0 means that the file
    /// ends there.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The same, never through a map.
    fn read_past_map(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at(offset, buffer)
    }

    /// Makes content and length survive power loss.
    fn sync(&self) -> io::Result<()>;

    /// Asks for a range to be written out soon, without waiting.
    fn start_writeback(&self, offset: u64, length: u64);

    /// Tells the system that nobody reads this file soon, so that its memory can serve others. Only a hint.
    fn drop_cached(&self);

    /// Marks the file, by a lock that dies with the process, as being written. Returns false where somebody who took
    /// it for abandoned was faster.
    fn mark_in_use(&self) -> io::Result<bool>;
}

/// Reads into `buffer` from `offset` on until it is full or the file ends; returns how much that was. `read` is asked as
/// often as it takes: it may give less than it was asked for, and be interrupted.
pub(crate) fn read_up_to(
    read: impl Fn(u64, &mut [u8]) -> io::Result<usize>,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of `bytes` at `offset`, in as many pieces as `file` wants.
pub(super) fn write_all(file: &dyn File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
