//! What lies on a volume: a file system that can be opened, or something that can only be named.

use std::sync::Arc;

use super::bytes::{narrow, slice_at, u8_at, u16_at, u32_at};
use super::identity::raid;
use super::{BlockRead, Error, FileSystem, ext, xfs};

/// What [`probe`] found.
pub enum Probe {
    /// A file system, open.
    FileSystem(FileSystem),
    /// Something else.
    Other(Content),
}

/// Content of a volume that this library can name, not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the thing of that name")]
pub enum Content {
    Btrfs,
    Ntfs,
    Vfat,
    Exfat,
    Refs,
    F2fs,
    Erofs,
    Squashfs,
    Jfs,
    Reiserfs,
    Iso9660,
    Swap,
    /// A swap area that holds the memory of a guest that was suspended.
    Swsuspend,
    Lvm2PhysicalVolume,
    Luks,
    BitLocker,
    LinuxRaidMember,
    /// The journal of an ext file system that lies on another volume.
    ExtJournal,
    /// No byte but zeros where any known format begins.
    Empty,
    /// None of the above.
    Unknown,
}

impl Content {
    /// A name to show: that of `mount -t` or `blkid` where there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Ntfs => "ntfs",
            Self::Vfat => "vfat",
            Self::Exfat => "exfat",
            Self::Refs => "refs",
            Self::F2fs => "f2fs",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Jfs => "jfs",
            Self::Reiserfs => "reiserfs",
            Self::Iso9660 => "iso9660",
            Self::Swap => "swap",
            Self::Swsuspend => "swsuspend",
            Self::Lvm2PhysicalVolume => "LVM2 physical volume",
            Self::Luks => "LUKS",
            Self::BitLocker => "BitLocker",
            Self::LinuxRaidMember => "Linux RAID member",
            Self::ExtJournal => "ext journal device",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }
}

/// Magic bytes at one place, in the order in which they are looked for.
///
/// Those in the first sector come before ext: `mke2fs` wipes that sector, so what stands there is newer than an ext
/// superblock behind it.
const BEFORE_EXT: &[(u64, &[u8], Content)] = &[
    (0, b"LUKS\xba\xbe", Content::Luks),
    (0, b"hsqs", Content::Squashfs),
    (3, b"-FVE-FS-", Content::BitLocker),
    (3, b"NTFS    ", Content::Ntfs),
    (3, b"EXFAT   ", Content::Exfat),
    (3, b"ReFS\0\0\0\0", Content::Refs),
];

const AFTER_EXT: &[(u64, &[u8], Content)] = &[
    (0x1_0040, b"_BHRfS_M", Content::Btrfs),
    (4096, b"\xfc\x4e\x2b\xa9", Content::LinuxRaidMember),
    (0, b"\xfc\x4e\x2b\xa9", Content::LinuxRaidMember),
    (1024, b"\x10\x20\xf5\xf2", Content::F2fs),
    (1024, b"\xe2\xe1\xf5\xe0", Content::Erofs),
    (0x8001, b"CD001", Content::Iso9660),
    (0x8000, b"JFS1", Content::Jfs),
    (0x1_0034, b"ReIsEr", Content::Reiserfs),
];

const SWAP_PAGE_BYTES: [usize; 4] = [4 << 10, 8 << 10, 16 << 10, 64 << 10];
const SWAP_MAGIC_BYTES: usize = 10;

/// How far from the start of a volume known formats have their magic numbers.
const HEAD_BYTES: u64 = 0x1_1000;

/// Opens the file system on a volume, or names what is there instead.
///
/// # Errors
/// [`Error::Damaged`] or [`Error::Unsupported`] where a file system is there that can't be opened;
/// [`Error::Medium`] where the volume can't be read.
pub fn probe(volume: Arc<dyn BlockRead>) -> Result<Probe, Error> {
    Ok(match name_content(volume.as_ref())? {
        Named::Ext => Probe::FileSystem(FileSystem::Ext(Box::new(ext::Ext::open(volume)?))),
        Named::Xfs => Probe::FileSystem(FileSystem::Xfs(Box::new(xfs::Xfs::open(volume)?))),
        Named::Other(content) => Probe::Other(content),
    })
}

