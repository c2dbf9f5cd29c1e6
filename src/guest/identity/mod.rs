//! What formats that can only be named say of themselves: label, UUID, size, use.
//!
//! It promises: what `blkid` tells of such a volume, as far as the volume holds it in one place; nothing where a field is
//! empty or makes no sense. It refuses to know files: of the FAT family and NTFS, as much is read as leads to the label.

mod exfat;
mod fat;
mod ntfs;
pub(super) mod raid;

use super::bytes::{array_at, bytes16_at, narrow, slice_at, text, u8_at, u16_at, u32_at, u64_at, utf16};
use super::{BlockRead, Content, Error, Uuid};

/// What a volume says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name that its owner gave it.
    pub label: Option<String>,
    /// Its UUID; of the FAT family and NTFS the serial number, in the form that `blkid` has it.
    pub uuid: Option<String>,
    /// Size of what lies on the volume, in bytes.
    pub size_bytes: Option<u64>,
    /// How much of that is in use, in bytes.
    pub used_bytes: Option<u64>,
}

/// Where simple formats have their fields: bytes from the volume's start.
struct Layout {
    content: Content,
    uuid: usize,
    /// Place and length.
    label: (usize, usize),
}

const LAYOUTS: [Layout; 8] = [
    Layout { content: Content::Btrfs, uuid: 0x1_0020, label: (0x1_012B, 256) },
    Layout { content: Content::Swap, uuid: 1036, label: (1052, 16) },
    Layout { content: Content::Swsuspend, uuid: 1036, label: (1052, 16) },
    Layout { content: Content::F2fs, uuid: 1024 + 108, label: (1024 + 124, 1024) },
    Layout { content: Content::Erofs, uuid: 1024 + 48, label: (1024 + 64, 16) },
    Layout { content: Content::Jfs, uuid: 0x8088, label: (0x8098, 16) },
    Layout { content: Content::Reiserfs, uuid: 0x1_0054, label: (0x1_0064, 16) },
    Layout { content: Content::ExtJournal, uuid: 1024 + 0x68, label: (1024 + 0x78, 16) },
];

/// How far from the start the fields above reach.
const HEAD_BYTES: u64 = 0x1_0400;

/// Reads what a volume says of itself, once it is known what lies on it.
///
/// # Errors
/// [`Error::Medium`] where the volume can't be read. What makes no sense is left out.
pub fn identify(volume: &dyn BlockRead, content: Content) -> Result<Identity, Error> {
    match content {
        Content::Vfat => fat::identify(volume),
        Content::Exfat => exfat::identify(volume),
        Content::Ntfs => ntfs::identify(volume),
        Content::LinuxRaidMember => raid::identify(volume),
        Content::Empty | Content::Unknown | Content::BitLocker | Content::Refs => Ok(Identity::default()),
        _ => {
            let head = read(volume, 0, volume.size_bytes().min(HEAD_BYTES))?.unwrap_or_default();
            Ok(of_head(&head, content))
        }
    }
}

fn of_head(head: &[u8], content: Content) -> Identity {
    let text_at = |at, length| slice_at(head, at, length).and_then(text);
    let mut identity = Identity::default();
    if let Some(layout) = LAYOUTS.iter().find(|layout| layout.content == content) {
        let (at, length) = layout.label;
        identity.uuid = bytes16_at(head, layout.uuid).and_then(uuid);
        identity.label =
            if content == Content::F2fs { slice_at(head, at, length).and_then(utf16) } else { text_at(at, length) };
    }
    match content {
        Content::Btrfs => (identity.size_bytes, identity.used_bytes) = (u64_at(head, 0x1_0070), u64_at(head, 0x1_0078)),
        Content::Erofs => {
            let block_bytes = u8_at(head, 1024 + 12).and_then(|bits| 1_u64.checked_shl(bits.into()));
            let blocks = u32_at(head, 1024 + 36).map(u64::from);
            identity.size_bytes = blocks.zip(block_bytes).and_then(|(blocks, bytes)| blocks.checked_mul(bytes));
        }
        // Packed: all of it is in use.
        Content::Squashfs => (identity.size_bytes, identity.used_bytes) = (u64_at(head, 40), u64_at(head, 40)),
        // The first version of swap areas has neither.
        Content::Swap | Content::Swsuspend if !has_swap_header(head) => identity = Identity::default(),
        Content::Luks => {
            identity.uuid = text_at(168, 40);
            // The number of the version is big-endian; the first has no label.
            identity.label = text_at(24, 48).filter(|_| slice_at(head, 6, 2) == Some(&[0, 2]));
        }
        Content::Lvm2PhysicalVolume => identity.uuid = lvm2_uuid(head),
        Content::Iso9660 => identity.label = text_at(0x8028, 32).and_then(|label| trimmed(&label)),
        _ => {}
    }
    identity
}

/// Whether the page that a swap area begins with is of the version that has a UUID, in the byte order of whoever made it.
fn has_swap_header(head: &[u8]) -> bool {
    u32_at(head, 1024).is_some_and(|version| version == 1 || version.swap_bytes() == 1)
}

/// The header behind a label of LVM2 begins with 32 letters, printed in groups.
fn lvm2_uuid(head: &[u8]) -> Option<String> {
    let label = head.chunks(512).take(4).find(|sector| sector.starts_with(b"LABELONE"))?;
    let letters = slice_at(label, narrow(u32_at(label, 20)?.into()), 32)?;
    if !letters.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let mut text = String::new();
    for (place, letter) in letters.iter().enumerate() {
        if matches!(place, 6 | 10 | 14 | 18 | 22 | 26) {
            text.push('-');
        }
        text.push(char::from(*letter));
    }
    Some(text)
}

fn uuid(bytes: [u8; 16]) -> Option<String> {
    let uuid = Uuid(bytes);
    (!uuid.is_nil()).then(|| uuid.to_string())
}

/// A serial number of 32 bits as it is printed: `1A2B-3C4D`.
fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF)
}

/// Without the blanks that fill a field; `None` where nothing is left.
fn trimmed(label: &str) -> Option<String> {
    let label = label.trim_end();
    (!label.is_empty()).then(|| label.to_owned())
}

/// Reads a range; `None` where it does not lie on the volume.
fn read(volume: &dyn BlockRead, offset: u64, length: u64) -> Result<Option<Vec<u8>>, Error> {
    if offset.checked_add(length).is_none_or(|end| end > volume.size_bytes()) {
        return Ok(None);
    }
    let mut bytes = vec![0; narrow(length)];
    volume.read_exact_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}

/// Reads a range that may be cut short by the volume's end, and by a bound.
fn read_some(volume: &dyn BlockRead, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
    const MOST_BYTES: u64 = 64 << 10;
    let length = length.min(MOST_BYTES).min(volume.size_bytes().saturating_sub(offset));
    Ok(read(volume, offset, length)?.unwrap_or_default())
}

/// First sector of a volume, or as much of it as there is.
fn boot_sector(volume: &dyn BlockRead) -> Result<Vec<u8>, Error> {
    read_some(volume, 0, 512)
}
