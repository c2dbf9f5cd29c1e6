//! Writing records: one writer per backup, used by many threads at once.
//!
//! A thread that stores a record compresses it, takes the next place in the open segment, seals it for that place,
//! opens and decodes it again, and hands it to the appending thread, which writes. A full segment goes to the sealing
//! thread, which adds table and trailer, syncs, and publishes.
//!
//! Invariants:
//! - a record has one number in one segment, given out once; what was sealed under a number is never sealed again;
//! - after any failure nothing is published any more: the writer is poisoned, [`Writer::finish`] says why;
//! - [`Writer::finish`] returns only after every segment is synced, named, and its name synced.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Place, Store, decode, encode};
use crate::error::{Error, Problem, Result};
use crate::format::index_run::Tag;
use crate::format::segment::{
    self, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, TableEntry, Trailer, padded,
};
use crate::format::{Hash, Id};
use crate::media::ObjectWriter;
use crate::seal::SegmentSeal;

/// Sealed records that may wait for the appending thread; with the largest chunks this is what bounds its memory.
const MOST_WAITING: usize = 16;

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
    sender: Option<Sender<Message>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    store: Arc<Store>,
    data: Mutex<Option<Open>>,
    meta: Mutex<Option<Open>>,
    /// Records that are claimed but whose segment is not in the index yet.
    claimed: Vec<Mutex<HashSet<Tag>>>,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    published: Mutex<Vec<Id>>,
    stored_bytes: AtomicU64,
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
}

/// To the appending thread.
enum Message {
    Append { file: Arc<SegmentFile>, entry: TableEntry, header: RecordHeader, bytes: Vec<u8> },
    Close { file: Arc<SegmentFile>, records: u32, end: u64 },
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
    /// Begins to write. With `verify`, each record is opened, decoded and compared before it is handed on.
    pub fn start(store: Arc<Store>, verify: bool) -> Self {
        let shared = Arc::new(Shared {
            store,
            data: Mutex::default(),
            meta: Mutex::default(),
            claimed: (0..SHARDS).map(|_| Mutex::default()).collect(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            published: Mutex::default(),
            stored_bytes: AtomicU64::new(0),
        });
        let (sender, appends) = bounded(MOST_WAITING);
        let (full, seals) = bounded(MOST_SEALING);
        let appender = Arc::clone(&shared);
        let sealer = Arc::clone(&shared);
        let threads = vec![
            std::thread::spawn(move || append(&appender, &appends, &full)),
            std::thread::spawn(move || seal_segments(&sealer, &seals)),
        ];
        Self { shared, verify, sender: Some(sender), threads }
    }

    /// Stores plain bytes under their id, unless the vault has them.
    pub fn store(&self, kind: RecordType, id: &Hash, plain: &[u8]) -> Result<Stored> {
        self.check()?;
        let tag = self.shared.store.keys.index_tag(id);
        {
            // Asked under the shard's lock: a segment's records leave this table only after they came into the index.
            let mut claimed = lock(self.shared.shard(&tag));
            if claimed.contains(&tag) || self.shared.store.index.lookup(&tag).is_some() {
                return Ok(Stored::Known);
            }
            claimed.insert(tag);
        }
        let place = self.write(kind, id, plain).inspect_err(|_| self.shared.poison_quietly())?;
        Ok(Stored::New { place })
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
        let (encoding, payload) = encode(plain, i32::from(self.shared.store.header.level));
        let stored_bytes = u32::try_from(payload.len() + crate::format::TAG_BYTES).expect("no longer than plain");
        let (file, number, offset) = self.allocate(kind == RecordType::Chunk, stored_bytes)?;
        let sealed = file.seal.seal_record(number, kind, encoding, plain_bytes, id, payload);
        if self.verify {
            verify(&self.shared.store, &file.seal, &sealed, id, offset)?;
        }
        let length = RECORD_HEADER_BYTES as u64 + padded(stored_bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(length).expect("a record is small"));
        bytes.extend_from_slice(&sealed.header.encode());
        bytes.extend_from_slice(&sealed.payload);
        bytes.resize(bytes.capacity(), 0);
        let entry = TableEntry { id: *id, offset, stored_bytes, plain_bytes, kind };
        let place = Place { segment: *file.seal.segment(), offset, stored_bytes, plain_bytes };
        self.send(Message::Append { file, entry, header: sealed.header, bytes })?;
        self.shared.stored_bytes.fetch_add(length, Ordering::Relaxed);
        Ok(place)
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
        let file = Arc::new(SegmentFile { seal, object, header });
        Ok(Open { file, next_number: 0, next_offset: HEADER_BYTES as u64 })
    }

    fn close(&self, open: Open) -> Result<()> {
        self.send(Message::Close { file: open.file, records: open.next_number, end: open.next_offset })
    }

    fn send(&self, message: Message) -> Result<()> {
        match &self.sender {
            Some(sender) => sender.send(message).map_err(|_| self.check().err().unwrap_or(Error::Poisoned)),
            None => Err(Error::Poisoned),
        }
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
        // Also for the names that other writers published and this backup relies on: they must not vanish either.
        self.shared.store.media.sync_folder(segment::FOLDER)?;
        Ok(self.stored_bytes())
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
        self.sender = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.poison(Error::Poisoned);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.shared.poison_quietly();
            self.join();
        }
    }
}

