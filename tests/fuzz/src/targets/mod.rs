//! The targets, one file each.

mod catalog_entry;
mod check_note;
mod condemned;
mod disk_map;
mod ext;
mod facts;
mod fast_commit;
mod header;
mod index_run;
mod inventory;
mod key_slot;
mod lvm;
mod manifest;
mod map_node;
mod parity;
mod partition;
mod payload;
mod probe;
mod record_header;
mod segment;
mod segment_header;
mod segment_table;
mod store;
mod vault_event;
mod xfs;

pub(crate) use ext::{BASES, base_path};
pub(crate) use facts::PATHS;
pub(crate) use fast_commit::area as fast_commits;
pub(crate) use lvm::hand_made;
pub(crate) use parity::input as with_parity;
pub(crate) use partition::crc32;
pub(crate) use segment::unsealed;
pub(crate) use store::header as vault_header;
pub(crate) use xfs::XFS_BASES;

/// A decoder, and how to feed it.
pub struct Target {
    /// Its name: that of its seeds' folder.
    pub name: &'static str,
    /// Longest input that teaches anything, in bytes.
    pub longest: usize,
    /// Feeds the decoder; whether it took the bytes. Panics where a promise is broken.
    pub run: fn(&[u8]) -> bool,
}

const fn of(name: &'static str, longest: usize, run: fn(&[u8]) -> bool) -> Target {
    Target { name, longest, run }
}

/// All of them.
pub static TARGETS: [Target; 25] = [
    of("header", 256, header::run),
    of("key_slot", 1024, key_slot::run),
    of("key_slot_payload", 512, key_slot::run_payload),
    of("segment_header", 256, segment_header::run),
    of("segment_table", 1024, segment_table::run),
    of("segment", 16 << 10, segment::run),
    of("segment_unsealed", 16 << 10, segment::run_unsealed),
    of("record_header", 128, record_header::run),
    of("payload", 8 << 10, payload::run),
    of("map_node", 5 << 10, map_node::run),
    of("disk_map", 2 << 10, disk_map::run),
    of("manifest", 4 << 10, manifest::run),
    of("catalog_entry", 1024, catalog_entry::run),
    of("check_note", 1024, check_note::run),
    of("condemned", 256, condemned::run),
    of("inventory", 1024, inventory::run),
    of("vault_event", 256, vault_event::run),
    of("parity", 48 << 10, parity::run),
    of("index_run", 8 << 10, index_run::run),
    of("partition", 16 << 10, partition::run),
    of("probe", 2 << 10, probe::run),
    of("ext", 512, ext::run),
    of("facts", 2 << 10, facts::run),
    of("xfs", 512, xfs::run),
    of("lvm", 4 << 10, lvm::run),
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Feeds bytes that end with the checksum of the rest to a decoder: as they are, and with that put right. Whether it took the
/// latter.
fn with_checksum(data: &[u8], decode: fn(&[u8]) -> bool) -> bool {
    const HASH_BYTES: usize = 32;
    decode(data);
    let mut fixed = data.to_vec();
    if let Some(at) = fixed.len().checked_sub(HASH_BYTES) {
        fix_checksum(&mut fixed, at, HASH_BYTES);
    }
    decode(&fixed)
}

/// Puts the first bytes of a plain BLAKE3 of what precedes `at` there.
fn fix_checksum(bytes: &mut [u8], at: usize, length: usize) {
    if bytes.len() >= at + length {
        let sum = *blake3::hash(&bytes[..at]).as_bytes();
        bytes[at..at + length].copy_from_slice(&sum[..length]);
    }
}

/// A number from the front of `bytes`, which become shorter; zeros where they end.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let length = N.min(bytes.len());
    let (front, rest) = bytes.split_at(length);
    out[..length].copy_from_slice(front);
    *bytes = rest;
    out
}

fn take_u8(bytes: &mut &[u8]) -> u8 {
    take::<1>(bytes)[0]
}

fn take_u16(bytes: &mut &[u8]) -> u16 {
    u16::from_le_bytes(take(bytes))
}

fn take_u64(bytes: &mut &[u8]) -> u64 {
    u64::from_le_bytes(take(bytes))
}

/// A `u32` inside of bytes that are long enough.
fn u32_in(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes)
}
