//! What seals and opens the records of one segment.

use aes_gcm::Aes256Gcm;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};

use super::keys::{VaultKeys, cipher, derive, open, open_slice, seal, seal_slice};
use super::{Secret, random};
use crate::error::{Error, Problem, Result};
use crate::format::segment::{
    Encoding, RECORD_HEADER_BYTES, RecordHeader, RecordType, SegmentHeader, SegmentKind, TableEntry, Trailer,
    decode_table, encode_table, object,
};
use crate::format::{HASH_BYTES, Hash, Id, TAG_BYTES};

/// A segment's content key.
pub struct ContentKey(Secret);

/// Domains of the nonces under a segment's keys.
const PAYLOADS: u32 = 0;
const IDS: u32 = 1;
const TABLE: u32 = 2;

/// Seals and opens the records of one segment.
pub struct SegmentSeal {
    vault: Id,
    segment: Id,
    epoch: u32,
    kind: SegmentKind,
    /// Ids and table, under a key derived from the meta key.
    meta: Aes256Gcm,
    /// Payloads; absent for data where the role holds no private half.
    payloads: Option<Aes256Gcm>,
}

fn nonce(number: u32, domain: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    nonce[8..].copy_from_slice(&domain.to_le_bytes());
    nonce
}

fn info(vault: &Id, segment: &Id) -> Vec<u8> {
    [b"icecore 1 content key".as_slice(), vault, segment].concat()
}

impl SegmentSeal {
    /// Begins a segment for chunks (`data`) or for maps and manifests; also returns its encoded header.
    pub fn begin(keys: &VaultKeys, data: bool) -> Result<(Self, Vec<u8>)> {
        let (vault, segment) = (*keys.vault(), random()?);
        let (kind, content) = if data {
            let content = Secret::random()?;
            let (encapsulated, sealed_key) = Self::seal_content_key(keys, &segment, &content)?;
            (SegmentKind::Data { encapsulated, sealed_key }, Some(ContentKey(content)))
        } else {
            (SegmentKind::Meta, None)
        };
        let header = SegmentHeader { vault, segment, epoch: keys.epoch(), kind };
        let bytes = header.encode(*keys.authenticate_segment(&header)?.as_bytes()).to_vec();
        Ok((Self::with(keys, &header, content)?, bytes))
    }

