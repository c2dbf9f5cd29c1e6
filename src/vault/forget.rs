//! Forgetting points, bringing them back, protecting them.
//!
//! Invariants:
//! - only administrators do any of it, and sign it;
//! - a forgotten point can be brought back until its time is over, and then is purged by [`Vault::gc`] alone;
//! - a protected point is not forgotten, nor one that a locked policy keeps ([`super::locked`]), and the last point of a machine only where that is said;
//! - the time of forgotten points is made shorter by nobody while it is locked.

use jiff::{SignedDuration, Timestamp};

use super::Vault;
use crate::error::{Error, Result};
use crate::format::catalog_entry::{Change, is_reason};
use crate::format::id_from_hex;
use crate::format::vault_event::Event;
use crate::media::LockKind;
use crate::point::vault_chain::{self, VaultChain};
use crate::point::{Allows, PointInfo, Until};
use crate::policy::is_future;
use crate::sync::Arc;

pub use crate::format::vault_event::SoftDelete;

/// Longest time that a forgotten point can be brought back, in seconds: a hundred years.
const MOST_GRACE_SECONDS: u64 = 100 * 366 * 86_400;

impl Vault {
    /// The points of a machine that were forgotten and can be brought back, oldest first.
    pub fn forgotten(&self, machine: &str) -> Vec<Arc<PointInfo>> {
        let mut points = self.catalog.of_machine(machine);
        points.retain(|point| point.forgotten.is_some());
        points
    }

    /// All of them.
    pub fn all_forgotten(&self) -> Vec<Arc<PointInfo>> {
        let mut points = self.catalog.all();
        points.retain(|point| point.forgotten.is_some());
        points
    }

    /// How long forgotten points can be brought back.
    pub fn soft_delete(&self) -> Result<SoftDelete> {
        Ok(VaultChain::read(self.media.as_ref(), self.reader.store().keys())?.soft_delete)
    }

    /// When something is forgotten: by the clock, and not before anything that an administrator did. A clock that is set
    /// back must not end a time early that begins now.
    fn now(&self, chain: &VaultChain) -> i64 {
        Timestamp::now().as_second().max(chain.latest_unix_seconds).max(self.catalog.latest())
    }

    /// Sets how long forgotten points can be brought back, and until when that is locked. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is locked and this would take away from it; what is forgotten already keeps its time.
    pub fn set_soft_delete(&self, set: SoftDelete) -> Result<()> {
        self.needs_admin()?;
        let invalid = |value: String, rule| Error::Invalid { what: "soft delete", value, rule };
        if set.grace_seconds > MOST_GRACE_SECONDS {
            return Err(invalid(format!("{} s", set.grace_seconds), "it is at most a hundred years"));
        }
        let (_alone, chain) = self.own_chain_alone()?;
        self.refresh()?;
        let old = chain.soft_delete;
        if vault_chain::is_locked(&old, Timestamp::now().as_second()) && vault_chain::weakens(&set, &old) {
            let locked = Until::of(old.locked_until_unix_seconds);
            let value = match locked {
                Until::Time(time) => format!("locked until {time}"),
                Until::Ever => "locked for ever".to_owned(),
            };
            return Err(invalid(value, "until then it can be made longer, never shorter, by nobody"));
        }
        if set == old {
            return Ok(());
        }
        vault_chain::append(self.media.as_ref(), self.reader.store().keys(), &chain, Event::SoftDeleteSet(set))
    }

