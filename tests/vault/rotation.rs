//! Promise 4: a rotation of the keys shuts out whoever was removed, from what is written then and from forging what was
//! there, and shuts out nobody else.

use std::path::Path;

use crate::common;
use crate::common::{CHEAP, files};
use icecore::backup::Progress;
use icecore::error::Problem;
use icecore::format::key_slot::{KeySlot, Role, object};
use icecore::seal::{Credential, RecoveryKey, RoleKeys, Wish, wrap};
use icecore::vault::{KeyRequest, OpenOptions, RewriteProgress, Standing};
use icecore::{Error, ErrorKind, Result, Vault};

fn open(path: &Path, credential: &Credential) -> Result<Vault> {
    Vault::open(path, credential, &OpenOptions::default())
}

fn key_file(seed: u64) -> Credential {
    Credential::key_file(common::noise(seed, 64)).expect("long enough")
}

fn rotate(vault: Vault) -> Vault {
    vault.rotate_keys(false).expect("rotated").0
}

/// The epoch that a segment's header tells.
fn epochs_of_segments(path: &Path) -> Vec<u32> {
    let epoch = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).expect("segment");
        u32::from_le_bytes(bytes[48..52].try_into().expect("four bytes"))
    };
    files(&path.join("segments")).iter().map(epoch).collect()
}

#[test]
fn everybody_who_has_a_slot_goes_on_and_what_was_there_stays() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let mut admin = common::init(&path, &common::small());
    let recovery = RecoveryKey::generate().expect("random");
    let others = [
        (Role::Backup, key_file(1)),
        (Role::Restore, Credential::password(*b"restore")),
        (Role::Admin, recovery.credential()),
    ];
    for (role, credential) in &others {
        let request = KeyRequest {
            role: *role,
            credential: credential.clone(),
            cost: CHEAP,
            label: format!("a {}", role.name()),
        };
        admin.add(&request).expect("added");
    }
    let bytes = common::noise(1, 2 << 20);
    let mut points = vec![common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("backup").point];
    for epoch in 1..=3 {
        let (rotated, report) = admin.rotate_keys(false).expect("rotated");
        admin = rotated;
        assert_eq!((report.epoch, report.kept.len()), (epoch, 4));
        assert!(report.left_out.is_empty() && report.unreadable.is_empty());
        assert_eq!(files(&path.join("keys")).len(), 4, "the files of the epoch before are gone");
        assert_eq!(files(&path.join("epochs")).len(), 1, "and so is its inventory");
        // Deduplication goes on, for a key of the role backup too.
        let backup = open(&path, &key_file(1)).expect("the backup key opens");
        let made = common::backup_bytes(&backup, "m", &[("os", &bytes)]).expect("backup");
        assert!(made.added_bytes < 4096, "{} bytes", made.added_bytes);
        points.push(made.point);
        for (role, credential) in &others {
            let vault = open(&path, credential).expect("opens without anybody's help");
            assert_eq!((vault.opened_by().role, vault.opened_by().epoch), (*role, epoch));
            assert_eq!(vault.opened_by().label, format!("a {}", role.name()));
            assert!(common::verify(&vault).is_clean());
            for point in points.iter().filter(|_| *role != Role::Backup) {
                common::assert_same(&common::disk_bytes(&vault, point, "os").expect("read"), &bytes, "a point");
            }
        }
        for slot in admin.key_slots().expect("slots") {
            assert_eq!(slot.standing, Standing::Authentic, "{slot:?}");
        }
    }
    assert!(epochs_of_segments(&path).contains(&0) && epochs_of_segments(&path).contains(&3));
    assert!(common::verify(&common::open(&path)).is_clean());
}

