//! Extended attributes (kernel documentation, ext4, "Extended Attributes").
//!
//! They lie behind an inode's fields and in one block besides. Each area is a list of entries that ends in four zero
//! bytes; an entry says where in its area the value lies, or which inode holds it.

use crate::guest::bytes::{narrow, slice_at, u8_at, u16_at, u32_at};
use crate::guest::crc::crc32c;
use crate::guest::{Damage, Error, Fault, Object};

use super::acl::acl_from_disk;
use super::inode::{Inode, flags};
use super::{Ext, features::incompat};

const MAGIC: u32 = 0xEA02_0000;
const ENTRY_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 32;
const BLOCK_CHECKSUM_AT: usize = 16;
/// No larger value can be set (`EXT4_XATTR_SIZE_MAX`).
const VALUE_BYTES_MAX: u64 = 1 << 24;

const INDEX_ACL_ACCESS: u8 = 2;
const INDEX_ACL_DEFAULT: u8 = 3;
const INDEX_SYSTEM: u8 = 7;

/// `e_name_index` and the prefix that it stands for. Those that Linux does not show are not here: the inline data of
/// a small file, and the contexts of encryption.
const PREFIXES: &[(u8, &[u8])] = &[
    (1, b"user."),
    (INDEX_ACL_ACCESS, b"system.posix_acl_access"),
    (INDEX_ACL_DEFAULT, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
    (8, b"system.richacl"),
    (10, b"gnu."),
];

/// One of the two places where an inode's attributes lie.
struct Area {
    bytes: Vec<u8>,
    entries_at: usize,
    /// What the offsets of values are counted from.
    values_at: usize,
    block: u64,
}

struct Entry<'a> {
    index: u8,
    name: &'a [u8],
    value_offset: usize,
    value_inode: u64,
    value_bytes: u64,
}

impl Ext {
    pub(super) fn xattr_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>, Error> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for area in [in_inode_area(inode), self.block_area(inode)?].into_iter().flatten() {
            for entry in entries(inode, &area)? {
                if let Some((_, prefix)) = PREFIXES.iter().find(|(index, _)| *index == entry.index) {
                    names.push([*prefix, entry.name].concat());
                }
            }
        }
        Ok(names)
    }

    pub(super) fn xattr_value(&self, inode: &Inode, full_name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let split = |(index, prefix): &(u8, &[u8])| full_name.strip_prefix(*prefix).map(|name| (*index, name.to_vec()));
        let Some((index, name)) = PREFIXES.iter().find_map(split) else {
            return Ok(None);
        };
        let mut value = None;
        if let Some(area) = in_inode_area(inode) {
            value = self.find_value(inode, &area, index, &name)?;
        }
        if value.is_none()
            && let Some(area) = self.block_area(inode)?
        {
            value = self.find_value(inode, &area, index, &name)?;
        }
        match (index, value) {
            (INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT, Some(stored)) => {
                let object = Object::Xattrs { inode: inode.number, block: 0 };
                let fault = Fault::Field { field: "posix_acl", value: 0 };
                Ok(Some(acl_from_disk(&stored).ok_or(Damage { object, fault })?))
            }
            (_, value) => Ok(value),
        }
    }

    /// What an inode's inline data continues with. It never lies in another block or inode.
    pub(super) fn inline_tail(&self, inode: &Inode) -> Result<Option<Vec<u8>>, Error> {
        let Some(area) = in_inode_area(inode) else {
            return Ok(None);
        };
        let all = entries(inode, &area)?;
        let is_data =
            |entry: &&Entry<'_>| entry.index == INDEX_SYSTEM && entry.name == b"data" && entry.value_inode == 0;
        all.iter().find(is_data).map(|entry| area_value(inode, &area, entry)).transpose()
    }

    fn find_value(&self, inode: &Inode, area: &Area, index: u8, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let all = entries(inode, area)?;
        match all.iter().find(|entry| entry.index == index && entry.name == name) {
            Some(entry) if entry.value_inode != 0 => self.inode_value(inode, area, entry).map(Some),
            Some(entry) => area_value(inode, area, entry).map(Some),
            None => Ok(None),
        }
    }

    /// A large value is the content of an inode of its own.
    fn inode_value(&self, inode: &Inode, area: &Area, entry: &Entry<'_>) -> Result<Vec<u8>, Error> {
        let holder = self.inode(entry.value_inode)?;
        let is_sound = self.sb.has_incompat(incompat::EA_INODE)
            && holder.size_bytes == entry.value_bytes
            && entry.value_bytes <= VALUE_BYTES_MAX
            // A value with inline data of its own could lead back to itself.
            && !holder.has_flag(flags::INLINE_DATA);
        if !is_sound {
            let fault = Fault::Field { field: "e_value_inum", value: entry.value_inode };
            return Err(area.damage(inode, fault).into());
        }
        let mut value = vec![0; narrow(entry.value_bytes)];
        self.read_content(&holder, 0, &mut value)?;
        Ok(value)
    }

    fn block_area(&self, inode: &Inode) -> Result<Option<Area>, Error> {
        let block = inode.xattr_block;
        if block == 0 {
            return Ok(None);
        }
        let damage = |fault| Damage { object: Object::Xattrs { inode: inode.number, block }, fault };
        self.check_blocks(block, 1).map_err(damage)?;
        let bytes = self.read_block(block)?;
        if u32_at(&bytes, 0) != Some(MAGIC) {
            return Err(damage(Fault::Magic).into());
        }
        if let Some(seed) = self.sb.checksum_seed() {
            check_checksum(seed, block, &bytes).map_err(damage)?;
        }
        Ok(Some(Area { bytes, entries_at: BLOCK_HEADER_BYTES, values_at: 0, block }))
    }
}

