//! Promise 5: what can't be browsed is named, so that nobody takes it for empty.

use std::sync::Arc;

use crate::guest_support::MemoryDisk;
use icecore::guest::{Content, Probe, probe};

fn content(bytes: Vec<u8>) -> Content {
    match probe(Arc::new(MemoryDisk(bytes))).expect("a probe") {
        Probe::Other(content) => content,
        Probe::FileSystem(_) => panic!("there is no file system"),
    }
}

fn with(at: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    bytes[at..at + magic.len()].copy_from_slice(magic);
    bytes
}

#[test]
fn known_content_is_named() {
    for (at, magic, name) in [
        (0x1_0040, &b"_BHRfS_M"[..], "btrfs"),
        (3, b"NTFS    ", "ntfs"),
        (3, b"EXFAT   ", "exfat"),
        (4086, b"SWAPSPACE2", "swap"),
        (0, b"LUKS\xba\xbe\0\x02", "LUKS"),
        (32_769, b"CD001", "iso9660"),
    ] {
        assert_eq!(content(with(at, magic)).name(), name);
    }
    let mut lvm = with(512, b"LABELONE");
    lvm[512 + 24..512 + 32].copy_from_slice(b"LVM2 001");
    assert_eq!(content(lvm), Content::Lvm2PhysicalVolume);
}

#[test]
fn nothing_is_empty_and_anything_else_unknown() {
    assert_eq!(content(vec![0; 1 << 20]), Content::Empty);
    assert_eq!(content(Vec::new()), Content::Empty);
    assert_eq!(content(vec![0x42; 3000]), Content::Unknown);
}
