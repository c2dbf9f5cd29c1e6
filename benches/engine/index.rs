//! The index with a million records: 128 GB of different chunks of the usual size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use icecore::format::header::Header;
use icecore::format::key_slot::Role;
use icecore::format::segment::RecordType;
use icecore::format::{Hash, index_run, segment};
use icecore::media::{DirectoryMedia, ReadMode};
use icecore::seal::{RoleKeys, VaultKeys};
use icecore::store::{Store, Writer};
use icecore_fixtures::Rng;

use crate::material::directory;

const RECORDS: u64 = 1_000_000;

/// Lookups as backups make them for every chunk that is not where it was in the parent, and opening a vault.
pub fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(50);
    group.throughput(Throughput::Elements(1));

    let directory = directory();
    let keys = Arc::new(VaultKeys::new([1; 16], Role::Admin, RoleKeys::generate().expect("random keys")));
    // Filled only where a bench of this group was asked for.
    let mut filled = None;
    let mut random = Rng::new(1);
    group.bench_function("hit", |b| {
        let store = filled.get_or_insert_with(|| fill(directory.path(), &keys));
        b.iter(|| store.locate(&id(random.below(RECORDS))).expect("known"));
    });
    group.bench_function("miss", |b| {
        let store = filled.get_or_insert_with(|| fill(directory.path(), &keys));
        b.iter(|| assert!(store.locate(&id(RECORDS + random.below(RECORDS))).is_none()));
    });
    group.bench_function("open", |b| {
        filled.get_or_insert_with(|| fill(directory.path(), &keys));
        b.iter(|| open(directory.path(), &keys));
    });
}

/// Ids look random; these are, and can be made again from a number.
fn id(number: u64) -> Hash {
    let mut id = [0; 32];
    Rng::labelled(number, b"id").fill(&mut id);
    id
}

fn open(path: &Path, keys: &Arc<VaultKeys>) -> Store {
    let media = Arc::new(DirectoryMedia::new(path, ReadMode::default()));
    let header = Header {
        vault: *keys.vault(),
        created_unix_seconds: 0,
        chunk_size_log2: 17,
        level: 1,
        segment_bytes: 64 << 20,
        parity_percent: 0,
        public: [0; 32],
    };
    Store::open(media, Arc::clone(keys), header).expect("a store")
}

/// Stores records of eight bytes through the writer, as a backup would, and opens what that left.
fn fill(path: &Path, keys: &Arc<VaultKeys>) -> Store {
    DirectoryMedia::new(path, ReadMode::default())
        .initialize(&[segment::FOLDER, index_run::FOLDER], &[])
        .expect("folders");
    let store = Arc::new(open(path, keys));
    let mut writer = Writer::start(Arc::clone(&store), false);
    for number in 0..RECORDS {
        writer.store(RecordType::Chunk, &id(number), &number.to_le_bytes()).expect("stored");
    }
    writer.finish().expect("published");
    store.flush_index().expect("an index");
    open(path, keys)
}
