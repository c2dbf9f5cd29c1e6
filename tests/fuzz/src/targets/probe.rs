//! What lies on a volume, and what it says of itself.

use std::sync::Arc;

use icecore::guest::{Content, Probe, identify, probe};

use super::{take_u8, take_u16};
use crate::disk::PatchedDisk;

const SECTOR: u64 = 512;
/// A volume is so many of these bytes long as the input says.
const STEP_BYTES: u64 = 4096;

/// All that can be named: each is asked for its label, whatever the volume's first bytes say.
const CONTENTS: [Content; 15] = [
    Content::Btrfs,
    Content::Ntfs,
    Content::Vfat,
    Content::Exfat,
    Content::F2fs,
    Content::Erofs,
    Content::Squashfs,
    Content::Jfs,
    Content::Reiserfs,
    Content::Iso9660,
    Content::Swap,
    Content::Lvm2PhysicalVolume,
    Content::Luks,
    Content::LinuxRaidMember,
    Content::ExtJournal,
];

/// How long the volume is; then pieces of it: a sector, where in that, how many bytes, the bytes. All else are zeros.
pub fn run(mut data: &[u8]) -> bool {
    let size_bytes = u64::from(take_u16(&mut data)) * STEP_BYTES;
    let mut disk = PatchedDisk::new(&[], size_bytes);
    while let [_, _, _, _, _, _, ..] = data {
        let at = u64::from(take_u16(&mut data)) * SECTOR + u64::from(take_u16(&mut data)) % SECTOR;
        let length = (usize::from(take_u8(&mut data)) + 1).min(data.len());
        let (bytes, rest) = data.split_at(length);
        disk.patch(at, bytes);
        data = rest;
    }
    let mut said = 0;
    for content in CONTENTS {
        let identity = identify(&disk, content).expect("memory can be read");
        for text in [&identity.label, &identity.uuid].into_iter().flatten() {
            assert!(!text.is_empty() && text.len() <= 4096, "{content:?} says {text:?}");
            said += 1;
        }
    }
    let (read_bytes, reads) = disk.read_so_far();
    assert!(read_bytes <= 4 << 20 && reads <= 200, "{read_bytes} bytes in {reads} reads for labels");
    match probe(Arc::new(disk)) {
        Ok(Probe::Other(content)) => said > 0 && !matches!(content, Content::Empty | Content::Unknown),
        Ok(Probe::FileSystem(_)) | Err(_) => true,
    }
}
