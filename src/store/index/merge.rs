//! Writing runs: from the table in memory, or from several runs into one. Memory does not grow with the entries.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use super::super::Place;
use super::run::Run;
use crate::error::{Error, Result};
use crate::format::index_run::{ENTRY_BYTES, FOLDER, RunEntry, RunHeader, Tag};
use crate::format::segment::ALIGNMENT;
use crate::format::{Hash, Id};
use crate::media::{Media, ObjectWriter};
use crate::seal::VaultKeys;

/// Runs that may lie side by side. Each costs a look-up of an absent chunk one page.
pub(super) const MOST_RUNS: usize = 6;

/// The same while nothing is looked up because the index is being made: merged once, at the end, it is made in half the
/// time.
pub(super) const MOST_RUNS_IN_THE_MAKING: usize = 48;

/// A run is merged with the smaller ones as long as it is at most this many times as large as they are together.
const GROWTH: u64 = 3;

/// Bytes gathered before they are written.
const PIECE_BYTES: usize = 1 << 20;

/// The runs that should become one, where there are more than `most`: the smallest, and those that are not much larger
/// than what came before them.
pub(super) fn choose(runs: &[Arc<Run>], most: usize) -> Option<Vec<Arc<Run>>> {
    if runs.len() <= most {
        return None;
    }
    let mut by_size = runs.to_vec();
    by_size.sort_by_key(|run| run.entries());
    let mut total = 0;
    let mut chosen = Vec::new();
    for run in by_size {
        if chosen.len() >= 2 && run.entries() > total * GROWTH && runs.len() - chosen.len() < MOST_RUNS {
            break;
        }
        total += run.entries();
        chosen.push(run);
    }
    Some(chosen)
}

/// Says which entries stay.
pub(super) type Keep<'a> = &'a dyn Fn(&Tag, &Place) -> bool;

/// Merges runs into one new run, of the entries that `keep` wants.
pub(super) fn merge(media: &dyn Media, keys: &VaultKeys, runs: &[Arc<Run>], keep: Keep<'_>) -> Result<Run> {
    let segments: HashSet<Id> = runs.iter().flat_map(|run| run.segments()).collect();
    // Two passes: the shape of a run depends on the number of its entries, which is known after the duplicates are gone.
    let mut entries = 0;
    for entry in Merged::new(runs, keep)? {
        entry?;
        entries += 1;
    }
    let mut failure = None;
    let merged = Merged::new(runs, keep)?.map_while(|entry| entry.map_err(|error| failure = Some(error)).ok());
    let run = write_exactly(media, keys, &segments, entries, merged);
    match failure {
        Some(error) => Err(error),
        None => run,
    }
}

/// Writes sorted entries as a run.
pub(super) fn write(
    media: &dyn Media,
    keys: &VaultKeys,
    segments: &HashSet<Id>,
    entries: Vec<(Tag, Place)>,
) -> Result<Run> {
    write_exactly(media, keys, segments, entries.len() as u64, entries.into_iter())
}

