//! The disk that is measured: a given one, or one that is made up.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::place::{Place, failed};
use super::progress::Progress;
use super::{SYNTHETIC_BYTES, machine, synthetic};
use crate::error::{Error, Result};
use crate::source::{RawSource, Source};

/// Bytes read at a time, as backups do.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// The least disk that is made up unless asked for.
const LEAST_BYTES: u64 = 16 << 20;

/// The least of a given disk: with less, most of what is measured is not the disk.
const LEAST_GIVEN_BYTES: u64 = 1 << 20;

/// A disk, or the front of one.
pub(super) struct Disk {
    path: PathBuf,
    size_bytes: u64,
    /// What may hold anything but zeros, ascending.
    data: Vec<Range<u64>>,
    /// Whether memory holds it.
    fits_memory: bool,
}

/// The front of a disk.
pub(super) struct Front {
    disk: RawSource,
    size_bytes: u64,
}

impl Source for Front {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.disk.read_at(offset, &mut buffer[..length])
    }

    fn prefetch(&self, range: Range<u64>) {
        self.disk.prefetch(range.start..range.end.min(self.size_bytes));
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let found = self.disk.next_data(offset)?;
        Ok(found.filter(|range| range.start < self.size_bytes).map(|range| range.start..range.end.min(self.size_bytes)))
    }
}

impl Disk {
    /// A disk of the user's, or so much of its front that `most_bytes` of it are in no hole. There must be room for a
    /// vault of it, compressed or not, and a restored copy.
    pub fn given(place: &Place, path: &Path, most_bytes: Option<u64>) -> Result<Self> {
        let disk = Self::of(path.to_path_buf(), most_bytes.unwrap_or(u64::MAX))?;
        place.needs_room(disk.data_bytes().saturating_mul(2).saturating_add(disk.data_bytes() / 16))?;
        Ok(disk)
    }

    /// Makes one up. Where no size is asked for, it takes at most a quarter of free memory, and leaves room for a vault
    /// and a restored copy.
    pub fn made(place: &Place, size_bytes: Option<u64>, progress: &Progress) -> Result<Self> {
        let size_bytes = match size_bytes {
            Some(size_bytes) => size_bytes,
            None => {
                let most = (machine::available_memory() / 4).min(place.free_bytes()? / 4).min(SYNTHETIC_BYTES);
                (most / LEAST_BYTES * LEAST_BYTES).max(LEAST_BYTES)
            }
        };
        let data_bytes = synthetic::data_bytes(size_bytes);
        place.needs_room(data_bytes.saturating_mul(2).saturating_add(data_bytes / 4 * 3))?;
        let path = place.join("disk.raw");
        synthetic::write(&path, size_bytes, progress)?;
        // What is not written out yet would be, in the middle of a measurement.
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(failed("sync", &path))?;
        Self::of(path, u64::MAX)
    }

    fn of(path: PathBuf, most_bytes: u64) -> Result<Self> {
        let source = RawSource::open(&path).map_err(failed("read the disk", &path))?;
        let mut disk = Self { path, size_bytes: source.size_bytes(), data: Vec::new(), fits_memory: false };
        let (mut at, mut left) = (0, most_bytes);
        while let Some(range) = source.next_data(at).map_err(failed("read the disk", &disk.path))? {
            at = range.end.max(at + 1);
            let length = (range.end - range.start).min(left);
            disk.data.push(range.start..range.start + length);
            left -= length;
            if left == 0 {
                disk.size_bytes = disk.size_bytes.min(range.start + length);
                break;
            }
        }
        if disk.data_bytes() < LEAST_GIVEN_BYTES {
            let value = disk.path.to_string_lossy().into_owned();
            let rule = "less than 1 MiB of it is in use, too little to measure with";
            return Err(Error::Invalid { what: "disk", value, rule });
        }
        // Beside it, memory must hold a vault of it and a restored copy.
        disk.fits_memory = disk.data_bytes() < machine::available_memory() / 3;
        Ok(disk)
    }

    /// Why a disk without content is of no use.
    pub fn nothing(&self) -> Error {
        let value = self.path.to_string_lossy().into_owned();
        Error::Invalid { what: "disk", value, rule: "it holds nothing but zeros, so there is nothing to measure" }
    }

    /// Opens it for reading.
    pub fn source(&self) -> Result<Front> {
        let disk = RawSource::open(&self.path).map_err(failed("read the disk", &self.path))?;
        Ok(Front { disk, size_bytes: self.size_bytes })
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes that are in no hole.
    pub fn data_bytes(&self) -> u64 {
        self.data.iter().map(|range| range.end - range.start).sum()
    }

    /// Offsets and lengths of what is in no hole, in pieces that begin at multiples of `bytes`.
    pub fn pieces(&self, bytes: usize) -> impl Iterator<Item = (u64, usize)> + '_ {
        let step = bytes as u64;
        let mut last = None;
        let starts = self.data.iter().flat_map(move |range| range.start / step..range.end.div_ceil(step));
        let fresh = starts.filter(move |piece| last.replace(*piece) != Some(*piece));
        fresh.map(move |piece| {
            let offset = piece * step;
            (offset, usize::try_from(self.size_bytes - offset).unwrap_or(usize::MAX).min(bytes))
        })
    }

    /// Reads a piece whole.
    pub fn read(&self, source: &Front, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len();
        let read = source.read_at(offset, buffer).map_err(failed("read the disk", &self.path))?;
        if read == wanted {
            return Ok(());
        }
        Err(failed("read the disk", &self.path)(io::Error::from(io::ErrorKind::UnexpectedEof)))
    }

    /// Reads it once into the page cache, where memory holds it.
    pub fn warm(&self, progress: &Progress) -> Result<()> {
        if !self.fits_memory {
            return Ok(());
        }
        let source = self.source()?;
        let mut buffer = vec![0; PIECE_BYTES];
        for (offset, length) in self.pieces(PIECE_BYTES) {
            progress.check()?;
            self.read(&source, offset, &mut buffer[..length])?;
        }
        Ok(())
    }

    /// Whether it comes from the page cache.
    pub fn is_warm(&self) -> bool {
        self.fits_memory
    }
}
