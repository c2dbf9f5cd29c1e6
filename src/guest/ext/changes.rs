//! What fast commits changed, inode by inode and name by name.
//!
//! The log proper is replayed block by block, below everything else ([`Overlay`](super::overlay::Overlay)). A fast commit
//! speaks of inodes, ranges and names, and leaves it to recovery which blocks of maps and directories to write. Nothing is
//! written here: each inode that it speaks of is kept as recovery would leave it, and each directory as names that came and
//! names that went. Whoever reads an inode, its map or a directory asks here first.
//!
//! What a directory itself is (size, times, number of links) stays as the last full commit has it: fast commits do not
//! say, and a kernel's recovery makes up its own.

use std::collections::{BTreeMap, HashMap};

use crate::guest::bytes::{u16_at, wide};
use crate::guest::listing::Raw;
use crate::guest::window::Edits;

/// More would not fit in the memory that a volume may take.
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// About what an entry of a map takes beside what it holds.
const ENTRY_BYTES: u64 = 160;

const LINKS_AT: usize = 0x1A;

/// Everything that fast commits changed.
#[derive(Default)]
pub(super) struct Changes {
    inodes: HashMap<u64, ChangedInode>,
    directories: HashMap<u64, ChangedDirectory>,
    weight_bytes: u64,
}

/// An inode that is no longer what its table says.
pub(super) struct ChangedInode {
    /// Its bytes; the checksum in them is of other ones.
    pub raw: Box<[u8]>,
    /// What its block map has to say otherwise.
    pub edits: Edits,
}

/// A directory that has other names than its blocks say.
#[derive(Default)]
struct ChangedDirectory {
    /// The parent of a directory that was made since: its blocks say nothing.
    made_in: Option<u64>,
    /// The node that a name leads to now; `None` where it is gone.
    names: BTreeMap<Vec<u8>, Option<u64>>,
}

impl ChangedInode {
    pub fn links(&self) -> u16 {
        u16_at(&self.raw, LINKS_AT).unwrap_or_default()
    }

    pub fn set_links(&mut self, links: u16) {
        self.put(LINKS_AT, &links.to_le_bytes());
    }

    /// Overwrites a part; what does not fit is left out.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        for (into, byte) in self.raw.iter_mut().skip(at).zip(bytes) {
            *into = *byte;
        }
    }
}

/// There is more than memory may be taken for.
pub(super) struct TooMuch;

impl Changes {
    pub fn inode(&self, number: u64) -> Option<&ChangedInode> {
        self.inodes.get(&number)
    }

    pub fn inode_mut(&mut self, number: u64) -> Option<&mut ChangedInode> {
        self.inodes.get_mut(&number)
    }

    /// Begins to change an inode that is this so far.
    pub fn begin_inode(&mut self, number: u64, raw: Vec<u8>) -> Result<&mut ChangedInode, TooMuch> {
        self.weigh(wide(raw.len()))?;
        let new = || ChangedInode { raw: raw.into(), edits: Edits::default() };
        Ok(self.inodes.entry(number).or_insert_with(new))
    }

    /// Makes room for one more thing of so many bytes.
    pub fn weigh(&mut self, bytes: u64) -> Result<(), TooMuch> {
        self.weight_bytes = self.weight_bytes.saturating_add(bytes).saturating_add(ENTRY_BYTES);
        if self.weight_bytes > BYTES_MAX { Err(TooMuch) } else { Ok(()) }
    }

    /// What a name leads to by what was changed: `None` outside where that is for the directory's blocks to say.
    pub fn name(&self, directory: u64, name: &[u8]) -> Option<Option<u64>> {
        let changed = self.directories.get(&directory)?;
        match changed.names.get(name) {
            Some(node) => Some(*node),
            None => changed.made_in.map(|_| None),
        }
    }

    /// Lets a name lead to a node, or nowhere.
    pub fn set_name(&mut self, directory: u64, name: &[u8], node: Option<u64>) -> Result<(), TooMuch> {
        self.weigh(wide(name.len()))?;
        self.directories.entry(directory).or_default().names.insert(name.to_vec(), node);
        Ok(())
    }

    /// Begins an empty directory.
    pub fn make_directory(&mut self, directory: u64, parent: u64) -> Result<(), TooMuch> {
        self.weigh(0)?;
        let made = ChangedDirectory { made_in: Some(parent), names: BTreeMap::new() };
        self.directories.insert(directory, made);
        Ok(())
    }

    pub fn forget_directory(&mut self, directory: u64) {
        self.directories.remove(&directory);
    }

    /// The parent of a directory that has no blocks yet.
    pub fn made_in(&self, directory: u64) -> Option<u64> {
        self.directories.get(&directory)?.made_in
    }

    /// Whether a name in a directory's blocks is still what it was.
    pub fn keeps(&self, directory: u64, name: &[u8]) -> bool {
        self.directories.get(&directory).is_none_or(|changed| !changed.names.contains_key(name))
    }

    /// The names that came, placed behind the `size_bytes` that the directory had; those at or behind `from`.
    pub fn added(&self, directory: u64, size_bytes: u64, from: u64) -> impl Iterator<Item = Raw<'_>> {
        let names = self.directories.get(&directory).into_iter().flat_map(|changed| &changed.names);
        let placed = (size_bytes..).zip(names).skip_while(move |(at, _)| *at < from);
        placed.filter_map(|(at, (name, node))| {
            Some(Raw { name, node: (*node)?, kind: None, at, next: at.saturating_add(1) })
        })
    }
}
