//! A volume as it looks once its journal is replayed, without a byte of it being written.
//!
//! The overlay keeps where in the journal the latest copy of a block lies, not the copy: a few bytes a block, however
//! much was logged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::guest::bytes::{narrow, wide};
use crate::guest::{BlockRead, MediumError};

use super::journal::MAGIC;

/// Where the latest copy of a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// Block of the volume.
    pub block: u64,
    /// Whether the block begins with the journal's magic number, which its copy has zeroed.
    pub is_escaped: bool,
}

pub(super) struct Overlay {
    volume: Arc<dyn BlockRead>,
    block_bytes: u64,
    copies: BTreeMap<u64, Copy>,
}

impl Overlay {
    /// The copies were found to lie on the volume.
    pub fn new(volume: Arc<dyn BlockRead>, block_bytes: u64, copies: BTreeMap<u64, Copy>) -> Self {
        Self { volume, block_bytes, copies }
    }

    /// Reads the part of a block's copy that a buffer asks for.
    fn read_copy(&self, copy: Copy, within: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        self.volume.read_exact_at(copy.block.saturating_mul(self.block_bytes).saturating_add(within), buffer)?;
        if copy.is_escaped {
            let magic = MAGIC.to_be_bytes();
            for (into, byte) in buffer.iter_mut().zip(magic.iter().skip(narrow(within))) {
                *into = *byte;
            }
        }
        Ok(())
    }
}

impl BlockRead for Overlay {
    fn size_bytes(&self) -> u64 {
        self.volume.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        self.volume.read_exact_at(offset, buffer)?;
        let end = offset.saturating_add(wide(buffer.len()));
        let blocks = offset / self.block_bytes..end.div_ceil(self.block_bytes);
        for (block, copy) in self.copies.range(blocks) {
            let start = block.saturating_mul(self.block_bytes);
            let from = start.max(offset);
            let to = start.saturating_add(self.block_bytes).min(end);
            if let Some(part) = buffer.get_mut(narrow(from - offset)..narrow(to.saturating_sub(offset))) {
                self.read_copy(*copy, from - start, part)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::testing::Bytes;

    // Promise 2. Any range reads as if the journal had been written over the volume, magic numbers put back.
    #[test]
    fn every_range_shows_the_copies() {
        const BLOCK: usize = 16;
        let plain: Vec<u8> = (0..128).collect();
        let mut expected = plain.clone();
        let mut copies = BTreeMap::new();
        for (block, from, is_escaped) in [(1_usize, 6_usize, false), (2, 5, true)] {
            expected.copy_within(from * BLOCK..(from + 1) * BLOCK, block * BLOCK);
            if is_escaped {
                expected[block * BLOCK..][..4].copy_from_slice(&MAGIC.to_be_bytes());
            }
            copies.insert(wide(block), Copy { block: wide(from), is_escaped });
        }
        let overlay = Overlay::new(Arc::new(Bytes(plain)), wide(BLOCK), copies);
        for start in 0..80 {
            for length in 0..48 {
                let mut buffer = vec![0; length];
                overlay.read_exact_at(wide(start), &mut buffer).expect("a read");
                assert_eq!(buffer, expected[start..start + length], "{length} bytes from {start}");
            }
        }
    }
}