fn in_inode_area(inode: &Inode) -> Option<Area> {
    let has_area = u32_at(&inode.tail, 0) == Some(MAGIC);
    has_area.then(|| Area { bytes: inode.tail.to_vec(), entries_at: 4, values_at: 4, block: 0 })
}

impl Area {
    fn damage(&self, inode: &Inode, fault: Fault) -> Damage {
        Damage { object: Object::Xattrs { inode: inode.number, block: self.block }, fault }
    }
}

fn entries<'a>(inode: &Inode, area: &'a Area) -> Result<Vec<Entry<'a>>, Error> {
    let mut found = Vec::new();
    let mut at = area.entries_at;
    loop {
        // Four zero bytes end the list; so does the end of the area, where it is full to the last byte.
        match u32_at(&area.bytes, at) {
            Some(0) | None => return Ok(found),
            Some(_) => {}
        }
        let entry = parse_entry(&area.bytes, at).ok_or(area.damage(inode, Fault::CutShort))?;
        at = at.saturating_add(ENTRY_BYTES + entry.name.len()).next_multiple_of(4);
        found.push(entry);
    }
}

fn parse_entry(bytes: &[u8], at: usize) -> Option<Entry<'_>> {
    let entry = bytes.get(at..)?;
    Some(Entry {
        index: u8_at(entry, 1)?,
        name: slice_at(entry, ENTRY_BYTES, u8_at(entry, 0)?.into())?,
        value_offset: u16_at(entry, 2)?.into(),
        value_inode: u32_at(entry, 4)?.into(),
        value_bytes: u32_at(entry, 8)?.into(),
    })
}

fn area_value(inode: &Inode, area: &Area, entry: &Entry<'_>) -> Result<Vec<u8>, Error> {
    let value = slice_at(&area.bytes, area.values_at + entry.value_offset, narrow(entry.value_bytes));
    let fault = Fault::Field { field: "e_value_size", value: entry.value_bytes };
    Ok(value.ok_or(area.damage(inode, fault))?.to_vec())
}

fn check_checksum(seed: u32, block: u64, bytes: &[u8]) -> Result<(), Fault> {
    let parse = || -> Option<(u32, u32)> {
        let before = slice_at(bytes, 0, BLOCK_CHECKSUM_AT)?;
        let after = bytes.get(BLOCK_CHECKSUM_AT + 4..)?;
        let start = crc32c(seed, &block.to_le_bytes());
        Some((u32_at(bytes, BLOCK_CHECKSUM_AT)?, crc32c(crc32c(crc32c(start, before), &[0; 4]), after)))
    };
    let (stored, computed) = parse().ok_or(Fault::CutShort)?;
    if stored == computed { Ok(()) } else { Err(Fault::Checksum { stored, computed }) }
}
