//! Promise 3: a file that is gone, cut short, swapped or foreign touches what needs it, and nothing else.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::files;
use icecore::media::ReadMode;
use icecore::{Error, ErrorKind, Vault};

struct Made {
    folder: tempfile::TempDir,
    vault: PathBuf,
    /// Machine, id of the point, bytes: each point's data is in segments of its own.
    points: Vec<(&'static str, String, Vec<u8>)>,
}

fn make() -> Made {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let mut points = Vec::new();
    for (seed, machine) in [(1, "web"), (2, "db"), (3, "web"), (4, "db")] {
        let bytes = common::noise(seed, 100_000);
        let report = common::backup_bytes(&vault, machine, &[("os", &bytes)]).expect("backup");
        points.push((machine, report.point.id.clone(), bytes));
    }
    Made { folder, vault: path, points }
}

/// Reads every point; returns those that can be read, after comparing their bytes.
fn readable(made: &Made, vault: &Vault) -> Vec<usize> {
    let mut found = Vec::new();
    for (number, (machine, point, bytes)) in made.points.iter().enumerate() {
        match vault.point(machine, point).and_then(|point| common::disk_bytes(vault, &point, "os")) {
            Ok(read) => {
                common::assert_same(&read, bytes, machine);
                found.push(number);
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Caller), "{error}"),
        }
    }
    found
}

fn open(path: &Path, mode: ReadMode) -> Vault {
    common::open_with(path, mode).expect("a damaged segment or entry does not close the vault")
}

#[test]
fn a_segment_that_is_gone_empty_or_cut_takes_only_its_own_point() {
    let made = make();
    let mut hits = [0; 4];
    for file in files(&made.vault.join("segments")) {
        let original = std::fs::read(&file).expect("segment");
        let mut damages = vec![None, Some(Vec::new()), Some(b"garbage".repeat(40))];
        damages.extend([1, 100, 192, 193, 300, original.len() / 2].map(|keep| Some(original[..keep].to_vec())));
        // From the end the table goes first: what is whole before the cut is found without it.
        let kept = [1, 96, 97, 150].map(|cut| Some(original[..original.len() - cut].to_vec()));
        for (number, damage) in damages.into_iter().chain(kept).enumerate() {
            for index in [true, false] {
                match &damage {
                    Some(bytes) => std::fs::write(&file, bytes).expect("damage"),
                    None => drop(std::fs::remove_file(&file)),
                }
                let aside = made.folder.path().join("index");
                if !index {
                    std::fs::rename(made.vault.join("index"), &aside).expect("aside");
                }
                for mode in [ReadMode::Map, ReadMode::Pread] {
                    let left = readable(&made, &open(&made.vault, mode));
                    if number < 9 {
                        assert_eq!(left.len(), 3, "damage {number} of {}, index {index}", file.display());
                        (0..4).filter(|point| !left.contains(point)).for_each(|point| hits[point] += 1);
                    } else {
                        assert_eq!(left.len(), 4, "cut {number} of {}, index {index}", file.display());
                    }
                }
                if !index {
                    std::fs::rename(&aside, made.vault.join("index")).expect("back");
                }
            }
        }
        std::fs::write(&file, original).expect("repair");
    }
    assert_eq!(hits, [2 * 9 * 4; 4], "each point has two segments");
    assert!(common::verify(&common::open(&made.vault)).is_clean());
}

#[test]
fn swapped_segments_take_their_own_points_only() {
    let made = make();
    let all = files(&made.vault.join("segments"));
    for (a, b) in [(0, 1), (2, 7), (3, 4)] {
        let (first, second) = (std::fs::read(&all[a]).expect("a"), std::fs::read(&all[b]).expect("b"));
        std::fs::write(&all[a], &second).expect("swap");
        std::fs::write(&all[b], &first).expect("swap");
        let vault = common::open(&made.vault);
        let left = readable(&made, &vault);
        assert!(left.len() == 2 || left.len() == 3, "{left:?}");
        assert!(!common::verify(&vault).is_clean());
        std::fs::write(&all[a], first).expect("repair");
        std::fs::write(&all[b], second).expect("repair");
    }
}

