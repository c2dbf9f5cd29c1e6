//! Changed ranges that a caller knows: what need not be read again.
//!
//! A hint is a hint: before it is believed, a sample of the chunks that it calls unchanged is read and compared with the
//! point that it builds on. One that differs makes the whole disk be read, and is reported.

use super::scout::Job;
use crate::error::Result;
use crate::format::segment::RecordType;
use crate::point::{ByteRange, DiskMap};
use crate::store::Store;

use super::worker::is_zero;

/// Chunks that are read and compared before a hint is believed.
const SAMPLES: u64 = 32;

/// A part of a disk, in bytes; it begins at a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u64,
    pub end: u64,
    /// Whether it must be read.
    pub changed: bool,
}

/// What became of a hint.
pub(super) enum Verdict {
    /// The disk in parts, in order.
    Believed(Vec<Span>),
    /// The chunk at this byte differs although it was called unchanged.
    Refuted(u64),
}

/// Weighs the hint for a disk against the point that it builds on.
pub(super) fn weigh(job: &Job<'_>, base: &DiskMap, changed: &[ByteRange], store: &Store) -> Result<Verdict> {
    let size = job.disk.source.size_bytes();
    let spans = spans(size, u64::from(job.chunk_bytes), base, changed);
    let unchanged: Vec<Span> = spans.iter().copied().filter(|span| !span.changed).collect();
    let total: u64 = unchanged.iter().map(|span| span.end - span.start).sum();
    let mut buffer = vec![0; job.chunk_bytes as usize];
    for sample in 0..SAMPLES {
        let seed = u64::from_le_bytes(crate::seal::random()?);
        // One from each of as many equal parts, so that no region goes unseen.
        let Some(part) = total.checked_div(SAMPLES).map(|part| part.max(1)) else { break };
        let offset = (sample * part + seed % part).min(total.saturating_sub(1));
        let Some(at) = nth(&unchanged, offset) else { break };
        let chunk = prefer_data(base, &unchanged, at / u64::from(job.chunk_bytes))?;
        if !same(job, base, store, chunk, &mut buffer)? {
            return Ok(Verdict::Refuted(chunk * u64::from(job.chunk_bytes)));
        }
    }
    Ok(Verdict::Believed(spans))
}

/// Cuts the disk at chunk borders into what is said to be changed and what is not.
fn spans(size: u64, chunk_bytes: u64, base: &DiskMap, changed: &[ByteRange]) -> Vec<Span> {
    let mut ranges: Vec<ByteRange> = changed.iter().chain(base.missing()).copied().collect();
    if base.size_bytes() != size {
        // A tail that grew, or a last chunk that got another length.
        ranges.push(ByteRange { start: base.size_bytes().min(size), end: size });
        ranges.push(ByteRange { start: size.saturating_sub(1), end: size });
    }
    ranges.sort_unstable();
    let mut spans = Vec::new();
    let mut at = 0;
    for range in ranges {
        let start = (range.start.min(size) / chunk_bytes * chunk_bytes).max(at);
        let end = range.end.min(size).div_ceil(chunk_bytes).saturating_mul(chunk_bytes).min(size);
        if range.start >= range.end || end <= start {
            continue;
        }
        if start > at {
            spans.push(Span { start: at, end: start, changed: false });
        }
        spans.push(Span { start, end, changed: true });
        at = end;
    }
    if at < size {
        spans.push(Span { start: at, end: size, changed: false });
    }
    spans
}

/// The byte of the disk that is the `offset`th of the given spans.
fn nth(spans: &[Span], mut offset: u64) -> Option<u64> {
    for span in spans {
        let length = span.end - span.start;
        if offset < length {
            return Some(span.start + offset);
        }
        offset -= length;
    }
    None
}

/// The next chunk with data, where it is called unchanged too: a sample of nothing but holes says little.
fn prefer_data(base: &DiskMap, unchanged: &[Span], chunk: u64) -> Result<u64> {
    let data = base.find(chunk, true)?;
    let at = data.saturating_mul(base.chunk_bytes());
    let known = data < base.chunks() && unchanged.iter().any(|span| span.start <= at && at < span.end);
    Ok(if known { data } else { chunk })
}

fn same(job: &Job<'_>, base: &DiskMap, store: &Store, chunk: u64, buffer: &mut [u8]) -> Result<bool> {
    let offset = chunk * u64::from(job.chunk_bytes);
    let length = usize::try_from(base.chunk_length(chunk)).unwrap_or(0).min(buffer.len());
    let bytes = &mut buffer[..length];
    let read = job.disk.source.read_at(offset, bytes);
    // What can't be read is for the worker to report.
    let Ok(count) = read else { return Ok(false) };
    if count != length {
        return Ok(false);
    }
    let id = if is_zero(bytes) { None } else { Some(store.id_of(RecordType::Chunk, bytes)) };
    Ok(base.chunk_id(chunk)? == id)
}
