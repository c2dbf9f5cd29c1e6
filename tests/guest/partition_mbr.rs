//! Promise 5: every volume of an MBR disk is found, logical ones included, and a boot sector is not taken for a table.

use crate::guest_support::{FailingDisk, MemoryDisk};
use icecore::guest::partition::{TableKind, TableProblem, VolumeProblem, VolumeType, find_volumes};

const SECTOR: usize = 512;

fn disk(sectors: usize) -> Vec<u8> {
    vec![0; sectors * SECTOR]
}

/// Writes entry `index` of the boot record at `sector`.
fn entry(disk: &mut [u8], sector: usize, index: usize, kind: u8, first: u32, sectors: u32) {
    let record = &mut disk[sector * SECTOR..][..SECTOR];
    record[510..].copy_from_slice(&[0x55, 0xAA]);
    let entry = &mut record[446 + 16 * index..][..16];
    entry[4] = kind;
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
}

fn names_of(disk: Vec<u8>) -> Vec<(String, u64, u64)> {
    let table = find_volumes(&MemoryDisk(disk)).expect("a disk in memory can be read");
    table.volumes.iter().map(|volume| (volume.name(), volume.start / 512, volume.size_bytes / 512)).collect()
}

#[test]
fn primary_and_logical_partitions_have_their_numbers() {
    let mut bytes = disk(1000);
    entry(&mut bytes, 0, 0, 0x83, 10, 90);
    entry(&mut bytes, 0, 2, 0x0F, 200, 800);
    entry(&mut bytes, 200, 0, 0x83, 5, 50);
    entry(&mut bytes, 200, 1, 0x05, 100, 100);
    entry(&mut bytes, 300, 0, 0x82, 5, 60);
    let expected = [("p1", 10, 90), ("p5", 205, 50), ("p6", 305, 60)];
    assert_eq!(names_of(bytes), expected.map(|(name, start, size)| (name.to_owned(), start, size)));
}

#[test]
fn a_type_is_named() {
    let mut bytes = disk(100);
    entry(&mut bytes, 0, 3, 0x8E, 10, 20);
    let table = find_volumes(&MemoryDisk(bytes)).expect("a table");
    assert_eq!(table.kind, TableKind::Mbr);
    assert_eq!(table.volumes[0].kind, VolumeType::Mbr(0x8E));
    assert_eq!(table.volumes[0].kind.name(), "Linux LVM");
}

#[test]
fn a_loop_of_extended_records_ends() {
    let mut bytes = disk(1000);
    entry(&mut bytes, 0, 0, 0x83, 10, 90);
    entry(&mut bytes, 0, 1, 0x85, 200, 800);
    entry(&mut bytes, 200, 0, 0x83, 5, 50);
    entry(&mut bytes, 200, 1, 0x05, 100, 100);
    entry(&mut bytes, 300, 0, 0x83, 5, 50);
    entry(&mut bytes, 300, 1, 0x05, 0, 100);
    let table = find_volumes(&MemoryDisk(bytes)).expect("a table");
    assert_eq!(table.volumes.len(), 3);
    assert_eq!(table.problems, [TableProblem::ExtendedChainLoops { sector: 200 }]);
}

#[test]
fn a_broken_chain_costs_only_what_is_behind_it() {
    let mut bytes = disk(1000);
    entry(&mut bytes, 0, 1, 0x05, 200, 800);
    entry(&mut bytes, 200, 0, 0x83, 5, 50);
    entry(&mut bytes, 200, 1, 0x05, 5_000_000, 100);
    let table = find_volumes(&MemoryDisk(bytes)).expect("a table");
    assert_eq!(table.volumes.len(), 1);
    assert_eq!(table.problems, [TableProblem::ExtendedChainBroken { sector: 5_000_200 }]);
}

