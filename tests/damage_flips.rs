//! Promise 2: one flipped byte anywhere in a vault gives the right bytes or an error that names the file. Never others.

mod common;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{Random, files, object};
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, TRAILER_BYTES, padded};
use icecore::media::ReadMode;
use icecore::{Error, ErrorKind, Result, Vault};

/// Two machines, three points of one and two of the other, data and zeros, two disks.
struct Fixture {
    _folder: tempfile::TempDir,
    vault: PathBuf,
    /// Machine, id of the point, disk, bytes.
    disks: Vec<(&'static str, String, &'static str, Vec<u8>)>,
}

fn fixture() -> &'static Fixture {
    static MADE: OnceLock<Fixture> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = common::init(&path, &common::small());
        let mut disks = Vec::new();
        let mut os = common::noise(1, 60_000);
        for (day, machine) in [(1, "web"), (2, "db"), (3, "web"), (4, "db"), (5, "web")] {
            os[day * 9000..day * 9000 + 50].fill(day as u8);
            let data = [common::text(day as u64, 20_000), vec![0; 30_000]].concat();
            let report = common::backup_bytes(&vault, machine, &[("os", &os), ("data", &data)]).expect("backup");
            disks.push((machine, report.point.id.clone(), "os", os.clone()));
            disks.push((machine, report.point.id.clone(), "data", data));
        }
        Fixture { _folder: folder, vault: path, disks }
    })
}

/// What an error says of the place: the file's name in the vault.
fn names(error: &Error, name: &str) -> bool {
    error.to_string().contains(name)
}

fn read(vault: &Vault, machine: &str, point: &str, disk: &str) -> Result<Vec<u8>> {
    common::disk_bytes(vault, &*vault.point(machine, point)?, disk)
}

/// Opens a damaged vault and reads everything. Returns how many disks could not be read.
fn check(path: &Path, damaged: &str, mode: ReadMode) -> usize {
    let vault = match common::open_with(path, mode) {
        Ok(vault) => vault,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported), "{damaged}: {error}");
            assert!(names(&error, damaged), "{damaged}: {error}");
            assert!(damaged == "header" || damaged.starts_with("keys/"), "{damaged} must not close the vault: {error}");
            return fixture().disks.len();
        }
    };
    let mut lost = 0;
    for (machine, point, disk, expected) in &fixture().disks {
        match read(&vault, machine, point, disk) {
            Ok(bytes) => common::assert_same(&bytes, expected, &format!("{machine} {disk} with {damaged} damaged")),
            Err(Error::UnknownPoint { .. } | Error::UnknownMachine { .. }) if damaged.starts_with("catalog/") => {
                let told = vault.catalog_damage().iter().any(|damage| damage.object == damaged);
                assert!(told, "{damaged} hides a point and is not reported");
                lost += 1;
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported), "{damaged}: {error}");
                assert!(names(&error, damaged) || names(&error, "map node"), "{damaged}: {error}");
                lost += 1;
            }
        }
    }
    lost
}

/// Flips bits of one byte of a file of a copy of the vault, and puts it back.
fn flip(vault: &Path, file: &Path, at: usize, bits: u8) -> usize {
    let original = std::fs::read(file).expect("file");
    let mut bytes = original.clone();
    bytes[at] ^= bits;
    std::fs::write(file, &bytes).expect("damage");
    let mode = if at.is_multiple_of(2) { ReadMode::Map } else { ReadMode::Pread };
    let lost = check(vault, &object(vault, file), mode);
    std::fs::write(file, original).expect("repair");
    lost
}

fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("vault");
    common::copy_folder(&fixture().vault, &path);
    path
}

#[test]
fn in_one_of_the_headers_it_costs_nothing_and_is_told() {
    let folder = common::scratch();
    let vault = copy(folder.path());
    for name in ["header", "header-copy"] {
        let file = vault.join(name);
        let whole = std::fs::read(&file).expect("a header");
        for at in 0..whole.len() {
            assert_eq!(flip(&vault, &file, at, 1 << (at % 8)), 0, "byte {at} of {name}");
        }
        std::fs::write(&file, &whole[1..]).expect("damage");
        let report = common::verify(&common::open(&vault));
        assert!(report.damage.iter().any(|error| names(error, name)), "{name}: {:?}", report.damage);
        std::fs::write(&file, &whole).expect("repair");
    }
}

#[test]
fn in_the_last_header_or_a_slot() {
    let folder = common::scratch();
    let vault = copy(folder.path());
    std::fs::remove_file(vault.join("header-copy")).expect("the other header");
    for file in [vec![vault.join("header")], files(&vault.join("keys"))].concat() {
        for at in 0..std::fs::metadata(&file).expect("stat").len() as usize {
            let lost = flip(&vault, &file, at, 1 << (at % 8));
            assert!(lost > 0, "byte {at} of {} is not checked", file.display());
        }
    }
}

#[test]
fn in_a_catalog_entry_it_hides_that_point_only() {
    let folder = common::scratch();
    let vault = copy(folder.path());
    for file in files(&vault.join("catalog")) {
        let mut random = Random(3);
        // The magic and version, and of all the rest a part.
        for at in (0..std::fs::metadata(&file).expect("stat").len() as usize).filter(|at| *at < 13 || at % 7 == 0) {
            let lost = flip(&vault, &file, at, 1 << random.below(8));
            assert_eq!(lost, 2, "byte {at} of {}: the two disks of one point", file.display());
        }
    }
}

/// The places of a segment worth damaging: all of the frames, a few bytes of each payload.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..HEADER_BYTES).step_by(3).collect();
    let mut at = HEADER_BYTES;
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
        let Ok(header) = RecordHeader::decode(header) else { break };
        let payload = at + RECORD_HEADER_BYTES;
        let end = payload + header.stored_bytes as usize;
        places.extend((at..payload).step_by(9));
        places.extend([payload, payload + header.stored_bytes as usize / 2, end - 1]);
        at = payload + padded(header.stored_bytes) as usize;
        places.extend((end..at).take(1));
    }
    let trailer = bytes.len() - TRAILER_BYTES;
    places.extend((at..trailer).step_by(11));
    places.extend((trailer..bytes.len()).step_by(2));
    places
}

#[test]
fn in_a_segment_with_and_without_index() {
    let folder = common::scratch();
    let vault = copy(folder.path());
    for index in [true, false] {
        if !index {
            std::fs::remove_dir_all(vault.join("index")).expect("remove");
            std::fs::create_dir(vault.join("index")).expect("folder");
        }
        let mut damaged = 0;
        for file in files(&vault.join("segments")) {
            let mut random = Random(7);
            for at in places(&std::fs::read(&file).expect("segment")) {
                // A part of all places, another one with the index than without.
                if random.below(6) == u64::from(index) {
                    damaged += usize::from(flip(&vault, &file, at, 1 << random.below(8)) > 0);
                }
            }
        }
        assert!(damaged > 50, "{damaged} flips hurt a point: else this test looks at the wrong places");
    }
}

#[test]
fn in_the_index_it_hurts_nobody() {
    let folder = common::scratch();
    let vault = copy(folder.path());
    for file in files(&vault.join("index")) {
        let length = std::fs::metadata(&file).expect("stat").len() as usize;
        // The header, the buckets, the entries; the padding between has nothing to say.
        let regions = [0..160, 4096..4104, 8192..length];
        for at in regions.into_iter().flatten().filter(|at| at % 5 == 0) {
            assert_eq!(flip(&vault, &file, at, 1 << (at % 8)), 0, "byte {at} of {}", file.display());
        }
    }
}
