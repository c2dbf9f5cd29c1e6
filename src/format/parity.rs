//! A parity object, object `parity/<segment id in hex>.par`: what damaged places of one segment are computed from.
//!
//! ```text
//! header 96 | checksums | zeros up to a multiple of 4096 | parity shards | checksums | header 96
//! ```
//!
//! It protects the segment's file byte for byte and needs no key. The file is cut into data shards of `s` bytes at
//! multiples of `s`, the last one filled up with zeros. Data shard `i` belongs to group `i mod g`, as the shard number
//! `i / g` there, so that a run of bad sectors is dealt to all groups. Each group has `p` parity shards of its own; parity
//! shard `j` of group `k` is the shard number `j g + k` in this object. Any `p` shards of a group may be lost, data or
//! parity: the others give them back.
//!
//! The code is Reed-Solomon over GF(2^16) with polynomial 0x1002D, in the form of Leopard-RS, as the high-rate encoder of
//! the crate `reed-solomon-simd` 3.1.0 computes it. A number `v` of 16 bits stands for the element that is the sum of the
//! `b_i` for each bit `i` set in `v`, with `b_0` to `b_15` in hexadecimal 0001 ACCA 3C0E 163E C582 ED2E 914C 4012 6C98 10D8
//! 6A72 B900 FDB8 FB34 FF38 991E. Each block of 64 bytes of a shard holds 32 numbers: their low bytes, then their high bytes;
//! the numbers of one place in all shards of a group make one code word. With `m` the least power of two not below `p`,
//! `c_0` to `c_(m-1)` are parity, `c_m` on are the data shards in order, and all others up to `c_65535` are zero. The parity is
//! what makes, for each `j` from 0 to `m - 1`, the sum of `c_x x^j` over all `x` zero, `c_x` and `x` being the elements that the
//! numbers stand for, and `0^0` one. Its first `p` numbers are kept.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICEPARIT` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's parity |
//! | 12 | 1 | shard size `s`, as its power of two, 12 to 16 | always | |
//! | 13 | 3 | reserved, zero | always | |
//! | 16 | 16 | vault id | always | parity of another vault |
//! | 32 | 16 | segment id | always | parity of another segment |
//! | 48 | 8 | length of the segment in bytes | always | a segment that was cut short or grew |
//! | 56 | 4 | number of groups `g`, none of them of more than 16 MiB | always | |
//! | 60 | 4 | parity shards of each group `p`, at most as many as its data shards, or 2 | always | |
//! | 64 | 16 | reserved, zero | always | |
//! | 80 | 16 | first half of the BLAKE3 of bytes 0..80 | always | damage |
//!
//! The checksums are 8 bytes for each data shard in order (of the bytes that the file has, without the filling) and then for
//! each parity shard in order: the first quarter of its BLAKE3. A shard is whole where it fits one of the two copies. Either
//! header will do. Nothing here is authenticated: what comes out is judged by the segment's own checksums and keys.

use super::{FormatError, Id, VERSION, check_hash, check_magic, check_zero, field, put, short_hash, u32_at, u64_at};
use crate::error::Problem;
use crate::format::segment::MOST_SEGMENT_BYTES;

/// Folder of the parity objects.
pub const FOLDER: &str = "parity";
/// Length of a header in bytes.
pub const HEADER_BYTES: usize = 96;
/// Length of a shard's checksum in bytes.
pub const SUM_BYTES: usize = 8;
/// Parity shards begin at a multiple of this, in bytes: a bad sector costs one of them.
pub const ALIGNMENT: u64 = 4096;
/// Smallest and largest shard size, as powers of two.
pub const SHARD_SIZE_LOG2: std::ops::RangeInclusive<u8> = 12..=16;
/// Most bytes of a group's data, and of its parity: what coding one takes is bounded by it.
pub const MOST_GROUP_BYTES: u64 = 16 << 20;

/// Fewest parity shards that a group is given.
pub const LEAST_PARITY_SHARDS: u64 = 2;

