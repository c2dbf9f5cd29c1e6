//! A parity object that is there, whole or not.

use crate::error::{Error, Problem, Result};
use crate::format::parity::{self, HEADER_BYTES, ParityHeader, SUM_BYTES, Sum, sum};
use crate::format::{Id, check_zero};
use crate::media::{Media, Object};
use crate::sync::Arc;

use super::make::as_usize;

/// Bytes that are read at once of the checksums: what the medium refuses of them costs so many.
const SUMS_AT_ONCE: usize = 4096;

/// A parity object whose header could be read, and both copies of its checksums as far as they can be.
pub struct ParityFile {
    object: Arc<dyn Object>,
    header: ParityHeader,
    /// What could not be read is zeros, which fit no shard.
    sums: [Vec<Sum>; 2],
    /// What is wrong with headers, checksums, and the length.
    damage: Vec<Error>,
}

impl ParityFile {
    /// Opens the parity of a segment. `vault` is the vault that it must be of, where that is known. Fails where neither
    /// header can be used; everything else that is damaged is one shard less, or none.
    pub fn open(media: &dyn Media, vault: Option<&Id>, segment: &Id) -> Result<Self> {
        let object = media.open(&parity::object(segment))?;
        let mut damage = Vec::new();
        let header = read_header(object.as_ref(), 0, vault, segment);
        let last = object.length().saturating_sub(HEADER_BYTES as u64);
        let header = match (header, read_header(object.as_ref(), last, vault, segment)) {
            (Ok(first), Ok(second)) => {
                if first != second {
                    damage.push(Error::damaged(object.name(), last, Problem::Misplaced("the other header")));
                }
                first
            }
            (Ok(one), Err(error)) | (Err(error), Ok(one)) => {
                damage.push(error);
                one
            }
            (Err(error), Err(_)) => return Err(error),
        };
        if object.length() != header.object_bytes() {
            let problem = Problem::Length { expected: header.object_bytes(), found: object.length() };
            damage.push(Error::damaged(object.name(), 0, problem));
        }
        let mut file = Self { object, header, sums: [Vec::new(), Vec::new()], damage };
        let offsets = [HEADER_BYTES as u64, file.header.second_sums_offset()];
        file.sums = offsets.map(|offset| file.read_sums(offset));
        let differ = file.sums[0].iter().zip(&file.sums[1]).position(|(first, second)| first != second);
        if let Some(at) = differ {
            let offset = (HEADER_BYTES + at * SUM_BYTES) as u64;
            file.damage.push(Error::damaged(file.object.name(), offset, Problem::Misplaced("the other checksum")));
        }
        Ok(file)
    }

    fn read_sums(&self, offset: u64) -> Vec<Sum> {
        let mut bytes = vec![0; as_usize(self.header.sums_bytes())];
        for (at, piece) in (offset..).step_by(SUMS_AT_ONCE).zip(bytes.chunks_mut(SUMS_AT_ONCE)) {
            if self.object.read_past_map(at, piece).is_err() {
                piece.fill(0);
            }
        }
        bytes.as_chunks().0.to_vec()
    }

    /// How the segment is cut into shards.
    pub fn header(&self) -> &ParityHeader {
        &self.header
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.object.length()
    }

    /// Whether bytes are a data shard of the segment, as it was.
    pub(super) fn fits(&self, shard: u64, bytes: &[u8]) -> bool {
        self.fits_number(as_usize(shard), bytes)
    }

    fn fits_number(&self, number: usize, bytes: &[u8]) -> bool {
        let found = sum(bytes);
        self.sums.iter().any(|sums| sums.get(number) == Some(&found))
    }

    /// Reads a parity shard; whether it is whole.
    pub(super) fn read_shard(&self, number: u64, buffer: &mut [u8]) -> bool {
        let offset = self.header.shards_offset() + (number << self.header.shard_size_log2);
        self.object.read_past_map(offset, buffer).is_ok()
            && self.fits_number(as_usize(self.header.data_shards() + number), buffer)
    }

    /// Everything that is wrong with it, in no order. Reads it whole.
    pub fn check(&self) -> Vec<Error> {
        let mut damage: Vec<Error> = self.damage.iter().map(|error| error.as_damage("")).collect();
        let name = self.object.name();
        let front = HEADER_BYTES as u64 + self.header.sums_bytes();
        let mut filling = vec![0; as_usize(self.header.shards_offset() - front)];
        match self.object.read_past_map(front, &mut filling).map(|()| check_zero(&filling, "reserved")) {
            Ok(zero) => damage.extend(zero.err().map(|error| error.at(name, front))),
            Err(error) => damage.push(error),
        }
        let mut shard = vec![0; self.header.shard_bytes()];
        let mut before = false;
        for number in 0..self.header.all_parity_shards() {
            let whole = self.read_shard(number, &mut shard);
            // A run of damaged shards is one damaged place.
            if !whole && !before {
                let offset = self.header.shards_offset() + (number << self.header.shard_size_log2);
                damage.push(Error::damaged(name, offset, Problem::Checksum("parity shard")));
            }
            before = !whole;
        }
        damage
    }
}

fn read_header(object: &dyn Object, offset: u64, vault: Option<&Id>, segment: &Id) -> Result<ParityHeader> {
    let mut bytes = [0; HEADER_BYTES];
    object.read_past_map(offset, &mut bytes)?;
    let header = ParityHeader::decode(&bytes).map_err(|error| error.at(object.name(), offset))?;
    let misplaced = |field| Err(Error::damaged(object.name(), offset, Problem::Misplaced(field)));
    if vault.is_some_and(|vault| header.vault != *vault) {
        return misplaced("vault id");
    }
    if header.segment != *segment {
        return misplaced("segment id");
    }
    Ok(header)
}
