//! Promise 4: whoever holds a lesser key, held one once, or can write to the vault's files, shuts nobody out with what he
//! writes, moves no time, and has nothing forged shown as true.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::{CHEAP, files};
use icecore::format::catalog_entry::{Change, Entry, PointChanged, PointMade};
use icecore::format::key_slot::{KeySlot, Role};
use icecore::format::segment::RecordType;
use icecore::format::vault_event::{Event, VaultEvent};
use icecore::format::{Id, catalog_entry, hex};
use icecore::media::{DirectoryMedia, ReadMode};
use icecore::point::{Consistency, Manifest};
use icecore::seal::{Credential, ExternalKey, VaultKeys, open_any};
use icecore::store::{Store, Writer};
use icecore::vault::{GcOptions, GcProgress, OpenOptions, SoftDelete};
use icecore::{Error, Result, Vault};

pub(super) fn open(path: &Path, credential: &Credential) -> Result<Vault> {
    Vault::open(path, credential, &OpenOptions::default())
}

fn salvage(path: &Path) -> Result<Vault> {
    Vault::open(path, &common::password(), &OpenOptions { salvage: true, ..OpenOptions::default() })
}

pub(super) fn key_file(seed: u64) -> Credential {
    Credential::key_file(common::noise(seed, 64)).expect("long enough")
}

/// All keys that a slot's holder has.
pub(super) fn keys_of(path: &Path, vault: Id, credential: &Credential) -> VaultKeys {
    let slot = |file: &PathBuf| {
        (common::object(path, file), KeySlot::decode(&std::fs::read(file).expect("read")).expect("a slot"))
    };
    let slots: Vec<_> = files(&path.join("keys")).iter().map(slot).collect();
    open_any(&slots, &vault, credential, |slot, keys| Ok(VaultKeys::new(vault, slot.role, keys))).expect("it opens")
}

pub(super) fn own_chain(path: &Path, keys: &VaultKeys) -> PathBuf {
    path.join("catalog").join(hex(&keys.own_chain()))
}

pub(super) fn place(path: &Path, chain: &Id, sequence: u64, bytes: &[u8]) {
    let file = path.join(catalog_entry::object(chain, sequence));
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(file, bytes).expect("written");
}

#[test]
fn a_lost_event_of_a_rotation_is_known_by_what_came_after_and_shuts_nobody_out() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let id = admin.header().vault;
    admin.add_key(Role::Admin, &key_file(1), CHEAP).expect("added");
    let bob = admin.add_key(Role::Backup, &key_file(2), CHEAP).expect("added").info.id;
    common::backup_bytes(&admin, "m", &[("os", &common::noise(1, 100_000))]).expect("backup");
    admin.remove_key(&bob, false).expect("removed");
    let admin = admin.rotate_keys(false).expect("rotated").0;
    drop(admin);
    let keys = keys_of(&path, id, &common::password());
    let event = files(&own_chain(&path, &keys)).pop().expect("the event");
    let bytes = std::fs::read(&event).expect("read");
    std::fs::remove_file(&event).expect("removed");
    // Nothing was written since, and still nobody goes back to the keys of before.
    let vault = common::open(&path);
    assert_eq!(vault.opened_by().epoch, 1);
    assert!(!vault.catalog_damage().is_empty(), "it is told");
    assert_eq!(vault.points("m").expect("points").len(), 1);
    let refused =
        common::backup_bytes(&vault, "m", &[("os", &common::noise(2, 100_000))]).expect_err("not to be written");
    assert!(matches!(refused, Error::Damaged(_)), "{refused}");
    let vault = vault.rotate_keys(false).expect("a rotation mends it").0;
    assert_eq!((vault.opened_by().epoch, files(&path.join("keys")).len()), (2, 2));
    for credential in [common::password(), key_file(1)] {
        let vault = open(&path, &credential).expect("everybody opens it");
        common::backup_bytes(&vault, "m", &[("os", &common::noise(2, 100_000))]).expect("backup");
        assert!(common::verify(&vault).is_clean());
    }
    // What was lost coming back changes nothing.
    assert!(event.exists(), "its number is taken");
    assert_ne!(std::fs::read(&event).expect("read"), bytes);
}

