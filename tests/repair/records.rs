//! Promise 3: where a segment can't be made whole, what points need of it is stored anew, from a copy or the original disk.

use crate::common;
use crate::common::repair::{CHUNK, Made, content, flip, make, write};
use crate::common::sources::{Failing, Memory};
use icecore::Vault;
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::{OpenOptions, RepairProgress, RepairSources};

/// Breaks a segment in the vault and in the copy so that no union of both makes it whole: the same record in both.
fn damage_both(made: &Made) {
    let file = made.segments(1).remove(0);
    for at in [100_000, 200_000] {
        flip(&file, at);
    }
    flip(&made.in_copy(&file), 200_000);
}

/// Damages a part of every data segment of the vault.
fn damage_data(made: &Made) {
    for file in made.segments(1) {
        let mut bytes = std::fs::read(&file).expect("segment");
        let third = bytes.len() / 3;
        bytes[third..2 * third].fill(0);
        std::fs::write(&file, bytes).expect("damage");
    }
}

fn disk_of<'a>(made: &'a Made, machine: &str) -> &'a [u8] {
    &made.points.iter().rfind(|point| point.0 == machine).expect("a point").2
}

#[test]
fn from_a_copy_whose_segment_is_damaged_too() {
    let made = make();
    damage_both(&made);
    let before = content(&made.vault);
    let repair = made.plan(made.copied()).expect("a plan");
    let plan = repair.plan();
    assert_eq!(content(&made.vault), before, "a plan changes nothing");
    assert_eq!((plan.mended.len(), plan.records, plan.records_from_disks), (0, 1, 0));
    assert!(!plan.ends_whole() && plan.left_damaged.len() == 1);
    let bytes = |ranges: &[icecore::vault::DamagedRange]| -> u64 { ranges.iter().map(|hit| hit.range.bytes()).sum() };
    // Two points share what is damaged.
    assert_eq!((bytes(&plan.regained), bytes(&plan.lost)), (2 * CHUNK as u64, 2 * CHUNK as u64));
    let lost = plan.lost.clone();
    let copy_before = content(&made.copy);
    assert_eq!(write(&repair).records, 1);
    assert_eq!(content(&made.copy), copy_before, "the copy is only read");
    let hit = common::verify(&common::open(&made.vault)).hit;
    assert_eq!(hit.len(), lost.len());
    assert!(lost.iter().all(|range| hit.contains(range)), "what stays lost is what was told: {lost:?} {hit:?}");
}

#[test]
fn from_the_disk_of_one_machine() {
    let made = make();
    damage_data(&made);
    let disk = || Memory { bytes: disk_of(&made, "web").to_vec() };
    let repair = made.plan(RepairSources::default().disk(Some("web"), "os", disk())).expect("a plan");
    let plan = repair.plan();
    assert!(plan.records > 20 && plan.records == plan.records_from_disks, "{}", plan.records);
    assert!(!plan.lost.is_empty() && plan.lost.iter().any(|hit| hit.machine == "db"));
    let newest = &made.points[1].1;
    let name = common::open(&made.vault).point("web", newest).expect("the point").name.clone();
    assert!(!plan.lost.iter().any(|hit| hit.machine == "web" && hit.point == name), "the newest is regained");
    let report = write(&repair);
    assert_eq!((report.records, report.failures.len()), (plan.records, 0));
    let hit = common::verify(&common::open(&made.vault)).hit;
    assert_eq!(hit, plan.lost, "what stays lost is what was told");
    // The other machine's disk brings the rest, and whatever the first points do not share is gone.
    let sources = RepairSources::default().disk(None, "os", Memory { bytes: disk_of(&made, "db").to_vec() });
    write(&made.plan(sources).expect("a plan"));
    let vault = common::open(&made.vault);
    for (machine, id, bytes) in [&made.points[1], &made.points[3]] {
        let point = vault.point(machine, id).expect("the point");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("it reads"), bytes, machine);
    }
}

#[test]
fn a_disk_gives_maps_too_and_the_backup_role_suffices() {
    let made = make();
    let vault = common::open(&made.vault);
    let role = Credential::password(*b"backup only");
    vault.add_key(Role::Backup, &role, common::CHEAP).expect("key");
    drop(vault);
    // All maps and manifests are gone, and a part of the data; manifests are nowhere but in the copy.
    damage_data(&made);
    let meta = made.segments(2);
    for file in &meta {
        std::fs::remove_file(file).expect("removed");
    }
    for file in common::files(&made.copy.join("segments")) {
        let mut bytes = std::fs::read(&file).expect("segment");
        if bytes[12] == 1 {
            std::fs::remove_file(&file).expect("removed");
        } else {
            // The first record of each, a map node of the lowest level, and the trailer.
            bytes[192 + 96 + 40] ^= 1;
            let end = bytes.len() - 20;
            bytes[end] ^= 1;
            std::fs::write(&file, bytes).expect("damage");
        }
    }
    let mut sources = made.copied();
    for machine in ["web", "db"] {
        sources = sources.disk(Some(machine), "os", Memory { bytes: disk_of(&made, machine).to_vec() });
    }
    let repair = Vault::plan_repair(&made.vault, Some(&role), sources, &RepairProgress::default()).expect("a plan");
    assert_eq!(repair.plan().mended.len(), 0);
    let report = write(&repair);
    assert!(report.records > 20 && report.failures.is_empty());
    let vault = common::open(&made.vault);
    for (machine, id, bytes) in [&made.points[1], &made.points[3]] {
        let point = vault.point(machine, id).expect("the point");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("it reads"), bytes, machine);
    }
    assert!(Vault::open(&made.vault, &role, &OpenOptions::default()).is_ok());
}

