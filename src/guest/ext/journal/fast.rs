//! The area of fast commits behind the log (kernel documentation, ext4, "Fast Commits"; `fast_commit.h`).
//!
//! It holds tags, each of a kind, a length and a value, little-endian unlike all else in the journal. No tag crosses a
//! block: what is left of one is a pad. The first tag is a head that names the transaction which would come next;
//! each commit ends in a tail with the same number and a checksum of all tags since the tail before. What precedes the
//! last good tail happened; what follows it never did, be it torn or left over from an older transaction.
//!
//! Bounds: each block is read once; the changes take less than a few times the bytes that they are read from.

use crate::guest::StaleReason;
use crate::guest::bytes::{slice_at, u16_at, u32_at, wide};
use crate::guest::crc::crc32c;

use super::format::{Sequence, Superblock};
use super::{Journal, Problem};

const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
const NAME_BYTES_MAX: usize = 255;
const INODE_BYTES_MIN: usize = 128;
/// More would not fit in the memory that a volume may take. By default an area has one MiB.
const AREA_BYTES_MAX: u64 = 16 << 20;
/// A longer extent is unwritten: allocated, and read as zeros.
const WRITTEN_MAX: u16 = 1 << 15;

mod tag {
    pub const ADD_RANGE: u16 = 1;
    pub const DELETE_RANGE: u16 = 2;
    pub const CREATE: u16 = 3;
    pub const LINK: u16 = 4;
    pub const UNLINK: u16 = 5;
    pub const INODE: u16 = 6;
    pub const PAD: u16 = 7;
    pub const TAIL: u16 = 8;
    pub const HEAD: u16 = 9;
}

/// One change that was committed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::guest::ext) enum Change {
    /// Logical blocks of an inode lie elsewhere now; with no `physical` they read as zeros.
    Range {
        inode: u64,
        logical: u64,
        length: u64,
        physical: Option<u64>,
    },
    /// An inode that precedes this gets its first name.
    Create(Entry),
    Link(Entry),
    Unlink(Entry),
    /// An inode's fields, its block map left out.
    Inode {
        inode: u64,
        raw: Vec<u8>,
    },
}

/// A name in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::guest::ext) struct Entry {
    pub directory: u64,
    pub node: u64,
    pub name: Vec<u8>,
}

/// What was committed.
#[derive(Default)]
pub(super) struct Fast {
    pub changes: Vec<Change>,
    pub commits: u64,
}

/// Where a scan stands.
struct Scan {
    expected: Sequence,
    inode_bytes: usize,
    checksum: u32,
    /// Of the commit whose tail is still to come.
    open: Vec<Change>,
    fast: Fast,
}

/// Why a scan ends.
enum End {
    /// What follows is not of this transaction, or torn.
    Log,
    Unsupported,
}

/// Reads what was committed since transaction `next - 1`.
pub(super) fn scan(journal: &Journal<'_>, sb: &Superblock, next: Sequence) -> Result<Fast, Problem> {
    let inode_bytes = usize::try_from(journal.ext.sb.inode_bytes).unwrap_or_default();
    let mut scan = Scan { expected: next, inode_bytes, checksum: 0, open: Vec::new(), fast: Fast::default() };
    let mut bytes_left = AREA_BYTES_MAX;
    // Linux leaves the area's first block unused.
    for index in sb.last.saturating_add(1)..sb.end {
        let block = match journal.read(index) {
            Ok(block) => block,
            Err(Problem::Medium(error)) => return Err(Problem::Medium(error)),
            Err(Problem::Stale(_)) => break,
        };
        if index == sb.last.saturating_add(1) && u16_at(&block, 0) != Some(tag::HEAD) {
            break;
        }
        match scan.block(&block) {
            Some(End::Log) => break,
            Some(End::Unsupported) => return Err(Problem::Stale(StaleReason::UnsupportedJournal)),
            None => {}
        }
        bytes_left =
            bytes_left.checked_sub(wide(block.len())).ok_or(Problem::Stale(StaleReason::UnsupportedJournal))?;
    }
    Ok(scan.fast)
}