#[test]
fn who_was_removed_opens_nothing_and_is_told_since_when() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let leaver = admin.add_key(Role::Restore, &key_file(1), CHEAP).expect("added").info.id;
    let bytes = common::noise(1, 100_000);
    common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("backup");
    let kept = folder.path().join("kept");
    common::copy_folder(&path, &kept);
    admin.remove_key(&leaver, false).expect("removed");
    assert!(matches!(open(&path, &key_file(1)), Err(Error::WrongKey { .. })));
    // He kept his slot's file, and puts it back before the rotation, and again after it.
    let name = format!("keys/{leaver}-00000000.slot");
    std::fs::copy(kept.join(&name), path.join(&name)).expect("copy");
    assert!(matches!(open(&path, &key_file(1)), Err(Error::RemovedKey)));
    let (admin, report) = admin.rotate_keys(false).expect("rotated");
    assert_eq!(report.kept.len(), 1);
    assert_eq!((&report.left_out[0].info.id, report.left_out[0].standing), (&leaver, Standing::Removed));
    std::fs::copy(kept.join(&name), path.join(&name)).expect("copy");
    match open(&path, &key_file(1)) {
        Err(error @ Error::Rotated { since_unix_seconds: Some(since) }) => {
            let now = jiff::Timestamp::now().as_second().unsigned_abs();
            assert!((now - 600..=now).contains(&since), "{since}");
            assert_eq!(error.kind(), ErrorKind::KeyHolder);
            assert!(error.to_string().contains("from before the rotation of 20"), "{error}");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    let listed = admin.key_slots().expect("slots");
    assert_eq!(listed.iter().find(|slot| slot.info.id == leaver).expect("listed").standing, Standing::Removed);
    // Nor does the next rotation give him anything.
    let (admin, report) = admin.rotate_keys(false).expect("rotated");
    assert_eq!(report.left_out.iter().map(|slot| slot.info.id.as_str()).collect::<Vec<_>>(), [leaver.as_str()]);
    assert!(matches!(open(&path, &key_file(1)), Err(Error::Rotated { .. })));

    // With all that he kept, he opens no segment and no entry that came since.
    common::backup_bytes(&admin, "m", &[("os", &common::noise(2, 100_000))]).expect("backup");
    for folder in ["segments", "catalog"] {
        for file in files(&path.join(folder)) {
            let target = kept.join(common::object(&path, &file));
            if !target.exists() {
                std::fs::create_dir_all(target.parent().expect("a folder")).expect("folder");
                std::fs::copy(&file, &target).expect("copy");
            }
        }
    }
    // The events of the rotations would only tell him what he knows.
    std::fs::remove_dir_all(own_chain(&kept)).expect("removed");
    let thief = open(&kept, &key_file(1)).expect("his copy opens");
    assert_eq!(thief.points("m").expect("points").len(), 1, "he sees a point that came since");
    assert!(thief.catalog_damage().iter().any(|damage| matches!(damage.problem, Problem::Epoch(2))));
    let report = common::verify(&thief);
    assert!(report.damage.iter().any(|error| matches!(error, Error::Damaged(damage)
        if damage.object.starts_with("segments/") && matches!(damage.problem, Problem::Epoch(2)))));
}

/// The folder of the vault's own chain: by the lengths of its events, which those of a point of `m` have not.
fn own_chain(path: &Path) -> std::path::PathBuf {
    let is_own = |entry: &&std::path::PathBuf| {
        let bytes = std::fs::read(entry).expect("an entry");
        [136, 168].contains(&u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")))
    };
    let entries = files(&path.join("catalog"));
    entries.iter().find(is_own).and_then(|entry| entry.parent()).expect("its folder").to_owned()
}

#[test]
fn a_slot_that_could_not_be_read_when_keys_were_rotated_is_told_and_is_outdated_then() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let alice = admin.add_key(Role::Restore, &key_file(1), CHEAP).expect("added").info.id;
    let file = path.join(format!("keys/{alice}-00000000.slot"));
    let original = std::fs::read(&file).expect("slot");
    std::fs::write(&file, &original[..300]).expect("damaged");
    let (admin, report) = admin.rotate_keys(false).expect("rotated");
    assert_eq!(report.unreadable.len(), 1);
    assert_eq!(report.unreadable[0].object(), Some(common::object(&path, &file).as_str()));
    std::fs::write(&file, &original).expect("mended");
    assert!(matches!(open(&path, &key_file(1)), Err(Error::Rotated { since_unix_seconds: Some(_) })));
    let listed = admin.key_slots().expect("slots");
    assert_eq!(listed.iter().find(|slot| slot.info.id == alice).expect("listed").standing, Standing::Outdated);
    let (_, report) = admin.rotate_keys(false).expect("rotated");
    assert_eq!((&report.left_out[0].info.id, report.left_out[0].standing), (&alice, Standing::Outdated));
}

#[test]
fn what_is_forged_with_old_keys_is_refused() {
    let folder = common::scratch();
    let [path, kept] = ["vault", "kept"].map(|name| folder.path().join(name));
    let admin = common::init(&path, &common::small());
    let leaver = admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added").info.id;
    let bytes = common::noise(1, 300_000);
    let point = common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("backup").point;
    common::copy_folder(&path, &kept);
    std::fs::create_dir_all(kept.join("epochs")).expect("folder");
    admin.remove_key(&leaver, false).expect("removed");

    // In his copy he makes a point, and puts what it is made of into the vault.
    let forged = common::noise(7, 300_000);
    let thief = open(&kept, &key_file(1)).expect("his copy opens");
    common::backup_bytes(&thief, "m", &[("os", &forged)]).expect("backup");
    let plant = |into: &Path| {
        for folder in ["segments", "catalog", "index"] {
            for file in files(&kept.join(folder)) {
                let target = into.join(common::object(&kept, &file));
                if !target.exists() {
                    std::fs::copy(&file, &target).expect("copy");
                }
            }
        }
    };
    // Without a rotation that works, as it does for any key of the role backup.
    let without = folder.path().join("without");
    common::copy_folder(&path, &without);
    std::fs::create_dir_all(without.join("epochs")).expect("folder");
    plant(&without);
    assert_eq!(common::open(&without).points("m").expect("points").len(), 2);

    let admin = rotate(admin);
    plant(&path);
    let vault = common::open(&path);
    let points = vault.points("m").expect("points");
    assert_eq!(points.iter().map(|point| &point.id).collect::<Vec<_>>(), [&point.id]);
    let outlived = |damage: &icecore::error::Damage| damage.problem == Problem::Outlived;
    assert!(vault.catalog_damage().iter().any(outlived));
    let report = common::verify(&vault);
    let refused = report.damage.iter().filter(|error| matches!(error, Error::Damaged(damage) if outlived(damage)));
    assert!(refused.count() >= 3, "entry and segments are told: {:?}", report.damage);
    assert!(report.hit.is_empty(), "no true point is hit");
    // A backup of what he forged relies on nothing of his.
    let made = common::backup_bytes(&vault, "m", &[("os", &forged)]).expect("backup");
    assert!(made.added_bytes > 300_000, "{} bytes", made.added_bytes);
    common::assert_same(&common::disk_bytes(&vault, &made.point, "os").expect("read"), &forged, "the next point");
    // Nor does the next rotation take it for true.
    let vault = rotate(admin);
    assert_eq!(vault.points("m").expect("points").len(), 2);
    assert!(vault.catalog_damage().iter().any(outlived));
}

#[test]
fn nobody_writes_under_old_keys_where_a_rotation_was_undone_and_newer_entries_are_left() {
    let folder = common::scratch();
    let [path, kept] = ["vault", "kept"].map(|name| folder.path().join(name));
    let admin = common::init(&path, &common::small());
    admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
    let bytes = common::noise(1, 100_000);
    common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("backup");
    common::copy_folder(&path, &kept);
    let admin = rotate(admin);
    common::backup_bytes(&admin, "m", &[("os", &common::noise(2, 100_000))]).expect("backup");
    // Slots and the vault's own chain as they were before; what came since is left.
    for slot in files(&path.join("keys")) {
        std::fs::remove_file(slot).expect("removed");
    }
    common::copy_folder(&kept.join("keys"), &path.join("keys"));
    std::fs::remove_dir_all(own_chain(&path)).expect("removed");
    let client = open(&path, &key_file(1)).expect("the old slot opens");
    let refused = common::backup_bytes(&client, "m", &[("os", &common::noise(3, 100_000))]).expect_err("old keys");
    assert!(matches!(refused, Error::Rotated { .. }), "{refused}");
}

#[test]
fn a_slot_that_no_administrator_made_gets_no_keys() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let alice = admin.add_key(Role::Backup, &key_file(1), CHEAP).expect("added").info.id;
    let vault_id = admin.header().vault;
    let credential = key_file(9);
    let wish = Wish {
        role: Role::Admin,
        credential: &credential,
        cost: CHEAP,
        label: "surely an administrator",
        now_unix_seconds: 1,
        epoch_unix_seconds: 1,
    };
    let planted = wrap(vault_id, &RoleKeys::generate().expect("random"), &wish).expect("a slot");
    let planted_id = icecore::format::hex(&planted.id);
    std::fs::write(path.join(object(&planted.id, 0)), planted.encode()).expect("planted");
    // And one of alice's, whose keys somebody else sealed to her public half.
    let own = path.join(format!("keys/{alice}-00000000.slot"));
    let original = std::fs::read(&own).expect("slot");
    let slot = KeySlot::decode(&original).expect("a slot");
    let [bob, evil] = [key_file(2), key_file(3)];
    let forge = |credential| {
        let wish = Wish { role: Role::Backup, credential, label: "", ..wish };
        wrap(vault_id, &RoleKeys::generate().expect("random"), &wish)
    };
    let other = forge(&bob).expect("a slot");
    let swapped = KeySlot {
        encapsulated: other.encapsulated,
        payload: other.payload,
        escrow: other.escrow,
        authenticator: other.authenticator,
        ..slot.clone()
    };
    std::fs::write(&own, swapped.encode()).expect("forged");
    let error = open(&path, &key_file(1)).map(|_| ()).expect_err("other keys than the vault's");
    assert!(
        matches!(&error, Error::Damaged(damage)
        if damage.problem == Problem::Authentication("key slot") && damage.object.contains(&alice)),
        "{error}"
    );
    // A label or role that an administrator did not give.
    for forged in [
        KeySlot { label: "bob".to_owned(), ..slot.clone() },
        KeySlot { public: forge(&evil).expect("a slot").public, ..slot.clone() },
    ] {
        std::fs::write(&own, forged.encode()).expect("forged");
        assert_eq!(open(&path, &key_file(1)).map(|_| ()).expect_err("forged").kind(), ErrorKind::Damaged);
        let listed = admin.key_slots().expect("slots");
        assert_eq!(listed.iter().find(|slot| slot.info.id == alice).expect("listed").standing, Standing::Forged);
    }
    std::fs::write(&own, &original).expect("repaired");

    let listed = admin.key_slots().expect("slots");
    let standing = |id: &str| listed.iter().find(|slot| slot.info.id == id).map(|slot| slot.standing);
    assert_eq!((standing(&alice), standing(&planted_id)), (Some(Standing::Authentic), Some(Standing::Forged)));
    // It is no administrator's slot, whatever it says.
    assert!(matches!(admin.remove_key(&admin.opened_by().id.clone(), true), Err(Error::LastAdminSlot)));
    let (admin, report) = admin.rotate_keys(false).expect("rotated");
    assert_eq!((report.kept.len(), report.left_out.len()), (2, 1));
    assert_eq!((&report.left_out[0].info.id, report.left_out[0].standing), (&planted_id, Standing::Forged));
    assert!(open(&path, &credential).is_err());
    // Others than administrators can't tell, and say so.
    let backup = open(&path, &key_file(1)).expect("alice opens");
    assert!(backup.key_slots().expect("slots").iter().any(|slot| slot.standing == Standing::Unchecked));
    admin.remove_key(&planted_id, false).expect("it can be removed");
}

