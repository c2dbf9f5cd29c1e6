//! The trait between a tree and whoever walks it: a FUSE server, a command line, a library's user.
//!
//! Invariants that an implementor keeps:
//! - a node number means the same node for as long as the tree lives;
//! - whatever [`ReadOnlyTree::is_immutable`] says of a directory holds for ever: its entries never change;
//! - names never contain `/` or NUL and are never empty, `.` or `..`;
//! - every call takes `&self` and may come from many threads at once.

/// Number of a node in its tree. Zero is never a node.
pub type NodeId = u64;

/// What kind of thing a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A block device node.
    BlockDevice,
    /// A character device node.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
}

/// A moment, as seconds and nanoseconds since 1970-01-01T00:00:00Z; seconds may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What `stat` tells of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The node's own number.
    pub node: NodeId,
    /// Its kind.
    pub kind: FileType,
    /// Size in bytes; of a symbolic link, the length of its target, to which kernels cut a target that they cache.
    pub size_bytes: u64,
    /// Space taken, in units of 512 bytes; less than the size where a file has holes.
    pub blocks_512: u64,
    /// The low twelve permission bits, set-user-id, set-group-id and sticky included.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u32,
    /// Major and minor number of a device node, else zero.
    pub device: (u32, u32),
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of content.
    pub modified: Timestamp,
    /// Last change of content or attributes.
    pub changed: Timestamp,
    /// Creation, where the file system records it.
    pub created: Option<Timestamp>,
}

/// One name in a directory, as [`ReadOnlyTree::read_directory`] hands it out.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryEntry<'a> {
    /// The name, any bytes but `/` and NUL.
    pub name: &'a [u8],
    /// The node it names.
    pub node: NodeId,
    /// That node's kind.
    pub kind: FileType,
    /// Give this as `position` to go on after this entry. Never zero, and at most 2^63 - 3: kernels take positions for
    /// signed numbers, and two more go to `.` and `..`.
    pub next: u64,
}

/// What to look for in [`ReadOnlyTree::seek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The first byte at or after the offset that may hold data.
    Data,
    /// The first byte at or after the offset that lies in a hole; the end of the file counts as one.
    Hole,
}

/// What `statfs` tells, in bytes and numbers of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size of the whole, in bytes.
    pub total_bytes: u64,
    /// Free, in bytes.
    pub free_bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// A tree of directories and files that can be read and never written.
pub trait ReadOnlyTree: Send + Sync {
    /// Why a call failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The `errno` value that a kernel's caller gets for an error (`ENOENT`, `EIO`, ...).
    fn errno(error: &Self::Error) -> i32;

    /// The root directory's node.
    fn root(&self) -> NodeId;

    /// Whether this node, and for a directory the set of its entries, stays as it is for ever, so that a kernel may
    /// cache what it learned, absent names included. A mutable file whose content changes must change its size or time
    /// of modification too, and so must a mutable directory's time of modification when entries come or go: nothing else
    /// tells a kernel that what it keeps of them is old.
    fn is_immutable(&self, node: NodeId) -> bool;

    /// The attributes of a node.
    fn attributes(&self, node: NodeId) -> Result<Attributes, Self::Error>;

    /// The node that `name` has in directory `parent`; `None` where there is no such name. Never asked for `.` or `..`.
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Self::Error>;

    /// The directory that holds this directory; the root's is the root.
    fn parent(&self, directory: NodeId) -> Result<NodeId, Self::Error>;

    /// Hands out a directory's entries (without `.` and `..`) from `position` on, zero being the start, until all are
    /// out or `visit` returns false. The entry that `visit` refused counts as not handed out.
    fn read_directory(
        &self,
        directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), Self::Error>;

    /// The target of a symbolic link.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Self::Error>;

    /// Fills `buffer` from `offset` on; returns the number of bytes read, fewer than asked only at the end of the file.
    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// The next data or hole at or after `offset`; `None` at or past the end of the file, and for data where only a
    /// hole follows.
    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>, Self::Error>;

    /// The names of a node's extended attributes, each with its prefix (`user.`, `security.`, ...).
    fn list_xattrs(&self, node: NodeId) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// The value of one extended attribute; `None` where the node has no such attribute.
    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Size and use of the whole tree.
    fn space(&self) -> Result<Space, Self::Error>;
}
