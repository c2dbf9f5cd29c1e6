//! Key slots, key derivation, seal and open. Nothing else in the engine sees a key.
//!
//! Random secrets make a vault: the id key (chunk ids, names of chains), which stays, and for each epoch a meta key (maps,
//! manifests, catalog, tables, index), an X25519 pair for data and an admin key (slots). A rotation of the keys begins a
//! new epoch. What seals a structure is derived from one of them with BLAKE3's key derivation mode, under
//! a context string of its own, from the secret and the ids of vault, segment, chain or entry. No key seals two things
//! under one nonce: segments and catalog entries have keys of their own, records of a segment differ in their number.
//!
//! Invariants:
//! - secrets are wiped when dropped, have no `Debug`, and lie in locked memory where the system gives it; what is derived from
//!   them for a cipher that is in use does not;
//! - the private half exists in memory only where a slot of role `restore` or `admin` was opened, the admin key only where
//!   one of role `admin` was;
//! - what is under the keys of an older epoch counts only where the newest epoch's inventory lists it.

#![forbid(unsafe_code)]

mod keys;
mod recovery;
mod segment;
mod slot;
#[cfg(test)]
mod vectors;

pub use keys::{Earlier, EpochKeys, IdKind, RoleKeys, VaultKeys};
pub(crate) use keys::{open_inventory, seal_inventory};
pub use recovery::{RecoveryKey, WORDS as RECOVERY_WORDS};
pub use segment::{ContentKey, SegmentSeal};
pub use slot::{Credential, ExternalKey, PasswordCost, SlotInfo, Wish, open_any, wrap};
pub(crate) use slot::{renew, update_key};

use crate::error::{Error, Result};
use crate::format::hex;
use crate::locked::LockedKey;

/// A secret of 32 bytes, in memory that is kept out of swap and core dumps where that can be had, wiped when dropped.
#[derive(Clone)]
pub struct Secret(LockedKey);

impl Secret {
    /// A fresh random secret.
    pub fn random() -> Result<Self> {
        random().map(Self::from)
    }

    /// Its bytes.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl From<[u8; 32]> for Secret {
    fn from(mut bytes: [u8; 32]) -> Self {
        Self(LockedKey::take(&mut bytes))
    }
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::File {
        operation: "draw random bytes from",
        path: "the operating system".into(),
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}

/// A random file name of 32 hex digits.
pub fn random_name() -> Result<String> {
    random::<16>().map(|id| hex(&id))
}