#[test]
fn what_was_open_before_goes_on_reading_and_writes_no_more() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let before = common::init(&path, &common::small());
    let bytes = common::noise(1, 500_000);
    let point = common::backup_bytes(&before, "m", &[("os", &bytes)]).expect("backup").point;
    let other = common::open(&path);
    let after = rotate(common::open(&path));
    common::assert_same(&common::disk_bytes(&before, &point, "os").expect("read"), &bytes, "as before");
    let error = common::backup_bytes(&before, "m", &[("os", &bytes)]).expect_err("old keys");
    assert!(matches!(error, Error::Rotated { since_unix_seconds: Some(_) }), "{error}");
    assert!(matches!(before.add_key(Role::Backup, &key_file(1), CHEAP), Err(Error::Rotated { .. })));
    assert!(matches!(before.remove_key("0011223344556677", false), Err(Error::Rotated { .. })));
    assert!(matches!(other.rotate_keys(false), Err(Error::Rotated { .. })));
    common::backup_bytes(&after, "m", &[("os", &bytes)]).expect("the new keys write");
    assert_eq!(common::open(&path).points("m").expect("points").len(), 2);
    // A slot that is added now holds all epochs.
    after.add_key(Role::Restore, &key_file(5), CHEAP).expect("added");
    let reader = open(&path, &key_file(5)).expect("opens");
    common::assert_same(&common::disk_bytes(&reader, &point, "os").expect("read"), &bytes, "of before");
}

