//! Writing records: one writer per backup, used by many threads at once.
//!
//! A thread that stores a record compresses it, takes the next place in the open segment, seals it for that place,
//! opens and decodes it again, and writes it there. Whoever writes the last record of a full segment hands it to the
//! sealing thread, which adds table and trailer, makes parity, syncs, and publishes.
//!
//! Invariants:
//! - a record has one number in one segment, given out once; what was sealed under a number is never sealed again;
//! - after any failure nothing is published any more: the writer is poisoned, [`Writer::finish`] says why;
//! - [`Writer::finish`] returns only after every segment is synced, named, and its name synced, and its parity before it.

use std::collections::HashSet;

use super::parity::{Maker, plan};
use super::scratch::Scratch;
use super::{Place, Reliance, Store, decode, encode};
use crate::error::{Error, Problem, Result};
use crate::format::index_run::Tag;
use crate::format::parity;
use crate::format::segment::{
    self, ALIGNMENT, Encoding, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, TableEntry, Trailer, padded,
};
use crate::format::{Hash, Id, TAG_BYTES};
use crate::media::ObjectWriter;
use crate::meter::Stage;
use crate::seal::SegmentSeal;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Full segments that may wait to be synced.
const MOST_SEALING: usize = 2;

/// Bytes after which the system is asked to begin writing out, so that the sync at the end is short.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// Shards of the table of records on their way.
const SHARDS: usize = 64;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The vault has it already, or another thread of this writer is storing it.
    Known,
    /// It was new and is stored.
    New {
        /// Its place.
        place: Place,
    },
}

/// Stores records into new segments.
pub struct Writer {
    shared: Arc<Shared>,
    verify: bool,
    sealer: Option<(Sender<Full>, JoinHandle<()>)>,
}

struct Shared {
    store: Arc<Store>,
    /// What of the vault's segments a backup relies on; none where the caller keeps all of them as they are.
    reliance: Option<Arc<Reliance>>,
    data: Mutex<Option<Open>>,
    meta: Mutex<Option<Open>>,
    /// Records that are claimed but whose segment is not in the index yet.
    claimed: Vec<Mutex<HashSet<Tag>>>,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    published: Mutex<Vec<Id>>,
    stored_bytes: AtomicU64,
    /// Segments that were begun and are not published.
    unsealed: AtomicU64,
}

/// The segment that records are added to.
struct Open {
    file: Arc<SegmentFile>,
    next_number: u32,
    next_offset: u64,
}

struct SegmentFile {
    seal: SegmentSeal,
    object: Arc<dyn ObjectWriter>,
    header: Vec<u8>,
    written: Mutex<Written>,
}

/// What of a segment is written.
#[derive(Default)]
struct Written {
    records: Vec<(RecordHeader, TableEntry)>,
    bytes: u64,
    /// Bytes that the system was asked to write out.
    started: u64,
    /// Number of records and where they end, once no more are given places.
    closed: Option<(u32, u64)>,
}

/// To the sealing thread: a segment whose records are all written.
struct Full {
    file: Arc<SegmentFile>,
    records: Vec<(RecordHeader, TableEntry)>,
    end: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Begins to write. With `verify`, each record is opened, decoded and compared before it is written. The caller sees to it
    /// that no segment is removed until it ends.
    pub fn start(store: Arc<Store>, verify: bool) -> Self {
        Self::start_with(store, verify, None)
    }

    /// The same, where segments may be removed that are not relied on.
    pub(crate) fn start_relying(store: Arc<Store>, verify: bool, reliance: Arc<Reliance>) -> Self {
        Self::start_with(store, verify, Some(reliance))
    }