impl Shared {
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

/// What is about to be stored must come back as what its id says: encoders have had bugs, and memory has bits that flip.
fn verify(store: &Store, seal: &SegmentSeal, sealed: &crate::seal::SealedRecord, id: &Hash, offset: u64) -> Result<()> {
    let mut payload = sealed.payload.clone();
    seal.open_payload(&sealed.header, id, offset, &mut payload)?;
    match decode(sealed.header.encoding, payload, sealed.header.plain_bytes) {
        // The id and not the bytes at hand: those may have changed since they were hashed.
        Some(decoded) if store.id_of(sealed.header.kind, &decoded) == *id => Ok(()),
        _ => {
            let problem = Problem::Decompression(sealed.header.plain_bytes);
            Err(Error::damaged(segment::object(seal.segment()), offset, problem))
        }
    }
}

/// The appending thread: writes records where they belong and counts which segments are complete.
fn append(shared: &Shared, messages: &Receiver<Message>, full: &Sender<Full>) {
    let mut open: HashMap<Id, Progress> = HashMap::new();
    for message in messages {
        if shared.failed.load(Ordering::Acquire) {
            // Keep receiving, so that nobody waits for ever; dropped segments remove their files.
            open.clear();
            continue;
        }
        let id = match &message {
            Message::Append { file, .. } | Message::Close { file, .. } => *file.seal.segment(),
        };
        let progress = open.entry(id).or_default();
        match message {
            Message::Append { file, entry, header, bytes } => {
                if let Err(error) = file.object.write_at(entry.offset, &bytes) {
                    shared.poison(error);
                    continue;
                }
                progress.records.push((header, entry));
                progress.written += bytes.len() as u64;
                if progress.written - progress.started >= WRITEBACK_BYTES {
                    file.object.start_writeback(0, 0);
                    progress.started = progress.written;
                }
            }
            Message::Close { file, records, end } => progress.closed = Some((file, records, end)),
        }
        let complete = |progress: &Progress| {
            progress.closed.as_ref().is_some_and(|(_, records, _)| progress.records.len() == *records as usize)
        };
        if complete(progress)
            && let Some(Progress { mut records, closed: Some((file, _, end)), .. }) = open.remove(&id)
        {
            records.sort_unstable_by_key(|(header, _)| header.number);
            if full.send(Full { file, records, end }).is_err() {
                shared.poison(Error::Poisoned);
            }
        }
    }
    if !open.is_empty() {
        // A record that was given a place and never came.
        shared.poison_quietly();
    }
}

#[derive(Default)]
struct Progress {
    records: Vec<(RecordHeader, TableEntry)>,
    written: u64,
    started: u64,
    closed: Option<(Arc<SegmentFile>, u32, u64)>,
}

/// The sealing thread: table, trailer, sync, name; then the index may know.
fn seal_segments(shared: &Shared, segments: &Receiver<Full>) {
    for full in segments {
        if shared.failed.load(Ordering::Acquire) {
            continue;
        }
        if let Err(error) = seal_segment(shared, full) {
            shared.poison(error);
        }
    }
}

fn seal_segment(shared: &Shared, full: Full) -> Result<()> {
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
    if !file.object.publish()? {
        return Err(Error::damaged(segment::object(&id), 0, Problem::Misplaced("segment id")));
    }
    lock(&shared.published).push(id);
    let tag_of = |id: &Hash| shared.store.keys.index_tag(id);
    shared.store.index.add(id, &entries, &tag_of);
    for entry in &entries {
        let tag = tag_of(&entry.id);
        lock(shared.shard(&tag)).remove(&tag);
    }
    if shared.store.index.is_full() {
        // An index that can't be written is made again one day; the backup goes on.
        let _ = shared.store.index.flush();
    }
    Ok(())
}

impl Store {
    /// Removes segments that nobody needs. The caller holds the exclusive lock and has made sure of that.
    pub(crate) fn remove_segments(&self, ids: &[Id]) -> Result<()> {
        for id in ids {
            self.segments.close(id);
            self.index.forget(id);
            self.media.remove(&segment::object(id))?;
        }
        self.media.sync_folder(segment::FOLDER)?;
        // Runs that cover what is gone must not answer for it.
        self.index.missing(&self.segments.list()?).map(|_| ())
    }

    /// Writes what the index holds in memory, so that the next open need not read the segments' tables.
    pub fn flush_index(&self) -> Result<()> {
        self.index.flush()
    }
}