#[test]
fn a_password_is_changed_and_the_old_one_opens_no_more() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &icecore::vault::InitOptions { label: "alice".to_owned(), ..common::small() });
    let old = admin.opened_by().id.clone();
    let new = Credential::password(*b"a better one");
    let slot = admin.change_own_key(&new, CHEAP).expect("changed");
    assert_ne!(slot.info.id, old);
    assert!(matches!(open(&path, &common::password()), Err(Error::WrongKey { slots: 1 })));
    let vault = open(&path, &new).expect("opens");
    assert_eq!((vault.opened_by().label.as_str(), vault.opened_by().role), ("alice", Role::Admin));
    vault.add_key(Role::Restore, &key_file(1), CHEAP).expect("added");
    let reader = open(&path, &key_file(1)).expect("opens");
    assert!(matches!(reader.change_own_key(&new, CHEAP), Err(Error::NotPermitted { .. })));
    assert!(matches!(reader.rotate_keys(false), Err(Error::NotPermitted { .. })));
    // The one in use goes only where that is said.
    vault.add_key(Role::Admin, &key_file(2), CHEAP).expect("added");
    assert!(matches!(vault.remove_key(&slot.info.id, false), Err(Error::OwnSlot)));
    vault.remove_key(&slot.info.id, true).expect("removed");
}

