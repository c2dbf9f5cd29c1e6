//! Segments, index, chunk reader: records in, records out. No disks here.
//!
//! A record is found by its id: the index tells its place, the segment gives its bytes, authentication says whether they
//! are the ones. Reading needs no lock and no write access. Writing goes through a [`Writer`], one per backup.
//!
//! Invariants:
//! - bytes leave [`Store::read`] only after they were authenticated as the record asked for;
//! - an index that is wrong costs time, never bytes: a record that isn't where the index says is looked up in the
//!   segments' own tables before anything is called damaged;
//! - a record is known to the index only after its segment is published.

mod ahead;
mod codec;
mod condemned;
mod index;
mod load;
pub mod parity;
mod reader;
mod rewrite;
mod scratch;
mod segments;
mod space;
mod whole;
mod writer;

use std::sync::OnceLock;

use quick_cache::sync::Cache;

use crate::error::{Error, Result};
use crate::format::header::Header;
use crate::format::index_run::Tag;
use crate::format::segment::{RecordType, SegmentHeader, TableEntry};
use crate::format::{Hash, Id};
use crate::media::{Lock, LockKind, Media};
use crate::meter::Meter;
use crate::seal::{IdKind, VaultKeys};
use crate::sync::{Arc, Mutex, PoisonError};

pub use codec::{decode, encode};
pub(crate) use condemned::{Attention, CONDEMNED_LOCK, Condemned, Reliance};
pub use index::Index;
pub(crate) use index::{forget_runs, scrub as scrub_index};
pub use reader::{CacheSizes, Reader};
pub use rewrite::{Moved, Need};
pub(crate) use segments::{
    Assembled, Origin, assemble as assemble_segment, header_bytes as segment_header, open_object as open_segment,
    plain_records,
};
pub use segments::{RecordFault, SegmentCheck, Segments};
pub use space::Space;
pub(crate) use whole::{Buffers, Found, Opened};
pub use writer::{Stored, Writer};

/// The lock that whoever writes records or the index shares, and that who takes any of them out has alone.
pub(crate) const WRITERS_LOCK: &str = "writers";

/// The lock that whoever gives back space has alone while segments go, and that those share, besides the lock `writers`, who
/// rely on what there is and take no notice of what is condemned, see `condemned`.
pub(crate) const REMOVAL_LOCK: &str = "removal";

/// Keeps everything as it is as long as it is there: nobody removes a segment, nobody rotates keys. Who may wait, waits.
pub(crate) struct Kept {
    _removal: Lock,
    _writers: Lock,
}

impl Kept {
    /// Waits until nobody has the vault alone, as long as `go_on` says so.
    pub(crate) fn begin(media: &dyn Media, go_on: &dyn Fn() -> Result<()>) -> Result<Self> {
        let lock = |name| condemned::wait_for(&|| media.lock(name, LockKind::Shared, false), go_on);
        // In this order, as everybody does.
        let _writers = lock(WRITERS_LOCK)?;
        Ok(Self { _removal: lock(REMOVAL_LOCK)?, _writers })
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: Id,
    /// Offset of the record header there, in bytes.
    pub offset: u64,
    /// Stored length of the payload in bytes.
    pub stored_bytes: u32,
    /// Plain length in bytes.
    pub plain_bytes: u32,
}

/// The records of an open vault.
pub struct Store {
    media: Arc<dyn Media>,
    keys: Arc<VaultKeys>,
    header: Header,
    segments: Segments,
    index: Index,
    /// What all segments' own tables say, once a record was not where the index has it.
    rescue: Mutex<Option<Arc<Index>>>,
    meter: Arc<Meter>,
    /// Records that were looked for in vain in all segments, and whether some of those are under newer keys.
    hopeless: Cache<Hash, bool>,
    /// Whether the keys were rotated since these, as far as the vault tells.
    rotation: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// Most such records that are remembered.
const MOST_HOPELESS: usize = 1 << 14;

impl Store {
    /// Opens the store; reads the headers of the index and the tables of segments that it does not cover.
    pub fn open(media: Arc<dyn Media>, keys: Arc<VaultKeys>, header: Header) -> Result<Self> {
        let meter = Arc::new(Meter::default());
        let segments = Segments::new(Arc::clone(&media), Arc::clone(&keys), Arc::clone(&meter));
        let index = Index::open(Arc::clone(&media), Arc::clone(&keys))?;
        let (rescue, hopeless) = (Mutex::default(), Cache::new(MOST_HOPELESS));
        let rotation = OnceLock::new();
        let store = Self { media, keys, header, segments, index, rescue, meter, hopeless, rotation };
        store.refresh()?;
        Ok(store)
    }

    /// The vault's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<VaultKeys> {
        &self.keys
    }

    /// Where the objects are.
    pub fn media(&self) -> &Arc<dyn Media> {
        &self.media
    }

    /// Has `is_rotated` asked where a record is in no segment, and some are under keys that came after these: it may have been
    /// moved. What segments say of that alone is anybody's word.
    pub(crate) fn on_rotation(&self, is_rotated: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.rotation.set(Box::new(is_rotated));
    }

    fn is_rotated(&self) -> bool {
        self.rotation.get().is_some_and(|is_rotated| is_rotated())
    }

    /// Where the time goes.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The segments.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Learns of segments that others published since, from their tables.
    pub fn refresh(&self) -> Result<()> {
        let missing = self.index.missing(&self.segments.list()?)?;
        if !missing.is_empty() {
            // What was looked for in vain may be among what is new.
            self.hopeless.clear();
        }
        load::load(self, &self.index, &missing)
    }

