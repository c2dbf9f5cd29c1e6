//! The reader of one disk: from front to end, holes passed over, in pieces.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::hints::{self, Span, Verdict};
use super::mapper::{Done, Ids};
use super::worker::Piece;
use super::{BackupDisk, Progress};
use crate::error::{Error, Result};
use crate::meter::{Meter, Stage};
use crate::point::{ByteRange, DiskMap};
use crate::store::Store;

/// Where a range can't be read, it is tried again in blocks of this size, so that no more is lost than must be.
const BLOCK_BYTES: usize = 4096;

/// How long a reader without a buffer waits before it looks whether the backup still goes on.
const BUFFER_WAIT: Duration = Duration::from_millis(50);

/// What a reader works on.
pub(super) struct Job<'a> {
    /// The disk's number in the request.
    pub number: usize,
    pub disk: &'a BackupDisk,
    /// The same disk in the point that its list of changed ranges is counted from.
    pub base: Option<&'a DiskMap>,
    pub chunk_bytes: u32,
    /// Bytes to read at a time, a multiple of the chunk size.
    pub piece_bytes: usize,
    pub allow_incomplete: bool,
}

/// Reads the whole disk, or what is said to have changed.
pub(super) fn run(
    job: &Job<'_>,
    buffers: &Receiver<Vec<u8>>,
    pieces: &Sender<Piece>,
    done: &Sender<Done>,
    store: &Store,
    progress: &Progress,
) -> Result<()> {
    let whole = Span { start: 0, end: job.disk.source.size_bytes(), changed: true };
    let spans = match (job.base, &job.disk.changed) {
        (Some(base), Some(changed)) => match hints::weigh(job, base, &changed.ranges, store)? {
            Verdict::Believed(spans) => {
                count_unread(job, base, &spans, progress)?;
                spans
            }
            Verdict::Refuted(offset) => {
                progress.refute(&job.disk.name, offset);
                vec![whole]
            }
        },
        _ => vec![whole],
    };
    for span in spans {
        if span.changed {
            read_span(job, span, buffers, pieces, done, (store.meter(), progress))?;
        } else {
            let count = (span.end - span.start).div_ceil(u64::from(job.chunk_bytes));
            let first = span.start / u64::from(job.chunk_bytes);
            send(done, Done { disk: job.number, first, ids: Ids::Unchanged(count), missing: Vec::new() })?;
        }
    }
    Ok(())
}

/// Counts what is not read: its zeros are the base's, less those in what is.
fn count_unread(job: &Job<'_>, base: &DiskMap, spans: &[Span], progress: &Progress) -> Result<()> {
    let (mut unread, mut zero) = (0, base.zero_bytes());
    for span in spans {
        if span.changed {
            let end = span.end.min(base.size_bytes());
            let length = end.saturating_sub(span.start);
            zero = zero.saturating_sub(length.saturating_sub(base.data_bytes(span.start, end)?));
        } else {
            unread += span.end - span.start;
        }
    }
    // A disk that shrank lost zeros that are in no span.
    progress.disks()[job.number].add_unread(unread, zero.min(unread));
    Ok(())
}

fn read_span(
    job: &Job<'_>,
    span: Span,
    buffers: &Receiver<Vec<u8>>,
    pieces: &Sender<Piece>,
    done: &Sender<Done>,
    (meter, progress): (&Meter, &Progress),
) -> Result<()> {
    let end_of_span = span.end;
    let chunk_bytes = u64::from(job.chunk_bytes);
    let mut at = span.start;
    while at < end_of_span {
        progress.check()?;
        let data = job.disk.source.next_data(at).map_err(|error| job.failed(at, error))?;
        let (start, end) = match data {
            // Chunks are the unit: one that is partly a hole is read whole. A source that answers with a range before
            // the place asked for gets no say, or this would never end.
            Some(range) => (
                (range.start / chunk_bytes * chunk_bytes).clamp(at, end_of_span),
                range.end.max(at + 1).div_ceil(chunk_bytes).saturating_mul(chunk_bytes).min(end_of_span),
            ),
            None => (end_of_span, end_of_span),
        };
        if start > at {
            let zeros = Ids::Zeros((start - at).div_ceil(chunk_bytes));
            progress.disks()[job.number].add_unread(start - at, start - at);
            send(done, Done { disk: job.number, first: at / chunk_bytes, ids: zeros, missing: Vec::new() })?;
        }
        at = start;
        while at < end {
            progress.check()?;
            let buffer = take_buffer(buffers, progress)?;
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(job.piece_bytes);
            let piece = meter.time(Stage::Read, length, || read_piece(job, at, length, buffer))?;
            progress.disks()[job.number].add_read(length as u64);
            send(pieces, piece)?;
            at += length as u64;
        }
    }
    Ok(())
}

/// Waits for a buffer. Those that failed readers held never come back, so that others must hear of the failure.
fn take_buffer(buffers: &Receiver<Vec<u8>>, progress: &Progress) -> Result<Vec<u8>> {
    loop {
        match buffers.recv_timeout(BUFFER_WAIT) {
            Ok(buffer) => return Ok(buffer),
            Err(RecvTimeoutError::Timeout) => progress.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Poisoned),
        }
    }
}

fn send<T>(sender: &Sender<T>, message: T) -> Result<()> {
    // A receiver that is gone has failed and tells its own reason.
    sender.send(message).map_err(|_| Error::Poisoned)
}

fn read_piece(job: &Job<'_>, at: u64, length: usize, mut buffer: Vec<u8>) -> Result<Piece> {
    buffer.resize(length, 0);
    let mut missing = Vec::new();
    if read_exactly(job, at, &mut buffer).is_err() {
        read_in_blocks(job, at, &mut buffer, &mut missing)?;
    }
    let first = at / u64::from(job.chunk_bytes);
    Ok(Piece { disk: job.number, first, bytes: buffer, missing })
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

impl Job<'_> {
    fn failed(&self, offset: u64, source: io::Error) -> Error {
        Error::Source { disk: self.disk.name.clone(), offset, source }
    }
}
