//! Where a disk's bytes come from when it is backed up.

mod raw;

pub use raw::RawSource;

use std::io;
use std::ops::Range;

/// A disk that can be read at any place. Its content may change while it is read: what comes out is then as consistent
/// as after a power cut at best.
pub trait Source: Send + Sync {
    /// Size in bytes, as of when it was opened.
    fn size_bytes(&self) -> u64;

    /// Reads into `buffer` from `offset` on; fewer bytes than asked only at the end. Called by several threads at once, each
    /// a little before or behind the others.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Says that a range will be read soon: a source that can have it fetched meanwhile does so, and does not wait.
    fn prefetch(&self, _range: Range<u64>) {}

    /// The next range at or after `offset` that may hold anything but zeros; `None` where none follows. A hint: a
    /// source that doesn't know says that everything may.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size_bytes();
        Ok((offset < size).then_some(offset..size))
    }
}
