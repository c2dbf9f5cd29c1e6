//! A worker: from a piece of a disk to the ids of its chunks, storing what the vault does not have.

use crossbeam_channel::{Receiver, Sender};

use super::Progress;
use super::mapper::{Done, Ids};
use crate::error::{Error, Result};
use crate::format::segment::RecordType;
use crate::meter::Stage;
use crate::point::ByteRange;
use crate::store::{Store, Stored, Writer};

/// Consecutive chunks of one disk.
pub(super) struct Piece {
    /// The disk's number in the request.
    pub disk: usize,
    /// Number of the first chunk.
    pub first: u64,
    pub bytes: Vec<u8>,
    /// Ranges of the disk that could not be read and are zero here.
    pub missing: Vec<ByteRange>,
}

/// Works off pieces until there are no more.
pub(super) fn run(
    pieces: &Receiver<Piece>,
    done: &Sender<Done>,
    buffers: &Sender<Vec<u8>>,
    writer: &Writer,
    store: &Store,
    progress: &Progress,
) -> Result<()> {
    let (chunk_bytes, meter) = (store.header().chunk_bytes() as usize, store.meter());
    for piece in pieces {
        progress.check()?;
        let Piece { disk, first, bytes, missing } = piece;
        let (mut zero, mut new, mut stored) = (0, 0, 0);
        let mut ids = Vec::with_capacity(bytes.len().div_ceil(chunk_bytes));
        for chunk in bytes.chunks(chunk_bytes) {
            if meter.time(Stage::Scan, chunk.len(), || is_zero(chunk)) {
                zero += chunk.len() as u64;
                ids.push(None);
                continue;
            }
            let id = meter.time(Stage::Hash, chunk.len(), || store.id_of(RecordType::Chunk, chunk));
            // Every chunk is asked for in the index, also where the newest point has the same at the same place: that it was
            // there once is not enough, its segment may have been lost since.
            if let Stored::New { place } = writer.store(RecordType::Chunk, &id, chunk)? {
                new += chunk.len() as u64;
                stored += u64::from(place.stored_bytes);
            }
            ids.push(Some(id));
        }
        progress.disks()[disk].add_done(bytes.len() as u64, zero, new, stored);
        done.send(Done { disk, first, ids: Ids::Chunks(ids), missing }).map_err(|_| Error::Poisoned)?;
        // A reader that is through needs no buffer any more.
        let _ = buffers.send(bytes);
    }
    Ok(())
}

/// Whether there is nothing but zeros, at the speed of memory.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Blocks without an early exit are what the compiler turns into wide instructions.
    let (blocks, rest) = bytes.as_chunks::<256>();
    blocks.iter().all(|block| block.iter().fold(0, |any, byte| any | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        for length in [0, 1, 255, 256, 257, 1000] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for at in 0..length {
                bytes[at] = 0x10;
                assert!(!is_zero(&bytes), "byte {at} of {length}");
                bytes[at] = 0;
            }
        }
    }
}
