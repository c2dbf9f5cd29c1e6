//! Promise 3: what is damaged within its parity is made whole from that alone, with and without a key; what is damaged
//! beyond it, from a copy too; and parity that is damaged or gone is made again, of whole segments only.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::repair::{Made, content, flip, make_with, write};
use icecore::Vault;
use icecore::vault::{InitOptions, Repair, RepairProgress, RepairSources};

fn make() -> Made {
    make_with(&common::protected())
}

fn plan(made: &Made, keyless: bool, sources: RepairSources) -> Repair {
    if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan")
}

fn parity_of(made: &Made, segment: &Path) -> PathBuf {
    let name = segment.file_stem().expect("a name").to_string_lossy().into_owned();
    let parity = made.vault.join(format!("parity/{name}.par"));
    assert!(parity.is_file(), "{} is there", parity.display());
    parity
}

/// Overwrites a range of a file.
fn wreck(file: &Path, from: usize, to: usize) {
    let mut bytes = std::fs::read(file).expect("read");
    bytes[from..to].fill(0x5a);
    std::fs::write(file, bytes).expect("damage");
}

#[test]
fn from_parity_alone() {
    let made = make();
    for keyless in [false, true] {
        let (data, maps) = (made.segments(1).remove(0), made.segments(2).remove(0));
        let end = std::fs::metadata(&data).expect("stat").len() as usize;
        flip(&data, 70);
        flip(&data, 100_000);
        flip(&data, end - 50);
        flip(&maps, 3000);
        // A reader that is served from parity hides nothing from a repair.
        made.assert_whole();
        let before = content(&made.vault);
        let repair = plan(&made, keyless, RepairSources::default());
        assert_eq!(content(&made.vault), before, "a plan changes nothing");
        let found = repair.plan();
        assert_eq!(found.mended.len(), 2, "keyless {keyless}");
        assert!(found.mended.iter().all(|one| one.parity_bytes > 0 && one.foreign_bytes == 0 && !one.is_absent));
        assert!(found.ends_whole() && !found.damage.is_empty() && found.parity.is_empty() && found.records == 0);
        assert!(found.regained.is_empty(), "it can be read now: {:?}", found.regained);
        let report = write(&repair);
        assert_eq!((report.mended, report.parity, report.failures.len()), (2, 0, 0));
        made.assert_as_copied();
        assert!(common::verify(&common::open(&made.vault)).is_clean());
    }
}

#[test]
fn what_is_beyond_parity_comes_from_a_copy() {
    for keyless in [false, true] {
        let made = make();
        let data = made.segments(1).remove(0);
        let length = std::fs::metadata(&data).expect("stat").len() as usize;
        wreck(&data, length / 4, length / 2);
        let alone = plan(&made, keyless, RepairSources::default());
        assert!(alone.plan().mended.is_empty() && !alone.plan().ends_whole(), "parity does not reach so far");
        let repair = plan(&made, keyless, made.copied());
        assert!(repair.plan().mended[0].foreign_bytes > 0);
        assert_eq!(write(&repair).mended, 1);
        made.assert_as_copied();
        made.assert_whole();
    }
}

#[test]
fn a_segment_and_its_copy_that_lost_different_things() {
    for keyless in [false, true] {
        let made = make();
        let data = made.segments(1).remove(0);
        let length = std::fs::metadata(&data).expect("stat").len() as usize;
        std::fs::remove_file(parity_of(&made, &data)).expect("removed");
        wreck(&data, length / 2, length);
        wreck(&made.in_copy(&data), 0, length / 4);
        // Without parity in the vault, its first half and the copy's second make it; the copy's own parity is of no use.
        let repair = plan(&made, keyless, made.copied());
        let parity = &repair.plan().parity;
        assert_eq!((parity.len(), parity[0].is_absent), (1, true));
        let report = write(&repair);
        assert_eq!((report.mended, report.parity, report.failures.len()), (1, 1, 0));
        made.assert_whole();
        assert!(common::verify(&common::open(&made.vault)).parity.is_empty(), "the parity is whole again");
    }
}

#[test]
fn parity_that_is_damaged_or_gone_is_made_again() {
    let made = make();
    for keyless in [false, true] {
        let segments = made.segments(1);
        let (damaged, gone) = (parity_of(&made, &segments[0]), parity_of(&made, &segments[1]));
        let whole = content(&made.vault.join("parity"));
        let length = std::fs::metadata(&damaged).expect("stat").len() as usize;
        wreck(&damaged, length / 2, length / 2 + 100);
        std::fs::remove_file(&gone).expect("removed");
        let before = content(&made.vault);
        let repair = plan(&made, keyless, RepairSources::default());
        assert_eq!(content(&made.vault), before, "a plan changes nothing");
        let mut told: Vec<(&str, bool)> =
            repair.plan().parity.iter().map(|one| (one.object.as_str(), one.is_absent)).collect();
        told.sort_unstable();
        let (one, other) = (common::object(&made.vault, &damaged), common::object(&made.vault, &gone));
        let mut expected = vec![(one.as_str(), false), (other.as_str(), true)];
        expected.sort_unstable();
        assert_eq!(told, expected);
        assert!(repair.plan().has_work() && repair.plan().ends_whole());
        assert_eq!(write(&repair).parity, 2);
        assert_eq!(content(&made.vault.join("parity")), whole, "byte for byte as it was");
    }
}

