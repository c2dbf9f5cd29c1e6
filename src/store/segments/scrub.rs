//! Checking a whole segment without any key: the checksums that everybody can compute.

use super::check::SegmentCheck;
use super::walk::{Found, walk};
use super::{open_object, read_trailer};
use crate::error::{Error, Problem, Result};
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::format::{Id, short_hash};
use crate::media::{Media, Object};

/// Checks everything of a segment that needs no key. `vault` is the id that its header must have, where that is known.
/// Damage is collected, and only what is wrong with the medium ends the check.
pub(crate) fn scrub(media: &dyn Media, vault: Option<&Id>, id: &Id) -> Result<SegmentCheck> {
    match open_object(media, id) {
        Ok(object) => scrub_object(object.as_ref(), vault, id),
        Err(error @ Error::Damaged(_)) => Ok(SegmentCheck { damage: vec![error], ..SegmentCheck::default() }),
        Err(error) => Err(error),
    }
}

/// The same of bytes, wherever they come from.
pub(in crate::store) fn scrub_object(object: &dyn Object, vault: Option<&Id>, id: &Id) -> Result<SegmentCheck> {
    let mut check = SegmentCheck { bytes: object.length(), ..SegmentCheck::default() };
    let (trailer, hash) = match read_trailer(object, id) {
        Ok((trailer, hash)) => (Some(trailer), hash),
        Err(error @ Error::Vault { .. }) => return Err(error),
        Err(error) => {
            check.damage.push(error);
            (None, [0; 32])
        }
    };
    let mut tree = blake3::Hasher::new();
    let mut header = [0; HEADER_BYTES];
    if check.bytes < HEADER_BYTES as u64 {
        return Ok(check);
    }
    object.read_past_map(0, &mut header)?;
    tree.update(&header);
    let placed = SegmentHeader::decode(&header)
        .and_then(|(header, _)| header.check_place(vault.unwrap_or(&header.vault), id))
        .map_err(|error| error.at(object.name(), 0));
    check.damage.extend(placed.err());
    let mut headers_whole = check.damage.is_empty();
    walk(object, trailer.map_or(check.bytes, |trailer| trailer.table_offset), &mut |offset, found| {
        match found {
            Found::Gap(error) => {
                headers_whole = false;
                check.damage.push(error);
            }
            Found::Record(header, payload) => {
                tree.update(&header.encode());
                if short_hash::<16>(payload) == header.checksum {
                    check.records += 1;
                } else {
                    check.damage.push(Error::damaged(object.name(), offset, Problem::Checksum("record")));
                }
            }
        }
        Ok(())
    })?;
    if let Some(trailer) = trailer {
        let mut sealed = vec![0; trailer.sealed_table_bytes()];
        object.read_past_map(trailer.table_offset, &mut sealed)?;
        tree.update(&sealed).update(&trailer.bound_bytes());
        // Every header has a checksum of its own: where those fit, it is the table that was hit.
        if headers_whole && *tree.finalize().as_bytes() != hash {
            let problem = Problem::Checksum("record table");
            check.damage.push(Error::damaged(object.name(), trailer.table_offset, problem));
        }
    }
    Ok(check)
}
