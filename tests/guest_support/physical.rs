//! Physical volumes of LVM2, written by hand: whatever their metadata says, checksums are right.

use std::sync::Arc;

use icecore::guest::lvm::{Assembly, PhysicalVolume, assemble};
use icecore::guest::{BlockRead, MediumError};

use super::{MemoryDisk, source::noise};

pub const EXTENT: usize = 64 << 10;
/// Where a volume's extents begin.
pub const DATA_AT: usize = 1 << 20;
pub const EXTENTS: usize = 16;
pub const AREA_AT: usize = 4096;
pub const AREA_BYTES: usize = (1 << 20) - AREA_AT;

/// LVM2's checksum.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// Makes the checksums of a physical volume right: label, header of the area, text.
pub fn put_checksums(disk: &mut [u8]) {
    let label = &mut disk[512..1024];
    let sum = checksum(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    let word = |at: usize| u64::from_le_bytes(disk[AREA_AT + at..][..8].try_into().expect("eight bytes")) as usize;
    let (at, length) = (word(40), word(48));
    if (512..AREA_BYTES).contains(&at) && length <= AREA_BYTES - 512 {
        let ring = &disk[AREA_AT + 512..AREA_AT + AREA_BYTES];
        let text: Vec<u8> = (0..length).map(|byte| ring[(at - 512 + byte) % ring.len()]).collect();
        disk[AREA_AT + 56..AREA_AT + 60].copy_from_slice(&checksum(&text).to_le_bytes());
    }
    let sum = checksum(&disk[AREA_AT + 4..AREA_AT + 512]);
    disk[AREA_AT..AREA_AT + 4].copy_from_slice(&sum.to_le_bytes());
}

/// A physical volume that holds a metadata text, which begins so far into the ring that it may wrap.
pub fn physical(id: &str, text: &str, into_ring: usize) -> Vec<u8> {
    let mut disk = vec![0; DATA_AT + EXTENTS * EXTENT];
    let label = &mut disk[512..1024];
    label[..8].copy_from_slice(b"LABELONE");
    label[8] = 1;
    label[20] = 32;
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(id.replace('-', "").as_bytes());
    label[72..80].copy_from_slice(&(DATA_AT as u64).to_le_bytes());
    // Behind the area of data an end, the area of metadata, an end.
    label[104..112].copy_from_slice(&(AREA_AT as u64).to_le_bytes());
    label[112..120].copy_from_slice(&(AREA_BYTES as u64).to_le_bytes());
    let ring = AREA_BYTES - 512;
    for (at, byte) in text.bytes().enumerate() {
        disk[AREA_AT + 512 + (into_ring + at) % ring] = byte;
    }
    let header = &mut disk[AREA_AT..AREA_AT + 512];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    header[24..32].copy_from_slice(&(AREA_AT as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(AREA_BYTES as u64).to_le_bytes());
    header[40..48].copy_from_slice(&((512 + into_ring) as u64).to_le_bytes());
    header[48..56].copy_from_slice(&(text.len() as u64).to_le_bytes());
    put_checksums(&mut disk);
    disk
}

/// An id of one letter.
pub fn id(letter: char) -> String {
    [6, 4, 4, 4, 4, 4, 6].map(|length| letter.to_string().repeat(length)).join("-")
}

/// The text of a group `g` on physical volumes of these letters, `pv0` and on.
pub fn group(name: &str, seqno: u32, physical: &str, volumes: &[String]) -> String {
    let one = |(number, letter): (usize, char)| {
        let id = id(letter);
        format!("pv{number} {{ id = \"{id}\" pe_start = {} pe_count = {EXTENTS} }}\n", DATA_AT / 512)
    };
    let physical: String = physical.chars().enumerate().map(one).collect();
    format!(
        "{name} {{\nid = \"{}\"\nseqno = {seqno}\nextent_size = {}\nphysical_volumes {{\n{physical}}}\nlogical_volumes {{\n{}\n}}\n}}\n\
         contents = \"Text Format Volume Group\"\n\0",
        id('g'),
        EXTENT / 512,
        volumes.concat(),
    )
}

/// A logical volume of such segments; its id is made from its name.
pub fn volume(name: &str, is_visible: bool, segments: &[&str]) -> String {
    let status = if is_visible { "[\"READ\", \"VISIBLE\"]" } else { "[\"READ\"]" };
    let segments: String =
        (1..).zip(segments).map(|(number, text)| format!("segment{number} {{ {text} }}\n")).collect();
    let letters: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let id: String = letters.chars().chain(std::iter::repeat('0')).take(32).collect();
    format!("{name} {{\nid = \"{id}\"\nstatus = {status}\n{segments}}}\n")
}

/// A segment of so many extents on one place.
pub fn linear(start: u32, count: u32, on: &str, extent: u32) -> String {
    format!(
        "start_extent = {start} extent_count = {count} type = \"striped\" stripe_count = 1 stripes = [\"{on}\", {extent}]"
    )
}

/// A hidden or visible volume of one such segment.
pub fn one(name: &str, is_visible: bool, on: &str, extent: u32) -> String {
    volume(name, is_visible, &[&linear(0, 1, on, extent)])
}

/// Two physical volumes `a` and `b` with a text on both, and noise where their extents are.
pub fn pair(text: &str) -> [Vec<u8>; 2] {
    let mut disks = [physical(&id('a'), text, 0), physical(&id('b'), text, AREA_BYTES - 512 - 100)];
    for (number, disk) in disks.iter_mut().enumerate() {
        disk[DATA_AT..].copy_from_slice(&noise(number as u64 + 5, EXTENTS * EXTENT));
    }
    disks
}

/// An extent of a physical volume.
pub fn extent(disk: &[u8], number: usize) -> &[u8] {
    &disk[DATA_AT + number * EXTENT..][..EXTENT]
}

/// A disk a part of which can't be read.
pub struct Torn {
    pub bytes: Vec<u8>,
    pub torn: std::ops::Range<usize>,
}

impl BlockRead for Torn {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let (start, end) = (offset as usize, offset as usize + buffer.len());
        if self.torn.start < end && start < self.torn.end {
            return Err(MediumError("torn".into()));
        }
        buffer.copy_from_slice(&self.bytes[start..end]);
        Ok(())
    }
}

/// The groups on these disks; one that has no label that can be believed is left out.
pub fn found_on(disks: &[Arc<dyn BlockRead>]) -> Assembly {
    let read = |(number, disk): (usize, &Arc<dyn BlockRead>)| {
        PhysicalVolume::read(Arc::clone(disk), number, format!("disk {number}")).ok().flatten()
    };
    assemble(&disks.iter().enumerate().filter_map(read).collect::<Vec<_>>(), &[])
}

/// The groups on disks in memory.
pub fn found(disks: &[Vec<u8>]) -> Assembly {
    let disks: Vec<_> = disks.iter().map(|disk| Arc::new(MemoryDisk(disk.clone())) as Arc<dyn BlockRead>).collect();
    found_on(&disks)
}