const STRUCTURE: &str = "parity header";
const MAGIC: [u8; 8] = *b"ICEPARIT";
const CHECKSUMMED: usize = 80;
const _: () = assert!(HEADER_BYTES == CHECKSUMMED + 16);
// The code has 2^16 places, and pads the parity of a group to a power of two.
const _: () = assert!(2 * (MOST_GROUP_BYTES >> *SHARD_SIZE_LOG2.start()) <= 1 << 16);

/// The first bytes of a shard's BLAKE3.
pub type Sum = [u8; SUM_BYTES];

/// How a segment is cut into shards and groups, and where its parity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParityHeader {
    /// The vault.
    pub vault: Id,
    /// The segment.
    pub segment: Id,
    /// Length of the segment in bytes, above 0.
    pub segment_bytes: u64,
    /// Shard size as its power of two.
    pub shard_size_log2: u8,
    /// Number of groups.
    pub groups: u32,
    /// Parity shards of each group.
    pub parity_shards: u32,
}

/// The object of a segment's parity.
pub fn object(segment: &Id) -> String {
    format!("{FOLDER}/{}.par", super::hex(segment))
}

/// The segment whose parity a file name in the folder names.
pub fn id_of(name: &str) -> Option<Id> {
    super::id_from_hex(name.strip_suffix(".par")?)
}

/// The checksum of a shard.
pub fn sum(shard: &[u8]) -> Sum {
    short_hash::<SUM_BYTES>(shard)
}

impl ParityHeader {
    /// Length of a shard in bytes.
    pub fn shard_bytes(&self) -> usize {
        1 << self.shard_size_log2
    }

    /// Number of data shards.
    pub fn data_shards(&self) -> u64 {
        self.segment_bytes.div_ceil(1 << self.shard_size_log2)
    }

    /// Number of parity shards of all groups.
    pub fn all_parity_shards(&self) -> u64 {
        u64::from(self.groups) * u64::from(self.parity_shards)
    }

    /// Number of data shards of a group.
    pub fn group_shards(&self, group: u32) -> u64 {
        self.data_shards().saturating_sub(u64::from(group)).div_ceil(u64::from(self.groups))
    }

    /// Bytes that the segment's file has of a data shard.
    pub fn length_of(&self, shard: u64) -> usize {
        let left = self.segment_bytes.saturating_sub(shard << self.shard_size_log2);
        usize::try_from(left).unwrap_or(usize::MAX).min(self.shard_bytes())
    }

    /// Bytes of one copy of the checksums.
    pub fn sums_bytes(&self) -> u64 {
        (self.data_shards() + self.all_parity_shards()) * SUM_BYTES as u64
    }

    /// Where the first parity shard begins.
    pub fn shards_offset(&self) -> u64 {
        (HEADER_BYTES as u64 + self.sums_bytes()).next_multiple_of(ALIGNMENT)
    }

    /// Where the second copy of the checksums begins.
    pub fn second_sums_offset(&self) -> u64 {
        self.shards_offset() + (self.all_parity_shards() << self.shard_size_log2)
    }

    /// Length of the whole object in bytes.
    pub fn object_bytes(&self) -> u64 {
        self.second_sums_offset() + self.sums_bytes() + HEADER_BYTES as u64
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put::<0, 8, HEADER_BYTES>(&mut bytes, MAGIC);
        put::<8, 4, HEADER_BYTES>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 1, HEADER_BYTES>(&mut bytes, [self.shard_size_log2]);
        put::<16, 16, HEADER_BYTES>(&mut bytes, self.vault);
        put::<32, 16, HEADER_BYTES>(&mut bytes, self.segment);
        put::<48, 8, HEADER_BYTES>(&mut bytes, self.segment_bytes.to_le_bytes());
        put::<56, 4, HEADER_BYTES>(&mut bytes, self.groups.to_le_bytes());
        put::<60, 4, HEADER_BYTES>(&mut bytes, self.parity_shards.to_le_bytes());
        let sum = short_hash::<16>(&bytes[..CHECKSUMMED]);
        put::<CHECKSUMMED, 16, HEADER_BYTES>(&mut bytes, sum);
        bytes
    }

