//! An ext file system as a tree.

use icecore_fuse::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space};

use crate::guest::bytes::narrow;
use crate::guest::listing::Raw;
use crate::guest::{Damage, Error, Fault, GuestFileSystem, Object, VolumeInfo};

use super::features::{incompat, ro_compat};
use super::inode::{Inode, flags};
use super::opaque::opaque_name;
use super::{Ext, ROOT};

/// No longer target can be made (`PATH_MAX`).
const LINK_BYTES_MAX: u64 = 4096;

impl GuestFileSystem for Ext {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }
}

impl ReadOnlyTree for Ext {
    type Error = Error;

    fn errno(error: &Error) -> i32 {
        error.errno()
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn is_immutable(&self, _node: NodeId) -> bool {
        true
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Error> {
        self.inode(node).map(|inode| inode.attributes())
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Error> {
        let directory = self.directory(parent)?;
        let (found, damage) = match self.listing(&directory)? {
            Some(listing) => (listing.find(name), listing.damage()),
            None => self.find_in_large(&directory, name)?,
        };
        match (found, damage) {
            (None, Some(damage)) => Err(damage.into()),
            (found, _) => Ok(found),
        }
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId, Error> {
        let inode = self.directory(directory)?;
        if directory == ROOT { Ok(ROOT) } else { self.directory_parent(&inode) }
    }

    fn read_directory(
        &self,
        directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        let inode = self.directory(directory)?;
        // A position is one more than the byte in the directory at which to go on: never zero, and as lasting as the
        // directory itself.
        let from = position.saturating_sub(1);
        let mut is_full = false;
        let mut hand_out = |raw: Raw<'_>| {
            let kind = raw.kind.unwrap_or_else(|| self.kind_of(raw.node));
            let entry = DirectoryEntry { name: raw.name, node: raw.node, kind, next: raw.next.saturating_add(1) };
            is_full = !visit(entry);
            !is_full
        };
        let damage = match self.listing(&inode)? {
            Some(listing) => {
                let _ = listing.entries_from(from).all(&mut hand_out);
                listing.damage()
            }
            None => self.walk_directory(&inode, from, &mut hand_out)?,
        };
        match damage {
            // Whoever reads on learns of it at the end, after every entry that could be read.
            Some(damage) if !is_full => Err(damage.into()),
            _ => Ok(()),
        }
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        let inode = self.inode(node)?;
        if inode.kind != FileType::Symlink {
            return Err(Error::WrongKind { node });
        }
        if inode.size_bytes > LINK_BYTES_MAX {
            let fault = Fault::Field { field: "i_size", value: inode.size_bytes };
            return Err(Damage { object: Object::Inode { inode: node }, fault }.into());
        }
        let length = narrow(inode.size_bytes);
        let mut target = match inode.block.get(..length) {
            Some(target) if self.is_fast_link(&inode) => target.to_vec(),
            _ => {
                let mut target = vec![0; length];
                self.read_content(&inode, 0, &mut target)?;
                target
            }
        };
        if inode.has_flag(flags::ENCRYPT) {
            target = opaque_name(&target);
        }
        // What follows a NUL would never reach whoever reads the link.
        if let Some(end) = target.iter().position(|byte| *byte == 0) {
            target.truncate(end);
        }
        Ok(target)
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let inode = self.inode(node)?;
        match inode.kind {
            FileType::Regular if inode.has_flag(flags::ENCRYPT) => Err(Error::Encrypted { node }),
            FileType::Regular => self.read_content(&inode, offset, buffer),
            FileType::Directory => Err(Error::IsADirectory { node }),
            _ => Err(Error::WrongKind { node }),
        }
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>, Error> {
        let inode = self.inode(node)?;
        match inode.kind {
            FileType::Regular => self.seek_content(&inode, offset, what),
            FileType::Directory => Err(Error::IsADirectory { node }),
            _ => Err(Error::WrongKind { node }),
        }
    }

    fn list_xattrs(&self, node: NodeId) -> Result<Vec<Vec<u8>>, Error> {
        self.xattr_names(self.inode(node)?.as_ref())
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.xattr_value(self.inode(node)?.as_ref(), name)
    }

    fn space(&self) -> Result<Space, Error> {
        let sb = &self.sb;
        Ok(Space {
            total_bytes: sb.blocks * sb.block_bytes,
            free_bytes: sb.free_blocks * sb.block_bytes,
            files: sb.inodes.saturating_sub(sb.free_inodes),
        })
    }
}

impl Ext {
    /// For file systems that do not record kinds in directories. An inode that can't be read shows as a file, and
    /// says what is wrong when it is asked for.
    fn kind_of(&self, node: NodeId) -> FileType {
        self.inode(node).map_or(FileType::Regular, |inode| inode.kind)
    }

    fn find_in_large(&self, directory: &Inode, name: &[u8]) -> Result<(Option<NodeId>, Option<Damage>), Error> {
        let mut found = None;
        let damage = self.walk_directory(directory, 0, &mut |raw| {
            if raw.name == name {
                found = Some(raw.node);
            }
            found.is_none()
        })?;
        Ok((found, damage))
    }

    /// Whether a link's target lies in the inode in place of its block map.
    fn is_fast_link(&self, inode: &Inode) -> bool {
        if inode.has_flag(flags::INLINE_DATA) || inode.has_flag(flags::EXTENTS) || inode.size_bytes >= 60 {
            return false;
        }
        // What an inode counts as its blocks includes its attributes, and with `ea_inode` no simple number of them.
        let cluster =
            if self.sb.has_ro_compat(ro_compat::BIGALLOC) { self.sb.cluster_bytes } else { self.sb.block_bytes };
        let xattr_blocks = if inode.xattr_block == 0 { 0 } else { cluster / 512 };
        self.sb.has_incompat(incompat::EA_INODE) || inode.blocks_512 == xattr_blocks
    }
}
