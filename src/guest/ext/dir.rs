//! Directories: listing and looking up.
//!
//! A directory is decoded once into a [`Listing`] that is kept; one too large for that is walked from its blocks each
//! time. A damaged block hides no other: the entries of all sound blocks come out first, then the damage as an error,
//! and a name that is in no sound block is "damaged", never "absent".

use std::borrow::Cow;
use std::sync::Arc;

use crate::guest::bytes::{narrow, wide};
use crate::guest::listing::{Listing, Raw};
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::dirent;
use super::features::compat;
use super::inode::{Inode, flags};
use super::opaque::opaque_name;

/// Larger directories are not kept decoded: a million names or so.
const LISTING_BYTES_MAX: u64 = 16 << 20;
/// Blocks are read this many bytes at a time where they lie together.
const READ_BYTES: u64 = 64 << 10;

/// Entries that form one chain, and where the chain begins in the directory.
pub(super) struct Chunk {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Ext {
    pub(super) fn directory(&self, number: u64) -> Result<Arc<Inode>, Error> {
        let inode = self.inode(number)?;
        if inode.is_directory() { Ok(inode) } else { Err(Error::NotADirectory { node: number }) }
    }

    /// The decoded directory; `None` where it is too large to keep.
    pub(super) fn listing(&self, inode: &Inode) -> Result<Option<Arc<Listing>>, Error> {
        if inode.size_bytes > LISTING_BYTES_MAX {
            return Ok(None);
        }
        if let Some(known) = self.listings.get(inode.number) {
            return Ok(Some(known));
        }
        let mut listing = Listing::default();
        let damage = self.walk_directory(inode, 0, &mut |entry| {
            listing.push(&entry);
            true
        })?;
        listing.finish(damage);
        let bytes = listing.weight_bytes();
        Ok(Some(self.listings.insert(inode.number, listing, bytes)))
    }

    /// Hands out entries that begin at or behind `from`, `.` and `..` left out, until all are out or `visit` answers
    /// false. Answers the first damage met on the way.
    pub(super) fn walk_directory(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        let is_encrypted = inode.has_flag(flags::ENCRYPT);
        let mut bad_name = None;
        let mut damage = self.walk_chains(inode, from, &mut |raw| {
            if raw.at < from || matches!(raw.name, b"." | b"..") {
                return true;
            }
            let name = if is_encrypted { Cow::Owned(opaque_name(raw.name)) } else { Cow::Borrowed(raw.name) };
            if name.contains(&b'/') || name.contains(&0) {
                // Such a name could lead a path elsewhere; it is never handed out.
                bad_name.get_or_insert(raw.at);
                return true;
            }
            visit(Raw { name: &name, ..raw })
        })?;
        if let Some(at) = bad_name {
            let offset = u32::try_from(at % self.sb.block_bytes).unwrap_or(u32::MAX);
            let fault = Fault::DirectoryEntry { offset };
            damage.get_or_insert(self.directory_damage(inode, at / self.sb.block_bytes, fault));
        }
        Ok(damage)
    }

    fn directory_damage(&self, inode: &Inode, index: u64, fault: Fault) -> Damage {
        Damage { object: Object::DirectoryBlock { inode: inode.number, index }, fault }
    }

    /// The names that the directory's blocks still have, then those that fast commits added.
    fn walk_chains(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        let mut damage = None;
        let mut is_full = false;
        if self.changes.made_in(inode.number).is_none() {
            damage = self.walk_stored(inode, from, &mut |raw| {
                is_full = self.changes.keeps(inode.number, raw.name) && !visit(raw);
                !is_full
            })?;
        }
        if !is_full {
            let _ = self.changes.added(inode.number, inode.size_bytes, from).all(visit);
        }
        Ok(damage)
    }

    /// Hands out entries as the directory's blocks have them.
    pub(super) fn walk_stored(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        if !inode.has_flag(flags::INLINE_DATA) {
            return self.walk_blocks(inode, from, visit);
        }
        let mut damage = None;
        for chunk in self.inline_directory(inode)?.1 {
            match dirent::parse(&self.sb, chunk.offset, &chunk.bytes, visit) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    damage.get_or_insert(self.directory_damage(inode, 0, fault));
                }
            }
        }
        Ok(damage)
    }

    fn walk_blocks(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        let block_bytes = self.sb.block_bytes;
        let blocks = inode.size_bytes / block_bytes;
        if blocks > self.sb.blocks {
            // Each block of a directory is one of the file system's; more would make a walk of it endless.
            let fault = Fault::Field { field: "i_size", value: inode.size_bytes };
            return Err(Damage { object: Object::Inode { inode: inode.number }, fault }.into());
        }
        let end = blocks * block_bytes;
        let mut at = from / block_bytes * block_bytes;
        let mut damage = None;
        while at < end {
            let piece = self.piece(inode, at, end - at)?;
            let Some(place) = piece.at else {
                damage.get_or_insert(self.directory_damage(inode, at / block_bytes, Fault::CutShort));
                at = at.saturating_add(piece.length);
                continue;
            };
            let length = piece.length.min(READ_BYTES);
            let mut bytes = vec![0; narrow(length)];
            self.volume.read_exact_at(place, &mut bytes)?;
            for block in bytes.chunks(narrow(block_bytes)) {
                match self.parse_block(inode, at, block, visit) {
                    Ok(true) => {}
                    Ok(false) => return Ok(damage),
                    Err(fault) => {
                        damage.get_or_insert(self.directory_damage(inode, at / block_bytes, fault));
                    }
                }
                at = at.saturating_add(wide(block.len()));
            }
        }
        Ok(damage)
    }

    fn parse_block(
        &self,
        inode: &Inode,
        at: u64,
        block: &[u8],
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<bool, Fault> {
        if let Some(seed) = inode.checksum_seed {
            let is_indexed = inode.has_flag(flags::INDEX) && self.sb.has_compat(compat::DIR_INDEX);
            dirent::check_checksum(seed, block, is_indexed, at == 0)?;
        }
        dirent::parse(&self.sb, at, block, visit)
    }

    /// The node that `..` names.
    pub(super) fn directory_parent(&self, inode: &Inode) -> Result<u64, Error> {
        if let Some(parent) = self.changes.made_in(inode.number) {
            return Ok(parent);
        }
        let mut parent = None;
        let damage = if inode.has_flag(flags::INLINE_DATA) {
            parent = Some(self.inline_directory(inode)?.0);
            None
        } else {
            self.walk_blocks(inode, 0, &mut |raw| {
                if raw.name == b".." {
                    parent = Some(raw.node);
                }
                // It is the second entry of the first block or nowhere.
                raw.name == b"."
            })?
        };
        match parent.filter(|parent| (1..=self.sb.inodes).contains(parent)) {
            Some(parent) => Ok(parent),
            None => Err(damage.unwrap_or(self.directory_damage(inode, 0, Fault::CutShort)).into()),
        }
    }
}
