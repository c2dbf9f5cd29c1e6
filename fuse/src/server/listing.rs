//! Directory listings, with and without attributes.
//!
//! Positions: the kernel's 0 is before `.`, 1 before `..`, and from 2 on they are the tree's plus 2. They are all that
//! tells where a listing stands, so one can go on from any of them, at any time, in any thread.
//!
//! Names are collected before attributes are asked for: a tree may hold a lock while it hands out names, and asking it
//! for more meanwhile could block for ever.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, FileAttr, Generation, ReplyDirectory, ReplyDirectoryPlus};

use super::convert::{kind, name_only, ttl};
use super::filesystem::{Described, MAX_NAME_BYTES, Server};
use crate::{FileType, NodeId, ReadOnlyTree};

/// Positions taken by `.` and `..`.
const DOTS: u64 = 2;

/// What a name costs in a listing with attributes, besides itself: `struct fuse_direntplus` of the kernel's interface
/// (include/uapi/linux/fuse.h). Each entry is padded to 8 bytes.
const ENTRY_BYTES: usize = 152;

/// The smallest buffer that the kernel lists into.
const PAGE_BYTES: usize = 4096;

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch::new()) };
}

/// Names on their way from the tree to the kernel; kept by each serving thread so that listing allocates nothing.
struct Batch {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// How much the kernel took the last time that its buffer was full. It does not reach us how large the buffer is:
    /// 4 KiB in older kernels, as large as the program's in newer ones. Collecting as much as it takes, and hardly
    /// more, spares the tree from handing out names in vain.
    capacity_bytes: usize,
}

struct Entry {
    name: Range<usize>,
    node: NodeId,
    kind: FileType,
    next: u64,
}

impl Batch {
    const fn new() -> Self {
        Self { names: Vec::new(), entries: Vec::new(), capacity_bytes: PAGE_BYTES }
    }

    /// Collects names of about `bytes` in the kernel's buffer; true if the directory ended before.
    fn collect<T: ReadOnlyTree>(
        &mut self,
        server: &Server<T>,
        directory: NodeId,
        position: u64,
        bytes: usize,
    ) -> Result<bool, Errno> {
        self.names.clear();
        self.entries.clear();
        let mut collected = 0;
        let mut ended = true;
        let outcome = server.ask("read_directory", directory, |tree| {
            tree.read_directory(directory, position, &mut |entry| {
                if collected >= bytes {
                    ended = false;
                    return false;
                }
                if is_nameable(entry.name) {
                    let start = self.names.len();
                    self.names.extend_from_slice(entry.name);
                    let name = start..self.names.len();
                    self.entries.push(Entry { name, node: entry.node, kind: entry.kind, next: entry.next });
                    collected += entry_bytes(entry.name);
                }
                true
            })
        });
        match outcome {
            // What came before the damage is shown; the kernel then asks at the damaged place and hears of it.
            Err(_) if !self.entries.is_empty() => Ok(false),
            Err(errno) => Err(errno),
            Ok(()) => Ok(ended),
        }
    }
}

fn entry_bytes(name: &[u8]) -> usize {
    (ENTRY_BYTES + name.len()).next_multiple_of(8)
}

/// The kernel refuses a whole listing for one name that it cannot take. A tree hands out none; should a damaged disk
/// slip one through, its neighbours stay visible.
fn is_nameable(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES as usize && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

impl<T: ReadOnlyTree> Server<T> {
    /// Lists names from `offset` on until the reply is full. An error after some names ends the reply early: it comes
    /// back when the kernel asks for the rest.
    pub(super) fn list(&self, directory: NodeId, offset: u64, reply: &mut ReplyDirectory) -> Result<(), Errno> {
        for (name, next, node) in self.dots(directory, offset) {
            if reply.add(self.inode(node), next, fuser::FileType::Directory, OsStr::new(name)) {
                return Ok(());
            }
        }
        let mut added = offset < DOTS;
        let outcome = self.ask("read_directory", directory, |tree| {
            tree.read_directory(directory, offset.saturating_sub(DOTS), &mut |entry| {
                if !is_nameable(entry.name) {
                    return true;
                }
                let name = OsStr::from_bytes(entry.name);
                let full = reply.add(self.inode(entry.node), entry.next.wrapping_add(DOTS), kind(entry.kind), name);
                added |= !full;
                !full
            })
        });
        if added { Ok(()) } else { outcome }
    }

    /// As `list`, with attributes, which the kernel then need not ask for one by one.
    pub(super) fn list_with_attributes(
        &self,
        directory: NodeId,
        offset: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> Result<(), Errno> {
        let names_stay = self.is_immutable(directory)?;
        let mut used_bytes = 0;
        for (name, next, node) in self.dots(directory, offset) {
            let attr = name_only(self.inode(node), FileType::Directory);
            if reply.add(attr.ino, next, OsStr::new(name), &ttl(false), &attr, Generation(0)) {
                return Ok(());
            }
            used_bytes += entry_bytes(name.as_bytes());
        }
        BATCH.with_borrow_mut(|batch| {
            let mut position = offset.saturating_sub(DOTS);
            loop {
                let wanted_bytes = batch.capacity_bytes.saturating_sub(used_bytes).max(PAGE_BYTES);
                let ended = match batch.collect(self, directory, position, wanted_bytes) {
                    Ok(ended) => ended,
                    Err(_) if used_bytes > 0 => return Ok(()),
                    Err(errno) => return Err(errno),
                };
                for entry in &batch.entries {
                    let name = &batch.names[entry.name.clone()];
                    let (attr, immutable, generation) = self.describe_entry(entry);
                    let next = entry.next.wrapping_add(DOTS);
                    let ttl = ttl(names_stay && immutable);
                    if reply.add(attr.ino, next, OsStr::from_bytes(name), &ttl, &attr, generation) {
                        batch.capacity_bytes = used_bytes.max(PAGE_BYTES);
                        return Ok(());
                    }
                    used_bytes += entry_bytes(name);
                    position = entry.next;
                }
                if ended {
                    return Ok(());
                }
            }
        })
    }

    /// A node whose attributes cannot be had is listed by name and kind.
    fn describe_entry(&self, entry: &Entry) -> (FileAttr, bool, Generation) {
        match self.describe(entry.node) {
            Ok(Described { attr, immutable, generation }) => (attr, immutable, generation),
            Err(_) => (name_only(self.inode(entry.node), entry.kind), false, Generation(0)),
        }
    }

    /// `.` and `..`, or what of them comes after `offset`, each with the position after it.
    fn dots(&self, directory: NodeId, offset: u64) -> impl Iterator<Item = (&'static str, u64, NodeId)> {
        // A directory whose parent is unknown is its own, as far as a number in a listing goes.
        let parent =
            if offset < DOTS { self.ask("parent", directory, |tree| tree.parent(directory)) } else { Ok(directory) };
        [(".", 1, directory), ("..", 2, parent.unwrap_or(directory))]
            .into_iter()
            .filter(move |&(_, next, _)| next > offset)
    }
}