#[test]
fn of_a_disk_that_changed_or_has_another_size_what_fits_is_taken() {
    for change in ["shorter", "longer", "changed", "unreadable", "empty"] {
        let made = make();
        damage_data(&made);
        let lost_without = common::verify(&common::open(&made.vault)).hit;
        let mut bytes = disk_of(&made, "web").to_vec();
        let mut bad = Vec::new();
        match change {
            "shorter" => bytes.truncate(200 * CHUNK + 7),
            "longer" => bytes.extend_from_slice(&common::noise(77, 50_000)),
            "changed" => bytes[..150 * CHUNK].fill(3),
            "unreadable" => bad.push(0..150 * CHUNK as u64),
            _ => bytes.clear(),
        }
        let sources = RepairSources::default().disk(Some("web"), "os", Failing { bytes, bad });
        let repair = made.plan(sources).expect("a plan");
        let plan = repair.plan();
        assert_eq!(plan.records > 0, change != "empty", "{change}");
        write(&repair);
        let hit = common::verify(&common::open(&made.vault)).hit;
        assert_eq!(hit, plan.lost, "{change}: what stays lost is what was told");
        let bytes = |hit: &[icecore::vault::DamagedRange]| -> u64 { hit.iter().map(|hit| hit.range.bytes()).sum() };
        assert_eq!(bytes(&hit) < bytes(&lost_without), change != "empty", "{change}");
    }
}

#[test]
fn a_manifest_that_is_lost_comes_from_the_copy() {
    let made = make();
    // Manifests are the last records of their segments.
    for file in made.segments(2) {
        let bytes = std::fs::read(&file).expect("segment");
        std::fs::write(&file, &bytes[..bytes.len() - 400]).expect("cut");
        let whole = std::fs::read(made.in_copy(&file)).expect("segment");
        // Of the copy nothing but the header of the first record is wrong: no union makes this whole.
        let mut wrong = whole.clone();
        wrong[192 + 3] ^= 1;
        std::fs::write(made.in_copy(&file), &wrong).expect("damage");
        flip(&file, 192 + 4);
    }
    let vault = common::open(&made.vault);
    let point = vault.point("web", &made.points[1].1).expect("the point");
    assert!(vault.manifest(&point).is_err(), "it is lost");
    drop(vault);
    let repair = made.plan(made.copied()).expect("a plan");
    assert!(repair.plan().mended.is_empty() && repair.plan().records >= 4);
    write(&repair);
    let vault = common::open(&made.vault);
    for (machine, id, _) in &made.points {
        vault.manifest(&vault.point(machine, id).expect("the point")).expect("the manifest is there again");
    }
}

#[test]
fn what_is_stored_twice_is_found_though_the_index_names_the_damaged_place() {
    let made = make();
    damage_both(&made);
    write(&made.plan(made.copied()).expect("a plan"));
    // The index is lost and made again of all tables, the damaged segment's included.
    std::fs::remove_dir_all(made.vault.join("index")).expect("removed");
    std::fs::create_dir(made.vault.join("index")).expect("made");
    let again = made.plan(RepairSources::default()).expect("a plan");
    assert_eq!(again.plan().lost.len(), 2, "one chunk of two points");
    let second = made.plan(made.copied()).expect("a plan");
    assert_eq!(second.plan().records, 0, "nothing is stored twice");
}

#[test]
fn what_is_whole_in_a_segment_without_table_moves_to_where_it_has_one() {
    let made = make();
    for file in made.segments(1).iter().chain(&made.segments(2)) {
        let length = std::fs::read(file).expect("segment").len();
        flip(file, length - 20);
    }
    assert!(!common::verify(&common::open(&made.vault)).is_clean());
    let repair = made.plan(RepairSources::default()).expect("a plan");
    let plan = repair.plan();
    assert!(plan.records > 600 && plan.records == plan.records_moved && plan.lost.is_empty(), "{}", plan.records);
    assert_eq!(write(&repair).records, plan.records);
    made.assert_whole();
    let report = common::verify(&common::open(&made.vault));
    assert!(report.is_clean() && !report.spare.is_empty(), "{:?}", report.damage);
    let again = made.plan(RepairSources::default()).expect("a plan");
    assert!(!again.plan().has_work() && again.plan().ends_whole(), "nothing moves twice");
}

#[test]
fn what_nobody_has_is_stored_again_by_the_next_backup() {
    let made = make();
    let data = made.segments(1).remove(0);
    for at in [50_000, 90_000, 130_000] {
        flip(&data, at);
    }
    let repair = made.plan(RepairSources::default()).expect("a plan");
    assert!(repair.plan().records_lost > 0 && !repair.plan().ends_whole());
    write(&repair);
    // Whoever follows the advice to back the machines up again gets points that are whole, older ones too.
    for (machine, id, bytes) in &made.points {
        let vault = common::open(&made.vault);
        let again = common::backup_bytes(&vault, machine, &[("os", bytes)]).expect("backup").point;
        common::assert_same(&common::disk_bytes(&vault, &again, "os").expect("it reads"), bytes, id);
    }
    made.assert_whole();
}
