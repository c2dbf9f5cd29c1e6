//! Why a logical volume can't be read, and what must be said of one that can.

use std::sync::Arc;

use super::LvmId;
use crate::error::ErrorKind;

/// Why a logical volume can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A part of it lies on a physical volume that is none of those given.
    #[error("physical volume {id}{} is on none of the disks of this point{}", shown(device), shown(unreadable))]
    Missing {
        /// The physical volume.
        id: LvmId,
        /// Where the guest last saw it; empty where that is not known.
        device: String,
        /// What else might hold it and could not be read; empty where everything could.
        unreadable: Arc<str>,
    },
    /// A part of it lies on a physical volume that the guest itself had given up.
    #[error(
        "physical volume {id}{} is one that the guest marked as missing, so that what lies on it may be old",
        shown(device)
    )]
    MarkedMissing {
        /// The physical volume.
        id: LvmId,
        /// Where the guest last saw it; empty where that is not known.
        device: String,
    },
    /// Two disks claim to be the same physical volume, and nothing tells which of them belongs to the others.
    #[error("physical volume {id} is there more than once ({places}): which one belongs to the others can't be told")]
    Ambiguous {
        /// The physical volume.
        id: LvmId,
        /// Where.
        places: Arc<str>,
    },
    /// It is laid out in a way that is not read here.
    #[error("its layout '{layout}' can't be read")]
    Layout {
        /// The layout's name in LVM2.
        layout: String,
    },
    /// The group's metadata contradicts itself.
    #[error("its group's metadata is damaged: {what}")]
    Metadata {
        /// Where.
        what: &'static str,
    },
    /// The group's metadata is there in two states of the same age.
    #[error("its group's metadata is there in two states that differ and have the same number {seqno}")]
    Split {
        /// Their number.
        seqno: u64,
    },
    /// Not enough of its copies or parts are known to be in sync.
    #[error("not enough of its copies are known to be whole: {why}")]
    NoCopy {
        /// What the first one lacks.
        why: String,
    },
    /// Its pool does not have it.
    #[error("its pool has no device {device}")]
    NoSuchDevice {
        /// Its number in the pool.
        device: u64,
    },
    /// A snapshot whose store had no room left, so that the guest itself dropped it.
    #[error("this snapshot ran out of room and became invalid in the guest")]
    Overflowed,
    /// More of something than is read here.
    #[error("it has more {what} than are read here")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
}

/// A remark in parentheses, where there is one.
fn shown(remark: &str) -> String {
    if remark.is_empty() { String::new() } else { format!(" ({remark})") }
}

impl Problem {
    /// Who must act.
    pub(in crate::guest) fn kind(&self) -> ErrorKind {
        match self {
            Self::Layout { .. } | Self::TooMany { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Damaged,
        }
    }

    /// The `errno` value of Linux for it.
    pub(in crate::guest) fn errno(&self) -> i32 {
        match self {
            Self::Missing { .. } | Self::MarkedMissing { .. } | Self::Ambiguous { .. } => 6,
            Self::Layout { .. } | Self::TooMany { .. } => 95,
            _ => 117,
        }
    }
}

pub(super) fn wrong<T>(what: &'static str) -> Result<T, Problem> {
    Err(Problem::Metadata { what })
}

/// What must be said of a logical volume that is read all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Caution {
    /// Of several copies only some could be looked at: those in sync with each other, but perhaps not the newest.
    #[error("read from a copy that may be behind: what is known of another copy can't be read: {why}")]
    UnseenCopy {
        /// Why not.
        why: String,
    },
}
