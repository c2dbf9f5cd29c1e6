//! Policies and machines, as documents in the vault's own chain.
//!
//! Invariants:
//! - everybody who opens the vault reads them; only administrators set and remove them, and sign that;
//! - a machine is under a policy that is there, and a policy that machines are under is not removed;
//! - a locked policy keeps what it promises, and machines stay under it: see [`VaultChain::lock_against`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Vault;
use crate::error::{Error, Result};
use crate::format::vault_event::{DocumentKind, DocumentSet, Event, MOST_DOCUMENT_BYTES};
use crate::point::check_name;
use crate::point::vault_chain::{self, VaultChain};
use crate::policy::{Document, Machine, Policy, policy_of};

/// The policies and machines of a vault, as they were at one moment.
#[derive(Clone, Debug, Default)]
pub struct Documents(BTreeMap<(DocumentKind, String), Vec<u8>>);

impl Documents {
    /// The names of the policies, in order.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.names(DocumentKind::Policy)
    }

    /// The names of the machines that have a document, in order.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        self.names(DocumentKind::Machine)
    }

    fn names(&self, wanted: DocumentKind) -> impl Iterator<Item = &str> {
        self.0.keys().filter(move |(kind, _)| *kind == wanted).map(|(_, name)| name.as_str())
    }

    /// A policy.
    ///
    /// # Errors
    /// [`Error::NoDocument`]; [`Error::Document`] where this program does not understand all of it.
    pub fn policy(&self, name: &str) -> Result<Policy> {
        self.read(DocumentKind::Policy, name)
    }

    /// A machine. One that has points need not have a document.
    ///
    /// # Errors
    /// As [`Self::policy`].
    pub fn machine(&self, name: &str) -> Result<Machine> {
        self.read(DocumentKind::Machine, name)
    }

    fn read<D: Document>(&self, kind: DocumentKind, name: &str) -> Result<D> {
        let absent = || Error::NoDocument { kind: D::KIND, name: name.to_owned() };
        D::decode(name, self.0.get(&(kind, name.to_owned())).ok_or_else(absent)?)
    }

    /// The machines that are under a policy.
    pub fn under(&self, policy: &str) -> impl Iterator<Item = &str> {
        let is_under = move |document: &[u8]| policy_of(document).as_deref() == Some(policy);
        self.0
            .iter()
            .filter(move |((kind, _), document)| *kind == DocumentKind::Machine && is_under(document))
            .map(|((_, name), _)| name.as_str())
    }

    /// The policy that a machine is under, with its name.
    ///
    /// # Errors
    /// As [`Self::policy`]; [`Error::Invalid`] where it is under none.
    pub fn policy_of(&self, machine: &str) -> Result<(String, Policy)> {
        let none = || Error::Invalid { what: "machine", value: machine.to_owned(), rule: "it is under no policy" };
        let name = self.machine(machine)?.policy.ok_or_else(none)?;
        let policy = self.policy(&name)?;
        Ok((name, policy))
    }
}

impl Vault {
    /// The policies and machines of the vault. Any role reads them.
    pub fn documents(&self) -> Result<Documents> {
        Ok(Documents(VaultChain::read(self.media.as_ref(), self.reader.store().keys())?.documents))
    }

    /// Sets a policy, in place of the one of that name before. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::PolicyLocked`] where it would take away from what a locked one promises; [`Error::Invalid`].
    pub fn set_policy(&self, name: &str, policy: &Policy) -> Result<()> {
        for disk in policy.include_disks.iter().chain(&policy.exclude_disks) {
            check_name("disk name", disk)?;
        }
        self.set_document(DocumentKind::Policy, name, policy.encode()?, &|_| Ok(()))
    }

    /// Removes a policy. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::PolicyInUse`]; [`Error::PolicyLocked`]; [`Error::NoDocument`].
    pub fn remove_policy(&self, name: &str) -> Result<()> {
        self.set_document(DocumentKind::Policy, name, Vec::new(), &|documents| {
            let in_use = documents.under(name).next().map(|machine| (name.to_owned(), machine.to_owned()));
            in_use.map_or(Ok(()), |(policy, machine)| Err(Error::PolicyInUse { policy, machine }))
        })
    }

    /// Sets what is backed up of a machine, in place of what was said of it before. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::NoDocument`] where there is no such policy; [`Error::PolicyLocked`] where it is under a locked one and would
    /// come under one that promises less; [`Error::Invalid`].
    pub fn set_machine(&self, name: &str, machine: &Machine) -> Result<()> {
        for disk in machine.disks.keys().chain(&machine.excluded_disks) {
            check_name("disk name", disk)?;
        }
        self.set_document(DocumentKind::Machine, name, machine.encode()?, &|documents| {
            machine.policy.as_ref().map_or(Ok(()), |policy| documents.policy(policy).map(drop))
        })
    }

    /// Removes what is said of a machine; its points stay. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::PolicyLocked`] where it is under a locked policy; [`Error::NoDocument`].
    pub fn remove_machine(&self, name: &str) -> Result<()> {
        self.set_document(DocumentKind::Machine, name, Vec::new(), &|_| Ok(()))
    }

    /// Sets a document where that is allowed; an empty one removes it.
    fn set_document(
        &self,
        kind: DocumentKind,
        name: &str,
        document: Vec<u8>,
        allow: &dyn Fn(&Documents) -> Result<()>,
    ) -> Result<()> {
        self.needs_admin()?;
        let (what, kind_name) = match kind {
            DocumentKind::Policy => ("policy name", Policy::KIND),
            DocumentKind::Machine => ("machine name", Machine::KIND),
        };
        check_name(what, name)?;
        if document.len() > MOST_DOCUMENT_BYTES {
            let rule = "all that is said of it is more than 64 KiB";
            return Err(Error::Invalid { what: kind_name, value: name.to_owned(), rule });
        }
        let (_alone, chain) = self.own_chain_alone()?;
        let set = DocumentSet { kind, name: name.to_owned(), document };
        match chain.documents.get(&(kind, name.to_owned())) {
            None if set.document.is_empty() => {
                return Err(Error::NoDocument { kind: kind_name, name: name.to_owned() });
            }
            Some(before) if *before == set.document => return Ok(()),
            _ => {}
        }
        allow(&Documents(chain.documents.clone()))?;
        if let Some((policy, until)) = chain.lock_against(&set, Timestamp::now().as_second()) {
            return Err(Error::PolicyLocked { policy, until });
        }
        vault_chain::append(self.media.as_ref(), self.reader.store().keys(), &chain, Event::DocumentSet(set))
    }
}