#[test]
fn a_record_that_cannot_be_read_costs_only_what_is_behind_it() {
    let mut bytes = disk(1000);
    entry(&mut bytes, 0, 0, 0x83, 10, 90);
    entry(&mut bytes, 0, 1, 0x05, 200, 800);
    entry(&mut bytes, 200, 0, 0x83, 5, 50);
    entry(&mut bytes, 200, 1, 0x05, 100, 100);
    let table = find_volumes(&FailingDisk { bytes, bad: 300 * 512..301 * 512 }).expect("a table");
    assert_eq!(table.volumes.iter().map(|volume| volume.number).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(table.problems, [TableProblem::ExtendedChainUnreadable { sector: 300 }]);
}

#[test]
fn a_lie_costs_the_volume_that_it_is_about() {
    let mut bytes = disk(1000);
    entry(&mut bytes, 0, 0, 0x83, 10, 90);
    entry(&mut bytes, 0, 1, 0x83, 900, 101);
    entry(&mut bytes, 0, 2, 0x83, 200, 100);
    entry(&mut bytes, 0, 3, 0x83, 1, 998);
    let table = find_volumes(&MemoryDisk(bytes)).expect("a table");
    let problems: Vec<_> = table.volumes.iter().map(|volume| volume.problem).collect();
    let overlaps = Some(VolumeProblem::Overlaps { with: 3 });
    assert_eq!(problems, [None, Some(VolumeProblem::PastEnd), None, overlaps]);
}

#[test]
fn a_fat_boot_sector_is_no_table() {
    let mut bytes = disk(4096);
    bytes[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
    bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
    bytes[13] = 4;
    bytes[14] = 1;
    bytes[16] = 2;
    bytes[19..21].copy_from_slice(&4096_u16.to_le_bytes());
    bytes[0x36..0x3B].copy_from_slice(b"FAT16");
    // Boot code where a table would have its entries, as good as any entry but for the status byte.
    bytes[446..510].fill(0x42);
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    let table = find_volumes(&MemoryDisk(bytes.clone())).expect("a disk");
    assert_eq!((table.kind, table.volumes[0].name()), (TableKind::None, "whole".to_owned()));
    bytes[446..510].fill(0);
    let table = find_volumes(&MemoryDisk(bytes)).expect("a disk");
    assert_eq!(table.kind, TableKind::None, "also with zeros for entries");
}

#[test]
fn an_ext_file_system_with_a_boot_loader_is_no_table() {
    let mut bytes = disk(4096);
    bytes[1024 + 0x38..][..2].copy_from_slice(&0xEF53_u16.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    let table = find_volumes(&MemoryDisk(bytes)).expect("a disk");
    assert_eq!(table.kind, TableKind::None);
    assert_eq!((table.volumes[0].start, table.volumes[0].size_bytes), (0, 4096 * 512));
}

#[test]
fn a_table_before_an_old_superblock_counts() {
    let mut bytes = disk(4096);
    bytes[1024 + 0x38..][..2].copy_from_slice(&0xEF53_u16.to_le_bytes());
    entry(&mut bytes, 0, 0, 0x83, 2048, 1000);
    assert_eq!(names_of(bytes), [("p1".to_owned(), 2048, 1000)]);
}

#[test]
fn a_disk_smaller_than_a_sector_is_whole() {
    assert_eq!(names_of(vec![0; 100]), [("whole".to_owned(), 0, 0)]);
    assert_eq!(names_of(Vec::new()), [("whole".to_owned(), 0, 0)]);
}

// Promise 3. What can't be read at a disk's end, where some formats keep a record, costs nothing of its table.
#[test]
fn an_unreadable_end_hides_no_partition() {
    let mut bytes = disk(1000);
    entry(&mut bytes, 0, 0, 0x83, 10, 90);
    let end = bytes.len() as u64;
    let disk = FailingDisk { bytes, bad: end - 200 * 512..end };
    let table = find_volumes(&disk).expect("a table");
    assert_eq!(table.volumes.iter().map(|volume| volume.name()).collect::<Vec<_>>(), ["p1"]);
}