#[test]
fn no_parity_is_made_of_damaged_bytes() {
    let made = make();
    let data = made.segments(1).remove(0);
    let parity = parity_of(&made, &data);
    let length = std::fs::metadata(&data).expect("stat").len() as usize;
    wreck(&data, length / 4, length / 2);
    flip(&parity, 5000);
    let before = std::fs::read(&parity).expect("parity");
    for keyless in [false, true] {
        let repair = plan(&made, keyless, RepairSources::default());
        assert!(repair.plan().parity.is_empty(), "keyless {keyless}");
        write(&repair);
        assert_eq!(std::fs::read(&parity).expect("parity"), before, "what is left of it stays");
    }
}

#[test]
fn what_only_parity_gives_of_a_segment_that_stays_damaged_is_stored_anew() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    // Long enough for more than one group of shards.
    let vault = common::init(&path, &InitOptions { segment_bytes: 32 << 20, ..common::protected() });
    let bytes = common::noise(1, 24 << 20);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    drop(vault);
    let data =
        common::files(&path.join("segments")).into_iter().max_by_key(|file| file.metadata().expect("stat").len());
    let data = data.expect("a segment");
    let parity = path.join("parity").join(data.with_extension("par").file_name().expect("a name"));
    let header = std::fs::read(&parity).expect("parity");
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
    let (shard, groups, most) = (1 << header[12], number(56), number(60));
    assert!(groups > 1, "{groups}");
    // One shard more than the first group can lose, and far from there one of the second.
    for lost in 1..=most + 1 {
        flip(&data, lost * groups * shard + shard / 2);
    }
    let middle = std::fs::metadata(&data).expect("stat").len() as usize / shard / groups / 2;
    flip(&data, (middle * groups + 1) * shard + shard / 2);

    let plan = |path: &Path| {
        Vault::plan_repair(path, Some(&common::password()), RepairSources::default(), &RepairProgress::default())
            .expect("a plan")
    };
    let repair = plan(&path);
    let found = repair.plan();
    assert_eq!((found.mended.len(), found.records, found.records_moved), (0, 1, 1));
    assert!(found.regained.is_empty() && found.left_damaged.len() == 1, "{found:?}");
    let lost: u64 = found.lost.iter().map(|lost| lost.range.bytes()).sum();
    assert!(lost >= (most as u64 + 1) * 4096, "{lost}");
    assert_eq!((write(&repair).records, plan(&path).plan().records), (1, 0));
    // Without the parity, only what was lost then is lost.
    std::fs::remove_file(&parity).expect("removed");
    let vault = common::open(&path);
    let report = common::verify(&vault);
    assert_eq!(report.hit.iter().map(|hit| hit.range.bytes()).sum::<u64>(), lost);
    let disk = vault.disk(&point, "os").expect("a disk");
    let mut read = vec![0; 4096];
    for (at, expected) in bytes.chunks(4096).enumerate().map(|(at, chunk)| (at as u64 * 4096, chunk)) {
        match disk.read(at, &mut read) {
            Ok(_) => assert!(read == expected, "other bytes at {at}"),
            Err(_) => assert!(report.hit.iter().any(|hit| hit.range.start <= at && at < hit.range.end), "{at}"),
        }
    }
}

#[test]
fn a_copys_own_parity_gives_what_the_copy_lost() {
    for keyless in [false, true] {
        let made = make();
        let data = made.segments(1).remove(0);
        let length = std::fs::metadata(&data).expect("stat").len() as usize;
        let middle = length / 2;
        std::fs::remove_file(parity_of(&made, &data)).expect("removed");
        // The same bytes are gone here and there; there, parity reaches so far.
        wreck(&data, middle, middle + 600);
        wreck(&made.in_copy(&data), middle, middle + 600);
        let repair = plan(&made, keyless, made.copied());
        assert!(repair.plan().mended.len() == 1 && repair.plan().ends_whole(), "keyless {keyless}");
        let report = write(&repair);
        assert_eq!((report.mended, report.parity, report.failures.len()), (1, 1, 0));
        made.assert_whole();
        assert!(common::verify(&common::open(&made.vault)).is_clean());
    }
}
