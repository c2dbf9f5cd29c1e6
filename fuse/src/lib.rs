//! Serves any read-only tree through FUSE.
//!
//! The package owns [`ReadOnlyTree`], the small trait that a tree implements; [`Harmless`], a tree without what gives
//! rights to whoever copies it; and (feature `server`, on by default) the server that shows a tree to the kernel. It knows
//! nothing of vaults, disks or file system formats.

#![forbid(unsafe_code)]

mod harmless;
#[cfg(feature = "server")]
mod server;
mod tree;

pub use harmless::Harmless;
#[cfg(feature = "server")]
pub use server::{
    Cause, DEVICE, Ended, Failure, MUTABLE_TTL, Mount, MountError, MountOptions, Session, UnmountError, Unmounter,
    attach, mount, receive_device, send_device,
};
pub use tree::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space, Timestamp};
