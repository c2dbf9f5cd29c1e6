//! Checking parity objects, and what they could do for damaged segments.

use std::collections::HashSet;

use super::corrected::Corrected;
use super::file::ParityFile;
use crate::error::{Error, Problem, Result};
use crate::format::{Id, parity, segment};
use crate::media::{Media, Object};
use crate::store::SegmentCheck;
use crate::store::segments::scrub_object;

/// Whether parity can mend a damaged segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// All of it, and its checksums fit then.
    Possible,
    /// More of it is damaged than its parity gives back.
    BeyondParity,
    /// It has no parity, or none that can be used.
    NoParity,
}

/// A damaged segment as it was, byte for byte: its file with what is damaged computed from its parity, all its checksums
/// checked. Needs no key, and works for a segment whose file is gone too, where it is so short that parity alone makes it.
///
/// Fails with [`Problem::BeyondParity`] where too much is damaged, and with the parity's own error where that is of no use.
pub fn rebuild(media: &dyn Media, vault: Option<&Id>, id: &Id) -> Result<Corrected> {
    let corrected = Corrected::open(media, vault, id)?;
    let (lost, all) = corrected.survey();
    if !all {
        let problem = Problem::BeyondParity { lost, parity: corrected.parity().header().all_parity_shards() };
        return Err(Error::damaged(corrected.name(), 0, problem));
    }
    // What was computed is right only where the segment says so itself.
    match scrub_object(&corrected, vault, id)?.damage.into_iter().next() {
        None => Ok(corrected),
        Some(error) => Err(error),
    }
}

/// Adds to what a check of a segment found: what is wrong with its parity and, if it is damaged, whether that can mend it.
/// `expected` says that every segment of the vault has parity.
pub(in crate::store) fn complete(
    media: &dyn Media,
    vault: Option<&Id>,
    id: &Id,
    expected: bool,
    check: &mut SegmentCheck,
) {
    match ParityFile::open(media, vault, id) {
        Ok(file) => {
            check.parity = file.check();
            check.parity_bytes = file.length();
        }
        Err(Error::Damaged(damage)) if damage.problem == Problem::Absent && !expected => {}
        Err(error) => check.parity.push(error),
    }
    if check.damage.is_empty() {
        return;
    }
    check.repair = Some(match rebuild(media, vault, id) {
        Ok(_) => Repair::Possible,
        Err(error) if error.object() == Some(&segment::object(id)) => Repair::BeyondParity,
        Err(_) => Repair::NoParity,
    });
}

/// The segments that have parity and are not there, in no order.
pub(super) fn without_segment(media: &dyn Media) -> Result<Vec<Id>> {
    // Parity first: of a segment that is published meanwhile it is then seen.
    let parities: Vec<Id> = media.list(parity::FOLDER)?.iter().filter_map(|name| parity::id_of(name)).collect();
    let segments: HashSet<Id> = media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect();
    Ok(parities.into_iter().filter(|id| !segments.contains(id)).collect())
}

/// Parity objects without a segment: no damage by themselves.
pub(in crate::store) fn orphans(media: &dyn Media) -> Result<Vec<Error>> {
    let orphan = |id: &Id| Error::damaged(parity::object(id), 0, Problem::NoSegment);
    Ok(without_segment(media)?.iter().map(orphan).collect())
}
