//! Memory for a piece of a disk, as direct I/O wants it.

/// What address, offset and length of a direct write are multiples of: enough for nearly all file systems and devices.
/// Where it is not, writes go through the page cache.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes whose first one lies at a multiple of [`ALIGNMENT`].
pub(super) struct Piece {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Piece {
    /// So many zeros.
    pub(super) fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, length }
    }

    /// The bytes.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}
