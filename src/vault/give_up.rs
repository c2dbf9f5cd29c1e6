//! Giving up entries of the catalog that are lost for good.
//!
//! An entry that is damaged or gone may have said anything, so whoever gives back space waits for it to be repaired. Where
//! no copy has it any more, an administrator says that nobody shall wait for it.
//!
//! Invariants:
//! - what the medium does not give is given up only where that is said, and what newer keys open never is: both may be as
//!   good as ever;
//! - nothing is removed by this: an entry that comes back all the same counts again, and a point that it may have brought back
//!   is purged by nobody;
//! - what may hide that the keys were rotated is not given up: a rotation ends that.

use super::Vault;
use super::keys::KEYS_LOCK;
use crate::error::{Damage, Error, Problem, Result};
use crate::format::catalog_entry::{object, place_of};
use crate::format::vault_event::Event;
use crate::media::LockKind;
use crate::point::vault_chain::{self, VaultChain, found_of};

/// Most entries of one gap that are given up.
const MOST_OF_A_GAP: u64 = 1 << 16;

impl Vault {
    /// The entries of all chains that are damaged or gone and can be given up; those that the medium does not give too.
    pub fn lost_entries(&self) -> Vec<Damage> {
        let mut lost = self.catalog_damage();
        lost.retain(|damage| !matches!(damage.problem, Problem::Epoch(_)) && place_of(&damage.object).is_some());
        lost.dedup_by(|a, b| a.object == b.object);
        lost
    }

    /// What is lost of the vault's own chain and may hide a rotation of the keys. Nothing can be written meanwhile, and
    /// [`Vault::rotate_keys`] ends it.
    pub fn hidden_keys(&self) -> Option<Damage> {
        match vault_chain::check(self.media.as_ref(), self.reader.store().keys()) {
            Err(Error::Damaged(damage)) => Some(damage),
            _ => None,
        }
    }

    /// Gives up entries that are lost: [`Vault::gc`] waits for them no more, and no check tells of them. Needs the role
    /// `admin`. Returns how many: of a gap, all are given up.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not among [`Self::lost_entries`]; then none is given up.
    pub fn give_up_entries(&self, entries: &[Damage]) -> Result<u64> {
        self.needs_admin()?;
        let media = self.media.as_ref();
        let _alone = media.lock(KEYS_LOCK, LockKind::Exclusive, true)?;
        let mut chain = self.own_chain_to_write()?;
        let lost = self.lost_entries();
        let mut places = Vec::new();
        for entry in entries {
            let is_lost = lost.iter().any(|lost| lost.object == entry.object);
            match place_of(&entry.object).filter(|_| is_lost) {
                Some(place) => places.push((place, entry.problem == Problem::Absent)),
                // Somebody else gave it up.
                None if chain.gave_up(media, &entry.object) => {}
                None => {
                    let rule = "it is neither damaged nor gone";
                    return Err(Error::Invalid { what: "lost entry", value: entry.object.clone(), rule });
                }
            }
        }
        let mut given_up = 0;
        for ((of, first), is_gap) in places {
            // Of a long gap, not all are told.
            let most = if is_gap { MOST_OF_A_GAP } else { 1 };
            for sequence in first..first.saturating_add(most) {
                let name = object(&of, sequence);
                if sequence > first && media.exists(&name)? {
                    break;
                }
                if chain.gave_up(media, &name) {
                    continue;
                }
                let found = found_of(media, &name);
                let keys = self.reader.store().keys();
                vault_chain::append(media, keys, &chain, Event::GivenUp { chain: of, sequence, found })?;
                chain = VaultChain::read_to_append(media, keys)?;
                given_up += 1;
            }
        }
        Ok(given_up)
    }
}
