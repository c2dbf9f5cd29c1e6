//! AES-256-GCM over records: payload, id and header together, as a segment holds them.

use criterion::{BatchSize, Criterion};
use icecore::format::key_slot::Role;
use icecore::format::segment::{Encoding, RecordType};
use icecore::seal::{RoleKeys, SealedRecord, SegmentSeal, VaultKeys};

use crate::material::{CHUNK_BYTES, Chunks};
use crate::quick;

/// Sealing and opening payloads of a whole chunk; compressed ones are shorter.
pub fn records(c: &mut Criterion) {
    let keys = VaultKeys::new([1; 16], Role::Admin, RoleKeys::generate().expect("random keys"));
    let (segment, _) = SegmentSeal::begin(&keys, true).expect("a segment");
    let mut chunks = Chunks::of(CHUNK_BYTES);
    let mut number = 0;
    let mut seal = |payload: Vec<u8>| -> SealedRecord {
        number += 1;
        segment.seal_record(number, RecordType::Chunk, Encoding::Plain, CHUNK_BYTES as u32, &[2; 32], payload)
    };

    let mut group = quick(c, "seal", CHUNK_BYTES);
    group.bench_function("128KiB", |b| {
        // Room for the tag, as the encoder leaves it.
        let payload = || {
            let mut payload = Vec::with_capacity(CHUNK_BYTES + 16);
            payload.extend_from_slice(chunks.next());
            payload
        };
        b.iter_batched(payload, &mut seal, BatchSize::SmallInput);
    });
    group.finish();

    let mut chunks = Chunks::of(CHUNK_BYTES);
    let mut group = quick(c, "open", CHUNK_BYTES);
    group.bench_function("128KiB", |b| {
        b.iter_batched(
            || seal(chunks.next().to_vec()),
            |mut record| {
                segment.open_payload(&record.header, &[2; 32], 0, &mut record.payload).expect("authentic");
                record
            },
            BatchSize::SmallInput,
        );
    });
}
