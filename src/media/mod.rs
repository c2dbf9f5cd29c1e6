//! The only code that touches a vault's files.
//!
//! Two seams. Above, [`Media`]: write-once named objects, so that a vault can live elsewhere than in a directory. Below,
//! [`files::Files`]: the file system calls themselves, so that tests can put a disk there that fails or forgets.
//!
//! Invariants:
//! - an object appears under its name whole and synced, or not at all; it is never changed afterwards;
//! - publishing never replaces: of two writers of one name exactly one wins, and the other is told;
//! - who mends an object replaces it as a whole: its name leads to what was there before or to what is there now, at
//!   every moment and after power loss, and who has the old one open goes on reading that;
//! - readers get bytes in memory that they own; whether those came through a map or a `pread` shows nowhere above;
//! - a file that is cut short or fails below its map is an end or an error for who reads it, never a signal;
//! - after the first failed sync of an object nothing of it is believed, and it is never published.

mod directory;
pub mod files;
mod mapped;
mod read_only;
mod sigbus;
pub mod simulated;
mod system;
mod temporary;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;

pub use directory::DirectoryMedia;
pub(crate) use files::read_up_to;
pub(crate) use read_only::ReadOnlyMedia;
pub(crate) use system::start_writeback;
pub use temporary::{TemporaryMedia, temporary_name};

/// How published objects are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// Through a shared read-only memory map. The first one installs a handler of SIGBUS in the process, which deals with
    /// faults of such maps and passes on all others.
    #[default]
    Map,
    /// With `pread`. Nothing is mapped, and signals stay as they are.
    Pread,
}

/// The highest number that a part of a lock may have.
pub const HIGHEST_PART: u64 = (1 << 63) - 1;

/// Whether a lock lets others in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Any number of holders.
    Shared,
    /// One holder, and no shared ones.
    Exclusive,
}

/// A lock that ends when this is dropped, and with the process however it dies.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

/// Where a vault's objects live. Names are relative paths with `/`, of lower-case letters, digits, `-` and `.`.
pub trait Media: Send + Sync {
    /// Where this is, for messages.
    fn location(&self) -> &Path;

    /// How published objects are read. Media that have no files have nothing to map.
    fn read_mode(&self) -> ReadMode {
        ReadMode::Pread
    }

    /// Bytes that may still be written, as far as that is known.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Begins an object; it is invisible until published, and gone if it never is.
    fn create(&self, name: &str) -> Result<Arc<dyn ObjectWriter>>;

    /// Opens a published object. An object that is not there is damage, told by name.
    fn open(&self, name: &str) -> Result<Arc<dyn Object>>;

    /// Whether an object of that name is published.
    fn exists(&self, name: &str) -> Result<bool>;

    /// The names, without the folder, of the objects in `folder`, unsorted; empty where there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// The names of the folders in `folder`.
    fn list_folders(&self, folder: &str) -> Result<Vec<String>>;

    /// Makes all names published so far in `folder`, by whomever, survive power loss.
    fn sync_folder(&self, folder: &str) -> Result<()>;

    /// Removes an object; fine if it is already gone.
    fn remove(&self, name: &str) -> Result<()>;

    /// Takes the lock of that name, or tells that it is held (`None`) unless `wait` says to wait for it.
    fn lock(&self, name: &str, kind: LockKind, wait: bool) -> Result<Option<Lock>>;

    /// Takes parts of a lock, which are numbered up to [`HIGHEST_PART`]; `None` where somebody else holds any of them. The lock
    /// as a whole is another thing.
    fn lock_parts(&self, name: &str, parts: RangeInclusive<u64>, kind: LockKind) -> Result<Option<Lock>>;

    /// Those of the folders and lock files of a vault that are not there.
    fn not_laid_out(&self, folders: &[&str], locks: &[&str]) -> Result<Vec<String>>;

    /// Makes folders and lock files of a vault, those that are there left as they are.
    fn lay_out(&self, folders: &[&str], locks: &[&str]) -> Result<()>;

    /// Removes what writers that no longer live left unpublished; returns the number of files.
    fn clear_abandoned(&self) -> Result<usize>;
}

/// An object being written. Writes may come from several threads, to places that do not overlap.
pub trait ObjectWriter: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Reads back what was written: fills the whole buffer from `offset` on.
    fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Asks the system to begin writing a range out, so that the sync at the end finds little left to do.
    fn start_writeback(&self, offset: u64, length: u64);

    /// Tells the system that nobody reads this object soon. Of use once it is published: only what is on the medium
    /// can leave memory.
    fn drop_cached(&self);

    /// Syncs the content and gives the object its name. Returns false, and drops the object, where the name is taken.
    fn publish(&self) -> Result<bool>;

    /// Syncs the content and gives the object its name, in the place of whatever has it: for whoever made an object that
    /// was damaged whole again, and for nobody else. [`Media::sync_folder`] then makes that survive power loss.
    fn replace(&self) -> Result<()>;
}

/// A published object.
pub trait Object: Send + Sync {
    /// Its name, relative to the vault.
    fn name(&self) -> &str;

    /// Its length in bytes.
    fn length(&self) -> u64;

    /// Fills the whole buffer from `offset` on; an object that ends before is damage.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// The same past any map, for who reads much of a large object: what went through a map counts as this process'
    /// memory until the system wants it back.
    fn read_past_map(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read_exact_at(offset, buffer)
    }
}
