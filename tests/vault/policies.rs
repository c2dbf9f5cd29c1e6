//! Promise 1, against mistakes and malice: policies and machines are set by administrators alone, a locked policy keeps what
//! it promises whoever writes what, and of two who find a machine due one makes its point.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::insiders::{key_file, keys_of, open, own_chain, place};
use crate::common;
use crate::common::CHEAP;
use icecore::backup::Progress;
use icecore::format::catalog_entry::{Change, PointChanged};
use icecore::format::key_slot::Role;
use icecore::format::vault_event::{DocumentKind, DocumentSet, Event, VaultEvent};
use icecore::point::Consistency;
use icecore::policy::{Document, Hooks, LockEnd, Machine, Policy};
use icecore::seal::VaultKeys;
use icecore::vault::{GcOptions, GcProgress, SoftDelete, request_of};
use icecore::{Error, Vault};
use jiff::{SignedDuration, Timestamp};

/// A time that is long to come.
const LATER: i64 = 4_000_000_000;

fn policy(retention: &str) -> Policy {
    Policy {
        schedule: Some("daily 02:00,14:00 spread 1h".parse().expect("a schedule")),
        ..Policy::new(retention.parse().expect("a retention"))
    }
}

fn locked(retention: &str, until: LockEnd) -> Policy {
    Policy { locked_until: Some(until), ..policy(retention) }
}

fn machine(policy: &str) -> Machine {
    Machine {
        disks: BTreeMap::from([("os".to_owned(), "/images/os.raw".into())]),
        policy: Some(policy.to_owned()),
        ..Machine::default()
    }
}

/// Writes an event to the end of the vault's own chain, as who has the keys and no scruples can.
fn forge(path: &Path, keys: &VaultKeys, recorded_unix_seconds: i64, event: Event) {
    let files = common::files(&own_chain(path, keys));
    let last = files.last().map(|file| *blake3::hash(&std::fs::read(file).expect("read")).as_bytes());
    let sequence = files.len() as u64;
    let event = VaultEvent { predecessor: last.unwrap_or_default(), recorded_unix_seconds, event };
    place(path, &keys.own_chain(), sequence, &keys.seal_event(sequence, &event).expect("sealed"));
}

fn set(kind: DocumentKind, name: &str, document: Vec<u8>) -> Event {
    Event::DocumentSet(DocumentSet { kind, name: name.to_owned(), document })
}

#[test]
fn administrators_set_what_everybody_reads() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    for (role, seed) in [(Role::Backup, 1), (Role::Restore, 2)] {
        admin.add_key(role, &key_file(seed), CHEAP).expect("added");
    }
    assert_eq!(admin.documents().expect("read").policies().count(), 0);
    admin.set_policy("gold", &policy("daily=7")).expect("set");
    admin.set_policy("old", &policy("last=1")).expect("set");
    admin.set_policy("gold", &policy("daily=14")).expect("set again");
    admin.set_machine("web", &machine("gold")).expect("set");
    let entries = common::files(&own_chain(&path, &keys_of(&path, admin.header().vault, &common::password()))).len();
    admin.set_machine("web", &machine("gold")).expect("the same");
    admin.remove_policy("old").expect("removed");
    assert!(matches!(admin.remove_policy("old"), Err(Error::NoDocument { .. })));
    // Before a rotation and after it, with every role.
    for rotated in [false, true] {
        for credential in [common::password(), key_file(1), key_file(2)] {
            let vault = open(&path, &credential).expect("it opens");
            let documents = vault.documents().expect("read");
            assert_eq!(documents.policies().collect::<Vec<_>>(), ["gold"]);
            assert_eq!(documents.policy("gold").expect("read"), policy("daily=14"));
            assert_eq!(documents.machine("web").expect("read"), machine("gold"));
            assert_eq!(documents.under("gold").collect::<Vec<_>>(), ["web"]);
            assert!(matches!(documents.policy("silver"), Err(Error::NoDocument { .. })));
            assert!(vault.catalog_damage().is_empty());
            if vault.opened_by().role != Role::Admin {
                for refused in [
                    vault.set_policy("gold", &policy("last=1")),
                    vault.remove_policy("gold"),
                    vault.set_machine("web", &machine("gold")),
                    vault.remove_machine("web"),
                ] {
                    assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{refused:?}");
                }
            }
        }
        if !rotated {
            drop(common::open(&path).rotate_keys(false).expect("rotated"));
        }
    }
    assert!(entries == 4, "what is the same is not stored again");
}

