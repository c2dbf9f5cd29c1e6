//! A tree without what gives rights, or reaches hardware, once somebody copies it.
//!
//! A mount is nosuid and nodev, but whoever copies out of it as root, with `cp -a` or `rsync -a`, makes what `stat` tells:
//! a guest's set-user-id shell becomes the host's, a guest's node for the first disk opens the host's first disk. So by
//! default neither is told. Everything is still there, under its name:
//!
//! - a file or directory lacks its set-user-id and set-group-id bits; the sticky bit stays;
//! - a device node looks like a socket: that can't be opened either, no reader takes it for an empty file, a copy of it is
//!   a socket that nobody listens on, and programs that pack or copy say that they leave it out;
//! - attributes that do the work of a set-user-id bit are absent. All others pass: labels, access control lists and
//!   `user.` attributes say who may do what to this file, like its mode and owner, and give nothing to who runs it.

use std::sync::Arc;

use crate::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space};

/// Set-user-id and set-group-id.
const RIGHTS: u16 = 0o6000;

/// Extended attributes that give rights to whoever runs a file: capabilities(7), and the label that Smack gives to its
/// process (Documentation/admin-guide/LSM/Smack.rst).
const RIGHTS_XATTRS: [&[u8]; 2] = [b"security.capability", b"security.SMACK64EXEC"];

/// Shows another tree so that a copy of it gives nobody rights.
#[derive(Debug)]
pub struct Harmless<T> {
    tree: Arc<T>,
}

impl Harmless<()> {
    /// Mode bits without those that give rights to whoever runs a file or makes files in a directory.
    pub fn mode(mode: u16) -> u16 {
        mode & !RIGHTS
    }

    /// Whether an extended attribute gives rights to whoever runs its file.
    pub fn is_withheld(xattr: &[u8]) -> bool {
        RIGHTS_XATTRS.contains(&xattr)
    }
}

impl<T> Harmless<T> {
    /// Shows `tree`.
    pub fn new(tree: Arc<T>) -> Self {
        Self { tree }
    }
}

fn shown(kind: FileType) -> FileType {
    match kind {
        FileType::BlockDevice | FileType::CharDevice => FileType::Socket,
        other => other,
    }
}

impl<T: ReadOnlyTree> ReadOnlyTree for Harmless<T> {
    type Error = T::Error;

    fn errno(error: &T::Error) -> i32 {
        T::errno(error)
    }

    fn root(&self) -> NodeId {
        self.tree.root()
    }

    fn is_immutable(&self, node: NodeId) -> bool {
        self.tree.is_immutable(node)
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, T::Error> {
        let attributes = self.tree.attributes(node)?;
        Ok(Attributes {
            kind: shown(attributes.kind),
            mode: Harmless::mode(attributes.mode),
            device: (0, 0),
            ..attributes
        })
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, T::Error> {
        self.tree.lookup(parent, name)
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId, T::Error> {
        self.tree.parent(directory)
    }

    fn read_directory(
        &self,
        directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), T::Error> {
        self.tree.read_directory(directory, position, &mut |entry| {
            visit(DirectoryEntry { kind: shown(entry.kind), ..entry })
        })
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, T::Error> {
        self.tree.read_link(node)
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, T::Error> {
        self.tree.read(node, offset, buffer)
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>, T::Error> {
        self.tree.seek(node, offset, what)
    }

    fn list_xattrs(&self, node: NodeId) -> Result<Vec<Vec<u8>>, T::Error> {
        let mut names = self.tree.list_xattrs(node)?;
        names.retain(|name| !Harmless::is_withheld(name));
        Ok(names)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>, T::Error> {
        if Harmless::is_withheld(name) { Ok(None) } else { self.tree.xattr(node, name) }
    }

    fn space(&self) -> Result<Space, T::Error> {
        self.tree.space()
    }
}