#[test]
fn nobody_but_an_administrator_removes_a_key() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let id = admin.header().vault;
    let leaver = admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added").info.id;
    let thief = keys_of(&path, id, &key_file(1));
    let slot = u64::from_str_radix(&admin.opened_by().id, 16).expect("an id").to_be_bytes();
    let event = VaultEvent { predecessor: [0; 32], recorded_unix_seconds: 0, event: Event::SlotRemoved { slot } };
    assert!(matches!(thief.seal_event(0, &event), Err(Error::NotPermitted { .. })));
    // An administrator of before has all that it takes to make one, and no more.
    let other = admin.add_key(Role::Admin, &key_file(2), CHEAP).expect("added").info.id;
    let old_admin = keys_of(&path, id, &key_file(2));
    admin.remove_key(&leaver, false).expect("removed");
    admin.remove_key(&other, false).expect("removed");
    let admin = admin.rotate_keys(false).expect("rotated").0;
    admin.set_soft_delete(SoftDelete { grace_seconds: 9 * 86_400, ..SoftDelete::default() }).expect("set");
    drop(admin);
    let chain = old_admin.own_chain();
    let next = files(&own_chain(&path, &old_admin)).len() as u64;
    place(&path, &chain, next, b"rubbish hides whatever may have been there");
    for (sequence, event) in [
        (next + 1, event.event.clone()),
        (next + 2, Event::SoftDeleteSet(SoftDelete { grace_seconds: 0, locked_until_unix_seconds: 0 })),
    ] {
        let forged = VaultEvent { predecessor: [0; 32], recorded_unix_seconds: 0, event };
        place(&path, &chain, sequence, &old_admin.seal_event(sequence, &forged).expect("sealed"));
    }
    let vault = common::open(&path);
    assert_eq!(vault.soft_delete().expect("set").grace_seconds, 9 * 86_400);
    let vault = vault.rotate_keys(false).expect("a rotation mends it").0;
    assert_eq!(vault.soft_delete().expect("set").grace_seconds, 9 * 86_400, "and takes nothing forged for true");
    common::backup_bytes(&common::open(&path), "m", &[("os", &common::noise(2, 100_000))]).expect("backup");
}

#[test]
fn who_was_removed_changes_nothing_through_what_he_has_open() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    common::backup_bytes(&admin, "m", &[("os", &common::noise(1, 100_000))]).expect("backup");
    let bob = admin.add_key(Role::Admin, &key_file(1), CHEAP).expect("added").info.id;
    let open = || open(&path, &key_file(1)).expect("not removed yet");
    let (first, second) = (open(), open());
    let point = first.points("m").expect("points").remove(0);
    admin.remove_key(&bob, false).expect("removed");
    let set = SoftDelete { grace_seconds: 0, ..SoftDelete::default() };
    let refused = [
        first.change_own_key(&key_file(2), CHEAP).map(drop),
        first.add_key(Role::Admin, &key_file(3), CHEAP).map(drop),
        first.remove_key(&admin.opened_by().id, false),
        first.forget(&point, "", true).map(drop),
        first.set_soft_delete(set),
        first.gc(&GcOptions::default(), &GcProgress::default()).map(drop),
        second.rotate_keys(false).map(drop),
    ];
    assert!(refused.iter().all(|outcome| matches!(outcome, Err(Error::RemovedKey))), "{refused:?}");
    assert_eq!(files(&path.join("keys")).len(), 1);
}

