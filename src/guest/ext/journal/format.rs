//! The journal's structures (kernel documentation, ext4, "Journal (jbd2)"). All numbers are big-endian.

use std::num::Wrapping;

use crate::guest::bytes::{be16_at, be32_at, bytes16_at, slice_at, u8_at};
use crate::guest::crc::crc32c;

/// What every block of the journal that is no copy begins with.
pub(in crate::guest::ext) const MAGIC: u32 = 0xC03B_3998;
const SUPERBLOCK_BYTES: usize = 1024;
const HEADER_BYTES: usize = 12;
const REVOKE_HEADER_BYTES: usize = 16;
/// With the padding that Linux checks too.
const COMMIT_HEADER_BYTES: usize = 64;
const TAIL_BYTES: usize = 4;

const COMPAT_CHECKSUM: u32 = 0x1;
const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;

const TAG_ESCAPED: u32 = 0x1;
const TAG_SAME_UUID: u32 = 0x2;
const TAG_LAST: u32 = 0x8;

/// Blocks at the journal's end for fast commits, where its superblock does not say how many.
const FAST_COMMIT_BLOCKS: u64 = 256;
/// Where fewer would be left for the log, there are no fast commits.
const LOG_BLOCKS_MIN: u64 = 1024;

/// Sequence numbers wrap.
pub(super) type Sequence = Wrapping<u32>;

/// Whether `a` is `b` or comes after it.
pub(super) fn is_at_or_after(a: Sequence, b: Sequence) -> bool {
    (a - b).0.cast_signed() >= 0
}

/// The journal's superblock.
pub(super) struct Superblock {
    pub block_bytes: u64,
    /// The log's blocks: from the first to before the last.
    pub first: u64,
    pub last: u64,
    /// Behind the log: the area of fast commits.
    pub end: u64,
    pub sequence: Sequence,
    /// Where the log begins; zero where it is empty.
    pub start: u64,
    /// Linux aborted it, and left an error number.
    pub has_errors: bool,
    pub has_transaction_checksum: bool,
    incompat: u32,
    /// Where each block has a checksum, what it starts from.
    pub seed: Option<u32>,
}

/// Why a superblock can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Damaged,
    Unsupported,
}

impl Superblock {
    pub fn parse(block: &[u8]) -> Result<Self, Refusal> {
        let bytes = slice_at(block, 0, SUPERBLOCK_BYTES).ok_or(Refusal::Damaged)?;
        let incompat = check(bytes)?;
        Self::parse_fields(bytes, incompat).ok_or(Refusal::Damaged)
    }

    fn parse_fields(b: &[u8], incompat: u32) -> Option<Self> {
        let is_version_2 = be32_at(b, 4)? == 4;
        let end = u64::from(be32_at(b, 0x10)?);
        let fast_blocks = match u64::from(be32_at(b, 0x54)?) {
            _ if incompat & INCOMPAT_FAST_COMMIT == 0 => 0,
            0 => FAST_COMMIT_BLOCKS,
            blocks => blocks,
        };
        let last = end.checked_sub(fast_blocks).filter(|last| *last >= LOG_BLOCKS_MIN).unwrap_or(end);
        let has_checksums = incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0;
        let superblock = Self {
            block_bytes: be32_at(b, 0xC)?.into(),
            first: be32_at(b, 0x14)?.into(),
            last,
            end,
            sequence: Wrapping(be32_at(b, 0x18)?),
            start: be32_at(b, 0x1C)?.into(),
            has_errors: be32_at(b, 0x20)? != 0,
            has_transaction_checksum: is_version_2 && be32_at(b, 0x24)? & COMPAT_CHECKSUM != 0,
            incompat,
            seed: has_checksums.then_some(crc32c(u32::MAX, &bytes16_at(b, 0x30)?)),
        };
        let is_sound = superblock.first >= 1
            && superblock.first < superblock.last
            && (superblock.start == 0 || (superblock.first..superblock.last).contains(&superblock.start));
        is_sound.then_some(superblock)
    }

    pub fn has_fast_commits(&self) -> bool {
        self.incompat & INCOMPAT_FAST_COMMIT != 0
    }

    /// Whether a commit may be written before all that it commits.
    pub fn has_async_commits(&self) -> bool {
        self.incompat & INCOMPAT_ASYNC_COMMIT != 0
    }

    fn is_64bit(&self) -> bool {
        self.incompat & INCOMPAT_64BIT != 0
    }

    fn has_v3(&self) -> bool {
        self.incompat & INCOMPAT_CSUM_V3 != 0
    }

    fn tag_bytes(&self) -> usize {
        let base = if self.is_64bit() { 12 } else { 8 };
        match (self.has_v3(), self.incompat & INCOMPAT_CSUM_V2 != 0) {
            (true, _) => 16,
            (_, true) => base + 2,
            _ => base,
        }
    }
}

