//! Repairing a vault: finding out what can be had again and from where, then writing it.
//!
//! A damaged segment is made whole byte for byte where its pieces suffice: its own, what its parity computes, and those
//! that a copy has ([`sources::Spare`]). That needs no key. Parity that is damaged or gone is made anew of whole segments. Of segments that stay damaged, the records that points
//! need are stored anew in new segments: from a copy, opened and authenticated, or from the disk that was backed up.
//! Headers, key slots and catalog entries come back whole or not at all.
//!
//! Invariants:
//! - planning writes nothing, nowhere;
//! - no byte is written in place: an object that was damaged is replaced in one step, by one that passed every check;
//! - what can't be made whole stays as it is, and nothing is removed but derived files;
//! - sources are only read, and believed only as far as checksums, authenticators and ids bear them out;
//! - a repair that ends anywhere leaves no less than there was, and the next one goes on.

mod disk;
mod look;
mod objects;
mod records;
mod report;
mod segments;
mod sources;
mod write;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{Unlocked, Vault, unlock};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::PointMade;
use crate::format::segment;
use crate::format::{Hash, Id};
use crate::media::{DirectoryMedia, Media, ReadMode};
pub use crate::progress::Progress as RepairProgress;
use crate::seal::Credential;
use crate::store::Store;

use objects::Object;
use records::Wanted;
pub use report::{CopyFacts, Mended, RepairPlan, RepairReport, Restored};
use segments::{Mendable, Pieces};
pub use sources::RepairSources;
pub(super) use sources::is_same_place;
use sources::{CopyOfVault, Original, OwnParity, ParityOfCopy, Spare, refuse_nothing};

/// What a person must decide.
#[derive(Clone, Copy)]
struct Wish {
    /// Points that have no entry are entered.
    adopt: bool,
    /// Without a key, segments come back that only a copy has.
    gone: bool,
}

/// A repair that was planned and can be done.
pub struct Repair {
    media: Arc<dyn Media>,
    vault: Id,
    /// Where keys are at hand.
    unlocked: Option<Unlocked>,
    copies: Vec<CopyOfVault>,
    stores: Vec<Option<Store>>,
    disks: Vec<Original>,
    objects: Vec<Object>,
    mendable: Vec<Mendable>,
    /// Segments whose parity is to be made anew, once they are whole.
    parity: Vec<Id>,
    parity_percent: u8,
    records: Vec<(Hash, Wanted)>,
    /// Records that points need and nobody has.
    lost: Vec<Hash>,
    adopted: Vec<PointMade>,
    plan: RepairPlan,
}

impl Vault {
    /// Finds out what of a vault in a directory is damaged, and what of that can be had again from `sources`. Writes
    /// nothing. Without a credential, what needs no key: headers, slots, entries and segments that can be made whole.
    pub fn plan_repair(
        path: &Path,
        credential: Option<&Credential>,
        sources: RepairSources,
        progress: &RepairProgress,
    ) -> Result<Repair> {
        Self::plan_repair_on(Arc::new(DirectoryMedia::new(path, ReadMode::Pread)), credential, sources, progress)
    }

    /// The same on any media.
    pub fn plan_repair_on(
        media: Arc<dyn Media>,
        credential: Option<&Credential>,
        sources: RepairSources,
        progress: &RepairProgress,
    ) -> Result<Repair> {
        let began = Instant::now();
        let wish = Wish { adopt: sources.adopt, gone: sources.gone };
        let mut repair = Repair::begin(media, credential, sources)?;
        repair.look(wish, progress)?;
        repair.plan.seconds = began.elapsed().as_secs_f64();
        Ok(repair)
    }
}

impl Repair {
    fn begin(media: Arc<dyn Media>, credential: Option<&Credential>, sources: RepairSources) -> Result<Self> {
        let RepairSources { copies, disks, .. } = sources;
        refuse_nothing(media.as_ref())?;
        let unlocked = match credential {
            Some(credential) => {
                let copies: Vec<&dyn Media> = copies.iter().map(AsRef::as_ref).collect();
                Some(unlock::unlock(media.as_ref(), &copies, credential, true)?)
            }
            None => None,
        };
        let told = || -> Result<Id> {
            let nothing = || Error::damaged(crate::format::header::OBJECT, 0, Problem::Absent);
            unlock::id_of(media.as_ref())?.ok_or_else(nothing)
        };
        let vault = unlocked.as_ref().map_or_else(told, |unlocked| Ok(*unlocked.keys.vault()))?;
        let copies: Vec<CopyOfVault> =
            copies.into_iter().map(|copy| CopyOfVault::new(copy, media.as_ref(), &vault)).collect::<Result<_>>()?;
        let store = |copy: &CopyOfVault| unlocked.as_ref().and_then(|by| copy.store(&by.keys, &by.header));
        let stores = copies.iter().map(store).collect();
        let (with_keys, data_opened) = (unlocked.is_some(), unlocked.as_ref().is_some_and(|by| by.keys.reads_data()));
        let plan = RepairPlan { with_keys, data_opened, ..RepairPlan::default() };
        Ok(Self {
            media,
            vault,
            unlocked,
            copies,
            stores,
            disks,
            objects: Vec::new(),
            mendable: Vec::new(),
            parity: Vec::new(),
            parity_percent: 0,
            records: Vec::new(),
            lost: Vec::new(),
            adopted: Vec::new(),
            plan,
        })
    }

    /// What was found, and would be done.
    pub fn plan(&self) -> &RepairPlan {
        &self.plan
    }

    /// What else than the vault may have a segment's bytes, in the order in which they are asked.
    fn pieces<'a>(&'a self, media: &'a dyn Media) -> Pieces<'a> {
        let mut spares: Vec<Box<dyn Spare + 'a>> = vec![Box::new(OwnParity { media, vault: &self.vault })];
        spares.extend(self.copies.iter().map(|copy| Box::new(copy) as Box<dyn Spare + 'a>));
        let parity = |copy| Box::new(ParityOfCopy { copy, vault: &self.vault }) as Box<dyn Spare + 'a>;
        spares.extend(self.copies.iter().map(parity));
        Pieces { media, vault: &self.vault, keys: self.unlocked.as_ref().map(|by| by.keys.as_ref()), spares }
    }
}

fn segments_of(media: &dyn Media) -> Result<HashSet<Id>> {
    Ok(media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).collect())
}
