//! A guest's disk of bytes that stay, with a few changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore::guest::{BlockRead, MediumError};

const PAGE: u64 = 512;

/// A disk in memory that counts what is read of it.
pub struct PatchedDisk<'a> {
    base: &'a [u8],
    size_bytes: u64,
    /// Changed pages by number.
    patches: BTreeMap<u64, [u8; PAGE as usize]>,
    read_bytes: AtomicU64,
    reads: AtomicU64,
}

impl<'a> PatchedDisk<'a> {
    /// The bytes of `base`, and zeros behind them.
    pub fn new(base: &'a [u8], size_bytes: u64) -> Self {
        Self { base, size_bytes, patches: BTreeMap::new(), read_bytes: AtomicU64::new(0), reads: AtomicU64::new(0) }
    }

    /// Changes bytes; what lies past the end is left out.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..self.size_bytes).zip(bytes) {
            let page = at / PAGE;
            if !self.patches.contains_key(&page) {
                let mut copy = [0; PAGE as usize];
                self.copy_base(page * PAGE, &mut copy);
                self.patches.insert(page, copy);
            }
            if let Some(patch) = self.patches.get_mut(&page) {
                patch[usize::try_from(at % PAGE).unwrap_or(0)] = *byte;
            }
        }
    }

    /// Bytes and calls that were read so far.
    pub fn read_so_far(&self) -> (u64, u64) {
        (self.read_bytes.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed))
    }

    fn copy_base(&self, offset: u64, buffer: &mut [u8]) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.base.len());
        let end = start.saturating_add(buffer.len()).min(self.base.len());
        let (from_base, zeros) = buffer.split_at_mut(end - start);
        from_base.copy_from_slice(&self.base[start..end]);
        zeros.fill(0);
    }
}

impl BlockRead for PatchedDisk<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size_bytes);
        let end = end.ok_or_else(|| MediumError("past the end".into()))?;
        self.read_bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.copy_base(offset, buffer);
        for (page, bytes) in self.patches.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = page * PAGE;
            let (from, to) = (start.max(offset), (start + PAGE).min(end));
            let within = |at: u64, of: u64| usize::try_from(at - of).unwrap_or(0);
            buffer[within(from, offset)..within(to, offset)]
                .copy_from_slice(&bytes[within(from, start)..within(to, start)]);
        }
        Ok(())
    }
}
