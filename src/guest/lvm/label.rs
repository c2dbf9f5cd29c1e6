//! What a physical volume says of itself: its label, and where its copies of the group's metadata lie.
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
//! ```
//!
//! (LVM2 sources: `lib/label/label.h`, `lib/format_text/layout.h`.)

use crate::guest::bytes::{slice_at, u32_at, u64_at, wide};
use crate::guest::crc::crc32_raw;
use crate::guest::{BlockRead, Damage, Error, Fault, Object};

use super::{CHECKSUM_SEED, LvmId};

const SECTOR_BYTES: usize = 512;
const LABEL_SECTORS: usize = 4;
const MAGIC: &[u8] = b"LABELONE";
const TYPE: &[u8] = b"LVM2 001";
/// Areas of one kind at most.
const AREAS_MAX: usize = 16;

/// A physical volume's label.
pub(super) struct Label {
    pub id: LvmId,
    /// Offset and size in bytes of each area of metadata.
    pub areas: Vec<(u64, u64)>,
}

fn damaged(fault: Fault) -> Error {
    Damage { object: Object::LvmLabel, fault }.into()
}

/// Reads the label of a volume; `None` where it has none. One that is larger than the volume is refused: it lies on an array
/// of several disks, of which this is only one, or was cut off.
pub(super) fn read(volume: &dyn BlockRead) -> Result<Option<Label>, Error> {
    let mut head = vec![0; SECTOR_BYTES * LABEL_SECTORS];
    if volume.size_bytes() < wide(head.len()) {
        return Ok(None);
    }
    volume.read_exact_at(0, &mut head)?;
    let mut found = Ok(None);
    for (number, sector) in (0..).zip(head.chunks_exact(SECTOR_BYTES)) {
        if sector.starts_with(MAGIC) && slice_at(sector, 24, TYPE.len()) == Some(TYPE) {
            // What LVM2 finds first counts; one that can't be believed hides no later one.
            match parse(number, sector, volume.size_bytes()) {
                Ok(label) => return Ok(Some(label)),
                Err(error) => found = found.and(Err(error)),
            }
        }
    }
    found
}

fn parse(number: u64, sector: &[u8], volume_bytes: u64) -> Result<Label, Error> {
    let cut = || damaged(Fault::CutShort);
    let stored = u32_at(sector, 16).ok_or_else(cut)?;
    let computed = crc32_raw(CHECKSUM_SEED, sector.get(20..).ok_or_else(cut)?);
    if stored != computed {
        return Err(damaged(Fault::Checksum { stored, computed }));
    }
    let own = u64_at(sector, 8).ok_or_else(cut)?;
    if own != number {
        return Err(damaged(Fault::Field { field: "sector_xl", value: own }));
    }
    let start = u32_at(sector, 20).and_then(|start| usize::try_from(start).ok()).ok_or_else(cut)?;
    let header = sector.get(start..).ok_or_else(cut)?;
    let id = slice_at(header, 0, 32).and_then(LvmId::parse);
    let id = id.ok_or_else(|| damaged(Fault::Field { field: "pv_uuid", value: 0 }))?;
    let size = u64_at(header, 32).ok_or_else(cut)?;
    if size > volume_bytes {
        return Err(damaged(Fault::Field { field: "device_size_xl", value: size }));
    }
    let (_, behind) = areas(header, 40).ok_or_else(cut)?;
    let (areas, _) = areas(header, behind).ok_or_else(cut)?;
    Ok(Label { id, areas })
}

/// A list of areas, and where the bytes behind it begin.
fn areas(header: &[u8], mut at: usize) -> Option<(Vec<(u64, u64)>, usize)> {
    let mut areas = Vec::new();
    loop {
        let (offset, size) = (u64_at(header, at)?, u64_at(header, at.checked_add(8)?)?);
        at = at.checked_add(16)?;
        if offset == 0 {
            return Some((areas, at));
        }
        if areas.len() == AREAS_MAX {
            return None;
        }
        areas.push((offset, size));
    }
}
