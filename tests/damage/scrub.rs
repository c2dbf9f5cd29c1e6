//! Promise 3: damage is found without any key, at the places where a check with keys finds it.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::{Random, files, object};
use icecore::error::{Damage, Problem};
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, TRAILER_BYTES, padded};
use icecore::vault::{ScrubReport, VerifyOptions, VerifyProgress};
use icecore::{Error, ErrorKind, Vault};

struct Made {
    _folder: tempfile::TempDir,
    vault: PathBuf,
}

/// Three points of one machine and one of another, in several segments.
fn make() -> Made {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let mut disk = common::noise(1, 300_000);
    for day in 0..3 {
        disk[day * 50_000..day * 50_000 + 9000].copy_from_slice(&common::text(day as u64, 9000));
        common::backup_bytes(&vault, "web", &[("os", &disk)]).expect("backup");
    }
    common::backup_bytes(&vault, "db", &[("os", &common::noise(2, 100_000))]).expect("backup");
    Made { _folder: folder, vault: path }
}

fn scrub(path: &Path) -> ScrubReport {
    Vault::scrub(path, &VerifyOptions::default(), &VerifyProgress::default()).expect("scrub")
}

fn places(damage: Vec<Error>) -> Vec<(String, u64)> {
    let mut places: Vec<(String, u64)> = damage
        .into_iter()
        .map(|error| match error {
            Error::Damaged(Damage { object, offset, .. }) => (object, offset),
            Error::UnsupportedVersion { object, .. } => (object, 0),
            error => panic!("not damage: {error}"),
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Bytes of a file changed by `change`; both checks must name the same places.
#[track_caller]
fn compare(made: &Made, file: &Path, what: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let original = std::fs::read(file).expect("file");
    let mut bytes = original.clone();
    change(&mut bytes);
    std::fs::write(file, bytes).expect("damage");
    let without = places(scrub(&made.vault).damage);
    let mut with = places(common::verify(&common::open(&made.vault)).damage);
    std::fs::write(file, original).expect("repair");
    let name = object(&made.vault, file);
    // With keys, what points miss because of it is named besides.
    with.retain(|(object, _)| *object == name);
    assert_eq!(without, with, "{what}");
    assert!(!without.is_empty() && without.iter().all(|(object, _)| *object == name), "{what}: {without:?}");
}

fn offsets(bytes: &[u8]) -> Vec<(usize, RecordHeader)> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
        let Ok(header) = RecordHeader::decode(header) else { break };
        found.push((at, header));
        at += RECORD_HEADER_BYTES + padded(header.stored_bytes) as usize;
    }
    found
}

#[test]
fn both_checks_name_the_same_places() {
    let made = make();
    assert!(scrub(&made.vault).is_clean());
    for file in files(&made.vault.join("segments")) {
        let whole = std::fs::read(&file).expect("segment");
        let records = offsets(&whole);
        let (last, _) = records[records.len() - 1];
        let table = whole.len() - TRAILER_BYTES - 30;
        for (what, at) in [
            ("a payload", last + RECORD_HEADER_BYTES + 3),
            ("a record's number", last + 4),
            ("a record's sealed id", last + 40),
            ("the segment's header", 100),
            ("the table", table),
            ("the trailer", whole.len() - 20),
        ] {
            compare(&made, &file, what, |bytes| bytes[at] ^= 8);
        }
        compare(&made, &file, "nothing left", Vec::clear);
        compare(&made, &file, "a cut", |bytes| bytes.truncate(last + 50));
        compare(&made, &file, "a byte too many", |bytes| bytes.push(0));
    }
    for folder in ["keys", "catalog"] {
        // The only slot damaged closes the vault to whoever has a key: a second one opens it.
        let cheap = common::CHEAP;
        let spare = icecore::seal::Credential::password(*b"spare");
        if folder == "keys" {
            common::open(&made.vault).add_key(icecore::format::key_slot::Role::Admin, &spare, cheap).expect("key");
        }
        for file in files(&made.vault.join(folder)) {
            let original = std::fs::read(&file).expect("file");
            for at in [3, 20, 70, 110, original.len() - 3] {
                let mut bytes = original.clone();
                bytes[at] ^= 2;
                std::fs::write(&file, bytes).expect("damage");
                let found = places(scrub(&made.vault).damage);
                assert_eq!(found, [(object(&made.vault, &file), 0)], "byte {at}");
            }
            std::fs::write(&file, original).expect("repair");
        }
    }
    for name in ["header", "header-copy"] {
        for at in [0, 9, 30, 120, 150] {
            compare(&made, &made.vault.join(name), name, |bytes| bytes[at] ^= 1);
        }
    }
    assert!(scrub(&made.vault).is_clean());
}

#[test]
fn no_byte_of_a_segment_goes_unchecked() {
    let made = make();
    let mut flips = 0;
    for file in files(&made.vault.join("segments")) {
        let whole = std::fs::read(&file).expect("segment");
        let records = offsets(&whole);
        let end = |(at, header): &(usize, RecordHeader)| at + RECORD_HEADER_BYTES + header.stored_bytes as usize;
        let next =
            |(at, header): &(usize, RecordHeader)| at + RECORD_HEADER_BYTES + padded(header.stored_bytes) as usize;
        // What fills a record up to a multiple of 16 belongs to nobody, and is never read.
        let is_padding = |at: usize| records.iter().any(|record| (end(record)..next(record)).contains(&at));
        let mut random = Random(5);
        let frames = (0..HEADER_BYTES).chain(whole.len() - TRAILER_BYTES..whole.len());
        let some = (0..whole.len()).filter(|_| random.below(400) == 0).collect::<Vec<_>>();
        for at in frames.step_by(7).chain(some).filter(|at| !is_padding(*at)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&file, bytes).expect("damage");
            let found = places(scrub(&made.vault).damage);
            let name = object(&made.vault, &file);
            assert!(found.iter().any(|(object, _)| *object == name), "byte {at} of {name}: {found:?}");
            flips += 1;
        }
        std::fs::write(&file, whole).expect("repair");
    }
    assert!(flips > 500, "{flips}");
}

