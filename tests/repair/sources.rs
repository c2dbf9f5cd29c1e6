//! Promise 3: what is given as a copy is looked at before it is believed, and is only read.

use crate::common;
use crate::common::repair::{content, flip, make, write};
use icecore::vault::RepairSources;
use icecore::{Error, ErrorKind};

#[test]
fn the_vault_itself_another_vault_and_no_vault_are_refused() {
    let made = make();
    let other = make();
    flip(&made.segments(1)[0], 5000);
    let link = made.folder.path().join("link");
    std::os::unix::fs::symlink(&made.vault, &link).expect("a link");
    let empty = made.folder.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let before = content(&made.vault);
    for keyless in [false, true] {
        let plan = |path: &std::path::Path| {
            let sources = RepairSources::default().copy(path);
            if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.map(|_| ()).expect_err("refused")
        };
        for (path, words) in
            [(&made.vault, "the vault itself"), (&link, "the vault itself"), (&other.vault, "another vault")]
        {
            let error = plan(path);
            assert!(matches!(&error, Error::Invalid { rule, .. } if rule.contains(words)), "{error}");
        }
        assert_eq!(plan(&empty).kind(), ErrorKind::NoVault);
        assert_eq!(plan(&made.folder.path().join("nowhere")).kind(), ErrorKind::NoVault);
    }
    assert_eq!(content(&made.vault), before);
}

#[test]
fn a_copy_inside_the_vault_or_around_it_serves() {
    for inside in [true, false] {
        let made = make();
        let place = if inside { made.vault.join("old").join("copy") } else { made.folder.path().to_path_buf() };
        common::copy_folder(&made.copy, &place);
        let file = made.segments(1).remove(0);
        flip(&file, 5000);
        std::fs::remove_file(made.segments(2).remove(0)).expect("removed");
        let before = content(&place.join("segments"));
        let repair = made.plan(RepairSources::default().copy(&place)).expect("a plan");
        assert_eq!(write(&repair).mended, 2, "inside: {inside}");
        assert_eq!(content(&place.join("segments")), before, "the copy is only read");
        made.assert_whole();
    }
}

#[test]
fn a_copy_without_headers_and_slots_serves_and_gets_nothing() {
    let made = make();
    for name in ["header", "header-copy"] {
        std::fs::remove_file(made.copy.join(name)).expect("removed");
    }
    for folder in ["keys", "index", "catalog", "locks"] {
        std::fs::remove_dir_all(made.copy.join(folder)).expect("removed");
    }
    flip(&made.segments(1)[0], 5000);
    let before = content(&made.copy);
    let repair = made.plan(made.copied()).expect("a plan");
    assert_eq!(write(&repair).mended, 1);
    assert_eq!(content(&made.copy), before);
    made.assert_whole();
}

#[test]
fn a_forged_copy_brings_nothing_into_the_vault() {
    // Whoever can write to the copy, and has no key, puts another vault's segment under the name, with checksums that fit.
    let (made, other) = (make(), make());
    let file = made.segments(1).remove(0);
    flip(&file, 5000);
    let foreign = std::fs::read(&other.segments(1)[0]).expect("segment");
    std::fs::write(made.in_copy(&file), foreign).expect("forged");
    let damaged = std::fs::read(&file).expect("segment");
    for keyless in [false, true] {
        let sources = made.copied();
        let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
        assert!(repair.plan().mended.is_empty() && !repair.plan().ends_whole());
        write(&repair);
        common::assert_same(&std::fs::read(&file).expect("segment"), &damaged, "it stays as it is");
    }
}

#[test]
fn a_whole_vault_needs_nothing() {
    let made = make();
    let before = content(&made.vault);
    for keyless in [false, true] {
        for copied in [false, true] {
            let sources = if copied { made.copied() } else { RepairSources::default() };
            let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
            let plan = repair.plan();
            assert!(plan.damage.is_empty() && !plan.has_work() && plan.ends_whole());
            assert_eq!(plan.points, if keyless { 0 } else { 4 });
        }
    }
    assert_eq!(content(&made.vault), before);
}

#[test]
fn entries_of_a_copy_stay_out_where_a_backup_came_first() {
    let made = make();
    let vault = common::open(&made.vault);
    let chain = icecore::format::hex(&{
        let heads = vault.heads();
        let head = heads.chains.iter().find(|head| head.machine.as_deref() == Some("web")).expect("a chain");
        icecore::format::id_from_hex(&head.chain_hex()).expect("an id")
    });
    drop(vault);
    // The copy has one more, the vault lost its last two.
    common::backup_bytes(&common::open(&made.copy), "web", &[("os", &common::noise(55, 9000))]).expect("backup");
    std::fs::remove_file(made.vault.join(format!("catalog/{chain}/0000000000000001.entry"))).expect("removed");
    let repair = made.plan(made.copied()).expect("a plan");
    assert!(repair.plan().objects.len() >= 2, "{:?}", repair.plan().objects);
    let own = common::backup_bytes(&common::open(&made.vault), "web", &[("os", &common::noise(56, 9000))]);
    let own = own.expect("backup").point;
    let report = write(&repair);
    assert!(report.failures.len() >= 2, "{:?}", report.failures);
    let vault = common::open(&made.vault);
    assert!(vault.catalog_damage().is_empty(), "{:?}", vault.catalog_damage());
    assert_eq!(vault.point("web", "latest").expect("a point").id, own.id);
}
