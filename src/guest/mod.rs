//! What lies on a guest's disk: partition tables, volumes, file systems.
//!
//! Everything here reads bytes that a guest's root wrote, so all of it is hostile input: safe code only, bounded in
//! depth, size and time, no panic, no allocation by an unchecked number. It knows no vault and no files: a disk is
//! whatever implements [`BlockRead`].

#![forbid(unsafe_code)]

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

/// stand-in until merged
#[derive(Debug, thiserror::Error)]
#[error("guest")]
pub struct Error;
impl Error {
    pub(crate) fn kind(&self) -> crate::error::ErrorKind {
        crate::error::ErrorKind::Damaged
    }
}
