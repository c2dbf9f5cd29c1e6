//! Recovery points of virtual machine disks, kept in an encrypted, deduplicated vault and readable file by file.

pub mod error;
pub mod format;
pub mod guest;
pub mod media;
pub mod point;
pub mod seal;
pub mod store;
