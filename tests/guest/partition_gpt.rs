//! Promise 5: every volume of a GPT disk is found, through its backup where the table itself is damaged.

use crate::guest_support::{FailingDisk, MemoryDisk};
use icecore::guest::Uuid;
use icecore::guest::partition::{PartitionTable, TableKind, TableProblem, VolumeProblem, VolumeType, find_volumes};

const LINUX: [u8; 16] =
    [0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4];
const SECTORS: u64 = 1000;

/// CRC-32 bit by bit, so that the library's own is not checked with itself.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

struct Layout {
    sector: usize,
    entry: usize,
    /// First and last sector of each partition.
    partitions: Vec<(u64, u64)>,
}

impl Layout {
    fn new(partitions: &[(u64, u64)]) -> Self {
        Self { sector: 512, entry: 128, partitions: partitions.to_vec() }
    }

    fn array(&self) -> Vec<u8> {
        let mut array = vec![0; 128 * self.entry];
        for (entry, (first, last)) in array.chunks_mut(self.entry).zip(&self.partitions) {
            entry[..16].copy_from_slice(&LINUX);
            entry[16..32].fill(7);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (unit, pair) in "dåta".encode_utf16().zip(entry[56..].chunks_mut(2)) {
                pair.copy_from_slice(&unit.to_le_bytes());
            }
        }
        array
    }

