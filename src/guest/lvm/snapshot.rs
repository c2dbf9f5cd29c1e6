//! A snapshot of the old kind: its origin as it was, from a store of the chunks that were changed since
//! (`drivers/md/dm-snap-persistent.c`).
//!
//! The store is counted in chunks of a size that its first one tells:
//!
//! ```text
//!   0    4  "SnAp"
//!   4    4  whether it is valid: zero once it ran full
//!   8    4  version, 1
//!  12    4  size of a chunk, in sectors
//! ```
//!
//! From chunk 1 on lie, in turn, a chunk full of exceptions and as many chunks of data as it can name. An exception is the
//! number of a chunk of the origin, and of the chunk of the store that takes its place, 8 bytes each; a new number of zero
//! ends them.

use std::sync::Arc;

use crate::guest::bytes::{narrow, u32_at, u64_at, wide};
use crate::guest::{BlockRead, Damage, Error, Fault, MediumError, Object};

use super::pieces::{self, Source, past_end};
use super::problem::Problem;

const MAGIC: u32 = 0x7041_6E53;
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const SECTOR_BYTES: u64 = 512;
const EXCEPTION_BYTES: usize = 16;
/// LVM2 makes chunks of 4 to 512 KiB.
const CHUNK_BYTES_MAX: u64 = 16 << 20;
/// How much of a chunk of exceptions is read at a time.
const PIECE_BYTES: u64 = 64 << 10;
/// Exceptions at most: 64 GiB of changes in the smallest chunks that LVM2 makes.
const EXCEPTIONS_MAX: u64 = 1 << 24;
/// And runs of them at most, which bounds memory: 48 MiB.
const RUNS_MAX: usize = 1 << 21;

/// Consecutive chunks whose content lies in consecutive chunks of the store.
#[derive(Clone, Copy)]
struct Run {
    old: u64,
    new: u64,
    length: u64,
}

/// A snapshot as a disk.
pub(super) struct Snapshot {
    origin: Arc<dyn BlockRead>,
    store: Arc<dyn BlockRead>,
    size_bytes: u64,
    chunk_bytes: u64,
    /// In order of `old`, none over another.
    runs: Vec<Run>,
}

fn damaged(chunk: u64, fault: Fault) -> Error {
    Damage { object: Object::SnapshotStore { chunk }, fault }.into()
}

impl Snapshot {
    /// The first `size_bytes` bytes of what `store` makes of `origin`.
    pub fn open(origin: Arc<dyn BlockRead>, store: Arc<dyn BlockRead>, size_bytes: u64) -> Result<Self, Error> {
        let mut header = [0; HEADER_BYTES];
        store.read_exact_at(0, &mut header)?;
        let word = |at| u32_at(&header, at).unwrap_or_default();
        let mut snapshot = Self { origin, store, size_bytes, chunk_bytes: SECTOR_BYTES, runs: Vec::new() };
        if size_bytes > snapshot.origin.size_bytes() {
            return Err(Problem::Metadata { what: "a snapshot that is larger than its origin" }.into());
        }
        match word(0) {
            // Never activated: the driver would begin an empty store here.
            0 => return Ok(snapshot),
            MAGIC => {}
            _ => return Err(damaged(0, Fault::Magic)),
        }
        if word(8) != VERSION {
            return Err(damaged(0, Fault::Field { field: "version", value: word(8).into() }));
        }
        if word(4) == 0 {
            return Err(Problem::Overflowed.into());
        }
        snapshot.chunk_bytes = u64::from(word(12)).saturating_mul(SECTOR_BYTES);
        if !snapshot.chunk_bytes.is_power_of_two() || snapshot.chunk_bytes > CHUNK_BYTES_MAX {
            return Err(damaged(0, Fault::Field { field: "chunk_size", value: word(12).into() }));
        }
        snapshot.load()?;
        Ok(snapshot)
    }

