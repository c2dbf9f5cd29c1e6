//! Records: which of those that points need are lost, and where each can be had again.
//!
//! The maps of all points are walked as a check does. What the vault does not have is looked for in the segments that will
//! be whole again, then in the copies, then on the disks. A record of a copy is opened and authenticated by the copy's own
//! segment, and has the id that is asked for; a piece of a disk has that id by the keyed hash of its bytes.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::segments::{MendedRecords, Survey};
use super::sources::Original;
use crate::error::{Error, Result};
use crate::format::map_node::MapNode;
use crate::format::segment::{MOST_PLAIN_BYTES, RecordType};
use crate::format::{Hash, Id};
use crate::point::{ByteRange, DiskMap, Manifest, ManifestDisk, PointInfo};
use crate::progress::Progress;
use crate::store::{Place, Store};
use crate::sync::Arc;
use crate::vault::check::short_tag;
use crate::vault::{DamagedRange, Vault, checked_manifest};

/// Where a record that the vault does not have can be had.
#[derive(Clone, Debug)]
pub(super) enum Have {
    /// In a segment that will be made whole, by its number among those.
    Mended(usize),
    /// In a copy.
    Copy(usize),
    /// On a disk.
    Disk { disk: usize, offset: u64, length: usize },
    /// Here: a map node that a disk told.
    Bytes(Vec<u8>),
    /// In the vault itself, in a segment that lost what holds it together, or of whose records parity gives this one.
    Own,
    /// Nowhere.
    Lost,
}

/// A record that the vault does not have.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub kind: RecordType,
    pub have: Have,
    /// Length of its plain bytes, where that is known.
    pub plain_bytes: u64,
    /// Whether it is read even now, since parity gives it.
    pub is_read: bool,
}

/// Chunks below a node that can't be read now, from the node's first, and whether they could be afterwards.
type Ranges = Vec<(u64, u64, bool)>;

/// Walks the maps of points.
pub(super) struct Records<'a> {
    pub(super) vault: &'a Vault,
    survey: &'a Survey,
    anywhere: HashSet<u32>,
    mended: &'a MendedRecords,
    copies: &'a [Option<Store>],
    pub(super) disks: &'a [Original],
    /// What the vault does not have.
    pub(super) wanted: HashMap<Hash, Wanted>,
    /// Of each node that was walked what is wrong below it: points share most of theirs.
    walked: HashMap<Hash, Rc<Ranges>>,
}

impl<'a> Records<'a> {
    pub(super) fn new(
        vault: &'a Vault,
        survey: &'a Survey,
        mended: &'a MendedRecords,
        copies: &'a [Option<Store>],
        disks: &'a [Original],
    ) -> Self {
        let anywhere = survey.seen.as_ref().map(|seen| seen.anywhere()).unwrap_or_default();
        let (wanted, walked) = (HashMap::new(), HashMap::new());
        Self { vault, survey, anywhere, mended, copies, disks, wanted, walked }
    }