#[test]
fn what_can_not_be_is_refused_before_it_is_stored() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    admin.set_policy("gold", &policy("daily=7")).expect("set");
    admin.set_machine("web", &machine("gold")).expect("set");
    let disk = |name: &str, path: &str| {
        let disks = BTreeMap::from([(name.to_owned(), path.into())]);
        admin.set_machine("db", &Machine { disks, ..Machine::default() })
    };
    for refused in [
        admin.set_policy("", &policy("daily=7")),
        admin.set_policy("a/b", &policy("daily=7")),
        admin.set_policy("latest", &policy("daily=7")),
        admin.set_policy("tz", &Policy { time_zone: "Mars/Olympus".to_owned(), ..policy("daily=7") }),
        admin
            .set_policy("tag", &Policy { tags: BTreeMap::from([(String::new(), "x".to_owned())]), ..policy("last=1") }),
        admin.set_policy("d", &Policy { exclude_disks: BTreeSet::from(["a/b".to_owned()]), ..policy("last=1") }),
        admin.set_machine(&"x".repeat(129), &machine("gold")),
        admin.set_machine("db", &Machine::default()),
        disk("os", "relative"),
        disk("o/s", "/absolute"),
        disk("os", "/a\nb"),
    ] {
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    assert!(matches!(admin.set_machine("db", &machine("silver")), Err(Error::NoDocument { .. })));
    assert!(matches!(admin.remove_policy("gold"), Err(Error::PolicyInUse { .. })));
    assert!(matches!(admin.remove_machine("db"), Err(Error::NoDocument { .. })));
    // As large as a document may be, and larger.
    let large = |bytes: usize| Machine {
        disks: (0..200).map(|number| (format!("d{number}"), format!("/{}", "x".repeat(bytes)).into())).collect(),
        ..Machine::default()
    };
    admin.set_machine("large", &large(310)).expect("it fits");
    assert_eq!(common::open(&path).documents().expect("read").machine("large").expect("read"), large(310));
    assert!(matches!(admin.set_machine("large", &large(330)), Err(Error::Invalid { .. })));
    assert!(common::open(&path).catalog_damage().is_empty());
    // Who was removed sets nothing through what he has open.
    let bob = admin.add_key(Role::Admin, &key_file(1), CHEAP).expect("added").info.id;
    let open = open(&path, &key_file(1)).expect("not removed yet");
    admin.remove_key(&bob, false).expect("removed");
    assert!(matches!(open.set_policy("gold", &policy("last=1")), Err(Error::RemovedKey)));
}

#[test]
fn nobody_makes_a_locked_policy_keep_less() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let full = "last=2,daily=7,min-age=2d,max-age=10y";
    admin.set_policy("gold", &locked(full, LockEnd::Unix(LATER))).expect("set");
    admin.set_policy("silver", &policy("last=9,daily=9,min-age=9d")).expect("set");
    admin.set_machine("web", &machine("gold")).expect("set");
    for retention in
        ["last=1,daily=7,min-age=2d,max-age=10y", "last=2,daily=70,max-age=10y", "last=2,daily=7,min-age=2d,max-age=9y"]
    {
        let refused = admin.set_policy("gold", &locked(retention, LockEnd::Ever));
        assert!(matches!(refused, Err(Error::PolicyLocked { .. })), "{retention}: {refused:?}");
    }
    for refused in [
        admin.set_policy("gold", &policy(full)),
        admin.set_policy("gold", &locked(full, LockEnd::Unix(LATER - 1))),
        admin.set_policy(
            "gold",
            &Policy { time_zone: "Europe/Berlin".to_owned(), ..locked(full, LockEnd::Unix(LATER)) },
        ),
        admin.set_machine("web", &machine("silver")),
        admin.set_machine("web", &Machine { policy: None, ..machine("gold") }),
        admin.remove_machine("web"),
    ] {
        assert!(matches!(refused, Err(Error::PolicyLocked { .. })), "{refused:?}");
    }
    assert!(matches!(admin.remove_policy("gold"), Err(Error::PolicyInUse { .. })));
    // More is always possible, and all that takes nothing away.
    let more = Policy { schedule: None, ..locked("last=3,daily=7,weekly=1,min-age=3d", LockEnd::Unix(LATER)) };
    admin.set_policy("gold", &more).expect("it keeps more");
    admin.set_policy("platinum", &locked("last=9,daily=9,weekly=9,min-age=9d", LockEnd::Ever)).expect("set");
    admin.set_machine("web", &machine("platinum")).expect("it promises no less");
    assert!(matches!(admin.remove_policy("gold"), Err(Error::PolicyLocked { .. })), "in use or not");
    // A lock whose time has come is none.
    admin.set_policy("over", &locked(full, LockEnd::Unix(1_700_000_000))).expect("set");
    admin.set_policy("over", &policy("last=1")).expect("no longer locked");
    admin.remove_policy("over").expect("removed");
}

