//! Memory that a thread keeps for its next record, so that no record costs an allocation of its own.

use std::cell::Cell;

/// Buffers of one thread. They only grow: to the largest record that the thread met.
#[derive(Default)]
pub(super) struct Scratch {
    /// A record as it is made, or a payload as it was read.
    sealed: Vec<u8>,
    /// A second look at what was sealed.
    again: Vec<u8>,
    /// Plain bytes that nobody keeps.
    pub plain: Vec<u8>,
}

thread_local! {
    static KEPT: Cell<Scratch> = Cell::default();
}

impl Scratch {
    /// Lends this thread's buffers. Whoever asks while they are lent gets new ones.
    pub(super) fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        let mut scratch = KEPT.take();
        let result = work(&mut scratch);
        KEPT.set(scratch);
        result
    }

    /// Room for so many bytes, whatever is in it.
    pub(super) fn sealed(&mut self, bytes: usize) -> &mut [u8] {
        room(&mut self.sealed, bytes)
    }

    /// The buffer for a record as it was read.
    pub(super) fn sealed_vec(&mut self) -> &mut Vec<u8> {
        &mut self.sealed
    }

    /// A part of what was made there, in a copy that may be changed; and room for plain bytes.
    pub(super) fn copy(&mut self, from: usize, to: usize) -> (&mut [u8], &mut Vec<u8>) {
        let copy = room(&mut self.again, to - from);
        copy.copy_from_slice(&self.sealed[from..to]);
        (copy, &mut self.plain)
    }
}

/// Room for so many bytes in a buffer that only grows.
pub(super) fn room(buffer: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    &mut buffer[..bytes]
}
