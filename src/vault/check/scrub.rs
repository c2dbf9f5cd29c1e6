//! Checking a vault without any key.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::memory::Depth;
use super::report::{DamagedSegment, ScrubReport};
use super::round::Round;
use super::{VerifyOptions, VerifyProgress, is_gone};
use crate::error::{Error, Problem, Result};
use crate::format::header::{self, Header};
use crate::format::{Id, inventory, segment};
use crate::media::{DirectoryMedia, Media, ReadMode};
use crate::point::vault_chain;
use crate::vault::{Vault, keys, read_header, refuse_absent};

impl Vault {
    /// Checks, without any key, everything in a vault's directory that has a checksum of its own: segments record by
    /// record, headers, key slots, catalog entries, the front of index runs. It finds damage. Forgery, segments
    /// that are gone, and which points are hit, only [`Vault::verify`] can tell.
    pub fn scrub(path: &Path, options: &VerifyOptions, progress: &VerifyProgress) -> Result<ScrubReport> {
        Self::scrub_on(Arc::new(DirectoryMedia::new(path, ReadMode::Pread)), options, progress)
    }

    /// The same on any media.
    pub fn scrub_on(media: Arc<dyn Media>, options: &VerifyOptions, progress: &VerifyProgress) -> Result<ScrubReport> {
        let began = Instant::now();
        refuse_absent(media.as_ref())?;
        let mut report = ScrubReport::default();
        let header = check_headers(media.as_ref(), &mut report.damage)?;
        let vault = header.as_ref().map(|header| header.vault);
        let expects_parity = header.is_some_and(|header| header.parity_percent > 0);
        report.damage.extend(keys::read_slots(media.as_ref())?.1);
        report.damage.extend(check_inventories(media.as_ref(), vault.as_ref())?);
        report.damage.extend(crate::point::scrub(media.as_ref(), vault.as_ref())?);
        if let Some(vault) = &vault {
            report.harmless.extend(crate::store::scrub_index(media.as_ref(), vault)?);
        }
        let all: Vec<Id> = media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect();
        let mut round = Round::plan(&media, vault, all, Depth::Checksums, options);
        report.harmless.extend(round.damaged_notes());
        report.harmless.extend(crate::store::orphaned_parity(media.as_ref())?);
        let check = |id: &Id| crate::store::scrub_segment(media.as_ref(), vault.as_ref(), id, expects_parity);
        round.run(media.as_ref(), progress, &check, &mut |id, check| {
            // One that was removed meanwhile is like one that was before: only keys tell whether it is missed.
            if is_gone(media.as_ref(), id, &check) {
                return;
            }
            report.segments += 1;
            report.records += check.records;
            report.bytes += check.bytes + check.parity_bytes;
            report.parity.extend(check.parity);
            report.repairs.extend(check.repair.map(|repair| DamagedSegment::new(id, repair)));
            report.damage.extend(check.damage);
        })?;
        report.repairs.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        report.coverage = round.coverage();
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// What is wrong with inventories, as far as that shows without a key.
fn check_inventories(media: &dyn Media, vault: Option<&Id>) -> Result<Vec<Error>> {
    let mut damage = Vec::new();
    for name in media.list(inventory::FOLDER)? {
        let name = format!("{}/{name}", inventory::FOLDER);
        damage.extend(vault_chain::checked_inventory(media, vault, &name).err());
    }
    Ok(damage)
}

/// Checks both copies of the header and returns one that is whole.
fn check_headers(media: &dyn Media, damage: &mut Vec<Error>) -> Result<Option<Header>> {
    match [header::OBJECT, header::COPY].map(|name| read_header(media, name)) {
        [Ok(first), Ok(copy)] => {
            if first.header != copy.header || first.authenticator != copy.authenticator {
                damage.push(Error::damaged(header::COPY, 0, Problem::Misplaced("the other header")));
            }
            Ok(Some(first.header))
        }
        [Ok(one), Err(error)] | [Err(error), Ok(one)] => {
            damage.push(error);
            Ok(Some(one.header))
        }
        // Not ours to judge: to this program everything in it would look damaged.
        [Err(error @ Error::UnsupportedVersion { .. }), Err(_)] => Err(error),
        [Err(first), Err(copy)] => {
            damage.extend([first, copy]);
            Ok(None)
        }
    }
}
