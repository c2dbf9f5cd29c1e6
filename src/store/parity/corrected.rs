//! A segment's bytes with what is damaged computed from parity.
//!
//! A shard is read from the segment's file and taken where it fits its checksum. The first one that does not has its whole
//! group computed, once however many ask; what came out is kept while there is room. Where a group has lost more than its
//! parity gives back, that is kept too, and the file's own bytes are passed on as far as the medium gives them: whoever
//! reads them has checks of its own.

use std::collections::HashMap;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder};

use super::file::ParityFile;
use super::make::as_usize;
use crate::error::{Error, Problem, Result};
use crate::format::{Id, segment};
use crate::media::{Media, Object};

/// Room for computed shards, in bytes. That of the largest group has its place in it.
const ROOM_BYTES: u64 = 64 << 20;

/// What a computed group costs beside its shards.
const ENTRY_BYTES: u64 = 128;

/// What was computed of one group.
pub(in crate::store) struct Group {
    /// Its shards that are damaged in the segment's file; none where parity does not reach.
    shards: HashMap<u64, Box<[u8]>>,
    /// Number of its shards that are damaged, or one more than can be computed.
    lost: usize,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<(Id, u32), Arc<Group>> for ByLength {
    fn weight(&self, _: &(Id, u32), group: &Arc<Group>) -> u64 {
        group.shards.values().map(|shard| shard.len() as u64).sum::<u64>() + ENTRY_BYTES
    }
}

/// What was computed of groups of segments, while there is room.
#[derive(Clone)]
pub(in crate::store) struct Groups(Arc<Cache<(Id, u32), Arc<Group>, ByLength>>);

impl Groups {
    /// Forgets what was computed of a segment: its file is another now.
    pub(in crate::store) fn forget(&self, segment: &Id) {
        self.0.retain(|(of, _), _| of != segment);
    }

    pub(in crate::store) fn new() -> Self {
        // One shard of the cache, and half of it for what was asked for once: so any group fits.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(256)
            .weight_capacity(ROOM_BYTES)
            .hot_allocation(0.5)
            .shards(1)
            .build()
            .expect("all that must be set is set");
        let lifecycle = DefaultLifecycle::default();
        Self(Arc::new(Cache::with_options(options, ByLength, DefaultHashBuilder::default(), lifecycle)))
    }
}

/// A segment as its parity has it.
pub struct Corrected {
    name: String,
    /// The segment's file; none where that can't be opened.
    file: Option<Arc<dyn Object>>,
    parity: ParityFile,
    groups: Groups,
}

/// What a shard of the file is.
enum Raw {
    /// What it was.
    Whole,
    /// Something else.
    Damaged,
    /// The medium does not give it.
    Unreadable(Error),
}

impl Corrected {
    /// Opens a segment and its parity, of which the header at least must be whole. `vault` is the vault that both must be
    /// of, where that is known.
    pub fn open(media: &dyn Media, vault: Option<&Id>, segment: &Id) -> Result<Self> {
        Self::with(media, vault, segment, Groups::new())
    }

    pub(in crate::store) fn with(media: &dyn Media, vault: Option<&Id>, segment: &Id, groups: Groups) -> Result<Self> {
        let parity = ParityFile::open(media, vault, segment)?;
        let name = segment::object(segment);
        let file = media.open(&name).ok();
        Ok(Self { name, file, parity, groups })
    }

    /// The parity.
    pub fn parity(&self) -> &ParityFile {
        &self.parity
    }

    /// Whether the file differs from what it was anywhere in a range.
    pub(in crate::store) fn is_damaged(&self, offset: u64, length: u64) -> bool {
        let header = self.parity.header();
        let end = offset.saturating_add(length).min(header.segment_bytes);
        let mut buffer = vec![0; header.shard_bytes()];
        let shards = (offset >> header.shard_size_log2)..end.div_ceil(1 << header.shard_size_log2);
        shards.into_iter().any(|shard| {
            let bytes = &mut buffer[..header.length_of(shard)];
            self.known(shard, |_| ()).is_some() || !matches!(self.raw(shard, bytes), Raw::Whole)
        })
    }

    /// Number of damaged shards of the segment, each group counted up to what its parity gives back and one more; and
    /// whether all can be computed. Reads the segment whole, and computes what is damaged.
    pub fn survey(&self) -> (u64, bool) {
        let groups = (0..self.parity.header().groups).map(|group| self.group(group));
        groups.fold((0, true), |(lost, all), group| (lost + group.lost as u64, all && group.shards.len() == group.lost))
    }

    /// A shard that was computed before.
    fn known<R>(&self, shard: u64, use_it: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let header = self.parity.header();
        let group = self.groups.0.get(&(header.segment, group_of(shard, header.groups)))?;
        group.shards.get(&shard).map(|bytes| use_it(bytes))
    }

