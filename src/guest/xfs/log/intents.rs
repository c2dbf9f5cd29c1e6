//! Operations of several steps ("XFS Filesystem Structure", "Intent Log Items").
//!
//! Before its first step such an operation is announced, as an intent; when it ends, that is said too. What was
//! announced and did not end is ended by a kernel after it replayed the log. Here:
//! - giving back space, and keeping the indexes of space, changes nothing that a reader sees;
//! - neither does a pointer from a file to its directory, which is kept with extended attributes;
//! - blocks that are mapped to a file, or taken from it, are so when the file's map is read ([`Remap`]);
//! - for extended attributes and exchanged content, the log is not used.

use std::collections::HashMap;

use crate::guest::StaleReason;

use super::super::superblock::Superblock;
use super::Problem;
use super::operations::{Host, Item};

/// Types of items, each with its end behind it.
mod kind {
    pub const REMAP: u16 = 0x1244;
    pub const XATTR: u16 = 0x1246;
    pub const EXCHANGE: u16 = 0x1248;
}

/// `me_flags`
mod flags {
    pub const ACTION: u32 = 0xFF;
    pub const MAP: u32 = 1;
    pub const UNMAP: u32 = 2;
    pub const UNWRITTEN: u32 = 1 << 30;
    pub const KNOWN: u32 = ACTION | UNWRITTEN;
}

/// Operations on pointers to directories, among those on attributes.
const PARENT_OPERATIONS: std::ops::RangeInclusive<u32> = 4..=6;

/// Threads that were in the midst of such an operation as the machine stopped. More are no history of any kernel, and
/// would make each look at a map long.
const REMAPS_MAX: usize = 4096;

/// Blocks that a file is given or loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guest::xfs) struct Remap {
    pub inode: u64,
    pub logical: u64,
    pub length: u64,
    /// Where they lie, counted from the volume's start; `None` where they are taken away.
    pub physical: Option<u64>,
    pub is_written: bool,
}

/// What was announced, by type and number; with it, its place in the order.
#[derive(Default)]
pub(super) struct Intents {
    open: HashMap<(u16, u64), (u64, Meaning)>,
    announced: u64,
}

#[derive(Clone, Copy)]
enum Meaning {
    Unseen,
    Remap(Remap),
    Unknown,
}

/// Whether this type of item begins or ends an operation that a reader may see.
pub(super) fn is_intent(kind: u16) -> bool {
    (kind::REMAP..=kind::EXCHANGE + 1).contains(&kind)
}

impl Intents {
    /// Takes the beginning or the end of an operation; `None` where it can't be one.
    pub fn take(&mut self, kind: u16, item: Item<'_>, host: Host, sb: &Superblock) -> Option<()> {
        let piece = item.piece(0)?;
        let number = host.u64(piece, 8)?;
        if kind % 2 == 1 {
            self.open.remove(&(kind - 1, number));
            return Some(());
        }
        let meaning = match kind {
            kind::REMAP => remap(piece, host, sb).map_or(Meaning::Unknown, Meaning::Remap),
            kind::XATTR if PARENT_OPERATIONS.contains(&(host.u32(piece, 24)? & flags::ACTION)) => Meaning::Unseen,
            _ => Meaning::Unknown,
        };
        self.open.insert((kind, number), (self.announced, meaning));
        self.announced += 1;
        Some(())
    }

    /// What is left to do, in order.
    pub fn unfinished(self) -> Result<Vec<Remap>, Problem> {
        let mut left: Vec<(u64, Meaning)> = self.open.into_values().collect();
        left.sort_unstable_by_key(|(order, _)| *order);
        let mut remaps = Vec::new();
        for (_, meaning) in left {
            match meaning {
                Meaning::Unseen => {}
                Meaning::Remap(remap) => remaps.push(remap),
                Meaning::Unknown => return Err(Problem::Stale(StaleReason::UnfinishedOperations)),
            }
        }
        if remaps.len() > REMAPS_MAX { Err(Problem::Stale(StaleReason::UnfinishedOperations)) } else { Ok(remaps) }
    }
}

/// One extent of the content of a file, which is all that kernels announce at a time.
fn remap(piece: &[u8], host: Host, sb: &Superblock) -> Option<Remap> {
    let action = host.u32(piece, 44)?;
    let (block, length) = (host.u64(piece, 24)?, u64::from(host.u32(piece, 40)?));
    let physical = sb.linear(block, length).ok()?;
    let physical = match action & flags::ACTION {
        flags::MAP => Some(physical),
        flags::UNMAP => None,
        _ => return None,
    };
    let remap = Remap {
        inode: host.u64(piece, 16)?,
        logical: host.u64(piece, 32)?,
        length,
        physical,
        is_written: action & flags::UNWRITTEN == 0,
    };
    let is_one = host.u32(piece, 4)? == 1 && action & !flags::KNOWN == 0 && length > 0;
    (is_one && remap.logical.checked_add(length)? <= super::super::map::LOGICAL_END).then_some(remap)
}
