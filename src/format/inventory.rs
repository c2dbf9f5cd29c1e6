//! What there was when an epoch of the keys began, object `epochs/<epoch, 8 hex digits>-<its BLAKE3, first 16 hex
//! digits>.inventory`.
//!
//! Whoever lost his key in a rotation of the keys still knows the keys of the epochs before. What he might make with
//! them later is told apart by this list: an entry or a segment of an older epoch counts only where it is in the
//! inventory of the newest one. A slot names its inventory by the BLAKE3 of the whole object.
//!
//! | offset | bytes | field | valid when | guards against |
//! |---|---|---|---|---|
//! | 0 | 8 | magic `ICEINVEN` | always | a foreign file |
//! | 8 | 4 | version, 1 | always | a newer program's inventory |
//! | 12 | 4 | epoch that began, 1 or more | always | |
//! | 16 | 16 | vault id | always | an inventory of another vault |
//! | 32 | 32 | salt of its key, random | always | two inventories under one key |
//! | 64 | 8 | length of the sealed payload | always | truncation |
//! | 72 | 8 | reserved, zero | always | |
//! | 80 | p | payload, AES-256-GCM, nonce zero, bytes 0..80 as associated data | with the epoch's meta key | any change |
//! | 80 + p | 32 | BLAKE3 of everything before | always | damage, told apart from a wrong key |
//!
//! The payload:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | BLAKE3 of the vault's header |
//! | 32 | 4 | number of segments `s`, up to 2^22 |
//! | 36 | 4 | number of chains `c`, up to 2^20 |
//! | 40 | 16 s | ids of the segments, ascending |
//! | then | for each chain | its id (16 bytes), the number of its entries `n` (4 bytes), and of each entry the sequence number (8 bytes) and the BLAKE3 of the whole object (32 bytes), numbers ascending; ids ascending |

use super::{
    FormatError, HASH_BYTES, Hash, ID_BYTES, Id, TAG_BYTES, VERSION, check_zero, field, hex, put, split_hashed, u32_at,
    u64_at,
};
use crate::error::Problem;

/// Folder of the inventories.
pub const FOLDER: &str = "epochs";

const STRUCTURE: &str = "inventory";
const MAGIC: [u8; 8] = *b"ICEINVEN";
/// Length of the part before the payload, its associated data, in bytes.
pub const PREFIX: usize = 80;
const FIXED: usize = 40;
const ENTRY_BYTES: usize = 40;
/// Most segments that are listed.
pub const MOST_SEGMENTS: usize = 1 << 22;
/// Most chains that are listed.
pub const MOST_CHAINS: usize = 1 << 20;
/// Longest stored form in bytes.
pub const MOST_BYTES: u64 = 1 << 30;

/// The clear part of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The epoch that began.
    pub epoch: u32,
    /// The vault.
    pub vault: Id,
    /// Salt of its key.
    pub salt: [u8; 32],
}

/// Sequence number and BLAKE3 of an entry.
pub type Entry = (u64, Hash);

/// What there was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// BLAKE3 of the vault's header.
    pub header: Hash,
    /// The segments, ascending.
    pub segments: Vec<Id>,
    /// The entries of each chain, chains ascending.
    pub chains: Vec<(Id, Vec<Entry>)>,
}

/// The object of the inventory of that hash.
pub fn object(epoch: u32, hash: &Hash) -> String {
    format!("{FOLDER}/{epoch:08x}-{}.inventory", hex(&hash[..8]))
}

impl Prefix {
    /// The stored form, for a payload of `sealed_bytes`.
    pub fn encode(&self, sealed_bytes: u64) -> [u8; PREFIX] {
        let mut bytes = [0; PREFIX];
        put::<0, 8, PREFIX>(&mut bytes, MAGIC);
        put::<8, 4, PREFIX>(&mut bytes, VERSION.to_le_bytes());
        put::<12, 4, PREFIX>(&mut bytes, self.epoch.to_le_bytes());
        put::<16, 16, PREFIX>(&mut bytes, self.vault);
        put::<32, 32, PREFIX>(&mut bytes, self.salt);
        put::<64, 8, PREFIX>(&mut bytes, sealed_bytes.to_le_bytes());
        bytes
    }
}

