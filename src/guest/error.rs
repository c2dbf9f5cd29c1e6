//! Why something on a guest's disk could not be read, split by who must act.

use super::MediumError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be had from below: look at the vault or the disk.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// The guest's own structures contradict themselves: only this object is affected.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A logical volume that can't be read as the guest would.
    #[error(transparent)]
    LogicalVolume(#[from] super::lvm::Problem),
    /// The guest uses something that this reader does not know.
    #[error("unsupported: {0}")]
    Unsupported(Feature),
    /// There is no such node, or it was deleted.
    #[error("there is no node {node}")]
    NoSuchNode {
        /// The number asked for.
        node: u64,
    },
    /// The node is no directory.
    #[error("node {node} is not a directory")]
    NotADirectory {
        /// The number asked for.
        node: u64,
    },
    /// The node is a directory.
    #[error("node {node} is a directory")]
    IsADirectory {
        /// The number asked for.
        node: u64,
    },
    /// The node is neither a regular file nor a symbolic link, whichever was asked for.
    #[error("node {node} is of another kind")]
    WrongKind {
        /// The number asked for.
        node: u64,
    },
    /// The guest encrypted the node's content with a key that only it has.
    #[error("node {node} is encrypted by the guest")]
    Encrypted {
        /// The number asked for.
        node: u64,
    },
}

impl Error {
    /// Who must act.
    pub fn kind(&self) -> crate::error::ErrorKind {
        use crate::error::ErrorKind;
        match self {
            Self::Medium(_) => ErrorKind::Medium,
            Self::Damaged(_) => ErrorKind::Damaged,
            Self::LogicalVolume(problem) => problem.kind(),
            Self::Unsupported(_) | Self::Encrypted { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Caller,
        }
    }

    /// The `errno` value of Linux for it. Damage is `EUCLEAN` and a wrong checksum `EBADMSG`, as Linux has them.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Medium(_) => 5,
            Self::Damaged(Damage { fault: Fault::Checksum { .. }, .. }) => 74,
            Self::Damaged(_) => 117,
            Self::LogicalVolume(problem) => problem.errno(),
            Self::Unsupported(_) => 95,
            Self::NoSuchNode { .. } => 2,
            Self::NotADirectory { .. } => 20,
            Self::IsADirectory { .. } => 21,
            Self::WrongKind { .. } => 22,
            Self::Encrypted { .. } => 126,
        }
    }
}

/// For what a volume reads of its own structures while somebody else reads the volume.
impl From<Error> for MediumError {
    fn from(error: Error) -> Self {
        match error {
            Error::Medium(error) => error,
            error => Self(Box::new(error)),
        }
    }
}

/// One damaged object and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged {object}: {fault}")]
pub struct Damage {
    /// Which object.
    pub object: Object,
    /// What is wrong with it.
    pub fault: Fault,
}