#[test]
fn no_entry_weakens_what_is_locked_whatever_time_it_tells() {
    let full = "daily=7,min-age=2d";
    let weaker = || locked("daily=6,min-age=2d", LockEnd::Ever).encode().expect("encoded");
    let newer = br#"{"version":2,"retention":"daily=7,min-age=1d","lockedUntil":"ever"}"#.to_vec();
    let of_nobody = br#"{"version":1,"disks":{"os":"/x"},"policy":"nobody"}"#.to_vec();
    let attacks = [
        ("less", set(DocumentKind::Policy, "gold", weaker())),
        ("removed", set(DocumentKind::Policy, "gold", Vec::new())),
        ("no longer locked", set(DocumentKind::Policy, "gold", policy(full).encode().expect("encoded"))),
        ("of a newer program", set(DocumentKind::Policy, "gold", newer)),
        ("not even JSON", set(DocumentKind::Policy, "gold", b"rubbish".to_vec())),
        ("under another", set(DocumentKind::Machine, "web", machine("silver").encode().expect("encoded"))),
        ("under none", set(DocumentKind::Machine, "web", of_nobody)),
        ("not described", set(DocumentKind::Machine, "web", Vec::new())),
        ("soft delete", Event::SoftDeleteSet(SoftDelete { grace_seconds: 0, locked_until_unix_seconds: 0 })),
    ];
    let now = Timestamp::now().as_second();
    for (what, attack) in attacks {
        for recorded in [i64::MIN, 0, now, LATER - 1, LATER, LATER + 86_400, i64::MAX] {
            let folder = common::scratch();
            let path = folder.path().join("vault");
            let admin = common::init(&path, &common::small());
            let keys = keys_of(&path, admin.header().vault, &common::password());
            let grace = SoftDelete { grace_seconds: 30 * 86_400, locked_until_unix_seconds: LATER };
            admin.set_soft_delete(grace).expect("set");
            admin.set_policy("gold", &locked(full, LockEnd::Unix(LATER))).expect("set");
            admin.set_policy("silver", &policy("last=1")).expect("set");
            admin.set_machine("web", &machine("gold")).expect("set");
            drop(admin);
            forge(&path, &keys, recorded, attack.clone());
            let holds = |vault: &Vault| {
                let documents = vault.documents().expect("read");
                assert_eq!(documents.policy("gold").expect("read"), locked(full, LockEnd::Unix(LATER)), "{what}");
                assert_eq!(documents.machine("web").expect("read"), machine("gold"), "{what}");
                assert_eq!(vault.soft_delete().expect("set"), grace, "{what}");
            };
            let vault = common::open(&path);
            holds(&vault);
            assert!(!vault.catalog_damage().is_empty(), "{what} at {recorded}: it is told");
            // What mends the chain takes nothing forged for true.
            holds(&vault.rotate_keys(false).expect("rotated").0);
            holds(&common::open(&path));
        }
    }
}

#[test]
fn who_is_no_administrator_any_more_sets_no_document() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let bob = admin.add_key(Role::Admin, &key_file(1), CHEAP).expect("added").info.id;
    admin.add_key(Role::Backup, &key_file(2), CHEAP).expect("added");
    let id = admin.header().vault;
    let [old_admin, backup] = [1, 2].map(|seed| keys_of(&path, id, &key_file(seed)));
    admin.set_policy("gold", &policy("daily=7")).expect("set");
    admin.remove_key(&bob, false).expect("removed");
    drop(admin.rotate_keys(false).expect("rotated"));
    let event = set(DocumentKind::Policy, "gold", policy("last=1").encode().expect("encoded"));
    let entry = VaultEvent { predecessor: [0; 32], recorded_unix_seconds: 0, event: event.clone() };
    assert!(matches!(backup.seal_event(9, &entry), Err(Error::NotPermitted { .. })));
    forge(&path, &old_admin, 0, event);
    let vault = common::open(&path);
    assert_eq!(vault.documents().expect("read").policy("gold").expect("read"), policy("daily=7"));
    assert!(!vault.catalog_damage().is_empty());
}

