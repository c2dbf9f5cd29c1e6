//! LVM2: groups on two small disks, changed in a few places, or the text of a group; then every volume opened and read.
//!
//! Only the changes are the input, as with file systems. Checksums are made right: a hostile guest's would be.

use std::sync::{Arc, OnceLock};

use icecore::guest::BlockRead;
use icecore::guest::lvm::{PhysicalVolume, assemble};

use super::ext::{base_path, unpack};
use super::{take_u8, take_u16};
use crate::disk::PatchedDisk;

/// The images; a machine with device-mapper makes them: see `tests/guest_support/lvm.rs`.
const IMAGES: [&str; 2] = ["lvm-0", "lvm-1"];

const PIECE_BYTES: usize = 256;
const BLOCK_BYTES: usize = 4096;
const LABEL_AT: usize = 512;
const AREA_AT: usize = 4096;
const HEADER_BYTES: usize = 512;
const DATA_AT: usize = 1 << 20;
/// What the checksums of a pool's superblock and of its trees are crossed with.
const THIN_XORS: [u32; 2] = [160_774, 121_107];

/// Most volumes that are opened, and what all of them may read: more means that some call of its own is not bounded.
const VOLUMES: usize = 64;
const MOST_READ_BYTES: u64 = 1 << 30;
const MOST_READS: u64 = 2_000_000;

struct Base {
    bytes: Vec<u8>,
    /// Where pieces begin that hold structures.
    structures: Vec<usize>,
    /// Blocks of pools, and what their checksums are crossed with.
    pools: Vec<(usize, u32)>,
}

fn bases() -> &'static [Base] {
    static ALL: OnceLock<Vec<Base>> = OnceLock::new();
    ALL.get_or_init(|| {
        let load = |name: &&str| Base::new(unpack(&std::fs::read(base_path(name)).expect("an image that is kept")));
        IMAGES.iter().map(load).collect()
    })
}

fn thin_checksum(block: &[u8], xor: u32) -> u32 {
    !crc32c::crc32c(&block[4..]) ^ xor
}

/// LVM2's checksum.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

/// The text that a disk's header names.
fn text(disk: &PatchedDisk<'_>) -> Option<Vec<u8>> {
    let mut header = [0; HEADER_BYTES];
    disk.read_exact_at(AREA_AT as u64, &mut header).ok()?;
    let word = |at: usize| usize::try_from(u64::from_le_bytes(header[at..at + 8].try_into().ok()?)).ok();
    let (at, length) = (word(40)?, word(48)?);
    let end = at.checked_add(length).filter(|end| *end <= DATA_AT - AREA_AT)?;
    let mut text = vec![0; end - at];
    disk.read_exact_at((AREA_AT + at) as u64, &mut text).ok()?;
    Some(text)
}

/// A text of its own for the disks: volumes of most layouts, made of each other.
pub(crate) fn hand_made() -> String {
    let id = |base: &Base| String::from_utf8_lossy(&base.bytes[LABEL_AT + 32..LABEL_AT + 64]).into_owned();
    let physical: String = (0..)
        .zip(bases())
        .map(|(number, base)| format!("pv{number} {{ id = \"{}\" pe_start = 2048 pe_count = 40 }}\n", id(base)))
        .collect();
    let mut volumes = String::new();
    let mut add = |name: &str, segment: &str| {
        let letters: String = name.bytes().map(|byte| format!("{byte:02x}")).chain(["0".repeat(32)]).collect();
        let segment = format!("segment1 {{ start_extent = 0 extent_count = {segment} }}");
        volumes += &format!("{name} {{ id = \"{}\" status = [\"VISIBLE\"] {segment} }}\n", &letters[..32]);
    };
    for (name, on, at) in [("a", "pv0", 0), ("b", "pv1", 2), ("c", "a", 0), ("d", "pv0", 9)] {
        add(name, &format!("4 type = \"striped\" stripe_count = 1 stripes = [\"{on}\", {at}]"));
    }
    add("s", "8 type = \"striped\" stripe_count = 2 stripe_size = 128 stripes = [\"c\", 0, \"b\", 0]");
    add("m", "4 type = \"mirror\" mirror_count = 2 mirror_log = \"d\" mirrors = [\"a\", 0, \"b\", 0]");
    add(
        "r",
        "8 type = \"raid5\" device_count = 3 stripe_size = 128 raids = [\"d\", \"a\", \"d\", \"b\", \"d\", \"c\"]",
    );
    add("z", "4 type = \"zero\"");
    add("o", "4 type = \"snapshot\" origin = \"z\" cow_store = \"d\"");
    add("p", "4 type = \"thin-pool\" metadata = \"a\" pool = \"b\"");
    add("t", "4 type = \"thin\" thin_pool = \"p\" device_id = 1 external_origin = \"z\"");
    format!(
        "vg {{ id = \"{}\" seqno = 3 extent_size = 256 physical_volumes {{ {physical} }} logical_volumes {{ {volumes} }} }}\0",
        "h".repeat(32)
    )
}