#[test]
fn a_catalog_entry_that_is_gone_or_misplaced_is_told_and_hides_itself_only() {
    let made = make();
    let other = make();
    let entries = files(&made.vault.join("catalog"));
    assert_eq!(entries.len(), 4);
    let foreign = std::fs::read(&files(&other.vault.join("catalog"))[0]).expect("foreign");
    for (number, entry) in entries.iter().enumerate() {
        let original = std::fs::read(entry).expect("entry");
        // From the other chain, from the other place of its own chain, from another vault, and none at all.
        let replacements = [(number + 2) % 4, number ^ 1].map(|from| std::fs::read(&entries[from]).expect("entry"));
        for bytes in replacements.into_iter().chain([foreign.clone(), Vec::new(), vec![0; 4096]]) {
            std::fs::write(entry, &bytes).expect("replace");
            let vault = common::open(&made.vault);
            assert_eq!(readable(&made, &vault).len(), 3);
            let damage = vault.catalog_damage();
            assert_eq!(damage.len(), 1, "{damage:?}");
            assert_eq!(damage[0].object, common::object(&made.vault, entry));
            assert!(!common::verify(&vault).is_clean());
        }
        std::fs::remove_file(entry).expect("remove");
        let vault = common::open(&made.vault);
        assert_eq!(readable(&made, &vault).len(), 3);
        // The last entry of a chain leaves no gap behind; nobody can miss what nothing refers to.
        let last = number % 2 == 1;
        assert_eq!(vault.catalog_damage().len(), usize::from(!last), "{:?}", vault.catalog_damage());
        std::fs::write(entry, original).expect("repair");
    }
    assert!(common::verify(&common::open(&made.vault)).is_clean());
}

#[test]
fn an_entry_copied_to_a_number_of_its_own_adds_no_point_and_later_backups_work() {
    for name in ["0000000000000002", "0000000000000100", "00ffffffffffffff", "ffffffffffffffff", "zz", "2"] {
        let mut made = make();
        let entry = files(&made.vault.join("catalog")).into_iter().next().expect("an entry");
        std::fs::copy(&entry, entry.with_file_name(format!("{name}.entry"))).expect("copy");
        let vault = common::open(&made.vault);
        assert_eq!(readable(&made, &vault).len(), 4, "{name}");
        for (seed, machine) in [(8, "web"), (9, "db")] {
            let bytes = common::noise(seed, 50_000);
            let report = common::backup_bytes(&vault, machine, &[("os", &bytes)]).expect(name);
            made.points.push((machine, report.point.id.clone(), bytes));
        }
        assert_eq!(readable(&made, &common::open(&made.vault)).len(), 6, "{name}");
    }
}

#[test]
fn header_and_slots_that_are_gone_or_foreign_are_told_apart() {
    let made = make();
    let other = make();
    let (header, slot) = (made.vault.join("header"), files(&made.vault.join("keys")).remove(0));
    let (header_bytes, slot_bytes) = (std::fs::read(&header).expect("header"), std::fs::read(&slot).expect("slot"));
    let refused = || common::open_with(&made.vault, ReadMode::Map).map(|_| ()).expect_err("refused");

    // Another vault's header beside the copy of our own: the copy opens, and verify names the stranger.
    for (stranger, name) in [("header", "header"), ("header-copy", "header-copy")] {
        std::fs::copy(other.vault.join("header"), made.vault.join(stranger)).expect("copy");
        let vault = common::open(&made.vault);
        assert_eq!(readable(&made, &vault).len(), 4);
        let named: Vec<String> =
            common::verify(&vault).damage.iter().map(|error| format!("{:?}", error.object())).collect();
        assert_eq!(named, [format!("{:?}", Some(name))]);
        std::fs::write(made.vault.join(stranger), &header_bytes).expect("repair");
    }
    std::fs::remove_file(made.vault.join("header-copy")).expect("remove");
    std::fs::remove_file(&header).expect("remove");
    // There are key slots, so this is a vault that lost its header, and no empty place.
    assert!(matches!(refused(), Error::Damaged(damage) if damage.object == "header"));
    for wrong in [Vec::new(), header_bytes[..100].to_vec(), [header_bytes.as_slice(), b"x"].concat()] {
        std::fs::write(&header, wrong).expect("write");
        assert!(matches!(refused(), Error::Damaged(damage) if damage.object == "header"));
    }
    std::fs::copy(other.vault.join("header"), &header).expect("copy");
    assert_eq!(refused().kind(), ErrorKind::Damaged);
    std::fs::write(&header, &header_bytes).expect("repair");

    std::fs::remove_file(&slot).expect("remove");
    assert!(matches!(refused(), Error::WrongKey { slots: 0 }));
    // A slot of another vault opens nothing, and closes nothing either.
    let foreign = files(&other.vault.join("keys")).remove(0);
    std::fs::copy(&foreign, slot.with_file_name(foreign.file_name().expect("name"))).expect("copy");
    assert_eq!(refused().kind(), ErrorKind::Damaged);
    std::fs::write(&slot, &slot_bytes).expect("repair");
    for name in ["0000000000000000.slot", "ffffffffffffffff.slot"] {
        std::fs::copy(&foreign, slot.with_file_name(name)).expect("copy");
    }
    std::fs::copy(&foreign, slot.with_file_name(foreign.file_name().expect("name"))).expect("copy");
    assert_eq!(readable(&made, &common::open(&made.vault)).len(), 4);
}
