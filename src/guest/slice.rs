//! A part of a disk as a disk of its own.

use std::sync::Arc;

use super::bytes::wide;
use super::{BlockRead, MediumError};

/// A byte range of a disk: what a volume is to the file system on it.
pub struct Slice {
    disk: Arc<dyn BlockRead>,
    start: u64,
    size_bytes: u64,
}

impl Slice {
    /// The `size_bytes` bytes from `start` on; `None` where they do not lie wholly on the disk.
    pub fn new(disk: Arc<dyn BlockRead>, start: u64, size_bytes: u64) -> Option<Self> {
        let end = start.checked_add(size_bytes)?;
        (end <= disk.size_bytes()).then_some(Self { disk, start, size_bytes })
    }
}

impl BlockRead for Slice {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let fits = offset.checked_add(wide(buffer.len())).is_some_and(|end| end <= self.size_bytes);
        match self.start.checked_add(offset) {
            // Without this check a file system could read what lies behind its volume.
            Some(at) if fits => self.disk.read_exact_at(at, buffer),
            _ => Err(MediumError(Box::new(PastEnd { offset, size_bytes: self.size_bytes }))),
        }
    }
}

/// A read past the end of a slice.
#[derive(Debug, thiserror::Error)]
#[error("a read at {offset} reaches past the end of a volume of {size_bytes} bytes")]
struct PastEnd {
    offset: u64,
    size_bytes: u64,
}