    fn start_with(store: Arc<Store>, verify: bool, reliance: Option<Arc<Reliance>>) -> Self {
        let shared = Arc::new(Shared {
            store,
            reliance,
            data: Mutex::default(),
            meta: Mutex::default(),
            claimed: (0..SHARDS).map(|_| Mutex::default()).collect(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            published: Mutex::default(),
            stored_bytes: AtomicU64::new(0),
            unsealed: AtomicU64::new(0),
        });
        let (sender, full) = bounded(MOST_SEALING);
        let sealing = Arc::clone(&shared);
        let sealer = thread::spawn(move || seal_segments(&sealing, &full));
        Self { shared, verify, sealer: Some((sender, sealer)) }
    }

    /// Stores plain bytes under their id, unless the vault has them.
    pub fn store(&self, kind: RecordType, id: &Hash, plain: &[u8]) -> Result<Stored> {
        if !self.claim(id, plain.len())? {
            return Ok(Stored::Known);
        }
        let place = self.write(kind, id, plain).inspect_err(|_| self.shared.poison_quietly())?;
        Ok(Stored::New { place })
    }

    /// The same with bytes that another vault has encoded already: whoever decoded them found that they are what the id
    /// says. The writer decodes them again, as it does with what it encoded itself.
    pub(crate) fn store_encoded(
        &self,
        kind: RecordType,
        id: &Hash,
        encoding: Encoding,
        plain_bytes: u32,
        encoded: &[u8],
    ) -> Result<Stored> {
        if !self.claim(id, plain_bytes as usize)? {
            return Ok(Stored::Known);
        }
        let check = if self.verify { Check::Decoded } else { Check::Nothing };
        let place = self.seal_encoded(kind, id, encoding, plain_bytes, encoded, &check)?;
        Ok(Stored::New { place })
    }

    /// Whether a record is new, and this thread the one to store it.
    fn claim(&self, id: &Hash, plain_bytes: usize) -> Result<bool> {
        self.check()?;
        let tag = self.shared.store.keys.index_tag(id);
        // Asked under the shard's lock: a segment's records leave this table only after they came into the index.
        let mut claimed = lock(self.shared.shard(&tag));
        let known = || claimed.contains(&tag) || self.shared.has(&tag);
        if self.shared.store.meter.time(Stage::LookUp, plain_bytes, known) {
            return Ok(false);
        }
        claimed.insert(tag);
        Ok(true)
    }

    /// Whether a record is in a segment that stays until this ends.
    pub(crate) fn has(&self, id: &Hash) -> bool {
        self.shared.has(&self.shared.store.keys.index_tag(id))
    }

    /// Bytes handed over for writing so far, with headers and padding.
    pub fn stored_bytes(&self) -> u64 {
        self.shared.stored_bytes.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(lock(&self.shared.failure).take().unwrap_or(Error::Poisoned))
    }

    fn write(&self, kind: RecordType, id: &Hash, plain: &[u8]) -> Result<Place> {
        let plain_bytes = u32::try_from(plain.len()).ok().filter(|bytes| *bytes <= segment::MOST_PLAIN_BYTES);
        let plain_bytes = plain_bytes.expect("records are at most 16 MiB");
        let (store, level) = (&self.shared.store, i32::from(self.shared.store.header.level));
        Scratch::with(|scratch| {
            // Encoded, sealed and written where it lies: header, payload, tag, padding.
            let room = scratch.sealed(RECORD_HEADER_BYTES + plain.len() + TAG_BYTES + ALIGNMENT as usize);
            let compress = || encode(plain, level, &mut room[RECORD_HEADER_BYTES..]);
            let (encoding, encoded_bytes) = store.meter.time(Stage::Compress, plain.len(), compress);
            let check = if self.verify { Check::Decoded } else { Check::Nothing };
            self.seal_and_write(kind, id, encoding, plain_bytes, encoded_bytes, scratch, &check)
        })
    }

    /// Stores a record as another segment has it encoded, also where the vault has it already. Whether it did: not where
    /// another copy of the same just came. Where it fails, so does everything.
    pub(super) fn copy(
        &self,
        kind: RecordType,
        id: &Hash,
        encoding: Encoding,
        plain_bytes: u32,
        encoded: &[u8],
    ) -> Result<bool> {
        self.check()?;
        let tag = self.shared.store.keys.index_tag(id);
        if !lock(self.shared.shard(&tag)).insert(tag) {
            return Ok(false);
        }
        self.seal_encoded(kind, id, encoding, plain_bytes, encoded, &Check::Encoded(encoded))?;
        Ok(true)
    }

    fn seal_encoded(
        &self,
        kind: RecordType,
        id: &Hash,
        encoding: Encoding,
        plain_bytes: u32,
        encoded: &[u8],
        check: &Check<'_>,
    ) -> Result<Place> {
        let sealed = Scratch::with(|scratch| {
            let room = scratch.sealed(RECORD_HEADER_BYTES + encoded.len() + TAG_BYTES + ALIGNMENT as usize);
            room[RECORD_HEADER_BYTES..][..encoded.len()].copy_from_slice(encoded);
            self.seal_and_write(kind, id, encoding, plain_bytes, encoded.len(), scratch, check)
        });
        sealed.inspect_err(|_| self.shared.poison_quietly())
    }

    /// Seals an encoded record that lies behind the room for its header, for the next place, and writes it there.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, and where it lies")]
    fn seal_and_write(
        &self,
        kind: RecordType,
        id: &Hash,
        encoding: Encoding,
        plain_bytes: u32,
        encoded_bytes: usize,
        scratch: &mut Scratch,
        check: &Check<'_>,
    ) -> Result<Place> {
        let store = &self.shared.store;
        let stored_bytes = u32::try_from(encoded_bytes + TAG_BYTES).expect("no longer than plain");
        let (file, number, offset) = self.allocate(kind == RecordType::Chunk, stored_bytes)?;
        let end = RECORD_HEADER_BYTES + stored_bytes as usize;
        let record = scratch.sealed(end);
        let seal = || file.seal.seal_record(number, kind, encoding, plain_bytes, id, record);
        let header = store.meter.time(Stage::Seal, stored_bytes as usize, seal);
        verify(store, &file.seal, &header, id, offset, scratch, check)?;
        let length = RECORD_HEADER_BYTES + usize::try_from(padded(stored_bytes)).expect("a record is small");
        let bytes = scratch.sealed(length);
        bytes[end..].fill(0);
        store.meter.time(Stage::Append, length, || file.object.write_at(offset, bytes))?;
        let entry = TableEntry { id: *id, offset, stored_bytes, plain_bytes, kind };
        self.written(&file, header, entry, length as u64)?;
        self.shared.stored_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(Place { segment: *file.seal.segment(), offset, stored_bytes, plain_bytes })
    }

    /// Takes note of a record that is written. The last one of a segment that takes no more hands it to the sealer.
    fn written(&self, file: &Arc<SegmentFile>, header: RecordHeader, entry: TableEntry, bytes: u64) -> Result<()> {
        let mut written = lock(&file.written);
        written.records.push((header, entry));
        written.bytes += bytes;
        let write_back = written.bytes - written.started >= WRITEBACK_BYTES;
        if write_back {
            written.started = written.bytes;
        }
        let full = written.take_full(file);
        drop(written);
        if write_back {
            file.object.start_writeback(0, 0);
        }
        full.map_or(Ok(()), |full| self.hand_over(full))
    }

    /// Takes the next place in the open segment of its kind; begins one where there is none, ends one that is full.
    fn allocate(&self, data: bool, stored_bytes: u32) -> Result<(Arc<SegmentFile>, u32, u64)> {
        let slot = if data { &self.shared.data } else { &self.shared.meta };
        let mut slot = lock(slot);
        let mut open = match slot.take() {
            Some(open) => open,
            None => self.begin(data)?,
        };
        let (file, number, offset) = (Arc::clone(&open.file), open.next_number, open.next_offset);
        open.next_number += 1;
        open.next_offset += RECORD_HEADER_BYTES as u64 + padded(stored_bytes);
        let limit = u64::from(self.shared.store.header.segment_bytes);
        if open.next_offset >= limit || open.next_number >= segment::MOST_RECORDS {
            self.close(open)?;
        } else {
            *slot = Some(open);
        }
        Ok((file, number, offset))
    }

    fn begin(&self, data: bool) -> Result<Open> {
        let store = &self.shared.store;
        let (seal, header) = SegmentSeal::begin(&store.keys, data)?;
        let object = store.media.create(&segment::object(seal.segment()))?;
        object.write_at(0, &header)?;
        self.shared.unsealed.fetch_add(1, Ordering::AcqRel);
        let file = Arc::new(SegmentFile { seal, object, header, written: Mutex::default() });
        Ok(Open { file, next_number: 0, next_offset: HEADER_BYTES as u64 })
    }

    /// Says that a segment takes no more records.
    fn close(&self, open: Open) -> Result<()> {
        let mut written = lock(&open.file.written);
        written.closed = Some((open.next_number, open.next_offset));
        let full = written.take_full(&open.file);
        drop(written);
        full.map_or(Ok(()), |full| self.hand_over(full))
    }

    fn hand_over(&self, full: Full) -> Result<()> {
        let sent = self.sealer.as_ref().and_then(|(sender, _)| sender.send(full).ok());
        sent.ok_or_else(|| self.check().err().unwrap_or(Error::Poisoned))
    }

    /// Ends all segments and waits until they are published and durable. Returns the stored bytes.
    pub fn finish(&mut self) -> Result<u64> {
        for slot in [&self.shared.data, &self.shared.meta] {
            let open = lock(slot).take();
            if let Some(open) = open {
                self.close(open)?;
            }
        }
        self.join();
        self.check()?;
        if self.shared.unsealed.load(Ordering::Acquire) > 0 {
            // A record that was given a place and never came.
            return Err(Error::Poisoned);
        }
        // Also for the names that other writers published and this backup relies on: they must not vanish either. Parity
        // first: a segment that survives a power cut shall have what mends it.
        if self.shared.store.header.parity_percent > 0 {
            self.shared.store.media.sync_folder(parity::FOLDER)?;
        }
        self.shared.store.media.sync_folder(segment::FOLDER)?;
        Ok(self.stored_bytes())
    }

    /// The segments that it published.
    pub(super) fn published(&self) -> Vec<Id> {
        lock(&self.shared.published).clone()
    }

    /// What went wrong first, if anything did.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.shared.failure).take()
    }

