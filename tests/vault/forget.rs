//! Promise 1, against mistakes and malice: a forgotten point can be brought back until its time is over, a protected one is
//! not forgotten, and only administrators do either.

use std::path::Path;

use crate::common;
use crate::common::CHEAP;
use icecore::format::key_slot::Role;
use icecore::point::Until;
use icecore::seal::Credential;
use icecore::vault::{GcOptions, GcProgress, OpenOptions, SoftDelete};
use icecore::{Error, Vault};
use jiff::{SignedDuration, Timestamp};

fn key_file(seed: u64) -> Credential {
    Credential::key_file(common::noise(seed, 64)).expect("long enough")
}

fn points(vault: &Vault, machine: &str) -> usize {
    vault.points(machine).map_or(0, |points| points.len())
}

/// A vault with three points of `web`.
fn vault(path: &Path) -> Vault {
    let vault = common::init(path, &common::small());
    for seed in 0..3 {
        common::backup_bytes(&vault, "web", &[("os", &common::noise(seed, 100_000))]).expect("backup");
    }
    vault
}

fn gc(vault: &Vault) -> icecore::vault::GcReport {
    vault.gc(&GcOptions::default(), &GcProgress::default()).expect("gc")
}

#[test]
fn a_forgotten_point_is_brought_back_whole() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault(&path);
    let point = vault.points("web").expect("points").remove(1);
    let before = Timestamp::now();
    let gone = vault.forget(&point, "older than a week", false).expect("forgotten");
    let forgotten = gone.forgotten.as_ref().expect("forgotten");
    let grace = forgotten.until.duration_since(forgotten.since);
    assert_eq!((grace, forgotten.reason.as_str()), (SignedDuration::from_hours(14 * 24), "older than a week"));
    assert!(forgotten.since.duration_since(before).as_secs().abs() < 60);
    // Everybody sees it so, also who opens the vault later.
    for vault in [&vault, &common::open(&path)] {
        assert_eq!((points(vault, "web"), vault.forgotten("web").len()), (2, 1));
        let refused = vault.point("web", &point.name).expect_err("forgotten");
        assert!(matches!(refused, Error::Forgotten { .. }), "{refused}");
        assert!(common::tree_names(vault, "web").expect("listed").iter().all(|name| *name != point.name));
    }
    // Nothing of it goes, and a check looks at it.
    assert_eq!(gc(&vault).removed_segments, 0);
    assert_eq!(common::verify(&vault).points, 3);
    assert!(matches!(vault.forget(&point, "", false), Err(Error::Forgotten { .. })));
    vault.undelete("web", &point.id[..8]).expect("brought back");
    let vault = common::open(&path);
    let back = vault.point("web", &point.name).expect("it is there again");
    common::assert_same(&common::disk_bytes(&vault, &back, "os").expect("read"), &common::noise(1, 100_000), "web");
    let again = vault.undelete("web", &point.name).expect_err("it is not forgotten");
    assert!(matches!(again, Error::UnknownPoint { .. }), "{again}");
}

#[test]
fn a_forgotten_point_is_purged_when_its_time_is_over() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault(&path);
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let all = vault.points("web").expect("points");
    vault.forget(&all[0], "", false).expect("forgotten");
    assert_eq!(vault.forgotten("web").len(), 1, "until something purges it");
    let stored = common::segment_bytes(&path);
    let report = gc(&vault);
    assert_eq!(report.purged, [format!("web/{}", all[0].name)]);
    assert!(report.freed_bytes() > 100_000 && common::segment_bytes(&path) + 100_000 < stored, "{report:?}");
    for vault in [&vault, &common::open(&path)] {
        assert!(matches!(vault.undelete("web", &all[0].id[..8]), Err(Error::Purged { .. })));
        assert_eq!((points(vault, "web"), vault.forgotten("web").len()), (2, 0));
        assert!(common::verify(vault).is_clean());
        for (seed, point) in (1..).zip(&all[1..]) {
            common::assert_same(
                &common::disk_bytes(vault, point, "os").expect("read"),
                &common::noise(seed, 100_000),
                "web",
            );
        }
    }
    // The name stays taken: whoever noted it must not find another point behind it.
    assert!(vault.point("web", &all[0].name).is_err());
}