/// An object of a file system, or of what it lies on. Blocks are counted in the file system's block size from the volume's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// The superblock.
    Superblock,
    /// The descriptor of a block group.
    GroupDescriptor {
        /// The group.
        group: u64,
    },
    /// An inode.
    Inode {
        /// Its number.
        inode: u64,
    },
    /// A node of an inode's extent tree, or one of its indirect blocks.
    MapBlock {
        /// The inode.
        inode: u64,
        /// Where the node lies; zero where it lies in the inode itself.
        block: u64,
    },
    /// A block of a directory.
    DirectoryBlock {
        /// The directory.
        inode: u64,
        /// Which of the directory's blocks, from zero.
        index: u64,
    },
    /// Extended attributes.
    Xattrs {
        /// The inode that they belong to.
        inode: u64,
        /// Where they lie; zero where they lie in the inode itself.
        block: u64,
    },
    /// The target of a symbolic link.
    LinkTarget {
        /// The link.
        inode: u64,
    },
    /// The journal.
    Journal {
        /// Which of the journal's blocks, from zero.
        block: u64,
    },
    /// The label of an LVM2 physical volume.
    LvmLabel,
    /// A copy of the metadata of an LVM2 group.
    LvmMetadata {
        /// Where its area begins in the physical volume, in bytes.
        offset: u64,
    },
    /// The superblock of a pool of thin volumes.
    ThinSuperblock,
    /// A block of a tree of a pool of thin volumes.
    ThinNode {
        /// The block, counted in 4 KiB.
        block: u64,
    },
    /// The store of a snapshot.
    SnapshotStore {
        /// Which of its chunks.
        chunk: u64,
    },
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Superblock => write!(f, "superblock"),
            Self::GroupDescriptor { group } => write!(f, "descriptor of block group {group}"),
            Self::Inode { inode } => write!(f, "inode {inode}"),
            Self::MapBlock { inode, block: 0 } => write!(f, "block map of inode {inode}"),
            Self::MapBlock { inode, block } => {
                write!(f, "block {block} of the block map of inode {inode}")
            }
            Self::DirectoryBlock { inode, index } => {
                write!(f, "block {index} of directory {inode}")
            }
            Self::Xattrs { inode, block: 0 } => write!(f, "extended attributes of inode {inode}"),
            Self::Xattrs { inode, block } => {
                write!(f, "extended attributes of inode {inode} in block {block}")
            }
            Self::LinkTarget { inode } => write!(f, "target of symbolic link {inode}"),
            Self::Journal { block } => write!(f, "journal block {block}"),
            Self::LvmLabel => write!(f, "label of an LVM2 physical volume"),
            Self::LvmMetadata { offset } => write!(f, "LVM2 metadata at byte {offset}"),
            Self::ThinSuperblock => write!(f, "superblock of a thin pool"),
            Self::ThinNode { block } => write!(f, "block {block} of a thin pool's metadata"),
            Self::SnapshotStore { chunk } => write!(f, "chunk {chunk} of a snapshot's store"),
        }
    }
}

/// What is wrong with a damaged object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its checksum is not that of its content.
    #[error("checksum {stored:#x} is stored, {computed:#x} computed")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// It carries the UUID of another file system.
    #[error("it belongs to another file system")]
    ForeignUuid,
    /// It does not begin with its magic number.
    #[error("wrong magic number")]
    Magic,
    /// A field has a value that it can't have.
    #[error("field {field} can't be {value}")]
    Field {
        /// The field's name in the format's documentation.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// It refers to a block that is not in the file system.
    #[error("it refers to block {block}, which is not in the file system")]
    BlockOutOfRange {
        /// The block.
        block: u64,
    },
    /// It ends before its fields do.
    #[error("it is cut short")]
    CutShort,
    /// Its parts are not in their order, or overlap.
    #[error("its parts are out of order or overlap")]
    Order,
    /// A directory's entry has a length, a name or an inode number that it can't have.
    #[error("impossible directory entry at byte {offset}")]
    DirectoryEntry {
        /// Where the entry begins in its block.
        offset: u32,
    },
}

/// Something that this reader does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A feature of ext file systems that is known by name.
    Ext(&'static str),
    /// Bits of `s_feature_incompat` that have no name here.
    ExtIncompatBits(u32),
    /// A revision of the ext superblock.
    ExtRevision(u32),
    /// A feature of XFS that is known by name.
    Xfs(&'static str),
    /// Bits of `sb_features_incompat` that have no name here.
    XfsIncompatBits(u32),
    /// A version of the XFS superblock.
    XfsVersion(u16),
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ext(name) => write!(f, "ext feature {name}"),
            Self::ExtIncompatBits(bits) => write!(f, "ext incompatible features {bits:#x}"),
            Self::ExtRevision(revision) => write!(f, "ext revision {revision}"),
            Self::Xfs(name) => write!(f, "XFS feature {name}"),
            Self::XfsIncompatBits(bits) => write!(f, "XFS incompatible features {bits:#x}"),
            Self::XfsVersion(version) => write!(f, "XFS version {version}"),
        }
    }
}
