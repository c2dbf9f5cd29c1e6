//! What the items of a checkpoint change ("XFS Filesystem Structure", "Log Items").
//!
//! The log is gone through twice. First what later checkpoints took back is collected: buffers that were freed and
//! must not be written again, since their blocks may hold a file's data by now. Then all other changes are made, each
//! only where what it changes is not already newer; version 5 keeps the number of the last change in each structure.
//!
//! What a kernel does besides, such as ending operations that it had begun, is left in the [`Outcome`].

use std::collections::{HashMap, HashSet};

use crate::guest::bytes::{be16_at, be32_at, be64_at, bytes16_at, narrow, slice_at, wide};
use crate::guest::{BlockRead, Error, StaleReason};

use super::super::space::GROUPS_MAX;
use super::super::superblock::Superblock;
use super::Problem;
use super::inode_item;
use super::intents::{Intents, Remap, is_intent};
use super::operations::{Checkpoint, Host, Item};
use super::overlay::{CHUNK, NEW_BYTES_MAX, Overlay};
use super::ring::SECTOR;

/// `blf_flags` of a buffer.
mod flags {
    /// Of inodes: only the list of deleted ones changes, which no reader sees.
    pub const INODES: u16 = 0x1;
    pub const CANCEL: u16 = 0x2;
    pub const QUOTAS: u16 = 0x4 | 0x8 | 0x10;
}

/// No buffer is larger: the words that its map may have.
const MAP_WORDS_MAX: u32 = 17;
const SECTORS_MAX: u16 = 136;
const MAP_AT: usize = 20;

/// What an item is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Buffer,
    Inode,
    NewInodes,
    /// Begins or ends an operation of several steps.
    Intent(u16),
    /// Changes nothing that a reader sees.
    Unseen,
}

fn kind_of(stored: u16) -> Option<Kind> {
    Some(match stored {
        0x123B => Kind::Inode,
        0x123C => Kind::Buffer,
        0x123F => Kind::NewInodes,
        intent if is_intent(intent) => Kind::Intent(intent),
        // Freeing of extents, the two halves; quotas; owners of blocks and counts of sharers; the same of realtime.
        0x1236 | 0x1237 | 0x123D | 0x123E | 0x1240..=0x1243 | 0x124A..=0x124F => Kind::Unseen,
        _ => return None,
    })
}

impl Item<'_> {
    fn kind(self, host: Host) -> Result<Kind, Problem> {
        let stored = self.piece(0).and_then(|piece| host.u16(piece, 0)).ok_or_else(damaged)?;
        kind_of(stored).ok_or(Problem::Stale(StaleReason::UnsupportedJournal))
    }
}

fn damaged() -> Problem {
    Problem::Stale(StaleReason::DamagedJournal)
}

/// What identifies a buffer: its first sector and its length.
pub(super) type BufferId = (u64, u64);

/// The first time through.
#[derive(Default)]
pub(super) struct Collected {
    pub cancelled: Cancelled,
    pub intents: Intents,
}