/// Names what lies on a volume, also where it can't be opened.
///
/// # Errors
/// [`Error::Medium`] where the volume can't be read.
pub fn name(volume: &dyn BlockRead) -> Result<&'static str, Error> {
    Ok(match name_content(volume)? {
        Named::Ext => "ext",
        Named::Xfs => "xfs",
        Named::Other(content) => content.name(),
    })
}

/// What a volume's first bytes say.
pub(super) enum Named {
    Ext,
    Xfs,
    Other(Content),
}

impl Named {
    /// Whether it is anything with a name.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Other(Content::Empty | Content::Unknown))
    }
}

/// What lies on a volume.
pub(super) fn name_content(volume: &dyn BlockRead) -> Result<Named, Error> {
    let mut head = vec![0; narrow(volume.size_bytes().min(HEAD_BYTES))];
    volume.read_exact_at(0, &mut head)?;
    let named = name_head(&head);
    // An end that can't be read must not hide what the beginning says, which is a partition table on most disks.
    if !named.is_known() && raid::ends_in_superblock(volume).unwrap_or(false) {
        return Ok(Named::Other(Content::LinuxRaidMember));
    }
    Ok(named)
}

fn name_head(head: &[u8]) -> Named {
    if xfs::looks_like_xfs(head) {
        return Named::Xfs;
    }
    if let Some(content) = find_magic(head, BEFORE_EXT) {
        return Named::Other(content);
    }
    if ext::looks_like_ext(head) {
        return if ext::looks_like_journal(head) { Named::Other(Content::ExtJournal) } else { Named::Ext };
    }
    if let Some(content) = find_magic(head, AFTER_EXT).or_else(|| find_swap(head)) {
        return Named::Other(content);
    }
    Named::Other(if is_lvm2(head) {
        Content::Lvm2PhysicalVolume
    } else if is_fat(head) {
        Content::Vfat
    } else if head.iter().all(|byte| *byte == 0) {
        Content::Empty
    } else {
        Content::Unknown
    })
}

fn find_magic(head: &[u8], magics: &[(u64, &[u8], Content)]) -> Option<Content> {
    let found = |(at, magic, _): &&(u64, &[u8], Content)| slice_at(head, narrow(*at), magic.len()) == Some(*magic);
    magics.iter().find(found).map(|(_, _, content)| *content)
}

/// A swap area has its magic number at the end of its first page, whose size depends on the guest's processor.
fn find_swap(head: &[u8]) -> Option<Content> {
    SWAP_PAGE_BYTES.iter().find_map(|page_bytes| {
        match slice_at(head, page_bytes - SWAP_MAGIC_BYTES, SWAP_MAGIC_BYTES)? {
            b"SWAPSPACE2" | b"SWAP-SPACE" => Some(Content::Swap),
            b"S1SUSPEND\0" | b"S2SUSPEND\0" | b"ULSUSPEND\0" | b"LINHIB0001" => Some(Content::Swsuspend),
            _ => None,
        }
    })
}

/// An LVM2 label lies in one of the first four sectors.
fn is_lvm2(head: &[u8]) -> bool {
    head.chunks(512).take(4).any(|sector| sector.starts_with(b"LABELONE") && slice_at(sector, 24, 4) == Some(b"LVM2"))
}

/// Whether a boot sector is that of a FAT file system: its parameter block makes sense and it says so.
pub(super) fn is_fat(sector: &[u8]) -> bool {
    let parse = || -> Option<bool> {
        let jump = u8_at(sector, 0)?;
        let sector_bytes = u16_at(sector, 11)?;
        let cluster_sectors = u8_at(sector, 13)?;
        let reserved = u16_at(sector, 14)?;
        let tables = u8_at(sector, 16)?;
        let has_size = u16_at(sector, 19)? != 0 || u32_at(sector, 32)? != 0;
        let says_so = slice_at(sector, 0x36, 3)? == b"FAT" || slice_at(sector, 0x52, 5)? == b"FAT32";
        Some(
            matches!(jump, 0xEB | 0xE9)
                && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
                && cluster_sectors.is_power_of_two()
                && reserved > 0
                && matches!(tables, 1 | 2)
                && has_size
                && says_so,
        )
    };
    parse().unwrap_or(false)
}