#[test]
fn a_document_of_a_newer_program_is_told_by_its_version_and_hides_no_other() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let keys = keys_of(&path, admin.header().vault, &common::password());
    admin.set_policy("gold", &policy("daily=7")).expect("set");
    let now = Timestamp::now().as_second();
    for (name, document, word) in [
        ("a", r#"{"version":1,"retention":"daily=7","consistency":"crash","speed":7}"#, "speed"),
        ("b", r#"{"version":2,"retention":"daily=7","lockedUntil":"ever"}"#, "version 2"),
        ("c", r#"{"retention":"daily=7"}"#, "version 0"),
    ] {
        forge(&path, &keys, now, set(DocumentKind::Policy, name, document.as_bytes().to_vec()));
        let vault = common::open(&path);
        assert!(vault.catalog_damage().is_empty(), "it is no damage");
        let documents = vault.documents().expect("read");
        let told = documents.policy(name).expect_err("not understood");
        assert!(matches!(told, Error::Document { .. }) && told.to_string().contains(word), "{told}");
        assert_eq!(documents.policy("gold").expect("read"), policy("daily=7"));
        assert!(admin.set_machine("web", &machine(name)).is_err(), "no machine comes under it");
    }
    admin.remove_policy("a").expect("removed");
    assert!(matches!(admin.remove_policy("b"), Err(Error::PolicyLocked { .. })), "its lock holds");
}

#[test]
fn a_machine_is_due_until_a_point_is_made_and_claimed_by_one_at_a_time() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
    let disk = folder.path().join("os.raw");
    std::fs::write(&disk, common::noise(1, 100_000)).expect("written");
    let policy = Policy { tags: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]), ..policy("daily=7") };
    let disks = BTreeMap::from([("os".to_owned(), disk.clone()), ("swap".to_owned(), "/nowhere".into())]);
    let machine = Machine { disks, excluded_disks: BTreeSet::from(["swap".to_owned()]), ..machine("gold") };
    admin.set_policy("gold", &policy).expect("set");
    admin.set_machine("web", &machine).expect("set");
    // The key that backs up is enough.
    let vault = open(&path, &key_file(1)).expect("it opens");
    let now = Timestamp::now();
    let ago = |hours: i64| now - SignedDuration::from_hours(hours);
    let due = |now| vault.due("web", &policy, now).expect("known");
    let first = due(now).expect("never backed up").since;
    assert!(first <= now && due(now).expect("due").newest.is_none());
    let make = |time| {
        let mut due = request_of("web", &machine, &policy).expect("a request");
        due.request.time = Some(time);
        vault.backup_quiesced(due.request, &due.images, &due.quiesce, &Progress::default()).outcome.expect("backup")
    };
    make(ago(48));
    assert!(due(now).is_some(), "an older point is not it");
    // One of a time to come is none either.
    make(now + SignedDuration::from_hours(24));
    assert!(due(now).is_some());
    let report = make(first);
    assert_eq!(due(now), None, "one of the very moment is");
    assert_eq!(report.manifest.tags, ["tier=gold"]);
    assert_eq!(report.manifest.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["os"]);
    admin.refresh().expect("refreshed");
    let point = admin.point("web", &report.point.id).expect("the point");
    admin.forget(&point, "", false).expect("forgotten");
    vault.refresh().expect("refreshed");
    assert_eq!(due(now), None, "what was forgotten was made");
    assert!(due(now + SignedDuration::from_hours(13)).is_some(), "and later the next is due");
    assert_eq!(vault.due("web", &Policy { schedule: None, ..policy.clone() }, now).expect("known"), None);
    // Each machine by itself, whoever opened the vault.
    let claim = vault.claim("web").expect("asked").expect("claimed");
    assert!(admin.claim("web").expect("asked").is_none());
    assert!(vault.claim("web").expect("asked").is_none());
    assert!(admin.claim("db").expect("asked").is_some());
    drop(claim);
    assert!(admin.claim("web").expect("asked").is_some());
}