    /// Gives up. Returns the segments that were already published; what they hold is of use to the next backup.
    pub fn abandon(mut self) -> Vec<Id> {
        self.shared.poison_quietly();
        self.join();
        std::mem::take(&mut *lock(&self.shared.published))
    }

    fn join(&mut self) {
        if let Some((sender, sealer)) = self.sealer.take() {
            drop(sender);
            if sealer.join().is_err() {
                self.shared.poison(Error::Poisoned);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.sealer.is_some() {
            self.shared.poison_quietly();
            self.join();
        }
    }
}

impl Written {
    /// The segment, where all its records are written. Happens once: no record comes after the last.
    fn take_full(&mut self, file: &Arc<SegmentFile>) -> Option<Full> {
        let (count, end) = self.closed.filter(|(count, _)| self.records.len() == *count as usize)?;
        let mut records = std::mem::take(&mut self.records);
        debug_assert_eq!(records.len(), count as usize, "each number was given out once");
        records.sort_unstable_by_key(|(header, _)| header.number);
        Some(Full { file: Arc::clone(file), records, end })
    }
}

impl Shared {
    fn has(&self, tag: &Tag) -> bool {
        let index = &self.store.index;
        match &self.reliance {
            Some(reliance) => reliance.has(index, tag),
            None => index.lookup(tag).is_some(),
        }
    }

    fn shard(&self, tag: &Tag) -> &Mutex<HashSet<Tag>> {
        &self.claimed[usize::from(tag[15]) % SHARDS]
    }

    fn poison(&self, error: Error) {
        // The first failure is the cause; what follows from it says nothing.
        lock(&self.failure).get_or_insert(error);
        self.poison_quietly();
    }

    fn poison_quietly(&self) {
        self.failed.store(true, Ordering::Release);
    }
}

/// How a sealed record is looked at before it is written.
enum Check<'a> {
    /// Not at all.
    Nothing,
    /// It must come back as what its id says.
    Decoded,
    /// It must come back as these encoded bytes, which are what the id says.
    Encoded(&'a [u8]),
}

/// What is about to be stored must come back as what its id says: encoders have had bugs, and memory has bits that flip.
fn verify(
    store: &Store,
    seal: &SegmentSeal,
    header: &RecordHeader,
    id: &Hash,
    offset: u64,
    scratch: &mut Scratch,
    check: &Check<'_>,
) -> Result<()> {
    if matches!(check, Check::Nothing) {
        return Ok(());
    }
    let stored_bytes = header.stored_bytes as usize;
    let (payload, plain) = scratch.copy(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + stored_bytes);
    let encoded =
        store.meter.time(Stage::VerifyOpen, stored_bytes, || seal.open_payload(header, id, offset, payload))?;
    if let Check::Encoded(expected) = check {
        let problem = Problem::Authentication("record just sealed");
        let error = || Error::damaged(segment::object(seal.segment()), offset, problem);
        return if encoded == *expected { Ok(()) } else { Err(error()) };
    }
    let plain_bytes = header.plain_bytes as usize;
    let decoding = || decode(header.encoding, encoded, header.plain_bytes, plain);
    let decoded = store.meter.time(Stage::VerifyDecompress, plain_bytes, decoding);
    // The id and not the bytes at hand: those may have changed since they were hashed.
    if decoded && store.meter.time(Stage::VerifyHash, plain_bytes, || store.id_of(header.kind, plain)) == *id {
        return Ok(());
    }
    let problem = Problem::Decompression(header.plain_bytes);
    Err(Error::damaged(segment::object(seal.segment()), offset, problem))
}

/// The sealing thread: table, trailer, parity, sync, name; then the index may know.
fn seal_segments(shared: &Shared, segments: &Receiver<Full>) {
    // Before there is anything to seal: the code's tables are made while the first records are.
    let mut maker = (shared.store.header.parity_percent > 0).then(Maker::new);
    for full in segments {
        if shared.failed.load(Ordering::Acquire) {
            continue;
        }
        if let Err(error) = seal_segment(shared, full, maker.as_mut()) {
            shared.poison(error);
        }
    }
}

fn seal_segment(shared: &Shared, full: Full, maker: Option<&mut Maker>) -> Result<()> {
    let Full { file, records, end } = full;
    let id = *file.seal.segment();
    let count = u32::try_from(records.len()).expect("bounded by the format");
    let trailer = Trailer::new(id, count, end);
    let entries: Vec<TableEntry> = records.iter().map(|(_, entry)| *entry).collect();
    let table = file.seal.seal_table(&trailer, &entries);
    let mut tree = blake3::Hasher::new();
    tree.update(&file.header);
    for (header, _) in &records {
        tree.update(&header.encode());
    }
    tree.update(&table).update(&trailer.bound_bytes());
    let mut tail = table;
    tail.extend_from_slice(&trailer.encode(*tree.finalize().as_bytes()));
    file.object.write_at(end, &tail)?;
    shared.stored_bytes.fetch_add(HEADER_BYTES as u64 + tail.len() as u64, Ordering::Relaxed);
    if let Some(maker) = maker {
        // On its way to the medium while parity is made.
        file.object.start_writeback(0, 0);
        make_parity(shared, maker, file.object.as_ref(), &id, end + tail.len() as u64)?;
    }
    if let Some(reliance) = &shared.reliance {
        // Before anybody can see it, and take it for what nobody needs.
        reliance.keep(id);
    }
    if let Err(error) = publish(shared, &file) {
        // Nobody needs it now. What can't be removed costs its space until a later backup clears it away.
        let _ = shared.store.media.remove(&parity::object(&id));
        return Err(error);
    }
    lock(&shared.published).push(id);
    shared.unsealed.fetch_sub(1, Ordering::AcqRel);
    let tag_of = |id: &Hash| shared.store.keys.index_tag(id);
    shared.store.index.add(id, &entries, &tag_of);
    for entry in &entries {
        let tag = tag_of(&entry.id);
        lock(shared.shard(&tag)).remove(&tag);
    }
    shared.store.index.relieve();
    Ok(())
}

/// Makes and publishes the parity of a segment, before the segment itself is: what readers and later backups find has
/// what mends it. A crash in between leaves parity that nobody needs.
fn make_parity(shared: &Shared, maker: &mut Maker, object: &dyn ObjectWriter, id: &Id, length: u64) -> Result<()> {
    let store = &shared.store;
    let header = plan(&store.header.vault, id, length, store.header.parity_percent);
    let name = parity::object(id);
    let written = store.media.create(&name)?;
    store.meter.time(Stage::Parity, usize::try_from(length).unwrap_or(usize::MAX), || {
        maker.make(&header, &|offset, buffer| object.read_back(offset, buffer), written.as_ref())
    })?;
    if !store.meter.time(Stage::Sync, 0, || written.publish())? {
        return Err(Error::damaged(name, 0, Problem::Misplaced("segment id")));
    }
    written.drop_cached();
    shared.stored_bytes.fetch_add(header.object_bytes(), Ordering::Relaxed);
    Ok(())
}

fn publish(shared: &Shared, file: &SegmentFile) -> Result<()> {
    if !shared.store.meter.time(Stage::Sync, 0, || file.object.publish())? {
        return Err(Error::damaged(segment::object(file.seal.segment()), 0, Problem::Misplaced("segment id")));
    }
    if file.seal.is_data() {
        // The next segment takes over these pages. Without it a backup pushes everything else out of memory, and pays
        // for each page that the kernel finds and clears for it.
        file.object.drop_cached();
    }
    Ok(())
}

impl Store {
    /// Removes segments that nobody needs. The caller made sure of that while it held the lock `writers` alone, which who
    /// stores records shares from before it asks what there is until its point is made; or it condemned them.
    pub fn remove_segments(&self, ids: &[Id]) -> Result<()> {
        self.index.forget(&ids.iter().copied().collect());
        for id in ids {
            self.media.remove(&segment::object(id))?;
            // After it: a segment that is still there has what mends it.
            self.media.remove(&parity::object(id))?;
            // Open, it would keep its space; closed before, a reader could open it again.
            self.segments.close(id);
        }
        self.media.sync_folder(segment::FOLDER)?;
        if self.header.parity_percent > 0 {
            self.media.sync_folder(parity::FOLDER)?;
        }
        // A reader may have learned of them again meanwhile.
        self.index.missing(&self.segments.list()?).map(|_| ())
    }

    /// Writes what the index holds in memory, so that the next open need not read the segments' tables.
    pub fn flush_index(&self) -> Result<()> {
        self.index.flush()
    }
}