#[test]
fn a_lost_inventory_closes_no_point_and_a_rotation_mends_it() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = common::noise(1, 100_000);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    drop(rotate(vault));
    let inventory = files(&path.join("epochs")).remove(0);
    let original = std::fs::read(&inventory).expect("inventory");
    for damage in [None, Some(100), Some(original.len() - 1)] {
        match damage {
            None => std::fs::remove_file(&inventory).expect("removed"),
            Some(at) => {
                let mut bytes = original.clone();
                bytes[at] ^= 1;
                std::fs::write(&inventory, bytes).expect("damaged");
            }
        }
        let vault = common::open(&path);
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "a point of before");
        let report = common::verify(&vault);
        assert!(report.damage.iter().any(|error| error.object() == Some(&common::object(&path, &inventory))));
        let refused = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect_err("what counts is not known");
        assert_eq!(refused.object(), Some(common::object(&path, &inventory).as_str()), "{refused}");
    }
    let vault = rotate(common::open(&path));
    assert!(common::verify(&vault).is_clean());
    common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
}

#[test]
fn a_damaged_event_of_the_vaults_own_chain_closes_no_point_and_a_rotation_mends_it() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = rotate(common::init(&path, &common::small()));
    let event = files(&path.join("catalog")).remove(0);
    let bytes = common::noise(1, 100_000);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    let mut damaged = std::fs::read(&event).expect("event");
    damaged[100] ^= 1;
    std::fs::write(&event, damaged).expect("damaged");
    let vault = common::open(&path);
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "a point");
    assert!(!common::verify(&vault).is_clean());
    assert_eq!(common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect_err("refused").kind(), ErrorKind::Damaged);
    let vault = rotate(vault);
    common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    let vault = common::open(&path);
    assert_eq!(vault.points("m").expect("points").len(), 2);
}

