//! Promises 1, 2 and 6: a point that was copied into another vault is there byte for byte, costs what the target did not
//! have, and is listed only when all of it is durable; what is damaged or gone is told, and nothing else of it is hurt.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::{CHEAP, files};
use icecore::backup::Progress;
use icecore::format::catalog_entry::PointMade;
use icecore::format::key_slot::{KeySlot, Role};
use icecore::format::segment::RecordType;
use icecore::format::{catalog_entry, id_from_hex};
use icecore::media::{DirectoryMedia, ReadMode};
use icecore::point::{Consistency, PointInfo, Until};
use icecore::seal::{Credential, VaultKeys, open_any};
use icecore::store::{Store, Stored, Writer};
use icecore::vault::{
    CopyOptions, CopyPlan, CopyProgress, CopyReport, CopySkip, CopyWanted, CopyWay, GcOptions, GcProgress, InitOptions,
    OpenOptions, Quota, RepairProgress, RepairSources, SoftDelete,
};
use icecore::{Error, Result, Vault};

fn key_file(seed: u64) -> Credential {
    Credential::key_file(common::noise(seed, 64)).expect("long enough")
}

fn open_as(path: &Path, credential: &Credential) -> Vault {
    Vault::open(path, credential, &OpenOptions::default()).expect("open")
}

fn machine(name: &str) -> CopyWanted {
    CopyWanted { machine: name.to_owned(), point: None }
}

fn point(machine: &str, point: &str) -> CopyWanted {
    CopyWanted { machine: machine.to_owned(), point: Some(point.to_owned()) }
}

fn copy_planned(from: &Vault, to: &Vault, plan: &CopyPlan) -> CopyReport {
    from.copy_to(to, plan, &CopyOptions::default(), &CopyProgress::default()).expect("copied")
}

fn copy(from: &Vault, to: &Vault, wanted: &[CopyWanted]) -> CopyReport {
    copy_planned(from, to, &from.plan_copy(to, wanted).expect("planned"))
}

/// A disk of more than one level of nodes, with a hole, text and noise.
fn disk(seed: u64) -> Vec<u8> {
    let mut bytes = common::noise(seed, 1_700_000);
    bytes[300_000..800_000].fill(0);
    bytes[900_000..1_300_000].copy_from_slice(&common::text(seed, 400_000));
    bytes
}

/// The same a day later: a little of it changed.
fn day(seed: u64, day: u64) -> Vec<u8> {
    let mut bytes = disk(seed);
    let at = 100_000 + usize::try_from(day).expect("a few") * 200_000;
    bytes[at..at + 10_000].copy_from_slice(&common::noise(1000 * seed + day, 10_000));
    bytes
}

/// A vault with three points of `web` and one of `db`.
fn source(path: &Path, options: &InitOptions) -> Vault {
    let vault = common::init(path, options);
    for number in 0..3 {
        common::backup_bytes(&vault, "web", &[("os", &day(1, number)), ("data", &disk(2))]).expect("backup");
    }
    let mut request = common::memory_request("db", &[("os", &disk(3)), ("empty", &[]), ("holes", &[0; 50_000])]);
    request.consistency = Consistency::Application;
    request.tags = vec!["before-upgrade".to_owned()];
    vault.backup(&request, &Progress::default()).expect("backup");
    vault
}

struct Both {
    folder: tempfile::TempDir,
    from: Vault,
    to: Vault,
}