#[test]
fn a_backup_key_moves_no_time() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let id = admin.header().vault;
    admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
    let locked = SoftDelete { grace_seconds: 30 * 86_400, locked_until_unix_seconds: 4_000_000_000 };
    admin.set_soft_delete(locked).expect("set");
    for seed in 0..2 {
        common::backup_bytes(&admin, "m", &[("os", &common::noise(seed, 100_000))]).expect("backup");
    }
    admin.forget(&admin.points("m").expect("points")[0], "", false).expect("forgotten");
    let thief = keys_of(&path, id, &key_file(1));
    let entry = PointMade {
        predecessor: [0; 32],
        consistency: Consistency::Crash,
        point: [9; 16],
        time_unix_seconds: 0,
        recorded_unix_seconds: 4_100_000_000,
        segment: [1; 16],
        offset: 0,
        manifest: [3; 32],
        machine: "evil".to_owned(),
    };
    let chain = thief.chain_of("evil");
    place(&path, &chain, 0, &thief.seal_entry(chain, 0, &entry).expect("sealed"));
    let vault = common::open(&path);
    assert!(matches!(vault.set_soft_delete(SoftDelete::default()), Err(Error::Invalid { .. })));
    assert_eq!(vault.soft_delete().expect("set"), locked);
    let gone = vault.forget(&vault.points("m").expect("points")[0], "", true).expect("forgotten");
    assert!(gone.forgotten.as_ref().expect("forgotten").since.as_second() < 4_000_000_000);
}

#[test]
fn of_two_manifests_of_one_point_neither_is_shown() {
    for _ in 0..4 {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let admin = common::init(&path, &common::small());
        let id = admin.header().vault;
        admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
        let [true_one, other] = [("m", 1), ("n", 2)].map(|(machine, seed)| {
            common::backup_bytes(&admin, machine, &[("os", &common::noise(seed, 100_000))]).expect("backup").point
        });
        let forged = Manifest {
            disks: admin.manifest(&other).expect("a manifest").disks,
            ..admin.manifest(&true_one).expect("a manifest")
        };
        let media = Arc::new(DirectoryMedia::new(&path, ReadMode::Pread));
        let keys = Arc::new(keys_of(&path, id, &key_file(1)));
        let store = Arc::new(Store::open(media, keys, admin.header().clone()).expect("a store"));
        store.refresh_for_writing().expect("refreshed");
        let plain = serde_json::to_vec(&forged).expect("JSON");
        let mut writer = Writer::start(Arc::clone(&store), true);
        writer.store(RecordType::Manifest, &store.id_of(RecordType::Manifest, &plain), &plain).expect("stored");
        writer.finish().expect("written");
        let keys = keys_of(&path, id, &common::password());
        std::fs::remove_dir_all(path.join("catalog").join(hex(&keys.chain_of("m")))).expect("removed");
        let vault = salvage(&path).expect("it opens");
        assert_eq!(vault.machines(), ["n"]);
        assert_eq!(vault.salvaged().expect("salvaged").unreadable.len(), 1, "and it is told");
    }
}

#[test]
fn an_entry_of_an_epoch_that_nobody_knows_keeps_nobody_from_salvaging() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let id = admin.header().vault;
    let bytes = common::noise(1, 100_000);
    let point = common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("backup").point;
    admin.set_soft_delete(SoftDelete { grace_seconds: 86_400, ..SoftDelete::default() }).expect("set");
    let keys = keys_of(&path, id, &common::password());
    let mut entry = std::fs::read(files(&own_chain(&path, &keys)).pop().expect("an entry")).expect("read");
    entry[48..56].copy_from_slice(&1_u64.to_le_bytes());
    entry[56..60].copy_from_slice(&99_u32.to_le_bytes());
    let end = entry.len() - 32;
    let hash = *blake3::hash(&entry[..end]).as_bytes();
    entry[end..].copy_from_slice(&hash);
    place(&path, &keys.own_chain(), 1, &entry);
    assert!(matches!(open(&path, &common::password()), Err(Error::Rotated { .. })));
    let vault = salvage(&path).expect("what these keys open is read");
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "m");
}

