//! Promise 3: of a point that is partly lost the rest is restored, with zeros in its place, and the ranges are told.

use crate::common;
use crate::common::repair::{Made, make};
use icecore::point::ByteRange;
use icecore::restore::{Progress, RestoreOptions, RestoreReport};
use icecore::{Error, Result};

fn restore(made: &Made, number: usize, options: &RestoreOptions) -> (Result<RestoreReport>, Vec<u8>) {
    let vault = common::open(&made.vault);
    let (machine, id, _) = &made.points[number];
    let target = made.folder.path().join("restored");
    let point = vault.point(machine, id).expect("the point");
    let report = vault.restore(&point, "os", &target, options, &Progress::default());
    let bytes = std::fs::read(&target).unwrap_or_default();
    let _ = std::fs::remove_file(target);
    (report, bytes)
}

#[test]
fn what_is_lost_is_what_a_check_calls_lost() {
    for kind in [1, 2] {
        let made = make();
        for file in made.segments(kind) {
            let mut bytes = std::fs::read(&file).expect("segment");
            let end = if kind == 1 { bytes.len() / 2 } else { 4000 };
            bytes[300..end].fill(0);
            std::fs::write(&file, bytes).expect("damage");
        }
        let hit = common::verify(&common::open(&made.vault)).hit;
        let mut lost_any = 0;
        for (number, (machine, id, expected)) in made.points.iter().enumerate() {
            let name = common::open(&made.vault).point(machine, id).expect("the point").name.clone();
            let lost: Vec<ByteRange> =
                hit.iter().filter(|hit| hit.machine == *machine && hit.point == name).map(|hit| hit.range).collect();
            let (plain, nothing) = restore(&made, number, &RestoreOptions::default());
            assert_eq!(plain.is_err(), !lost.is_empty());
            assert_eq!(nothing.is_empty(), !lost.is_empty(), "without the wish nothing is left");
            let options = RestoreOptions { salvage: true, ..RestoreOptions::default() };
            let (report, bytes) = restore(&made, number, &options);
            assert_eq!(report.expect("salvaged").lost, lost);
            let mut with_zeros = expected.clone();
            for range in &lost {
                with_zeros[range.start as usize..range.end as usize].fill(0);
            }
            common::assert_same(&bytes, &with_zeros, machine);
            lost_any += lost.len();
        }
        assert!(lost_any > 0);
    }
}

#[test]
fn who_may_not_read_data_salvages_none() {
    let made = make();
    let role = icecore::seal::Credential::password(*b"backup only");
    let vault = common::open(&made.vault);
    vault.add_key(icecore::format::key_slot::Role::Backup, &role, common::CHEAP).expect("key");
    let vault = icecore::Vault::open(&made.vault, &role, &icecore::vault::OpenOptions::default()).expect("open");
    let point = vault.point("web", "latest").expect("the point");
    let target = made.folder.path().join("restored");
    let options = RestoreOptions { salvage: true, ..RestoreOptions::default() };
    let refused = vault.restore(&point, "os", &target, &options, &Progress::default());
    assert!(matches!(refused, Err(Error::NotPermitted { .. })));
    assert!(!target.exists());
}
