//! How fast the engine's parts are, each alone, and what they reach together.
//!
//! One module a part, from the inside out: what `hash`, `compress` and `seal` reach on one core bounds what `backup`,
//! `restore` and `mount` can reach on all. All content is generated, the same on every machine, and compresses like a
//! real disk's; everything that is written goes into directories that vanish at the end.

mod backup;
mod compress;
mod hash;
mod index;
mod material;
mod mount;
mod restore;
mod seal;

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

/// A part that takes microseconds: many samples, soon done.
fn quick<'a>(c: &'a mut Criterion, part: &str, bytes: usize) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = c.benchmark_group(part);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(50);
    group.throughput(Throughput::Bytes(bytes as u64));
    group
}

/// A part that moves a whole disk: few samples.
fn whole<'a>(c: &'a mut Criterion, part: &str, bytes: u64) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = c.benchmark_group(part);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8)).sample_size(10);
    group.throughput(Throughput::Bytes(bytes));
    group
}

criterion_group!(
    engine,
    hash::chunks,
    compress::chunks,
    seal::records,
    index::lookups,
    backup::disk,
    restore::disk,
    mount::reads
);
criterion_main!(engine);