#[test]
fn a_machine_becomes_the_backup_that_its_policy_allows_or_none() {
    let folder = common::scratch();
    let disk = folder.path().join("os.raw");
    std::fs::write(&disk, common::noise(1, 4096)).expect("written");
    let machine = Machine { disks: BTreeMap::from([("os".to_owned(), disk)]), ..machine("gold") };
    let strict = Policy { consistency: Consistency::FileSystem, ..policy("daily=7") };
    assert!(matches!(request_of("web", &machine, &strict), Err(Error::Invalid { .. })));
    let lax = Policy { allow_crash: true, ..strict };
    let due = request_of("web", &machine, &lax).expect("a request");
    assert_eq!((due.quiesce.consistency, due.images.len()), (None, 1));
    let excluding = Policy { exclude_disks: BTreeSet::from(["os".to_owned()]), ..lax.clone() };
    assert!(matches!(request_of("web", &machine, &excluding), Err(Error::Invalid { .. })), "no disk is left");
    let including = Policy { include_disks: BTreeSet::from(["data".to_owned()]), ..lax.clone() };
    assert!(matches!(request_of("web", &machine, &including), Err(Error::Invalid { .. })));
    let hooks = Hooks { pre_script: Some("/bin/true".to_owned()), ..Hooks::default() };
    let machine = Machine { hooks, ..machine };
    let due = request_of("web", &machine, &lax).expect("a request");
    assert_eq!(due.quiesce.consistency, Some(Consistency::FileSystem), "what its scripts achieve is what is wanted");
    assert!(due.quiesce.allow_crash && due.quiesce.pre_script.is_some());
    // Unless they are said to achieve something else.
    let frozen = Machine { consistency: Some(Consistency::FileSystem), snapshot_dir: Some("/snap".into()), ..machine };
    let due = request_of("web", &frozen, &policy("daily=7")).expect("a request");
    assert_eq!(
        (due.quiesce.consistency, due.quiesce.snapshot_dir),
        (Some(Consistency::FileSystem), Some("/snap".into()))
    );
    let ready = Policy { consistency: Consistency::Application, allow_crash: false, ..lax };
    assert!(matches!(request_of("web", &frozen, &ready), Err(Error::Invalid { .. })), "less than what is wanted");
    let due = request_of("web", &frozen, &Policy { allow_crash: true, ..ready }).expect("a request");
    assert_eq!(due.quiesce.consistency, Some(Consistency::FileSystem), "and called no more than it is");
}

#[test]
fn what_a_locked_policy_keeps_is_forgotten_and_purged_by_nobody() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    admin.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let now = Timestamp::now();
    let points: Vec<_> = (0..5_u64)
        .map(|day| {
            let mut request = common::memory_request("web", &[("os", &common::noise(day, 50_000))]);
            request.time = Some(now - SignedDuration::from_hours(24 * (5 - i64::try_from(day).expect("small"))));
            admin.backup(&request, &Progress::default()).expect("backup").point
        })
        .collect();
    admin.set_policy("gold", &policy("daily=3")).expect("set");
    admin.set_machine("web", &machine("gold")).expect("set");
    // One of those that it keeps was forgotten before.
    admin.forget(&points[3], "", false).expect("nothing is locked");
    admin.set_policy("gold", &locked("daily=3", LockEnd::Unix(LATER))).expect("locked");
    for kept in [&points[2], &points[4]] {
        let error = admin.forget(kept, "", true).expect_err("it is kept");
        assert!(matches!(error, Error::KeptByPolicy { .. }), "{error}");
    }
    let kept = admin.kept_by_lock("web").expect("read");
    assert_eq!(kept.len(), 3, "what was forgotten before too: {kept:?}");
    // One of a time to come, as a wrong clock makes it, may go.
    let mut request = common::memory_request("web", &[("os", &common::noise(9, 50_000))]);
    request.time = Some(now + SignedDuration::from_hours(48));
    let future = admin.backup(&request, &Progress::default()).expect("backup").point;
    admin.forget(&future, "", false).expect("forgotten");
    for let_go in [&points[0], &points[1]] {
        admin.forget(let_go, "", false).expect("the policy lets it go");
    }
    // Who has an administrator's keys and a program of his own forgets one all the same.
    let keys = keys_of(&path, admin.header().vault, &common::password());
    let chain = keys.chain_of("web");
    let entries = common::files(&path.join("catalog").join(icecore::format::hex(&chain)));
    let last = std::fs::read(entries.last().expect("entries")).expect("read");
    let forged = PointChanged {
        predecessor: *blake3::hash(&last).as_bytes(),
        change: Change::Forgotten { until_unix_seconds: now.as_second() - 1 },
        point: icecore::format::id_from_hex(&points[2].id).expect("an id"),
        recorded_unix_seconds: now.as_second(),
        machine: "web".to_owned(),
        reason: String::new(),
    };
    let number = entries.len() as u64;
    place(&path, &chain, number, &keys.seal_change(chain, number, &forged).expect("sealed"));
    let vault = open(&path, &common::password()).expect("it opens");
    assert_eq!(vault.points("web").expect("points").len(), 1);
    let report = vault.gc(&GcOptions::default(), &GcProgress::default()).expect("gc");
    assert_eq!((report.purged.len(), report.kept_by_policy.len()), (3, 2), "{report:?}");
    for kept in [&points[2], &points[3]] {
        vault.undelete("web", &kept.name).expect("it is whole");
        let read = common::disk_bytes(&vault, &vault.point("web", &kept.id).expect("listed"), "os").expect("read");
        assert_eq!(read.len(), 50_000);
    }
}
