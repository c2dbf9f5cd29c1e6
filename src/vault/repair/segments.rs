//! Segments: which are damaged or gone, and which can be made whole again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::segments_of;
use super::sources::Spare;
use crate::error::{Error, Result};
use crate::format::index_run::Tag;
use crate::format::segment::{self, SegmentHeader, SegmentKind};
use crate::format::{Hash, Id};
use crate::media::{Media, Object};
use crate::progress::Progress;
use crate::seal::VaultKeys;
use crate::store::{Assembled, Origin, Store, assemble_segment, open_segment, plain_records};
use crate::vault::check::Seen;
use crate::vault::parallel::each;

/// What is known of the vault's segments.
pub(super) struct Survey {
    pub segments: u64,
    pub bytes: u64,
    /// What is wrong with each that is damaged.
    pub damaged: Vec<(Id, Vec<Error>)>,
    /// What is wrong with the parity of each that has none, or damaged one.
    pub parity: Vec<(Id, Vec<Error>)>,
    /// Those of the damaged ones whose header is whole and whose table or trailer is not: their records are found by walking only.
    pub unframed: Vec<Id>,
    /// Which records are whole; only where keys are at hand.
    pub seen: Option<Seen>,
}

/// Looks at every segment: with keys as a check does, without as a scrub does.
///
/// What parity could compute is damaged all the same: no file is whole for that. `expects_parity` says that every segment has
/// some.
pub(super) fn survey(
    media: &dyn Media,
    vault: &Id,
    store: Option<&Arc<Store>>,
    expects_parity: bool,
    progress: &Progress,
) -> Result<Survey> {
    let all: Vec<Id> = media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect();
    for id in &all {
        progress.add_total(media.open(&segment::object(id)).map_or(0, |object| object.length()));
    }
    let checked = each(&all, progress, |id| {
        let check = match store {
            Some(store) => store.check_segment(id),
            None => crate::store::scrub_segment(media, Some(vault), id, expects_parity),
        };
        progress.add_done(check.bytes);
        Ok(check)
    })?;
    let mut survey = Survey {
        segments: all.len() as u64,
        bytes: checked.iter().map(|check| check.bytes).sum(),
        damaged: Vec::new(),
        parity: Vec::new(),
        unframed: Vec::new(),
        seen: store.map(|store| Seen::new(Arc::clone(store))),
    };
    // What somebody removed meanwhile is nobody's loss: had a point needed it, that shows by the points.
    let there = segments_of(media)?;
    for (id, check) in all.into_iter().zip(checked) {
        if !check.damage.is_empty() && !there.contains(&id) {
            continue;
        }
        if let Some(seen) = &mut survey.seen {
            seen.add(id, &check);
        }
        if !check.is_framed && !check.whole.is_empty() {
            survey.unframed.push(id);
        }
        if !check.parity.is_empty() {
            survey.parity.push((id, check.parity));
        }
        if !check.damage.is_empty() {
            survey.damaged.push((id, check.damage));
        }
    }
    Ok(survey)
}

/// A segment that can be made whole.
pub(super) struct Mendable {
    pub id: Id,
    pub is_absent: bool,
    pub whole: Assembled,
}

/// What the segments hold that can be made whole.
#[derive(Default)]
pub(super) struct MendedRecords {
    /// For the first half of each record's tag the segment that will have it, by its number among them.
    tags: HashMap<u64, usize>,
    /// The plain bytes of map nodes and manifests: to look further, what they say must be known before it is written.
    pub meta: HashMap<Hash, Vec<u8>>,
}

fn short(tag: &Tag) -> u64 {
    let [low, _] = tag.as_chunks::<8>().0 else { return 0 };
    u64::from_le_bytes(*low)
}

impl MendedRecords {
    /// The number of the segment that will have a record.
    pub fn of(&self, tag: &Tag) -> Option<usize> {
        self.tags.get(&short(tag)).copied()
    }

    fn add(&mut self, number: usize, keys: &VaultKeys, segment: &Mendable, meta: Vec<(Hash, Vec<u8>)>) {
        self.tags.extend(segment.whole.entries.iter().map(|entry| (short(&keys.index_tag(&entry.id)), number)));
        self.meta.extend(meta);
    }
}

type Spared<'a> = Box<dyn Spare + 'a>;

/// What segments can be made of.
pub(super) struct Pieces<'a> {
    pub media: &'a dyn Media,
    pub vault: &'a Id,
    pub keys: Option<&'a VaultKeys>,
    pub spares: Vec<Spared<'a>>,
}

