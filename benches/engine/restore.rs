//! A whole disk restored to a file, synced, in bytes that are no hole.

use criterion::{BatchSize, Criterion};
use icecore::restore::{Progress, RestoreOptions};

use crate::material::{Place, USED_BYTES};
use crate::whole;

/// To a file that was not there before.
pub fn disk(c: &mut Criterion) {
    let mut group = whole(c, "restore", USED_BYTES);
    group.bench_function("file", |b| {
        let place = Place::with_disk();
        let vault = place.vault_with_disk(0);
        let point = vault.point("web01", "latest").expect("the point");
        let target = place.join("restored.raw");
        b.iter_batched(
            || drop(std::fs::remove_file(&target)),
            |()| {
                let options = RestoreOptions::default();
                vault.restore(&point, "os", &target, &options, &Progress::default()).expect("restored")
            },
            BatchSize::PerIteration,
        );
    });
}
