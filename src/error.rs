//! Why a call failed, split by who must act: the caller, the key holder, the medium, nobody yet (unsupported input), or
//! whoever repairs a damaged vault.

use std::io;
use std::path::PathBuf;

use crate::quiesce::{Phase, ScriptFailure};

/// What every call of the engine returns on failure.
pub type Result<T> = std::result::Result<T, Error>;

/// Who must act on an [`Error`]; also what a command's exit code is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The call asked for something that is not there or not allowed.
    Caller,
    /// There is no vault at the place named.
    NoVault,
    /// The password or key file opens no slot, or its role does not reach far enough.
    KeyHolder,
    /// A disk, file or directory outside or under the vault failed.
    Medium,
    /// The bytes are in a form that this version does not know.
    Unsupported,
    /// Bytes in the vault are not what was written.
    Damaged,
    /// Somebody else holds a lock that is needed.
    Busy,
    /// The call was cancelled.
    Interrupted,
    /// A script of the caller's failed.
    Script,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No vault where one was looked for.
    #[error("no vault at {path}")]
    NoVault {
        /// The directory that was looked at.
        path: PathBuf,
    },
    /// `init` found something at the place for a new vault.
    #[error("{path} already holds a vault")]
    VaultExists {
        /// The directory.
        path: PathBuf,
    },
    /// `init` was given a directory that holds other things.
    #[error("{path} is not empty and holds no vault")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// No machine of that name.
    #[error("no machine named {name:?} in this vault")]
    UnknownMachine {
        /// The name asked for.
        name: String,
    },
    /// The point was forgotten, and can be brought back.
    #[error("point {point} of {machine} was forgotten")]
    Forgotten {
        /// The machine.
        machine: String,
        /// The point's name.
        point: String,
        /// Until when it can be brought back, Unix seconds.
        until_unix_seconds: i64,
    },
    /// A point of that id is there already, or was and is purged.
    #[error("point {point} of {machine} is there already, or was purged there")]
    PointExists {
        /// The machine.
        machine: String,
        /// The first 8 hex digits of its id.
        point: String,
    },
    /// The point is protected.
    #[error("point {point} of {machine} is protected")]
    Protected {
        /// The machine.
        machine: String,
        /// The point's name.
        point: String,
        /// Until when, Unix seconds; nothing where it is for ever.
        until_unix_seconds: Option<i64>,
    },
    /// The only point of a machine was to be forgotten.
    #[error("no point of {machine} would be left")]
    LastPoint {
        /// The machine.
        machine: String,
    },
    /// A chain of the catalog went back behind what the caller has seen of it.
    #[error("{0}")]
    SetBack(Box<crate::point::Setback>),
    /// No document of that kind and name.
    #[error("no {kind} {name:?} is set in this vault")]
    NoDocument {
        /// `policy` or `machine`.
        kind: &'static str,
        /// The name asked for.
        name: String,
    },
    /// A document that this program does not understand whole.
    #[error("the document of {kind} {name:?}, version {version}, can't be read: {problem}")]
    Document {
        /// `policy` or `machine`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The version that it tells, 0 where it tells none.
        version: u64,
        /// What is not understood.
        problem: String,
    },
    /// A policy that machines are under was to be removed.
    #[error("machine {machine:?} is under policy {policy:?}")]
    PolicyInUse {
        /// The policy.
        policy: String,
        /// The first such machine.
        machine: String,
    },
    /// A locked policy keeps the point.
    #[error("point {point} of {machine} is kept by policy {policy:?}, which is locked until {until}: {why}")]
    KeptByPolicy {
        /// The machine.
        machine: String,
        /// The point's name.
        point: String,
        /// The policy.
        policy: String,
        /// Why it keeps it.
        why: String,
        /// Until when it is locked.
        until: crate::policy::LockEnd,
    },
    /// What a locked policy promises was to be taken away.
    #[error("policy {policy:?} is locked until {until}, and that would take away from it")]
    PolicyLocked {
        /// The policy.
        policy: String,
        /// Until when.
        until: crate::policy::LockEnd,
    },
    /// No such point of that machine.
    #[error("machine {machine:?} has no recovery point {point:?}")]
    UnknownPoint {
        /// The machine.
        machine: String,
        /// The point as the caller named it.
        point: String,
    },
    /// That point is purged.
    #[error("{machine}/{point} was forgotten, the time to bring it back is over, and it was purged")]
    Purged {
        /// The machine.
        machine: String,
        /// The point as the caller named it.
        point: String,
    },
    /// A point id prefix that fits several points.
    #[error("{point:?} fits several recovery points of machine {machine:?}")]
    AmbiguousPoint {
        /// The machine.
        machine: String,
        /// The prefix.
        point: String,
    },
    /// A point has no disk of that name.
    #[error("recovery point {point} has no disk {disk:?}")]
    UnknownDisk {
        /// The point's name.
        point: String,
        /// The disk asked for.
        disk: String,
    },
    /// No such path in the tree.
    #[error("no such path in the vault: {path}")]
    NoSuchPath {
        /// The path.
        path: String,
    },
    /// A path names one kind of node where another is needed.
    #[error("{path} is not {wanted}")]
    WrongNode {
        /// The path.
        path: String,
        /// What was needed, with its article.
        wanted: &'static str,
    },
    /// A name or number that breaks the rules for it.
    #[error("{what} {value:?} is not usable: {rule}")]
    Invalid {
        /// What kind of value it is.
        what: &'static str,
        /// The value.
        value: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Two disks of one backup have the same name.
    #[error("the disk name {name:?} is given twice")]
    DuplicateDisk {
        /// The name.
        name: String,
    },
    /// A restore target that exists and was not to be overwritten.
    #[error("{path} exists")]
    TargetExists {
        /// The target.
        path: PathBuf,
    },
    /// A restore target that is too small.
    #[error("{path} holds {available} bytes, the disk needs {needed}")]
    TargetTooSmall {
        /// The target.
        path: PathBuf,
        /// Its size in bytes.
        available: u64,
        /// The disk's size in bytes.
        needed: u64,
    },
    /// A directory without room for what is to be written there.
    #[error("{path} has {available} bytes free, {needed} are needed")]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that may be written there.
        available: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// A machine or the vault has reached what it may take; no point is made.
    #[error("{} counts {counted_bytes} bytes, its quota is {hard_bytes}", quota_name(machine))]
    OverQuota {
        /// The machine; empty for the vault as a whole.
        machine: String,
        /// Bytes that it counts, or would with the new point.
        counted_bytes: u64,
        /// Bytes that it may.
        hard_bytes: u64,
    },
    /// A restore target that a file system is mounted from.
    #[error("{path} is in use: {use_}")]
    TargetInUse {
        /// The device.
        path: PathBuf,
        /// Where it is mounted, or what else holds it.
        use_: String,
    },
    /// Neither password nor key file opens a slot.
    #[error("wrong password or key file: it opens none of the vault's {slots} key slots")]
    WrongKey {
        /// How many slots were tried.
        slots: usize,
    },
    /// The keys at hand are from before a rotation of the vault's keys.
    #[error("this key is from before the rotation of {}", since_text(*.since_unix_seconds))]
    Rotated {
        /// When that was, Unix seconds; `None` where nobody without the new keys can tell.
        since_unix_seconds: Option<u64>,
    },
    /// The slot that was opened is one that was removed: somebody put its file back.
    #[error("this key was removed")]
    RemovedKey,
    /// An external key could not be had.
    #[error("the external key can't be had: {source}")]
    External {
        /// Why.
        source: io::Error,
    },
    /// The slot that opened the vault was to be removed.
    #[error("this is the key that opened the vault")]
    OwnSlot,
    /// The role that was opened may not do this.
    #[error("the role {held:?} cannot do this: it needs {needed}")]
    NotPermitted {
        /// The role that the slot gave.
        held: &'static str,
        /// What would be needed.
        needed: &'static str,
    },
    /// The last key slot of role `admin` can't go.
    #[error("this is the last admin key slot; without it nobody could manage the vault")]
    LastAdminSlot,
    /// The medium under the vault failed.
    #[error("cannot {operation} {path} in the vault: {source}")]
    Vault {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A disk being backed up could not be read.
    #[error("cannot read disk {disk:?} at byte {offset}: {source}")]
    Source {
        /// The disk's name.
        disk: String,
        /// Where in the disk.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A script that is to make a disk hold still.
    #[error("{phase} {failure}{}", said(.output))]
    Script {
        /// What it was run for.
        phase: Phase,
        /// Why it counts as failed.
        failure: ScriptFailure,
        /// The end of what it printed.
        output: String,
    },
    /// A restore target or another file of the caller's failed.
    #[error("cannot {operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stored structure of a version that this program does not know.
    #[error("{object} is {structure} version {found}; this program reads version {supported}")]
    UnsupportedVersion {
        /// The object.
        object: String,
        /// The structure's name.
        structure: &'static str,
        /// The version found.
        found: u32,
        /// The version that this program knows.
        supported: u32,
    },
    /// A guest's file system or table that can't be read.
    #[error(transparent)]
    Guest(#[from] crate::guest::Error),
    /// Bytes in the vault are not what was written.
    #[error(transparent)]
    Damaged(Damage),
    /// Bytes that the backup itself could not read from the source.
    #[error("disk {disk:?} bytes {start}..{end} were unreadable when the recovery point was made")]
    Missing {
        /// The disk.
        disk: String,
        /// First missing byte.
        start: u64,
        /// First byte after.
        end: u64,
    },
    /// Somebody else holds a lock that is needed.
    #[error("the vault is busy: {what}")]
    Busy {
        /// What holds it.
        what: &'static str,
    },
    /// The call was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// An earlier failure of the same writer; what it wrote since is worth nothing.
    #[error("the writer stopped after an earlier failure")]
    Poisoned,
}

/// Where a vault is damaged, and how it shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged: {object} at byte {offset}: {problem}")]
pub struct Damage {
    /// The object's name, relative to the vault.
    pub object: String,
    /// Offset in the object where the damaged structure begins, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a stored structure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The object is absent.
    #[error("the file is missing")]
    Absent,
    /// The object ends too early or too late.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// Bytes expected.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The first bytes are not this structure's.
    #[error("it does not begin as a {0}")]
    Magic(&'static str),
    /// It is of a version that this program does not know: damaged, or written by a newer one.
    #[error("it is of version {0}, which this program does not know")]
    Version(u32),
    /// A checksum that needs no key does not fit.
    #[error("the checksum of the {0} does not fit")]
    Checksum(&'static str),
    /// Authentication failed: the bytes are not those that the key holder wrote.
    #[error("the {0} fails authentication")]
    Authentication(&'static str),
    /// A field holds a value that it may not hold.
    #[error("field {0} holds an impossible value")]
    Field(&'static str),
    /// It is under keys of an epoch that came after those at hand.
    #[error("it is under keys of epoch {0}, which came after those at hand")]
    Epoch(u32),
    /// It is under keys from before the last rotation, and was not there then.
    #[error("it is under keys from before the last rotation, and was not there then")]
    Outlived,
    /// It belongs to another vault, segment or place.
    #[error("it belongs elsewhere: {0} differs")]
    Misplaced(&'static str),
    /// Authenticated bytes that do not decompress.
    #[error("it does not decompress to its {0} bytes")]
    Decompression(u32),
    /// What the catalog or a map names is in no segment.
    #[error("{what} {id} is in no segment")]
    Unreachable {
        /// The kind of record.
        what: &'static str,
        /// The first 8 hex digits of its id.
        id: String,
    },
    /// More of a segment is damaged than its parity gives back.
    #[error("{lost} or more of its pieces are damaged, and its {parity} pieces of parity can't give all of them back")]
    BeyondParity {
        /// Damaged shards, each group counted up to one more than can be computed.
        lost: u64,
        /// Parity shards of all groups.
        parity: u64,
    },
    /// A parity object whose segment is not there.
    #[error("its segment is not there: a backup is under way or was cut off, or the segment was lost")]
    NoSegment,
    /// The medium does not give it.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// The catalog's chain is broken.
    #[error("entry {sequence} of the chain {0}", sequence = .1)]
    Chain(&'static str, u64),
    /// Authenticated JSON that is not a manifest.
    #[error("the manifest is not well formed: {0}")]
    Manifest(String),
}

impl Error {
    /// The same once more, as damage of its object: what a medium said is told as that. `otherwise` is the object of what
    /// names none.
    pub(crate) fn as_damage(&self, otherwise: &str) -> Self {
        match self {
            Self::Damaged(damage) => Self::Damaged(damage.clone()),
            other => Self::damaged(other.object().unwrap_or(otherwise), 0, Problem::Unreadable(other.to_string())),
        }
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoVault { .. } => ErrorKind::NoVault,
            Self::WrongKey { .. }
            | Self::NotPermitted { .. }
            | Self::Rotated { .. }
            | Self::RemovedKey
            | Self::External { .. } => ErrorKind::KeyHolder,
            Self::Vault { .. } | Self::Source { .. } | Self::File { .. } | Self::Missing { .. } | Self::Poisoned => {
                ErrorKind::Medium
            }
            Self::UnsupportedVersion { .. } | Self::Document { .. } => ErrorKind::Unsupported,
            Self::Guest(error) => error.kind(),
            Self::Damaged(_) | Self::SetBack(_) => ErrorKind::Damaged,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Script { .. } => ErrorKind::Script,
            _ => ErrorKind::Caller,
        }
    }

    /// The `errno` value of Linux that a program reading through a mount gets.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Guest(error) => error.errno(),
            Self::NoVault { .. }
            | Self::UnknownMachine { .. }
            | Self::UnknownPoint { .. }
            | Self::Purged { .. }
            | Self::NoDocument { .. }
            | Self::Forgotten { .. }
            | Self::Protected { .. }
            | Self::LastPoint { .. }
            | Self::KeptByPolicy { .. }
            | Self::UnknownDisk { .. }
            | Self::NoSuchPath { .. } => 2,
            Self::WrongNode { .. } | Self::Invalid { .. } => 22,
            Self::NotPermitted { .. }
            | Self::WrongKey { .. }
            | Self::Rotated { .. }
            | Self::RemovedKey
            | Self::External { .. } => 13,
            Self::Busy { .. } => 16,
            Self::Interrupted => 4,
            _ => 5,
        }
    }

    /// The vault's object that is damaged, not known to this program, or that the medium failed on; relative to the vault.
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Damaged(damage) => Some(&damage.object),
            Self::UnsupportedVersion { object, .. } => Some(object),
            Self::Vault { path, .. } => path.to_str(),
            _ => None,
        }
    }

    /// A damaged place in an object of the vault.
    pub(crate) fn damaged(object: impl Into<String>, offset: u64, problem: Problem) -> Self {
        Self::Damaged(Damage { object: object.into(), offset, problem })
    }

    /// Whether a lock could not be had for another reason than that the medium has no such locks, for anybody.
    pub(crate) fn has_locks(&self) -> bool {
        !matches!(self, Self::Vault { source, .. } if source.kind() == io::ErrorKind::Unsupported)
    }

    /// Whether a lock could not be had for another reason than that there is none for whoever may not write.
    pub(crate) fn may_lock(&self) -> bool {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        let Self::Vault { source, .. } = self else { return true };
        self.has_locks()
            && !matches!(source.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
            && !matches!(source.raw_os_error(), Some(libc::ENOLCK | libc::EINVAL))
    }

    /// Whether an object is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Damaged(damage) if damage.problem == Problem::Absent)
    }

    /// Whether keys that came after those at hand are needed.
    pub(crate) fn needs_newer_keys(&self) -> bool {
        matches!(self, Self::Damaged(damage) if matches!(damage.problem, Problem::Epoch(_)))
    }

    /// Whether something in the vault could not be made to survive power loss.
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, Self::Vault { operation: "sync", .. })
    }

    /// Whether the medium under the vault has no space left, or a quota is full.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Vault { source, .. } | Self::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// What a script printed, for messages.
fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(", after it printed {output:?}") }
}

/// Whose quota it is, for messages.
fn quota_name(machine: &str) -> String {
    if machine.is_empty() { "the vault".to_owned() } else { format!("machine {machine:?}") }
}

/// A day, for messages.
fn since_text(unix_seconds: Option<u64>) -> String {
    let time = unix_seconds.and_then(|seconds| jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    time.map_or_else(|| "an unknown day".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Of two outcomes the one that says more about the cause.
pub(crate) fn worse(first: Result<()>, second: Result<()>) -> Result<()> {
    match (first, second) {
        (Ok(()), second) => second,
        (Err(Error::Poisoned | Error::Interrupted), Err(error)) if !matches!(error, Error::Poisoned) => Err(error),
        (first, _) => first,
    }
}