impl Both {
    fn new() -> Self {
        let folder = common::scratch();
        let from = source(&folder.path().join("from"), &common::small());
        let to = common::init(&folder.path().join("to"), &common::small());
        Self { folder, from, to }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Every point of a vault is in another one, whole; returns how many there are.
fn assert_copied(from: &Vault, to: &Vault) -> usize {
    let mut points = 0;
    for name in from.machines() {
        for point in from.points(&name).expect("points") {
            assert_same_point(from, to, &point);
            points += 1;
        }
    }
    let report = common::verify(to);
    assert!(report.is_clean(), "{:?} {:?}", report.damage, report.hit);
    points
}

fn assert_same_point(from: &Vault, to: &Vault, point: &PointInfo) {
    let there = to.point(&point.machine, &point.id).expect("it is there");
    // Of several points of one second, the names follow the order in which they came.
    assert_eq!((&there.name[..20], there.time, there.consistency), (&point.name[..20], point.time, point.consistency));
    let (mut here, there_too) = (from.manifest(point).expect("manifest"), to.manifest(&there).expect("manifest"));
    assert_eq!((&here.tags, here.started, here.ended), (&there_too.tags, there_too.started, there_too.ended));
    for disk in here.disks.drain(..) {
        let twin = there_too.disk(&disk.name).expect("the disk");
        assert_eq!(
            (disk.size_bytes, disk.zero_bytes, &disk.missing),
            (twin.size_bytes, twin.zero_bytes, &twin.missing)
        );
        let bytes = common::disk_bytes(from, point, &disk.name).expect("read");
        common::assert_same(&common::disk_bytes(to, &there, &disk.name).expect("read"), &bytes, &disk.name);
    }
}

#[test]
fn every_disk_of_every_point_comes_through_with_lesser_keys() {
    let both = Both::new();
    // Who copies reads here and only adds there.
    both.from.add_key(Role::Restore, &key_file(1), CHEAP).expect("added");
    both.to.add_key(Role::Backup, &key_file(2), CHEAP).expect("added");
    let (reads, adds) = (open_as(&both.path("from"), &key_file(1)), open_as(&both.path("to"), &key_file(2)));
    let plan = reads.plan_copy(&adds, &[]).expect("planned");
    assert_eq!((plan.way, plan.points.len(), plan.skipped.len()), (CopyWay::Records, 4, 0));
    let progress = CopyProgress::default();
    let report = reads.copy_to(&adds, &plan, &CopyOptions::default(), &progress).expect("copied");
    assert_eq!((report.copied.len(), report.is_complete()), (4, true));
    assert_eq!(progress.done_bytes(), progress.total_bytes());
    assert!(progress.total_bytes() > 10_000_000);
    let read: u64 = report.copied.iter().map(|one| one.read_bytes).sum();
    assert!(read < 4_200_000, "{read}: what a point shares with the one before is read once");
    assert_eq!(assert_copied(&both.from, &common::open(&both.path("to"))), 4);
    // Nothing is left to do, and nothing is done.
    let before = files(&both.path("to"));
    let again = copy(&reads, &adds, &[]);
    assert_eq!((again.copied.len(), again.added_bytes, before == files(&both.path("to"))), (0, 0, true));
}

#[test]
fn a_second_copy_costs_what_changed() {
    let both = Both::new();
    copy(&both.from, &both.to, &[]);
    common::backup_bytes(&both.from, "web", &[("os", &day(1, 6)), ("data", &disk(2))]).expect("backup");
    // A new process remembers nothing.
    let (from, to) = (common::open(&both.path("from")), common::open(&both.path("to")));
    let report = copy(&from, &to, &[]);
    let one = &report.copied[0];
    assert!(one.new_bytes >= 10_000 && one.new_bytes <= 20_000, "{one:?}");
    assert!(one.read_bytes <= 40_000, "two places changed, three chunks each: {one:?}");
    assert!(report.added_bytes < 80_000 && report.refuted.is_empty(), "{report:?}");
    assert_eq!(assert_copied(&from, &to), 5);
    // Asked to, it reads all, and stores as little.
    common::backup_bytes(&from, "web", &[("os", &day(1, 6)), ("data", &disk(2))]).expect("backup");
    let plan = from.plan_copy(&to, &[]).expect("planned");
    let options = CopyOptions { reads_all: true, ..CopyOptions::default() };
    let report = from.copy_to(&to, &plan, &options, &CopyProgress::default()).expect("copied");
    assert!(report.copied[0].read_bytes > 2_000_000 && report.copied[0].new_bytes == 0, "{report:?}");
    assert_eq!(assert_copied(&from, &to), 6);
}

#[test]
fn what_the_target_has_of_its_own_is_not_stored_again() {
    let both = Both::new();
    common::backup_bytes(&both.to, "other", &[("os", &day(1, 0)), ("data", &disk(2))]).expect("backup");
    let oldest = both.from.points("web").expect("points").remove(0);
    let report = copy(&both.from, &both.to, &[point("web", &oldest.name)]);
    assert_eq!(report.copied[0].new_bytes, 0, "{report:?}");
    assert!(report.copied[0].read_bytes > 2_000_000);
    assert_same_point(&both.from, &both.to, &oldest);
    // Compressed bytes stay as they are, whatever the target's own level.
    let level = InitOptions { level: 19, ..common::small() };
    let other = common::init(&both.path("other"), &level);
    copy(&both.from, &other, &[point("web", &oldest.id[..8])]);
    let stored = |vault: &Vault| vault.manifest(&vault.point("web", &oldest.id).expect("there")).expect("manifest");
    assert_eq!(stored(&other).disks[1].stored_bytes, stored(&both.from).disks[1].stored_bytes);
}

#[test]
fn points_are_chosen_by_name_id_and_machine() {
    let both = Both::new();
    let web = both.from.points("web").expect("points");
    copy(&both.from, &both.to, &[point("web", "latest"), point("web", &web[0].id[..8])]);
    assert_eq!(both.to.points("web").expect("points").len(), 2);
    let plan = both.from.plan_copy(&both.to, &[machine("web"), point("web", "latest")]).expect("planned");
    assert_eq!(plan.points.iter().map(|point| &point.id).collect::<Vec<_>>(), [&web[1].id]);
    assert_eq!(plan.skipped.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [CopySkip::Known; 2]);
    copy_planned(&both.from, &both.to, &plan);
    assert!(both.to.points("db").is_err());
    for (wanted, unknown) in [(machine("mail"), true), (point("web", "2020-01-01T00-00-00Z"), false)] {
        match both.from.plan_copy(&both.to, &[wanted]).expect_err("it is not there") {
            Error::UnknownMachine { .. } => assert!(unknown),
            error => assert!(!unknown && matches!(error, Error::UnknownPoint { .. }), "{error}"),
        }
    }
    // What was forgotten here is not copied, and what was there stays forgotten, or gone.
    both.from.forget(&web[1], "", false).expect("forgotten");
    assert!(matches!(both.from.plan_copy(&both.to, &[point("web", &web[1].name)]), Err(Error::Forgotten { .. })));
    both.from.undelete("web", &web[1].id).expect("brought back");
    both.to.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    both.to.forget(&both.to.point("web", &web[0].id).expect("there"), "", false).expect("forgotten");
    both.to.gc(&GcOptions::default(), &GcProgress::default()).expect("purged");
    both.to.set_soft_delete(SoftDelete::default()).expect("set");
    both.to.forget(&both.to.point("web", &web[1].id).expect("there"), "", false).expect("forgotten");
    let plan = both.from.plan_copy(&both.to, &[machine("web")]).expect("planned");
    let why: Vec<CopySkip> = plan.skipped.iter().map(|(_, why)| *why).collect();
    assert_eq!((plan.points.len(), why), (0, vec![CopySkip::Purged, CopySkip::Forgotten, CopySkip::Known]));
}

#[test]
fn what_can_not_be_a_target_is_refused() {
    let both = Both::new();
    let refused = |to: &Vault| match both.from.plan_copy(to, &[]) {
        Err(Error::Invalid { what: "target", rule, .. }) => rule.to_owned(),
        other => panic!("{other:?}"),
    };
    assert!(refused(&both.from).contains("itself"));
    std::os::unix::fs::symlink(both.path("from"), both.path("link")).expect("a link");
    assert!(refused(&common::open(&both.path("link"))).contains("itself"));
    let inside = common::init(&both.path("from/inside"), &common::small());
    assert!(refused(&inside).contains("inside"));
    let plan = inside.plan_copy(&both.from, &[]);
    assert!(matches!(plan, Err(Error::Invalid { .. })), "{plan:?}");
    let other = common::init(&both.path("other"), &InitOptions { chunk_bytes: 8192, ..common::small() });
    assert!(refused(&other).contains("another size"));
    let salvage = OpenOptions { salvage: true, ..OpenOptions::default() };
    let salvaged = Vault::open(&both.path("to"), &common::password(), &salvage).expect("open");
    assert!(refused(&salvaged).contains("salvage"));
    both.from.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
    let blind = open_as(&both.path("from"), &key_file(1)).plan_copy(&both.to, &[]);
    assert!(matches!(blind, Err(Error::NotPermitted { .. })), "{blind:?}");
    // A catalog that hides something may hide that a point is there.
    common::backup_bytes(&both.to, "web", &[("os", &disk(9))]).expect("backup");
    let entry = files(&both.path("to/catalog")).pop().expect("an entry");
    std::fs::write(&entry, b"nothing").expect("damaged");
    let damaged = both.from.plan_copy(&common::open(&both.path("to")), &[]);
    assert!(matches!(damaged, Err(Error::Damaged(_))), "{damaged:?}");
}

#[test]
fn damage_costs_the_points_that_need_it_and_no_others() {
    let both = Both::new();
    let whole = both.path("whole");
    let before = files(&both.path("from/segments"));
    let hurt =
        common::backup_bytes(&both.from, "web", &[("os", &day(1, 7)), ("data", &disk(8))]).expect("backup").point;
    common::copy_folder(&both.path("from"), &whole);
    common::damage_new_data(&both.path("from"), &before);
    common::backup_bytes(&both.from, "web", &[("os", &day(1, 5)), ("data", &disk(2))]).expect("backup");
    let from = common::open(&both.path("from"));
    let report = copy(&from, &both.to, &[]);
    assert_eq!((report.copied.len(), report.failed.len()), (5, 1), "{report:?}");
    let failed = &report.failed[0];
    assert_eq!((failed.path.clone(), failed.is_all), (format!("web/{}", hurt.name), true));
    assert!(matches!(failed.error, Error::Damaged(_)));
    // Exactly what a reader does not get.
    let hit: u64 = failed.hit.iter().map(|hit| hit.range.bytes()).sum();
    assert!((1..=8192).contains(&hit), "{failed:?}");
    for hit in &failed.hit {
        let map = from.disk(&hurt, &hit.disk).expect("the disk");
        let mut bytes = vec![0; usize::try_from(hit.range.bytes()).expect("small")];
        assert!(map.read(hit.range.start, &mut bytes).is_err());
    }
    assert!(matches!(both.to.point("web", &hurt.id), Err(Error::UnknownPoint { .. })));
    assert!(common::verify(&both.to).is_clean());
    // Repaired, it follows; what was read of it before is there.
    let sources = RepairSources::default().copy(&whole);
    let repair = Vault::plan_repair(&both.path("from"), Some(&common::password()), sources, &RepairProgress::default());
    repair.expect("planned").write(&RepairProgress::default()).expect("repaired");
    let from = common::open(&both.path("from"));
    let report = copy(&from, &both.to, &[]);
    assert!(report.copied[0].new_bytes <= 8192, "{report:?}");
    assert_eq!(assert_copied(&from, &both.to), 6);
}

#[test]
fn a_point_that_is_lost_whole_is_told() {
    let both = Both::new();
    let last = both.from.points("db").expect("points").remove(0);
    // Its maps and manifest are in the newest segment that holds no data.
    let newest =
        files(&both.path("from/segments")).into_iter().filter(|file| std::fs::read(file).expect("read")[12] == 2);
    let newest = newest.max_by_key(|file| file.metadata().expect("stat").modified().expect("time")).expect("one");
    std::fs::write(&newest, b"nothing").expect("damaged");
    let from = common::open(&both.path("from"));
    let report = copy(&from, &both.to, &[]);
    assert_eq!((report.copied.len(), report.failed.len()), (3, 1), "{report:?}");
    assert_eq!(
        (report.failed[0].path.clone(), report.failed[0].hit[0].disk.as_str()),
        (format!("db/{}", last.name), "(all)")
    );
    assert!(both.to.points("db").is_err());
}

#[test]
fn a_point_that_is_purged_meanwhile_costs_itself() {
    let both = Both::new();
    let plan = both.from.plan_copy(&both.to, &[]).expect("planned");
    let other = common::open(&both.path("from"));
    other.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let gone = other.points("db").expect("points").remove(0);
    other.forget(&gone, "", true).expect("forgotten");
    other.gc(&GcOptions::default(), &GcProgress::default()).expect("purged");
    let report = copy_planned(&both.from, &both.to, &plan);
    assert_eq!((report.copied.len(), report.failed.len()), (3, 1), "{report:?}");
    assert!(matches!(&report.failed[0].error, Error::Purged { machine, .. } if machine == "db"), "{report:?}");
    assert!(report.failed[0].hit.is_empty());
    assert_eq!(assert_copied(&other, &both.to), 3);
}

#[test]
fn several_copy_into_one_target_at_once() {
    let both = Both::new();
    let folder = common::scratch();
    let second = source(&folder.path().join("second"), &common::small());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            for from in [both.path("from"), folder.path().join("second")] {
                let to = both.path("to");
                scope.spawn(move || {
                    let report = copy(&common::open(&from), &common::open(&to), &[]);
                    assert!(report.is_complete(), "{report:?}");
                    assert_eq!(report.copied.len() + report.known.len(), 4, "{report:?}");
                });
            }
        }
        scope.spawn(|| common::backup_bytes(&both.to, "own", &[("os", &disk(1))]).expect("backup"));
    });
    let to = common::open(&both.path("to"));
    let entries: u64 = to.heads().chains.iter().map(|head| head.entries).sum();
    assert_eq!(entries, 9, "each point is made once");
    assert_eq!(assert_copied(&both.from, &to), 4);
    assert_eq!(assert_copied(&second, &to), 4);
}

