//! Disks of a tebibyte that exist nowhere: what they hold is computed when it is read.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use icecore::point::ByteRange;
use icecore::source::Source;
use icecore_fixtures::Rng;

/// Different chunks of a broad disk before they come around again. A prime, and more than there are map nodes in a
/// tebibyte, so that no two nodes are equal although chunks are.
const PERIOD: u64 = 150_001;

/// What a disk holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Something everywhere.
    Broad,
    /// One chunk in so many; the rest are holes.
    OneIn(u64),
}

/// A disk.
#[derive(Clone)]
pub struct Disk {
    shape: Shape,
    chunk_bytes: u64,
    chunks: u64,
    /// Chunks that changed, and when.
    changed: Arc<RwLock<BTreeMap<u64, u64>>>,
}

impl Disk {
    /// A disk of `size_bytes`, a multiple of the chunk size.
    pub fn new(shape: Shape, chunk_bytes: u32, size_bytes: u64) -> Self {
        let chunk_bytes = u64::from(chunk_bytes);
        Self { shape, chunk_bytes, chunks: size_bytes / chunk_bytes, changed: Arc::default() }
    }

    /// Changes some chunks, here and there; `when` is never zero. Returns where.
    pub fn change(&self, when: u64, count: u64) -> Vec<ByteRange> {
        let mut random = Rng::labelled(when, b"changes");
        let mut changed = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        let mut one = |_| {
            // Every few chunks there is one that holds something.
            let step = if let Shape::OneIn(step) = self.shape { step } else { 1 };
            let chunk = random.below(self.chunks / step) * step;
            changed.insert(chunk, when);
            ByteRange { start: chunk * self.chunk_bytes, end: (chunk + 1) * self.chunk_bytes }
        };
        (0..count).map(&mut one).collect()
    }

    fn holds_something(&self, chunk: u64) -> bool {
        match self.shape {
            Shape::Broad => true,
            Shape::OneIn(step) => chunk.is_multiple_of(step),
        }
    }
}

impl Source for Disk {
    fn size_bytes(&self) -> u64 {
        self.chunks * self.chunk_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        // The engine reads whole chunks.
        let length = usize::try_from(self.size_bytes().saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        buffer.fill(0);
        let changed = self.changed.read().unwrap_or_else(PoisonError::into_inner);
        for (chunk, number) in buffer.chunks_mut(self.chunk_bytes as usize).zip(offset / self.chunk_bytes..) {
            if !self.holds_something(number) {
                continue;
            }
            let words = match changed.get(&number) {
                Some(when) => [u64::MAX, number, *when],
                None => [1, number % PERIOD, 0],
            };
            for (out, word) in chunk.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *out = word.to_le_bytes();
            }
        }
        Ok(length)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size_bytes();
        let Shape::OneIn(step) = self.shape else { return Ok((offset < size).then_some(offset..size)) };
        let chunk = offset / self.chunk_bytes;
        let start = if chunk.is_multiple_of(step) { offset } else { chunk.next_multiple_of(step) * self.chunk_bytes };
        let end = (start / self.chunk_bytes + 1) * self.chunk_bytes;
        Ok((start < size).then_some(start..end))
    }
}
