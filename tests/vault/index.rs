//! Promise 2: the index may be deleted, garbage or another vault's at any time: reads and backups are right all the same.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::{Random, files};
use icecore::vault::OpenOptions;
use icecore::{Result, Vault};

struct Made {
    _folder: tempfile::TempDir,
    vault: PathBuf,
    points: Vec<(String, Vec<u8>)>,
}

fn make(days: u64) -> Made {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let mut bytes = common::noise(1, 600_000);
    let mut points = Vec::new();
    for day in 0..days {
        let at = (day as usize * 37_000) % 500_000;
        bytes[at..at + 10_000].copy_from_slice(&common::noise(50 + day, 10_000));
        let report = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
        points.push((report.point.id.clone(), bytes.clone()));
    }
    Made { _folder: folder, vault: path, points }
}

fn check(made: &Made, vault: &Vault, what: &str) -> Result<()> {
    for (id, bytes) in &made.points {
        common::assert_same(&common::disk_bytes(vault, &*vault.point("m", id)?, "os")?, bytes, what);
    }
    Ok(())
}

/// Reads, an unchanged backup, and reads by another instance, each from a fresh open.
fn everything_works(made: &Made, what: &str) {
    check(made, &common::open(&made.vault), what).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (_, last) = made.points.last().expect("a point");
    let report = common::backup_bytes(&common::open(&made.vault), "m", &[("os", last)]).expect(what);
    // What the index has lost is stored again at worst, nothing else.
    assert!(report.manifest.disks[0].new_bytes <= last.len() as u64);
    let vault = common::open(&made.vault);
    let point = vault.point("m", &report.point.id).expect("point");
    common::assert_same(&common::restored(&vault, &point, "os").expect(what), last, what);
    assert!(common::verify(&vault).is_clean(), "{what}");
}

fn damage(vault: &Path, with: &mut dyn FnMut(Vec<u8>) -> Option<Vec<u8>>) {
    for file in files(&vault.join("index")) {
        let bytes = std::fs::read(&file).expect("run");
        match with(bytes) {
            Some(bytes) => std::fs::write(&file, bytes).expect("write"),
            None => std::fs::remove_file(&file).expect("remove"),
        }
    }
}

#[test]
fn whatever_became_of_the_index() {
    let other = make(2);
    let foreign = std::fs::read(&files(&other.vault.join("index"))[0]).expect("run");
    let mut random = Random(3);
    type With<'a> = Box<dyn FnMut(Vec<u8>) -> Option<Vec<u8>> + 'a>;
    let damages: Vec<(&str, With<'_>)> = vec![
        ("deleted", Box::new(|_| None)),
        ("empty", Box::new(|_| Some(Vec::new()))),
        ("garbage", Box::new(|bytes| Some(common::noise(4, bytes.len())))),
        ("cut", Box::new(|bytes| Some(bytes[..bytes.len() - 32].to_vec()))),
        ("longer", Box::new(|bytes| Some([bytes.as_slice(), &[0; 32]].concat()))),
        ("another vault's", Box::new(|_| Some(foreign.clone()))),
        (
            "all entries zero",
            Box::new(|mut bytes| {
                bytes[8192..].fill(0);
                Some(bytes)
            }),
        ),
        (
            "all entries garbage",
            Box::new(|mut bytes| {
                let length = bytes.len() - 8192;
                bytes[8192..].copy_from_slice(&common::noise(6, length));
                Some(bytes)
            }),
        ),
        (
            "all buckets garbage",
            Box::new(|mut bytes| {
                bytes[4096..8192].copy_from_slice(&common::noise(7, 4096));
                Some(bytes)
            }),
        ),
        (
            "places swapped",
            Box::new(|mut bytes| {
                // Tags stay where they are, each with the place of its neighbour.
                let (entries, _) = bytes[8192..].as_chunks_mut::<64>();
                for pair in entries {
                    let (first, second) = pair.split_at_mut(32);
                    first[16..].swap_with_slice(&mut second[16..]);
                }
                Some(bytes)
            }),
        ),
        (
            "many bits flipped",
            Box::new(move |mut bytes| {
                for _ in 0..bytes.len() / 40 {
                    let at = 8192 + random.below(bytes.len() as u64 - 8192) as usize;
                    bytes[at] ^= 1 << random.below(8);
                }
                Some(bytes)
            }),
        ),
    ];
    for (what, mut with) in damages {
        let made = make(3);
        damage(&made.vault, &mut with);
        everything_works(&made, what);
    }
}

#[test]
fn a_deleted_index_costs_no_second_copy_of_anything() {
    let made = make(3);
    damage(&made.vault, &mut |_| None);
    let (_, last) = &made.points[2];
    let vault = Vault::open(&made.vault, &common::password(), &OpenOptions::default()).expect("open");
    let report = common::backup_bytes(&vault, "clone", &[("os", last)]).expect("backup");
    assert_eq!(report.manifest.disks[0].new_bytes, 0, "the segments tell what they hold");
}

#[test]
fn who_opens_a_vault_without_an_index_makes_it_for_all() {
    let made = make(20);
    damage(&made.vault, &mut |_| None);
    let vault = common::open(&made.vault);
    check(&made, &vault, "without an index").expect("read");
    drop(vault);
    assert_ne!(files(&made.vault.join("index")).len(), 0, "the next one need not read all tables again");
    everything_works(&made, "after it was made");
}

#[test]
fn the_number_of_runs_stays_small_and_they_stay_right() {
    let made = make(40);
    let runs = files(&made.vault.join("index")).len();
    assert!(runs <= 8, "{runs} runs after 40 backups");
    let vault = common::open(&made.vault);
    check(&made, &vault, "after merging").expect("read");
    let stats = vault.stats().expect("stats");
    assert_eq!((stats.points, stats.index_runs), (40, runs as u64));
    everything_works(&made, "after merging");
}
