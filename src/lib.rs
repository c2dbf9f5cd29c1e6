//! Recovery points of virtual machine disks, kept in an encrypted, deduplicated vault and readable file by file.

pub mod guest;
