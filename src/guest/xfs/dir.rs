//! Directories: listing and looking up.
//!
//! A directory is decoded once into a [`Listing`] that is kept; one too large for that is walked from its blocks when
//! it is listed. A name of a large directory is found through its index. A damaged block hides no other: the entries of
//! all sound blocks come out first, then the damage as an error, and a name that is in no sound block is "damaged",
//! never "absent".

use std::sync::Arc;

use icecore_fuse::FileType;

use crate::guest::bytes::wide;
use crate::guest::listing::{Listing, Raw};
use crate::guest::{Damage, Error, Fault, Object};

use super::Xfs;
use super::dirent::{self, DATA_END};
use super::inode::{Format, Inode, Which};

/// Larger directories are not kept decoded: half a million names or so.
const LISTING_BYTES_MAX: u64 = 16 << 20;
/// Larger directories are not decoded for a lookup alone: their index costs a few blocks, whatever their size.
const LOOKUP_BYTES_MAX: u64 = 256 << 10;

impl Xfs {
    pub(super) fn directory(&self, number: u64) -> Result<Arc<Inode>, Error> {
        let inode = self.inode(number)?;
        if inode.kind == FileType::Directory { Ok(inode) } else { Err(Error::NotADirectory { node: number }) }
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

    /// The node that a name has, and the damage that may hide it where it has none.
    pub(super) fn find(&self, inode: &Inode, name: &[u8]) -> Result<(Option<u64>, Option<Damage>), Error> {
        let listing = match self.listings.get(inode.number) {
            None if inode.size_bytes <= LOOKUP_BYTES_MAX => self.listing(inode)?,
            known => known,
        };
        match listing {
            Some(listing) => Ok((listing.find(name), listing.damage())),
            None => self.find_by_index(inode, name),
        }
    }

    /// Hands out entries that begin at or behind `from`, `.` and `..` left out, until all are out or `visit` answers
    /// false. Answers the first damage met on the way.
    pub(super) fn walk_directory(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        let mut bad_name = None;
        let mut damage = self.walk_entries(inode, from, &mut |raw| {
            if raw.at < from || matches!(raw.name, b"." | b"..") {
                return true;
            }
            if raw.name.contains(&b'/') || raw.name.contains(&0) {
                // Such a name could lead a path elsewhere; it is never handed out.
                bad_name.get_or_insert(raw.at);
                return true;
            }
            visit(raw)
        })?;
        if let Some(at) = bad_name {
            let bytes = self.directory_block_bytes();
            let fault = Fault::DirectoryEntry { offset: u32::try_from(at % bytes).unwrap_or(u32::MAX) };
            damage.get_or_insert(directory_damage(inode, at / bytes, fault));
        }
        Ok(damage)
    }

    pub(super) fn directory_block_bytes(&self) -> u64 {
        self.sb.directory_blocks * self.sb.block_bytes
    }

    fn walk_entries(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        if inode.data.format != Format::Local {
            return self.walk_blocks(inode, from, visit);
        }
        let parsed = dirent::parse_short(&self.sb, &inode.data.bytes, visit);
        Ok(parsed.err().map(|fault| directory_damage(inode, 0, fault)))
    }

    fn walk_blocks(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Option<Damage>, Error> {
        let block_bytes = self.directory_block_bytes();
        let end = inode.size_bytes.min(DATA_END) / block_bytes;
        if end > self.sb.blocks {
            // Each block of a directory is one of the file system's; more would make a walk of it endless.
            let fault = Fault::Field { field: "di_size", value: inode.size_bytes };
            return Err(Damage { object: Object::Inode { inode: inode.number }, fault }.into());
        }
        let mut index = from / block_bytes;
        let mut damage = None;
        while index < end {
            let Some(used) = self.next_used(inode, index)? else {
                break;
            };
            index = used;
            if index >= end {
                break;
            }
            match self.parse_directory_block(inode, index, visit)? {
                Ok(true) => {}
                Ok(false) => return Ok(damage),
                Err(fault) => {
                    damage.get_or_insert(directory_damage(inode, index, fault));
                }
            }
            index += 1;
        }
        Ok(damage)
    }

    /// The first block of a directory from `index` on that is not a hole: a block whose names are all gone is freed.
    fn next_used(&self, inode: &Inode, index: u64) -> Result<Option<u64>, Error> {
        let mut logical = index.saturating_mul(self.sb.directory_blocks);
        while logical < u64::MAX {
            let window = self.window(inode, Which::Data, logical)?;
            match window.run_from(logical) {
                Some(run) => return Ok(Some(run.logical.max(logical) / self.sb.directory_blocks)),
                None => logical = window.end,
            }
        }
        Ok(None)
    }

    pub(super) fn parse_directory_block(
        &self,
        inode: &Inode,
        index: u64,
        visit: &mut dyn FnMut(Raw<'_>) -> bool,
    ) -> Result<Result<bool, Fault>, Error> {
        let blocks = self.sb.directory_blocks;
        let Some(block) = self.read_blocks(inode, Which::Data, index * blocks, blocks)? else {
            return Ok(Err(Fault::CutShort));
        };
        let entries = dirent::entries_of(&self.sb, &block, inode.number, index == 0);
        Ok(entries.and_then(|(start, entries)| {
            let offset = index * self.directory_block_bytes() + wide(start);
            dirent::parse(&self.sb, offset, entries, visit)
        }))
    }

    /// The node that `..` names.
    pub(super) fn directory_parent(&self, inode: &Inode) -> Result<u64, Error> {
        let mut parent = None;
        let damage = if inode.data.format == Format::Local {
            let parsed = dirent::parse_short(&self.sb, &inode.data.bytes, &mut |_| false);
            match parsed {
                Ok(number) => {
                    parent = Some(number);
                    None
                }
                Err(fault) => Some(directory_damage(inode, 0, fault)),
            }
        } else {
            self.walk_blocks(inode, 0, &mut |raw| {
                if raw.name == b".." {
                    parent = Some(raw.node);
                }
                // It is the second entry of the first block or nowhere.
                raw.name == b"."
            })?
        };
        match parent.filter(|parent| self.sb.inode_place(*parent).is_some()) {
            Some(parent) => Ok(parent),
            None => Err(damage.unwrap_or(directory_damage(inode, 0, Fault::CutShort)).into()),
        }
    }
}

pub(super) fn directory_damage(inode: &Inode, index: u64, fault: Fault) -> Damage {
    Damage { object: Object::DirectoryBlock { inode: inode.number, index }, fault }
}
