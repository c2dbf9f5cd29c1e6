//! Which parts of a RAID can be relied on (`drivers/md/dm-raid.c`, `struct dm_raid_superblock`).
//!
//! Beside each part lies a small volume that begins with what the driver remembers:
//!
//! ```text
//!   0    4  "DmRd"
//!  12    4  this part's number
//!  16    8  events: counts changes of the set
//!  24    8  bit by bit: which parts failed
//!  32    8  up to which sector this part was rebuilt; all ones when it is whole
//!  60    4  flags (1: parts are being rearranged)
//! 120   24  more bits of parts that failed
//! ```

use crate::guest::bytes::{slice_at, u32_at, u64_at};
use crate::guest::{BlockRead, MediumError};

const MAGIC: &[u8] = b"DmRd";
const BYTES: usize = 512;
const WHOLE: u64 = u64::MAX;
const RESHAPING: u32 = 1;

/// What the driver remembers of a part.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    events: u64,
    failed: [u64; 4],
    rebuilt_sectors: u64,
    pub is_reshaping: bool,
}

/// What is known of a part.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// What the driver remembers.
    Memory(Memory),
    /// Nothing was ever written there.
    Nothing,
    /// It can't be looked at, and why.
    Unseen(String),
}

/// Reads what lies beside a part.
pub(super) fn read(device: &dyn BlockRead, number: usize) -> Result<Known, MediumError> {
    let mut bytes = [0; BYTES];
    device.read_exact_at(0, &mut bytes)?;
    if slice_at(&bytes, 0, MAGIC.len()) != Some(MAGIC) {
        return Ok(if bytes.iter().all(|byte| *byte == 0) {
            Known::Nothing
        } else {
            Known::Unseen("it holds no record of the driver".to_owned())
        });
    }
    let parse = || {
        (usize::try_from(u32_at(&bytes, 12)?) == Ok(number)).then_some(())?;
        Some(Memory {
            events: u64_at(&bytes, 16)?,
            failed: [u64_at(&bytes, 24)?, u64_at(&bytes, 120)?, u64_at(&bytes, 128)?, u64_at(&bytes, 136)?],
            rebuilt_sectors: u64_at(&bytes, 32)?,
            is_reshaping: u32_at(&bytes, 60)? & RESHAPING != 0,
        })
    };
    Ok(parse().map_or_else(|| Known::Unseen("its record is that of another part".to_owned()), Known::Memory))
}

impl Memory {
    fn calls_failed(&self, number: usize) -> bool {
        let word = self.failed.get(number.checked_div(64).unwrap_or_default());
        let bit = number.checked_rem(64).and_then(|bit| 1_u64.checked_shl(u32::try_from(bit).ok()?));
        // A part that is not counted here can't be relied on.
        word.zip(bit).is_none_or(|(word, bit)| word & bit != 0)
    }
}

/// For each part whether it is whole, as far as can be seen: the newest memory does not call it failed, and it was not
/// being rebuilt. Where nothing is remembered anywhere the set was never used, and all are equal; a part of which nothing
/// can be seen is not whole, and where one could know better, a part without memory is none either.
pub(super) fn whole(parts: &[Known]) -> Vec<bool> {
    let memories =
        || parts.iter().filter_map(|part| if let Known::Memory(memory) = part { Some(memory) } else { None });
    let newest = memories().max_by_key(|memory| memory.events);
    let is_never_used = parts.iter().all(|part| matches!(part, Known::Nothing));
    let is_whole = |(number, part): (usize, &Known)| match (part, newest) {
        (Known::Memory(memory), Some(newest)) => !newest.calls_failed(number) && memory.rebuilt_sectors == WHOLE,
        _ => is_never_used,
    };
    parts.iter().enumerate().map(is_whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(events: u64, failed: u64, rebuilt_sectors: u64) -> Known {
        Known::Memory(Memory { events, failed: [failed, 0, 0, 0], rebuilt_sectors, is_reshaping: false })
    }

    // Promise 2. A part that failed, was being rebuilt, or of which nothing is known beside one that is known, is not whole.
    #[test]
    fn only_whole_parts_are_chosen() {
        let unseen = || Known::Unseen("gone".to_owned());
        let cases: [(&[Known], &[bool]); 8] = [
            (&[Known::Nothing, Known::Nothing], &[true, true]),
            (&[memory(5, 0, WHOLE), memory(5, 0, WHOLE)], &[true, true]),
            // A point may be taken between the writes of one record and the other.
            (&[memory(5, 0, WHOLE), memory(6, 0, WHOLE)], &[true, true]),
            (&[memory(5, 2, WHOLE), memory(6, 1, WHOLE)], &[false, true]),
            (&[memory(5, 0, 800), memory(5, 0, WHOLE)], &[false, true]),
            (&[Known::Nothing, memory(5, 0, WHOLE)], &[false, true]),
            (&[Known::Nothing, unseen()], &[false, false]),
            (&[memory(5, 0, WHOLE), unseen()], &[true, false]),
        ];
        for (parts, expected) in cases {
            assert_eq!(whole(parts), expected, "{parts:?}");
        }
    }
}
