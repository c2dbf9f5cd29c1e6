//! What a locked policy keeps: no point of it is forgotten, nor purged, before the lock ends or the policy's own rules let it
//! go.
//!
//! Invariants:
//! - the rules decide on all points that there are, forgotten ones too: who forgets some can't make others look unneeded, nor
//!   these;
//! - it holds for whoever acts through this program, with whatever key and whatever flag.

use std::collections::HashMap;

use jiff::Timestamp;

use super::Vault;
use crate::error::{Error, Result};
use crate::point::{Manifest, PointInfo};
use crate::policy::{Decision, Facts, LockEnd, Reason, is_late};
use crate::sync::Arc;

/// The locked policy of a machine, and why it keeps which points.
pub(super) struct Locked {
    policy: String,
    until: LockEnd,
    /// By id.
    kept: HashMap<String, String>,
}

impl Locked {
    /// Whether it keeps a point.
    pub fn keeps(&self, point: &PointInfo) -> bool {
        self.kept.contains_key(&point.id)
    }

    /// Fails where it keeps a point.
    pub fn allow(&self, point: &PointInfo) -> Result<()> {
        let Some(why) = self.kept.get(&point.id) else { return Ok(()) };
        Err(Error::KeptByPolicy {
            machine: point.machine.clone(),
            point: point.name.clone(),
            policy: self.policy.clone(),
            why: why.clone(),
            until: self.until,
        })
    }
}

impl Vault {
    /// What is known of points of one machine, oldest first, for who decides which are kept.
    pub fn facts(&self, points: &[Arc<PointInfo>], now: Timestamp) -> Vec<Facts> {
        let facts = |(order, point): (u64, &Arc<PointInfo>)| {
            // One whose manifest can't be read stands for nothing that a readable one could.
            let is_whole = |manifest: Manifest| manifest.disks.iter().all(|disk| disk.missing.is_empty());
            let is_incomplete = !self.manifest(point).is_ok_and(is_whole);
            let made = Timestamp::from_second(point.entry.recorded_unix_seconds).unwrap_or(Timestamp::MAX);
            let (is_protected, is_late) = (point.is_protected(now), is_late(point.time, made));
            Facts { time: point.time, order, is_protected, is_incomplete, is_late }
        };
        (0..).zip(points).map(facts).collect()
    }

    /// The points of a machine that a locked policy keeps, by id, and why: nobody forgets them.
    pub fn kept_by_lock(&self, machine: &str) -> Result<HashMap<String, String>> {
        let locked = self.locked(machine, Timestamp::now())?;
        let told = |locked: Locked| {
            let Locked { policy, until, kept } = locked;
            let told = |(id, why)| (id, format!("{why} (policy {policy}, locked until {until})"));
            kept.into_iter().map(told).collect()
        };
        Ok(locked.map(told).unwrap_or_default())
    }

    /// What a locked policy keeps of a machine; nothing where that is under none, or under one that is not locked.
    pub(super) fn locked(&self, machine: &str, now: Timestamp) -> Result<Option<Locked>> {
        let (name, policy) = match self.documents()?.policy_of(machine) {
            Err(Error::NoDocument { .. } | Error::Invalid { .. }) => return Ok(None),
            found => found?,
        };
        let Some(until) = policy.locked_until.filter(|until| until.is_after(now.as_second())) else { return Ok(None) };
        let points = self.catalog.of_machine(machine);
        let decisions = policy.retention.decide(&self.facts(&points, now), now, &policy.zone()?);
        // What is of a time to come stands for nothing, and may go.
        let is_kept = |decision: &Decision| decision.keep && decision.why != [Reason::Future];
        let kept = points.iter().zip(decisions).filter(|(_, decision)| is_kept(decision));
        let kept = kept.map(|(point, decision)| (point.id.clone(), decision.reasons())).collect();
        Ok(Some(Locked { policy: name, until, kept }))
    }
}