#[test]
fn files_in_the_wrong_place_are_found() {
    let made = make();
    let other = make();
    let segments = files(&made.vault.join("segments"));
    let foreign = std::fs::read(&files(&other.vault.join("segments"))[0]).expect("segment");
    let second = std::fs::read(&segments[1]).expect("segment");
    let own = std::fs::read(&segments[0]).expect("segment");
    for bytes in [foreign, second] {
        std::fs::write(&segments[0], bytes).expect("replace");
        let found = places(scrub(&made.vault).damage);
        assert!(found.contains(&(object(&made.vault, &segments[0]), 0)), "{found:?}");
        assert!(found.iter().all(|(name, _)| *name == object(&made.vault, &segments[0])), "{found:?}");
    }
    std::fs::write(&segments[0], own).expect("repair");
    let entries = files(&made.vault.join("catalog"));
    for (from, to) in [(0, 1), (1, 2), (3, 0)] {
        let bytes = std::fs::read(&entries[from]).expect("entry");
        let original = std::fs::read(&entries[to]).expect("entry");
        std::fs::write(&entries[to], bytes).expect("replace");
        let found = scrub(&made.vault).damage;
        std::fs::write(&entries[to], original).expect("repair");
        assert_eq!(places(found), [(object(&made.vault, &entries[to]), 0)], "{from} as {to}");
    }
    // The chain of three entries, without the one in its middle.
    let chain = entries.iter().find(|entry| entry.ends_with("0000000000000001.entry")).expect("a chain");
    std::fs::remove_file(chain).expect("remove");
    let found = scrub(&made.vault).damage;
    assert!(matches!(&found[..], [Error::Damaged(damage)] if damage.problem == Problem::Absent), "{found:?}");
    assert_eq!(places(found), [(object(&made.vault, chain), 0)]);
}

#[test]
fn damage_to_what_is_derived_is_told_and_called_harmless() {
    let made = make();
    scrub(&made.vault);
    for folder in ["index", "checks"] {
        for file in files(&made.vault.join(folder)) {
            let original = std::fs::read(&file).expect("file");
            let mut bytes = original.clone();
            bytes[20] ^= 1;
            std::fs::write(&file, bytes).expect("damage");
            let report = scrub(&made.vault);
            assert!(report.is_clean(), "{:?}", report.damage);
            let offset = if folder == "index" { 16 } else { 0 };
            assert_eq!(places(report.harmless), [(object(&made.vault, &file), offset)]);
            std::fs::write(&file, original).expect("repair");
        }
    }
    assert!(scrub(&made.vault).harmless.is_empty());
}

#[test]
fn it_judges_neither_what_is_no_vault_nor_what_is_newer() {
    let made = make();
    let nothing = made.vault.join("tmp");
    let scrubbed = |path: &Path| Vault::scrub(path, &VerifyOptions::default(), &VerifyProgress::default());
    assert!(matches!(scrubbed(&nothing), Err(Error::NoVault { .. })));
    let header = std::fs::read(made.vault.join("header")).expect("header");
    let mut newer = header.clone();
    newer[8] = 2;
    for name in ["header", "header-copy"] {
        std::fs::write(made.vault.join(name), &newer).expect("newer");
    }
    assert_eq!(scrubbed(&made.vault).expect_err("refused").kind(), ErrorKind::Unsupported);
    // Both copies lost: the segments are checked all the same, and only their vault can't be.
    for name in ["header", "header-copy"] {
        std::fs::write(made.vault.join(name), &header[..90]).expect("cut");
    }
    let report = scrub(&made.vault);
    assert_eq!(places(report.damage), [("header".to_owned(), 0), ("header-copy".to_owned(), 0)]);
    assert!(report.records > 100 && report.coverage.not_remembered.is_some());
}
