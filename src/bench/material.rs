//! What the parts work on: chunks from all over the disk, as they are and as they are stored.

use std::time::{Duration, Instant};

use super::Options;
use super::disk::Disk;
use crate::backup::is_zero;
use crate::error::Result;
use crate::format::TAG_BYTES;
use crate::format::key_slot::Role;
use crate::format::segment::{Encoding, RECORD_HEADER_BYTES, RecordHeader, RecordType};
use crate::seal::{RoleKeys, SegmentSeal, VaultKeys};
use crate::store::encode;

/// Most bytes of chunks: more than the caches of a core hold.
const MOST_BYTES: usize = 64 << 20;

/// Fewest chunks that are encoded, however slow that is.
const LEAST_ENCODED: usize = 8;

/// How long the encoding of the sample may take for each level.
const ENCODING_TIME: Duration = Duration::from_millis(500);

/// A sample of the disk.
pub(super) struct Material {
    /// Plain chunks, none of them all zeros.
    pub chunks: Vec<Vec<u8>>,
    /// The levels that are measured, the vault's among them, each with chunks from the front of the sample, encoded.
    pub encoded: Vec<(i8, Vec<Encoded>)>,
    /// Records of the vault's level, sealed.
    pub sealed: Vec<Sealed>,
    /// What sealed them.
    pub seal: SegmentSeal,
    /// Keys that are nobody's.
    pub keys: VaultKeys,
}

/// An encoded chunk.
pub(super) struct Encoded {
    pub encoding: Encoding,
    pub bytes: Vec<u8>,
    pub plain_bytes: u32,
}

/// A sealed record.
pub(super) struct Sealed {
    pub header: RecordHeader,
    pub payload: Vec<u8>,
}

/// The id that all records of the sample are sealed under; how fast that is does not depend on it.
pub(super) const ID: [u8; 32] = [2; 32];

/// Compression levels that are measured.
pub(super) fn levels(options: &Options) -> Vec<i8> {
    let mut levels = vec![1, 3, options.level];
    levels.sort_unstable();
    levels.dedup();
    levels
}

impl Material {
    /// Takes chunks at even distances.
    pub fn sample(disk: &Disk, options: &Options) -> Result<Self> {
        let chunk_bytes = options.chunk_bytes as usize;
        let pieces: Vec<(u64, usize)> = disk.pieces(chunk_bytes).collect();
        let every = (pieces.len() * chunk_bytes).div_ceil(MOST_BYTES).max(1);
        let source = disk.source()?;
        let mut chunks = Vec::new();
        for (offset, length) in pieces.iter().step_by(every) {
            let mut chunk = vec![0; *length];
            disk.read(&source, *offset, &mut chunk)?;
            if !is_zero(&chunk) {
                chunks.push(chunk);
            }
        }
        if chunks.is_empty() {
            return Err(disk.nothing());
        }
        let encoded: Vec<_> = levels(options).into_iter().map(|level| (level, encode_some(&chunks, level))).collect();
        let keys = VaultKeys::new(crate::seal::random()?, Role::Admin, RoleKeys::generate()?);
        let (seal, _) = SegmentSeal::begin(&keys, true)?;
        let own = encoded.iter().find(|(level, _)| *level == options.level).map_or(&[][..], |(_, all)| all);
        let sealed = (0..).zip(own).map(|(number, encoded)| seal_one(&seal, number, encoded)).collect();
        Ok(Self { chunks, encoded, sealed, seal, keys })
    }

    /// The sample encoded with a level.
    pub fn encoded(&self, level: i8) -> &[Encoded] {
        self.encoded.iter().find(|(of, _)| *of == level).map_or(&[], |(_, encoded)| encoded)
    }
}

fn encode_some(chunks: &[Vec<u8>], level: i8) -> Vec<Encoded> {
    let began = Instant::now();
    let mut out = Vec::new();
    let mut all = Vec::new();
    for chunk in chunks {
        if all.len() >= LEAST_ENCODED && began.elapsed() > ENCODING_TIME {
            break;
        }
        out.resize(chunk.len(), 0);
        let (encoding, length) = encode(chunk, level.into(), &mut out);
        let plain_bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        all.push(Encoded { encoding, bytes: out[..length].to_vec(), plain_bytes });
    }
    all
}

/// The record of an encoded chunk: room for the header, the payload, room for the tag.
pub(super) fn record(encoded: &Encoded, record: &mut Vec<u8>) {
    record.clear();
    record.resize(RECORD_HEADER_BYTES, 0);
    record.extend_from_slice(&encoded.bytes);
    record.resize(record.len() + TAG_BYTES, 0);
}

fn seal_one(seal: &SegmentSeal, number: u32, encoded: &Encoded) -> Sealed {
    let mut bytes = Vec::new();
    record(encoded, &mut bytes);
    let (kind, encoding) = (RecordType::Chunk, encoded.encoding);
    let header = seal.seal_record(number, kind, encoding, encoded.plain_bytes, &ID, &mut bytes);
    Sealed { header, payload: bytes.split_off(RECORD_HEADER_BYTES) }
}
