//! What a physical volume says of itself: label, header, and the newest metadata text.
//!
//! ```text
//! one of the first 4 sectors of 512 bytes:
//!   0    8  "LABELONE"
//!   8    8  number of this sector
//!   16   4  checksum of bytes 20..512
//!   20   4  where the header begins in this sector
//!   24   8  "LVM2 001"
//! header:
//!   0   32  the volume's id, without its hyphens
//!   32   8  size in bytes
//!   40  16  ... areas of data: offset and size in bytes each, up to one of zeros
//!       16  ... areas of metadata, the same
//! area of metadata:
//!   0    4  checksum of bytes 4..512
//!   4   16  " LVM2 x[5A%r0N*>"
//!   20   4  version, 1
//!   24   8  where the area begins in the volume
//!   32   8  its size
//!   40  24  where the text is: offset, size, checksum, flags (1: not to be used)
//! ```
//!
//! The text lies in a ring behind the area's first 512 bytes. (LVM2 sources: `lib/format_text/layout.h`, `lib/label/label.h`.)

use crate::guest::bytes::{narrow, slice_at, u32_at, u64_at};
use crate::guest::crc::crc32_raw;
use crate::guest::{BlockRead, Damage, Error, Fault, Object};

use super::text::{self, Section};

const SECTOR_BYTES: usize = 512;
const LABEL_SECTORS: usize = 4;
const LABEL: &[u8] = b"LABELONE";
const TYPE: &[u8] = b"LVM2 001";
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const AREA_HEADER_BYTES: u64 = 512;
const IGNORED: u32 = 1;
/// What LVM2's checksums start from.
const SEED: u32 = 0xf597_a6cf;
/// Longer metadata is refused: a group of ten thousand volumes takes a few MiB.
const TEXT_BYTES_MAX: u64 = 32 << 20;
/// Areas of one kind at most.
const AREAS_MAX: usize = 16;

/// What lies on one physical volume.
pub(super) struct Label {
    /// Its id without hyphens.
    pub id: String,
    /// The metadata that it holds, the one with the highest `seqno`; none where it has no area for it.
    pub metadata: Option<Section>,
}

fn damaged(fault: Fault) -> Error {
    Damage { object: Object::LvmLabel, fault }.into()
}

/// Reads what is said on a volume.
pub(super) fn read(volume: &dyn BlockRead) -> Result<Label, Error> {
    let mut head = vec![0; SECTOR_BYTES * LABEL_SECTORS];
    volume.read_exact_at(0, &mut head)?;
    let sector = head.chunks_exact(SECTOR_BYTES).find(|sector| is_label(sector)).ok_or(damaged(Fault::Magic))?;
    let (stored, computed) =
        (u32_at(sector, 16).unwrap_or_default(), crc32_raw(SEED, sector.get(20..).unwrap_or_default()));
    if stored != computed {
        return Err(damaged(Fault::Checksum { stored, computed }));
    }
    let start = u32_at(sector, 20).unwrap_or_default();
    let header = usize::try_from(start).ok().and_then(|start| sector.get(start..)).ok_or(damaged(Fault::CutShort))?;
    let id = slice_at(header, 0, 32).and_then(|id| std::str::from_utf8(id).ok()).ok_or(damaged(Fault::CutShort))?;
    let (_, at) = areas(header, 40).ok_or(damaged(Fault::CutShort))?;
    let (places, _) = areas(header, at).ok_or(damaged(Fault::CutShort))?;
    // Of several copies one may be damaged or behind: any that is whole and newest will do.
    let mut newest: Option<Section> = None;
    let mut problem = None;
    for (offset, size) in places {
        match metadata(volume, offset, size) {
            Ok(Some(found)) if seqno(&found) >= newest.as_ref().map_or(0, seqno) => newest = Some(found),
            Ok(_) => {}
            Err(error @ Error::Medium(_)) => return Err(error),
            Err(error) => problem = Some(error),
        }
    }
    match (newest, problem) {
        (None, Some(problem)) => Err(problem),
        (metadata, _) => Ok(Label { id: id.to_owned(), metadata }),
    }
}

fn is_label(sector: &[u8]) -> bool {
    sector.starts_with(LABEL) && slice_at(sector, 24, TYPE.len()) == Some(TYPE)
}

/// The `seqno` of the group that a metadata text describes.
pub(super) fn seqno(metadata: &Section) -> u64 {
    metadata.sections().find_map(|(_, group)| group.number("seqno")).unwrap_or_default()
}

/// A list of areas, and where the bytes behind it begin.
fn areas(header: &[u8], mut at: usize) -> Option<(Vec<(u64, u64)>, usize)> {
    let mut areas = Vec::new();
    loop {
        let (offset, size) = (u64_at(header, at)?, u64_at(header, at.checked_add(8)?)?);
        at += 16;
        if offset == 0 {
            return Some((areas, at));
        }
        if areas.len() == AREAS_MAX {
            return None;
        }
        areas.push((offset, size));
    }
}

/// The text of one area; none where the area is empty or not to be used.
fn metadata(volume: &dyn BlockRead, offset: u64, size: u64) -> Result<Option<Section>, Error> {
    let damaged = |fault| Error::from(Damage { object: Object::LvmMetadata, fault });
    let end = offset.checked_add(size).filter(|end| *end <= volume.size_bytes());
    if end.is_none() || size <= AREA_HEADER_BYTES {
        return Err(damaged(Fault::Field { field: "metadata area", value: offset }));
    }
    let mut header = vec![0; narrow(AREA_HEADER_BYTES)];
    volume.read_exact_at(offset, &mut header)?;
    let (stored, computed) =
        (u32_at(&header, 0).unwrap_or_default(), crc32_raw(SEED, header.get(4..).unwrap_or_default()));
    if slice_at(&header, 4, AREA_MAGIC.len()) != Some(AREA_MAGIC) {
        return Err(damaged(Fault::Magic));
    }
    if stored != computed {
        return Err(damaged(Fault::Checksum { stored, computed }));
    }
    let field = |at| u64_at(&header, at).unwrap_or_default();
    let (at, length) = (field(40), field(48));
    let (sum, flags) = (u32_at(&header, 56).unwrap_or_default(), u32_at(&header, 60).unwrap_or_default());
    if at == 0 || length == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    if u32_at(&header, 20) != Some(1) || field(24) != offset || field(32) != size {
        return Err(damaged(Fault::Field { field: "mda_header", value: field(24) }));
    }
    let ring = size - AREA_HEADER_BYTES;
    if at < AREA_HEADER_BYTES || at >= size || length > ring.min(TEXT_BYTES_MAX) {
        return Err(damaged(Fault::Field { field: "raw_locn", value: at }));
    }
    let mut text = vec![0; narrow(length)];
    // Past the area's end it goes on behind the header.
    let (first, second) = text.split_at_mut(narrow(length.min(size - at)));
    volume.read_exact_at(offset + at, first)?;
    volume.read_exact_at(offset + AREA_HEADER_BYTES, second)?;
    let computed = crc32_raw(SEED, &text);
    if sum != computed {
        return Err(damaged(Fault::Checksum { stored: sum, computed }));
    }
    let parsed = std::str::from_utf8(&text).ok().and_then(text::parse);
    parsed.map(Some).ok_or_else(|| damaged(Fault::Field { field: "text", value: 0 }))
}
