//! The scout of one disk: goes ahead from front to end, passes over holes and what did not change, has the rest fetched,
//! and cuts it into pieces for the workers, which read them.
//!
//! So the medium streams, however many workers read at once: what they ask for is in memory or on its way, in order. How
//! far ahead that is, is bounded by the pieces that may wait.

use std::io;

use super::hints::{self, Span, Verdict};
use super::mapper::{Done, Ids};
use super::worker::Piece;
use super::{BackupDisk, Progress};
use crate::error::{Error, Result};
use crate::point::DiskMap;
use crate::store::Store;
use crate::sync::channel::Sender;

/// Bytes that are asked for ahead in one go: enough for a spinning disk to stream, little enough to begin with soon.
const FETCH_BYTES: u64 = 1 << 20;

/// A disk on its way into a point.
pub(super) struct Job<'a> {
    /// The disk's number in the request.
    pub number: usize,
    pub disk: &'a BackupDisk,
    /// The same disk in the point that its list of changed ranges is counted from.
    pub base: Option<&'a DiskMap>,
    pub chunk_bytes: u32,
    /// Bytes that a worker reads at a time, a multiple of the chunk size.
    pub piece_bytes: u64,
    pub allow_incomplete: bool,
}

/// Goes through the whole disk, or what is said to have changed.
pub(super) fn run(
    job: &Job<'_>,
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
            scout(job, span, pieces, done, progress)?;
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

fn scout(job: &Job<'_>, span: Span, pieces: &Sender<Piece>, done: &Sender<Done>, progress: &Progress) -> Result<()> {
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
        let mut fetched = start;
        while at < end {
            progress.check()?;
            if at >= fetched {
                fetched = (at + FETCH_BYTES.max(job.piece_bytes)).min(end);
                job.disk.source.prefetch(at..fetched);
            }
            let length = (end - at).min(job.piece_bytes);
            send(pieces, Piece { disk: job.number, start: at, length })?;
            at += length;
        }
    }
    Ok(())
}

fn send<T>(sender: &Sender<T>, message: T) -> Result<()> {
    // A receiver that is gone has failed and tells its own reason.
    sender.send(message).map_err(|_| Error::Poisoned)
}

impl Job<'_> {
    pub(super) fn failed(&self, offset: u64, source: io::Error) -> Error {
        Error::Source { disk: self.disk.name.clone(), offset, source }
    }
}