impl Collected {
    pub fn collect(&mut self, checkpoint: &Checkpoint, sb: &Superblock) -> Result<(), Problem> {
        let host = checkpoint.host;
        for item in checkpoint.items() {
            match item.kind(host)? {
                Kind::Buffer => {
                    let buffer = Buffer::parse(item, host).ok_or_else(damaged)?;
                    if buffer.flags & flags::CANCEL != 0 {
                        *self.cancelled.buffers.entry(buffer.id).or_default() += 1;
                    }
                }
                Kind::Intent(kind) => self.intents.take(kind, item, host, sb).ok_or_else(damaged)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What was taken back, and how often.
#[derive(Default)]
pub(super) struct Cancelled {
    buffers: HashMap<BufferId, u64>,
}

impl Cancelled {
    pub fn has(&self, buffer: BufferId) -> bool {
        self.buffers.contains_key(&buffer)
    }

    /// From here on the buffer may be written again, if this was the last time that it was taken back.
    fn pass(&mut self, buffer: BufferId) {
        if let Some(left) = self.buffers.get_mut(&buffer) {
            *left -= 1;
            if *left == 0 {
                self.buffers.remove(&buffer);
            }
        }
    }
}

/// What the changes leave to whoever reads.
#[derive(Default)]
pub(in crate::guest::xfs) struct Outcome {
    /// Blocks that files were to be given or to lose, in order.
    pub remaps: Vec<Remap>,
    /// Inodes that exchanged the blocks of their maps, which still name the inode that had them before.
    pub reowned: HashSet<u64>,
}

/// The second time through: the changes.
pub(super) struct Recovery {
    pub overlay: Overlay,
    pub sb: Superblock,
    pub cancelled: Cancelled,
    pub outcome: Outcome,
    /// The number of the log's end.
    pub end: u64,
    pub checkpoints: u64,
}

impl Recovery {
    /// Makes the changes of a checkpoint: blocks before the inodes that may lie in them, what was taken back last.
    pub fn apply(&mut self, checkpoint: &Checkpoint) -> Result<(), Problem> {
        self.checkpoints += 1;
        let host = checkpoint.host;
        let mut inodes = Vec::new();
        let mut passed = Vec::new();
        for item in checkpoint.items() {
            match item.kind(host)? {
                Kind::Inode => inodes.push(item),
                Kind::NewInodes => self.make_inodes(item)?,
                Kind::Buffer => {
                    let buffer = Buffer::parse(item, host).ok_or_else(damaged)?;
                    if buffer.flags & flags::CANCEL != 0 {
                        passed.push(buffer.id);
                    } else if buffer.flags & (flags::INODES | flags::QUOTAS) == 0 && !self.cancelled.has(buffer.id) {
                        self.change_buffer(&buffer, item, checkpoint.lsn)?;
                    }
                }
                _ => {}
            }
        }
        for item in inodes {
            inode_item::apply(self, item, checkpoint)?;
        }
        for buffer in passed {
            self.cancelled.pass(buffer);
        }
        Ok(())
    }

    /// Whether bytes lie on the volume. The file system may have grown since its superblock was written.
    pub fn is_on_volume(&self, start: u64, length: u64) -> bool {
        start.checked_add(length).is_some_and(|end| end <= self.overlay.size_bytes())
    }

    /// Whether the last change of a structure on the volume is newer than one in the log. One that is newer than all
    /// of the log tells that the log lost its end: what is on the volume is then of more than one moment.
    pub fn is_newer(&self, last: u64, lsn: u64) -> Result<bool, Problem> {
        if last > self.end { Err(damaged()) } else { Ok(last > lsn) }
    }

    fn change_buffer(&mut self, buffer: &Buffer<'_>, item: Item<'_>, lsn: u64) -> Result<(), Problem> {
        let (first, sectors) = buffer.id;
        let (start, length) = (first.saturating_mul(SECTOR), sectors * SECTOR);
        if !self.is_on_volume(start, length) {
            return Err(damaged());
        }
        let mut head = [0; 512];
        self.overlay.read_exact_at(start, &mut head)?;
        if self.sb.is_v5
            && let Some(last) = last_change(&head, &self.sb)
            && self.is_newer(last, lsn.saturating_sub(1))?
        {
            return Ok(());
        }
        let mut pieces = item.pieces_from(1);
        let mut bit = 0;
        while let Some((at, run)) = buffer.run_from(bit) {
            let piece = pieces.next().ok_or_else(damaged)?;
            // What changed in one run may come in several pieces.
            let chunks = run.min(wide(piece.len()) / CHUNK);
            let content = slice_at(piece, 0, narrow(chunks * CHUNK)).filter(|content| !content.is_empty());
            let content = content.filter(|_| (at + chunks) * CHUNK <= length).ok_or_else(damaged)?;
            self.overlay.write(start + at * CHUNK, content)?;
            bit = at + chunks;
        }
        if first == 0 {
            self.sb = Superblock::read_replayed(&self.overlay).map_err(superblock_problem)?;
            self.overlay.set_superblock(self.sb.clone());
        }
        Ok(())
    }

    /// Looks whether the headers of the groups are newer than the log, as a kernel does when it has replayed it.
    pub fn check_groups(&self) -> Result<(), Problem> {
        for group in 0..if self.sb.is_v5 { self.sb.groups.min(GROUPS_MAX) } else { 0 } {
            let start = group * self.sb.group_blocks * self.sb.block_bytes;
            for sector in [1, 2] {
                let mut head = [0; 512];
                // One that can't be read tells nothing, and no file needs it.
                if self.overlay.read_exact_at(start + sector * self.sb.sector_bytes, &mut head).is_err() {
                    continue;
                }
                if let Some(last) = last_change(&head, &self.sb) {
                    self.is_newer(last, 0)?;
                }
            }
        }
        Ok(())
    }

    fn make_inodes(&mut self, item: Item<'_>) -> Result<(), Problem> {
        let piece = item.piece(0).ok_or_else(damaged)?;
        let field = |index: usize| be32_at(piece, 4 + index * 4).map(u64::from).ok_or_else(damaged);
        let (group, block, count, inode_bytes, blocks) = (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?);
        let start = self.sb.linear_in_group(group, block, blocks).ok_or_else(damaged)? * self.sb.block_bytes;
        let length = blocks * self.sb.block_bytes;
        let is_sound = (SECTOR..=NEW_BYTES_MAX).contains(&length)
            && inode_bytes == self.sb.inode_bytes
            && count * inode_bytes == length
            && self.is_on_volume(start, length);
        if !is_sound {
            return Err(damaged());
        }
        // How long the buffers are that inodes are in depends on the kernel; it is a power of two.
        let (first, sectors) = (start / SECTOR, length / SECTOR);
        let lengths = (0..=sectors.ilog2()).map(|log| 1 << log);
        let mut buffers = lengths.flat_map(|length| (0..sectors / length).map(move |at| (first + at * length, length)));
        if !buffers.any(|buffer| self.cancelled.has(buffer)) {
            self.overlay.make_inodes(start, start + length);
        }
        Ok(())
    }
}

fn superblock_problem(error: Error) -> Problem {
    match error {
        Error::Unsupported(_) => Problem::Stale(StaleReason::UnsupportedJournal),
        error => error.into(),
    }
}

/// What a buffer's item says of it.
struct Buffer<'a> {
    id: BufferId,
    flags: u16,
    map: &'a [u8],
    host: Host,
}

impl<'a> Buffer<'a> {
    fn parse(item: Item<'a>, host: Host) -> Option<Self> {
        let piece = item.piece(0)?;
        let words = host.u32(piece, 16).filter(|words| *words <= MAP_WORDS_MAX)?;
        let sectors = u64::from(host.u16(piece, 6).filter(|sectors| (1..=SECTORS_MAX).contains(sectors))?);
        let first = host.u64(piece, 8)?;
        let map = slice_at(piece, MAP_AT, narrow(u64::from(words) * 4))?;
        Some(Self { id: (first, sectors), flags: host.u16(piece, 4)?, map, host })
    }

    fn bit(&self, bit: u64) -> bool {
        let word = self.host.u32(self.map, narrow(bit / 32 * 4));
        word.is_some_and(|word| word & (1 << (bit % 32)) != 0)
    }

    /// The first run of bits set from a bit on: where it begins, and its length.
    fn run_from(&self, bit: u64) -> Option<(u64, u64)> {
        let end = wide(self.map.len()) * 8;
        let first = (bit..end).find(|bit| self.bit(*bit))?;
        let behind = (first..end).find(|bit| !self.bit(*bit)).unwrap_or(end);
        Some((first, behind - first))
    }
}

/// The number of the last change of a structure of version 5, by the magic number of its first sector; `None` where it
/// has none, or is of another file system: then it is older than anything in the log.
fn last_change(sector: &[u8], sb: &Superblock) -> Option<u64> {
    let first: [u8; 4] = slice_at(sector, 0, 4)?.first_chunk().copied()?;
    let (lsn_at, uuid_at) = match &first {
        b"XFSB" => (240, if sb.meta_uuid == sb.uuid.0 { 32 } else { 248 }),
        b"XAGF" => (208, 64),
        b"XAGI" => (320, 296),
        b"XAFL" => (24, 8),
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (24, 32),
        b"BMA3" => (32, 40),
        b"XDB3" | b"XDD3" | b"XDF3" => (16, 24),
        b"XSLM" => (48, 16),
        _ => match be16_at(sector, 8)? {
            0x3BEE | 0x3EBE | 0x3DF1 | 0x3DFF => (24, 32),
            _ => return None,
        },
    };
    let lsn = be64_at(sector, lsn_at).filter(|lsn| *lsn != 0 && *lsn != u64::MAX)?;
    (bytes16_at(sector, uuid_at)? == sb.meta_uuid).then_some(lsn)
}
