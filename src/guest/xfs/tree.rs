//! An XFS file system as a tree.

use icecore_fuse::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space};

use crate::guest::listing::Raw;
use crate::guest::{Error, GuestFileSystem, VolumeInfo};

use super::Xfs;

impl GuestFileSystem for Xfs {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }
}

impl ReadOnlyTree for Xfs {
    type Error = Error;

    fn errno(error: &Error) -> i32 {
        error.errno()
    }

    fn root(&self) -> NodeId {
        self.sb.root
    }

    fn is_immutable(&self, _node: NodeId) -> bool {
        true
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Error> {
        self.inode(node).map(|inode| inode.attributes())
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Error> {
        let directory = self.directory(parent)?;
        match self.find(&directory, name)? {
            (None, Some(damage)) => Err(damage.into()),
            (found, _) => Ok(found),
        }
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId, Error> {
        let inode = self.directory(directory)?;
        if directory == self.sb.root { Ok(directory) } else { self.directory_parent(&inode) }
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
        if inode.kind == FileType::Symlink { self.link_target(&inode) } else { Err(Error::WrongKind { node }) }
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let inode = self.inode(node)?;
        match inode.kind {
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
        Ok(Space {
            total_bytes: self.sb.size_bytes(),
            free_bytes: self.sb.free_blocks * self.sb.block_bytes,
            files: self.sb.inodes.saturating_sub(self.sb.free_inodes),
        })
    }
}

impl Xfs {
    /// For file systems that do not record kinds in directories. An inode that can't be read shows as a file, and
    /// says what is wrong when it is asked for.
    fn kind_of(&self, node: NodeId) -> FileType {
        self.inode(node).map_or(FileType::Regular, |inode| inode.kind)
    }
}
