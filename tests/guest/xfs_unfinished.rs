//! Promise 5: what the log of an XFS volume says was begun, and does not say was ended, is ended as the kernel does it.
//!
//! No machine can be made to stop between the steps of an operation, so a record is added to a log that says one was
//! begun; the kernel believes it too.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::run;
use crate::guest_support::{FileDisk, NotRun, open, source, xfs};
use icecore::guest::{GuestFileSystem, VolumeState};

const BLOCK: u64 = 4096;
const MAP: u32 = 1;
const UNMAP: u32 = 2;
const UNWRITTEN: u32 = 1 << 30;

/// An item that announces that a file gets or loses blocks.
fn remap(number: u64, inode: u64, block: u64, logical: u64, length: u32, how: u32) -> Vec<u8> {
    let mut item = Vec::new();
    item.extend(0x1244_u16.to_le_bytes());
    item.extend(1_u16.to_le_bytes());
    item.extend(1_u32.to_le_bytes());
    for field in [number, inode, block, logical] {
        item.extend(field.to_le_bytes());
    }
    item.extend(length.to_le_bytes());
    item.extend(how.to_le_bytes());
    item
}

/// Adds a record with one checkpoint behind the last one of a log.
fn add_checkpoint(image: &Path, items: &[Vec<u8>]) {
    let log = xfs::Log::of(image);
    let file = File::options().read(true).write(true).open(image).expect("the image");
    let last = *log.records().last().expect("a record");
    let mut header = vec![0; 512];
    file.read_exact_at(&mut header, last.at).expect("a header");
    let mut data = Vec::new();
    let mut operation = |flags: u8, piece: &[u8]| {
        data.extend(0x7E57_u32.to_be_bytes());
        data.extend((piece.len() as u32).to_be_bytes());
        data.extend([0x69, flags, 0, 0]);
        data.extend(piece);
    };
    operation(0x01, &[]);
    let header_of_checkpoint = [0x5452_414E, 40, 0x7E57, items.len() as u32].map(u32::to_le_bytes).concat();
    operation(0, &header_of_checkpoint);
    items.iter().for_each(|item| operation(0, item));
    operation(0x02, &[]);
    data.resize(data.len().next_multiple_of(512), 0);
    let at = last.at + last.bytes;
    assert!(at + 512 + data.len() as u64 <= log.start + log.bytes, "the log goes round here");
    let number = ((at - log.start) / 512) as u32;
    let put = |header: &mut [u8], at: usize, field: u32| header[at..at + 4].copy_from_slice(&field.to_be_bytes());
    put(&mut header, 12, data.len() as u32);
    put(&mut header, 20, number);
    put(&mut header, 36, ((last.at - log.start) / 512) as u32);
    put(&mut header, 40, 3 + items.len() as u32);
    let cycle: [u8; 4] = header[4..8].try_into().expect("4 bytes");
    for (index, sector) in data.chunks_mut(512).enumerate() {
        header[44 + index * 4..48 + index * 4].copy_from_slice(&sector[..4]);
        sector[..4].copy_from_slice(&cycle);
    }
    header[32..36].fill(0);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..328]), &data);
    header[32..36].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&[header, data].concat(), at).expect("a record");
}

/// The number of the block in which a file's content begins, as structures have it.
fn first_block(file: &Path, image: &Path) -> u64 {
    let map = run("xfs_io", &["-r", "-c", "bmap -v", file.to_str().expect("UTF-8")]);
    let line = map.lines().find(|line| line.trim_start().starts_with("0:")).expect("an extent");
    let place = line.split("]:").nth(1).and_then(|rest| rest.trim().split("..").next()).expect("a place");
    let linear = place.parse::<u64>().expect("a number") * 512 / BLOCK;
    let mut superblock = [0; 512];
    File::open(image).expect("the image").read_exact_at(&mut superblock, 0).expect("a superblock");
    let group_blocks = u64::from(u32::from_be_bytes(superblock[84..88].try_into().expect("4 bytes")));
    ((linear / group_blocks) << superblock[124]) | (linear % group_blocks)
}

#[test]
fn files_get_and_lose_the_blocks_that_the_log_announces() {
    let place = xfs::scratch();
    let mut not_run = NotRun::new("files_get_and_lose_the_blocks_that_the_log_announces");
    if let Err(why) = xfs::can_make() {
        return not_run.add("all of it", &why);
    }
    let (made, image) = (place.path().join("image"), place.path().join("crashed"));
    xfs::make(&made, "300M", &[]);
    let root = place.path().join("mount");
    let mount = match xfs::mount(&made, &root, "rw") {
        Ok(mount) => mount,
        Err(why) => return not_run.add("all of it", &why),
    };
    let path = |name: &str| root.join(name);
    fs::write(path("loses"), source::noise(1, 40 * BLOCK as usize)).expect("a file");
    fs::write(path("gets"), source::noise(2, 5 * BLOCK as usize)).expect("a file");
    File::options().write(true).open(path("gets")).and_then(|file| file.set_len(100 * BLOCK)).expect("a length");
    run("sync", &["-f", root.to_str().expect("UTF-8")]);
    let block = first_block(&path("loses"), &made);
    let inode = |name: &str| fs::metadata(path(name)).expect("metadata").ino();
    let (loses, gets) = (inode("loses"), inode("gets"));
    let marker = File::create(path("marker")).expect("a file");
    marker.sync_all().expect("a sync");
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        ("lost", vec![remap(1, loses, block + 10, 10, 7, UNMAP)]),
        (
            "moved from a file to a hole of another",
            vec![remap(1, loses, block + 3, 3, 4, UNMAP), remap(2, gets, block + 3, 50, 4, MAP)],
        ),
        (
            "moved, and never written",
            vec![remap(1, loses, block + 3, 3, 4, UNMAP), remap(2, gets, block + 3, 50, 4, MAP | UNWRITTEN)],
        ),
        (
            "exchanged, the order of what was begun being what counts",
            vec![
                remap(9, loses, block, 0, 2, UNMAP),
                remap(5, gets, block, 60, 2, MAP),
                remap(7, loses, block + 30, 30, 2, UNMAP),
                remap(1, loses, block + 30, 0, 2, MAP),
            ],
        ),
    ];
    for (what, items) in cases {
        xfs::copy(&made, &image);
        add_checkpoint(&image, items);
        let theirs = xfs::copy(&image, &place.path().join("theirs"));
        let ours = open(FileDisk::open(&image));
        let state = ours.info().state;
        assert!(matches!(state, VolumeState::Replayed { .. }), "{what}: {state:?}");
        let recovered = xfs::mount(&theirs, &place.path().join("recovered"), "rw,noatime").expect("a recovered copy");
        compare(&ours, &recovered.path, Against::Kernel).expect_same(what);
        let changed = compare(&open(FileDisk::open(&image)), &mount.path, Against::Kernel);
        assert!(!changed.differences.is_empty(), "{what}: the record changes nothing");
    }
}
