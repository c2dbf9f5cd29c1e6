//! Parity of segments: making it while a segment is sealed, checking it, and computing damaged places from it.
//!
//! Parity lies in an object of its own beside its segment, whose file and reads know nothing of it; it can be made later
//! too. It needs no key.
//!
//! Invariants:
//! - a shard that does not fit its checksum is never used, so what is damaged costs itself and nothing else;
//! - what is computed is judged like any other bytes: by the segment's checksums, and by authentication where there are
//!   keys. Parity that is wrong, or forged, makes an error of a read, never other bytes;
//! - coding takes memory for one group, whatever the segment's length;
//! - nothing is changed here: who repairs a segment writes what [`rebuild`] gives.

mod check;
mod corrected;
mod file;
mod make;
mod tell;
#[cfg(test)]
mod tests;

pub use check::{Repair, rebuild};
pub(super) use check::{complete, orphans};
pub use corrected::Corrected;
pub(super) use corrected::Groups;
pub use file::ParityFile;
pub use make::{Maker, plan};
pub use tell::Correction;
pub(super) use tell::Corrections;

use crate::error::{Error, Problem, Result};
use crate::format::{Id, parity};
use crate::media::{Media, ObjectWriter};
use crate::sync::Arc;

/// Makes and publishes the parity of a segment that is there; returns its length in bytes. The segment must be whole: from
/// damaged bytes parity of damaged bytes is made. Fails with `Error::Damaged` where there is parity of that name: who wants
/// it made anew removes that first.
///
/// The caller holds the lock `writers`, or a segment that is removed meanwhile leaves its parity behind.
pub fn make(media: &dyn Media, vault: &Id, segment: &Id, percent: u8) -> Result<u64> {
    let (object, bytes) = write(media, vault, segment, percent)?;
    if !object.publish()? {
        return Err(Error::damaged(parity::object(segment), 0, Problem::Misplaced("segment id")));
    }
    media.sync_folder(parity::FOLDER)?;
    Ok(bytes)
}

/// The same, in the place of parity that is damaged, if any is there: in one step, so that what that can still mend is not
/// lost before there is better. The caller syncs the folder.
pub(crate) fn make_anew(media: &dyn Media, vault: &Id, segment: &Id, percent: u8) -> Result<u64> {
    let (object, bytes) = write(media, vault, segment, percent)?;
    if media.exists(&parity::object(segment))? {
        object.replace()?;
    } else {
        // Where somebody else was faster, theirs is as good.
        object.publish()?;
    }
    Ok(bytes)
}

/// Writes the parity of a segment under another name.
fn write(media: &dyn Media, vault: &Id, segment: &Id, percent: u8) -> Result<(Arc<dyn ObjectWriter>, u64)> {
    let file = media.open(&crate::format::segment::object(segment))?;
    let header = plan(vault, segment, file.length(), percent);
    let object = media.create(&parity::object(segment))?;
    Maker::new().make(&header, &|offset, buffer| file.read_past_map(offset, buffer), object.as_ref())?;
    Ok((object, header.object_bytes()))
}

/// Removes parity objects that a writer left when it ended before it published the segment, and those of segments that
/// are gone for another reason; returns how many. Parity that could give back such a segment alone stays.
///
/// The caller has the lock `writers` alone: a writer publishes parity before its segment.
pub fn remove_orphans(media: &dyn Media) -> Result<usize> {
    let mut removed = 0;
    for segment in check::without_segment(media)? {
        let file = ParityFile::open(media, None, &segment);
        if file.is_ok_and(|file| file.header().group_shards(0) <= u64::from(file.header().parity_shards)) {
            continue;
        }
        media.remove(&parity::object(&segment))?;
        removed += 1;
    }
    Ok(removed)
}
