//! Promise 3: points that the catalog lost are found in the segments, told apart from others, and entered when asked for.

use std::collections::BTreeSet;

use crate::common;
use crate::common::repair::{Made, content, flip, make, write};
use icecore::Vault;
use icecore::vault::{GcOptions, GcProgress, OpenOptions, RepairSources, SoftDelete};

fn salvage(made: &Made) -> Vault {
    let options = OpenOptions { salvage: true, ..OpenOptions::default() };
    Vault::open(&made.vault, &common::password(), &options).expect("open")
}

/// Ids of the points that a vault lists, and whether each is in the catalog.
fn listed(vault: &Vault) -> BTreeSet<(String, bool)> {
    let machines = vault.machines();
    let points = machines.iter().flat_map(|machine| vault.points(machine).expect("points"));
    points.map(|point| (point.id.clone(), !point.is_found)).collect()
}

fn expected(made: &Made, in_catalog: impl Fn(usize) -> bool) -> BTreeSet<(String, bool)> {
    made.points.iter().enumerate().map(|(number, point)| (point.1.clone(), in_catalog(number))).collect()
}

fn assert_readable(made: &Made, vault: &Vault) {
    for (machine, id, bytes) in &made.points {
        let point = vault.point(machine, id).expect("the point");
        common::assert_same(&common::disk_bytes(vault, &point, "os").expect("it reads"), bytes, machine);
        let path = format!("{machine}/{}/disks/os.raw", point.name);
        common::assert_same(&common::tree_bytes(vault, &path).expect("the tree has it"), bytes, &path);
    }
}

#[test]
fn though_the_whole_catalog_is_gone() {
    let made = make();
    std::fs::remove_dir_all(made.vault.join("catalog")).expect("removed");
    std::fs::create_dir(made.vault.join("catalog")).expect("made");
    assert!(common::open(&made.vault).machines().is_empty());
    let vault = salvage(&made);
    assert_eq!(vault.salvaged().expect("salvaged").points, 4);
    assert_eq!(listed(&vault), expected(&made, |_| false));
    assert_readable(&made, &vault);
    assert_eq!(common::verify(&vault).points, 4, "a check walks them too");
}

#[test]
fn beside_those_whose_entries_are_whole() {
    let made = make();
    // One entry is gone from the midst, one damaged at the end of the other chain.
    let entries = common::files(&made.vault.join("catalog"));
    std::fs::remove_file(&entries[0]).expect("removed");
    flip(&entries[3], 120);
    let vault = salvage(&made);
    let known = listed(&common::open(&made.vault));
    assert_eq!(known.len(), 2, "each entry is good for itself");
    assert_eq!(vault.salvaged().expect("salvaged").points, 2);
    assert_eq!(listed(&vault), expected(&made, |number| known.contains(&(made.points[number].1.clone(), true))));
    assert!(vault.catalog_damage().len() >= 2, "what is missing is told");
    assert_readable(&made, &vault);
}

#[test]
fn by_walking_over_records_where_a_table_is_lost_too() {
    let made = make();
    std::fs::remove_dir_all(made.vault.join("catalog")).expect("removed");
    for file in made.segments(2) {
        let length = std::fs::read(&file).expect("segment").len();
        flip(&file, length - 20);
        flip(&file, 70);
    }
    // With their headers they lost the proof of what they are.
    let vault = salvage(&made);
    assert_eq!(vault.salvaged().expect("salvaged").points, 0);
    assert_eq!(vault.salvaged().expect("salvaged").unreadable.len(), 4, "they are seen, and can't be read");
    for file in made.segments(2) {
        flip(&file, 70);
    }
    let vault = salvage(&made);
    assert_eq!(listed(&vault), expected(&made, |_| false));
    assert_readable(&made, &vault);
}

#[test]
fn a_repair_enters_those_that_are_whole_when_asked_to() {
    let made = make();
    std::fs::remove_dir_all(made.vault.join("catalog")).expect("removed");
    std::fs::create_dir(made.vault.join("catalog")).expect("made");
    let before = content(&made.vault);
    let repair = made.plan(RepairSources::default()).expect("a plan");
    assert_eq!((repair.plan().found.len(), repair.plan().adopted.len()), (4, 0));
    assert!(!repair.plan().has_work(), "nobody asked for it");
    // The second machine's data is damaged: points that are not whole are no points.
    let vault = salvage(&made);
    let damaged = &made.points[3];
    let point = vault.point(damaged.0, &damaged.1).expect("the point");
    let unique = vault.disk(&point, "os").expect("the disk");
    assert!(unique.size_bytes() > 0);
    drop((vault, repair));
    assert_eq!(content(&made.vault), before);
    let repair = made.plan(RepairSources::default().adopt()).expect("a plan");
    assert_eq!(repair.plan().adopted.len(), 4);
    assert_eq!(write(&repair).adopted, 4);
    let vault = common::open(&made.vault);
    assert_eq!(listed(&vault), expected(&made, |_| true));
    assert!(vault.catalog_damage().is_empty());
    assert_readable(&made, &vault);
    assert!(common::verify(&vault).is_clean());
    let again = made.plan(RepairSources::default().adopt()).expect("a plan");
    assert!(again.plan().found.is_empty() && !again.plan().has_work());
}

