//! A segment, object `segments/<segment id in hex>.seg`: records, written once.
//!
//! ```text
//! header 192 | record | record | ... | sealed table | trailer 96
//! record: header 96 | sealed payload | zeros up to a multiple of 16
//! ```
//!
//! Every record describes itself, so that one bad length loses one record: a reader without table looks for the next
//! record magic at a multiple of 16 bytes. The table at the end lists all records for whoever builds an index; it is
//! sealed, because chunk ids appear in the clear nowhere.
//!
//! Checksums form a tree that needs no key: each record header holds the BLAKE3 of its payload, the trailer holds the
//! BLAKE3 of header, all record headers and sealed table.

mod header;
mod record;
mod table;

pub use header::{SegmentHeader, SegmentKind};
pub use record::{Encoding, RecordHeader, RecordType, padded};
pub use table::{TableEntry, Trailer, decode_table, encode_table};

use super::Id;

/// Folder of the segments.
pub const FOLDER: &str = "segments";
/// Length of a segment header in bytes.
pub const HEADER_BYTES: usize = header::SIZE;
/// Length of a record header in bytes.
pub const RECORD_HEADER_BYTES: usize = record::SIZE;
/// Length of a trailer in bytes.
pub const TRAILER_BYTES: usize = table::TRAILER_SIZE;
/// Length of a record's entry in the table in bytes.
pub const TABLE_ENTRY_BYTES: usize = table::ENTRY;
/// Records begin at multiples of this, in bytes.
pub const ALIGNMENT: u64 = 16;
/// Longest plain payload of a record in bytes: a chunk of the largest size, or a manifest.
pub const MOST_PLAIN_BYTES: u32 = 16 << 20;
/// Longest stored payload of a record in bytes: what does not compress is kept plain, so only the tag is added.
pub const MOST_STORED_BYTES: u32 = MOST_PLAIN_BYTES + super::TAG_BYTES as u32;
/// Most records in a segment; far above what the largest segment of the smallest chunks holds.
pub const MOST_RECORDS: u32 = 1 << 24;
/// Longest file that is taken for a segment, in bytes: the largest segment that `init` allows, one record and a table.
pub const MOST_SEGMENT_BYTES: u64 = 3 << 30;

const _: () = assert!((HEADER_BYTES as u64).is_multiple_of(ALIGNMENT));
const _: () = assert!((RECORD_HEADER_BYTES as u64).is_multiple_of(ALIGNMENT));

/// The object of a segment.
pub fn object(segment: &Id) -> String {
    format!("{FOLDER}/{}.seg", super::hex(segment))
}

/// The segment that a file name in the folder names.
pub fn id_of(name: &str) -> Option<Id> {
    super::id_from_hex(name.strip_suffix(".seg")?)
}