    /// Reads all exceptions.
    fn load(&mut self) -> Result<(), Error> {
        let each = self.chunk_bytes.div_euclid(wide(EXCEPTION_BYTES));
        let (mut at, mut count) = (1_u64, 0_u64);
        while self.load_chunk(at, &mut count)? {
            at = at.saturating_add(each).saturating_add(1);
        }
        self.runs.sort_unstable_by_key(|run| run.old);
        let overlaps = |pair: &[Run]| matches!(pair, [a, b] if a.old.saturating_add(a.length) > b.old);
        if self.runs.windows(2).any(overlaps) {
            return Err(damaged(1, Fault::Order));
        }
        self.runs.shrink_to_fit();
        Ok(())
    }

    /// Reads one chunk of exceptions; whether another one follows.
    fn load_chunk(&mut self, at: u64, count: &mut u64) -> Result<bool, Error> {
        let start = at.checked_mul(self.chunk_bytes);
        let end = start.and_then(|start| start.checked_add(self.chunk_bytes));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= self.store.size_bytes())) else {
            return Err(damaged(at, Fault::CutShort));
        };
        let mut piece = vec![0; narrow(self.chunk_bytes.min(PIECE_BYTES))];
        let mut offset = start;
        while offset < end {
            self.store.read_exact_at(offset, &mut piece)?;
            for exception in piece.chunks_exact(EXCEPTION_BYTES) {
                let (old, new) = (u64_at(exception, 0).unwrap_or_default(), u64_at(exception, 8).unwrap_or_default());
                if new == 0 {
                    return Ok(false);
                }
                *count = count.saturating_add(1);
                if *count > EXCEPTIONS_MAX {
                    return Err(Problem::TooMany { what: "changed chunks" }.into());
                }
                self.add(at, old, new)?;
            }
            offset = offset.saturating_add(wide(piece.len()));
        }
        Ok(true)
    }

    fn add(&mut self, at: u64, old: u64, new: u64) -> Result<(), Error> {
        let end = |chunk: u64| chunk.checked_add(1).and_then(|chunk| chunk.checked_mul(self.chunk_bytes));
        if end(new).is_none_or(|end| end > self.store.size_bytes()) {
            return Err(damaged(at, Fault::Field { field: "new_chunk", value: new }));
        }
        if end(old).is_none() {
            return Err(damaged(at, Fault::Field { field: "old_chunk", value: old }));
        }
        if let Some(last) = self.runs.last_mut()
            && last.old.checked_add(last.length) == Some(old)
            && last.new.checked_add(last.length) == Some(new)
        {
            last.length = last.length.saturating_add(1);
            return Ok(());
        }
        if self.runs.len() >= RUNS_MAX {
            return Err(Problem::TooMany { what: "changed chunks" }.into());
        }
        self.runs.push(Run { old, new, length: 1 });
        Ok(())
    }

    /// Where a byte lies, and how many from there on lie together.
    fn find(&self, offset: u64) -> Option<(Source<'_>, u64)> {
        let left = self.size_bytes.checked_sub(offset).filter(|left| *left > 0)?;
        let (chunk, rest) = (offset.checked_div(self.chunk_bytes)?, offset.checked_rem(self.chunk_bytes)?);
        let after = self.runs.partition_point(|run| run.old <= chunk);
        let run = after.checked_sub(1).and_then(|at| self.runs.get(at));
        if let Some(run) = run
            && let Some(within) = chunk.checked_sub(run.old).filter(|within| *within < run.length)
        {
            let at = run.new.checked_add(within)?.checked_mul(self.chunk_bytes)?.checked_add(rest)?;
            let together = run.length.checked_sub(within)?.checked_mul(self.chunk_bytes)?.checked_sub(rest)?;
            return Some((Source::Device(self.store.as_ref(), at), together.min(left)));
        }
        // Up to the next run all is the origin's.
        let next = self.runs.get(after).map_or(u64::MAX, |run| run.old.saturating_mul(self.chunk_bytes));
        Some((Source::Device(self.origin.as_ref(), offset), left.min(next.checked_sub(offset)?)))
    }
}

impl BlockRead for Snapshot {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        pieces::read(offset, buffer, |offset| self.find(offset).ok_or_else(past_end))
    }
}
