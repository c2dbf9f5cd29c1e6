//! Vaults of millions of chunks and thousands of points, made in minutes by the engine's own backup.
//!
//! Chunks are as small as a vault allows, each different and compressing to a few bytes, so that what grows is what a
//! large vault has much of: records, index entries, map nodes, segments, points. A few large machines get one point of
//! everything; all further points change a handful of scattered chunks each.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use icecore::Vault;
use icecore::backup::{BackupRequest, ChangedSince, Progress};
use icecore::point::{ByteRange, PointInfo};
use icecore::source::Source;
use icecore_fixtures::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::engine;

/// Size of the chunks, in bytes: the smallest that a vault can have.
pub const CHUNK_BYTES: u32 = 4096;

/// Size at which segments are closed, in bytes: also the smallest, so that there are as many as in a vault of large
/// chunks.
const SEGMENT_BYTES: u32 = 1 << 20;

/// zstd's quickest: how well these chunks compress says nothing.
const LEVEL: i8 = -7;

/// Machines among which chunks and points are shared out, where there are enough points.
const MACHINES: u64 = 4;

/// Chunks that change from one point of a machine to the next, where nothing else is wanted.
pub const CHANGES: u64 = 4;

/// Most chunks that change in a row.
const RUN: u64 = 64;

/// How large a vault shall be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Different chunks.
    pub chunks: u64,
    /// Points.
    pub points: u64,
    /// Chunks that change from one point of a machine to the next.
    pub changes: u64,
}

impl Plan {
    fn machines(&self) -> u64 {
        MACHINES.min(self.points).max(1)
    }

    /// Chunks of each machine's disk, of which there are several if there are several points.
    pub fn chunks_each(&self) -> u64 {
        let changes = self.changes * self.points.saturating_sub(self.machines());
        self.chunks.saturating_sub(changes).max(self.machines()) / self.machines()
    }
}

/// Makes a vault in a directory, which must be empty or absent.
pub fn make(path: &Path, plan: Plan) -> Result<()> {
    let vault = engine::init(path, CHUNK_BYTES, LEVEL, SEGMENT_BYTES)?;
    let mut machines: Vec<Machine> =
        (0..plan.machines()).map(|number| Machine::new(number, plan.chunks_each())).collect();
    let (made, seconds) = engine::timed(|| -> Result<()> {
        for point in 0..plan.points {
            machines[(point % plan.machines()) as usize].back_up(&vault, point, plan.changes)?;
        }
        Ok(())
    });
    made?;
    eprintln!("{}: {} chunks and {} points in {seconds:.0} s", path.display(), plan.chunks, plan.points);
    Ok(())
}

/// The name of a machine.
pub fn machine(number: u64) -> String {
    format!("machine{number}")
}

struct Machine {
    name: String,
    disk: Synthetic,
    last: Option<Arc<PointInfo>>,
}

impl Machine {
    fn new(number: u64, chunks: u64) -> Self {
        Self { name: machine(number), disk: Synthetic::new(number, chunks), last: None }
    }

    /// Makes the next point: of everything, or of what changes now.
    fn back_up(&mut self, vault: &Vault, point: u64, changes: u64) -> Result<()> {
        let mut request = BackupRequest::new(&self.name).disk("os", self.disk.clone());
        // Nobody will ask for these bytes back.
        request.verify = false;
        // Apart from each other, as points are.
        request.time = Some(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(400_000 + point as i64));
        if let Some(last) = &self.last {
            let ranges = self.disk.change(point, changes);
            request = request.changed(ChangedSince { point: last.id.clone(), ranges });
        }
        self.last = Some(vault.backup(&request, &Progress::default())?.point);
        Ok(())
    }
}

/// A disk whose chunks all differ.
#[derive(Clone)]
pub struct Synthetic {
    seed: u64,
    chunks: u64,
    /// Chunks that changed, and when.
    changed: Arc<RwLock<BTreeMap<u64, u64>>>,
}

impl Synthetic {
    /// A disk of so many chunks, different from those of any other seed.
    pub fn new(seed: u64, chunks: u64) -> Self {
        Self { seed, chunks, changed: Arc::default() }
    }

    /// Changes some chunks, here and there, many of them in rows; `when` is never zero. Returns where.
    pub fn change(&self, when: u64, count: u64) -> Vec<ByteRange> {
        let mut random = Rng::labelled(when, b"changes");
        let mut changed = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        let row = if count > 16 * RUN { RUN } else { 1 };
        let mut one = |_| {
            let first = random.below(self.chunks);
            let last = (first + row).min(self.chunks);
            changed.extend((first..last).map(|chunk| (chunk, when)));
            ByteRange { start: first * u64::from(CHUNK_BYTES), end: last * u64::from(CHUNK_BYTES) }
        };
        (0..count / row).map(&mut one).collect()
    }
}

impl Source for Synthetic {
    fn size_bytes(&self) -> u64 {
        self.chunks * u64::from(CHUNK_BYTES)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        // The engine reads whole chunks.
        let length = usize::try_from(self.size_bytes().saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        buffer.fill(0);
        let changed = self.changed.read().unwrap_or_else(PoisonError::into_inner);
        for (chunk, number) in buffer.chunks_mut(CHUNK_BYTES as usize).zip(offset / u64::from(CHUNK_BYTES)..) {
            let when = changed.get(&number).copied().unwrap_or(0);
            for (out, word) in chunk.as_chunks_mut::<8>().0.iter_mut().zip([self.seed + 1, number, when]) {
                *out = word.to_le_bytes();
            }
        }
        Ok(length)
    }
}
