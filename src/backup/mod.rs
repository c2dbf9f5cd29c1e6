//! The pipeline: a scout per disk, a pool of workers that read, hash, compress, seal and append, the commit.
//!
//! ```text
//! scout (one per disk) -> pieces -> workers -> ids -> mapper -> disk maps -> manifest -> catalog entry
//!                                      \-> records -> sealer       (the store's writer)
//! ```
//!
//! Invariants:
//! - a point exists when its catalog entry does; every record that it needs is durable before;
//! - memory is bounded by the number of workers, each with one piece, however large the disks;
//! - a chunk that is known is neither compressed nor sealed nor written;
//! - no point is made beyond a hard quota (`quota.rs`);
//! - on any failure, and on cancellation, no point is left and the vault is as usable as before.

mod hints;
mod mapper;
mod progress;
mod quota;
mod scout;
mod session;
mod worker;

use std::time::Instant;

use jiff::Timestamp;

pub use progress::{DiskProgress, Progress};
pub use quota::QuotaUse;
pub(crate) use session::Session;
pub(crate) use worker::is_zero;

use quota::Limits;

use crate::error::{Error, Result, worse};
use crate::format::Hash;
use crate::format::map_node::MapNode;
use crate::format::segment::{self, RecordType};
use crate::point::{ByteRange, Catalog, Consistency, DiskMap, Manifest, ManifestDisk, PointInfo, check_name, hold};
use crate::quiesce::Achieved;
use crate::source::Source;
use crate::store::{Place, Reader, Store, Stored, Writer};
use crate::sync::channel::bounded;
use crate::sync::{Arc, thread};

/// Bytes that a worker reads at a time, where chunks are not larger: what stays in its processor's cache.
const PIECE_BYTES: u64 = 256 << 10;

/// Bytes that the scouts may be ahead of the workers: what media need to stream, spinning ones among them.
const READ_AHEAD_BYTES: u64 = 16 << 20;

/// Most pieces that may wait for a worker.
const MOST_PIECES: u64 = 1 << 16;

/// Longest tag in bytes, and most tags of a point.
const MOST_TAG_BYTES: usize = 256;
const MOST_TAGS: usize = 64;

/// A disk to be backed up.
pub struct BackupDisk {
    /// Its name in the point.
    pub name: String,
    /// Where its bytes come from.
    pub source: Box<dyn Source>,
    /// What changed since an earlier point, where the caller keeps track.
    pub changed: Option<ChangedSince>,
}

/// The ranges of a disk that changed since a point. They are believed only after a sample of the rest was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedSince {
    /// The point's id, 32 hex digits. A point that the machine does not have makes the whole disk be read.
    pub point: String,
    /// The ranges, in bytes, in any order.
    pub ranges: Vec<ByteRange>,
}

/// What to back up, and how.
pub struct BackupRequest {
    /// The machine's name.
    pub machine: String,
    /// Its disks.
    pub disks: Vec<BackupDisk>,
    /// The moment that the point stands for; now, where none is given. Whole seconds count.
    pub time: Option<Timestamp>,
    /// How consistent the source is.
    pub consistency: Consistency,
    /// Labels.
    pub tags: Vec<String>,
    /// Whether a range that can't be read is left out and named in the point, instead of failing the backup.
    pub allow_incomplete: bool,
    /// Whether every sealed chunk is opened, decoded and compared before the point is acknowledged.
    pub verify: bool,
    /// Worker threads; as many as there are cores, where none is given.
    pub workers: Option<usize>,
    /// Bytes that are fetched from the disks ahead of the workers; 16 MiB unless told otherwise. One piece at least.
    pub read_ahead_bytes: u64,
}

