//! Giving back the space of what no point needs.
//!
//! Marking walks the maps of all points, forgotten ones among them, shared parts once. Segments of which nothing is needed
//! are removed; of those that are mostly not needed, the rest is moved into new segments first.
//!
//! A record that is in several segments, as of two backups that stored the same at the same time, is needed in one of them.
//!
//! Invariants:
//! - nothing is removed while anything could hide that a point needs it: damage of the catalog or of a map, or a chain that
//!   went back behind what the caller has seen, ends the call before it removes anything;
//! - a point is purged, in the catalog, before the first thing goes that it needs;
//! - what is removed is condemned first: every backup that runs has told which of it it relies on, and relies on no more of it,
//!   before the maps of all points that came since are marked too, and that stays;
//! - backups, mounts and restores go on, and nobody waits for the other to end;
//! - whoever is killed at any moment loses time: the next call finds the same things, and ends it.

mod needed;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use needed::{Needed, Use};

use super::clock::ClockAhead;
use super::parallel::each;
use super::{Vault, checked_manifest};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::Change;
use crate::format::index_run::Tag;
use crate::format::map_node::FANOUT;
use crate::format::segment::{RecordType, TableEntry};
use crate::format::{Hash, Id};
use crate::point::{Heads, hold};
pub use crate::progress::Progress as GcProgress;
use crate::store::{Condemned, Moved, Need};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far to go.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// Most bytes of records that are moved out of segments to give back the rest of those.
    pub most_rewritten_bytes: u64,
    /// Segments are rewritten of which at least so many hundredths are not needed.
    pub least_dead_percent: u8,
    /// Whether points without a catalog entry are not needed either.
    pub drops_unlisted: bool,
    /// How far the chains had come, as the caller has seen it: behind that, somebody may have brought back or made what this
    /// vault does not tell of.
    pub seen: Option<Heads>,
    /// How long it is waited for that backups take notice, and for whoever copies files of the vault or repairs it.
    pub most_wait: Duration,
    /// Only tells.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        // What is rewritten costs as much as it gives back, or less.
        Self {
            most_rewritten_bytes: u64::MAX,
            least_dead_percent: 50,
            drops_unlisted: false,
            seen: None,
            most_wait: Duration::from_secs(3600),
            dry_run: false,
        }
    }
}

/// What was done, or would be.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Points that were purged: forgotten, and their time over. As `machine/point`.
    pub purged: Vec<String>,
    /// Points that would be purged, had not an entry been given up that may have brought them back: somebody must bring them
    /// back and forget them again. As `machine/point`.
    pub doubtful: Vec<String>,
    /// Points that would be purged, did not a locked policy keep them. As `machine/point`.
    pub kept_by_policy: Vec<String>,
    /// Points that would be purged, were not somebody reading them. As `machine/point`.
    pub in_use: Vec<String>,
    /// Why nothing was purged: the clock is not believed. One that says the same a day later is.
    pub clock_ahead: Option<ClockAhead>,
    /// Points whose records were marked.
    pub points: u64,
    /// Points without a catalog entry, which are kept all the same. As `machine/point`.
    pub unlisted: Vec<String>,
    /// Records that points need.
    pub live_records: u64,
    /// Segments that there were, and their bytes.
    pub segments: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Segments that are gone, and nothing of them was needed.
    pub removed_segments: u64,
    /// Bytes of those.
    pub removed_bytes: u64,
    /// Segments that are gone, and a part of them was moved.
    pub rewritten_segments: u64,
    /// Bytes of those.
    pub rewritten_bytes: u64,
    /// Bytes that were written for them.
    pub written_bytes: u64,
    /// Segments that stay because a backup that runs relies on them.
    pub relied_segments: u64,
    /// Bytes in segments that stay which nobody needs.
    pub dead_bytes_left: u64,
    /// Why segments stay that should go.
    pub left: Vec<Error>,
    /// How long marking took.
    pub mark_seconds: f64,
    /// How long it took in all.
    pub seconds: f64,
}

impl GcReport {
    /// Bytes that were given back.
    pub fn freed_bytes(&self) -> u64 {
        (self.removed_bytes + self.rewritten_bytes).saturating_sub(self.written_bytes)
    }
}

/// What points need.
///
/// Whether a map node was walked is decided by all of its tag: who may write records could make two that share a part of it.
struct Marks {
    needed: Needed,
    walked: Mutex<HashSet<Tag>>,
    /// The points that were marked, by id.
    points: Mutex<HashSet<String>>,
}

