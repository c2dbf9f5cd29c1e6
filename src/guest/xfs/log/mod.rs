//! Replay of the log into an overlay ("XFS Filesystem Structure", "Journaling Log").
//!
//! The way: [`ends`] finds the live part of the ring; [`ring`] reads its records; [`operations`] puts the checkpoints in
//! them together; [`items`] makes their changes in the [`overlay`].
//!
//! Either the whole log is replayed or nothing of it: where it has a change that is not known here, the volume is shown
//! as of its last checkpoint, and says why.
//!
//! Bounds: each record is read a fixed number of times and moves forward; what is held of the log is in proportion to
//! its live part.

mod ends;
mod inode_item;
mod intents;
mod items;
mod operations;
mod overlay;
mod ring;

use std::sync::Arc;

use crate::guest::{BlockRead, Error, MediumError, StaleReason, VolumeState};

use super::features::log_incompat;
use super::superblock::Superblock;
use ends::Live;
use items::{Collected, Recovery};
use operations::{Assembly, Checkpoint};
use ring::Ring;

pub(super) use items::Outcome;
pub(super) use overlay::Overlay;

/// Why a log can't be replayed.
pub(super) enum Problem {
    /// The volume can be shown as of its last checkpoint.
    Stale(StaleReason),
    /// The volume can't be read.
    Medium(Error),
}

impl From<MediumError> for Problem {
    fn from(error: MediumError) -> Self {
        Self::Medium(error.into())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Medium(_) => Self::Medium(error),
            _ => Self::Stale(StaleReason::DamagedJournal),
        }
    }
}

/// What replaying a log made.
pub(super) struct Replayed {
    pub overlay: Arc<Overlay>,
    pub sb: Superblock,
    pub outcome: Outcome,
    pub state: VolumeState,
}

/// Replays the log of a file system; `None` where it was cleanly unmounted.
pub(super) fn replay(volume: &Arc<dyn BlockRead>, sb: &Superblock) -> Result<Option<Replayed>, Problem> {
    let start = sb.log_start.ok_or(Problem::Stale(StaleReason::ExternalJournal))?;
    let ring = Ring::new(volume.as_ref(), start, sb.log_bytes);
    if ring.sectors < 2 {
        return Err(Problem::Stale(StaleReason::DamagedJournal));
    }
    let Some(mut live) = ends::find(&ring, sb)? else {
        return Ok(None);
    };
    if sb.log_incompat & !log_incompat::KNOWN != 0 {
        return Err(Problem::Stale(StaleReason::UnsupportedJournal));
    }
    let Collected { cancelled, intents } = loop {
        let mut collected = Collected::default();
        match walk(&ring, sb, live, &mut |checkpoint| collected.collect(checkpoint, sb))? {
            Walk::Whole => break collected,
            Walk::Broken { at } => live.tail = behind_overwritten(&ring, live, at)?,
        }
    };
    let outcome = Outcome { remaps: intents.unfinished()?, ..Outcome::default() };
    let overlay = Overlay::new(Arc::clone(volume), sb.clone());
    let mut recovery = Recovery { overlay, sb: sb.clone(), cancelled, outcome, end: live.end, checkpoints: 0 };
    if let Walk::Broken { .. } = walk(&ring, sb, live, &mut |checkpoint| recovery.apply(checkpoint))? {
        return Err(Problem::Stale(StaleReason::DamagedJournal));
    }
    recovery.check_groups()?;
    let Recovery { overlay, sb, outcome, checkpoints, .. } = recovery;
    let state = VolumeState::Replayed { transactions: checkpoints, blocks: overlay.blocks() };
    Ok(Some(Replayed { overlay: Arc::new(overlay), sb, outcome, state }))
}

/// How a walk along the live part ended.
enum Walk {
    Whole,
    /// At a record that is none.
    Broken {
        at: u64,
    },
}

/// Hands out the committed checkpoints of the live part, in order.
fn walk(
    ring: &Ring<'_>,
    sb: &Superblock,
    live: Live,
    visit: &mut dyn FnMut(&Checkpoint) -> Result<(), Problem>,
) -> Result<Walk, Problem> {
    let mut assembly = Assembly::default();
    let mut at = live.tail;
    let mut left = ring.distance(live.tail, live.head);
    while left > 0 {
        let Some(record) = ring.record(at, sb)?.filter(|record| record.sectors() <= left) else {
            return Ok(Walk::Broken { at });
        };
        let Some(data) = record.read(ring, sb.is_v5)? else {
            return Ok(Walk::Broken { at });
        };
        let complete = assembly.feed(&record, &data).ok_or(Problem::Stale(StaleReason::DamagedJournal))?;
        for checkpoint in &complete {
            visit(checkpoint)?;
        }
        left -= record.sectors();
        at = (at + record.sectors()) % ring.sectors;
    }
    Ok(Walk::Whole)
}

/// The tail behind a broken record that writes after the head may have overwritten, when they were under way as the
/// machine stopped and the head fell back to before them.
fn behind_overwritten(ring: &Ring<'_>, live: Live, at: u64) -> Result<u64, Problem> {
    let damaged = Problem::Stale(StaleReason::DamagedJournal);
    if ring.distance(live.head, at) > live.reach {
        return Err(damaged);
    }
    let reach = ring.distance(at, live.head).min(live.reach);
    // Forward at each call, so this ends.
    match ring.header_behind(at, reach.saturating_sub(1))? {
        Some(next) => Ok(next),
        None => Err(damaged),
    }
}
