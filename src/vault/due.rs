//! Which machines are due for a point, and that no two processes make the same one.
//!
//! Invariants:
//! - a machine is due when its schedule says that a point was due, and no point of it is of that moment or later: points
//!   that were forgotten since count, points of a time still to come do not;
//! - who backs up a due machine holds its [`Claim`], and asks again whether it is due once he has it: of two that find a
//!   machine due at once, one makes the point, and the other finds it made or being made.
//!
//! Claims are the operating system's locks, as all locks of a vault: they end with their process, however it dies. They keep
//! out other due backups alone; who backs a machine up by hand makes the point that was asked for.

use jiff::Timestamp;

use super::Vault;
use crate::backup::BackupRequest;
use crate::error::{Error, Result};
use crate::format::hex;
use crate::media::{Lock, LockKind};
use crate::point::Consistency;
use crate::policy::{Machine, Policy, is_future};
use crate::quiesce::{DiskImage, Quiesce};

/// That a machine is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The machine.
    pub machine: String,
    /// The last moment at which a point was due.
    pub since: Timestamp,
    /// The time of its newest point.
    pub newest: Option<Timestamp>,
}

/// The right to back up a due machine; given back when it is dropped.
pub struct Claim {
    _lock: Lock,
}

impl Vault {
    /// Whether a point of a machine is due under a policy, by the points that this vault knows of: [`Vault::refresh`] reads
    /// those that came since.
    pub fn due(&self, machine: &str, policy: &Policy, now: Timestamp) -> Result<Option<Due>> {
        let Some(schedule) = &policy.schedule else { return Ok(None) };
        let Some(since) = schedule.last_due_at_or_before(machine, &policy.zone()?, now) else { return Ok(None) };
        let times = self.catalog.of_machine(machine).into_iter().map(|point| point.time);
        let newest = times.filter(|time| !is_future(*time, now)).max();
        let is_due = newest.is_none_or(|newest| newest < since);
        Ok(is_due.then(|| Due { machine: machine.to_owned(), since, newest }))
    }

    /// Claims a machine for a due backup; `None` where another process, or another claim of this one, has it.
    pub fn claim(&self, machine: &str) -> Result<Option<Claim>> {
        let name = format!("due-{}", hex(&self.reader.store().keys().chain_of(machine)));
        if !self.media.not_laid_out(&[], &[&name])?.is_empty() {
            self.media.lay_out(&[], &[&name])?;
        }
        let lock = self.media.lock(&name, LockKind::Exclusive, false)?;
        Ok(lock.map(|lock| Claim { _lock: lock }))
    }
}

/// A backup that is due.
pub struct DueBackup {
    /// What is to be made of the disks.
    pub request: BackupRequest,
    /// The disks.
    pub images: Vec<DiskImage>,
    /// How they are made to hold still.
    pub quiesce: Quiesce,
}

/// What is to be backed up of a machine under its policy: the one place where a machine's document becomes a backup.
///
/// # Errors
/// [`Error::Invalid`] where no disk is left, or where its disks are to be more consistent than this can make them, and the
/// policy does not allow less.
pub fn request_of(name: &str, machine: &Machine, policy: &Policy) -> Result<DueBackup> {
    let invalid = |rule| Error::Invalid { what: "machine", value: name.to_owned(), rule };
    if machine.hooks.pre_script.is_none() && policy.consistency != Consistency::Crash && !policy.allow_crash {
        let rule = "nothing brings its disks into the order that its policy wants, and that does not allow crash-consistent points";
        return Err(invalid(rule));
    }
    // What the scripts achieve is the machine's to say; where it says nothing, they do what its policy asks for.
    let asked = (policy.consistency != Consistency::Crash).then_some(policy.consistency);
    let achieved = machine.consistency.or(asked);
    if machine.hooks.pre_script.is_some() && achieved < asked && !policy.allow_crash {
        return Err(invalid("its scripts bring its disks into less order than its policy wants"));
    }
    let images: Vec<DiskImage> = machine.disks_under(policy).map(|(disk, path)| DiskImage::new(disk, path)).collect();
    if images.is_empty() {
        return Err(invalid("none of its disks is to be backed up"));
    }
    let mut request = BackupRequest::new(name);
    request.tags = machine.tags_under(policy);
    let consistency = achieved.filter(|_| machine.hooks.pre_script.is_some());
    let quiesce = Quiesce { consistency, allow_crash: policy.allow_crash, ..machine.quiesce() };
    Ok(DueBackup { request, images, quiesce })
}
