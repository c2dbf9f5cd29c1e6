//! Whether all copies of an old mirror are the same, as its log tells (`drivers/md/dm-log.c`).
//!
//! ```text
//!    0  4  "MiRr" as a number, 0x4D695272
//!    4  4  version, 2
//!    8  8  number of regions
//! 1024     a bit for each region: set when all copies of it are the same
//! ```

use crate::guest::bytes::{narrow, u32_at, u64_at, wide};
use crate::guest::{BlockRead, MediumError};

const MAGIC: u32 = 0x4D69_5272;
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 16;
const BITS_AT: u64 = 1024;
/// A log of more regions is not believed: a million regions of half a MiB are enough for everybody.
const REGIONS_MAX: u64 = 1 << 23;

/// Whether a log says that all copies are the same; `None` where it says nothing that can be believed.
pub(super) fn is_in_sync(log: &dyn BlockRead) -> Result<Option<bool>, MediumError> {
    let mut header = [0; HEADER_BYTES];
    log.read_exact_at(0, &mut header)?;
    let regions = u64_at(&header, 8).unwrap_or_default();
    if u32_at(&header, 0) != Some(MAGIC) || u32_at(&header, 4) != Some(VERSION) || !(1..=REGIONS_MAX).contains(&regions)
    {
        return Ok(None);
    }
    let mut bits = vec![0; narrow(regions.div_ceil(8))];
    if BITS_AT.saturating_add(wide(bits.len())) > log.size_bytes() {
        return Ok(None);
    }
    log.read_exact_at(BITS_AT, &mut bits)?;
    // Bits lie in words of the machine that wrote them; what is read here was written with the lowest byte first.
    let (full, last) = (narrow(regions.div_euclid(8)), u32::try_from(regions.rem_euclid(8)).unwrap_or_default());
    let all = bits.iter().take(full).all(|byte| *byte == u8::MAX);
    let rest = (1_u8.checked_shl(last).unwrap_or_default()).saturating_sub(1);
    Ok(Some(all && bits.get(full).is_none_or(|byte| byte & rest == rest)))
}