#[test]
fn a_rewrite_leaves_nothing_under_old_keys_and_every_point_whole() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let disks: Vec<Vec<u8>> =
        (0..3).map(|day| [common::noise(day, 2_500_000), common::text(day, 400_000)].concat()).collect();
    let points: Vec<_> =
        disks.iter().map(|disk| common::backup_bytes(&vault, "m", &[("os", disk)]).expect("backup").point).collect();
    let (vault, _) = vault.rotate_keys(true).expect("rotated");
    assert!(vault.rewrite_is_pending().expect("known"));
    let before = common::segment_bytes(&path);
    // Others read and back up meanwhile.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let [reading, writing] = [common::open(&path), common::open(&path)];
        let (stop, disks, points) = (&stop, &disks, &points);
        let reader = scope.spawn(move || {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::Acquire) || rounds < 2 {
                for (point, disk) in points.iter().zip(disks) {
                    common::assert_same(&common::disk_bytes(&reading, point, "os").expect("read"), disk, "meanwhile");
                }
                rounds += 1;
            }
        });
        let writer = scope.spawn(move || common::backup_bytes(&writing, "n", &[("os", &disks[0])]).expect("backup"));
        let report = vault.rewrite(&RewriteProgress::default()).expect("rewritten");
        stop.store(true, std::sync::atomic::Ordering::Release);
        reader.join().expect("the reader");
        writer.join().expect("the writer");
        report
    });
    assert!(report.left.is_empty() && report.segments > 5 && report.records > 2000, "{report:?}");
    assert!(epochs_of_segments(&path).iter().all(|epoch| *epoch == 1), "{:?}", epochs_of_segments(&path));
    assert!(common::segment_bytes(&path) < before + before / 20, "nothing is there twice");
    assert!(!vault.rewrite_is_pending().expect("known"));
    for vault in [vault, common::open(&path)] {
        assert!(common::verify(&vault).is_clean());
        for (point, disk) in points.iter().zip(&disks) {
            common::assert_same(&common::disk_bytes(&vault, point, "os").expect("read"), disk, "afterwards");
        }
        let again = common::backup_bytes(&vault, "m", &[("os", &disks[2])]).expect("backup");
        assert!(again.added_bytes < 4096, "{} bytes", again.added_bytes);
    }
}

#[test]
fn a_rewrite_leaves_damaged_segments_as_they_are_and_goes_on_with_the_rest() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = common::noise(1, 3_000_000);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    let damaged = files(&path.join("segments")).into_iter().find(|file| std::fs::read(file).expect("segment")[12] == 1);
    let damaged = damaged.expect("a data segment");
    let mut content = std::fs::read(&damaged).expect("segment");
    content[192 + 96 + 40] ^= 1;
    std::fs::write(&damaged, content).expect("damage");
    let (vault, _) = vault.rotate_keys(true).expect("rotated");
    let report = vault.rewrite(&RewriteProgress::default()).expect("rewritten");
    assert_eq!(report.left.len(), 1, "{report:?}");
    assert_eq!(report.left[0].object(), Some(common::object(&path, &damaged).as_str()));
    assert!(damaged.exists() && epochs_of_segments(&path).iter().filter(|epoch| **epoch == 0).count() == 1);
    // What was whole in it reads as before.
    let map = vault.disk(&point, "os").expect("a disk");
    let mut lost = 0;
    for (number, expected) in bytes.chunks(4096).enumerate() {
        let mut chunk = vec![0; expected.len()];
        match map.read(number as u64 * 4096, &mut chunk) {
            Ok(_) => common::assert_same(&chunk, expected, "a chunk"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged);
                lost += 1;
            }
        }
    }
    assert_eq!(lost, 1);
}