#[test]
fn protected_points_and_the_last_one_stay() {
    let folder = common::scratch();
    let vault = vault(&folder.path().join("vault"));
    let all = vault.points("web").expect("points");
    let tomorrow = Until::Time(Timestamp::now() + SignedDuration::from_hours(24));
    for until in [tomorrow, Until::Ever] {
        let held = vault.protect(&all[0], Some(until), "evidence").expect("protected");
        assert!(held.is_protected(Timestamp::now()));
        assert!(matches!(vault.forget(&all[0], "", true), Err(Error::Protected { .. })));
    }
    let past = Until::Time(Timestamp::now() - SignedDuration::from_hours(1));
    vault.protect(&all[0], Some(past), "").expect("protected until a moment that was");
    vault.forget(&all[0], "", false).expect("which protects nothing");
    vault.undelete("web", &all[0].name).expect("brought back");
    vault.protect(&all[0], Some(Until::Ever), "").expect("protected");
    vault.protect(&all[0], None, "").expect("released");
    vault.forget(&all[0], "", false).expect("forgotten");
    vault.forget(&all[1], "", false).expect("forgotten");
    assert!(matches!(vault.forget(&all[2], "", false), Err(Error::LastPoint { .. })));
    vault.forget(&all[2], "", true).expect("told to");
    assert_eq!((vault.machines().len(), vault.forgotten("web").len()), (0, 3));
    vault.undelete("web", &all[1].name).expect("brought back");
    assert_eq!(points(&vault, "web"), 1);
}

#[test]
fn only_administrators_do_it_and_nobody_else_can_forge_it() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = vault(&path);
    admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
    admin.add_key(Role::Restore, &key_file(2), CHEAP).expect("added");
    let all = admin.points("web").expect("points");
    for seed in [1, 2] {
        let other = Vault::open(&path, &key_file(seed), &OpenOptions::default()).expect("opens");
        let set = SoftDelete { grace_seconds: 0, ..SoftDelete::default() };
        let refused = [
            other.forget(&all[0], "", false).map(drop),
            other.undelete("web", &all[0].name).map(drop),
            other.protect(&all[0], Some(Until::Ever), "").map(drop),
            other.set_soft_delete(set),
            other.gc(&GcOptions::default(), &GcProgress::default()).map(drop),
        ];
        assert!(refused.iter().all(|outcome| matches!(outcome, Err(Error::NotPermitted { .. }))), "{refused:?}");
    }
    assert_eq!(points(&common::open(&path), "web"), 3);
}

#[test]
fn a_locked_grace_time_is_made_longer_and_never_shorter() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = vault(&path);
    let day = 86_400;
    let tomorrow = Timestamp::now().as_second() + day;
    let set = |grace_days: u64, locked_until_unix_seconds| SoftDelete {
        grace_seconds: grace_days * day.unsigned_abs(),
        locked_until_unix_seconds,
    };
    vault.set_soft_delete(set(3, 0)).expect("nothing is locked");
    vault.set_soft_delete(set(7, tomorrow)).expect("longer, and locked");
    for weaker in [set(6, tomorrow), set(7, tomorrow - 1), set(0, 0), set(30, 0)] {
        assert!(matches!(vault.set_soft_delete(weaker), Err(Error::Invalid { .. })), "{weaker:?}");
    }
    vault.set_soft_delete(set(8, tomorrow + day)).expect("stronger");
    vault.set_soft_delete(set(8, i64::MAX)).expect("for ever");
    assert!(vault.set_soft_delete(set(8, tomorrow)).is_err());
    assert_eq!(common::open(&path).soft_delete().expect("set"), set(8, i64::MAX));
    let gone = vault.forget(&vault.points("web").expect("points")[0], "", false).expect("forgotten");
    let forgotten = gone.forgotten.as_ref().expect("forgotten");
    assert_eq!(forgotten.until.duration_since(forgotten.since), SignedDuration::from_hours(8 * 24));
    assert!(gc(&vault).purged.is_empty());
}

#[test]
fn a_point_that_is_forgotten_stays_so_over_a_rotation() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = vault(&path);
    let all = admin.points("web").expect("points");
    admin.set_soft_delete(SoftDelete { grace_seconds: 86_400, locked_until_unix_seconds: i64::MAX }).expect("set");
    admin.forget(&all[0], "", false).expect("forgotten");
    admin.protect(&all[1], Some(Until::Ever), "").expect("protected");
    let admin = admin.rotate_keys(false).expect("rotated").0;
    assert_eq!((points(&admin, "web"), admin.forgotten("web").len()), (2, 1));
    assert!(matches!(admin.forget(&all[1], "", false), Err(Error::Protected { .. })));
    assert!(admin.set_soft_delete(SoftDelete::default()).is_err(), "the lock is older than the keys, and holds");
    admin.undelete("web", &all[0].name).expect("brought back");
    assert_eq!(points(&common::open(&path), "web"), 3);
}
