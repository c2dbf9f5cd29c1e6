//! Extended attributes ("XFS Filesystem Structure", "Extended Attributes").
//!
//! A few small ones lie in the inode. More lie in leaf blocks of the attribute fork, chained in the order of their
//! hashes, with nodes above them that tell nothing which the chain does not. A large value has blocks of its own.
//!
//! Bounds: no leaf is visited twice, and no file has more leaves than [`LEAVES_MAX`].

use std::collections::HashSet;

use crate::guest::bytes::{be16_at, be32_at, narrow, slice_at, u8_at, wide};
use crate::guest::{Damage, Error, Fault, Object};

use super::Xfs;
use super::acl::acl_from_disk;
use super::block::{INDEX, REMOTE, has_magic};
use super::inode::{Fork, Format, Inode, Which};

const LEAVES_MAX: usize = 1 << 16;
/// Higher trees are not made.
const LEVEL_MAX: u16 = 5;
/// No larger value can be set.
const VALUE_BYTES_MAX: u32 = 64 << 10;
const MAGIC_AT: usize = 8;
const ENTRY_BYTES: usize = 8;
/// In the inode: before the first entry, and before each entry's name.
const SHORT_HEADER_BYTES: usize = 4;
const SHORT_ENTRY_BYTES: usize = 3;

mod flags {
    pub const LOCAL: u8 = 0x01;
    pub const ROOT: u8 = 0x02;
    pub const SECURE: u8 = 0x04;
    /// Points from a file to a directory that holds it.
    pub const PARENT: u8 = 0x08;
    /// Was being written, or removed, when the machine stopped.
    pub const INCOMPLETE: u8 = 0x80;
    pub const NAMESPACE: u8 = ROOT | SECURE | PARENT;
}

/// Names in the namespace of root that Linux shows a second time, in another form.
const ACLS: [(&[u8], &[u8]); 2] =
    [(b"SGI_ACL_FILE", b"system.posix_acl_access"), (b"SGI_ACL_DEFAULT", b"system.posix_acl_default")];

const PREFIXES: [(u8, &[u8]); 3] = [(0, b"user."), (flags::ROOT, b"trusted."), (flags::SECURE, b"security.")];

/// An attribute as it is stored.
struct Stored<'a> {
    namespace: u8,
    name: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Here(&'a [u8]),
    /// In blocks of the fork.
    Remote {
        block: u32,
        length: u32,
    },
}

