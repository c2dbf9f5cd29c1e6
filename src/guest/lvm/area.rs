//! An area of metadata: a ring that holds the text of a group, the newest one and remains of older ones.
//!
//! ```text
//! header, 512 bytes:
//!   0    4  checksum of bytes 4..512
//!   4   16  " LVM2 x[5A%r0N*>"
//!   20   4  version, 1
//!   24   8  where the area begins in the volume
//!   32   8  its size
//!   40  24  where the text is: offset, size, checksum, flags (1: not to be used)
//! ```
//!
//! The text lies behind those 512 bytes; past the area's end it goes on behind them. A new text is written beside the
//! old one before the header names it, so the header alone decides which one counts. (LVM2: `lib/format_text/layout.h`.)

use crate::guest::bytes::{narrow, slice_at, u32_at, u64_at};
use crate::guest::crc::crc32_raw;
use crate::guest::{BlockRead, Damage, Error, Fault, Object};

use super::CHECKSUM_SEED;

const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const HEADER_BYTES: u64 = 512;
const IGNORED: u32 = 1;
/// Longer texts are refused: ten thousand volumes take about 7 MiB.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// The text that an area holds; `None` where it is empty or not to be used.
pub(super) fn read(volume: &dyn BlockRead, offset: u64, size: u64) -> Result<Option<Vec<u8>>, Error> {
    let damaged = |fault| Error::from(Damage { object: Object::LvmMetadata { offset }, fault });
    let field = |field, value| damaged(Fault::Field { field, value });
    let end = offset.checked_add(size).filter(|end| *end <= volume.size_bytes());
    if end.is_none() || size <= HEADER_BYTES {
        return Err(field("mda size", size));
    }
    let mut header = vec![0; narrow(HEADER_BYTES)];
    volume.read_exact_at(offset, &mut header)?;
    if slice_at(&header, 4, MAGIC.len()) != Some(MAGIC) {
        return Err(damaged(Fault::Magic));
    }
    let number = |at| u64_at(&header, at).unwrap_or_default();
    let word = |at| u32_at(&header, at).unwrap_or_default();
    let (stored, computed) = (word(0), crc32_raw(CHECKSUM_SEED, header.get(4..).unwrap_or_default()));
    if stored != computed {
        return Err(damaged(Fault::Checksum { stored, computed }));
    }
    if word(20) != 1 || number(24) != offset || number(32) != size {
        return Err(field("mda_header", number(24)));
    }
    let (at, length, flags) = (number(40), number(48), word(60));
    if at == 0 || length == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    if at < HEADER_BYTES || at >= size || length > (size - HEADER_BYTES).min(TEXT_BYTES_MAX) {
        return Err(field("raw_locn size", length));
    }
    let mut text = vec![0; narrow(length)];
    let (first, second) = text.split_at_mut(narrow(length.min(size - at)));
    volume.read_exact_at(offset.saturating_add(at), first)?;
    volume.read_exact_at(offset.saturating_add(HEADER_BYTES), second)?;
    let (stored, computed) = (word(56), crc32_raw(CHECKSUM_SEED, &text));
    if stored != computed {
        return Err(damaged(Fault::Checksum { stored, computed }));
    }
    Ok(Some(text))
}
