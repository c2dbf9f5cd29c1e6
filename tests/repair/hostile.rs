//! Promises 3 and 4: without a key, a copy that somebody made up takes nothing of what is whole here; what a repair writes is
//! whole, or is not written.

use std::path::Path;

use crate::common;
use crate::common::repair::{flip, make, write};
use icecore::format::key_slot::KeySlot;
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, TRAILER_BYTES, Trailer, padded};

/// A segment that ends after its first records: all checksums fit, and no key was needed.
fn cut_short(bytes: &[u8], records: u32) -> Vec<u8> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("a header");
    let segment = icecore::format::segment::SegmentHeader::decode(header).expect("a header").0.segment;
    let mut tree = blake3::Hasher::new();
    tree.update(header);
    let mut end = HEADER_BYTES;
    for _ in 0..records {
        let record = bytes[end..].first_chunk::<RECORD_HEADER_BYTES>().expect("a record");
        tree.update(record);
        end += RECORD_HEADER_BYTES + padded(RecordHeader::decode(record).expect("a record").stored_bytes) as usize;
    }
    let trailer = Trailer::new(segment, records, end as u64);
    let table = common::noise(1, trailer.sealed_table_bytes());
    tree.update(&table).update(&trailer.bound_bytes());
    [&bytes[..end], &table, &trailer.encode(*tree.finalize().as_bytes())].concat()
}

fn rewrite(file: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = std::fs::read(file).expect("a file");
    std::fs::write(file, change(bytes)).expect("written");
}

#[test]
fn a_segment_that_holds_less_takes_the_place_of_none_that_holds_more() {
    for own_trailer in [true, false] {
        let made = make();
        let file = made.segments(1).remove(0);
        rewrite(&made.in_copy(&file), |bytes| cut_short(&bytes, 1));
        let length = std::fs::metadata(&file).expect("stat").len() as usize;
        flip(&file, length * 3 / 4);
        if !own_trailer {
            flip(&file, length - TRAILER_BYTES + 20);
        }
        let before = std::fs::read(&file).expect("a file");
        let repair = made.plan_keyless(made.copied()).expect("a plan");
        assert!(repair.plan().mended.is_empty(), "own trailer whole: {own_trailer}");
        write(&repair);
        common::assert_same(&std::fs::read(&file).expect("a file"), &before, "what is whole of it stays");
    }
}

#[test]
fn what_is_written_is_what_was_checked_and_no_longer() {
    for keyless in [true, false] {
        let made = make();
        let file = made.segments(1).remove(0);
        let whole = std::fs::read(&file).expect("a file");
        // Its own file claims to be longer, which comes out of the first try, in vain.
        rewrite(&file, |bytes| {
            let longer = [
                &bytes[..bytes.len() - TRAILER_BYTES],
                &common::noise(2, 50_000),
                &bytes[bytes.len() - TRAILER_BYTES..],
            ];
            longer.concat()
        });
        let repair = if keyless { made.plan_keyless(made.copied()) } else { made.plan(made.copied()) }.expect("a plan");
        write(&repair);
        common::assert_same(&std::fs::read(&file).expect("a file"), &whole, "as the copy has it");
        assert!(common::verify(&common::open(&made.vault)).is_clean());
    }
}

#[test]
fn a_slot_that_can_not_be_read_just_now_is_left_to_its_holder() {
    let made = make();
    let slot = common::files(&made.vault.join("keys")).remove(0);
    let aside = made.folder.path().join("slot");
    std::fs::rename(&slot, &aside).expect("moved");
    // A link that leads to itself: the medium gives nothing of it.
    std::os::unix::fs::symlink(slot.file_name().expect("a name"), &slot).expect("a link");
    rewrite(&made.in_copy(&slot), |bytes| {
        let forged = KeySlot { commitment: [0; 32], ..KeySlot::decode(&bytes).expect("a slot") };
        forged.encode()
    });
    let repair = made.plan_keyless(made.copied()).expect("a plan");
    assert!(repair.plan().objects.is_empty() && !repair.plan().ends_whole());
    write(&repair);
    std::fs::remove_file(&slot).expect("removed");
    std::fs::rename(&aside, &slot).expect("it can be read again");
    made.assert_whole();
}

#[test]
fn a_segment_that_can_not_be_read_ends_neither_repairing_nor_salvaging() {
    let made = make();
    for file in [1, 2].map(|kind| made.segments(kind).remove(0)) {
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink(file.file_name().expect("a name"), &file).expect("a link");
    }
    let options = icecore::vault::OpenOptions { salvage: true, ..icecore::vault::OpenOptions::default() };
    let vault = icecore::Vault::open(&made.vault, &common::password(), &options).expect("it opens");
    assert!(!vault.salvaged().expect("salvaged").unreadable.is_empty(), "and says what it could not look into");
    drop(vault);
    let repair = made.plan(made.copied()).expect("a plan");
    assert!(repair.plan().ends_whole() && repair.plan().mended.len() == 2, "{:?}", repair.plan().remaining);
    write(&repair);
    made.assert_whole();
    assert!(common::verify(&common::open(&made.vault)).is_clean());
}
