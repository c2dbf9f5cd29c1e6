//! Reading what lies in pieces: the one loop of everything that only says where its bytes are.

use crate::guest::bytes::{narrow, wide};
use crate::guest::{BlockRead, MediumError};

/// Where bytes are that lie together.
pub(super) enum Source<'a> {
    /// On a device, from a place on.
    Device(&'a dyn BlockRead, u64),
    /// Nowhere: they are zeros.
    Zeros,
}

/// Fills a buffer from `offset` on. For a place `find` says where its byte is, and how many from there on lie together, at
/// least one.
pub(super) fn read<'a>(
    offset: u64,
    buffer: &mut [u8],
    find: impl Fn(u64) -> Result<(Source<'a>, u64), MediumError>,
) -> Result<(), MediumError> {
    let (mut offset, mut rest) = (offset, buffer);
    while !rest.is_empty() {
        let (source, together) = find(offset)?;
        let length = rest.len().min(narrow(together.max(1)));
        let (now, later) = rest.split_at_mut_checked(length).ok_or_else(past_end)?;
        match source {
            Source::Device(device, at) => device.read_exact_at(at, now)?,
            Source::Zeros => now.fill(0),
        }
        offset = offset.saturating_add(wide(length));
        rest = later;
    }
    Ok(())
}

pub(super) fn past_end() -> MediumError {
    MediumError("a read past the end of a logical volume".into())
}