#[test]
fn a_rewrite_that_was_ended_at_any_moment_is_gone_on_with() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = common::noise(1, 4_000_000);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    let (vault, _) = vault.rotate_keys(true).expect("rotated");
    // As if killed between the copy and the removal: both are there.
    let kept = folder.path().join("old-segments");
    common::copy_folder(&path.join("segments"), &kept);
    vault.rewrite(&RewriteProgress::default()).expect("rewritten");
    let bytes_moved = common::segment_bytes(&path);
    for file in std::fs::read_dir(&kept).expect("old segments").flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(file.path(), path.join("segments").join(file.file_name())).expect("put back");
    }
    let vault = common::open(&path);
    assert!(vault.rewrite_is_pending().expect("known"));
    let report = vault.rewrite(&RewriteProgress::default()).expect("gone on");
    assert_eq!((report.records, report.left.len()), (0, 0), "{report:?}");
    assert_eq!(common::segment_bytes(&path), bytes_moved, "nothing was copied twice");
    common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "a point");
    // And one that is told to stop.
    let (vault, _) = vault.rotate_keys(true).expect("rotated");
    let progress = RewriteProgress::default();
    progress.cancel();
    assert!(matches!(vault.rewrite(&progress), Err(Error::Interrupted)));
    assert!(vault.rewrite_is_pending().expect("known"));
    assert!(common::verify(&vault).is_clean());
    vault.rewrite(&RewriteProgress::default()).expect("gone on");
    assert!(epochs_of_segments(&path).iter().all(|epoch| *epoch == 2));
    assert_eq!(
        vault
            .backup(&common::memory_request("m", &[("os", &bytes)]), &Progress::default())
            .expect("backup")
            .manifest
            .disks[0]
            .new_bytes,
        0
    );
}

#[test]
fn who_reads_what_was_moved_since_is_told_of_the_rotation_and_not_of_damage() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = common::noise(1, 300_000);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    let before = common::open(&path);
    let after = vault.rotate_keys(true).expect("rotated").0;
    after.rewrite(&RewriteProgress::default()).expect("moved");
    for _ in 0..2 {
        let error = common::disk_bytes(&before, &point, "os").expect_err("it is under other keys");
        assert!(matches!(error, Error::Rotated { .. }), "{error}");
    }
    common::assert_same(&common::disk_bytes(&after, &point, "os").expect("read"), &bytes, "with the new ones");
}

#[test]
fn nobody_backs_up_under_keys_that_the_segments_outlived() {
    let folder = common::scratch();
    let [path, old] = ["vault", "old"].map(|name| folder.path().join(name));
    let vault = common::init(&path, &common::small());
    common::backup_bytes(&vault, "m", &[("os", &common::noise(1, 100_000))]).expect("backup");
    common::copy_folder(&path, &old);
    let vault = vault.rotate_keys(false).expect("rotated").0;
    common::backup_bytes(&vault, "m", &[("os", &common::noise(2, 100_000))]).expect("backup");
    // Its keys and its catalog as they were, and its segments as they are.
    std::fs::remove_dir_all(old.join("segments")).expect("removed");
    common::copy_folder(&path.join("segments"), &old.join("segments"));
    let before = common::open(&old);
    let refused =
        common::backup_bytes(&before, "m", &[("os", &common::noise(3, 100_000))]).expect_err("it would be void");
    assert!(matches!(refused, Error::Rotated { .. }), "{refused}");
    assert_eq!(before.points("m").expect("points").len(), 1);
}