#[test]
fn a_cancelled_copy_keeps_what_is_done() {
    let both = Both::new();
    let plan = both.from.plan_copy(&both.to, &[]).expect("planned");
    let progress = Arc::new(CopyProgress::default());
    let stopper = Arc::clone(&progress);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            common::wait_until("something is copied", || stopper.done_bytes() > 0);
            stopper.cancel();
        });
        both.from.copy_to(&both.to, &plan, &CopyOptions::default(), &progress)
    });
    match outcome {
        Err(Error::Interrupted) => {}
        other => drop(other.expect("too fast to be stopped")),
    }
    assert!(common::verify(&both.to).is_clean());
    copy(&both.from, &both.to, &[]);
    assert_eq!(assert_copied(&both.from, &both.to), 4);
    assert_eq!(files(&both.path("to/tmp")), Vec::<PathBuf>::new());
}

/// The keys that a slot of role `backup` gives a thief.
fn keys_of(path: &Path, vault: &Vault, credential: &Credential) -> VaultKeys {
    let id = vault.header().vault;
    let slot = |file: &PathBuf| {
        (common::object(path, file), KeySlot::decode(&std::fs::read(file).expect("read")).expect("a slot"))
    };
    let slots: Vec<_> = files(&path.join("keys")).iter().map(slot).collect();
    open_any(&slots, &id, credential, |slot, keys| Ok(VaultKeys::new(id, slot.role, keys))).expect("it opens")
}

