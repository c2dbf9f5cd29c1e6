//! Promise 5: a volume that can't be browsed is named with its label and UUID, as `blkid` tells them of the same bytes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::guest_support::{FileDisk, MemoryDisk, NotRun, image};
use icecore::guest::{BlockRead, Content, Identity, Probe, identify, probe};

fn named(volume: Arc<dyn BlockRead>) -> (Content, Identity) {
    match probe(Arc::clone(&volume)).expect("a probe") {
        Probe::Other(content) => (content, identify(volume.as_ref(), content).expect("an identity")),
        Probe::FileSystem(_) => panic!("there is no file system that can be read"),
    }
}

/// One format: what `blkid` calls it, how large an image must be, and the command that makes one of it; `IMAGE` and `FOLDER`
/// are replaced.
struct Case(&'static str, &'static str, &'static str);

const CASES: [Case; 14] = [
    Case("swap", "1M", "mkswap -q -L a-swap -U 01234567-89ab-4cde-8f01-23456789abcd IMAGE"),
    Case("swap", "1M", "mkswap -q -p 65536 -L pages IMAGE"),
    Case("vfat", "1M", "mkfs.vfat -F 12 -n TWELVE IMAGE"),
    Case("vfat", "40M", "mkfs.vfat -F 16 -n MY_ESP -i 0BADCAFE IMAGE"),
    Case("vfat", "40M", "mkfs.vfat -F 32 -n BIG_ESP IMAGE"),
    Case("vfat", "40M", "mkfs.vfat -F 32 IMAGE"),
    Case("exfat", "8M", "mkfs.exfat -L stück IMAGE"),
    Case("ntfs", "8M", "mkfs.ntfs -F -q -L Fenster-größer IMAGE"),
    Case("btrfs", "128M", "mkfs.btrfs -q -L pool -U 01234567-89ab-4cde-8f01-23456789abcd IMAGE"),
    Case("crypto_LUKS", "20M", "cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 IMAGE FOLDER/key"),
    Case(
        "crypto_LUKS",
        "20M",
        "cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --label crypt IMAGE FOLDER/key",
    ),
    Case("f2fs", "64M", "mkfs.f2fs -q -l flash IMAGE"),
    Case("squashfs", "0", "mksquashfs FOLDER IMAGE -quiet -no-progress -noappend"),
    Case("erofs", "0", "mkfs.erofs -U 01234567-89ab-4cde-8f01-23456789abcd IMAGE FOLDER"),
];

/// What `blkid` says of an image; `None` where it is missing.
fn blkid(image: &Path, tag: &str) -> Option<String> {
    let output = Command::new("blkid").args(["-p", "-o", "value", "-s", tag]).arg(image).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[test]
fn labels_and_uuids_are_those_that_blkid_tells() {
    let mut not_run = NotRun::new("labels_and_uuids_are_those_that_blkid_tells");
    let place = tempfile::tempdir().expect("a directory");
    let folder = place.path().join("folder");
    std::fs::create_dir(&folder).expect("a directory");
    std::fs::write(folder.join("key"), "correct horse battery staple").expect("a file");
    let path = place.path().join("image");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let mut compared = 0;
    for Case(kind, size, command) in CASES {
        let _ = std::fs::remove_file(&path);
        image::run("truncate", &["-s", size, &text(&path)]);
        let command = command.replace("IMAGE", &text(&path)).replace("FOLDER", &text(&folder));
        let mut words = command.split(' ');
        let made = Command::new(words.next().expect("a program")).args(words).env("LC_ALL", "C.UTF-8").output();
        match made {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("{command}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                not_run.add(&command, &error.to_string());
                continue;
            }
        }
        let Some(expected) = blkid(&path, "TYPE") else { return not_run.add("all", "blkid is missing") };
        assert_eq!(expected, kind, "{command}");
        let (content, found) = named(FileDisk::open(&path));
        let name = if content == Content::Luks { "crypto_LUKS" } else { content.name() };
        assert_eq!(name, kind, "{command}");
        assert_eq!(found.label.clone().unwrap_or_default(), blkid(&path, "LABEL").unwrap_or_default(), "{command}");
        assert_eq!(found.uuid.clone().unwrap_or_default(), blkid(&path, "UUID").unwrap_or_default(), "{command}");
        let size = path.metadata().expect("an image").len();
        assert!(
            found.size_bytes.is_none_or(|bytes| bytes <= size && (bytes > size / 2 || kind == "squashfs")),
            "{command}: {found:?}"
        );
        assert!(
            found.used_bytes.is_none_or(|bytes| bytes > 0 && Some(bytes) <= found.size_bytes),
            "{command}: {found:?}"
        );
        assert_eq!(found.used_bytes.is_some(), matches!(kind, "btrfs" | "squashfs"), "{command}");
        compared += 1;
    }
    assert!(compared >= 2, "util-linux alone makes two");
}

/// A RAID superblock of a version, at a place in 1 MiB.
fn raid_member(version: u32, at: usize) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let superblock = &mut bytes[at..at + 4096];
    superblock[..4].copy_from_slice(b"\xfc\x4e\x2b\xa9");
    superblock[4..8].copy_from_slice(&version.to_le_bytes());
    let uuid: Vec<u8> = (1..17).collect();
    if version == 1 {
        superblock[16..32].copy_from_slice(&uuid);
        superblock[32..39].copy_from_slice(b"host:md");
    } else {
        for (word, at) in uuid.chunks(4).zip([20, 52, 56, 60]) {
            superblock[at..at + 4].copy_from_slice(word);
            superblock[at..at + 4].reverse();
        }
    }
    bytes
}

#[test]
fn raid_members_are_named_wherever_their_superblock_lies() {
    for (version, at) in [(1, 0), (1, 4096), (1, (1 << 20) - 8192), (0, (1 << 20) - 65_536)] {
        let (content, identity) = named(Arc::new(MemoryDisk(raid_member(version, at))));
        assert_eq!(content, Content::LinuxRaidMember, "version {version} at {at}");
        assert_eq!(identity.uuid.as_deref(), Some("01020304-0506-0708-090a-0b0c0d0e0f10"));
        assert_eq!(identity.label.as_deref(), (version == 1).then_some("host:md"));
    }
}

#[test]
fn a_suspended_guest_is_told_from_plain_swap() {
    let mut bytes = vec![0; 1 << 16];
    bytes[1024] = 1;
    bytes[1036..1052].copy_from_slice(&[7; 16]);
    bytes[4086..4096].copy_from_slice(b"S1SUSPEND\0");
    let (content, identity) = named(Arc::new(MemoryDisk(bytes)));
    assert_eq!((content, content.name()), (Content::Swsuspend, "swsuspend"));
    assert_eq!(identity.uuid.as_deref(), Some("07070707-0707-0707-0707-070707070707"));
}

#[test]
fn an_lvm_physical_volume_has_the_uuid_that_lvm_prints() {
    let mut bytes = vec![0; 1 << 16];
    bytes[512..520].copy_from_slice(b"LABELONE");
    bytes[532..536].copy_from_slice(&32_u32.to_le_bytes());
    bytes[536..544].copy_from_slice(b"LVM2 001");
    bytes[544..576].copy_from_slice(b"abcdefGHIJklmnOPQRstuvWXYZ012345");
    let (content, identity) = named(Arc::new(MemoryDisk(bytes)));
    assert_eq!(content, Content::Lvm2PhysicalVolume);
    assert_eq!(identity.uuid.as_deref(), Some("abcdef-GHIJ-klmn-OPQR-stuv-WXYZ-012345"));
}

// Promise 5. Hostile numbers in a boot sector are numbers.
#[test]
fn an_absurd_ntfs_boot_sector_is_named_all_the_same() {
    let mut bytes = vec![0; 64 << 10];
    bytes[3..11].copy_from_slice(b"NTFS    ");
    bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
    bytes[13] = 8;
    // Records of 2^63 bytes.
    bytes[64] = 0xC1;
    let (content, _) = named(Arc::new(MemoryDisk(bytes)));
    assert_eq!(content, Content::Ntfs);
}
