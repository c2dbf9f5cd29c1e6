//! Checking the catalog without any key: the checksum of each entry, and that none is missing between two others.

use super::entries::{MOST_LOST, each, sequences, stored};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::{self, split};
use crate::format::{Id, id_from_hex};
use crate::media::Media;

/// What is wrong with the entries of all chains, as far as that shows without a key. `vault` is the id that they must
/// have, where that is known. Fails only where a folder can't be listed.
pub(crate) fn scrub(media: &dyn Media, vault: Option<&Id>) -> Result<Vec<Error>> {
    let mut damage = Vec::new();
    let mut entries = Vec::new();
    for chain in media.list_folders(catalog_entry::FOLDER)?.iter().filter_map(|folder| id_from_hex(folder)) {
        let mut next = 0_u64;
        for sequence in sequences(media, &chain)? {
            for lost in next..sequence.min(next.saturating_add(MOST_LOST)) {
                let object = catalog_entry::object(&chain, lost);
                // A listing made while entries came may show a later one only.
                if media.exists(&object)? {
                    entries.push((chain, lost));
                } else {
                    damage.push(Error::damaged(object, 0, Problem::Absent));
                }
            }
            entries.push((chain, sequence));
            next = sequence.saturating_add(1);
        }
    }
    let check = |(chain, sequence): &(Id, u64)| -> Result<()> {
        let bytes = stored(media, chain, *sequence)??;
        split(&bytes)
            .and_then(|(prefix, ..)| prefix.check_place(vault.unwrap_or(&prefix.vault), chain, *sequence))
            .map_err(|error| error.at(&catalog_entry::object(chain, *sequence), 0))
    };
    damage.extend(each(&entries, check).into_iter().filter_map(Result::err));
    Ok(damage)
}
