//! A raw image file or a block device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, SeekFrom as Whence};
use rustix::io::Errno;

use super::Source;
use crate::media::read_up_to;

/// A raw image file or a block device, byte for byte the disk.
pub struct RawSource {
    file: File,
    size_bytes: u64,
    /// Whether the file can tell its holes.
    knows_holes: bool,
}

impl RawSource {
    /// Opens a file or device for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Without waiting: the open of a pipe that nobody writes to would never end.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        Self::of(OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?)
    }

    /// The disk in a file that is open, which may have no name.
    pub fn of(mut file: File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a regular file nor a block device"));
        }
        // A device's length is where its end is.
        let size_bytes = file.seek(SeekFrom::End(0))?;
        if size_bytes == 0 && kind.is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device with nothing behind it"));
        }
        // One pass from front to end: the kernel reads further ahead.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self { file, size_bytes, knows_holes: kind.is_file() })
    }
}

impl Source for RawSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_up_to(|offset, buffer| self.file.read_at(buffer, offset), offset, buffer)
    }

    fn prefetch(&self, range: Range<u64>) {
        // What the system declines to fetch ahead is fetched when it is read.
        let length = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
        let _ = rustix::fs::fadvise(&self.file, range.start, length, Advice::WillNeed);
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let whole = (offset < self.size_bytes).then_some(offset..self.size_bytes);
        if !self.knows_holes {
            return Ok(whole);
        }
        let start = match rustix::fs::seek(&self.file, Whence::Data(offset)) {
            Ok(start) => start,
            // A hole up to the end, if the end is still where it was.
            Err(Errno::NXIO) if self.file.metadata()?.len() >= self.size_bytes => return Ok(None),
            Err(Errno::NXIO) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk became shorter while it was read"));
            }
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(whole),
            Err(error) => return Err(error.into()),
        };
        // The data may be gone by now, if the guest discards: the hole is then found where the data was to begin, and says
        // nothing of what follows. So the rest counts as data, as it does where no hole is told.
        let end = rustix::fs::seek(&self.file, Whence::Hole(start)).unwrap_or(self.size_bytes).min(self.size_bytes);
        Ok((start < self.size_bytes).then_some(start..if end > start { end } else { self.size_bytes }))
    }
}
