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
use crate::policy::{Facts, LockEnd};
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
            Facts { time: point.time, order, is_protected: point.is_protected(now), is_incomplete }
        };
        (0..).zip(points).map(facts).collect()
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
        let kept = points.iter().zip(decisions).filter(|(_, decision)| decision.keep);
        let kept = kept.map(|(point, decision)| (point.id.clone(), decision.reasons())).collect();
        Ok(Some(Locked { policy: name, until, kept }))
    }
}
