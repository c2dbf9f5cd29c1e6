//! Copying points into another vault.
//!
//! Two vaults have keys of their own: what one calls a chunk the other calls by another id. So records are opened, and
//! sealed again under the ids and keys of the target, as they are compressed. A target that is a copy of the same vault, as
//! it was earlier, gets whole files instead, and is after that what the source is.
//!
//! Invariants:
//! - a point keeps its id, so that a second copy knows what is there; an id is in a target's catalog once;
//! - what makes a point of the target is its catalog entry, after everything that it needs is durable there: a point is
//!   copied whole or not at all;
//! - the source is only read;
//! - what is damaged in the source costs the points that need it, and no others;
//! - nothing of the target is replaced, and files are carried over only where they continue what it has.

mod files;
mod nodes;
mod points;
mod report;

use std::time::Instant;

use super::Vault;
use super::repair::is_same_place;
use crate::error::{Error, Result};
use crate::point::PointInfo;
pub use crate::progress::Progress as CopyProgress;
use crate::sync::Arc;
pub use report::{CopiedPoint, CopyFailure, CopyOptions, CopyPlan, CopyReport, CopySkip, CopyWanted, CopyWay};

impl Vault {
    /// Finds out which of the wanted points a target lacks, and how they would get there. Nothing wanted is everything that
    /// the target lacks. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the target is this vault itself, lies in it or the other way round, has chunks of another
    /// size, or is a copy of this vault that went another way; [`Error::NotPermitted`] for a key that reads no data;
    /// [`Error::UnknownMachine`], [`Error::UnknownPoint`], [`Error::Forgotten`] for what is named and not there;
    /// [`Error::Damaged`] where the catalog of either is.
    pub fn plan_copy(&self, target: &Self, wanted: &[CopyWanted]) -> Result<CopyPlan> {
        self.refuse_target(target)?;
        self.refresh()?;
        target.refresh()?;
        if let Some(damage) = target.catalog_damage().into_iter().next() {
            return Err(Error::Damaged(damage));
        }
        if self.way_to(target)? == CopyWay::Files {
            return self.plan_files(target, wanted);
        }
        let mut plan = CopyPlan {
            way: CopyWay::Records,
            points: Vec::new(),
            skipped: Vec::new(),
            entries: 0,
            segments: 0,
            segment_bytes: 0,
            machines: Vec::new(),
        };
        for point in self.wanted(wanted)? {
            match target.standing(&point) {
                None => plan.points.push(point),
                Some(skip) => plan.skipped.push((point, skip)),
            }
        }
        // Oldest first: each finds in the one before it what did not change.
        plan.points.sort_by(|one, other| (&one.machine, one.time).cmp(&(&other.machine, other.time)));
        let keys = self.reader.store().keys();
        if !plan.points.is_empty() && !keys.reads_data() {
            return Err(Error::NotPermitted { held: keys.role().name(), needed: "the role restore or admin" });
        }
        Ok(plan)
    }

    /// Copies what was planned into a target. What is damaged here, or purged meanwhile, is told in the report, and the other
    /// points go on; only what is wrong with the target, and the wish to stop, end it. Points that were copied until then stay.
    ///
    /// # Errors
    /// The target's; [`Error::Interrupted`].
    pub fn copy_to(
        &self,
        target: &Self,
        plan: &CopyPlan,
        options: &CopyOptions,
        progress: &CopyProgress,
    ) -> Result<CopyReport> {
        let began = Instant::now();
        self.refuse_target(target)?;
        if self.way_to(target)? != plan.way {
            let (value, rule) = (target.location().display().to_string(), "it was planned for another target");
            return Err(Error::Invalid { what: "target", value, rule });
        }
        let mut report = CopyReport::default();
        match plan.way {
            CopyWay::Records => self.copy_points(target, plan, options, progress, &mut report),
            CopyWay::Files => self.copy_files(target, plan, progress, &mut report),
        }
        .map_err(|error| target.dated(error))?;
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// How points get there.
    fn way_to(&self, target: &Self) -> Result<CopyWay> {
        if self.header.vault == target.header.vault {
            return Ok(CopyWay::Files);
        }
        if self.header.chunk_size_log2 == target.header.chunk_size_log2 {
            return Ok(CopyWay::Records);
        }
        let rule =
            "its chunks are of another size than this vault's; make a target with `init --chunk-size` of the same";
        Err(Error::Invalid { what: "target", value: target.location().display().to_string(), rule })
    }

    fn refuse_target(&self, target: &Self) -> Result<()> {
        let (here, there) = (self.location(), target.location());
        let invalid = |rule| Err(Error::Invalid { what: "target", value: there.display().to_string(), rule });
        if self.salvaged.is_some() || target.salvaged.is_some() {
            return invalid("a vault that is opened to salvage what is left is neither copied nor written to");
        }
        if is_same_place(here, there) {
            return invalid("it is the vault itself");
        }
        if let (Ok(here), Ok(there)) = (here.canonicalize(), there.canonicalize())
            && (here.starts_with(&there) || there.starts_with(&here))
        {
            return invalid("one of the two vaults lies inside the other");
        }
        Ok(())
    }

    /// The points that are named; all that are listed, where nothing is. Each once.
    fn wanted(&self, wanted: &[CopyWanted]) -> Result<Vec<Arc<PointInfo>>> {
        let mut found: Vec<Arc<PointInfo>> = Vec::new();
        if wanted.is_empty() {
            found = self.catalog.all();
            found.retain(|point| point.forgotten.is_none());
        }
        for CopyWanted { machine, point } in wanted {
            let points = match point {
                Some(point) => vec![self.point(machine, point)?],
                None => self.points(machine)?,
            };
            for point in points {
                if !found.iter().any(|known| known.machine == point.machine && known.id == point.id) {
                    found.push(point);
                }
            }
        }
        Ok(found)
    }

    /// What this vault knows of a point of another one.
    fn standing(&self, point: &PointInfo) -> Option<CopySkip> {
        if let Some(known) = self.catalog.with_id(&point.machine, &point.id) {
            return Some(if known.forgotten.is_some() { CopySkip::Forgotten } else { CopySkip::Known });
        }
        self.catalog.is_purged(&point.entry).then_some(CopySkip::Purged)
    }
}