#[test]
fn a_rotation_that_was_killed_is_not_taken_for_begun_where_a_slot_is_lost() {
    for (is_gone, goes_on) in [(false, false), (false, true), (true, false), (true, true)] {
        let folder = common::scratch();
        let [path, rotated] = ["vault", "rotated"].map(|name| folder.path().join(name));
        let admin = common::init(&path, &common::small());
        let own = admin.opened_by().id.clone();
        // With another key, or alone.
        let other = goes_on.then(|| admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added"));
        common::backup_bytes(&admin, "m", &[("os", &common::noise(1, 100_000))]).expect("backup");
        drop(admin);
        common::copy_folder(&path, &rotated);
        std::fs::create_dir_all(rotated.join("epochs")).expect("made");
        drop(common::open(&rotated).rotate_keys(false).expect("rotated"));
        // It died when all was written but its event, and before anything was removed.
        for folder in ["epochs", "keys"] {
            std::fs::create_dir_all(path.join(folder)).expect("made");
            for file in files(&rotated.join(folder)) {
                std::fs::copy(&file, path.join(common::object(&rotated, &file))).expect("copied");
            }
        }
        let bytes = common::noise(2, 100_000);
        let writer = if other.is_some() { key_file(1) } else { common::password() };
        let point =
            common::backup_bytes(&open(&path, &writer).expect("opens"), "m", &[("os", &bytes)]).expect("backup");
        let old = path.join(format!("keys/{own}-00000000.slot"));
        if is_gone {
            std::fs::remove_file(&old).expect("removed")
        } else {
            common::repair::flip(&old, 40)
        }
        for _ in 0..2 {
            let vault = common::open(&path);
            assert_eq!(vault.points("m").expect("points").len(), 2, "gone {is_gone}, another key {goes_on}");
            let latest = vault.point("m", "latest").expect("the newest");
            assert_eq!(latest.id, point.point.id);
            common::assert_same(&common::disk_bytes(&vault, &latest, "os").expect("read"), &bytes, "the newest");
            drop(vault);
            // Nor does a repair make it so.
            let sources = icecore::vault::RepairSources::default();
            let progress = icecore::vault::RepairProgress::default();
            let repair = Vault::plan_repair(&path, Some(&common::password()), sources, &progress).expect("a plan");
            repair.write(&progress).expect("a repair");
        }
    }
}

/// An external key that wraps as it is told.
struct Wrapper;

impl ExternalKey for Wrapper {
    fn wrap(&self, _: &Id, _: &[u8; 8], key: &[u8; 32]) -> Result<Vec<u8>> {
        Ok([b"wrapped".as_slice(), key].concat())
    }

    fn unwrap(&self, _: &Id, _: &[u8; 8], wrapped: &[u8]) -> Result<zeroize::Zeroizing<[u8; 32]>> {
        let key = wrapped.strip_prefix(b"wrapped").and_then(|key| <[u8; 32]>::try_from(key).ok());
        let refused = Error::External { source: std::io::Error::other("it never wrapped that") };
        key.map(zeroize::Zeroizing::new).ok_or(refused)
    }
}

#[test]
fn what_somebody_plants_beside_a_slot_shuts_its_holder_out_of_nothing() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let external = Credential::External(Arc::new(Wrapper));
    let id = admin.add_key(Role::Admin, &external, CHEAP).expect("added").info.id;
    let true_file = path.join(format!("keys/{id}-00000000.slot"));
    let slot = KeySlot::decode(&std::fs::read(&true_file).expect("read")).expect("a slot");
    // A copy of it from a later epoch, with another thing wrapped: the command refuses that, or unwraps another key.
    for wrapped in [b"nonsense".to_vec(), [b"wrapped".as_slice(), &[7; 32]].concat()] {
        let payload = vec![0; slot.payload.len() + 9 * slot.role.epoch_bytes()];
        let planted = KeySlot { epoch: 9, wrapped, payload, ..slot.clone() };
        std::fs::write(path.join(planted.object()), planted.encode()).expect("planted");
        let vault = open(&path, &external).expect("the true one opens");
        assert_eq!(vault.opened_by().epoch, 0);
        std::fs::remove_file(path.join(planted.object())).expect("removed");
    }
    // What is no slot has the name that a rotation is about to give.
    for name in [&id, &admin.opened_by().id] {
        std::fs::write(path.join(format!("keys/{name}-00000001.slot")), b"nothing").expect("planted");
    }
    let (vault, report) = admin.rotate_keys(false).expect("rotated all the same");
    assert_eq!(report.kept.len(), 2);
    drop(vault);
    for credential in [common::password(), external] {
        assert_eq!(open(&path, &credential).expect("opens").opened_by().epoch, 1);
    }
}

