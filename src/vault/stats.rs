//! What a vault holds, in numbers that cost a look at the manifests and no walk over maps; that is in `usage.rs`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::Vault;
use super::check::{Depth, Memory, time};
use super::forecast::{Forecast, Growth, History, Limit, growth};
use crate::error::Result;
use crate::point::Manifest;
use crate::store::Space;

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
    /// How fast it grows, parity included, if nothing is forgotten.
    pub growth: Growth,
    /// When quotas and the free space are reached if it goes on like that.
    pub forecasts: Vec<Forecast>,
    /// Bytes that the file system under the vault has free, where that is known.
    pub free_bytes: Option<u64>,
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
    /// How fast it grows by what its points added.
    pub growth: Growth,
}

impl Vault {
    /// Counts everything. Reads the manifest of every point.
    pub fn stats(&self) -> Result<Stats> {
        self.refresh()?;
        let store = self.reader.store();
        store.refresh()?;
        let (mut points, mut protected, mut used) = (0, 0, 0);
        let mut machines = Vec::new();
        let mut histories = BTreeMap::<String, History>::new();
        for point in self.all_forgotten() {
            // Of use for the forecast only, and perhaps on its way out.
            if let Ok(manifest) = self.manifest(&point) {
                let history = histories.entry(point.machine.clone()).or_default();
                history.add(point.entry.recorded_unix_seconds, added(&manifest));
            }
        }
        for machine in self.machines() {
            let history = histories.entry(machine.clone()).or_default();
            let mut stats = MachineStats {
                machine: machine.clone(),
                points: 0,
                latest: String::new(),
                protected_bytes: 0,
                used_bytes: 0,
                added_bytes: 0,
                growth: Growth::default(),
            };
            let latest = self.point(&machine, "latest")?;
            for point in self.points(&machine)? {
                let manifest = self.manifest(&point)?;
                let size_bytes: u64 = manifest.disks.iter().map(|disk| disk.size_bytes).sum();
                let used_bytes =
                    manifest.disks.iter().map(|disk| disk.size_bytes.saturating_sub(disk.zero_bytes)).sum();
                if point.id == latest.id {
                    stats.latest.clone_from(&point.name);
                    (stats.protected_bytes, stats.used_bytes) = (size_bytes, used_bytes);
                }
                stats.points += 1;
                stats.added_bytes += added(&manifest);
                history.add(point.entry.recorded_unix_seconds, added(&manifest));
                protected += size_bytes;
                used += used_bytes;
            }
            stats.growth = growth([&*history].into_iter());
            points += stats.points;
            machines.push(stats);
        }
        let segments = store.segments().list()?;
        let space = store.space()?;
        let stored = space.segment_bytes;
        let memory = Memory::read(&self.media, Some(*store.keys().vault()), &segments);
        let checks: Vec<u64> = segments.iter().filter_map(|id| memory.last(id, Depth::Checksums)).collect();
        let index = store.index().size();
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = if stored == 0 { 0.0 } else { used as f64 / stored as f64 };
        let (growth, free_bytes) = (with_parity(growth(histories.values()), &space), self.media.free_bytes());
        let forecasts = self.forecasts(&growth, &histories, free_bytes)?;
        Ok(Stats {
            machines,
            points,
            forgotten_points: self.all_forgotten().len() as u64,
            protected_bytes: protected,
            used_bytes: used,
            segments: space.segments,
            stored_bytes: stored,
            segments_with_parity: space.parities,
            parity_bytes: space.parity_bytes,
            records: index.entries,
            index_runs: index.runs as u64,
            index_bytes: index.bytes,
            ratio,
            growth,
            forecasts,
            free_bytes,
            segments_checked: checks.len() as u64,
            oldest_check: checks.into_iter().min().and_then(time),
        })
    }

    /// When quotas and the free space are reached.
    fn forecasts(
        &self,
        vault: &Growth,
        histories: &BTreeMap<String, History>,
        free_bytes: Option<u64>,
    ) -> Result<Vec<Forecast>> {
        let now = Timestamp::now();
        let mut forecasts = Vec::new();
        for known in self.quotas()? {
            let (machine, per_day) = match known.machine.as_str() {
                "" => (None, vault.bytes_per_day),
                machine => (Some(machine), growth(histories.get(machine).into_iter()).bytes_per_day),
            };
            let levels = [(Limit::QuotaWarning, known.quota.warn_bytes), (Limit::QuotaHard, known.quota.hard_bytes)];
            for (limit, level) in levels.into_iter().filter(|(_, level)| *level > 0) {
                let left = level.saturating_sub(known.counted_bytes);
                forecasts.push(Forecast::of(limit, machine, left, per_day, now));
            }
        }
        let free = |bytes| Forecast::of(Limit::FreeSpace, None, bytes, vault.bytes_per_day, now);
        forecasts.extend(free_bytes.map(free));
        Ok(forecasts)
    }
}

/// What a point added when it was made, in stored bytes.
fn added(manifest: &Manifest) -> u64 {
    manifest.disks.iter().map(|disk| disk.stored_bytes).fold(0, u64::saturating_add)
}

/// Growth by what points added, with the parity that comes with it, as much as there is of it now.
fn with_parity(mut growth: Growth, space: &Space) -> Growth {
    let more = |bytes: u64| {
        let all = u128::from(bytes) * u128::from(space.bytes()) / u128::from(space.segment_bytes.max(1));
        u64::try_from(all).unwrap_or(u64::MAX)
    };
    growth.bytes_per_day = growth.bytes_per_day.map(more);
    growth
}
