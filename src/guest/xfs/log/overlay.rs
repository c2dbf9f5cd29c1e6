//! A volume as it looks once its log is replayed, without a byte of it being written.
//!
//! Changes are kept in chunks of the size in which the log has them; inodes that the log only says were made are made
//! when they are read. So what is held is in proportion to what the live part of the log has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::guest::bytes::{narrow, wide};
use crate::guest::{BlockRead, MediumError};

use super::super::inode;
use super::super::superblock::{Superblock, checksum};

/// Changes of buffers are logged in chunks of this, and no structure begins elsewhere.
pub(super) const CHUNK: u64 = 128;
const CHUNK_BYTES: usize = 128;
/// No run of new inodes is longer: 64 of 2 KiB, or a block of 64 KiB.
pub(super) const NEW_BYTES_MAX: u64 = 128 << 10;

pub(in crate::guest::xfs) struct Overlay {
    volume: Arc<dyn BlockRead>,
    sb: Superblock,
    chunks: BTreeMap<u64, [u8; CHUNK_BYTES]>,
    /// First byte and end of runs of new inodes, none longer than [`NEW_BYTES_MAX`].
    new_inodes: BTreeMap<u64, u64>,
}

impl Overlay {
    pub fn new(volume: Arc<dyn BlockRead>, sb: Superblock) -> Self {
        Self { volume, sb, chunks: BTreeMap::new(), new_inodes: BTreeMap::new() }
    }

    /// Goes by another superblock from here on.
    pub fn set_superblock(&mut self, sb: Superblock) {
        self.sb = sb;
    }

    /// Writes bytes that were found to lie on the volume.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MediumError> {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = narrow(at % CHUNK);
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - within));
            let number = at / CHUNK;
            let mut chunk = [0; CHUNK_BYTES];
            if now.len() < CHUNK_BYTES {
                self.read_exact_at(number * CHUNK, &mut chunk)?;
            }
            for (into, byte) in chunk.iter_mut().skip(within).zip(now) {
                *into = *byte;
            }
            self.chunks.insert(number, chunk);
            at += wide(now.len());
            rest = later;
        }
        Ok(())
    }

    /// Writes those chunks of a structure that differ from what it was before.
    pub fn write_changed(&mut self, offset: u64, before: &[u8], after: &[u8]) -> Result<(), MediumError> {
        for (index, (was, is)) in before.chunks(CHUNK_BYTES).zip(after.chunks(CHUNK_BYTES)).enumerate() {
            if was != is {
                self.write(offset + wide(index) * CHUNK, is)?;
            }
        }
        Ok(())
    }

    /// Makes the bytes `start..end` new inodes.
    pub fn make_inodes(&mut self, start: u64, end: u64) {
        let gone: Vec<u64> = self.chunks.range(start / CHUNK..end / CHUNK).map(|(number, _)| *number).collect();
        for number in gone {
            self.chunks.remove(&number);
        }
        self.new_inodes.insert(start, end);
    }

    /// Whether any of the bytes `start..end` come from the log.
    pub fn has_any(&self, start: u64, end: u64) -> bool {
        self.chunks.range(start / CHUNK..end.div_ceil(CHUNK)).next().is_some() || self.runs(start, end).next().is_some()
    }

    /// Number of distinct blocks that come from the log.
    pub fn blocks(&self) -> u64 {
        let block_bytes = self.sb.block_bytes;
        let mut blocks: BTreeSet<u64> = self.chunks.keys().map(|chunk| chunk * CHUNK / block_bytes).collect();
        for (start, end) in &self.new_inodes {
            blocks.extend(start / block_bytes..end.div_ceil(block_bytes));
        }
        wide(blocks.len())
    }

    /// The runs of new inodes that have any of the bytes `start..end`.
    fn runs(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let from = start.saturating_sub(NEW_BYTES_MAX);
        self.new_inodes.range(from..end.max(from)).map(|(start, end)| (*start, *end)).filter(move |run| run.1 > start)
    }

    /// An inode as it is made: free.
    fn new_inode(&self, number: u64) -> Vec<u8> {
        let mut bytes = vec![0; narrow(self.sb.inode_bytes)];
        let mut put = |at: usize, field: &[u8]| {
            for (into, byte) in bytes.iter_mut().skip(at).zip(field) {
                *into = *byte;
            }
        };
        put(0, &inode::MAGIC.to_be_bytes());
        put(4, &[if self.sb.is_v5 { 3 } else { 2 }]);
        // No next inode on a list of deleted ones.
        put(96, &u32::MAX.to_be_bytes());
        if self.sb.is_v5 {
            put(152, &number.to_be_bytes());
            put(160, &self.sb.meta_uuid);
            let sum = checksum(&bytes, inode::CHECKSUM_AT).unwrap_or_default();
            for (into, byte) in bytes.iter_mut().skip(inode::CHECKSUM_AT).zip(sum.to_le_bytes()) {
                *into = byte;
            }
        }
        bytes
    }

    fn read_new(&self, from: u64, buffer: &mut [u8]) {
        let mut at = from;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (number, within) = self.sb.inode_at(at);
            let inode = self.new_inode(number);
            let Some(part) = inode.get(narrow(within)..).filter(|part| !part.is_empty()) else {
                return;
            };
            let length = part.len().min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            for (into, byte) in now.iter_mut().zip(part) {
                *into = *byte;
            }
            at += wide(length);
            rest = later;
        }
    }
}

/// The part of a buffer that begins at `offset` where the bytes `start..end` go, and where that part begins.
fn part(buffer: &mut [u8], offset: u64, start: u64, end: u64) -> Option<(u64, &mut [u8])> {
    let from = start.max(offset);
    let to = end.min(offset.saturating_add(wide(buffer.len())));
    Some((from, buffer.get_mut(narrow(from - offset)..narrow(to.checked_sub(offset)?))?))
}

impl BlockRead for Overlay {
    fn size_bytes(&self) -> u64 {
        self.volume.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        self.volume.read_exact_at(offset, buffer)?;
        let end = offset.saturating_add(wide(buffer.len()));
        for (first, last) in self.runs(offset, end) {
            if let Some((from, part)) = part(buffer, offset, first, last) {
                self.read_new(from, part);
            }
        }
        for (number, chunk) in self.chunks.range(offset / CHUNK..end.div_ceil(CHUNK)) {
            let start = number * CHUNK;
            if let Some((from, part)) = part(buffer, offset, start, start + CHUNK) {
                let bytes = chunk.get(narrow(from - start)..).unwrap_or_default();
                for (into, byte) in part.iter_mut().zip(bytes) {
                    *into = *byte;
                }
            }
        }
        Ok(())
    }
}