#[test]
fn a_forged_earlier_point_is_not_built_on() {
    let both = Both::new();
    let (path, web) = (both.path("to"), both.from.points("web").expect("points"));
    // The thief of a backup key of the target gives what he made the id of a point that is to be copied.
    both.to.add_key(Role::Backup, &key_file(1), CHEAP).expect("added");
    let forged = common::backup_bytes(&both.to, "web", &[("os", &disk(7)), ("data", &disk(8))]).expect("backup");
    let keys = Arc::new(keys_of(&path, &both.to, &key_file(1)));
    let media = Arc::new(DirectoryMedia::new(&path, ReadMode::Pread));
    let store = Arc::new(Store::open(media, Arc::clone(&keys), both.to.header().clone()).expect("open"));
    let mut manifest = forged.manifest.clone();
    (manifest.point, manifest.time) = (web[1].id.clone(), web[1].time);
    let plain = manifest.encode();
    let id = store.id_of(RecordType::Manifest, &plain);
    let mut writer = Writer::start(store, true);
    let stored = writer.store(RecordType::Manifest, &id, &plain).expect("stored");
    writer.finish().expect("finished");
    let Stored::New { place } = stored else { panic!("it is new") };
    let chain = keys.chain_of("web");
    let first = std::fs::read(path.join(catalog_entry::object(&chain, 0))).expect("read");
    let entry = PointMade {
        predecessor: *blake3::hash(&first).as_bytes(),
        consistency: manifest.consistency,
        point: id_from_hex(&manifest.point).expect("an id"),
        time_unix_seconds: manifest.time.as_second(),
        recorded_unix_seconds: 0,
        segment: place.segment,
        offset: place.offset,
        manifest: id,
        machine: "web".to_owned(),
    };
    let sealed = keys.seal_entry(chain, 1, &entry).expect("sealed");
    std::fs::write(path.join(catalog_entry::object(&chain, 1)), sealed).expect("written");

    let to = common::open(&path);
    assert!(to.point("web", &web[1].id).is_ok(), "it passes for the same point");
    let report = copy(&both.from, &to, &[point("web", &web[2].id)]);
    assert_eq!(report.refuted.len(), 2, "{report:?}");
    assert_same_point(&both.from, &to, &web[2]);
}