impl Base {
    fn new(bytes: Vec<u8>) -> Self {
        let blocks = || (0..).step_by(BLOCK_BYTES).zip(bytes.chunks_exact(BLOCK_BYTES));
        let xor_of = |block: &[u8]| {
            let stored = u32::from_le_bytes(block[..4].try_into().expect("four bytes"));
            THIN_XORS.into_iter().find(|xor| stored == thin_checksum(block, *xor))
        };
        let behind_data = || blocks().filter(|(at, _)| *at >= DATA_AT);
        let pools: Vec<_> = behind_data().filter_map(|(at, block)| Some((at, xor_of(block)?))).collect();
        let named =
            |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(b"SnAp") || rest.starts_with(b"DmRd"));
        let is_structure = |at: usize| {
            let block = at / BLOCK_BYTES * BLOCK_BYTES;
            let is_pool = pools.iter().any(|(pool, _)| *pool == block);
            let is_named = named(block) || block.checked_sub(BLOCK_BYTES).is_some_and(named);
            let has_any = bytes[at..at + PIECE_BYTES].iter().any(|byte| *byte != 0);
            has_any && (at < DATA_AT || is_pool || is_named)
        };
        let structures = (0..bytes.len()).step_by(PIECE_BYTES).filter(|at| is_structure(*at)).collect();
        Self { bytes, structures, pools }
    }

    fn fix(&self, disk: &mut PatchedDisk<'_>) {
        let read = |disk: &PatchedDisk<'_>, at: usize, length: usize| {
            let mut bytes = vec![0; length];
            disk.read_exact_at(at as u64, &mut bytes).expect("inside of the image");
            bytes
        };
        let label = read(disk, LABEL_AT, 512);
        disk.patch(LABEL_AT as u64 + 16, &checksum(&label[20..]).to_le_bytes());
        if let Some(text) = text(disk) {
            disk.patch(AREA_AT as u64 + 56, &checksum(&text).to_le_bytes());
        }
        let header = read(disk, AREA_AT, HEADER_BYTES);
        disk.patch(AREA_AT as u64, &checksum(&header[4..]).to_le_bytes());
        for (at, xor) in &self.pools {
            let block = read(disk, *at, BLOCK_BYTES);
            if block != self.bytes[*at..*at + BLOCK_BYTES] {
                disk.patch(*at as u64, &thin_checksum(&block, *xor).to_le_bytes());
            }
        }
    }
}

/// Feeds changes: which disk, a piece of it, where in that, how many bytes, the bytes. A first byte of `T` instead puts all that
/// follows in place of the group's text.
pub fn run(mut data: &[u8]) -> bool {
    let bases = bases();
    let mut disks: Vec<PatchedDisk<'static>> =
        bases.iter().map(|base| PatchedDisk::new(&base.bytes, base.bytes.len() as u64)).collect();
    if let [b'T', text @ ..] = data {
        let at = (AREA_AT + HEADER_BYTES) as u64;
        disks[0].patch(at, text);
        disks[0].patch(AREA_AT as u64 + 40, &(HEADER_BYTES as u64).to_le_bytes());
        disks[0].patch(AREA_AT as u64 + 48, &(text.len() as u64).to_le_bytes());
        // The other disk keeps none.
        disks[1].patch(AREA_AT as u64 + 40, &[0; 16]);
        data = &[];
    }
    while let [_, _, _, _, _, _, ..] = data {
        let number = usize::from(take_u8(&mut data)) % bases.len();
        let structures = &bases[number].structures;
        let piece = structures[usize::from(take_u16(&mut data)) % structures.len()];
        let at = piece + usize::from(take_u8(&mut data));
        let length = (usize::from(take_u8(&mut data)) % 16 + 1).min(data.len());
        let (bytes, rest) = data.split_at(length);
        disks[number].patch(at as u64, bytes);
        data = rest;
    }
    for (base, disk) in bases.iter().zip(&mut disks) {
        base.fix(disk);
    }
    let disks: Vec<_> = disks.into_iter().map(Arc::new).collect();
    let read = |(number, disk): (usize, &Arc<PatchedDisk<'static>>)| {
        PhysicalVolume::read(Arc::clone(disk) as Arc<dyn BlockRead>, number, format!("disk {number}")).ok().flatten()
    };
    let physical: Vec<PhysicalVolume> = disks.iter().enumerate().filter_map(read).collect();
    let assembly = assemble(&physical, &[]);
    let mut opened = 0;
    for volume in assembly.volumes.iter().take(VOLUMES) {
        let name = volume.name();
        assert!(!name.is_empty() && name.len() < 128 && !name.contains('/') && name != "." && name != "..");
        assert!(!volume.group_name().contains('/') && volume.home() < disks.len());
        opened += usize::from(look_at(volume));
    }
    for disk in &disks {
        let (bytes, reads) = disk.read_so_far();
        assert!(bytes <= MOST_READ_BYTES && reads <= MOST_READS, "{bytes} bytes in {reads} reads for one group");
    }
    // Of the two disks as they are seven volumes can be read.
    opened >= 4
}

fn look_at(volume: &icecore::guest::lvm::LogicalVolume) -> bool {
    let Ok(opened) = volume.open() else { return false };
    let size = opened.device.size_bytes();
    let mut buffer = [0; 20_000];
    for part in 0..6 {
        let at = size / 6 * part;
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let _ = opened.device.read_exact_at(at, &mut buffer[..length]);
    }
    assert!(opened.device.read_exact_at(size, &mut [0]).is_err(), "no byte behind the end");
    true
}
