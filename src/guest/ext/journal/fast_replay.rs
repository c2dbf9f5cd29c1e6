//! What recovery makes of fast commits, as [`Changes`] that readers ask before they ask the disk.
//!
//! Each change is an outcome, not a procedure, so that replaying one that is on the disk already changes nothing: a name
//! that is there is not linked again, one that is gone is not unlinked. Where Linux's recovery passes over a change (of an
//! inode or a directory that does not exist), it is passed over here; where Linux gives up, nothing is replayed.
//!
//! Bounds: each directory that is spoken of is walked once, all of them together within a number of bytes.

use std::collections::{BTreeMap, HashMap};

use crate::guest::bytes::{slice_at, u16_at, u32_at};
use crate::guest::{Error, StaleReason};

use super::super::Ext;
use super::super::changes::{BYTES_MAX, ChangedInode, Changes, TooMuch};
use super::super::extent;
use super::super::inode::flags;
use super::Problem;
use super::fast::{Change, Entry};

/// Bytes of directories that may be walked to learn what names lead to.
const DIRECTORY_BYTES_MAX: u64 = 1 << 30;

/// Memory that a directory and a name take that are spoken of, about; all of them together have as much as changes.
const DIRECTORY_WEIGHT: u64 = 512;
const NAME_WEIGHT: u64 = 64;

const MAP_AT: usize = 0x28;
const MAP_END: usize = 0x64;
const MODE_DIRECTORY: u16 = 0x4;
const MODE_REGULAR: u16 = 0x8;

/// What names lead to on the disk; those that are absent are left out.
type Stored<'a> = HashMap<u64, BTreeMap<&'a [u8], Option<u64>>>;

struct Replay<'a> {
    ext: &'a Ext,
    stored: Stored<'a>,
    changes: Changes,
}

impl From<TooMuch> for Problem {
    fn from(_: TooMuch) -> Self {
        Self::Stale(StaleReason::UnsupportedJournal)
    }
}

fn damaged() -> Problem {
    Problem::Stale(StaleReason::DamagedJournal)
}

/// Makes the changes of fast commits, in their order. The file system has its log replayed.
pub(in crate::guest::ext) fn replay_fast(ext: &Ext, all: &[Change]) -> Result<Changes, Problem> {
    let stored = stored_names(ext, all)?;
    let mut replay = Replay { ext, stored, changes: Changes::default() };
    for change in all {
        match change {
            Change::Range { inode, logical, length, physical } => replay.range(*inode, *logical, *length, *physical)?,
            Change::Create(entry) => replay.create(entry)?,
            Change::Link(entry) => replay.link(entry)?,
            Change::Unlink(entry) => replay.unlink(entry)?,
            Change::Inode { inode, raw } => replay.inode(*inode, raw)?,
        }
    }
    Ok(replay.changes)
}

/// What the names that are spoken of lead to before anything is replayed.
fn stored_names<'a>(ext: &Ext, all: &'a [Change]) -> Result<Stored<'a>, Problem> {
    let too_much = || Problem::Stale(StaleReason::UnsupportedJournal);
    let (mut stored, mut room_left) = (Stored::new(), BYTES_MAX);
    for change in all {
        if let Change::Create(entry) | Change::Link(entry) | Change::Unlink(entry) = change {
            let is_new = !stored.contains_key(&entry.directory);
            let weight = NAME_WEIGHT + if is_new { DIRECTORY_WEIGHT } else { 0 };
            room_left = room_left.checked_sub(weight).ok_or_else(too_much)?;
            stored.entry(entry.directory).or_default().insert(&entry.name, None);
        }
    }
    let mut bytes_left = DIRECTORY_BYTES_MAX;
    for (number, names) in &mut stored {
        // One that does not exist yet has no names; one that is no directory is found out when it is used.
        let Some(directory) = existing(ext.directory(*number))? else { continue };
        bytes_left = bytes_left.checked_sub(directory.size_bytes).ok_or_else(too_much)?;
        let damage = ext.walk_stored(&directory, 0, &mut |raw| {
            if let Some(node) = names.get_mut(raw.name) {
                node.get_or_insert(raw.node);
            }
            true
        })?;
        if damage.is_some() {
            // The name may be in what can't be read.
            return Err(damaged());
        }
    }
    Ok(stored)
}

/// Something that is passed over where it does not exist or can't be believed.
fn existing<T>(result: Result<T, Error>) -> Result<Option<T>, Problem> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Medium(error)) => Err(Problem::Medium(error.into())),
        Err(_) => Ok(None),
    }
}

