//! A worker: reads a piece of a disk, and stores what the vault does not have of it. The bytes stay in one processor's
//! cache from the read to the last step.

use std::io;

use super::mapper::{Done, Ids};
use super::quota::Limits;
use super::scout::Job;
use super::{DiskProgress, Progress};
use crate::error::{Error, Result};
use crate::format::Hash;
use crate::format::segment::RecordType;
use crate::meter::Stage;
use crate::point::ByteRange;
use crate::store::{Store, Stored, Writer};
use crate::sync::channel::{Receiver, Sender};

/// Where a range can't be read, it is tried again in blocks of this size, so that no more is lost than must be.
const BLOCK_BYTES: usize = 4096;

/// Consecutive chunks of one disk.
pub(super) struct Piece {
    /// The disk's number in the request.
    pub disk: usize,
    /// Its first byte.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Works off pieces until there are no more.
pub(super) fn run(
    pieces: &Receiver<Piece>,
    done: &Sender<Done>,
    jobs: &[Job<'_>],
    writer: &Writer,
    store: &Store,
    (progress, limits): (&Progress, &Limits),
) -> Result<()> {
    let mut buffer = Vec::new();
    for Piece { disk, start, length } in pieces {
        progress.check()?;
        let job = &jobs[disk];
        let length = usize::try_from(length).expect("a piece fits into memory");
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let bytes = &mut buffer[..length];
        let mut missing = Vec::new();
        store.meter().time(Stage::Read, length, || read(job, start, bytes, &mut missing))?;
        progress.disks()[disk].add_read(length as u64);
        let ids = Ids::Chunks(store_chunks(job, bytes, writer, store, progress)?);
        limits.check(writer.stored_bytes(), || progress.disks().iter().map(DiskProgress::stored_bytes).sum())?;
        let first = start / u64::from(job.chunk_bytes);
        done.send(Done { disk, first, ids, missing }).map_err(|_| Error::Poisoned)?;
    }
    Ok(())
}

/// The ids of the chunks of a piece, all of which are in the vault or on their way then.
fn store_chunks(
    job: &Job<'_>,
    bytes: &[u8],
    writer: &Writer,
    store: &Store,
    progress: &Progress,
) -> Result<Vec<Option<Hash>>> {
    let meter = store.meter();
    let (mut zero, mut new, mut stored) = (0, 0, 0);
    let mut ids = Vec::with_capacity(bytes.len().div_ceil(job.chunk_bytes as usize));
    for chunk in bytes.chunks(job.chunk_bytes as usize) {
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
    progress.disks()[job.number].add_done(bytes.len() as u64, zero, new, stored);
    Ok(ids)
}

/// Reads a piece; what can't be read is zeros, and listed, where that is allowed.
fn read(job: &Job<'_>, at: u64, buffer: &mut [u8], missing: &mut Vec<ByteRange>) -> Result<()> {
    match read_exactly(job, at, buffer) {
        Ok(()) => Ok(()),
        Err(_) => read_in_blocks(job, at, buffer, missing),
    }
}

fn read_exactly(job: &Job<'_>, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    let wanted = buffer.len();
    if job.disk.source.read_at(at, buffer)? == wanted {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk became shorter while it was read"))
}

/// Finds out which blocks can't be read. Without `allow_incomplete` the first of them ends the backup.
fn read_in_blocks(job: &Job<'_>, at: u64, buffer: &mut [u8], missing: &mut Vec<ByteRange>) -> Result<()> {
    let mut start = at;
    for block in buffer.chunks_mut(BLOCK_BYTES) {
        let end = start + block.len() as u64;
        if let Err(error) = read_exactly(job, start, block) {
            if !job.allow_incomplete {
                return Err(job.failed(start, error));
            }
            block.fill(0);
            match missing.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => missing.push(ByteRange { start, end }),
            }
        }
        start = end;
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
