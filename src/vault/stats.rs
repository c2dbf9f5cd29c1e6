//! What a vault holds, in numbers.

use jiff::Timestamp;
use serde::Serialize;

use super::Vault;
use super::check::{Depth, Memory, time};
use crate::error::Result;
use crate::format::parity;

/// A vault in numbers. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Number of machines.
    pub machines: Vec<MachineStats>,
    /// Number of points.
    pub points: u64,
    /// Number of points that were forgotten and can be brought back; they are in no other number but those of segments.
    pub forgotten_points: u64,
    /// Sum of the sizes of all disks of all points.
    pub protected_bytes: u64,
    /// The same without zeros: what the points would take uncompressed, each for itself.
    pub used_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Segments that have parity.
    pub segments_with_parity: u64,
    /// Bytes of all parity objects.
    pub parity_bytes: u64,
    /// Number of records that the index knows.
    pub records: u64,
    /// Number of runs of the index.
    pub index_runs: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Used bytes for each stored byte.
    pub ratio: f64,
    /// Segments of which it is remembered that they were checked, with or without keys. A hint, like the next one.
    pub segments_checked: u64,
    /// When the one of those that waits longest was checked.
    pub oldest_check: Option<Timestamp>,
}

/// A machine in numbers. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineStats {
    /// Its name.
    pub machine: String,
    /// Number of its points.
    pub points: u64,
    /// Name of the newest.
    pub latest: String,
    /// Size of the disks of the newest.
    pub protected_bytes: u64,
    /// The same without zeros.
    pub used_bytes: u64,
    /// Stored bytes that its points added when they were made.
    pub added_bytes: u64,
}

impl Vault {
    /// Counts everything. Reads the manifest of every point.
    pub fn stats(&self) -> Result<Stats> {
        self.refresh()?;
        let store = self.reader.store();
        store.refresh()?;
        let (mut points, mut protected, mut used) = (0, 0, 0);
        let mut machines = Vec::new();
        for machine in self.machines() {
            let mut stats = MachineStats {
                machine: machine.clone(),
                points: 0,
                latest: String::new(),
                protected_bytes: 0,
                used_bytes: 0,
                added_bytes: 0,
            };
            for point in self.points(&machine)? {
                let manifest = self.manifest(&point)?;
                stats.points += 1;
                stats.latest.clone_from(&point.name);
                stats.protected_bytes = manifest.disks.iter().map(|disk| disk.size_bytes).sum();
                stats.used_bytes =
                    manifest.disks.iter().map(|disk| disk.size_bytes.saturating_sub(disk.zero_bytes)).sum();
                stats.added_bytes += manifest.disks.iter().map(|disk| disk.stored_bytes).sum::<u64>();
                protected += stats.protected_bytes;
                used += stats.used_bytes;
            }
            points += stats.points;
            machines.push(stats);
        }
        let segments = store.segments().list()?;
        let mut stored = 0;
        for id in &segments {
            stored += store.segments().length(id)?;
        }
        let (mut with_parity, mut parity_bytes) = (0, 0);
        for name in self.media.list(parity::FOLDER)?.iter().filter(|name| parity::id_of(name).is_some()) {
            with_parity += 1;
            parity_bytes += self.media.open(&format!("{}/{name}", parity::FOLDER))?.length();
        }
        let memory = Memory::read(&self.media, Some(*store.keys().vault()), &segments);
        let checks: Vec<u64> = segments.iter().filter_map(|id| memory.last(id, Depth::Checksums)).collect();
        let index = store.index().size();
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = if stored == 0 { 0.0 } else { used as f64 / stored as f64 };
        Ok(Stats {
            machines,
            points,
            forgotten_points: self.all_forgotten().len() as u64,
            protected_bytes: protected,
            used_bytes: used,
            segments: segments.len() as u64,
            stored_bytes: stored,
            segments_with_parity: with_parity,
            parity_bytes,
            records: index.entries,
            index_runs: index.runs as u64,
            index_bytes: index.bytes,
            ratio,
            segments_checked: checks.len() as u64,
            oldest_check: checks.into_iter().min().and_then(time),
        })
    }
}