    /// Forgets a point: it is listed no more, and can be brought back for the vault's grace time. Needs the role `admin`.
    /// Returns it as it is then.
    ///
    /// # Errors
    /// [`Error::Protected`]; [`Error::KeptByPolicy`] where a locked policy keeps it; [`Error::LastPoint`] for the only point of its
    /// machine, unless `even_last` says so.
    pub fn forget(&self, point: &PointInfo, reason: &str, even_last: bool) -> Result<Arc<PointInfo>> {
        self.needs_admin()?;
        if !is_reason(reason) {
            let rule = "it must be of at most 256 bytes without control characters";
            return Err(Error::Invalid { what: "reason", value: reason.to_owned(), rule });
        }
        let chain = self.own_chain_to_write()?;
        let now = self.now(&chain);
        let grace = i64::try_from(chain.soft_delete.grace_seconds).unwrap_or(i64::MAX);
        let until_unix_seconds = now.saturating_add(grace).min(Timestamp::MAX.as_second());
        let at = Timestamp::now();
        let locked = self.locked(&point.machine, at)?;
        let allow = |known: &PointInfo, all: &[Arc<PointInfo>]| {
            if known.forgotten.is_some() {
                return Err(already_forgotten(known));
            }
            if let Some(until) = known.protected.filter(|until| until.is_after(at)) {
                let until_unix_seconds = Some(until.unix_seconds()).filter(|_| until != Until::Ever);
                let (machine, point) = (known.machine.clone(), known.name.clone());
                return Err(Error::Protected { machine, point, until_unix_seconds });
            }
            locked.as_ref().map_or(Ok(()), |locked| locked.allow(known))?;
            // One of a time to come is no point that somebody could go back to.
            let counts = |other: &PointInfo| other.forgotten.is_none() && !is_future(other.time, at);
            let is_last = counts(known) && !all.iter().any(|other| other.id != known.id && counts(other));
            if is_last && !even_last {
                return Err(Error::LastPoint { machine: known.machine.clone() });
            }
            Ok(())
        };
        self.change(point, Change::Forgotten { until_unix_seconds }, reason, &allow)
    }

    /// Brings a forgotten point back, named by its name or the first digits of its id. Needs the role `admin`.
    ///
    /// # Errors
    /// [`Error::Purged`] where the time for that was over and somebody gave its space back.
    pub fn undelete(&self, machine: &str, point: &str) -> Result<Arc<PointInfo>> {
        self.needs_admin()?;
        let _ = self.own_chain_to_write()?;
        let point = self.catalog.forgotten_point(machine, point)?;
        self.change(&point, Change::BroughtBack, "", &|known, _| {
            let is_listed = || Error::Invalid {
                what: "point",
                value: known.name.clone(),
                rule: "it is not forgotten, and needs no bringing back",
            };
            known.forgotten.as_ref().map(|_| ()).ok_or_else(is_listed)
        })
    }

    /// Protects a point from being forgotten, or ends that with `None`. Needs the role `admin`.
    pub fn protect(&self, point: &PointInfo, until: Option<Until>, reason: &str) -> Result<Arc<PointInfo>> {
        self.needs_admin()?;
        let _ = self.own_chain_to_write()?;
        let change = match until {
            Some(until) => Change::Protected { until_unix_seconds: until.unix_seconds() },
            None => Change::Released,
        };
        self.change(point, change, reason, &|_, _| Ok(()))
    }

    /// The vault's own chain, where nothing keeps who has these keys from writing.
    pub(super) fn own_chain_to_write(&self) -> Result<VaultChain> {
        let (media, keys) = (self.media.as_ref(), self.reader.store().keys());
        let chain = vault_chain::check(media, keys).map_err(|error| self.dated(error))?;
        self.refresh()?;
        self.is_own_slot_there(&chain)?;
        Ok(chain)
    }

    pub(super) fn change(
        &self,
        point: &PointInfo,
        change: Change,
        reason: &str,
        allow: Allows<'_>,
    ) -> Result<Arc<PointInfo>> {
        let id = id_from_hex(&point.id).ok_or(Error::Poisoned)?;
        // A rotation lists what there is: nothing may come while it does.
        let _shared = self.media.lock(crate::store::WRITERS_LOCK, LockKind::Shared, true)?;
        vault_chain::check(self.media.as_ref(), self.reader.store().keys()).map_err(|error| self.dated(error))?;
        self.catalog.change((&point.machine, id), change, reason, allow)?;
        let all = self.catalog.of_machine(&point.machine);
        Ok(all.into_iter().find(|known| known.id == point.id).unwrap_or_else(|| Arc::new(point.clone())))
    }
}

fn already_forgotten(point: &PointInfo) -> Error {
    let until_unix_seconds = point.forgotten.as_ref().map_or(0, |forgotten| forgotten.until.as_second());
    Error::Forgotten { machine: point.machine.clone(), point: point.name.clone(), until_unix_seconds }
}

/// How long a forgotten point can still be brought back at that time; nothing once that is over.
pub fn time_left(point: &PointInfo, now: Timestamp) -> Option<SignedDuration> {
    let left = point.forgotten.as_ref()?.until.duration_since(now);
    left.is_positive().then_some(left)
}