impl Xfs {
    pub(super) fn xattr_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        self.walk_xattrs(inode, &mut |stored| {
            if let Some((_, prefix)) = PREFIXES.iter().find(|(namespace, _)| *namespace == stored.namespace) {
                let acl = ACLS.iter().find(|(name, _)| stored.namespace == flags::ROOT && *name == stored.name);
                names.extend(acl.map(|(_, shown)| shown.to_vec()));
                names.push([*prefix, stored.name].concat());
            }
            Ok(true)
        })?;
        Ok(names)
    }

    pub(super) fn xattr_value(&self, inode: &Inode, full_name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some((name, _)) = ACLS.iter().find(|(_, shown)| *shown == full_name) {
            let Some(stored) = self.find_xattr(inode, flags::ROOT, name)? else {
                return Ok(None);
            };
            let fault = Fault::Field { field: "acl_cnt", value: be32_at(&stored, 0).unwrap_or_default().into() };
            return Ok(Some(acl_from_disk(&stored).ok_or(damage(inode, 0, fault))?));
        }
        let split = |(namespace, prefix): &(u8, &[u8])| Some((*namespace, full_name.strip_prefix(*prefix)?));
        match PREFIXES.iter().find_map(split) {
            Some((namespace, name)) => self.find_xattr(inode, namespace, name),
            None => Ok(None),
        }
    }

    fn find_xattr(&self, inode: &Inode, namespace: u8, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut found = None;
        self.walk_xattrs(inode, &mut |stored| {
            if stored.namespace == namespace && stored.name == name {
                found = Some(match stored.value {
                    Value::Here(value) => value.to_vec(),
                    Value::Remote { block, length } => self.remote_value(inode, block, length)?,
                });
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Hands out all attributes until `visit` answers false.
    fn walk_xattrs(
        &self,
        inode: &Inode,
        visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        match &inode.xattrs {
            None => Ok(()),
            Some(fork) if fork.format == Format::Local => walk_short(inode, fork, visit),
            Some(fork) if fork.format == Format::Extents && fork.extents == 0 => Ok(()),
            Some(_) => self.walk_leaves(inode, visit),
        }
    }

    fn walk_leaves(
        &self,
        inode: &Inode,
        visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut at = 0;
        let mut level_max = LEVEL_MAX + 1;
        let mut visited = HashSet::new();
        loop {
            let bytes = self.xattr_block(inode, at)?;
            let (node, leaf) = if self.sb.is_v5 { (0x3EBE, 0x3BEE) } else { (0xFEBE, 0xFBEE) };
            match be16_at(&bytes, MAGIC_AT) {
                Some(magic) if magic == node && visited.is_empty() => {
                    let (level, first) =
                        first_below(&bytes, self.sb.is_v5).ok_or(damage(inode, at, Fault::CutShort))?;
                    // The level falls with each step, so that no cycle is walked.
                    if level >= level_max {
                        return Err(damage(inode, at, Fault::Field { field: "level", value: level.into() }).into());
                    }
                    level_max = level;
                    at = first;
                }
                Some(magic) if magic == leaf => {
                    if !visited.insert(at) || visited.len() > LEAVES_MAX {
                        return Err(damage(inode, at, Fault::Order).into());
                    }
                    if !walk_leaf(inode, at, &bytes, self.sb.is_v5, visit)? {
                        return Ok(());
                    }
                    at = be32_at(&bytes, 0).unwrap_or_default();
                    if at == 0 {
                        return Ok(());
                    }
                }
                _ => return Err(damage(inode, at, Fault::Magic).into()),
            }
        }
    }

    fn xattr_block(&self, inode: &Inode, block: u32) -> Result<Vec<u8>, Error> {
        let read = self.read_blocks(inode, Which::Xattrs, block.into(), 1)?;
        let read = read.ok_or(damage(inode, block, Fault::CutShort))?;
        if self.sb.is_v5 {
            INDEX.check(&self.sb, &read, inode.number).map_err(|fault| damage(inode, block, fault))?;
        }
        Ok(read.bytes)
    }

    /// In version 5 each block of a large value begins with a header.
    fn remote_value(&self, inode: &Inode, first: u32, length: u32) -> Result<Vec<u8>, Error> {
        let damage = |fault| Error::from(damage(inode, first, fault));
        if length > VALUE_BYTES_MAX {
            return Err(damage(Fault::Field { field: "valuelen", value: length.into() }));
        }
        let length = narrow(length.into());
        let header_bytes = if self.sb.is_v5 { REMOTE.bytes } else { 0 };
        let mut value = Vec::with_capacity(length);
        let mut at = u64::from(first);
        while value.len() < length {
            let block = self.read_blocks(inode, Which::Xattrs, at, 1)?.ok_or(damage(Fault::CutShort))?;
            if self.sb.is_v5 {
                if !has_magic(&block.bytes, b"XARM") {
                    return Err(damage(Fault::Magic));
                }
                REMOTE.check(&self.sb, &block, inode.number).map_err(damage)?;
                let offset = be32_at(&block.bytes, 4).map(u64::from).unwrap_or_default();
                if offset != wide(value.len()) {
                    return Err(damage(Fault::Field { field: "rm_offset", value: offset }));
                }
            }
            value.extend(block.bytes.iter().skip(header_bytes).take(length - value.len()));
            at += 1;
        }
        Ok(value)
    }
}

fn damage(inode: &Inode, block: u32, fault: Fault) -> Damage {
    Damage { object: Object::Xattrs { inode: inode.number, block: block.into() }, fault }
}

/// Level of a node, and its first block below.
fn first_below(bytes: &[u8], is_v5: bool) -> Option<(u16, u32)> {
    let counts_at = if is_v5 { INDEX.bytes } else { 12 };
    let entries_at = if is_v5 { 64 } else { 16 };
    let count = be16_at(bytes, counts_at)?;
    (count > 0).then_some((be16_at(bytes, counts_at + 2)?, be32_at(bytes, entries_at + 4)?))
}

/// Whether to hand an attribute out; those that can't have a name a caller could use are kept back.
fn is_shown(stored_flags: u8, name: &[u8]) -> bool {
    let namespace = stored_flags & flags::NAMESPACE;
    stored_flags & flags::INCOMPLETE == 0
        && PREFIXES.iter().any(|(known, _)| *known == namespace)
        && !name.is_empty()
        && !name.contains(&0)
}

fn walk_short(
    inode: &Inode,
    fork: &Fork,
    visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let cut_short = damage(inode, 0, Fault::CutShort);
    let count = u8_at(&fork.bytes, 2).ok_or(cut_short)?;
    let mut at = SHORT_HEADER_BYTES;
    for _ in 0..count {
        let parse = || -> Option<(u8, &[u8], &[u8])> {
            let name_length = usize::from(u8_at(&fork.bytes, at)?);
            let value_length = usize::from(u8_at(&fork.bytes, at + 1)?);
            let name = slice_at(&fork.bytes, at + SHORT_ENTRY_BYTES, name_length)?;
            let value = slice_at(&fork.bytes, at + SHORT_ENTRY_BYTES + name_length, value_length)?;
            Some((u8_at(&fork.bytes, at + 2)?, name, value))
        };
        let (stored_flags, name, value) = parse().ok_or(cut_short)?;
        at += SHORT_ENTRY_BYTES + name.len() + value.len();
        let namespace = stored_flags & flags::NAMESPACE;
        if is_shown(stored_flags, name) && !visit(Stored { namespace, name, value: Value::Here(value) })? {
            break;
        }
    }
    Ok(())
}

/// Answers false where `visit` did.
fn walk_leaf(
    inode: &Inode,
    block: u32,
    bytes: &[u8],
    is_v5: bool,
    visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let cut_short = damage(inode, block, Fault::CutShort);
    let (count_at, entries_at) = if is_v5 { (INDEX.bytes, 80) } else { (12, 32) };
    let count = usize::from(be16_at(bytes, count_at).ok_or(cut_short)?);
    let entries = slice_at(bytes, entries_at, count * ENTRY_BYTES);
    let entries = entries.ok_or(damage(inode, block, Fault::Field { field: "count", value: wide(count) }))?;
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let parse = || Some((usize::from(be16_at(entry, 4)?), u8_at(entry, 6)?));
        let (at, stored_flags) = parse().ok_or(cut_short)?;
        let (name, value) = named(bytes, at, stored_flags & flags::LOCAL != 0).ok_or(cut_short)?;
        let namespace = stored_flags & flags::NAMESPACE;
        if is_shown(stored_flags, name) && !visit(Stored { namespace, name, value })? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Name and value of an entry of a leaf.
fn named(bytes: &[u8], at: usize, is_local: bool) -> Option<(&[u8], Value<'_>)> {
    if is_local {
        let value_length = usize::from(be16_at(bytes, at)?);
        let name = slice_at(bytes, at + 3, u8_at(bytes, at + 2)?.into())?;
        return Some((name, Value::Here(slice_at(bytes, at + 3 + name.len(), value_length)?)));
    }
    let name = slice_at(bytes, at + 9, u8_at(bytes, at + 8)?.into())?;
    Some((name, Value::Remote { block: be32_at(bytes, at)?, length: be32_at(bytes, at + 4)? }))
}