impl BackupRequest {
    /// A crash-consistent backup of now, verified, that fails on unreadable ranges.
    pub fn new(machine: impl Into<String>) -> Self {
        Self {
            machine: machine.into(),
            disks: Vec::new(),
            time: None,
            consistency: Consistency::Crash,
            tags: Vec::new(),
            allow_incomplete: false,
            verify: true,
            workers: None,
            read_ahead_bytes: READ_AHEAD_BYTES,
        }
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk(mut self, name: impl Into<String>, source: impl Source + 'static) -> Self {
        self.disks.push(BackupDisk { name: name.into(), source: Box::new(source), changed: None });
        self
    }

    /// Says what changed on the disk that was added last.
    #[must_use]
    pub fn changed(mut self, changed: ChangedSince) -> Self {
        if let Some(disk) = self.disks.last_mut() {
            disk.changed = Some(changed);
        }
        self
    }

    fn check(&self) -> Result<()> {
        self.check_labels()?;
        if self.disks.is_empty() {
            return Err(Self::invalid(&self.machine, "it has no disks"));
        }
        for (number, disk) in self.disks.iter().enumerate() {
            check_name("disk name", &disk.name)?;
            if self.disks.iter().take(number).any(|before| before.name == disk.name) {
                return Err(Error::DuplicateDisk { name: disk.name.clone() });
            }
        }
        Ok(())
    }

    /// Checks all but the disks.
    pub(crate) fn check_labels(&self) -> Result<()> {
        check_name("machine name", &self.machine)?;
        if self.tags.len() > MOST_TAGS || self.tags.iter().any(|tag| tag.is_empty() || tag.len() > MOST_TAG_BYTES) {
            return Err(Self::invalid("--tag", "a point takes at most 64 tags of 1 to 256 bytes"));
        }
        Ok(())
    }

    pub(crate) fn invalid(value: &str, rule: &'static str) -> Error {
        Error::Invalid { what: "backup", value: value.to_owned(), rule }
    }
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The point.
    pub point: Arc<PointInfo>,
    /// Its manifest.
    pub manifest: Manifest,
    /// Bytes added to the vault, everything included: parity too.
    pub added_bytes: u64,
    /// Disks whose list of changed ranges was wrong, with the byte that showed it; they were read whole.
    pub refuted: Vec<(String, u64)>,
    /// Quotas that are taken so far that somebody should know.
    pub quota_warnings: Vec<QuotaUse>,
    /// Seconds from the first read to the acknowledged point.
    pub seconds: f64,
}

impl BackupReport {
    /// Ranges that could not be read, by disk.
    pub fn missing(&self) -> impl Iterator<Item = (&str, &ByteRange)> {
        self.manifest.disks.iter().flat_map(|disk| disk.missing.iter().map(|range| (disk.name.as_str(), range)))
    }
}

/// Backs up. `progress` shows how far it is and takes the wish to stop. `read` is called once every disk was read, before the
/// point is made: it tells how consistent that is.
pub(crate) fn run(
    reader: &Arc<Reader>,
    catalog: &Catalog,
    request: &BackupRequest,
    progress: &Progress,
    read: impl FnOnce() -> Result<Achieved>,
) -> Result<BackupReport> {
    request.check()?;
    let store = reader.store();
    let began = Instant::now();
    let started = Timestamp::now();
    let mut session = Session::begin(store, catalog, &request.machine, request.verify)?;
    // Kept until the point is made: what is as it was there is relied on, record by record unseen.
    let bases = bases(reader, catalog, request, session.keeps_all());
    let outcome = transfer(reader, request, &bases, (progress, session.limits()), session.writer())
        .and_then(|disks| {
            let (ended, claim) = (Timestamp::now(), read()?);
            describe(store, request, progress, session.writer(), (started, ended), claim, disks)
        })
        .and_then(|(manifest, id, place)| {
            let added_bytes = session.finish()?;
            let point = session.append(&manifest, id, place)?;
            Ok((point, manifest, added_bytes))
        });
    match outcome {
        Ok((point, manifest, added_bytes)) => {
            let quota_warnings = session.end();
            let (refuted, seconds) = (progress.refuted(), began.elapsed().as_secs_f64());
            Ok(BackupReport { point, manifest, added_bytes, refuted, quota_warnings, seconds })
        }
        Err(error) => Err(session.give_up(error)),
    }
}

/// Writes the manifest, the last record of a backup.
fn describe(
    store: &Store,
    request: &BackupRequest,
    progress: &Progress,
    writer: &Writer,
    (started, ended): (Timestamp, Timestamp),
    claim: Achieved,
    disks: Vec<ManifestDisk>,
) -> Result<(Manifest, Hash, Place)> {
    progress.check()?;
    let time = request.time.unwrap_or(started);
    let manifest = Manifest {
        format: crate::format::VERSION,
        point: crate::format::hex(&crate::seal::random::<16>()?),
        machine: request.machine.clone(),
        time: Timestamp::from_second(time.as_second()).unwrap_or(time),
        started,
        ended,
        consistency: claim.consistency,
        tags: request.tags.clone(),
        program: concat!("icecore ", env!("CARGO_PKG_VERSION")).to_owned(),
        quiesced: claim.quiesced,
        disks,
    };
    let plain = manifest.encode();
    if plain.len() > segment::MOST_PLAIN_BYTES as usize {
        let (value, rule) = (request.machine.clone(), "a point with so many disks and unreadable ranges is too much");
        return Err(Error::Invalid { what: "backup", value, rule });
    }
    let id = store.id_of(RecordType::Manifest, &plain);
    match writer.store(RecordType::Manifest, &id, &plain)? {
        Stored::New { place } => Ok((manifest, id, place)),
        // Its random point id makes every manifest new.
        Stored::Known => Err(Error::Poisoned),
    }
}

fn transfer(
    reader: &Arc<Reader>,
    request: &BackupRequest,
    bases: &[Option<Arc<DiskMap>>],
    (progress, limits): (&Progress, &Limits),
    writer: &Writer,
) -> Result<Vec<ManifestDisk>> {
    let chunk_bytes = reader.store().header().chunk_bytes();
    let workers = request.workers.unwrap_or_else(crate::cores).max(1);
    let piece_bytes = PIECE_BYTES.max(u64::from(chunk_bytes));
    let (to_workers, pieces) = bounded(
        usize::try_from((request.read_ahead_bytes / piece_bytes).clamp(1, MOST_PIECES)).expect("a small number"),
    );
    let (to_mapper, done) = bounded(16 * workers);
    progress.begin(request.disks.iter().map(|disk| (disk.name.clone(), disk.source.size_bytes())))?;

    let allow_incomplete = request.allow_incomplete;
    let disks = request.disks.iter().zip(bases).enumerate();
    let jobs: Vec<scout::Job<'_>> = disks
        .map(|(number, (disk, base))| {
            let base = base.as_deref();
            scout::Job { number, disk, base, chunk_bytes, piece_bytes, allow_incomplete }
        })
        .collect();
    let jobs = jobs.as_slice();

    thread::scope(|scope| {
        let mapper = scope.spawn(move || {
            // Owned here: when the mapper ends early, nobody waits to send to it.
            let done = done;
            let _guard = progress.fail_on_panic();
            mapper::run(&done, writer, reader.store(), &request.disks, bases, progress).inspect_err(|_| progress.fail())
        });
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (pieces, to_mapper) = (pieces.clone(), to_mapper.clone());
            threads.push(scope.spawn(move || {
                let _guard = progress.fail_on_panic();
                worker::run(&pieces, &to_mapper, jobs, writer, reader.store(), (progress, limits))
                    .inspect_err(|_| progress.fail())
            }));
        }
        for job in jobs {
            let (to_workers, to_mapper) = (to_workers.clone(), to_mapper.clone());
            threads.push(scope.spawn(move || {
                let _guard = progress.fail_on_panic();
                scout::run(job, &to_workers, &to_mapper, reader.store(), progress).inspect_err(|_| progress.fail())
            }));
        }
        // The last sender of each channel must be a thread's, or the receivers would wait for ever.
        drop((to_workers, to_mapper, pieces));
        let mut first = Ok(());
        for thread in threads {
            first = worse(first, thread.join().unwrap_or(Err(Error::Poisoned)));
        }
        let disks = mapper.join().unwrap_or(Err(Error::Poisoned));
        match (first, disks) {
            (Ok(()), disks) => disks,
            (Err(error), Err(other)) => worse(Err(error), Err(other)).map(|()| Vec::new()),
            (Err(error), Ok(_)) => Err(error),
        }
    })
}