    /// Opens a segment by its header. Without the private half only ids and table of a data segment can be opened.
    pub fn open(keys: &VaultKeys, expected: &Id, bytes: &[u8; crate::format::segment::HEADER_BYTES]) -> Result<Self> {
        let name = object(expected);
        let (header, authenticator) = SegmentHeader::decode(bytes).map_err(|error| error.at(&name, 0))?;
        header.check_place(keys.vault(), expected).map_err(|error| error.at(&name, 0))?;
        let unauthentic = || Error::damaged(&name, 0, Problem::Authentication("segment header"));
        if keys.authenticate_segment(&header)? != blake3::Hash::from(authenticator) {
            return Err(unauthentic());
        }
        keys.admit_segment(expected, header.epoch)?;
        let content = match header.kind {
            SegmentKind::Data { encapsulated, sealed_key } if keys.reads_data() => {
                let encapsulated =
                    <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&encapsulated).map_err(|_| unauthentic())?;
                let opened = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                    &OpModeR::Base,
                    &keys.hpke_private(header.epoch)?,
                    &encapsulated,
                    &info(keys.vault(), expected),
                    &sealed_key,
                    expected,
                );
                let opened = zeroize::Zeroizing::new(opened.map_err(|_| unauthentic())?);
                let key: zeroize::Zeroizing<[u8; 32]> =
                    zeroize::Zeroizing::new(opened.as_slice().try_into().map_err(|_| unauthentic())?);
                #[cfg(test)]
                super::vectors::received(
                    &keys.hpke_private(header.epoch)?.to_bytes(),
                    &encapsulated.to_bytes(),
                    &info(keys.vault(), expected),
                    expected,
                    &sealed_key,
                    &*key,
                );
                Some(ContentKey(Secret::from(*key)))
            }
            _ => None,
        };
        Self::with(keys, &header, content)
    }

    /// What opens a segment's ids and table without its header: their key follows from the segment's name and the epoch.
    /// Whoever opens something with it knows that the segment is of that epoch, and whether it may be one.
    pub fn of_table(keys: &VaultKeys, segment: &Id, epoch: u32) -> Result<Self> {
        let (vault, segment) = (*keys.vault(), *segment);
        Self::with(keys, &SegmentHeader { vault, segment, epoch, kind: SegmentKind::Meta }, None)
    }

    /// Fails where the segment is of an older epoch and was not there when the newest began.
    pub fn admit(&self, keys: &VaultKeys) -> Result<()> {
        keys.admit_segment(&self.segment, self.epoch)
    }

    fn with(keys: &VaultKeys, header: &SegmentHeader, content: Option<ContentKey>) -> Result<Self> {
        let ids: [&[u8]; 2] = [&header.vault, &header.segment];
        let newer = || Error::damaged(object(&header.segment), 48, Problem::Epoch(header.epoch));
        let meta = keys.meta(header.epoch).ok_or_else(newer)?;
        let payloads = match header.kind {
            SegmentKind::Data { .. } => content.map(|content| cipher(&content.0)),
            SegmentKind::Meta => Some(cipher(&derive("icecore 1 meta payloads", meta, &ids))),
        };
        Ok(Self {
            vault: header.vault,
            segment: header.segment,
            epoch: header.epoch,
            kind: header.kind,
            meta: cipher(&derive("icecore 1 segment ids and table", meta, &ids)),
            payloads,
        })
    }

    fn seal_content_key(keys: &VaultKeys, segment: &Id, content: &Secret) -> Result<([u8; 32], [u8; 48])> {
        let failed = |_| Error::damaged(crate::format::header::OBJECT, 48, Problem::Field("public half"));
        let (encapsulated, sealed) = single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &keys.hpke_public()?,
            &info(keys.vault(), segment),
            content.expose(),
            segment,
        )
        .map_err(failed)?;
        let sealed = sealed.try_into().expect("32 bytes and a tag");
        Ok((encapsulated.to_bytes().into(), sealed))
    }

    /// The segment.
    pub fn segment(&self) -> &Id {
        &self.segment
    }

    /// Epoch of its keys.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether it holds chunks.
    pub fn is_data(&self) -> bool {
        matches!(self.kind, SegmentKind::Data { .. })
    }

    fn bound(&self, header: &RecordHeader) -> Vec<u8> {
        [header.bound_bytes().as_slice(), &self.vault, &self.segment].concat()
    }

    /// Seals a record as number `number` where it lies: `record` has room for the header, then the encoded payload, then
    /// room for the tag.
    pub fn seal_record(
        &self,
        number: u32,
        kind: RecordType,
        encoding: Encoding,
        plain_bytes: u32,
        id: &Hash,
        record: &mut [u8],
    ) -> RecordHeader {
        let cipher = self.payloads.as_ref().expect("a segment that was begun has its content key");
        let (room, payload) = record.split_first_chunk_mut::<RECORD_HEADER_BYTES>().expect("room for the header");
        let stored_bytes = u32::try_from(payload.len()).expect("a record is at most 16 MiB");
        let mut header = RecordHeader {
            number,
            kind,
            encoding,
            plain_bytes,
            stored_bytes,
            sealed_id: [0; HASH_BYTES + TAG_BYTES],
            checksum: [0; 16],
        };
        let mut bound = self.bound(&header);
        let mut sealed_id = id.to_vec();
        seal(&self.meta, nonce(number, IDS), &bound, &mut sealed_id);
        header.sealed_id = sealed_id.try_into().expect("32 bytes and a tag");
        bound.extend_from_slice(id);
        seal_slice(cipher, nonce(number, PAYLOADS), &bound, payload);
        header.checksum = crate::format::short_hash(payload);
        *room = header.encode();
        header
    }

    /// The id of a record, by its header.
    pub fn open_id(&self, header: &RecordHeader, offset: u64) -> Result<Hash> {
        let mut id = header.sealed_id.to_vec();
        if open(&self.meta, nonce(header.number, IDS), &self.bound(header), &mut id)
            && let Ok(id) = id.try_into()
        {
            return Ok(id);
        }
        Err(Error::damaged(object(&self.segment), offset, Problem::Authentication("record id")))
    }

    /// Opens a record's stored payload in place. What it returns is encoded, authenticated as this record of this chunk.
    pub fn open_payload<'a>(
        &self,
        header: &RecordHeader,
        id: &Hash,
        offset: u64,
        payload: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        let Some(cipher) = &self.payloads else {
            return Err(Error::NotPermitted { held: "backup", needed: "the role restore or admin" });
        };
        let mut bound = self.bound(header);
        bound.extend_from_slice(id);
        open_slice(cipher, nonce(header.number, PAYLOADS), &bound, payload)
            .ok_or_else(|| Error::damaged(object(&self.segment), offset, Problem::Authentication(header.kind.name())))
    }

    /// Seals the table of the segment's records.
    pub fn seal_table(&self, trailer: &Trailer, entries: &[TableEntry]) -> Vec<u8> {
        let mut bytes = encode_table(entries);
        seal(&self.meta, nonce(0, TABLE), &trailer.bound_bytes(), &mut bytes);
        bytes
    }

    /// Opens the table of the segment's records.
    pub fn open_table(&self, trailer: &Trailer, mut bytes: Vec<u8>) -> Result<Vec<TableEntry>> {
        let name = object(&self.segment);
        if !open(&self.meta, nonce(0, TABLE), &trailer.bound_bytes(), &mut bytes) {
            return Err(Error::damaged(name, trailer.table_offset, Problem::Authentication("record table")));
        }
        decode_table(&bytes, trailer).map_err(|error| error.at(&name, trailer.table_offset))
    }
}