impl Marks {
    fn new(records: u64) -> Result<Self> {
        Ok(Self { needed: Needed::new(records)?, walked: Mutex::default(), points: Mutex::default() })
    }
}

/// What becomes of a map node that is nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// A point needs it.
    Fails,
    /// What was interrupted never had it.
    IsLeftOut,
}

/// Whether a record is in no segment.
fn is_nowhere(error: &Error) -> bool {
    let is_unreachable = |error: &Error| matches!(error, Error::Damaged(damage) if matches!(damage.problem, Problem::Unreachable { .. }));
    error.is_absent() || is_unreachable(error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A segment with something in it that nobody needs there.
struct Candidate {
    id: Id,
    bytes: u64,
    /// Bytes of the records that are needed, and that no other segment holds.
    live_bytes: u64,
    /// Whether all that it has is needed by nobody, neither here nor elsewhere.
    is_dead: bool,
}

/// How a node's children are walked.
#[derive(Clone, Copy)]
struct Walk<'a> {
    absent: Absent,
    marks: &'a Marks,
    progress: &'a GcProgress,
    /// Where among a node's children it begins, so that those who walk maps that are alike do not all read the same.
    first: usize,
}

impl Vault {
    /// Purges forgotten points whose time is over, and gives back the space of what no point needs. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the catalog or a map is damaged: nothing was removed then, since nobody can know what is
    /// needed; `repair` comes first.
    pub fn gc(&self, options: &GcOptions, progress: &GcProgress) -> Result<GcReport> {
        self.needs_admin()?;
        let began = Instant::now();
        let store = self.reader.store();
        let mut report = GcReport::default();
        let own = self.own_chain_to_write()?;
        store.refresh()?;
        // The clock's, whatever the vault has seen: one that is set back only makes this later.
        let now = Timestamp::now();
        // Before anything is purged: a vault that can't be cleaned up loses nothing.
        self.sees_all_points()?;
        let setbacks = options.seen.as_ref().map_or(Ok(Vec::new()), |seen| self.setbacks(seen))?;
        if let Some(setback) = setbacks.into_iter().next() {
            return Err(Error::SetBack(Box::new(setback)));
        }
        // What was forgotten before an entry that nobody has may have been brought back by that.
        let doubtful = self.catalog.doubtful(&own.given_up);
        let (mut over, mut kept): (Vec<_>, Vec<_>) =
            self.catalog.all().into_iter().partition(|point| point.is_over(now) && !doubtful.contains(&point.id));
        let is_doubtful = |point: &&Arc<super::PointInfo>| point.is_over(now);
        report.doubtful = kept.iter().filter(is_doubtful).map(|point| point.path()).collect();
        // Somebody may have forgotten it before the policy was locked, or with a program of his own.
        let mut policies = HashMap::new();
        for point in std::mem::take(&mut over) {
            if !policies.contains_key(&point.machine) {
                policies.insert(point.machine.clone(), self.locked(&point.machine, now)?);
            }
            let is_kept = policies.get(&point.machine).and_then(Option::as_ref).is_some_and(|it| it.keeps(&point));
            if is_kept {
                report.kept_by_policy.push(point.path());
            }
            if is_kept { &mut kept } else { &mut over }.push(point);
        }
        // What somebody reads stays until he has ended.
        let mut used = Vec::new();
        for point in std::mem::take(&mut over) {
            let is_free = hold::take(self.media.as_ref(), &point)?.is_some();
            if is_free { &mut over } else { &mut used }.push(point);
        }
        kept.extend(used.iter().cloned());
        if !over.is_empty() {
            report.clock_ahead = self.clock_ahead(&own, now);
        }
        if report.clock_ahead.is_some() {
            kept.append(&mut over);
            if !options.dry_run {
                self.note_time()?;
            }
        }
        let marks = Marks::new(store.index().size().entries)?;
        self.mark(&kept, options, &marks, progress, &mut report)?;
        if !options.dry_run {
            for point in &over {
                let Some(_alone) = hold::take(self.media.as_ref(), point)? else {
                    // Somebody began to read it since.
                    self.mark(std::slice::from_ref(point), options, &marks, progress, &mut report)?;
                    used.push(Arc::clone(point));
                    continue;
                };
                let allow = |known: &super::PointInfo, _: &[_]| {
                    // Somebody may have brought it back just now.
                    let is_over = known.is_over(now);
                    if is_over { Ok(()) } else { Err(Error::Busy { what: "a point was brought back just now" }) }
                };
                match self.change(point, Change::Purged, "", &allow) {
                    // Another call purged it.
                    Ok(_) | Err(Error::UnknownPoint { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        report.in_use = used.iter().map(|point| point.path()).collect();
        over.retain(|point| !used.iter().any(|used| used.id == point.id));
        report.purged = over.iter().map(|point| point.path()).collect();
        report.mark_seconds = began.elapsed().as_secs_f64();
        let candidates = self.candidates(&marks, progress, &mut report)?;
        let (dead, mixed): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|one| one.is_dead);
        let mixed = chosen(mixed, options, &mut report);
        if options.dry_run {
            report.removed_segments = dead.len() as u64;
            report.removed_bytes = dead.iter().map(|one| one.bytes).sum();
            report.rewritten_segments = mixed.len() as u64;
            report.rewritten_bytes = mixed.iter().map(|one| one.bytes).sum();
            report.written_bytes = mixed.iter().map(|one| one.live_bytes).sum();
        } else {
            let asked = (options, &marks, progress);
            self.remove_dead(&dead, asked, &mut report)?;
            self.rewrite_mixed(&mixed, asked, &mut report)?;
        }
        // A backup that ran meanwhile had a manifest before it had an entry.
        let listed: HashSet<String> = self.catalog.all().iter().map(|point| point.path()).collect();
        report.unlisted.retain(|path| !listed.contains(path));
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Fails where the catalog may hide a point. What is wrong with the vault's own chain hides none, and keeps who writes
    /// from going on where it hides keys.
    fn sees_all_points(&self) -> Result<()> {
        self.damage_of_points().into_iter().next().map_or(Ok(()), |damage| Err(Error::Damaged(damage)))
    }

    /// Marks what points need, those that have no entry among them.
    fn mark(
        &self,
        points: &[Arc<super::PointInfo>],
        options: &GcOptions,
        marks: &Marks,
        progress: &GcProgress,
        report: &mut GcReport,
    ) -> Result<()> {
        let numbered: Vec<_> = points.iter().enumerate().collect();
        each(&numbered, progress, |(number, point)| {
            let first = number % crate::cores() * FANOUT / crate::cores();
            match self.mark_point(point, Walk { absent: Absent::Fails, marks, progress, first }) {
                // Another call purged it, and gave back what only it needed.
                Err(Error::Damaged(_)) if self.is_purged_now(point)? => Ok(()),
                marked => marked,
            }
        })?;
        report.points += points.len() as u64;
        if !options.drops_unlisted {
            let (unlisted, unreadable) = self.unlisted_points()?;
            if let Some(error) = unreadable.into_iter().next() {
                return Err(error);
            }
            for made in unlisted {
                let point = crate::point::point_of(made, &|_| false);
                let path = point.path();
                if !report.unlisted.contains(&path) {
                    report.unlisted.push(path);
                }
                self.mark_unlisted(&point, marks, progress)?;
            }
        }
        report.live_records = marks.needed.len();
        Ok(())
    }

    /// Marks what is there of a point without an entry. What was interrupted is perhaps not whole; what is damaged may be
    /// mended, and hides till then what else is needed.
    fn mark_unlisted(&self, point: &super::PointInfo, marks: &Marks, progress: &GcProgress) -> Result<()> {
        match self.mark_point(point, Walk { absent: Absent::IsLeftOut, marks, progress, first: 0 }) {
            Err(error) if is_nowhere(&error) => Ok(()),
            marked => marked,
        }
    }

    fn mark_point(&self, point: &super::PointInfo, walk: Walk<'_>) -> Result<()> {
        let store = self.reader.store();
        let plain = store.read(RecordType::Manifest, &point.entry.manifest)?;
        let manifest = checked_manifest(&plain, point)?;
        walk.marks.needed.add(&[store.keys().index_tag(&point.entry.manifest)])?;
        for disk in &manifest.disks {
            if let Some(root) = disk.root() {
                self.mark_node(&root, disk.map_level, walk)?;
            }
        }
        lock(&walk.marks.points).insert(point.id.clone());
        Ok(())
    }

    /// Returns whether all below is there.
    fn mark_node(&self, id: &Hash, level: u8, walk: Walk<'_>) -> Result<bool> {
        let Walk { absent, marks, progress, first } = walk;
        let keys = self.reader.store().keys();
        let tag = keys.index_tag(id);
        if lock(&marks.walked).contains(&tag) {
            return Ok(true);
        }
        progress.check()?;
        let node = match self.reader.node_uncached(id, level) {
            Err(error) if absent == Absent::IsLeftOut && is_nowhere(&error) => return Ok(false),
            node => node?,
        };
        let (before, from) = node.children.split_at(first);
        let children = from.iter().chain(before).flatten();
        let mut is_whole = true;
        if level == 0 {
            let tags: Vec<Tag> = children.map(|child| keys.index_tag(child)).collect();
            marks.needed.add(&tags)?;
        } else {
            for child in children {
                is_whole &= self.mark_node(child, level - 1, walk)?;
            }
        }
        marks.needed.add(&[tag])?;
        // Last: who finds it walked relies on all below.
        if is_whole {
            lock(&marks.walked).insert(tag);
        }
        Ok(is_whole)
    }

    fn need_of(&self, marks: &Marks, entry: &TableEntry) -> Need {
        marks.needed.need(&self.reader.store().keys().index_tag(&entry.id))
    }

    /// The segments with something in them that nobody needs.
    fn candidates(&self, marks: &Marks, progress: &GcProgress, report: &mut GcReport) -> Result<Vec<Candidate>> {
        let store = self.reader.store();
        let all = store.segments().list()?;
        let holding = Mutex::new(());
        let looked = each(&all, progress, |id| {
            let (bytes, entries) = match (store.segments().length(id), store.segments().table(id)) {
                (Ok(bytes), Ok(entries)) => (bytes, entries),
                // One that somebody removed meanwhile, or that can't be read: it stays.
                (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
            };
            let tags: Vec<Tag> = entries.iter().map(|entry| store.keys().index_tag(&entry.id)).collect();
            // One segment at a time: of two that have the same, one shall hold all of it.
            let uses = {
                let _alone = lock(&holding);
                marks.needed.hold(&tags)
            };
            let live = entries.iter().zip(&uses).filter(|(_, found)| **found == Use::First);
            let live_bytes = live.map(|(entry, _)| u64::from(entry.stored_bytes)).sum();
            let is_dead = uses.iter().all(|found| *found == Use::None);
            let is_all_live = !is_dead && uses.iter().all(|found| *found == Use::First);
            Ok(Ok((!is_all_live).then_some(Candidate { id: *id, bytes, live_bytes, is_dead }).ok_or(bytes)))
        })?;
        let mut found = Vec::new();
        for one in looked {
            match one {
                Ok(looked) => {
                    report.segments += 1;
                    report.bytes += looked.as_ref().map_or_else(|bytes| *bytes, |candidate| candidate.bytes);
                    found.extend(looked);
                }
                Err(error) if error.is_absent() => {}
                Err(error) => report.left.push(error),
            }
        }
        Ok(found)
    }

    /// Condemns segments, waits until every backup has taken notice, and marks what came since.
    fn condemn(
        &self,
        segments: Vec<Id>,
        (options, marks, progress): (&GcOptions, &Marks, &GcProgress),
        report: &mut GcReport,
    ) -> Result<Condemned<'_>> {
        let (store, began) = (self.reader.store(), Instant::now());
        let go_on = || {
            progress.check()?;
            if began.elapsed() < options.most_wait {
                return Ok(());
            }
            Err(Error::Busy { what: "a backup took no notice that space is given back, or a copy or repair goes on" })
        };
        let condemned = Condemned::new(self.media.as_ref(), store.keys().vault(), segments, &go_on)?;
        // Keys that were rotated meanwhile open nothing of what was moved under the new ones.
        crate::point::vault_chain::check(self.media.as_ref(), store.keys()).map_err(|error| self.dated(error))?;
        store.refresh()?;
        self.mark_new(options, marks, progress, report)?;
        Ok(condemned)
    }

    fn mark_new(&self, options: &GcOptions, marks: &Marks, progress: &GcProgress, report: &mut GcReport) -> Result<()> {
        self.refresh()?;
        self.sees_all_points()?;
        let mut new = self.catalog.all();
        {
            let known = lock(&marks.points);
            new.retain(|point| !known.contains(&point.id));
        }
        self.mark(&new, options, marks, progress, report)
    }

    fn remove_dead(
        &self,
        dead: &[Candidate],
        asked: (&GcOptions, &Marks, &GcProgress),
        report: &mut GcReport,
    ) -> Result<()> {
        if dead.is_empty() {
            return Ok(());
        }
        let (_, marks, _) = asked;
        let marked = marks.needed.len();
        let condemned = self.condemn(dead.iter().map(|one| one.id).collect(), asked, report)?;
        let store = self.reader.store();
        let mut gone = Vec::new();
        for one in dead {
            if condemned.is_relied_on(&one.id) {
                report.relied_segments += 1;
                report.dead_bytes_left += one.bytes;
                continue;
            }
            // A backup may have found use for it before it was condemned. Only then are tables read again.
            let is_needed_now = || {
                // What can't be read just now is not what nobody needs.
                let entries = store.segments().table(&one.id);
                entries.map_or(true, |entries| entries.iter().any(|entry| self.need_of(marks, entry) != Need::Nothing))
            };
            if marks.needed.len() == marked || !is_needed_now() {
                gone.push(one.id);
                report.removed_bytes += one.bytes;
            }
        }
        report.removed_segments += gone.len() as u64;
        store.remove_segments(&gone)
    }

    fn rewrite_mixed(
        &self,
        mixed: &[Candidate],
        asked: (&GcOptions, &Marks, &GcProgress),
        report: &mut GcReport,
    ) -> Result<()> {
        let (store, (options, marks, progress)) = (self.reader.store(), asked);
        let dead_bytes: HashMap<Id, u64> =
            mixed.iter().map(|one| (one.id, one.bytes.saturating_sub(one.live_bytes))).collect();
        let ids: Vec<Id> = mixed.iter().map(|one| one.id).collect();
        let mut leaving: HashSet<Id> = ids.iter().copied().collect();
        let batches = store.batches(&ids);
        progress.add_total(batches.iter().flatten().map(|(_, length)| length).sum());
        let mut moved = Moved::default();
        let need_of = |entry: &TableEntry| self.need_of(marks, entry);
        for mut batch in batches {
            // Before anything is moved: what a backup relies on stays, and need not be.
            let condemned = self.condemn(batch.iter().map(|(id, _)| *id).collect(), asked, report)?;
            batch.retain(|(id, length)| {
                if condemned.is_relied_on(id) {
                    leaving.remove(id);
                    report.relied_segments += 1;
                    report.dead_bytes_left += dead_bytes.get(id).copied().unwrap_or(0);
                    progress.add_done(*length);
                }
                !condemned.is_relied_on(id)
            });
            self.media.clear_abandoned()?;
            store.refresh_for_writing()?;
            let copied = match store.copy_out(&batch, &leaving, &need_of, progress, &mut moved) {
                Ok(copied) => copied,
                Err(error) => {
                    drop(condemned);
                    self.give_back(&error, &batch, &mut moved);
                    return Err(error);
                }
            };
            self.mark_new(options, marks, progress, report)?;
            store.remove_copied(&copied, &leaving, &need_of, &mut moved)?;
            // Under the lock: a check takes damaged records out of the index, which must not come back.
            let _ = store.flush_index();
        }
        report.rewritten_segments = moved.segments;
        report.rewritten_bytes = moved.read_bytes;
        report.written_bytes = moved.written_bytes;
        report.left.extend(moved.left);
        Ok(())
    }
}

/// Which segments are rewritten: those that give back most for what they cost first.
fn chosen(mut mixed: Vec<Candidate>, options: &GcOptions, report: &mut GcReport) -> Vec<Candidate> {
    mixed.sort_by_key(|one| (one.live_bytes.saturating_mul(1000) / one.bytes.max(1), one.id));
    let mut budget = options.most_rewritten_bytes;
    let most_live = u64::from(100 - options.least_dead_percent.min(100));
    let mut chosen = Vec::new();
    for one in mixed {
        let is_worth_it = one.live_bytes.saturating_mul(100) <= one.bytes.saturating_mul(most_live);
        if is_worth_it && one.live_bytes <= budget {
            budget -= one.live_bytes;
            chosen.push(one);
        } else {
            report.dead_bytes_left += one.bytes.saturating_sub(one.live_bytes);
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
