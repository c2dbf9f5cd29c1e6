//! Promise 5, on hostile disks: whatever a guest's root writes into labels, metadata, pools, stores and records of LVM2, with
//! right checksums, nothing panics, hangs or reads outside of its disks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest_support::physical::{AREA_AT, DATA_AT, found_on, put_checksums};
use crate::guest_support::{PatchedDisk, lvm, source};
use icecore::guest::BlockRead;

const ROUNDS: usize = 1500;
const TIME_MAX: Duration = Duration::from_secs(5);
const BLOCK: usize = 4096;
/// What the checksums of a pool's superblock and of its trees are crossed with.
const THIN_XORS: [u32; 2] = [160_774, 121_107];

/// Opens and reads whatever can be: how many volumes could be opened.
fn look(disks: &[Arc<dyn BlockRead>]) -> usize {
    let mut opened = 0;
    let mut buffer = vec![0; 60_000];
    for volume in found_on(disks).volumes.iter().take(100) {
        assert!(!volume.name().is_empty() && !volume.name().contains('/') && volume.home() < disks.len().max(1));
        let Ok(open) = volume.open() else { continue };
        let size = open.device.size_bytes();
        for part in 0..8 {
            let at = size / 8 * part;
            let length = buffer.len().min(usize::try_from(size - at).unwrap_or(usize::MAX));
            let _ = open.device.read_exact_at(at, &mut buffer[..length]);
        }
        opened += 1;
    }
    opened
}

/// One change: a bit, a byte, a word of ones, zeros or another place, or eight bytes of one of them.
fn change(bytes: &mut [u8], at: usize, value: u64) {
    let (narrow, wide) = (at / 4 * 4, at / 8 * 8);
    match value % 7 {
        0 => bytes[at] ^= 1 << ((value >> 8) & 7),
        1 => bytes[at] = (value >> 8) as u8,
        2 => bytes[narrow..narrow + 4].fill(0xFF),
        3 => bytes[narrow..narrow + 4].fill(0),
        4 => bytes[wide..wide + 8].fill(0xFF),
        5 => bytes[wide..wide + 8].copy_from_slice(&((value >> 8) % 64).to_le_bytes()),
        _ => bytes[narrow..narrow + 4].copy_from_slice(&((value >> 8) as u32 % 64).to_le_bytes()),
    }
}

fn thin_checksum(block: &[u8], xor: u32) -> u32 {
    !crc32c::crc32c(&block[4..]) ^ xor
}

fn patched(disks: &[Arc<Vec<u8>>], number: usize, at: usize, bytes: Vec<u8>) -> Vec<Arc<dyn BlockRead>> {
    let patches = |disk| if disk == number { vec![(at, bytes.clone())] } else { Vec::new() };
    let disk = |(number, bytes): (usize, &Arc<Vec<u8>>)| {
        Arc::new(PatchedDisk { bytes: Arc::clone(bytes), patches: patches(number) }) as Arc<dyn BlockRead>
    };
    disks.iter().enumerate().map(disk).collect()
}

fn timed(what: &str, round: usize, disks: &[Arc<dyn BlockRead>]) -> usize {
    let start = Instant::now();
    let opened = look(disks);
    assert!(start.elapsed() < TIME_MAX, "{what}: round {round} takes too long");
    opened
}

#[test]
fn no_label_header_or_text_panics_or_hangs() {
    let disks = lvm::kept();
    let whole = look(&lvm::in_memory(&disks));
    assert_eq!(whole, 7, "the whole images");
    let mut opened = 0;
    for (round, value) in source::random(3, ROUNDS).enumerate() {
        let number = round % disks.len();
        let mut head = disks[number][..DATA_AT].to_vec();
        // Where the text is that counts.
        let word = |at: usize| u64::from_le_bytes(head[AREA_AT + at..][..8].try_into().expect("eight bytes")) as usize;
        let (text, length) = (AREA_AT + word(40), word(48));
        for step in 0..=round % 4 {
            let value = value.rotate_left(step as u32 * 13);
            let place = (value >> 20) as usize;
            match value % 8 {
                0 => change(&mut head, 512 + place % 160, value),
                1 => change(&mut head, AREA_AT + place % 72, value),
                2 => swap_words(&mut head[text..text + length], place),
                3 | 4 => change_digit(&mut head[text..text + length], place, value),
                _ => head[text + place % length] = b"0123456789\"{}[]=,#\n\0-vpt"[(value >> 8) as usize % 24],
            }
        }
        put_checksums(&mut head);
        opened += timed("metadata", round, &patched(&disks, number, 0, head));
    }
    assert!(opened > ROUNDS / 2, "most changes leave something to open: {opened}");
}

/// Exchanges two quoted words, so that volumes name each other and themselves.
fn swap_words(text: &mut [u8], place: usize) {
    let quotes: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'"').collect();
    let word = |at: usize| quotes[at % (quotes.len() / 2) * 2] + 1;
    let (from, to) = (word(place), word(place / 7919));
    let end = |at: usize, text: &[u8]| at + text[at..].iter().position(|byte| *byte == b'"').unwrap_or(0);
    let source = text[from..end(from, text)].to_vec();
    // Words of the same length stay words.
    let target = to..end(to, text);
    if target.len() == source.len() {
        text[target].copy_from_slice(&source);
    }
}

fn change_digit(text: &mut [u8], place: usize, value: u64) {
    let digits: Vec<usize> = (0..text.len()).filter(|at| text[*at].is_ascii_digit()).collect();
    text[digits[place % digits.len()]] = b'0' + ((value >> 8) % 10) as u8;
}

#[test]
fn no_pool_store_or_record_panics_or_hangs() {
    let disks = lvm::kept();
    // Blocks that hold structures: those with a thin pool's checksum, a store, records of the driver, and all behind a store.
    let mut places = Vec::new();
    for (number, disk) in disks.iter().enumerate() {
        for at in (DATA_AT..disk.len()).step_by(BLOCK) {
            let block = &disk[at..at + BLOCK];
            let stored = u32::from_le_bytes(block[..4].try_into().expect("four bytes"));
            let xor = THIN_XORS.into_iter().find(|xor| stored == thin_checksum(block, *xor));
            let behind = at.checked_sub(BLOCK).is_some_and(|before| disk[before..].starts_with(b"SnAp"));
            if xor.is_some() || block.starts_with(b"SnAp") || block.starts_with(b"DmRd") || behind {
                places.push((number, at, xor));
            }
        }
    }
    assert!(places.len() > 12, "{} blocks of structures", places.len());
    let mut opened = 0;
    for (round, value) in source::random(4, ROUNDS).enumerate() {
        let (number, at, xor) = places[round % places.len()];
        let mut block = disks[number][at..at + BLOCK].to_vec();
        for step in 0..=round % 3 {
            let value = value.rotate_left(step as u32 * 17);
            // Headers, the entries that follow them, and where the values of a full node lie.
            let reach = [48, 200, 400, BLOCK - 8][(value >> 50) as usize % 4];
            change(&mut block, 4 + (value >> 20) as usize % reach, value);
        }
        if let Some(xor) = xor {
            let sum = thin_checksum(&block, xor);
            block[..4].copy_from_slice(&sum.to_le_bytes());
        }
        opened += timed("structures", round, &patched(&disks, number, at, block));
    }
    assert!(opened > ROUNDS, "most changes leave something to open: {opened}");
}
