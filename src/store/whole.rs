//! Records as they are stored: opened and looked at, for whoever stores them elsewhere as they are encoded.

use super::segments::{RecordFault, encoded};
use super::{Place, Store, decode, reader};
use crate::error::{Error, Problem, Result};
use crate::format::Hash;
use crate::format::segment::{self, Encoding, RecordHeader, RecordType};
use crate::meter::Stage;

/// A record that is what its id says.
pub(crate) struct Opened<'a> {
    /// Its plain bytes.
    pub plain: &'a [u8],
    /// How it is encoded.
    pub encoding: Encoding,
    /// The encoded bytes.
    pub encoded: &'a [u8],
}

/// What was found of a record that was looked for with all means.
pub(crate) enum Found<'a> {
    /// It, as it is encoded.
    Opened(Opened<'a>),
    /// Its plain bytes.
    Plain(&'a [u8]),
}

/// Buffers of one thread.
#[derive(Default)]
pub(crate) struct Buffers {
    sealed: Vec<u8>,
    plain: Vec<u8>,
}

impl Buffers {
    fn opened(&self, header: &RecordHeader) -> Opened<'_> {
        Opened { plain: &self.plain, encoding: header.encoding, encoded: encoded(header, &self.sealed) }
    }
}

impl Store {
    /// Opens the record at a place, and makes sure that it is what its id says.
    pub(super) fn open_whole<'a>(
        &self,
        kind: RecordType,
        id: &Hash,
        place: &Place,
        buffers: &'a mut Buffers,
    ) -> Result<Opened<'a>> {
        let header = self.fill_whole(kind, id, place, buffers)?;
        Ok(buffers.opened(&header))
    }

    /// Opens a record wherever it is. One that is not whole where the index says is looked for as by every reader.
    pub(crate) fn open_anywhere<'a>(&self, kind: RecordType, id: &Hash, buffers: &'a mut Buffers) -> Result<Found<'a>> {
        let located = self.locate(id).and_then(|place| self.fill_whole(kind, id, &place, buffers).ok());
        if let Some(header) = located {
            return Ok(Found::Opened(buffers.opened(&header)));
        }
        reader::read(self, kind, id, &mut buffers.plain)?;
        Ok(Found::Plain(&buffers.plain))
    }

    fn fill_whole(&self, kind: RecordType, id: &Hash, place: &Place, buffers: &mut Buffers) -> Result<RecordHeader> {
        let Buffers { sealed, plain } = buffers;
        let (header, encoded) = self.segments.open_record(kind, id, place, sealed).map_err(|fault| match fault {
            RecordFault::Here(error) | RecordFault::Elsewhere(error) => error,
        })?;
        let unfit = |problem| Error::damaged(segment::object(&place.segment), place.offset, problem);
        let decoding = || decode(header.encoding, encoded, header.plain_bytes, plain);
        if !self.meter.time(Stage::Decompress, header.plain_bytes as usize, decoding) {
            return Err(unfit(Problem::Decompression(header.plain_bytes)));
        }
        if self.meter.time(Stage::Rehash, plain.len(), || self.id_of(kind, plain)) != *id {
            return Err(unfit(Problem::Authentication("record id")));
        }
        Ok(header)
    }
}
