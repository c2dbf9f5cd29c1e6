//! Partition tables of a guest.

use icecore::guest::partition::{PartitionTable, TableKind, find_volumes};

use super::take_u16;
use crate::disk::PatchedDisk;

const SECTOR: usize = 512;
/// A disk is longer than the input by zeros in the middle, up to so many of these bytes.
const STEP_BYTES: u64 = 1 << 16;

/// How many steps of zeros lie before the disk's last sectors, and how many of the input's sectors those are; then sectors.
pub fn run(mut data: &[u8]) -> bool {
    let zeros = u64::from(take_u16(&mut data)) * STEP_BYTES;
    let last = usize::from(take_u16(&mut data)) % 64 * SECTOR;
    let (front, back) = data.split_at(data.len().saturating_sub(last));
    let size_bytes = data.len() as u64 + zeros;
    let back_at = size_bytes - back.len() as u64;
    let mut fixed = front.to_vec();
    let mut fixed_back = back.to_vec();
    for sector_bytes in [SECTOR, 4096] {
        fix(&mut fixed, 0, sector_bytes);
        fix(&mut fixed_back, back_at, sector_bytes);
    }
    look_at(front, back, size_bytes);
    look_at(&fixed, &fixed_back, size_bytes)
}

/// Puts the checksums of every GPT header right, and of arrays that lie in the same bytes.
fn fix(bytes: &mut [u8], starts_at: u64, sector_bytes: usize) {
    let number = |bytes: &[u8], at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    for at in (0..bytes.len()).step_by(SECTOR).filter(|at| bytes.len() - at >= SECTOR).collect::<Vec<_>>() {
        if !bytes[at..].starts_with(b"EFI PART") {
            continue;
        }
        let (array, entries) = (number(bytes, at + 72, 8), number(bytes, at + 80, 8));
        let array_bytes = (entries & 0xFFFF_FFFF).saturating_mul(entries >> 32);
        let start = array.checked_mul(sector_bytes as u64).and_then(|start| start.checked_sub(starts_at));
        let start = start.and_then(|start| usize::try_from(start).ok());
        let part = start.zip(usize::try_from(array_bytes).ok());
        if let Some(part) = part.and_then(|(start, length)| bytes.get(start..start.checked_add(length)?)) {
            let sum = crc32(part);
            bytes[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
        }
        let length = usize::try_from(number(bytes, at + 12, 4)).unwrap_or(usize::MAX);
        if (92..=sector_bytes).contains(&length) && bytes.len() - at >= length {
            bytes[at + 16..at + 20].fill(0);
            let sum = crc32(&bytes[at..at + length]);
            bytes[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// CRC-32 of ISO 3309, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn look_at(front: &[u8], back: &[u8], size_bytes: u64) -> bool {
    let mut disk = PatchedDisk::new(front, size_bytes);
    disk.patch(size_bytes - back.len() as u64, back);
    let table = find_volumes(&disk).expect("memory can be read");
    check(&table, size_bytes);
    let (read_bytes, _) = disk.read_so_far();
    assert!(read_bytes <= 16 << 20, "{read_bytes} bytes were read to find volumes");
    table.kind != TableKind::None
}

fn check(table: &PartitionTable, size_bytes: u64) {
    let mut sound: Vec<(u64, u64)> = Vec::new();
    for volume in &table.volumes {
        let _ = (volume.name(), volume.kind.name());
        if volume.problem.is_none() {
            let end = volume.start.checked_add(volume.size_bytes).expect("a sound volume ends");
            assert!(end <= size_bytes, "{volume:?} lies on the disk");
            sound.push((volume.start, end));
        }
    }
    sound.sort_unstable();
    assert!(sound.windows(2).all(|pair| pair[0].1 <= pair[1].0), "sound volumes do not overlap");
    let numbers: Vec<u32> = table.volumes.iter().map(|volume| volume.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "volumes come in the order of their numbers, each once: {numbers:?}");
}
