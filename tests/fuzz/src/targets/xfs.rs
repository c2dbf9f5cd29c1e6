//! XFS: small images, changed in a few places, checksums made right again, and walked as a mount would.
//!
//! As for the ext family, only the changes are the input. Two of the images have a log to replay; each record of a log
//! has a checksum over all of it, so that none of its changes would get behind that.

use std::sync::OnceLock;

use icecore::guest::BlockRead;

use super::ext::{base_path, change, open_and_walk, structures, unpack};
use super::take_u8;
use crate::disk::PatchedDisk;

/// The images; `xfs-images.sh` makes them.
pub const XFS_BASES: [&str; 4] = ["xfs", "xfs-log", "xfs-v4", "xfs-v4-log"];

const SECTOR: usize = 512;

struct Base {
    bytes: Vec<u8>,
    /// Where pieces begin that hold more than zeros and text.
    structures: Vec<u64>,
    is_v5: bool,
    block_bytes: usize,
    inode_bytes: usize,
    /// Where the headers of the log's records lie.
    records: Vec<usize>,
}

/// Each is loaded when it is first asked for: together they are more than one input may take.
fn base(number: u8) -> &'static Base {
    static ALL: [OnceLock<Base>; XFS_BASES.len()] = [const { OnceLock::new() }; XFS_BASES.len()];
    let number = usize::from(number) % ALL.len();
    ALL[number].get_or_init(|| {
        let packed = std::fs::read(base_path(XFS_BASES[number])).expect("an image; make-seeds makes it");
        let mut bytes = unpack(&packed);
        bytes.shrink_to_fit();
        Base::new(bytes)
    })
}

fn be16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn be32(bytes: &[u8], at: usize) -> usize {
    be16(bytes, at) << 16 | be16(bytes, at + 2)
}

fn is_record(sector: &[u8]) -> bool {
    sector.starts_with(&0xFEED_BABE_u32.to_be_bytes())
}

impl Base {
    fn new(bytes: Vec<u8>) -> Self {
        let sectors = (0..).step_by(SECTOR).zip(bytes.chunks(SECTOR));
        let records = sectors.filter(|(_, sector)| is_record(sector)).map(|(at, _)| at).collect();
        Self {
            structures: structures(&bytes, 16),
            records,
            is_v5: bytes[101] & 0xF == 5,
            block_bytes: be32(&bytes, 4),
            inode_bytes: be16(&bytes, 104),
            bytes,
        }
    }

    /// Makes right the checksum of what a changed byte lies in.
    fn fix(&self, disk: &mut PatchedDisk<'_>, at: u64) {
        let at = usize::try_from(at).expect("a small image");
        let get = |disk: &PatchedDisk<'_>, start: usize, length: usize| {
            let mut bytes = vec![0; length];
            disk.read_exact_at(start as u64, &mut bytes).ok().map(|()| bytes)
        };
        let before = self.records.partition_point(|record| *record <= at);
        if let Some(record) = before.checked_sub(1).map(|index| self.records[index]) {
            let header = get(disk, record, SECTOR).expect("a sector");
            let headers = if be32(&header, 8) & 2 == 0 { 1 } else { be32(&header, 320).div_ceil(32 << 10).clamp(1, 8) };
            let length = be32(&header, 12);
            if is_record(&header) && at < record + headers * SECTOR + length.next_multiple_of(SECTOR) {
                let whole = (length <= 256 << 10).then(|| get(disk, record, headers * SECTOR + length)).flatten();
                if let Some(whole) = whole {
                    let sum = record_sum(&whole, headers);
                    disk.patch(record as u64 + 32, &sum.to_le_bytes());
                }
                return;
            }
        }
        if !self.is_v5 {
            return;
        }
        let mut put = |start: usize, length: usize, place: usize| {
            if let Some(mut bytes) = get(disk, start, length) {
                bytes[place..place + 4].fill(0);
                disk.patch((start + place) as u64, &crc32c::crc32c(&bytes).to_le_bytes());
            }
        };
        let start = at / self.block_bytes * self.block_bytes;
        let block = &self.bytes[start..start + self.block_bytes];
        match &block[..4] {
            _ if at < SECTOR => put(0, SECTOR, 224),
            _ if block.starts_with(b"IN") => put(at / self.inode_bytes * self.inode_bytes, self.inode_bytes, 100),
            b"BMA3" => put(start, self.block_bytes, 64),
            b"XDB3" | b"XDD3" => put(start, self.block_bytes, 4),
            b"XSLM" | b"XARM" => put(start, self.block_bytes, 12),
            _ if matches!(block[8..10], [0x3B, 0xEE] | [0x3E, 0xBE] | [0x3D, 0xF1 | 0xFF]) => {
                put(start, self.block_bytes, 12);
            }
            _ => {}
        }
    }
}

/// The checksum of a record: over its header with the field itself as zeros, what further headers have, its data.
fn record_sum(record: &[u8], headers: usize) -> u32 {
    let (first, data) = (&record[..328], &record[headers * SECTOR..]);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&first[..32]), &[0; 4]);
    let mut sum = crc32c::crc32c_append(sum, &first[36..]);
    for header in 1..headers.min(data.len().div_ceil(32 << 10)) {
        sum = crc32c::crc32c_append(sum, &record[header * SECTOR..][..260]);
    }
    crc32c::crc32c_append(sum, data)
}

/// Which image, and in the highest bit whether checksums are left as they are; then changes.
pub fn run(mut data: &[u8]) -> bool {
    let which = take_u8(&mut data);
    let base = base(which & 0x7F);
    let mut disk = PatchedDisk::new(&base.bytes, base.bytes.len() as u64);
    let changed = change(&mut disk, &base.structures, data);
    if which & 0x80 == 0 {
        for at in changed {
            base.fix(&mut disk, at);
        }
    }
    open_and_walk(disk)
}