    fn store(&self) -> &'a Arc<Store> {
        self.vault.reader.store()
    }

    /// A point's manifest, from wherever it can be had.
    pub(super) fn manifest(&mut self, point: &PointInfo) -> Option<Manifest> {
        if let Ok(manifest) = self.vault.manifest(point) {
            self.note_healed(RecordType::Manifest, &point.entry.manifest);
            return Some(manifest);
        }
        let bytes = self.meta(RecordType::Manifest, &point.entry.manifest)?;
        checked_manifest(&bytes, point).ok()
    }

    /// A map node, from wherever it can be had.
    pub(super) fn node(&mut self, id: &Hash, level: u8) -> Option<MapNode> {
        if let Ok(node) = self.vault.reader.node_uncached(id, level) {
            self.note_healed(RecordType::MapNode, id);
            return Some(node);
        }
        let bytes = self.meta(RecordType::MapNode, id)?;
        MapNode::decode(&bytes).ok().filter(|node| node.level == level)
    }

    /// The plain bytes of a map node or manifest that the vault does not have.
    fn meta(&mut self, kind: RecordType, id: &Hash) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        let have = match self.wanted.get(id).map(|wanted| wanted.have.clone()) {
            Some(have) => have,
            None => {
                let have = self.look_elsewhere(kind, id, &mut plain);
                let plain_bytes = plain.len() as u64;
                self.wanted.insert(*id, Wanted { kind, have: have.clone(), plain_bytes, is_read: false });
                have
            }
        };
        match have {
            Have::Mended(_) => self.mended.meta.get(id).cloned(),
            Have::Bytes(bytes) => Some(bytes),
            Have::Copy(number) => {
                let copy = self.copies.get(number)?.as_ref()?;
                (!plain.is_empty() || copy.read_placed(kind, id, &mut plain).ok()?).then_some(plain)
            }
            Have::Disk { .. } | Have::Own | Have::Lost => None,
        }
    }

    /// Looks for a record everywhere but in the vault's own whole segments and on disks. What a copy has is put into
    /// `plain`.
    fn look_elsewhere(&self, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> Have {
        let tag = self.store().keys().index_tag(id);
        let is_in_memory = || kind == RecordType::Chunk || self.mended.meta.contains_key(id);
        if let Some(number) = self.mended.of(&tag).filter(|_| is_in_memory()) {
            return Have::Mended(number);
        }
        for (number, copy) in self.copies.iter().enumerate() {
            if let Some(copy) = copy
                && copy.read_placed(kind, id, plain).unwrap_or(false)
            {
                return Have::Copy(number);
            }
        }
        plain.clear();
        Have::Lost
    }

    /// Has a record that only parity gives stored elsewhere, where its segment can't be made whole: it is one bad sector from
    /// being lost.
    fn note_healed(&mut self, kind: RecordType, id: &Hash) {
        if !self.wanted.contains_key(id) && !self.is_in_vault(kind, id) {
            let mut plain = Vec::new();
            if self.store().read_placed(kind, id, &mut plain).unwrap_or(false) {
                self.want_healed(kind, id, plain.len());
            }
        }
    }

    fn want_healed(&mut self, kind: RecordType, id: &Hash, plain_bytes: usize) {
        let comes_back = self.mended.of(&self.store().keys().index_tag(id));
        let have = comes_back.map_or(Have::Own, Have::Mended);
        self.wanted.insert(*id, Wanted { kind, have, plain_bytes: plain_bytes as u64, is_read: true });
    }

    /// Whether a record is in the vault, and no parity is needed to read it.
    pub(super) fn is_in_vault(&self, kind: RecordType, id: &Hash) -> bool {
        let tag = self.store().keys().index_tag(id);
        let is_whole = |place| self.survey.seen.as_ref().and_then(|seen| seen.has(&tag, &place)) == Some(true);
        if self.store().locate(id).is_some_and(is_whole) {
            return true;
        }
        // What no segment had whole need not be searched for in all of them. Otherwise what a reader would get decides; a
        // role that can't open data goes by what was seen whole.
        self.anywhere.contains(&short_tag(&tag))
            && matches!(self.store().read(kind, id), Ok(_) | Err(Error::NotPermitted { .. }))
    }

    /// Whether a chunk that a map names is in the vault. If it is not, it is looked for elsewhere.
    fn has_chunk(&mut self, id: &Hash) -> bool {
        if let Some(wanted) = self.wanted.get(id) {
            return wanted.is_read;
        }
        let (kind, mut plain) = (RecordType::Chunk, Vec::new());
        if self.is_in_vault(kind, id) {
            return true;
        }
        if self.store().read_placed(kind, id, &mut plain).unwrap_or(false) {
            self.want_healed(kind, id, plain.len());
            return true;
        }
        plain.clear();
        let have = self.look_elsewhere(kind, id, &mut plain);
        let plain_bytes = if plain.is_empty() { self.vault.header.chunk_bytes().into() } else { plain.len() as u64 };
        self.wanted.insert(*id, Wanted { kind, have, plain_bytes, is_read: false });
        false
    }

    /// Whether the vault lacks a record, so that what is below it can't be read now.
    fn lacks(&self, id: &Hash) -> bool {
        self.wanted.get(id).is_some_and(|wanted| !wanted.is_read)
    }

    /// Whether a record that the vault does not have can be had.
    pub(super) fn is_had(&self, id: &Hash) -> bool {
        self.wanted.get(id).is_some_and(|wanted| !matches!(wanted.have, Have::Lost))
    }

    /// What is wrong below a node.
    pub(super) fn below(&mut self, id: &Hash, level: u8, progress: &Progress) -> Result<Rc<Ranges>> {
        if let Some(known) = self.walked.get(id) {
            return Ok(Rc::clone(known));
        }
        progress.check()?;
        let span = MapNode::chunks_per_child(level);
        let mut ranges: Ranges = Vec::new();
        let mut push = |start: u64, end: u64, had: bool| match ranges.last_mut() {
            Some(last) if last.1 == start && last.2 == had => last.1 = end,
            _ => ranges.push((start, end, had)),
        };
        let node = self.node(id, level);
        // Of a node that the vault itself lacks, nothing below can be read now.
        let hidden = self.lacks(id);
        match node {
            None => push(0, span.saturating_mul(128), false),
            Some(node) => {
                for (number, child) in (0_u64..).zip(node.children.iter()) {
                    let Some(child) = child else { continue };
                    let base = number.saturating_mul(span);
                    if level > 0 {
                        let mut at = base;
                        for (start, end, had) in self.below(child, level - 1, progress)?.iter() {
                            let (start, end) = (base.saturating_add(*start), base.saturating_add(*end));
                            if hidden && at < start {
                                push(at, start, true);
                            }
                            push(start, end, *had);
                            at = end;
                        }
                        if hidden && at < base.saturating_add(span) {
                            push(at, base.saturating_add(span), true);
                        }
                    } else if !self.has_chunk(child) {
                        push(base, base + 1, self.is_had(child));
                    } else if hidden {
                        push(base, base + 1, true);
                    }
                }
            }
        }
        let ranges = Rc::new(ranges);
        self.walked.insert(*id, Rc::clone(&ranges));
        Ok(ranges)
    }

    /// Has the whole records of a segment stored elsewhere that lost its table or trailer and can't be made whole: there
    /// they are found only by walking over it. Those that are whole in another segment too need not be.
    pub(super) fn move_out_of(&mut self, segment: &Id) {
        let Some(seen) = self.survey.seen.as_ref().filter(|_| self.store().keys().reads_data()) else { return };
        let elsewhere = seen.others(segment);
        for entry in self.store().segments().entries(segment).unwrap_or_default() {
            let tag = self.store().keys().index_tag(&entry.id);
            let place = Place {
                segment: *segment,
                offset: entry.offset,
                stored_bytes: entry.stored_bytes,
                plain_bytes: entry.plain_bytes,
            };
            if seen.has(&tag, &place) == Some(true) && !elsewhere.contains(&short_tag(&tag)) {
                let plain_bytes = u64::from(entry.plain_bytes);
                self.wanted.insert(entry.id, Wanted { kind: entry.kind, have: Have::Own, plain_bytes, is_read: true });
            }
        }
    }

    /// Walks the maps anew, after more could be had.
    pub(super) fn forget_walks(&mut self) {
        self.walked.clear();
    }

    /// Tells what of a point can't be read now: what could be afterwards, and what stays lost.
    pub(super) fn point(
        &mut self,
        point: &PointInfo,
        progress: &Progress,
    ) -> Result<(Vec<DamagedRange>, Vec<DamagedRange>)> {
        let (mut regained, mut lost) = (Vec::new(), Vec::new());
        let range = |disk: &str, start, end| DamagedRange {
            machine: point.machine.clone(),
            point: point.name.clone(),
            disk: disk.to_owned(),
            range: ByteRange { start, end },
        };
        let Some(manifest) = self.manifest(point) else {
            lost.push(range("(all)", 0, 0));
            return Ok((regained, lost));
        };
        // Without its manifest, nothing of it can be read now.
        let hidden = self.lacks(&point.entry.manifest);
        for disk in &manifest.disks {
            let found = self.disk(disk, progress)?;
            let mut at = 0;
            for (start, end, had) in found {
                if hidden && at < start {
                    regained.push(range(&disk.name, at, start));
                }
                if had { &mut regained } else { &mut lost }.push(range(&disk.name, start, end));
                at = end;
            }
            if hidden && at < disk.size_bytes {
                regained.push(range(&disk.name, at, disk.size_bytes));
            }
        }
        Ok((regained, lost))
    }

    /// The same of a disk, in bytes.
    fn disk(&mut self, disk: &ManifestDisk, progress: &Progress) -> Result<Ranges> {
        // A map that a reader refuses is refused as a whole.
        if DiskMap::open(Arc::clone(&self.vault.reader), disk).is_err() {
            return Ok(vec![(0, disk.size_bytes, false)]);
        }
        let Some(root) = disk.root() else { return Ok(Vec::new()) };
        let bytes = |chunks: u64| chunks.saturating_mul(u64::from(disk.chunk_bytes)).min(disk.size_bytes);
        let ranges = self.below(&root, disk.map_level, progress)?;
        Ok(ranges.iter().map(|(start, end, had)| (bytes(*start), bytes(*end), *had)).collect())
    }
}

/// The plain bytes of a record, from where it was found. False where it is not there any more.
pub(super) fn fetch(
    store: &Store,
    copies: &[Option<Store>],
    disks: &[Original],
    id: &Hash,
    wanted: &Wanted,
    plain: &mut Vec<u8>,
) -> bool {
    let there = match &wanted.have {
        Have::Copy(number) => copies
            .get(*number)
            .and_then(Option::as_ref)
            .is_some_and(|copy| copy.read_placed(wanted.kind, id, plain).unwrap_or(false)),
        Have::Disk { disk, offset, length } => {
            plain.resize(*length, 0);
            disks.get(*disk).is_some_and(|disk| disk.source.read_at(*offset, plain).is_ok_and(|read| read == *length))
        }
        Have::Bytes(bytes) => {
            plain.clone_from(bytes);
            true
        }
        Have::Own => store.read_placed(wanted.kind, id, plain).unwrap_or(false),
        Have::Mended(_) | Have::Lost => false,
    };
    there && plain.len() <= MOST_PLAIN_BYTES as usize && store.id_of(wanted.kind, plain) == *id
}