/// Splits a stored inventory into its clear part, that part's bytes, and the sealed payload.
pub fn split(bytes: &[u8]) -> Result<(Prefix, &[u8; PREFIX], &[u8]), FormatError> {
    let (prefix, payload) = split_hashed::<PREFIX>(bytes, MAGIC, STRUCTURE)?;
    check_zero(&prefix[72..], "reserved")?;
    if u64_at::<64, PREFIX>(prefix) != payload.len() as u64 {
        return Err(Problem::Field("payload length").into());
    }
    let epoch = u32_at::<12, PREFIX>(prefix);
    if epoch == 0 {
        return Err(Problem::Field("epoch").into());
    }
    let (vault, salt) = (field::<16, 16, PREFIX>(prefix), field::<32, 32, PREFIX>(prefix));
    Ok((Prefix { epoch, vault, salt }, prefix, payload))
}

impl Inventory {
    /// Whether a segment was there.
    pub fn has_segment(&self, id: &Id) -> bool {
        self.segments.binary_search(id).is_ok()
    }

    /// Whether an entry of that hash was there, at that place of its chain.
    pub fn has_entry(&self, chain: &Id, sequence: u64, hash: &Hash) -> bool {
        let Ok(place) = self.chains.binary_search_by_key(chain, |(id, _)| *id) else { return false };
        let entries = &self.chains[place].1;
        entries.binary_search_by_key(&sequence, |(sequence, _)| *sequence).is_ok_and(|at| entries[at].1 == *hash)
    }

    /// Whether there is more than an inventory can list.
    pub fn is_too_much(&self) -> bool {
        let entries: usize = self.chains.iter().map(|(_, entries)| entries.len()).sum();
        let bytes = self.segments.len() * ID_BYTES + self.chains.len() * 20 + entries * ENTRY_BYTES;
        self.segments.len() > MOST_SEGMENTS
            || self.chains.len() > MOST_CHAINS
            || bytes as u64 > MOST_BYTES - (PREFIX + FIXED + TAG_BYTES + HASH_BYTES) as u64
    }

    /// The payload before sealing.
    pub fn encode(&self) -> Vec<u8> {
        assert!(!self.is_too_much(), "checked before");
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.chains.len() as u32).to_le_bytes());
        self.segments.iter().for_each(|id| bytes.extend_from_slice(id));
        for (chain, entries) in &self.chains {
            bytes.extend_from_slice(chain);
            bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
            for (sequence, hash) in entries {
                bytes.extend_from_slice(&sequence.to_le_bytes());
                bytes.extend_from_slice(hash);
            }
        }
        bytes
    }

    /// Reads the opened payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let short = || Problem::Length { expected: FIXED as u64, found: bytes.len() as u64 };
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>().ok_or_else(short)?;
        let [segments, chains] = [u32_at::<32, FIXED>(fixed), u32_at::<36, FIXED>(fixed)].map(|count| count as usize);
        if segments > MOST_SEGMENTS || chains > MOST_CHAINS {
            return Err(Problem::Field("number of segments or chains").into());
        }
        let length = || FormatError::from(Problem::Field("number of segments or chains"));
        let (listed, mut rest) = rest.split_at_checked(segments * ID_BYTES).ok_or_else(length)?;
        let segments: Vec<Id> = listed.as_chunks::<ID_BYTES>().0.to_vec();
        let mut listed = Vec::new();
        for _ in 0..chains {
            let (front, after) = rest.split_first_chunk::<20>().ok_or_else(length)?;
            let entries = (u32_at::<16, 20>(front) as usize).checked_mul(ENTRY_BYTES).ok_or_else(length)?;
            let (entries, after) = after.split_at_checked(entries).ok_or_else(length)?;
            let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
            let entry = |bytes| (u64_at::<0, ENTRY_BYTES>(bytes), field::<8, 32, ENTRY_BYTES>(bytes));
            let entries: Vec<Entry> = entries.iter().map(entry).collect();
            if !entries.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(Problem::Field("order").into());
            }
            listed.push((field::<0, 16, 20>(front), entries));
            rest = after;
        }
        let ascending = segments.is_sorted_by(|a, b| a < b) && listed.is_sorted_by(|a, b| a.0 < b.0);
        if !ascending || !rest.is_empty() {
            return Err(Problem::Field("order").into());
        }
        Ok(Self { header: field::<0, 32, FIXED>(fixed), segments, chains: listed })
    }
}
