//! Fast commits for the image of an ext file system that has some: made, and their checksums put right after a mutation.

use icecore::guest::BlockRead;

use super::{take_u16, u32_in};
use crate::disk::PatchedDisk;

/// Of the image.
pub const BLOCK_BYTES: usize = 1024;
/// That hold fast commits.
pub const BLOCKS: usize = 2;

const CREATE: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const TAIL: u16 = 8;
const HEAD: u16 = 9;
const TAG_BYTES: usize = 4;

/// Where the area begins in an image: at a block that begins with a head.
pub fn find(image: &[u8]) -> Option<usize> {
    let begins = |block: &[u8]| block.starts_with(&[9, 0, 8, 0, 0, 0, 0, 0]);
    image.chunks(BLOCK_BYTES).position(begins).map(|index| index * BLOCK_BYTES)
}

/// The kernel's CRC-32C: not inverted, from a start of its own.
fn checksum(start: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!start, bytes)
}

/// Puts the checksum of each commit's tail right.
pub fn fix(disk: &mut PatchedDisk<'_>, at: u64) {
    let mut sum = 0;
    for index in 0..BLOCKS {
        let mut block = [0; BLOCK_BYTES];
        let begin = at + (index * BLOCK_BYTES) as u64;
        if disk.read_exact_at(begin, &mut block).is_err() {
            return;
        }
        let mut place = 0;
        while let Some(mut header) = block.get(place..place + TAG_BYTES) {
            let (kind, length) = (take_u16(&mut header), usize::from(take_u16(&mut header)));
            let Some(whole) = block.get(place..place + TAG_BYTES + length) else { break };
            if kind == TAIL && length >= 8 {
                let stored = checksum(sum, &whole[..TAG_BYTES + 4]);
                disk.patch(begin + (place + TAG_BYTES + 4) as u64, &stored.to_le_bytes());
                sum = 0;
            } else {
                sum = checksum(sum, whole);
            }
            place += whole.len();
        }
    }
}

/// Two blocks with a fast commit each, of transaction `sequence`: a file and a directory come, names come and go, ranges too.
/// `root` and `small` are inodes with links, `free` is one without; blocks from `block` on hold anything.
pub fn area(sequence: u32, root: u32, small: u32, free: u32, block: u32) -> Vec<u8> {
    let inode = |number: u32, mode: u16, size: u32| {
        let mut raw = [0; 128];
        raw[..2].copy_from_slice(&mode.to_le_bytes());
        raw[4..8].copy_from_slice(&size.to_le_bytes());
        raw[0x1A] = 1;
        raw[0x20..0x24].copy_from_slice(&0x8_0000_u32.to_le_bytes());
        tag(6, &[&number.to_le_bytes(), &raw])
    };
    let name = |kind: u16, directory: u32, number: u32, name: &[u8]| {
        tag(kind, &[&directory.to_le_bytes(), &number.to_le_bytes(), name])
    };
    let add = |number: u32, logical: u32, length: u16, physical: u32| {
        tag(
            1,
            &[&number.to_le_bytes(), &logical.to_le_bytes(), &length.to_le_bytes(), &[0; 2], &physical.to_le_bytes()],
        )
    };
    let first = [
        tag(HEAD, &[&0_u32.to_le_bytes(), &sequence.to_le_bytes()]),
        inode(free, 0o100_644, 9000),
        add(free, 0, 3, block),
        add(free, 5, 0x8002, block + 3),
        name(CREATE, root, free, b"new"),
        name(LINK, root, free, b"again"),
    ];
    let second = [
        inode(free + 1, 0o040_755, 1024),
        name(CREATE, root, free + 1, b"directory"),
        name(LINK, free + 1, small, b"inside"),
        name(UNLINK, root, small, b"small"),
        tag(2, &[&free.to_le_bytes(), &1_u32.to_le_bytes(), &1_u32.to_le_bytes()]),
    ];
    [first.concat(), second.concat()].iter().flat_map(|tags| finish(sequence, tags)).collect()
}

fn tag(kind: u16, value: &[&[u8]]) -> Vec<u8> {
    let value = value.concat();
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), &value].concat()
}

/// A commit that fits in a block: its tags and a tail that fills the rest.
fn finish(sequence: u32, tags: &[u8]) -> Vec<u8> {
    let length = u16::try_from(BLOCK_BYTES - tags.len() - TAG_BYTES).unwrap_or(u16::MAX);
    let mut block = [tags, &TAIL.to_le_bytes(), &length.to_le_bytes(), &sequence.to_le_bytes()].concat();
    let sum = checksum(0, &block);
    block.extend(sum.to_le_bytes());
    block.resize(BLOCK_BYTES, 0);
    debug_assert_eq!(u32_in(&block, tags.len() + TAG_BYTES), sequence);
    block
}