#[test]
fn one_that_is_not_whole_is_not_entered() {
    let made = make();
    std::fs::remove_dir_all(made.vault.join("catalog")).expect("removed");
    for file in made.segments(1) {
        flip(&file, 300);
    }
    let repair = made.plan(RepairSources::default().adopt()).expect("a plan");
    assert_eq!(repair.plan().found.len(), 4);
    assert!(repair.plan().adopted.len() < 4, "{:?}", repair.plan().adopted);
    assert_eq!(write(&repair).adopted, repair.plan().adopted.len() as u64);
    assert!(common::verify(&common::open(&made.vault)).hit.is_empty(), "no point came that has a hole");
}

#[test]
fn what_was_given_back_since_it_was_planned_is_not_entered() {
    let made = make();
    std::fs::remove_dir_all(made.vault.join("catalog")).expect("removed");
    std::fs::create_dir(made.vault.join("catalog")).expect("made");
    let repair = made.plan(RepairSources::default().adopt()).expect("a plan");
    assert_eq!(repair.plan().adopted.len(), 4);
    let options = GcOptions { drops_unlisted: true, ..GcOptions::default() };
    common::open(&made.vault).gc(&options, &GcProgress::default()).expect("all of it is given back");
    let report = write(&repair);
    assert_eq!((report.adopted, report.failures.len()), (0, 4));
    assert!(common::open(&made.vault).machines().is_empty(), "no point is listed that can't be read");
}

#[test]
fn a_point_that_was_purged_is_no_loss_where_its_entry_comes_back() {
    let made = make();
    let vault = common::open(&made.vault);
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let point = vault.points("web").expect("points").remove(0);
    vault.forget(&point, "", false).expect("forgotten");
    vault.gc(&GcOptions::default(), &GcProgress::default()).expect("purged");
    drop(vault);
    std::fs::remove_dir_all(&made.copy).expect("removed");
    common::copy_folder(&made.vault, &made.copy);
    // The entry that made it is gone here; what came after it is not, or is gone too.
    for lost in [1, 4] {
        let chain = {
            let heads = common::open(&made.copy).heads();
            let head = heads.chains.iter().find(|head| head.machine.as_deref() == Some("web"));
            made.vault.join("catalog").join(head.expect("a chain").chain_hex())
        };
        for file in common::files(&chain).into_iter().take(lost) {
            std::fs::remove_file(file).expect("removed");
        }
        let repair = made.plan(made.copied()).expect("a plan");
        assert!(repair.plan().lost.is_empty() && repair.plan().ends_whole(), "{:?}", repair.plan().lost);
        assert_eq!(write(&repair).objects, lost as u64);
        made.assert_as_copied();
    }
}

#[test]
fn a_chain_that_does_not_fit_together_is_told() {
    let made = make();
    // The first entry of a chain gives its place to another that is as whole: what follows binds the other.
    let other = common::scratch();
    let vault = other.path().join("vault");
    common::copy_folder(&made.vault, &vault);
    let entries = common::files(&vault.join("catalog"));
    let first = entries.iter().find(|file| file.ends_with("0000000000000000.entry")).expect("an entry");
    let machine = {
        let opened = common::open(&vault);
        let heads = opened.heads();
        let folder =
            first.parent().and_then(|folder| folder.file_name()).expect("a folder").to_string_lossy().into_owned();
        let head = heads.chains.iter().find(|head| head.chain_hex() == folder);
        head.and_then(|head| head.machine.clone()).expect("a machine")
    };
    std::fs::remove_dir_all(first.parent().expect("a folder")).expect("removed");
    common::backup_bytes(&common::open(&vault), &machine, &[("os", &common::noise(70, 50_000))]).expect("backup");
    std::fs::copy(first, made.vault.join(common::object(&vault, first))).expect("put in its place");
    let repair = made.plan(RepairSources::default()).expect("a plan");
    let is_chain = |error: &icecore::Error| matches!(error, icecore::Error::Damaged(damage) if matches!(damage.problem, icecore::error::Problem::Chain(..)));
    assert!(repair.plan().damage.iter().any(is_chain) && !repair.plan().ends_whole(), "{:?}", repair.plan().damage);
}