#[test]
fn what_the_target_lost_of_an_earlier_point_is_copied_again() {
    let both = Both::new();
    let web = both.from.points("web").expect("points");
    copy(&both.from, &both.to, &[point("web", &web[0].id)]);
    let segments: Vec<PathBuf> = files(&both.path("to/segments"));
    let data = segments.iter().find(|file| std::fs::read(file).expect("read")[12] == 1).expect("data");
    std::fs::remove_file(data).expect("lost");
    let to = common::open(&both.path("to"));
    let report = copy(&both.from, &to, &[point("web", &web[1].id)]);
    assert!(report.copied[0].new_bytes > 500_000, "{report:?}");
    // What the earlier point alone had there stays lost: it is in the target, and is not copied again.
    assert_same_point(&both.from, &to, &web[1]);
    assert!(common::verify(&to).hit.iter().all(|hit| hit.point == web[0].name));
}

/// What of a vault is carried over as files.
fn carried(path: &Path) -> Vec<(String, Vec<u8>)> {
    let all = ["keys", "segments", "parity", "catalog"].iter().flat_map(|folder| files(&path.join(folder)));
    all.map(|file| (common::object(path, &file), std::fs::read(&file).expect("read"))).collect()
}

#[test]
fn a_copy_of_the_same_vault_gets_what_came_since_as_it_is() {
    let folder = common::scratch();
    let (here, there) = (folder.path().join("from"), folder.path().join("to"));
    let from = source(&here, &common::protected());
    from.add_key(Role::Restore, &key_file(1), CHEAP).expect("added");
    let gone = from.add_key(Role::Backup, &key_file(2), CHEAP).expect("added").info.id;
    common::copy_folder(&here, &there);
    common::backup_bytes(&from, "web", &[("os", &day(1, 7)), ("data", &disk(5))]).expect("backup");
    common::backup_bytes(&from, "mail", &[("os", &disk(6))]).expect("backup");
    let web = from.points("web").expect("points");
    from.protect(&web[0], Some(Until::Ever), "audit").expect("protected");
    from.set_soft_delete(SoftDelete { grace_seconds: 9 * 86_400, ..SoftDelete::default() }).expect("set");
    from.forget(&web[1], "a mistake", false).expect("forgotten");
    from.add_key(Role::Admin, &key_file(3), CHEAP).expect("added");
    from.remove_key(&gone, false).expect("removed");

    let to = common::open(&there);
    let before = carried(&there);
    let refused = from.plan_copy(&to, &[point("web", "latest")]).expect_err("a chain goes in order");
    assert!(matches!(refused, Error::Invalid { what: "point", .. }), "{refused}");
    let plan = from.plan_copy(&to, &[machine("web")]).expect("planned");
    assert_eq!((plan.way, plan.points.len()), (CopyWay::Files, 1));
    let plan = from.plan_copy(&to, &[]).expect("planned");
    // Two points, protected, forgotten; the grace time, and the key that went.
    assert_eq!((plan.points.len(), plan.entries), (2, 6), "{plan:?}");
    assert!(plan.segments >= 4 && plan.segment_bytes > 1_500_000, "{plan:?}");
    assert!(before == carried(&there), "planning writes nothing");
    let report = copy_planned(&from, &to, &plan);
    assert_eq!((report.copied.len(), report.entries, report.segments), (2, 6, plan.segments), "{report:?}");
    assert_eq!(carried(&here), carried(&there), "what is there now is what is here");
    for vault in [to, open_as(&there, &key_file(3)), open_as(&there, &key_file(1))] {
        assert_eq!(assert_copied(&from, &vault), 5);
        assert_eq!(vault.soft_delete().expect("set").grace_seconds, 9 * 86_400);
        assert_eq!(vault.forgotten("web")[0].forgotten, from.forgotten("web")[0].forgotten);
        assert_eq!(vault.point("web", &web[0].id).expect("there").protected, Some(Until::Ever));
    }
    assert!(Vault::open(&there, &key_file(2), &OpenOptions::default()).is_err());
    let again = copy(&from, &common::open(&there), &[]);
    assert_eq!((again.entries, again.segments, again.added_bytes), (0, 0, 0));
    // A key that adds points is enough on both sides.
    from.add_key(Role::Backup, &key_file(4), CHEAP).expect("added");
    common::backup_bytes(&from, "mail", &[("os", &disk(9))]).expect("backup");
    let report = copy(&open_as(&here, &key_file(4)), &open_as(&there, &key_file(1)), &[machine("mail")]);
    assert_eq!((report.copied.len(), report.entries), (1, 1), "{report:?}");
    assert_eq!(carried(&here), carried(&there));
}