    /// Reads the stored form. What it says is possible, and takes no more memory than the bounds above allow.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FormatError> {
        check_magic(bytes, MAGIC, STRUCTURE)?;
        check_hash(&bytes[..CHECKSUMMED], field::<CHECKSUMMED, 16, HEADER_BYTES>(bytes), STRUCTURE)?;
        check_zero(&bytes[13..16], "reserved")?;
        check_zero(&bytes[64..CHECKSUMMED], "reserved")?;
        let header = Self {
            vault: field::<16, 16, HEADER_BYTES>(bytes),
            segment: field::<32, 16, HEADER_BYTES>(bytes),
            segment_bytes: u64_at::<48, HEADER_BYTES>(bytes),
            shard_size_log2: bytes[12],
            groups: u32_at::<56, HEADER_BYTES>(bytes),
            parity_shards: u32_at::<60, HEADER_BYTES>(bytes),
        };
        if !SHARD_SIZE_LOG2.contains(&header.shard_size_log2) {
            return Err(Problem::Field("shard size").into());
        }
        if header.segment_bytes == 0 || header.segment_bytes > MOST_SEGMENT_BYTES {
            return Err(Problem::Field("segment length").into());
        }
        let most_shards = MOST_GROUP_BYTES >> header.shard_size_log2;
        if header.groups == 0 || u64::from(header.groups) > header.data_shards() || header.group_shards(0) > most_shards
        {
            return Err(Problem::Field("number of groups").into());
        }
        // More than any vault makes would only take memory and time from who checks it.
        let most_parity = header.group_shards(0).max(LEAST_PARITY_SHARDS);
        if header.parity_shards == 0 || u64::from(header.parity_shards) > most_parity.min(most_shards) {
            return Err(Problem::Field("parity shards").into());
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ParityHeader {
        ParityHeader {
            vault: [1; 16],
            segment: [2; 16],
            segment_bytes: 100_000,
            shard_size_log2: 12,
            groups: 4,
            parity_shards: 3,
        }
    }

    #[test]
    fn more_parity_than_any_vault_makes_is_refused() {
        let decoded = |segment_bytes, groups, parity_shards| {
            let header = ParityHeader { segment_bytes, groups, parity_shards, ..header() };
            ParityHeader::decode(&header.encode()).is_ok()
        };
        assert!(decoded(64 << 20, 4, 4096) && !decoded(64 << 20, 5, 4096), "as many as a group has data");
        assert!(decoded(1, 1, 2) && !decoded(1, 1, 3));
        assert!(!decoded(MOST_SEGMENT_BYTES, 786_432, 4096));
    }

    #[test]
    fn every_shard_has_one_group_and_one_place() {
        let header = header();
        assert_eq!((header.data_shards(), header.all_parity_shards()), (25, 12));
        assert_eq!([0, 1, 2, 3].map(|group| header.group_shards(group)), [7, 6, 6, 6]);
        assert_eq!((header.length_of(0), header.length_of(24), header.length_of(25)), (4096, 100_000 - 24 * 4096, 0));
        assert_eq!((header.shards_offset(), header.second_sums_offset()), (4096, 13 * 4096));
        assert_eq!(header.object_bytes(), 13 * 4096 + 37 * 8 + 96);
    }

    #[test]
    fn what_is_impossible_is_refused() {
        assert_eq!(ParityHeader::decode(&header().encode()).expect("its own form"), header());
        type Change = fn(&mut ParityHeader);
        let wrong: [(&str, Change); 8] = [
            ("shard size", |header| header.shard_size_log2 = 11),
            ("shard size", |header| header.shard_size_log2 = 17),
            ("segment length", |header| header.segment_bytes = 0),
            ("segment length", |header| header.segment_bytes = MOST_SEGMENT_BYTES + 1),
            ("number of groups", |header| header.groups = 0),
            ("number of groups", |header| header.groups = 26),
            ("number of groups", |header| header.segment_bytes = 1 << 30),
            ("parity shards", |header| header.parity_shards = 4097),
        ];
        for (field, change) in wrong {
            let mut header = header();
            change(&mut header);
            match ParityHeader::decode(&header.encode()) {
                Err(FormatError::Problem(Problem::Field(found))) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