    fn header(&self, own: u64, other: u64, array_at: u64, entries: u32) -> Vec<u8> {
        let mut header = vec![0; self.sector];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x1_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[72..80].copy_from_slice(&array_at.to_le_bytes());
        header[80..84].copy_from_slice(&entries.to_le_bytes());
        header[84..88].copy_from_slice(&(self.entry as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&self.array()).to_le_bytes());
        let crc = crc32(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }

    fn disk(&self) -> Vec<u8> {
        let mut disk = vec![0; SECTORS as usize * self.sector];
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk[446 + 4] = 0xEE;
        disk[446 + 8] = 1;
        disk[446 + 12..446 + 16].copy_from_slice(&999_u32.to_le_bytes());
        let array = self.array();
        let array_sectors = array.len().div_ceil(self.sector);
        let backup_array = SECTORS as usize - 1 - array_sectors;
        let mut put = |sector: usize, bytes: &[u8]| disk[sector * self.sector..][..bytes.len()].copy_from_slice(bytes);
        put(1, &self.header(1, SECTORS - 1, 2, 128));
        put(2, &array);
        put(backup_array, &array);
        put(SECTORS as usize - 1, &self.header(SECTORS - 1, 1, backup_array as u64, 128));
        disk
    }
}

fn find(disk: Vec<u8>) -> PartitionTable {
    find_volumes(&MemoryDisk(disk)).expect("a disk in memory can be read")
}

#[test]
fn volumes_have_number_range_type_name_and_uuid() {
    let table = find(Layout::new(&[(100, 199), (200, 299)]).disk());
    assert_eq!((table.kind, table.problems.as_slice()), (TableKind::Gpt, &[][..]));
    let second = &table.volumes[1];
    assert_eq!((second.name().as_str(), second.start, second.size_bytes), ("p2", 200 * 512, 100 * 512));
    assert_eq!(second.label.as_deref(), Some("dåta"));
    assert_eq!(second.uuid, Some(Uuid([7; 16])));
    assert_eq!(second.kind.name(), "Linux");
    let VolumeType::Gpt(kind) = second.kind else { panic!("a GPT type") };
    assert_eq!(kind.to_string(), "0fc63daf-8483-4772-8e79-3d69d8477de4");
}

#[test]
fn sectors_of_4096_bytes_are_found_out() {
    let table = find(Layout { sector: 4096, ..Layout::new(&[(100, 199)]) }.disk());
    assert_eq!((table.sector_bytes, table.volumes[0].start), (4096, 100 * 4096));
}

#[test]
fn larger_entries_are_stepped_over() {
    let table = find(Layout { entry: 256, ..Layout::new(&[(100, 199), (200, 299)]) }.disk());
    assert_eq!(table.volumes.len(), 2);
}

#[test]
fn the_backup_stands_in_for_a_damaged_header_or_array() {
    let whole = Layout::new(&[(100, 199)]).disk();
    for damaged_byte in [512, 512 + 40, 2 * 512 + 33] {
        let mut disk = whole.clone();
        disk[damaged_byte] ^= 1;
        let table = find(disk);
        assert_eq!(table.problems, [TableProblem::PrimaryGptDamaged], "byte {damaged_byte}");
        assert_eq!(table.volumes.len(), 1);
    }
}

#[test]
fn a_grown_disk_still_has_its_backup() {
    let mut disk = Layout::new(&[(100, 199)]).disk();
    disk[2 * 512 + 33] ^= 1;
    disk.resize(disk.len() + 51_200, 0);
    assert_eq!(find(disk).problems, [TableProblem::PrimaryGptDamaged]);
}

#[test]
fn a_grown_disk_has_its_backup_where_either_table_says() {
    // Once the header is damaged besides where the other one lies, once it is gone and the protective MBR knows it.
    for damaged in [512 + 40..512 + 41, 512..1024] {
        let mut disk = Layout::new(&[(100, 199)]).disk();
        disk[damaged].fill(0x5A);
        disk.resize(disk.len() + 51_200, 0);
        let table = find(disk);
        assert_eq!((table.problems, table.volumes.len()), (vec![TableProblem::PrimaryGptDamaged], 1));
    }
}

#[test]
fn what_cannot_be_read_is_as_good_as_damaged() {
    for bad in [0..512, 512..1024, 0..20 << 10] {
        let disk = FailingDisk { bytes: Layout::new(&[(100, 199)]).disk(), bad: bad.clone() };
        let table = find_volumes(&disk).expect("the backup");
        assert_eq!((table.kind, table.volumes.len()), (TableKind::Gpt, 1), "{bad:?}");
        let expected: &[_] = if bad.end == 512 { &[] } else { &[TableProblem::PrimaryGptDamaged] };
        assert_eq!(table.problems, expected, "{bad:?}");
    }
    let all = FailingDisk { bytes: Layout::new(&[(100, 199)]).disk(), bad: 0..u64::MAX };
    assert!(find_volumes(&all).is_err());
}

#[test]
fn both_damaged_is_said() {
    let mut disk = Layout::new(&[(100, 199)]).disk();
    disk[512] ^= 1;
    disk[999 * 512] ^= 1;
    let table = find(disk);
    assert_eq!((table.kind, table.problems), (TableKind::Gpt, vec![TableProblem::GptLost]));
}

#[test]
fn a_hybrid_counts_its_gpt() {
    let mut disk = Layout::new(&[(100, 199), (200, 299)]).disk();
    disk[462 + 4] = 0x83;
    disk[462 + 8] = 100;
    disk[462 + 12] = 100;
    let table = find(disk);
    assert_eq!((table.kind, table.volumes.len()), (TableKind::Hybrid, 2));
}

#[test]
fn a_lie_costs_the_volume_that_it_is_about() {
    let partitions = [(100, 199), (300, 250), (900, 1000), (1, u64::MAX), (u64::MAX / 600, u64::MAX / 500), (150, 400)];
    let problems: Vec<_> = find(Layout::new(&partitions).disk()).volumes.iter().map(|volume| volume.problem).collect();
    let past = Some(VolumeProblem::PastEnd);
    let (inverted, overlaps) = (Some(VolumeProblem::Inverted), Some(VolumeProblem::Overlaps { with: 1 }));
    assert_eq!(problems, [None, inverted, past, inverted, past, overlaps]);
}

#[test]
fn absurd_counts_are_damage() {
    for entries in [u32::MAX, 1 << 20] {
        let layout = Layout::new(&[(100, 199)]);
        let mut disk = layout.disk();
        disk[512..1024].copy_from_slice(&layout.header(1, 999, 2, entries));
        assert_eq!(find(disk).problems, [TableProblem::PrimaryGptDamaged]);
    }
}