#[test]
fn a_copy_that_went_another_way_is_refused_and_stays_as_it_is() {
    let folder = common::scratch();
    let (here, there) = (folder.path().join("from"), folder.path().join("to"));
    type Change = fn(Vault) -> Result<()>;
    let changes: [(&str, Change, Change); 4] = [
        ("another way", |_| Ok(()), |to| common::backup_bytes(&to, "web", &[("os", &disk(9))]).map(drop)),
        ("another way", |_| Ok(()), |to| to.forget(&*to.point("db", "latest")?, "", true).map(drop)),
        ("another way", |_| Ok(()), |to| to.set_soft_delete(SoftDelete { grace_seconds: 1, ..SoftDelete::default() })),
        ("rotated", |from| from.rotate_keys(false).map(drop), |_| Ok(())),
    ];
    for (number, (word, change_here, change_there)) in changes.into_iter().enumerate() {
        let (here, there) = (here.with_extension(number.to_string()), there.with_extension(number.to_string()));
        let from = source(&here, &common::small());
        common::copy_folder(&here, &there);
        common::backup_bytes(&from, "web", &[("os", &disk(8))]).expect("backup");
        change_here(from).expect("changed");
        change_there(common::open(&there)).expect("changed");
        let before = carried(&there);
        let (from, to) = (common::open(&here), common::open(&there));
        match from.plan_copy(&to, &[]).expect_err("refused") {
            Error::Invalid { what: "target", rule, .. } => assert!(rule.contains(word), "{number}: {rule}"),
            other => panic!("{number}: {other}"),
        }
        assert!(before == carried(&there), "{number}");
        // Planned before it went another way.
        if word == "another way" {
            let late = folder.path().join(format!("late{number}"));
            common::copy_folder(&here, &late);
            let newer = common::backup_bytes(&from, "web", &[("os", &disk(7))]).map(drop);
            newer.expect("backup");
            let plan = from.plan_copy(&common::open(&late), &[]).expect("planned");
            change_there(common::open(&late)).expect("changed");
            let outcome = from.copy_to(&common::open(&late), &plan, &CopyOptions::default(), &CopyProgress::default());
            assert!(matches!(outcome, Err(Error::Invalid { .. })), "{number}: {outcome:?}");
        }
    }
}

