//! Whole backups of a disk, verified and synced, in bytes that are no hole.

use criterion::{BatchSize, Criterion};

use crate::material::{Place, USED_BYTES, back_up, init};
use crate::whole;

/// The first backup into an empty vault, and one where nothing changed since.
pub fn disk(c: &mut Criterion) {
    let mut group = whole(c, "backup", USED_BYTES);
    let mut place = None;
    group.bench_function("first", |b| {
        let place = place.get_or_insert_with(Place::with_disk);
        b.iter_batched(
            || {
                let path = place.join("first");
                // The last one's: only one at a time takes room.
                let _ = std::fs::remove_dir_all(&path);
                init(&path)
            },
            |vault| {
                back_up(&vault, &place.disk);
                vault
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("unchanged", |b| {
        let place = place.get_or_insert_with(Place::with_disk);
        let path = place.join("again");
        let _ = std::fs::remove_dir_all(&path);
        let vault = init(&path);
        back_up(&vault, &place.disk);
        b.iter(|| back_up(&vault, &place.disk));
    });
}
