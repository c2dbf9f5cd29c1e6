//! Who reads a disk from front to back, and how far ahead it pays to decode for them.
//!
//! No reader says that it is one: requests of many come mixed, and those of one come out of order, as a kernel sends several
//! at once. So the fronts of the last few streams are remembered, without a lock; what is lost when two threads meet is a
//! guess, never a byte.

use std::ops::Range;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Streams that are told apart on one disk.
const STREAMS: usize = 8;

/// No chunk has this number.
const NONE: u64 = u64::MAX;

/// Chunks that are decoded ahead when a second read follows the first; twice as many with each that follows.
const FIRST_AHEAD: u64 = 2;

/// A request that covers more chunks than this is worth several cores, whatever came before it.
const WIDE: u64 = 2;

struct Stream {
    /// The first chunk that was not read.
    front: AtomicU64,
    /// The first chunk that was not asked for ahead.
    ahead: AtomicU64,
}

/// The streams of one disk.
pub(super) struct Streams {
    streams: [Stream; STREAMS],
    turn: AtomicUsize,
}

impl Default for Streams {
    fn default() -> Self {
        let none = || Stream { front: AtomicU64::new(NONE), ahead: AtomicU64::new(NONE) };
        Self { streams: std::array::from_fn(|_| none()), turn: AtomicUsize::new(0) }
    }
}

impl Streams {
    /// Takes note of a read of the chunks from `first` to `last`, and says which chunks are worth decoding meanwhile by
    /// others; no more than `most` of them lie behind `last`.
    pub(super) fn note(&self, first: u64, last: u64, most: u64) -> Range<u64> {
        let nothing = last + 1..last + 1;
        let span = last - first + 1;
        for stream in &self.streams {
            let front = stream.front.load(Ordering::Relaxed);
            // A little behind the front is a request that was overtaken, a little before it one that overtook.
            if front == NONE || first.saturating_add(most) < front || first > front.saturating_add(2 * span) {
                continue;
            }
            if last < front {
                return nothing;
            }
            stream.front.fetch_max(last + 1, Ordering::Relaxed);
            let asked = stream.ahead.load(Ordering::Relaxed);
            let window = (2 * asked.saturating_sub(front)).max(FIRST_AHEAD).min(most);
            let (start, end) = (asked.max(first + 1), last.saturating_add(1).saturating_add(window));
            // Not one by one: each wish may wake a thread.
            if end.saturating_sub(start) < (window / 4).max(1) {
                return nothing;
            }
            stream.ahead.fetch_max(end, Ordering::Relaxed);
            return start..end;
        }
        let stream = &self.streams[self.turn.fetch_add(1, Ordering::Relaxed) % STREAMS];
        stream.ahead.store(last + 1, Ordering::Relaxed);
        stream.front.store(last + 1, Ordering::Relaxed);
        if span > WIDE { first + 1..last + 1 } else { nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_decoded_ahead_further_and_further_and_each_chunk_once() {
        let streams = Streams::default();
        let mut asked = Vec::new();
        for chunk in 0..1000 {
            asked.extend(streams.note(chunk, chunk, 64));
            let ahead = asked.last().map_or(0, |last: &u64| last.saturating_sub(chunk));
            assert!(ahead <= 64, "{ahead} ahead of {chunk}");
            assert!(chunk < 50 || ahead >= 48, "only {ahead} ahead of {chunk}");
        }
        assert!(asked.is_sorted() && asked.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        assert_eq!(asked.first(), Some(&2), "the second read made it a stream");
    }

    #[test]
    fn small_reads_within_a_chunk_ask_for_nothing() {
        let streams = Streams::default();
        for _ in 0..16 {
            assert!(streams.note(7, 7, 64).is_empty());
        }
    }

    #[test]
    fn requests_out_of_order_are_one_stream() {
        let streams = Streams::default();
        let mut asked = 0;
        for pair in 0..50 {
            let base = pair * 32;
            asked += streams.note(base + 16, base + 31, 64).count();
            asked += streams.note(base, base + 15, 64).count();
        }
        assert!((1500..1700).contains(&asked), "{asked} of 1600 chunks were asked for");
    }

    #[test]
    fn random_reads_are_no_stream() {
        let streams = Streams::default();
        let (mut state, mut asked) = (1_u64, 0);
        for _ in 0..10_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chunk = (state >> 33) % 60_000;
            asked += streams.note(chunk, chunk, 64).count();
        }
        assert!(asked < 200, "{asked} chunks decoded for nothing");
    }

    #[test]
    fn several_streams_at_once_are_told_apart() {
        let streams = Streams::default();
        let mut asked = 0;
        for chunk in 0..200 {
            for stream in 0..STREAMS as u64 {
                asked += streams.note(stream * 100_000 + chunk, stream * 100_000 + chunk, 64).count();
            }
        }
        assert!(asked > 190 * STREAMS, "{asked}");
    }

    #[test]
    fn the_last_chunk_of_the_largest_disk_overflows_nothing() {
        let streams = Streams::default();
        for chunk in (u64::MAX - 8)..(u64::MAX - 1) {
            streams.note(chunk, chunk, 64);
        }
    }
}