/// For each disk whose changed ranges the caller knows, the same disk in the point that they are counted from. Without
/// one that is whole and of the same chunk size, the disk is read whole.
fn bases(
    reader: &Arc<Reader>,
    catalog: &Catalog,
    request: &BackupRequest,
    keeps_all: bool,
) -> Vec<Option<Arc<DiskMap>>> {
    let chunk_bytes = u64::from(reader.store().header().chunk_bytes());
    let base = |disk: &BackupDisk| {
        let point = catalog.point(&request.machine, &disk.changed.as_ref()?.point).ok()?;
        let manifest = crate::vault::read_manifest(reader.store(), &point).ok()?;
        // Nobody purges that point as long as it is held.
        let held = hold::hold(reader.store().media().as_ref(), catalog, &point).ok()?;
        if !held.is_real() && !keeps_all {
            return None;
        }
        let map = DiskMap::open(Arc::clone(reader), manifest.disk(&disk.name)?).ok()?.held_by(held);
        (map.chunk_bytes() == chunk_bytes).then(|| Arc::new(map))
    };
    request.disks.iter().map(base).collect()
}

/// Stores a map node and tells its id.
fn store_node(writer: &Writer, store: &Store, node: &MapNode) -> Result<Hash> {
    let bytes = node.encode();
    let id = store.id_of(RecordType::MapNode, &bytes);
    writer.store(RecordType::MapNode, &id, &bytes)?;
    Ok(id)
}