fn write_exactly(
    media: &dyn Media,
    keys: &VaultKeys,
    segments: &HashSet<Id>,
    count: u64,
    entries: impl Iterator<Item = (Tag, Place)>,
) -> Result<Run> {
    let list: Vec<Id> = segments.iter().copied().collect();
    let numbers: HashMap<Id, u32> = list.iter().copied().zip(0..).collect();
    let shape = RunHeader::new(*keys.vault(), keys.epoch(), u32::try_from(list.len()).unwrap_or(u32::MAX), count);
    let name = format!("{FOLDER}/{}.run", crate::seal::random_name()?);
    let object = media.create(&name)?;
    let mut out = Pieces::new(object.as_ref(), shape.entries_offset());
    // The front is kept until the end: it is small, and its hash comes first.
    let mut front = shape.encode(&list);
    front.resize(usize::try_from(shape.buckets_offset()).unwrap_or(usize::MAX), 0);
    let buckets = 1_u64 << shape.bucket_bits;
    let (mut written, mut bucket) = (0_u32, 0);
    for (tag, place) in entries {
        while bucket <= shape.bucket(&tag) {
            front.extend_from_slice(&written.to_le_bytes());
            bucket += 1;
        }
        let entry = RunEntry {
            tag,
            segment: numbers.get(&place.segment).copied().unwrap_or(u32::MAX),
            offset_16: u32::try_from(place.offset / ALIGNMENT).unwrap_or(u32::MAX),
            stored_bytes: place.stored_bytes,
            plain_bytes: place.plain_bytes,
        };
        out.push(&entry.encode())?;
        written += 1;
    }
    for _ in bucket..=buckets {
        front.extend_from_slice(&written.to_le_bytes());
    }
    front.resize(usize::try_from(shape.entries_offset()).unwrap_or(usize::MAX), 0);
    let entries_hash = out.finish()?;
    if u64::from(written) != count {
        // The runs changed under the merge; nothing is published.
        return Err(Error::Poisoned);
    }
    let authenticator = keys.authenticate_run(blake3::hash(&front).as_bytes(), &entries_hash);
    object.write_at(0, &front)?;
    object.write_at(shape.authenticator_offset(), &authenticator)?;
    object.publish()?;
    Run::open(media, keys.vault(), Some(keys.epoch()), &name)
}

/// Small writes gathered into large ones, and hashed.
struct Pieces<'a> {
    object: &'a dyn ObjectWriter,
    start: u64,
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
}

impl<'a> Pieces<'a> {
    fn new(object: &'a dyn ObjectWriter, start: u64) -> Self {
        Self { object, start, bytes: Vec::with_capacity(PIECE_BYTES + ENTRY_BYTES), hasher: blake3::Hasher::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= PIECE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.hasher.update(&self.bytes);
        self.object.write_at(self.start, &self.bytes)?;
        self.start += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// Writes what is left; the hash of everything.
    fn finish(mut self) -> Result<Hash> {
        self.write()?;
        Ok(*self.hasher.finalize().as_bytes())
    }
}

/// The entries of several runs in order of tag, each place once. A record that is about to move is in two places: whichever
/// goes, the other must not be forgotten.
struct Merged<'a> {
    streams: Vec<super::run::Stream<'a>>,
    heads: BinaryHeap<Reverse<(Tag, usize, PlaceKey)>>,
    last: Tag,
    /// The places that the last tag has.
    places: Vec<Place>,
    keep: Keep<'a>,
}

/// A place in a form that has an order, which does not matter.
type PlaceKey = (Id, u64, u32, u32);

impl<'a> Merged<'a> {
    fn new(runs: &'a [Arc<Run>], keep: Keep<'a>) -> Result<Self> {
        let streams = runs.iter().map(|run| run.stream()).collect();
        let mut merged = Self { streams, heads: BinaryHeap::new(), last: Tag::default(), places: Vec::new(), keep };
        for number in 0..merged.streams.len() {
            merged.advance(number)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, number: usize) -> Result<()> {
        if let Some(entry) = self.streams.get_mut(number).and_then(Iterator::next) {
            let (tag, place) = entry?;
            let key = (place.segment, place.offset, place.stored_bytes, place.plain_bytes);
            self.heads.push(Reverse((tag, number, key)));
        }
        Ok(())
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<(Tag, Place)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Reverse((tag, number, (segment, offset, stored_bytes, plain_bytes))) = self.heads.pop()?;
            if let Err(error) = self.advance(number) {
                return Some(Err(error));
            }
            let place = Place { segment, offset, stored_bytes, plain_bytes };
            if self.last != tag {
                self.last = tag;
                self.places.clear();
            }
            if !self.places.contains(&place) && (self.keep)(&tag, &place) {
                self.places.push(place);
                return Some(Ok((tag, place)));
            }
        }
    }
}
