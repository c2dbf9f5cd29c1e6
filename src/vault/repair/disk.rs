//! Finding lost records on the disk that was backed up, while it still holds the bytes.
//!
//! A chunk is looked for where the map has it. Of a map node that is lost, the chunks below are read and their ids put
//! together: where that makes the node's id, it is the node, and with it comes what else was lost below.

use std::collections::HashSet;

use super::records::{Have, Records, Wanted};
use crate::backup::is_zero;
use crate::error::Result;
use crate::format::Hash;
use crate::format::map_node::{FANOUT, MapNode};
use crate::format::segment::RecordType;
use crate::point::ManifestDisk;
use crate::progress::Progress;

/// One disk beside one point's map of it.
struct Beside<'a> {
    /// Its number among the disks that were given.
    number: usize,
    described: &'a ManifestDisk,
    /// Nodes that were visited, with the chunk that they begin at.
    visited: HashSet<(Hash, u64)>,
    buffer: Vec<u8>,
}

/// What was put together of the bytes of a disk.
#[derive(Default)]
struct Built {
    nodes: Vec<(Hash, Vec<u8>)>,
    chunks: Vec<(Hash, u64)>,
}

impl Records<'_> {
    /// Looks for what a point lacks of a disk on disk `number` of those that were given.
    pub(super) fn look_on_disk(&mut self, number: usize, described: &ManifestDisk, progress: &Progress) -> Result<()> {
        let Some(root) = described.root() else { return Ok(()) };
        let mut beside = Beside { number, described, visited: HashSet::new(), buffer: Vec::new() };
        self.visit(&mut beside, &root, described.map_level, 0, progress)
    }

    fn visit(&mut self, beside: &mut Beside<'_>, id: &Hash, level: u8, base: u64, progress: &Progress) -> Result<()> {
        let lacks = self.below(id, level, progress)?.iter().any(|(_, _, had)| !had);
        if !lacks || !beside.visited.insert((*id, base)) {
            return Ok(());
        }
        let Some(node) = self.node(id, level) else { return self.rebuild(beside, id, level, base, progress) };
        let span = MapNode::chunks_per_child(level);
        for (number, child) in (0_u64..).zip(node.children.iter()) {
            let Some(child) = child else { continue };
            let at = base.saturating_add(number.saturating_mul(span));
            if level > 0 {
                self.visit(beside, child, level - 1, at, progress)?;
            } else if self.wanted.get(child).is_some_and(|wanted| matches!(wanted.have, Have::Lost))
                && self.chunk_there(beside, at).flatten() == Some(*child)
            {
                self.take_chunk(beside, child, at);
            }
        }
        Ok(())
    }

    /// The id of the chunk that the disk has at a place, nothing where it is all zeros. `None` where it has none of the
    /// right length, or can't be read.
    fn chunk_there(&self, beside: &mut Beside<'_>, chunk: u64) -> Option<Option<Hash>> {
        let (offset, length) = beside.place(chunk)?;
        beside.buffer.resize(length, 0);
        let read = self.disks.get(beside.number)?.source.read_at(offset, &mut beside.buffer).ok()?;
        if read != length {
            return None;
        }
        let store = self.vault.reader.store();
        Some((!is_zero(&beside.buffer)).then(|| store.id_of(RecordType::Chunk, &beside.buffer)))
    }

    fn take_chunk(&mut self, beside: &Beside<'_>, id: &Hash, chunk: u64) {
        if let Some((offset, length)) = beside.place(chunk) {
            let have = Have::Disk { disk: beside.number, offset, length };
            self.wanted
                .insert(*id, Wanted { kind: RecordType::Chunk, have, plain_bytes: length as u64, is_read: false });
        }
    }

    /// Puts a lost node together from what the disk has at its place.
    fn rebuild(&mut self, beside: &mut Beside<'_>, id: &Hash, level: u8, base: u64, progress: &Progress) -> Result<()> {
        let mut built = Built::default();
        if self.build(beside, level, base, &mut built, progress)?.flatten() != Some(*id) {
            return Ok(());
        }
        for (id, bytes) in built.nodes {
            if self.is_had(&id) {
                continue;
            }
            let plain_bytes = bytes.len() as u64;
            self.wanted.insert(
                id,
                Wanted { kind: RecordType::MapNode, have: Have::Bytes(bytes), plain_bytes, is_read: false },
            );
        }
        for (id, chunk) in built.chunks {
            if !self.is_had(&id) {
                self.take_chunk(beside, &id, chunk);
            }
        }
        Ok(())
    }

    /// The id of the node that the disk makes at a place, with what the vault lacks of it; nothing where it is all zeros.
    /// `None` where the disk can't be read.
    fn build(
        &self,
        beside: &mut Beside<'_>,
        level: u8,
        base: u64,
        built: &mut Built,
        progress: &Progress,
    ) -> Result<Option<Option<Hash>>> {
        progress.check()?;
        let span = MapNode::chunks_per_child(level);
        let chunks = beside.described.size_bytes.div_ceil(u64::from(beside.described.chunk_bytes));
        let mut node = MapNode::empty(level);
        for number in 0..FANOUT {
            let at = base.saturating_add((number as u64).saturating_mul(span));
            if at >= chunks {
                break;
            }
            let child = if level > 0 {
                self.build(beside, level - 1, at, built, progress)?
            } else {
                self.chunk_there(beside, at)
            };
            let Some(child) = child else { return Ok(None) };
            node.children[number] = child;
            if let Some(id) = child.filter(|id| level == 0 && !self.is_in_vault(RecordType::Chunk, id)) {
                built.chunks.push((id, at));
            }
        }
        if node.children.iter().all(Option::is_none) {
            return Ok(Some(None));
        }
        let bytes = node.encode();
        let id = self.vault.reader.store().id_of(RecordType::MapNode, &bytes);
        if self.vault.reader.node_uncached(&id, level).is_err() {
            built.nodes.push((id, bytes));
        }
        Ok(Some(Some(id)))
    }
}

impl Beside<'_> {
    /// Offset and length of a chunk in bytes; nothing past the end.
    fn place(&self, chunk: u64) -> Option<(u64, usize)> {
        let chunk_bytes = u64::from(self.described.chunk_bytes);
        let offset = chunk.checked_mul(chunk_bytes)?;
        let length = self.described.size_bytes.checked_sub(offset)?.min(chunk_bytes);
        usize::try_from(length).ok().filter(|length| *length > 0).map(|length| (offset, length))
    }
}