#[test]
fn a_damaged_segment_is_carried_whole_or_no_entry_is() {
    for (parity_percent, is_mended) in [(5, true), (0, false)] {
        let folder = common::scratch();
        let (here, there) = (folder.path().join("from"), folder.path().join("to"));
        let from = source(&here, &InitOptions { parity_percent, ..common::small() });
        common::copy_folder(&here, &there);
        let before = files(&here.join("segments"));
        common::backup_bytes(&from, "web", &[("os", &disk(8))]).expect("backup");
        common::damage_new_data(&here, &before);
        let (from, to) = (common::open(&here), common::open(&there));
        let report = copy(&from, &to, &[]);
        assert_eq!(
            (report.is_complete(), report.entries, report.copied.len()),
            (is_mended, u64::from(is_mended), usize::from(is_mended))
        );
        let to = common::open(&there);
        assert_eq!(to.points("web").expect("points").len(), if is_mended { 4 } else { 3 });
        assert!(common::verify(&to).is_clean());
    }
}

#[test]
fn the_quota_of_one_machine_keeps_no_other_from_being_copied() {
    let both = Both::new();
    both.to.set_quota(Some("db"), Quota { warn_bytes: 0, hard_bytes: 100_000 }).expect("set");
    both.to.set_quota(Some("web"), Quota { warn_bytes: 1000, hard_bytes: 0 }).expect("set");
    for _ in 0..2 {
        let report = copy(&both.from, &both.to, &[]);
        let [failed] = &report.failed[..] else { panic!("{:?}", report.failed) };
        assert!(failed.path.starts_with("db/") && failed.hit.is_empty(), "{failed:?}");
        assert!(matches!(&failed.error, Error::OverQuota { machine, .. } if machine == "db"), "{failed:?}");
        assert_eq!(both.to.points("web").expect("copied").len(), 3);
        if let Some(warned) = report.quota_warnings.first() {
            assert_eq!((report.quota_warnings.len(), warned.machine.as_str(), report.copied.len()), (1, "web", 3));
        } else {
            assert!(report.copied.is_empty(), "only who adds something is warned");
        }
    }
    // That of the vault stops all.
    both.to.set_quota(Some("db"), Quota::default()).expect("set");
    both.to.set_quota(None, Quota { warn_bytes: 0, hard_bytes: 1000 }).expect("set");
    let plan = both.from.plan_copy(&both.to, &[]).expect("planned");
    let stopped = both.from.copy_to(&both.to, &plan, &CopyOptions::default(), &CopyProgress::default());
    assert!(matches!(stopped, Err(Error::OverQuota { .. })), "{stopped:?}");
    assert!(common::verify(&both.to).is_clean());
}
