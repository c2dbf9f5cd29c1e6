//! Chunk ids: keyed BLAKE3 of chunks of the sizes that a vault may reasonably have.

use criterion::{BenchmarkId, Criterion, Throughput};
use icecore::format::key_slot::Role;
use icecore::seal::{IdKind, RoleKeys, VaultKeys};

use crate::material::Chunks;
use crate::quick;

/// What every byte of every backup passes through.
pub fn chunks(c: &mut Criterion) {
    let keys = VaultKeys::new([1; 16], Role::Admin, RoleKeys::generate().expect("random keys"));
    let mut group = quick(c, "hash", 0);
    for kib in [64, 128, 256, 1024] {
        let mut chunks = Chunks::of(kib << 10);
        group.throughput(Throughput::Bytes((kib << 10) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{kib}KiB")), |b| {
            b.iter(|| keys.record_id(IdKind::Chunk, chunks.next()));
        });
    }
}
