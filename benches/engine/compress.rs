//! Compression of chunks and back, as records are compressed.

use criterion::{BatchSize, BenchmarkId, Criterion};
use icecore::store::{decode, encode};

use crate::material::{CHUNK_BYTES, Chunks};
use crate::quick;

/// What only new chunks pass through on the way in, and every chunk on the way out.
pub fn chunks(c: &mut Criterion) {
    let mut group = quick(c, "compress", CHUNK_BYTES);
    let mut chunks = Chunks::of(CHUNK_BYTES);
    let mut out = vec![0; CHUNK_BYTES];
    let mut plain = Vec::new();
    for level in [1, 3] {
        group.bench_function(BenchmarkId::new("encode", format!("zstd-{level}")), |b| {
            b.iter(|| encode(chunks.next(), level, &mut out));
        });
        group.bench_function(BenchmarkId::new("decode", format!("zstd-{level}")), |b| {
            b.iter_batched(
                || {
                    let mut encoded = vec![0; CHUNK_BYTES];
                    let (encoding, length) = encode(chunks.next(), level, &mut encoded);
                    encoded.truncate(length);
                    (encoding, encoded)
                },
                |(encoding, encoded)| assert!(decode(encoding, &encoded, CHUNK_BYTES as u32, &mut plain)),
                BatchSize::SmallInput,
            );
        });
    }
}
