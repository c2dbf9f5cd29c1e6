//! A disk that is made up: the same on every machine, and like real ones to whoever compresses and deduplicates it.
//!
//! Of 16 extents of 1 MiB, five are text, four records of a database, two do not compress, one is a copy of an extent
//! before it, one is written zeros, three are holes. It lies in a file, and not in memory: a backup reads files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::machine;
use super::place::failed;
use super::progress::Progress;
use crate::error::{Error, Result, worse};

/// Length of an extent in bytes.
pub(super) const EXTENT_BYTES: u64 = 1 << 20;

/// Extents after which their kinds come again.
const PERIOD: u64 = 16;

/// How many of those are no holes.
const WRITTEN: u64 = 13;

/// Length of records in bytes, and of the pages that they are in.
const RECORD_BYTES: usize = 64;
const PAGE_BYTES: usize = 4096;

const WORDS: [&[u8]; 32] = [
    b"accepted",
    b"request",
    b"from",
    b"session",
    b"opened",
    b"for",
    b"user",
    b"closed",
    b"the",
    b"queue",
    b"worker",
    b"started",
    b"finished",
    b"after",
    b"retry",
    b"connection",
    b"refused",
    b"timeout",
    b"of",
    b"payload",
    b"stored",
    b"in",
    b"bucket",
    b"index",
    b"rebuilt",
    b"cache",
    b"miss",
    b"hit",
    b"page",
    b"flushed",
    b"checkpoint",
    b"complete",
];

/// Bytes of a disk of this size that are no holes.
pub(super) fn data_bytes(size_bytes: u64) -> u64 {
    let (extents, rest) = (size_bytes / EXTENT_BYTES, size_bytes % EXTENT_BYTES);
    let whole = extents / PERIOD * WRITTEN + (extents % PERIOD).min(WRITTEN);
    whole * EXTENT_BYTES + if extents % PERIOD < WRITTEN { rest } else { 0 }
}

/// Writes it to a new file, on all cores.
pub(super) fn write(path: &Path, size_bytes: u64, progress: &Progress) -> Result<()> {
    let file = File::create_new(path).map_err(failed("create", path))?;
    file.set_len(size_bytes).map_err(failed("set the length of", path))?;
    let next = AtomicU64::new(0);
    let work = || {
        let mut extent = vec![0; EXTENT_BYTES as usize];
        loop {
            progress.check()?;
            let number = next.fetch_add(1, Ordering::Relaxed);
            let offset = number * EXTENT_BYTES;
            if offset >= size_bytes {
                return Ok(());
            }
            if number % PERIOD < WRITTEN {
                fill(number, &mut extent);
                let length = usize::try_from(size_bytes - offset).unwrap_or(usize::MAX).min(extent.len());
                file.write_all_at(&extent[..length], offset).map_err(failed("write", path))?;
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..machine::cores()).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Poisoned)));
        joined.fold(Ok(()), worse)
    })
}

fn fill(number: u64, extent: &mut [u8]) {
    let kind = number % PERIOD;
    match kind {
        0..5 => text(&mut Random::new(number), extent),
        5..9 => records(&mut Random::new(number), extent),
        9..11 => Random::new(number).fill(extent),
        // The first extent of these sixteen once more.
        11 => text(&mut Random::new(number - kind), extent),
        _ => extent.fill(0),
    }
}

/// Lines of a log: words that repeat, numbers that do not.
fn text(random: &mut Random, extent: &mut [u8]) {
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let length = bytes.len().min(extent.len() - at);
        extent[at..at + length].copy_from_slice(&bytes[..length]);
        at += length;
        at < extent.len()
    };
    let mut clock = random.next() % 86_400;
    loop {
        clock += random.next() % 5;
        let mut line =
            format!("2025-11-18T{:02}:{:02}:{:02}Z host app:", clock / 3600 % 24, clock / 60 % 60, clock % 60)
                .into_bytes();
        for _ in 0..4 + random.next() % 8 {
            line.push(b' ');
            line.extend_from_slice(WORDS[(random.next() % WORDS.len() as u64) as usize]);
        }
        line.extend_from_slice(format!(" id={:012x}\n", random.next() >> 16).as_bytes());
        if !put(&line) {
            return;
        }
    }
}

/// Pages of records: growing keys, some random bytes, words, and room at the end of each page.
fn records(random: &mut Random, extent: &mut [u8]) {
    for page in extent.chunks_mut(PAGE_BYTES) {
        page.fill(0);
        let mut key = random.next() >> 24;
        let count = 40 + (random.next() % 17) as usize;
        for record in page.chunks_exact_mut(RECORD_BYTES).take(count) {
            key += 1 + random.next() % 16;
            record[..8].copy_from_slice(&key.to_be_bytes());
            random.fill(&mut record[10..24]);
            let word = WORDS[(random.next() % WORDS.len() as u64) as usize];
            record[28..28 + word.len()].copy_from_slice(word);
            record[48..56].copy_from_slice(b"EUR\0paid");
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(number: u64) -> Vec<u8> {
        let mut extent = vec![0xaa; EXTENT_BYTES as usize];
        fill(number, &mut extent);
        extent
    }

    #[test]
    fn it_is_the_same_every_time_and_compresses_like_a_disk() {
        let all: Vec<Vec<u8>> = (0..PERIOD).map(extent).collect();
        assert!(all[11] == all[0] && all[1] != all[0] && extent(3) == all[3] && extent(16) != all[0]);
        assert!(all[12].iter().all(|byte| *byte == 0));
        let mut out = vec![0; 128 << 10];
        let used = &all[..11];
        let stored: usize = used
            .iter()
            .flat_map(|extent| extent.chunks(128 << 10))
            .map(|chunk| crate::store::encode(chunk, 1, &mut out).1)
            .sum();
        let percent = stored * 100 / used.iter().map(Vec::len).sum::<usize>();
        assert!((30..55).contains(&percent), "compresses to {percent} %");
    }

    #[test]
    fn what_is_no_hole_is_counted() {
        let mib = |count: u64| data_bytes(count << 20) >> 20;
        assert_eq!([mib(1), mib(13), mib(15), mib(16), mib(17), mib(1024)], [1, 13, 13, 13, 14, 832]);
        assert_eq!([data_bytes(100), data_bytes((14 << 20) + 5)], [100, 13 << 20]);
    }
}
