//! What lies on a guest's disk: partition tables, volumes, file systems.
//!
//! Everything here reads bytes that a guest's root wrote, so all of it is hostile input: safe code only, bounded in
//! depth, size and time, no panic, no allocation by an unchecked number. It knows no vault and no files: a disk is
//! whatever implements [`BlockRead`].
//!
//! The way from a disk to a file:
//! 1. [`partition::find_volumes`] lists the volumes of a disk, lies in the table marked volume by volume;
//! 2. [`Slice`] narrows the disk to one of them;
//! 3. [`lvm`] makes volumes of those that are parts of a group;
//! 4. [`probe`] opens the file system on one as a [`FileSystem`], or names what is there instead, whose label
//!    [`identify`] reads;
//! 5. [`facts::find`] asks the file systems of a guest which system it is.

#![forbid(unsafe_code)]

mod bytes;
mod cache;
mod crc;
mod error;

pub mod ext;
pub mod facts;
mod filesystem;
mod identity;
mod listing;
pub mod lvm;
pub mod partition;
mod probe;
mod slice;
#[cfg(test)]
mod testing;
mod uuid;
mod volume;
mod window;
pub mod xfs;

pub use error::{Damage, Error, Fault, Feature, Object};
pub use filesystem::FileSystem;
pub use identity::{Identity, identify};
pub use probe::{Content, Probe, name, probe};
pub use slice::Slice;
pub use uuid::Uuid;
pub use volume::{GuestFileSystem, StaleReason, VolumeInfo, VolumeState};

/// A disk, or a part of one, as a sequence of bytes.
pub trait BlockRead: Send + Sync {
    /// Its size in bytes.
    fn size_bytes(&self) -> u64;

    /// Fills the whole buffer from `offset` on. Reading past the end is an error.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError>;
}

/// The bytes could not be had from below; the source says why.
#[derive(Debug)]
pub struct MediumError(pub Box<dyn std::error::Error + Send + Sync + 'static>);

impl std::fmt::Display for MediumError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the disk could not be read: {}", self.0)
    }
}

impl std::error::Error for MediumError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}