#[test]
fn a_clock_that_is_far_ahead_of_all_that_was_recorded_purges_nothing() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let (id, mut header) = (admin.header().vault, admin.header().clone());
    for seed in 0..2 {
        common::backup_bytes(&admin, "m", &[("os", &common::noise(seed, 100_000))]).expect("backup");
    }
    drop(admin);
    // The same vault as it would be had all of this happened in 2020: to it, the clock was set far ahead since.
    let keys = keys_of(&path, id, &common::password());
    let (chain, then) = (keys.chain_of("m"), 1_600_000_000_i64);
    header.created_unix_seconds = then.unsigned_abs();
    let bytes = header.encode(keys.authenticate_header(&header));
    for name in ["header", "header-copy"] {
        std::fs::write(path.join(name), bytes).expect("written");
    }
    let (mut predecessor, mut first) = ([0; 32], [0; 16]);
    for sequence in 0..2 {
        let stored = std::fs::read(path.join(catalog_entry::object(&chain, sequence))).expect("read");
        let Ok(Entry::Made(made)) = keys.open_entry(&chain, sequence, &stored) else { panic!("a point") };
        first = if sequence == 0 { made.point } else { first };
        let made = PointMade { predecessor, recorded_unix_seconds: then, time_unix_seconds: then, ..made };
        let sealed = keys.seal_entry(chain, sequence, &made).expect("sealed");
        predecessor = *blake3::hash(&sealed).as_bytes();
        place(&path, &chain, sequence, &sealed);
    }
    let forgotten = PointChanged {
        predecessor,
        change: Change::Forgotten { until_unix_seconds: then + 14 * 86_400 },
        point: first,
        recorded_unix_seconds: then,
        machine: "m".to_owned(),
        reason: String::new(),
    };
    place(&path, &chain, 2, &keys.seal_change(chain, 2, &forgotten).expect("sealed"));
    let vault = common::open(&path);
    assert!(vault.catalog_damage().is_empty() && vault.forgotten("m").len() == 1);
    let gc = |dry_run| {
        let options = GcOptions { dry_run, ..GcOptions::default() };
        common::open(&path).gc(&options, &GcProgress::default()).expect("gc")
    };
    for dry_run in [true, false, false] {
        let report = gc(dry_run);
        assert!(report.purged.is_empty() && report.removed_segments == 0, "{report:?}");
        let clock = report.clock_ahead.expect("it is told");
        assert_eq!(clock.last.as_second(), then);
    }
    // It was noted, which proves nothing before a day is over. What says the same as a day ago is believed, also of a vault
    // that nobody writes to any more.
    assert_eq!(files(&own_chain(&path, &keys)).len(), 2, "a dry run writes nothing");
    let two_days_ago = jiff::Timestamp::now().as_second() - 2 * 86_400;
    let note = VaultEvent { predecessor: [0; 32], recorded_unix_seconds: two_days_ago, event: Event::TimeNoted };
    std::fs::remove_dir_all(own_chain(&path, &keys)).expect("removed");
    place(&path, &keys.own_chain(), 0, &keys.seal_event(0, &note).expect("sealed"));
    let report = gc(false);
    assert!(report.clock_ahead.is_none() && report.purged.len() == 1 && report.removed_segments > 0, "{report:?}");
}