    /// The same for somebody who holds the lock `writers`, is about to write, and will rely on what the index says is there.
    pub fn refresh_for_writing(&self) -> Result<()> {
        self.index.begin_writing()?;
        self.refresh()
    }

    /// Fails where there are segments under keys that came after these: the vault's own chain and the slots went back, and what
    /// is written now would count for nothing once they are as they were.
    pub(crate) fn refuse_if_newer(&self) -> Result<()> {
        let is_newer = |id: &Id| {
            let header =
                segment_header(self.media.as_ref(), id).ok().and_then(|bytes| SegmentHeader::decode(&bytes).ok());
            header.is_some_and(|(header, _)| {
                header.check_place(self.keys.vault(), id).is_ok() && header.epoch > self.keys.epoch()
            })
        };
        // What these keys open, the index covers.
        let uncovered = self.index.missing(&self.segments.list()?)?;
        if uncovered.iter().any(is_newer) { Err(Error::Rotated { since_unix_seconds: None }) } else { Ok(()) }
    }

    /// Takes records that are not whole out of the index, so that the next backup that meets them stores them again, which
    /// also mends the points that have them. `is_whole` answers for a tag and its place.
    /// The caller has the writers' lock alone: a backup that runs would write what it knows over this.
    pub fn keep_whole(&self, is_whole: &dyn Fn(&Tag, &Place) -> bool) -> Result<()> {
        self.index.retain(is_whole)
    }

    /// Learns that a segment was made whole again, from its table. The caller shares the writers' lock.
    pub(crate) fn mended(&self, segment: &Id, entries: &[TableEntry]) {
        self.segments.close(segment);
        self.hopeless.clear();
        // What a check took out of the index is there again.
        self.index.add(*segment, entries, &|id| self.keys.index_tag(id));
        self.index.relieve();
    }

    /// The plain bytes of a record from where the index or, where that does not know it, the segments' tables have it. For
    /// who asks for much that may not be there: no segment is searched.
    pub(crate) fn read_placed(&self, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> Result<bool> {
        reader::read_placed(self, kind, id, plain)
    }

    /// The place of a record, as far as it is known.
    pub fn locate(&self, id: &Hash) -> Option<Place> {
        self.index.lookup(&self.keys.index_tag(id))
    }

    /// The place of a record by the segments' own tables, all of which are read when that is asked for the first time.
    ///
    /// For readers only, and kept apart from the index: what is known to be damaged is not in that, and must not come back
    /// to pass for known to the next backup.
    pub(super) fn locate_in_tables(&self, id: &Hash) -> Result<Option<Place>> {
        let index = {
            let mut rescue = self.rescue.lock().unwrap_or_else(PoisonError::into_inner);
            match rescue.as_ref() {
                Some(index) => Arc::clone(index),
                None => {
                    let index = Index::private(Arc::clone(&self.media), Arc::clone(&self.keys));
                    load::load(self, &index, &self.segments.list()?)?;
                    Arc::clone(rescue.insert(Arc::new(index)))
                }
            }
        };
        Ok(index.lookup(&self.keys.index_tag(id)))
    }

    /// Has `tell` called once for each segment that is read with the help of its parity, those of before included: what is
    /// read is right, but the segment should be repaired.
    pub fn on_correction(&self, tell: impl Fn(&parity::Correction) + Send + Sync + 'static) {
        self.segments.corrections().listen(Arc::new(tell));
    }

    /// Checks everything of a segment that the keys at hand can check, its parity, and what that can mend.
    pub fn check_segment(&self, id: &Id) -> SegmentCheck {
        let checked = self.segments.check(id, &|kind, plain| self.id_of(kind, plain));
        let expected = self.header.parity_percent > 0;
        with_parity(self.media.as_ref(), Some(self.keys.vault()), id, expected, checked)
    }

    /// The plain bytes of a record.
    pub fn read(&self, kind: RecordType, id: &Hash) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        reader::read(self, kind, id, &mut plain)?;
        Ok(plain)
    }

    /// The plain bytes of a record, in memory that the caller keeps from one to the next.
    pub fn read_into(&self, kind: RecordType, id: &Hash, plain: &mut Vec<u8>) -> Result<()> {
        reader::read(self, kind, id, plain)
    }

    /// The id of plain bytes of a kind.
    pub fn id_of(&self, kind: RecordType, plain: &[u8]) -> Hash {
        let kind = match kind {
            RecordType::Chunk => IdKind::Chunk,
            RecordType::MapNode => IdKind::MapNode,
            RecordType::Manifest => IdKind::Manifest,
        };
        self.keys.record_id(kind, plain)
    }
}

/// Checks everything of a segment that needs no key, its parity, and what that can mend. `vault` is the id that both must
/// have, where that is known; `expected` says that every segment has parity.
pub(crate) fn scrub_segment(media: &dyn Media, vault: Option<&Id>, id: &Id, expected: bool) -> SegmentCheck {
    with_parity(media, vault, id, expected, segments::scrub(media, vault, id))
}

/// Parity objects without a segment.
pub(crate) fn orphaned_parity(media: &dyn Media) -> Result<Vec<Error>> {
    parity::orphans(media)
}

/// A segment that the medium does not give is damage like any other, and may be mended like any other.
fn with_parity(
    media: &dyn Media,
    vault: Option<&Id>,
    id: &Id,
    expected: bool,
    checked: Result<SegmentCheck>,
) -> SegmentCheck {
    let failed = |error| SegmentCheck { damage: vec![error], ..SegmentCheck::default() };
    let mut check = checked.unwrap_or_else(failed);
    parity::complete(media, vault, id, expected, &mut check);
    check
}
