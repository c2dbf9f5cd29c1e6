//! Making parity: from a segment's bytes to a parity object.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateEncoder, RateEncoder};

use crate::error::Result;
use crate::format::Id;
use crate::format::parity::{HEADER_BYTES, LEAST_PARITY_SHARDS, ParityHeader, SUM_BYTES, Sum, sum};
use crate::media::ObjectWriter;

/// Data shards in a group, at most. More of them would mend more sectors that are lost here and there, which disks do
/// rarely, and cost more: the code takes as many steps for each byte as the parity shards have bits, and a group that does
/// not fit the processor's cache takes each of them in memory. 640 have 32 parity shards where parity is a twentieth.
const MOST_SHARDS: u64 = 640;

/// Segments from this length on, in bytes, have shards of 16 KiB, others of 4 KiB. A disk loses sectors of 4 KiB and an SSD
/// pages of up to 16 KiB; larger shards cost less, as BLAKE3 takes 16 KiB at twice the speed of 4 KiB.
const LARGE_BYTES: u64 = 1 << 20;

/// Bytes that are read at once, where those of a group follow each other.
const READ_BYTES: usize = 256 << 10;

/// How a segment of that length is cut, for parity of so many hundredths of it.
pub fn plan(vault: &Id, segment: &Id, segment_bytes: u64, percent: u8) -> ParityHeader {
    let shard_size_log2 = if segment_bytes < LARGE_BYTES { 12 } else { 14 };
    let shards = segment_bytes.div_ceil(1 << shard_size_log2);
    let groups = shards.div_ceil(MOST_SHARDS);
    let parity = (shards.div_ceil(groups.max(1)) * u64::from(percent)).div_ceil(100).max(LEAST_PARITY_SHARDS);
    ParityHeader {
        vault: *vault,
        segment: *segment,
        segment_bytes,
        shard_size_log2,
        groups: u32::try_from(groups).expect("a segment is at most 3 GiB"),
        parity_shards: u32::try_from(parity).expect("no more than data"),
    }
}

/// Makes parity objects, one after the other, in memory that it keeps.
pub struct Maker {
    encoder: HighRateEncoder<DefaultEngine>,
    read: Vec<u8>,
}

impl Maker {
    /// The first one of a process makes the code's tables, which takes some milliseconds.
    pub fn new() -> Self {
        let encoder = HighRateEncoder::new(1, 1, 64, DefaultEngine::new(), None);
        Self { encoder: encoder.expect("a code of two shards"), read: Vec::new() }
    }

    /// Writes the parity of a segment, whose bytes `read` gives, to an object that the caller publishes.
    pub fn make(
        &mut self,
        header: &ParityHeader,
        read: &dyn Fn(u64, &mut [u8]) -> Result<()>,
        object: &dyn ObjectWriter,
    ) -> Result<()> {
        let shard_bytes = header.shard_bytes();
        let mut data_sums: Vec<Sum> = vec![[0; SUM_BYTES]; as_usize(header.data_shards())];
        let mut parity_sums: Vec<Sum> = vec![[0; SUM_BYTES]; as_usize(header.all_parity_shards())];
        let groups = as_usize(u64::from(header.groups));
        // The only group's shards follow each other, those of several do not.
        let at_once = if groups == 1 { (READ_BYTES / shard_bytes).max(1) } else { 1 };
        let mut written_at_once = Vec::new();
        for group in 0..groups {
            let shards: Vec<usize> = (group..data_sums.len()).step_by(groups).collect();
            let parity_shards = as_usize(u64::from(header.parity_shards));
            self.encoder.reset(shards.len(), parity_shards, shard_bytes).expect("bounded by the plan");
            for run in shards.chunks(at_once) {
                let length: usize = run.iter().map(|shard| header.length_of(*shard as u64)).sum();
                self.read.resize(run.len() * shard_bytes, 0);
                self.read[length..].fill(0);
                read((run[0] as u64) << header.shard_size_log2, &mut self.read[..length])?;
                for (shard, bytes) in run.iter().zip(self.read.chunks(shard_bytes)) {
                    data_sums[*shard] = sum(&bytes[..header.length_of(*shard as u64)]);
                    self.encoder.add_original_shard(bytes).expect("as many as the group has");
                }
            }
            let coded = self.encoder.encode().expect("all shards of the group are there");
            for (number, bytes) in coded.recovery_iter().enumerate() {
                let place = number * groups + group;
                parity_sums[place] = sum(bytes);
                if groups == 1 {
                    written_at_once.extend_from_slice(bytes);
                } else {
                    object.write_at(header.shards_offset() + ((place as u64) << header.shard_size_log2), bytes)?;
                }
            }
        }
        let sums = [data_sums.as_flattened(), parity_sums.as_flattened()].concat();
        let mut front = Vec::with_capacity(as_usize(header.shards_offset()) + written_at_once.len());
        front.extend_from_slice(&header.encode());
        front.extend_from_slice(&sums);
        front.resize(as_usize(header.shards_offset()), 0);
        front.extend_from_slice(&written_at_once);
        object.write_at(0, &front)?;
        let mut back = sums;
        back.reserve(HEADER_BYTES);
        back.extend_from_slice(&header.encode());
        object.write_at(header.second_sums_offset(), &back)
    }
}

impl Default for Maker {
    fn default() -> Self {
        Self::new()
    }
}

/// A count that the format bounds far below what any machine can count.
pub(super) fn as_usize(count: u64) -> usize {
    usize::try_from(count).expect("bounded by the format")
}
