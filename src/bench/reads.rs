//! Reading the disk of a point, from front to end and at random places, as whoever walks into a point does.

use std::ops::Range;
use std::time::{Duration, Instant};

use icecore_fuse::{NodeId, ReadOnlyTree, Seek};

use super::progress::Progress;
use super::runs::{Bench, Dealt, Made, Outcome};
use super::stopwatch::{faster_of_two, taken};
use super::synthetic::Random;
use crate::Vault;
use crate::error::{Error, Result, worse};
use crate::store::CacheSizes;
use crate::tree::VaultTree;

/// Bytes of a sequential read.
const SEQUENTIAL_BYTES: usize = 1 << 20;

/// Bytes of a random read.
pub(super) const PAGE_BYTES: usize = 4096;

/// How many read at random places at once.
pub(super) const READERS: [usize; 2] = [1, 4];

/// A cache for random reads, so small that next to nothing of what is read was read before.
pub(super) const SMALL_CACHE: CacheSizes = CacheSizes { chunk_bytes: 8 << 20, node_bytes: 32 << 20 };

/// Something that can be read at any place.
pub(super) trait ReadAt: Sync {
    /// Fills the buffer.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

/// The disk in the tree.
struct TreeFile {
    tree: VaultTree,
    node: NodeId,
}

impl TreeFile {
    fn open(vault: &Vault) -> Result<Self> {
        let tree = vault.tree();
        let node = tree.resolve(Made::disk_path(), true)?;
        Ok(Self { tree, node })
    }
}

impl ReadAt for TreeFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len();
        if self.tree.read(self.node, offset, buffer)? == wanted { Ok(()) } else { Err(Error::Poisoned) }
    }
}

/// What of a disk is used, as its point tells.
pub(super) struct Used {
    ranges: Vec<Range<u64>>,
}

impl Used {
    /// Asks the tree, as `cp` does.
    pub fn of(vault: &Vault) -> Result<Self> {
        let TreeFile { tree, node } = TreeFile::open(vault)?;
        let mut ranges = Vec::new();
        let mut at = 0;
        while let Some(start) = tree.seek(node, at, Seek::Data)? {
            at = tree.seek(node, start, Seek::Hole)?.unwrap_or(start + 1);
            ranges.push(start..at);
        }
        Ok(Self { ranges })
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// A page that holds something.
    fn random_page(&self, random: &mut Random, total: u64) -> u64 {
        let mut left = random.next() % total.max(1);
        for range in &self.ranges {
            let length = range.end - range.start;
            if left < length {
                let page = PAGE_BYTES as u64;
                // The last page of a disk may be short.
                return ((range.start + left) / page * page).min(range.end.saturating_sub(page));
            }
            left -= length;
        }
        0
    }
}

/// Reads everything that is used.
pub(super) fn sequential(file: &dyn ReadAt, used: &Used, progress: &Progress) -> Result<()> {
    let mut buffer = vec![0; SEQUENTIAL_BYTES];
    for range in &used.ranges {
        let mut at = range.start;
        while at < range.end {
            progress.check()?;
            let length = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            file.read_at(at, &mut buffer[..length])?;
            at += length as u64;
        }
    }
    Ok(())
}

/// Reads pages at random places for some time; returns how many.
pub(super) fn random(
    file: &dyn ReadAt,
    used: &Used,
    readers: usize,
    (time, seed): (Duration, u64),
    progress: &Progress,
) -> Result<u64> {
    let (began, total) = (Instant::now(), used.bytes());
    let work = |reader: usize| {
        move || {
            let mut random = Random::new(seed + reader as u64);
            let mut page = [0; PAGE_BYTES];
            let mut count = 0;
            while began.elapsed() < time {
                progress.check()?;
                file.read_at(used.random_page(&mut random, total), &mut page)?;
                count += 1;
            }
            Ok(count)
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers).map(|reader| scope.spawn(work(reader))).collect();
        let (mut sum, mut outcome) = (0, Ok(()));
        for thread in threads {
            match thread.join().unwrap_or(Err(Error::Poisoned)) {
                Ok(count) => sum += count,
                Err(error) => outcome = worse(outcome, Err(error)),
            }
        }
        outcome.map(|()| sum)
    })
}

/// Reads through the tree, without a kernel between.
pub(super) fn of_tree(bench: &Bench<'_>, made: &Made, clock_hz: f64, outcome: &mut Outcome) -> Result<()> {
    let workers = bench.options.workers();
    let name = "sequential, tree";
    bench.begin(name)?;
    let used = Used::of(&made.open(bench.options, CacheSizes::default())?)?;
    let best = faster_of_two(|_| {
        let vault = made.open(bench.options, CacheSizes::default())?;
        let file = TreeFile::open(&vault)?;
        Ok(taken(vault.meter(), || sequential(&file, &used, bench.progress))?.0)
    })?;
    bench.add(outcome, name, clock_hz, &best, &Dealt { bytes: used.bytes(), reads: None, cores: workers });
    for readers in READERS {
        let name = random_name("tree", readers);
        bench.begin(&name)?;
        let vault = made.open(bench.options, SMALL_CACHE)?;
        let file = TreeFile::open(&vault)?;
        let time = (bench.options.read_time, 1);
        let (taken, reads) = taken(vault.meter(), || random(&file, &used, readers, time, bench.progress))?;
        bench.add(outcome, &name, clock_hz, &taken, &dealt_random(reads, readers.min(workers)));
    }
    Ok(())
}

/// The name of a run of random reads.
pub(super) fn random_name(what: &str, readers: usize) -> String {
    format!("random 4 KiB, {what}, {readers} reader{}", if readers == 1 { "" } else { "s" })
}

/// What a run of random reads dealt with.
pub(super) fn dealt_random(reads: u64, cores: usize) -> Dealt {
    Dealt { bytes: reads * PAGE_BYTES as u64, reads: Some(reads), cores }
}
