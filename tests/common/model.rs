//! What the models need: the checker, set up for the engine, and a small vault on a simulated disk for each schedule.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use icecore::format::Hash;
use icecore::format::header::Header;
use icecore::format::key_slot::Role;
use icecore::format::segment::RecordType;
use icecore::media::files::Files;
use icecore::media::simulated::SimulatedFiles;
use icecore::media::{DirectoryMedia, Lock, LockKind, Media, ReadMode};
use icecore::seal::{RoleKeys, VaultKeys};
use icecore::store::{CacheSizes, Store, Stored, Writer};
use icecore::vault::{FOLDERS, LOCKS, OpenOptions};
use icecore::{Error, Result, Vault};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use super::power::VAULT;

/// Turns at which the checker's second scheduler lets another thread go first, at most: what is found with two or three is
/// most of what there is to find.
const DEPTH: usize = 3;

/// A cache for a few chunks.
pub const SMALL_CACHE: CacheSizes = CacheSizes { chunk_bytes: 256 << 10, node_bytes: 0 };

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Runs a model under so many schedules, times `MODEL_TIMES`, that follow from `MODEL_SEED`: half of them thrown by dice at
/// every turn, half with priorities that change a few times. A failure prints its schedule.
pub fn check(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let half = schedules / 2 * usize::try_from(setting("MODEL_TIMES", 1)).expect("a small number");
    let seed = setting("MODEL_SEED", 1);
    let model = Arc::new(model);
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    let dice = Arc::clone(&model);
    let began = std::time::Instant::now();
    let mut run = Runner::new(RandomScheduler::new_from_seed(seed, half), config.clone()).run(move || dice());
    run += Runner::new(PctScheduler::new_from_seed(seed, DEPTH, half), config).run(move || model());
    assert_eq!(run, 2 * half, "every schedule was run");
    let test = std::thread::current().name().unwrap_or("a model").to_owned();
    println!("CAMPAIGN: {test}: {run} schedules of seed {seed} in {:.1} s", began.elapsed().as_secs_f64());
}

/// A number below `bound` that the schedule decides.
pub fn dice(bound: usize) -> usize {
    shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..bound)
}

/// A vault's folders on a simulated disk, and what opens a store in them.
#[derive(Clone)]
pub struct Bed {
    pub files: SimulatedFiles,
    keys: Arc<VaultKeys>,
    header: Header,
}

impl Bed {
    /// A disk with a vault whose segments hold a single chunk each.
    pub fn new() -> Self {
        static KEYS: OnceLock<Arc<VaultKeys>> = OnceLock::new();
        let generate = || Arc::new(VaultKeys::new([7; 16], Role::Admin, RoleKeys::generate().expect("random keys")));
        let keys = Arc::clone(KEYS.get_or_init(generate));
        let header = Header {
            vault: [7; 16],
            created_unix_seconds: 0,
            chunk_size_log2: 12,
            level: 1,
            segment_bytes: 4096,
            public: [0; 32],
            parity_percent: 0,
        };
        let bed = Self { files: SimulatedFiles::new(), keys, header };
        bed.directory(Arc::new(bed.files.clone())).initialize(&FOLDERS, &LOCKS).expect("folders");
        bed
    }

    fn directory(&self, files: Arc<dyn Files>) -> DirectoryMedia {
        DirectoryMedia::over(files, Path::new(VAULT), ReadMode::Pread)
    }

    /// The store, as a process of its own opens it.
    pub fn open(&self) -> Arc<Store> {
        self.open_over(Arc::new(self.files.clone()))
    }

    /// The same over other files.
    pub fn open_over(&self, files: Arc<dyn Files>) -> Arc<Store> {
        let media: Arc<dyn Media> = Arc::new(self.directory(files));
        Arc::new(Store::open(media, Arc::clone(&self.keys), self.header.clone()).expect("open"))
    }
}

/// The bytes of a chunk by its number.
pub fn plain(number: u64) -> Vec<u8> {
    super::noise(number, 4096)
}

/// A chunk's id.
pub fn id(store: &Store, number: u64) -> Hash {
    store.id_of(RecordType::Chunk, &plain(number))
}

/// The writers' lock, as backups share it and the removal of segments takes it alone.
pub fn lock(store: &Store, kind: LockKind) -> Lock {
    store.media().lock(LOCKS[0], kind, true).expect("a lock").expect("waited for")
}

/// Stores a chunk.
pub fn put(writer: &Writer, store: &Store, number: u64) -> Result<Stored> {
    writer.store(RecordType::Chunk, &id(store, number), &plain(number))
}

/// Stores chunks as a backup does, without a point.
pub fn put_all(store: &Arc<Store>, numbers: &[u64]) {
    let mut writer = Writer::start(Arc::clone(store), true);
    for number in numbers {
        put(&writer, store, *number).expect("stored");
    }
    writer.finish().expect("finished");
}

/// Reads a chunk: right, or not to be had.
#[track_caller]
pub fn is_there(store: &Store, number: u64) -> bool {
    match store.read(RecordType::Chunk, &id(store, number)) {
        Ok(bytes) => {
            super::assert_same(&bytes, &plain(number), "a chunk");
            true
        }
        Err(Error::Damaged(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A vault on a new simulated disk.
pub fn init(files: &SimulatedFiles) -> Vault {
    let media = DirectoryMedia::over(Arc::new(files.clone()), Path::new(VAULT), ReadMode::Pread);
    media.initialize(&FOLDERS, &LOCKS).expect("folders");
    Vault::init_on(Arc::new(media), &super::password(), &super::small()).expect("init")
}

/// The vault, as a process of its own opens it.
pub fn open(files: impl Files + 'static) -> Vault {
    let media = DirectoryMedia::over(Arc::new(files), Path::new(VAULT), ReadMode::Pread);
    let options = OpenOptions { cache: SMALL_CACHE, ..OpenOptions::default() };
    Vault::open_on(Arc::new(media), &super::password(), &options).expect("open")
}
