//! Checking a whole segment with the keys at hand.

use super::super::decode;
use super::super::parity::Repair;
use super::super::scratch::Scratch;
use super::walk::{Found, walk};
use super::{Segments, read_trailer};
use crate::error::{Error, Problem, Result};
use crate::format::segment::{self, HEADER_BYTES, RecordHeader, RecordType};
use crate::format::{Hash, Id};
use crate::meter::Stage;
use crate::seal::SegmentSeal;

/// What a walk over one segment found.
#[derive(Debug, Default)]
pub struct SegmentCheck {
    /// Records that were whole.
    pub records: u64,
    /// Length of the segment in bytes.
    pub bytes: u64,
    /// What was wrong, in order of place.
    pub damage: Vec<Error>,
    /// Offsets and ids of the records that were whole, in order of place. Empty where no key was at hand.
    pub whole: Vec<(u64, Hash)>,
    /// Whether header, table and trailer were whole.
    pub is_framed: bool,
    /// What is wrong with its parity, or that it has none where it should: no data is lost by that.
    pub parity: Vec<Error>,
    /// Length of its parity object in bytes.
    pub parity_bytes: u64,
    /// Of a damaged segment: whether parity can mend it. Nothing where nobody looked.
    pub repair: Option<Repair>,
}

impl Segments {
    /// Checks everything of a segment that the keys at hand can check.
    ///
    /// `id_of` gives the id of plain bytes; a record must have the id that it was sealed with. Damage is collected, and
    /// only what is wrong with the medium ends the check.
    pub fn check(&self, id: &Id, id_of: &dyn Fn(RecordType, &[u8]) -> Hash) -> Result<SegmentCheck> {
        let mut check = SegmentCheck::default();
        let object = match self.open_object(id) {
            Ok(object) => object,
            Err(error @ Error::Damaged(_)) => {
                check.damage.push(error);
                return Ok(check);
            }
            Err(error) => return Err(error),
        };
        check.bytes = object.length();
        let table = match self.table_of(id, object.as_ref()) {
            Ok(table) => Some(table),
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(error) => {
                check.damage.push(error);
                None
            }
        };
        check.is_framed = check.damage.is_empty();
        // A segment whose header is gone can't be opened: none of its records is whole then. Not by what readers opened,
        // who may have had the header from parity.
        let seal = match self.seal_of(id, object.as_ref()) {
            Ok(seal) => seal,
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(error) => {
                check.damage.push(error);
                check.is_framed = false;
                return Ok(check);
            }
        };
        let mut tree = blake3::Hasher::new();
        let mut header = [0; HEADER_BYTES];
        object.read_exact_at(0, &mut header)?;
        tree.update(&header);
        let end = match read_trailer(object.as_ref(), id) {
            Ok((trailer, _)) => trailer.table_offset,
            // A medium that fails is no damage: what follows the records must not be taken for broken ones.
            Err(error @ Error::Vault { .. }) => return Err(error),
            Err(_) => object.length(),
        };
        let seal = &seal;
        let reads = self.keys.reads_data() || !seal.is_data();
        walk(object.as_ref(), end, &mut |offset, found| {
            match found {
                Found::Gap(error) => check.damage.push(error),
                Found::Record(header, payload) => {
                    tree.update(&header.encode());
                    match self.check_record(seal, &header, offset, payload, reads, id_of) {
                        Ok(id) => {
                            check.records += 1;
                            check.whole.push((offset, id));
                        }
                        Err(error) => check.damage.push(error),
                    }
                }
            }
            Ok(())
        })?;
        if let Some(table) = table {
            let (trailer, hash) = read_trailer(object.as_ref(), id)?;
            let mut sealed = vec![0; trailer.sealed_table_bytes()];
            object.read_exact_at(trailer.table_offset, &mut sealed)?;
            tree.update(&sealed).update(&trailer.bound_bytes());
            if check.damage.is_empty() && *tree.finalize().as_bytes() != hash {
                check.damage.push(Error::damaged(object.name(), 0, Problem::Checksum("segment")));
                check.is_framed = false;
            }
            // Whoever holds the keys may have sealed a table of other records than there are: the index comes from it.
            let entries = table.iter().map(|entry| (entry.offset, entry.id));
            if check.damage.is_empty() && !entries.eq(check.whole.iter().copied()) {
                let problem = Problem::Misplaced("record table");
                check.damage.push(Error::damaged(object.name(), trailer.table_offset, problem));
                check.is_framed = false;
            }
        }
        Ok(check)
    }

    fn check_record(
        &self,
        seal: &SegmentSeal,
        header: &RecordHeader,
        offset: u64,
        payload: &mut [u8],
        reads: bool,
        id_of: &dyn Fn(RecordType, &[u8]) -> Hash,
    ) -> Result<Hash> {
        let damaged = |problem| Error::damaged(segment::object(seal.segment()), offset, problem);
        let checksum = || crate::format::short_hash::<16>(payload);
        if self.meter.time(Stage::Checksum, payload.len(), checksum) != header.checksum {
            return Err(damaged(Problem::Checksum("record")));
        }
        let id = seal.open_id(header, offset)?;
        if !reads {
            return Ok(id);
        }
        let (sealed_bytes, plain_bytes) = (payload.len(), header.plain_bytes as usize);
        let encoded = self.meter.time(Stage::Open, sealed_bytes, || seal.open_payload(header, &id, offset, payload))?;
        Scratch::with(|scratch| {
            let plain = &mut scratch.plain;
            let decoding = || decode(header.encoding, encoded, header.plain_bytes, plain);
            if !self.meter.time(Stage::Decompress, plain_bytes, decoding) {
                return Err(damaged(Problem::Decompression(header.plain_bytes)));
            }
            if self.meter.time(Stage::Rehash, plain_bytes, || id_of(header.kind, plain)) != id {
                return Err(damaged(Problem::Authentication("record id")));
            }
            Ok(id)
        })
    }
}