impl Replay<'_> {
    /// An inode that has links, to be changed.
    fn existing_inode(&mut self, number: u64) -> Result<Option<&mut ChangedInode>, Problem> {
        if self.changes.inode(number).is_none() {
            if existing(self.ext.inode(number))?.is_none() {
                return Ok(None);
            }
            self.changes.begin_inode(number, self.ext.raw_inode(number)?)?;
        }
        Ok(self.changes.inode_mut(number).filter(|inode| inode.links() > 0))
    }

    fn is_directory(&mut self, number: u64) -> Result<bool, Problem> {
        Ok(match self.changes.inode(number) {
            Some(changed) => changed.links() > 0 && is_directory(&changed.raw),
            None => existing(self.ext.directory(number))?.is_some(),
        })
    }

    fn lookup(&self, entry: &Entry) -> Option<u64> {
        let Entry { directory, name, .. } = entry;
        self.changes.name(*directory, name).unwrap_or_else(|| *self.stored.get(directory)?.get(name.as_slice())?)
    }

    fn range(&mut self, number: u64, logical: u64, length: u64, physical: Option<u64>) -> Result<(), Problem> {
        if let Some(physical) = physical {
            self.ext.check_blocks(physical, length).map_err(|_| damaged())?;
        }
        self.changes.weigh(0)?;
        if let Some(inode) = self.existing_inode(number)? {
            inode.edits.set(logical, length, physical);
        }
        Ok(())
    }

    /// All of an inode but its block map, which ranges speak of; of what is inline there are no ranges.
    fn inode(&mut self, number: u64, fields: &[u8]) -> Result<(), Problem> {
        if self.changes.inode(number).is_none() {
            let raw = self.ext.raw_inode(number).map_err(|error| match error {
                Error::Medium(_) => Problem::Medium(error),
                _ => damaged(),
            })?;
            self.changes.begin_inode(number, raw)?;
        }
        let Some(inode) = self.changes.inode_mut(number) else { return Ok(()) };
        let was_inline = flags_of(&inode.raw) & flags::INLINE_DATA != 0;
        inode.put(0, fields.get(..MAP_AT).unwrap_or_default());
        inode.put(MAP_END, fields.get(MAP_END..).unwrap_or_default());
        let map = fields.get(MAP_AT..MAP_END).unwrap_or_default();
        if flags_of(fields) & flags::EXTENTS != 0 {
            let has_root = slice_at(&inode.raw, MAP_AT, map.len()).is_some_and(extent::is_root);
            if was_inline || !has_root {
                inode.put(MAP_AT, &extent::EMPTY_ROOT);
            }
        } else if flags_of(fields) & flags::INLINE_DATA != 0 || !has_blocks(fields) {
            inode.put(MAP_AT, map);
        }
        Ok(())
    }

    /// The first name of an inode that was written before. What a new directory holds follows name by name.
    fn create(&mut self, entry: &Entry) -> Result<(), Problem> {
        let Some(inode) = self.existing_inode(entry.node)? else { return Err(damaged()) };
        if is_directory(&inode.raw) {
            if !self.is_directory(entry.directory)? {
                return Ok(());
            }
            self.changes.make_directory(entry.node, entry.directory)?;
        }
        self.link(entry)?;
        if let Some(inode) = self.changes.inode_mut(entry.node) {
            // Linux sets one, for directories too.
            inode.set_links(1);
        }
        Ok(())
    }

    fn link(&mut self, entry: &Entry) -> Result<(), Problem> {
        if self.existing_inode(entry.node)?.is_none()
            || !self.is_directory(entry.directory)?
            || self.lookup(entry).is_some()
        {
            return Ok(());
        }
        self.changes.set_name(entry.directory, &entry.name, Some(entry.node))?;
        if let Some(inode) = self.changes.inode_mut(entry.node) {
            inode.set_links(inode.links().saturating_add(1));
        }
        Ok(())
    }

    fn unlink(&mut self, entry: &Entry) -> Result<(), Problem> {
        if self.existing_inode(entry.node)?.is_none() || !self.is_directory(entry.directory)? {
            return Ok(());
        }
        let Some(found) = self.lookup(entry) else { return Ok(()) };
        // A name that leads elsewhere was given away since; the inode lost it all the same.
        if found == entry.node {
            self.changes.set_name(entry.directory, &entry.name, None)?;
        }
        let Some(inode) = self.changes.inode_mut(entry.node) else { return Ok(()) };
        let is_directory = is_directory(&inode.raw);
        inode.set_links(if is_directory { 0 } else { inode.links().saturating_sub(1) });
        if inode.links() == 0 {
            // Its blocks are free: whatever uses the number next begins without any.
            inode.edits.clear();
            inode.put(MAP_AT, &[0; MAP_END - MAP_AT]);
        }
        if is_directory {
            self.changes.forget_directory(entry.node);
        }
        Ok(())
    }
}

fn flags_of(raw: &[u8]) -> u32 {
    u32_at(raw, 0x20).unwrap_or_default()
}

fn kind_of(raw: &[u8]) -> u16 {
    u16_at(raw, 0).unwrap_or_default() >> 12
}

fn is_directory(raw: &[u8]) -> bool {
    kind_of(raw) == MODE_DIRECTORY
}

/// Whether an inode without extents has a block map, and no link's target or device number in its place. (Linux leaves
/// those out, and then refuses the inode.)
fn has_blocks(raw: &[u8]) -> bool {
    matches!(kind_of(raw), MODE_REGULAR | MODE_DIRECTORY)
}