impl Scan {
    /// Reads the tags of a block; answers why the scan ends there, if it does.
    fn block(&mut self, block: &[u8]) -> Option<End> {
        let mut at = 0;
        while at + HEADER_BYTES <= block.len() {
            let parse = || {
                let length = usize::from(u16_at(block, at + 2)?);
                Some((u16_at(block, at)?, slice_at(block, at, HEADER_BYTES + length)?))
            };
            let Some((kind, whole)) = parse() else {
                return Some(End::Log);
            };
            let value = whole.get(HEADER_BYTES..).unwrap_or_default();
            if let Err(end) = self.tag(kind, whole, value) {
                return Some(end);
            }
            at += whole.len();
        }
        None
    }

    fn tag(&mut self, kind: u16, whole: &[u8], value: &[u8]) -> Result<(), End> {
        match kind {
            tag::TAIL => return self.tail(whole, value),
            tag::HEAD => self.head(value)?,
            tag::PAD => {}
            _ => {
                let change = change(kind, value, self.inode_bytes).ok_or(End::Log)?;
                self.open.push(change);
            }
        }
        self.checksum = crc32c(self.checksum, whole);
        Ok(())
    }

    fn head(&self, value: &[u8]) -> Result<(), End> {
        match (u32_at(value, 0), u32_at(value, 4)) {
            (Some(_), Some(sequence)) if sequence != self.expected.0 || value.len() != 8 => Err(End::Log),
            (Some(0), Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err(End::Unsupported),
            _ => Err(End::Log),
        }
    }

    /// A tail's own checksum is the last thing in it; what follows up to the block's end is nobody's.
    fn tail(&mut self, whole: &[u8], value: &[u8]) -> Result<(), End> {
        let parse = || Some((u32_at(value, 0)?, u32_at(value, 4)?, slice_at(whole, 0, HEADER_BYTES + 4)?));
        let (sequence, stored, summed) = parse().ok_or(End::Log)?;
        if sequence != self.expected.0 || stored != crc32c(self.checksum, summed) {
            return Err(End::Log);
        }
        self.checksum = 0;
        self.fast.changes.append(&mut self.open);
        self.fast.commits += 1;
        Ok(())
    }
}

/// The change that a tag stands for; `None` where its value can't be.
fn change(kind: u16, value: &[u8], inode_bytes: usize) -> Option<Change> {
    let inode = u64::from(u32_at(value, 0)?);
    match kind {
        tag::ADD_RANGE if value.len() == 16 => {
            let stored = u16_at(value, 8)?;
            let is_written = stored <= WRITTEN_MAX;
            let physical = u64::from(u32_at(value, 12)?) | (u64::from(u16_at(value, 10)?) << 32);
            Some(Change::Range {
                inode,
                logical: u32_at(value, 4)?.into(),
                length: if is_written { stored } else { stored - WRITTEN_MAX }.into(),
                physical: is_written.then_some(physical),
            })
        }
        tag::DELETE_RANGE if value.len() == 12 => {
            let (logical, length) = (u32_at(value, 4)?.into(), u32_at(value, 8)?.into());
            Some(Change::Range { inode, logical, length, physical: None })
        }
        tag::INODE => {
            let raw = value.get(4..).filter(|raw| (INODE_BYTES_MIN..=inode_bytes).contains(&raw.len()))?;
            Some(Change::Inode { inode, raw: raw.to_vec() })
        }
        tag::CREATE => entry(value).map(Change::Create),
        tag::LINK => entry(value).map(Change::Link),
        tag::UNLINK => entry(value).map(Change::Unlink),
        _ => None,
    }
}

fn entry(value: &[u8]) -> Option<Entry> {
    let name = value.get(ENTRY_BYTES..).filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()))?;
    Some(Entry { directory: u32_at(value, 0)?.into(), node: u32_at(value, 4)?.into(), name: name.to_vec() })
}
