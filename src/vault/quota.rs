//! Quotas: setting them, and what is taken of them. What counts and where a backup stops is in `backup/quota.rs`.
//!
//! A quota holds off honest programs and mistakes. Whoever has a key of role `backup` and a program of his own can write as
//! much as the medium takes.

use super::Vault;
use crate::error::{Error, Result};
use crate::format::vault_event::Event;
use crate::point::check_name;
use crate::point::vault_chain::{self, VaultChain};

pub use crate::backup::QuotaUse;
pub use crate::format::vault_event::Quota;

impl Vault {
    /// The quotas that are set, that of the vault first, and what is taken of them. Reads the manifests of the machines that
    /// have one.
    pub fn quotas(&self) -> Result<Vec<QuotaUse>> {
        let chain = VaultChain::read(self.media.as_ref(), self.reader.store().keys())?;
        self.refresh()?;
        chain.quotas.iter().map(|(machine, quota)| self.quota_use(machine, *quota)).collect()
    }

    /// What a machine, or the vault as a whole where `machine` is none, may take; nothing is zero in both levels.
    pub fn quota(&self, machine: Option<&str>) -> Result<Quota> {
        let chain = VaultChain::read(self.media.as_ref(), self.reader.store().keys())?;
        Ok(chain.quotas.get(machine.unwrap_or_default()).copied().unwrap_or_default())
    }

    fn quota_use(&self, machine: &str, quota: Quota) -> Result<QuotaUse> {
        QuotaUse::of(self.reader.store(), &self.catalog, machine, quota)
    }

    /// Sets what a machine, or the vault as a whole where `machine` is none, may take; zero in both levels takes the quota
    /// away. Needs the role `admin`. Returns what is taken of it: it may be full already, and then no points are made.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a warning that comes after the end.
    pub fn set_quota(&self, machine: Option<&str>, quota: Quota) -> Result<QuotaUse> {
        self.needs_admin()?;
        if let Some(machine) = machine {
            check_name("machine name", machine)?;
        }
        if quota.hard_bytes > 0 && quota.warn_bytes > quota.hard_bytes {
            let value = format!("warning {} bytes, hard {} bytes", quota.warn_bytes, quota.hard_bytes);
            let rule = "a warning comes before the hard quota: set both, or a lower warning";
            return Err(Error::Invalid { what: "quota", value, rule });
        }
        let machine = machine.unwrap_or_default();
        {
            let (_alone, chain) = self.own_chain_alone()?;
            self.refresh()?;
            if chain.quotas.get(machine).copied().unwrap_or_default() != quota {
                let event = Event::QuotaSet { machine: machine.to_owned(), quota };
                vault_chain::append(self.media.as_ref(), self.reader.store().keys(), &chain, event)?;
            }
        }
        self.quota_use(machine, quota)
    }
}
