//! A point's disk as the guest's file systems see it.

use std::sync::Arc;

use crate::error::Error;
use crate::guest::{self, BlockRead, MediumError};
use crate::point::DiskMap;

/// A disk of a point, for a reader of a guest's file system.
pub(super) struct PointDisk(pub Arc<DiskMap>);

impl BlockRead for PointDisk {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        match self.0.read(offset, buffer) {
            Ok(length) if length == buffer.len() => Ok(()),
            Ok(_) => Err(MediumError("a read past the end of the disk".into())),
            Err(error) => Err(MediumError(Box::new(error))),
        }
    }
}

/// A guest's error; where the vault below is the cause, the vault's own.
pub(super) fn unwrapped(error: guest::Error) -> Error {
    match error {
        guest::Error::Medium(MediumError(source)) => match source.downcast::<Error>() {
            Ok(error) => *error,
            // What a logical volume keeps of its own is the guest's too.
            Err(source) => match source.downcast::<guest::Error>() {
                Ok(error) => unwrapped(*error),
                Err(source) => Error::Guest(guest::Error::Medium(MediumError(source))),
            },
        },
        error => Error::Guest(error),
    }
}
