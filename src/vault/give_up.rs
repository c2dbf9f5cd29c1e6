//! Giving up entries of the catalog that are lost for good.
//!
//! An entry that is damaged or gone may have said anything, so whoever gives back space waits for it to be repaired. Where
//! no copy has it any more, an administrator says that nobody shall wait for it.
//!
//! Invariants:
//! - what the medium does not give just now, or what newer keys open, is not given up: it may be as good as ever;
//! - nothing is removed by this: an entry that comes back all the same counts again.

use super::Vault;
use super::keys::KEYS_LOCK;
use crate::error::{Damage, Error, Problem, Result};
use crate::format::vault_event::Event;
use crate::format::{Id, catalog_entry, id_from_hex};
use crate::media::LockKind;
use crate::point::vault_chain::{self, VaultChain};

impl Vault {
    /// The entries of all chains that are damaged or gone and can be given up.
    pub fn lost_entries(&self) -> Vec<Damage> {
        let mut lost = self.catalog_damage();
        let can_be = |problem: &Problem| !matches!(problem, Problem::Unreadable(_) | Problem::Epoch(_));
        lost.retain(|damage| can_be(&damage.problem) && place_of(&damage.object).is_some());
        lost.dedup_by(|a, b| a.object == b.object);
        lost
    }

    /// Gives up entries that are lost: [`Vault::gc`] waits for them no more, and no check tells of them. Needs the role
    /// `admin`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not among [`Self::lost_entries`]; then none is given up.
    pub fn give_up_entries(&self, entries: &[Damage]) -> Result<()> {
        self.needs_admin()?;
        let media = self.media.as_ref();
        let _alone = media.lock(KEYS_LOCK, LockKind::Exclusive, true)?;
        let mut chain = self.own_chain_to_write()?;
        let lost = self.lost_entries();
        let mut places = Vec::new();
        for entry in entries {
            let is_lost = lost.iter().any(|lost| lost.object == entry.object);
            match place_of(&entry.object).filter(|_| is_lost) {
                Some(place) => places.push(place),
                // Somebody else gave it up.
                None if chain.given_up.contains(&entry.object) => {}
                None => {
                    let rule = "it is neither damaged nor gone, or may be read again";
                    return Err(Error::Invalid { what: "lost entry", value: entry.object.clone(), rule });
                }
            }
        }
        for (of, sequence) in places {
            let keys = self.reader.store().keys();
            vault_chain::append(media, keys, &chain, Event::GivenUp { chain: of, sequence })?;
            chain = VaultChain::read_to_append(media, keys)?;
        }
        Ok(())
    }
}

/// The chain and the number of an entry's object.
fn place_of(object: &str) -> Option<(Id, u64)> {
    let (chain, name) = object.strip_prefix(catalog_entry::FOLDER)?.strip_prefix('/')?.split_once('/')?;
    Some((id_from_hex(chain)?, catalog_entry::sequence_of(name)?))
}
