//! Serves any read-only tree through FUSE.
//!
//! The package owns two things: [`ReadOnlyTree`], the small trait that a tree implements, and (feature `server`, on by
//! default) the server that shows such a tree to the kernel. It knows nothing of vaults, disks or file system formats.

#![forbid(unsafe_code)]

#[cfg(feature = "server")]
mod server;
mod tree;

#[cfg(feature = "server")]
pub use server::{Cause, Ended, Failure, MUTABLE_TTL, Mount, MountError, MountOptions, UnmountError, Unmounter, mount};
pub use tree::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space, Timestamp};
