//! Promise 3: `verify` lists exactly the points and ranges that damage touches, whoever asks and however it looks.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::files;
use icecore::Vault;
use icecore::format::key_slot::Role;
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType, padded};
use icecore::seal::Credential;
use icecore::vault::OpenOptions;

const CHUNK: usize = 4096;

struct Made {
    _folder: tempfile::TempDir,
    vault: PathBuf,
    points: Vec<(String, Vec<u8>)>,
}

/// Three points that share most of their chunks, in several segments.
fn make() -> Made {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let mut disk = common::noise(1, 400 * CHUNK + 100);
    let mut points = Vec::new();
    for day in 0..3 {
        disk[day * 100 * CHUNK..(day * 100 + 20) * CHUNK].copy_from_slice(&common::noise(10 + day as u64, 20 * CHUNK));
        let report = common::backup_bytes(&vault, "m", &[("os", &disk)]).expect("backup");
        points.push((report.point.name.clone(), disk.clone()));
    }
    vault.add_key(Role::Backup, &Credential::password(*b"backup only"), common::CHEAP).expect("key");
    Made { _folder: folder, vault: path, points }
}

/// What a reader finds: per point, each chunk that can't be read, as ranges.
fn unreadable(made: &Made, vault: &Vault) -> Vec<(String, u64, u64)> {
    let mut found: Vec<(String, u64, u64)> = Vec::new();
    for (name, expected) in &made.points {
        let Ok(map) = vault.point("m", name).and_then(|point| vault.disk(&point, "os")) else {
            found.push((name.clone(), 0, 0));
            continue;
        };
        for (chunk, expected) in (0_u64..).zip(expected.chunks(CHUNK)) {
            let (start, mut buffer) = (chunk * CHUNK as u64, vec![0; expected.len()]);
            match map.read(start, &mut buffer) {
                Ok(_) => common::assert_same(&buffer, expected, name),
                Err(_) => {
                    let end = start + expected.len() as u64;
                    match found.last_mut().filter(|last| last.0 == *name && last.2 == start) {
                        Some(last) => last.2 = end,
                        None => found.push((name.clone(), start, end)),
                    }
                }
            }
        }
    }
    found
}

fn told(vault: &Vault) -> Vec<(String, u64, u64)> {
    let report = common::verify(vault);
    assert_eq!(report.is_clean(), report.damage.is_empty() && report.hit.is_empty());
    report.hit.into_iter().map(|hit| (hit.point, hit.range.start, hit.range.end)).collect()
}

/// Verify of a fresh instance and of one that was open before must tell what a reader meets.
#[track_caller]
fn compare(made: &Made, opened_before: &Vault, what: &str) -> usize {
    let expected = unreadable(made, &common::open(&made.vault));
    assert_eq!(told(&common::open(&made.vault)), expected, "{what}");
    assert_eq!(told(opened_before), expected, "{what}, opened before");
    let backup_role = Vault::open(&made.vault, &Credential::password(*b"backup only"), &OpenOptions::default());
    assert_eq!(told(&backup_role.expect("open")), expected, "{what}, without the right to read");
    expected.len()
}

/// Offsets of a segment's records and their types.
fn records(bytes: &[u8]) -> Vec<(usize, RecordHeader)> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
        let Ok(header) = RecordHeader::decode(header) else { break };
        found.push((at, header));
        at += RECORD_HEADER_BYTES + padded(header.stored_bytes) as usize;
    }
    found
}

fn largest(vault: &Path, kind: RecordType) -> (PathBuf, Vec<u8>) {
    let all = files(&vault.join("segments")).into_iter().map(|file| (file.clone(), std::fs::read(file).expect("read")));
    let mut fitting: Vec<_> = all.filter(|(_, bytes)| records(bytes)[0].1.kind == kind).collect();
    fitting.sort_by_key(|(_, bytes)| bytes.len());
    fitting.pop().expect("a segment")
}

#[test]
fn single_chunks() {
    let made = make();
    let before = common::open(&made.vault);
    assert_eq!(compare(&made, &before, "nothing"), 0);
    let (file, bytes) = largest(&made.vault, RecordType::Chunk);
    let records = records(&bytes);
    for (what, at) in [
        ("a payload", records[3].0 + 200),
        ("a record header", records[40].0 + 5),
        ("a record header's id", records[41].0 + 50),
        ("the last payload", records[records.len() - 1].0 + 96),
    ] {
        let mut wrong = bytes.clone();
        wrong[at] ^= 4;
        std::fs::write(&file, wrong).expect("damage");
        let before = common::open(&made.vault);
        assert!(compare(&made, &before, what) > 0, "{what}");
    }
    // Two at once, and the table, so that only the records themselves can tell.
    let mut wrong = bytes.clone();
    let table = wrong.len() - 150;
    for at in [records[7].0 + 300, records[8].0 + 8, table] {
        wrong[at] ^= 1;
    }
    std::fs::write(&file, wrong).expect("damage");
    let before = common::open(&made.vault);
    assert!(compare(&made, &before, "a payload, a header and the table") > 0);
}

#[test]
fn whole_segments() {
    let made = make();
    for kind in [RecordType::Chunk, RecordType::MapNode] {
        let (file, bytes) = largest(&made.vault, kind);
        let mut header = bytes.clone();
        header[70] ^= 1;
        for (what, wrong) in [
            ("a header", Some(header)),
            ("a cut", Some(bytes[..bytes.len() / 2].to_vec())),
            ("nothing left", Some(Vec::new())),
            ("garbage", Some(common::noise(9, 5000))),
            ("a missing file", None),
        ] {
            match wrong {
                Some(wrong) => std::fs::write(&file, wrong).expect("damage"),
                None => std::fs::remove_file(&file).expect("remove"),
            }
            let before = common::open(&made.vault);
            assert!(compare(&made, &before, what) > 0, "{what} in {kind:?}");
            std::fs::write(&file, &bytes).expect("repair");
        }
    }
    assert_eq!(compare(&made, &common::open(&made.vault), "repaired"), 0);
}

#[test]
fn damage_that_came_after_the_vault_was_read() {
    let made = make();
    let before = common::open(&made.vault);
    assert_eq!(unreadable(&made, &before), [], "and now everything is in the caches");
    for kind in [RecordType::Chunk, RecordType::MapNode] {
        let (file, bytes) = largest(&made.vault, kind);
        let mut wrong = bytes.clone();
        wrong[records(&bytes)[0].0 + 120] ^= 1;
        std::fs::write(&file, wrong).expect("damage");
        assert!(compare(&made, &before, "later damage") > 0);
        std::fs::write(&file, &bytes).expect("repair");
    }
}

#[test]
fn a_damaged_index_is_no_damage() {
    let made = make();
    for file in files(&made.vault.join("index")) {
        let mut bytes = std::fs::read(&file).expect("run");
        bytes[8192..].iter_mut().step_by(64).for_each(|byte| *byte ^= 0x10);
        std::fs::write(&file, bytes).expect("damage");
    }
    assert_eq!(compare(&made, &common::open(&made.vault), "index"), 0);
}