impl Pieces<'_> {
    /// The segments that are damaged, and those that are gone here and that something else may have; of each whether it is
    /// gone.
    pub fn wanted(&self, damaged: &[(Id, Vec<Error>)], present: &HashSet<Id>) -> Result<Vec<(Id, bool)>> {
        // One whose file vanished while it was looked at counts as gone.
        let mut wanted: Vec<(Id, bool)> = damaged.iter().map(|(id, _)| (*id, !present.contains(id))).collect();
        let mut known: HashSet<Id> = present.clone();
        known.extend(wanted.iter().map(|(id, _)| *id));
        for spare in &self.spares {
            wanted.extend(spare.list()?.into_iter().filter(|id| known.insert(*id)).map(|id| (id, true)));
        }
        Ok(wanted)
    }

    fn assemble(&self, id: &Id, put: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<Option<Assembled>> {
        let own = open_segment(self.media, id).ok();
        let from = |spare: &&Spared<'_>| spare.segment(id).map(|object| (spare.origin(), object));
        let others: Vec<(Origin, Arc<dyn Object>)> = self.spares.iter().filter_map(|spare| from(&spare)).collect();
        assemble_segment(own.as_deref(), &others, self.vault, self.keys, id, put)
    }

    /// Which of some segments could be made whole, and what they would hold. Writes nothing.
    pub fn plan(&self, wanted: &[(Id, bool)], progress: &Progress) -> Result<(Vec<Mendable>, MendedRecords)> {
        let length = |id: &Id| {
            let spare = || self.spares.iter().find_map(|spare| spare.segment(id));
            open_segment(self.media, id).ok().or_else(spare).map_or(0, |object| object.length())
        };
        progress.add_total(wanted.iter().map(|(id, _)| length(id)).sum());
        let found = each(wanted, progress, |(id, is_absent)| {
            let mut kept: Option<Vec<u8>> = None;
            let whole = self.assemble(id, &mut |offset, bytes| {
                if offset == 0 {
                    // Another try begins.
                    kept = (self.keys.is_some() && holds_meta(bytes)).then(Vec::new);
                }
                if let Some(kept) = &mut kept {
                    kept.extend_from_slice(bytes);
                }
                Ok(())
            })?;
            progress.add_done(length(id));
            let Some(whole) = whole else { return Ok(None) };
            let meta = match (self.keys, kept) {
                (Some(keys), Some(bytes)) => plain_records(keys, id, &bytes, &whole.entries),
                _ => Vec::new(),
            };
            Ok(Some((Mendable { id: *id, is_absent: *is_absent, whole }, meta)))
        })?;
        let mut records = MendedRecords::default();
        let mut mendable = Vec::new();
        for (segment, meta) in found.into_iter().flatten() {
            if let Some(keys) = self.keys {
                records.add(mendable.len(), keys, &segment, meta);
            }
            mendable.push(segment);
        }
        Ok((mendable, records))
    }

    /// Makes a segment whole. The order: its bytes under another name, every check passed, synced; then, in one step, the
    /// name. Until then the damaged file stays, and who has it open keeps it. `None` where it can't be done any more.
    /// The caller syncs the folder.
    pub fn mend(&self, segment: &Mendable) -> Result<Option<Assembled>> {
        let name = segment::object(&segment.id);
        let mut next_writeback = WRITEBACK_BYTES;
        let (mut object, mut written) = (self.media.create(&name)?, 0);
        let whole = self.assemble(&segment.id, &mut |offset, bytes| {
            if offset == 0 && written > 0 {
                // Another try begins, which may come out shorter than the one before.
                (object, written) = (self.media.create(&name)?, 0);
            }
            written += bytes.len();
            if written >= next_writeback {
                next_writeback = written + WRITEBACK_BYTES;
                object.start_writeback(0, 0);
            }
            object.write_at(offset, bytes)
        })?;
        let Some(whole) = whole else { return Ok(None) };
        if segment.is_absent {
            // Where somebody else was faster, theirs is as whole.
            object.publish()?;
        } else {
            object.replace()?;
        }
        object.drop_cached();
        Ok(Some(whole))
    }
}

/// Bytes after which the system is asked to begin writing out, so that the sync at the end is short.
const WRITEBACK_BYTES: usize = 8 << 20;

/// Whether a segment with this header holds maps and manifests.
fn holds_meta(header: &[u8]) -> bool {
    header
        .try_into()
        .is_ok_and(|bytes| SegmentHeader::decode(bytes).is_ok_and(|(header, _)| header.kind == SegmentKind::Meta))
}
