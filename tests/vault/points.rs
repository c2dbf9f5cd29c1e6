//! Section 3: how points are named and found: by time, `latest`, digits of their ids.

use crate::common;
use icecore::backup::{BackupReport, Progress};
use icecore::{Error, Vault};
use jiff::Timestamp;

fn at(vault: &Vault, machine: &str, time: &str, content: &[u8]) -> BackupReport {
    let mut request = common::memory_request(machine, &[("os", content)]);
    request.time = Some(time.parse::<Timestamp>().expect("time"));
    vault.backup(&request, &Progress::default()).expect("backup")
}

#[test]
fn a_point_is_found_by_name_by_id_and_as_latest() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let second = at(&vault, "m", "2020-11-20T02:00:00.9Z", b"second").point;
    let first = at(&vault, "m", "1969-07-20T20:17:40Z", b"first").point;
    let third = at(&vault, "m", "2031-01-01T00:00:00Z", b"third").point;
    let (whole, minutes) = ("2020-11-20T02-00-00Z", "1969-07-20T20-17-40Z");
    assert_eq!((second.name.as_str(), first.name.as_str()), (whole, minutes));
    drop(vault);

    let vault = common::open(&path);
    let names: Vec<String> = vault.points("m").expect("points").iter().map(|point| point.name.clone()).collect();
    assert_eq!(names, [minutes, whole, "2031-01-01T00-00-00Z"], "oldest first, whenever they were made");
    let latest = |vault: &Vault| vault.point("m", "latest").expect("latest").id.clone();
    assert_eq!(latest(&vault), second.id, "one of a time to come is not the latest");
    assert_eq!(vault.stats().expect("stats").machines[0].latest, second.name);
    for point in [&first, &second, &third] {
        for wanted in [&point.name, &point.id, &point.id[..8], &point.id[..8].to_uppercase()] {
            assert_eq!(vault.point("m", wanted).expect(wanted).id, point.id);
        }
        let content = common::tree_bytes(&vault, &format!("m/{}/disks/os.raw", &point.id[..8])).expect("by id");
        assert_eq!(content, common::disk_bytes(&vault, point, "os").expect("read"));
    }
    let names = common::tree_names(&vault, "m").expect("names");
    assert_eq!(names, [minutes, whole, "2031-01-01T00-00-00Z", "latest"]);
    for point in [&first, &second] {
        vault.forget(point, "", true).expect("forgotten");
    }
    assert_eq!(latest(&vault), third.id, "unless there is no other");
}

#[test]
fn what_is_not_there_is_told_by_kind() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    assert!(matches!(vault.points("m"), Err(Error::UnknownMachine { .. })));
    let point = at(&vault, "m", "2026-11-20T02:00:00Z", b"x").point;
    for wrong in ["", "x", "2026-11-20T02-00-01Z", "zzzzzzzz", &point.id[..3], &format!("{}0", point.id), "../m"] {
        let found = vault.point("m", wrong);
        assert!(matches!(found, Err(Error::UnknownPoint { .. })), "{wrong:?}: {found:?}");
    }
    assert!(matches!(vault.disk(&point, "data"), Err(Error::UnknownDisk { .. })));
    assert!(matches!(vault.tree().resolve("m/latest/disks/data.raw", true), Err(Error::NoSuchPath { .. })));
    for machine in ["", ".hidden", "a/b", "latest", "new\nline", &"x".repeat(129)] {
        let refused = common::backup_bytes(&vault, machine, &[("os", b"x")]).expect_err(machine);
        assert!(matches!(refused, Error::Invalid { .. }), "{machine:?}: {refused}");
    }
    let twice = common::backup_bytes(&vault, "m", &[("os", b"x"), ("os", b"y")]);
    assert!(matches!(twice, Err(Error::DuplicateDisk { .. })));
    assert!(matches!(common::backup_bytes(&vault, "m", &[]), Err(Error::Invalid { .. })));
    assert_eq!(vault.points("m").expect("points").len(), 1, "nothing of this made a point");
}

#[test]
fn points_of_one_second_all_have_a_name_and_the_last_made_is_the_latest() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let mut made = Vec::new();
    for number in 0..7_u8 {
        made.push(at(&vault, "m", "2026-11-20T02:00:00Z", &[number + 1; 5000]).point);
        assert_eq!(vault.point("m", "latest").expect("latest").id, made[usize::from(number)].id, "after {number}");
    }
    let vault = common::open(&path);
    assert_eq!(made[0].name, "2026-11-20T02-00-00Z");
    for (number, point) in made.iter().enumerate() {
        if number > 0 {
            assert_eq!(point.name, format!("2026-11-20T02-00-00Z-{}", &point.id[..8]));
        }
        let content = common::tree_bytes(&vault, &format!("m/{}/disks/os.raw", point.name)).expect("read");
        assert_eq!(content, vec![number as u8 + 1; 5000]);
    }
    assert_eq!(vault.point("m", "latest").expect("latest").id, made[6].id);
}
