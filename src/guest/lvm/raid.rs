//! Which copy of a mirrored volume can be relied on (`drivers/md/dm-raid.c`).
//!
//! Beside each copy lies a small volume that begins with what the driver remembers:
//!
//! ```text
//!   0    4  "DmRd"
//!  12    4  this copy's number
//!  16    8  events: counts changes of the set
//!  24    8  bit by bit: which copies failed
//!  32    8  up to which sector this copy was rebuilt; all ones when it is whole
//! ```

use crate::guest::bytes::{slice_at, u32_at, u64_at};
use crate::guest::{BlockRead, MediumError};

const MAGIC: &[u8] = b"DmRd";
const BYTES: usize = 48;
const WHOLE: u64 = u64::MAX;

/// What the driver remembers of a copy.
pub(super) struct Memory {
    number: u32,
    events: u64,
    failed: u64,
    rebuilt_sectors: u64,
}

/// Reads what lies beside a copy; none where nothing was written there yet.
pub(super) fn read(device: &dyn BlockRead) -> Result<Option<Memory>, MediumError> {
    let mut bytes = [0; BYTES];
    device.read_exact_at(0, &mut bytes)?;
    let parse = || {
        (slice_at(&bytes, 0, 4)? == MAGIC).then_some(())?;
        Some(Memory {
            number: u32_at(&bytes, 12)?,
            events: u64_at(&bytes, 16)?,
            failed: u64_at(&bytes, 24)?,
            rebuilt_sectors: u64_at(&bytes, 32)?,
        })
    };
    Ok(parse())
}

/// The copies that are whole, by what is remembered of each: those that the newest memory does not call failed, and
/// that were not being rebuilt. Where nothing is remembered the set was never used, and all are equal.
pub(super) fn whole(memories: &[Option<Memory>]) -> Vec<usize> {
    let newest = memories.iter().flatten().max_by_key(|memory| memory.events);
    let is_whole = |memory: &Option<Memory>| match (newest, memory) {
        (None, _) => true,
        (Some(newest), Some(memory)) => {
            let has_failed = 1_u64.checked_shl(memory.number).is_none_or(|bit| newest.failed & bit != 0);
            !has_failed && memory.rebuilt_sectors == WHOLE && memory.events == newest.events
        }
        (Some(_), None) => false,
    };
    memories.iter().enumerate().filter(|(_, memory)| is_whole(memory)).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(number: u32, events: u64, failed: u64, rebuilt_sectors: u64) -> Option<Memory> {
        Some(Memory { number, events, failed, rebuilt_sectors })
    }

    // Promise 2. A copy that failed, is behind, or was being rebuilt is never read.
    #[test]
    fn only_whole_copies_are_chosen() {
        assert_eq!(whole(&[None, None]), [0, 1]);
        assert_eq!(whole(&[memory(0, 5, 0, WHOLE), memory(1, 5, 0, WHOLE)]), [0, 1]);
        assert_eq!(whole(&[memory(0, 5, 1, WHOLE), memory(1, 6, 1, WHOLE)]), [1]);
        assert_eq!(whole(&[memory(0, 5, 0, 800), memory(1, 5, 0, WHOLE)]), [1]);
        assert_eq!(whole(&[None, memory(1, 5, 0, WHOLE)]), [1]);
        assert_eq!(whole(&[memory(70, 5, 0, WHOLE)]), [] as [usize; 0]);
    }
}
