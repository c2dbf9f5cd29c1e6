//! AES-256-GCM over records: payload, id and header together, as a segment holds them.

use criterion::{BatchSize, Criterion};
use icecore::format::TAG_BYTES;
use icecore::format::key_slot::Role;
use icecore::format::segment::{Encoding, RECORD_HEADER_BYTES, RecordHeader, RecordType};
use icecore::seal::{RoleKeys, SegmentSeal, VaultKeys};

use crate::material::{CHUNK_BYTES, Chunks};
use crate::quick;

/// Sealing and opening payloads of a whole chunk; compressed ones are shorter.
pub fn records(c: &mut Criterion) {
    let keys = VaultKeys::new([1; 16], Role::Admin, RoleKeys::generate().expect("random keys"));
    let (segment, _) = SegmentSeal::begin(&keys, true).expect("a segment");
    let mut chunks = Chunks::of(CHUNK_BYTES);
    let mut record = || [&[0; RECORD_HEADER_BYTES], chunks.next(), &[0; TAG_BYTES]].concat();
    let mut number = 0;
    let mut seal = |mut record: Vec<u8>| -> (RecordHeader, Vec<u8>) {
        number += 1;
        let plain_bytes = CHUNK_BYTES as u32;
        let header =
            segment.seal_record(number, RecordType::Chunk, Encoding::Plain, plain_bytes, &[2; 32], &mut record);
        (header, record)
    };

    let mut group = quick(c, "seal", CHUNK_BYTES);
    group.bench_function("64KiB", |b| b.iter_batched(&mut record, &mut seal, BatchSize::SmallInput));
    group.finish();

    let mut group = quick(c, "open", CHUNK_BYTES);
    group.bench_function("64KiB", |b| {
        b.iter_batched(
            || seal(record()),
            |(header, mut record)| {
                segment.open_payload(&header, &[2; 32], 0, &mut record[RECORD_HEADER_BYTES..]).expect("authentic").len()
            },
            BatchSize::SmallInput,
        );
    });
}