/// Checks magic, kind, checksum and features; answers the incompatible ones.
fn check(b: &[u8]) -> Result<u32, Refusal> {
    let read = |at| be32_at(b, at).ok_or(Refusal::Damaged);
    let incompat = match (read(0)?, read(4)?) {
        (MAGIC, 3) => return Ok(0),
        (MAGIC, 4) => read(0x28)?,
        _ => return Err(Refusal::Damaged),
    };
    if incompat & !INCOMPAT_KNOWN != 0 || read(0x2C)? != 0 {
        return Err(Refusal::Unsupported);
    }
    // One kind of checksum at most.
    let versions = [read(0x24)? & COMPAT_CHECKSUM, incompat & INCOMPAT_CSUM_V2, incompat & INCOMPAT_CSUM_V3];
    if versions.iter().filter(|version| **version != 0).count() > 1 {
        return Err(Refusal::Damaged);
    }
    if incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0 {
        if u8_at(b, 0x50) != Some(4) {
            return Err(Refusal::Unsupported);
        }
        if checksum_without(u32::MAX, b, 0xFC) != Some(read(0xFC)?) {
            return Err(Refusal::Damaged);
        }
    }
    Ok(incompat)
}

/// CRC-32C of bytes whose four at one place count as zero.
fn checksum_without(seed: u32, bytes: &[u8], at: usize) -> Option<u32> {
    let (before, after) = (bytes.get(..at)?, bytes.get(at + 4..)?);
    Some(crc32c(crc32c(crc32c(seed, before), &[0; 4]), after))
}

/// What a block of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Descriptor,
    Commit,
    Revoke,
}

/// Kind and sequence of a block of the log; `None` where it is none.
pub(super) fn header(block: &[u8]) -> Option<(Kind, Sequence)> {
    let kind = match (be32_at(block, 0)?, be32_at(block, 4)?) {
        (MAGIC, 1) => Kind::Descriptor,
        (MAGIC, 2) => Kind::Commit,
        (MAGIC, 5) => Kind::Revoke,
        _ => return None,
    };
    Some((kind, Wrapping(be32_at(block, 8)?)))
}

/// One copy in the log: which block it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub block: u64,
    pub is_escaped: bool,
    checksum: u32,
}

impl Superblock {
    /// Whether the checksum at the end of a descriptor or revoke block is right.
    pub fn tail_is_right(&self, block: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let at = block.len().saturating_sub(TAIL_BYTES);
        be32_at(block, at).is_some_and(|stored| checksum_without(seed, block, at) == Some(stored))
    }

    /// Whether the checksum of a commit block is right, be it that only its header was written and zeros are meant.
    pub fn commit_is_right(&self, block: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let mut header_only = vec![0; block.len()];
        for (into, byte) in header_only.iter_mut().zip(block.iter().take(COMMIT_HEADER_BYTES)) {
            *into = *byte;
        }
        let is_right = |block: &[u8]| checksum_without(seed, block, 16) == be32_at(block, 16);
        is_right(block) || is_right(&header_only)
    }

    /// Whether a copy is what its tag was made for.
    pub fn copy_is_right(&self, tag: &Tag, sequence: Sequence, copy: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let computed = crc32c(crc32c(seed, &sequence.0.to_be_bytes()), copy);
        tag.checksum == if self.has_v3() { computed } else { computed & 0xFFFF }
    }

    /// The tags of a descriptor block.
    pub fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let tail = if self.seed.is_some() { TAIL_BYTES } else { 0 };
        let end = block.len().saturating_sub(tail);
        let mut tags = Vec::new();
        let mut at = HEADER_BYTES;
        while at + self.tag_bytes() <= end
            && let Some((tag, flags)) = self.tag(block, at)
        {
            tags.push(tag);
            at += self.tag_bytes() + if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        tags
    }

    fn tag(&self, block: &[u8], at: usize) -> Option<(Tag, u32)> {
        let high = if self.is_64bit() { be32_at(block, at + 8)? } else { 0 };
        let (checksum, flags) = if self.has_v3() {
            (be32_at(block, at + 12)?, be32_at(block, at + 4)?)
        } else {
            (be16_at(block, at + 4)?.into(), be16_at(block, at + 6)?.into())
        };
        let number = u64::from(be32_at(block, at)?) | (u64::from(high) << 32);
        Some((Tag { block: number, is_escaped: flags & TAG_ESCAPED != 0, checksum }, flags))
    }

    /// The blocks that a revoke block names; `None` where its length can't be.
    pub fn revoked(&self, block: &[u8]) -> Option<Vec<u64>> {
        let tail = if self.seed.is_some() { TAIL_BYTES } else { 0 };
        let used = usize::try_from(be32_at(block, 12)?).ok()?;
        if used < REVOKE_HEADER_BYTES || used > block.len().saturating_sub(tail) {
            return None;
        }
        let records = block.get(REVOKE_HEADER_BYTES..used)?;
        if !self.is_64bit() {
            return Some(records.chunks_exact(4).filter_map(|record| be32_at(record, 0)).map(u64::from).collect());
        }
        let wide = |record: &[u8]| Some((u64::from(be32_at(record, 0)?) << 32) | u64::from(be32_at(record, 4)?));
        Some(records.chunks_exact(8).filter_map(wide).collect())
    }
}

/// What a commit block says beside its sequence.
pub(super) struct Commit {
    pub checksum_kind: u8,
    pub checksum_bytes: u8,
    pub checksum: u32,
    pub seconds: u64,
}

pub(super) fn commit(block: &[u8]) -> Option<Commit> {
    Some(Commit {
        checksum_kind: u8_at(block, 12)?,
        checksum_bytes: u8_at(block, 13)?,
        checksum: be32_at(block, 16)?,
        seconds: (u64::from(be32_at(block, 48)?) << 32) | u64::from(be32_at(block, 52)?),
    })
}
