//! Any file system that this library can open, as one type.
//!
//! [`ReadOnlyTree`] can't be made into an object (its `errno` has no receiver), so what [`probe`](super::probe) opens
//! is this enum: one variant per file system, each call passed on.

use icecore_fuse::{Attributes, DirectoryEntry, NodeId, ReadOnlyTree, Seek, Space};

use super::ext::Ext;
use super::xfs::Xfs;
use super::{Error, GuestFileSystem, VolumeInfo};

/// An open file system.
#[non_exhaustive]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext(Box<Ext>),
    /// XFS.
    Xfs(Box<Xfs>),
}

/// Calls the same method of whatever file system is inside.
macro_rules! pass {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self {
            Self::Ext(ext) => ext.$method($($argument),*),
            Self::Xfs(xfs) => xfs.$method($($argument),*),
        }
    };
}

impl GuestFileSystem for FileSystem {
    fn info(&self) -> &VolumeInfo {
        pass!(self.info())
    }
}

impl ReadOnlyTree for FileSystem {
    type Error = Error;

    fn errno(error: &Error) -> i32 {
        error.errno()
    }

    fn root(&self) -> NodeId {
        pass!(self.root())
    }

    fn is_immutable(&self, node: NodeId) -> bool {
        pass!(self.is_immutable(node))
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Error> {
        pass!(self.attributes(node))
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Error> {
        pass!(self.lookup(parent, name))
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId, Error> {
        pass!(self.parent(directory))
    }

    fn read_directory(
        &self,
        directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        pass!(self.read_directory(directory, position, visit))
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        pass!(self.read_link(node))
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        pass!(self.read(node, offset, buffer))
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>, Error> {
        pass!(self.seek(node, offset, what))
    }

    fn list_xattrs(&self, node: NodeId) -> Result<Vec<Vec<u8>>, Error> {
        pass!(self.list_xattrs(node))
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        pass!(self.xattr(node, name))
    }

    fn space(&self) -> Result<Space, Error> {
        pass!(self.space())
    }
}
