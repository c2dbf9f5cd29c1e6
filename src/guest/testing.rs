//! What unit tests of several readers share.

use super::bytes::{narrow, wide};
use super::{BlockRead, MediumError};

/// A disk in memory.
pub(super) struct Bytes(pub Vec<u8>);

impl BlockRead for Bytes {
    fn size_bytes(&self) -> u64 {
        wide(self.0.len())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        buffer.copy_from_slice(&self.0[narrow(offset)..][..buffer.len()]);
        Ok(())
    }
}