    /// Reads a shard from the segment's file.
    fn raw(&self, shard: u64, buffer: &mut [u8]) -> Raw {
        let absent = || Error::damaged(&self.name, 0, Problem::Absent);
        let read = self.file.as_ref().ok_or_else(absent);
        match read.and_then(|file| file.read_past_map(shard << self.parity.header().shard_size_log2, buffer)) {
            Err(error) => Raw::Unreadable(error),
            Ok(()) if self.parity.fits(shard, buffer) => Raw::Whole,
            Ok(()) => Raw::Damaged,
        }
    }

    /// Fills `buffer` with a shard. One that is damaged and can't be computed is passed on as the file has it.
    fn shard(&self, shard: u64, buffer: &mut [u8]) -> Result<()> {
        // What is known is not asked of the medium again: each refusal may take it seconds.
        if self.known(shard, |bytes| buffer.copy_from_slice(bytes)).is_some() {
            return Ok(());
        }
        let raw = self.raw(shard, buffer);
        if matches!(raw, Raw::Whole) {
            return Ok(());
        }
        let number = group_of(shard, self.parity.header().groups);
        let mut group = self.group(number);
        if group.shards.len() == group.lost && !group.shards.contains_key(&shard) {
            // It went bad after the rest of its group was computed.
            group = self.compute(number);
            self.groups.0.insert((self.parity.header().segment, number), Arc::clone(&group));
        }
        match (group.shards.get(&shard), raw) {
            (Some(bytes), _) => buffer.copy_from_slice(bytes),
            (None, Raw::Unreadable(error)) => return Err(error),
            (None, _) => {}
        }
        Ok(())
    }

    /// What is damaged of a group, computed by the first who asks.
    fn group(&self, group: u32) -> Arc<Group> {
        let key = (self.parity.header().segment, group);
        let computed =
            self.groups.0.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(self.compute(group)));
        match computed {
            Ok(group) => group,
            Err(never) => match never {},
        }
    }

    fn compute(&self, group: u32) -> Arc<Group> {
        let header = self.parity.header();
        let (data, parity) = (as_usize(header.group_shards(group)), as_usize(u64::from(header.parity_shards)));
        let decoder = HighRateDecoder::new(data, parity, header.shard_bytes(), DefaultEngine::new(), None);
        let mut decoder = decoder.expect("the format bounds both");
        let shard_of = |number: usize| number as u64 * u64::from(header.groups) + u64::from(group);
        let mut buffer = vec![0; header.shard_bytes()];
        let mut lost = 0;
        for number in 0..data {
            let length = header.length_of(shard_of(number));
            buffer[length..].fill(0);
            if matches!(self.raw(shard_of(number), &mut buffer[..length]), Raw::Whole) {
                decoder.add_original_shard(number, &buffer).expect("each is added once");
                continue;
            }
            lost += 1;
            if lost > parity {
                return Arc::new(Group { shards: HashMap::new(), lost });
            }
        }
        let mut given = 0;
        for number in (0..parity).take_while(|_| lost > 0) {
            if given < lost && self.parity.read_shard(shard_of(number), &mut buffer) {
                decoder.add_recovery_shard(number, &buffer).expect("each is added once");
                given += 1;
            }
        }
        if given < lost {
            return Arc::new(Group { shards: HashMap::new(), lost });
        }
        let decoded = decoder.decode().expect("as many shards are there as the group has data");
        let shards = decoded.restored_original_iter().map(|(number, bytes)| {
            let shard = shard_of(number);
            (shard, bytes[..header.length_of(shard)].into())
        });
        Arc::new(Group { shards: shards.collect(), lost })
    }
}

/// The group that a shard belongs to.
fn group_of(shard: u64, groups: u32) -> u32 {
    u32::try_from(shard % u64::from(groups)).expect("below a number of 32 bits")
}

impl Object for Corrected {
    fn name(&self) -> &str {
        &self.name
    }

    /// As long as the segment was.
    fn length(&self) -> u64 {
        self.parity.header().segment_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let header = self.parity.header();
        let end = offset.saturating_add(buffer.len() as u64);
        if end > header.segment_bytes {
            let problem = Problem::Length { expected: end, found: header.segment_bytes };
            return Err(Error::damaged(&self.name, offset, problem));
        }
        let mut bytes = vec![0; header.shard_bytes()];
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let shard = at >> header.shard_size_log2;
            let within = as_usize(at - (shard << header.shard_size_log2));
            let bytes = &mut bytes[..header.length_of(shard)];
            self.shard(shard, bytes)?;
            let count = rest.len().min(bytes.len() - within);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&bytes[within..within + count]);
            (at, rest) = (at + count as u64, later);
        }
        Ok(())
    }
}
