//! Promise 3: a vault that is checked in parts is checked whole in the end, and no part calls damaged what it did not see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::common;
use crate::common::faults::{Call, Fault, FaultyFiles, Plan};
use crate::common::files;
use icecore::format::check_note::{self, Check, Checked};
use icecore::format::key_slot::Role;
use icecore::format::{Id, segment};
use icecore::seal::Credential;
use icecore::vault::{DamagedRange, OpenOptions, ScrubReport, Subset, VerifyOptions, VerifyProgress, VerifyReport};
use icecore::{Error, Vault};

struct Made {
    _folder: tempfile::TempDir,
    vault: PathBuf,
    bytes: Vec<u8>,
}

fn part(number: u32, parts: u32) -> VerifyOptions {
    VerifyOptions { subset: Some(Subset::new(number, parts).expect("a part")), max_time: None }
}

const ONE: VerifyOptions = VerifyOptions { subset: None, max_time: Some(Duration::ZERO) };

/// Two points in several segments; of the data segments some fall to each of two parts.
fn make() -> Made {
    loop {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let vault = common::init(&path, &common::small());
        let mut bytes = common::noise(1, 6 << 20);
        common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
        // In the middle of a segment: what is damaged below, the first record of one, is in both points.
        bytes[500_000..600_000].copy_from_slice(&common::noise(2, 100_000));
        common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
        vault.add_key(Role::Backup, &Credential::password(*b"backup only"), common::CHEAP).expect("key");
        let made = Made { _folder: folder, vault: path, bytes };
        if (1..=2).all(|number| data_segment(&made, number).is_some()) {
            return made;
        }
    }
}

fn segments(made: &Made) -> Vec<(Id, PathBuf)> {
    let id = |file: &PathBuf| segment::id_of(file.file_name().and_then(|name| name.to_str()).expect("a name"));
    files(&made.vault.join("segments")).into_iter().map(|file| (id(&file).expect("a segment"), file)).collect()
}

/// A full data segment of part `number` of two.
fn data_segment(made: &Made, number: u32) -> Option<PathBuf> {
    let subset = Subset::new(number, 2).expect("a part");
    let full = |file: &Path| file.metadata().expect("stat").len() > 500_000;
    segments(made).into_iter().find(|(id, file)| subset.has(id) && full(file)).map(|(_, file)| file)
}

/// Breaks the first record of a segment.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).expect("segment");
    bytes[segment::HEADER_BYTES + segment::RECORD_HEADER_BYTES + 50] ^= 1;
    std::fs::write(file, bytes).expect("damage");
}

fn scrub(made: &Made, options: &VerifyOptions) -> ScrubReport {
    Vault::scrub(&made.vault, options, &VerifyProgress::default()).expect("scrub")
}

fn verify(made: &Made, options: &VerifyOptions) -> VerifyReport {
    common::open(&made.vault).verify_with(options, &VerifyProgress::default()).expect("verify")
}

fn hits(report: VerifyReport) -> BTreeSet<(String, u64, u64)> {
    report.hit.into_iter().map(|DamagedRange { point, range, .. }| (point, range.start, range.end)).collect()
}

/// Writes the only note: each segment was checked at the time that `at` gives.
fn remember(made: &Made, at: impl Fn(usize) -> Option<u64>) {
    for file in files(&made.vault.join("checks")) {
        std::fs::remove_file(file).expect("remove");
    }
    let check = |number| at(number).map(|unix_seconds| Check { unix_seconds, damaged: false });
    let checked = |number| Checked { checksums: check(number), keys: check(number) };
    let entries: Vec<(Id, Checked)> =
        segments(made).into_iter().enumerate().map(|(number, (id, _))| (id, checked(number))).collect();
    let vault = common::open(&made.vault).header().vault;
    std::fs::create_dir_all(made.vault.join("checks")).expect("folder");
    std::fs::write(made.vault.join("checks/0.note"), check_note::encode(&vault, &entries)).expect("note");
}

#[test]
fn subsets_look_at_everything_once() {
    let made = make();
    let all = segments(&made).len() as u64;
    for keyed in [false, true] {
        let (mut looked, mut chunks) = (0, None);
        for number in 1..=3 {
            let (segments, coverage) = if keyed {
                let report = verify(&made, &part(number, 3));
                assert!(report.is_clean() && report.points == 2, "{:?}", report.damage);
                let named = report.chunks_read + report.chunks_located;
                assert_eq!(*chunks.get_or_insert(named), named, "every chunk is read or located");
                assert!(report.coverage.left == 0 || report.chunks_located > 0 || report.segments + 2 >= all);
                (report.segments, report.coverage)
            } else {
                let report = scrub(&made, &part(number, 3));
                assert!(report.is_clean(), "{:?}", report.damage);
                (report.segments, report.coverage)
            };
            looked += segments;
            assert_eq!((coverage.segments, coverage.left), (all, all - segments));
            assert_eq!(coverage.never_checked, all - looked, "part {number} repeats nothing");
            assert!(!coverage.time_is_up && coverage.not_remembered.is_none());
        }
        assert_eq!(looked, all);
    }
    let whole = verify(&made, &VerifyOptions::default());
    assert_eq!((whole.coverage.left, whole.chunks_located), (0, 0));
}

#[test]
fn runs_without_time_get_through_all_the_same() {
    let made = make();
    let all = segments(&made).len() as u64;
    for left in (0..all).rev() {
        let report = scrub(&made, &ONE);
        assert_eq!((report.segments, report.coverage.never_checked), (1, left), "one that was never checked");
        assert!(report.is_clean() && report.coverage.time_is_up);
        assert_eq!(files(&made.vault.join("checks")).len(), 1, "notes are merged");
    }
    // Checksums alone are no check with keys; a check with keys is one of the checksums.
    for left in (0..all).rev() {
        let report = verify(&made, &ONE);
        assert_eq!((report.segments, report.coverage.never_checked, report.points), (1, left, 2));
    }
    let stats = common::open(&made.vault).stats().expect("stats");
    assert_eq!(stats.segments_checked, all);
    assert!(stats.oldest_check.is_some());
}

#[test]
fn what_waits_longest_comes_first() {
    let made = make();
    let last = segments(&made).len() - 1;
    damage(&segments(&made)[last].1);
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    for (what, times, found) in [
        ("the oldest", Some(1000), true),
        ("never checked", None, true),
        ("in the future", Some(now + 100_000), true),
        ("the newest", Some(now - 100), false),
    ] {
        let at = |number| if number == last { times } else { Some(2000 + number as u64) };
        remember(&made, at);
        let report = scrub(&made, &ONE);
        assert_eq!((report.segments, !report.is_clean()), (1, found), "scrub, {what}");
        assert_eq!(report.coverage.oldest_check.map(jiff::Timestamp::as_second), Some(if found { 2000 } else { 2001 }));
        remember(&made, at);
        let report = verify(&made, &ONE);
        assert_eq!((report.segments, !report.damage.is_empty()), (1, found), "verify, {what}");
    }
}

#[test]
fn each_part_tells_the_damage_that_it_saw() {
    let made = make();
    let (first, second) = (data_segment(&made, 1).expect("data"), data_segment(&made, 2).expect("data"));
    damage(&first);
    damage(&second);
    let whole = {
        // A vault that remembers nothing of it: verify takes what is damaged out of the index.
        let copy = tempfile::tempdir().expect("folder");
        common::copy_folder(&made.vault, copy.path());
        hits(common::verify(&common::open(copy.path())))
    };
    assert_eq!(whole.len(), 4, "two chunks of two points: {whole:?}");
    for role in [&b"correct horse"[..], b"backup only"] {
        let mut parts = BTreeSet::new();
        for (number, own, other) in [(1, &first, &second), (2, &second, &first)] {
            let copy = tempfile::tempdir().expect("folder");
            common::copy_folder(&made.vault, copy.path());
            let open = || Vault::open(copy.path(), &Credential::password(role), &OpenOptions::default()).expect("open");
            let report = open().verify_with(&part(number, 2), &VerifyProgress::default()).expect("verify");
            let named = |file: &Path| {
                let name = common::object(&made.vault, file);
                report.damage.iter().any(|error| error.to_string().contains(&name))
            };
            assert!(named(own) && !named(other), "part {number}: {:?}", report.damage);
            let told = hits(report);
            assert_eq!(told.len(), 2, "part {number}: {told:?}");
            parts.extend(told);
            // One damaged chunk is known no more; what nobody looked at is as known as ever.
            let again = common::backup_bytes(&common::open(copy.path()), "m", &[("os", &made.bytes)]).expect("backup");
            assert_eq!(again.manifest.disks[0].new_bytes, 4096, "part {number}");
        }
        assert_eq!(parts, whole);
    }
}

#[test]
fn damage_of_an_earlier_part_is_recalled() {
    let made = make();
    let first = data_segment(&made, 1).expect("data");
    damage(&first);
    assert!(!scrub(&made, &part(1, 2)).is_clean());
    let report = scrub(&made, &part(2, 2));
    assert!(report.is_clean());
    assert_eq!(report.coverage.damaged_before, [common::object(&made.vault, &first)]);
    // Mended, checked, and forgotten.
    damage(&first);
    assert!(scrub(&made, &part(1, 2)).is_clean());
    assert!(scrub(&made, &part(2, 2)).coverage.damaged_before.is_empty());
}

#[test]
fn a_vault_that_cannot_be_written_is_checked_and_not_remembered() {
    let made = make();
    let plan = Plan {
        nth: 1,
        for_ever: true,
        fault: Fault::Fails(libc::EROFS),
        counts: |call| matches!(call, Call::Create | Call::MakeDirectory | Call::Rename | Call::Remove | Call::Write),
    };
    let faulty = FaultyFiles::new(plan);
    for options in [VerifyOptions::default(), part(1, 2), ONE] {
        let report = faulty.open(&made.vault).expect("open").verify_with(&options, &VerifyProgress::default());
        let report = report.expect("verify");
        assert!(report.is_clean() && report.segments > 0);
        assert!(matches!(report.coverage.not_remembered, Some(Error::Vault { .. })));
        let media = Arc::new(faulty.media(&made.vault));
        let report = Vault::scrub_on(media, &options, &VerifyProgress::default()).expect("scrub");
        assert!(report.is_clean() && report.segments > 0);
        assert!(matches!(report.coverage.not_remembered, Some(Error::Vault { .. })));
    }
    assert_eq!(files(&made.vault.join("checks")), Vec::<PathBuf>::new());
}

#[test]
fn damaged_foreign_and_lost_notes_cost_checking_again_and_no_more() {
    let made = make();
    let other = make();
    let all = segments(&made).len() as u64;
    assert!(scrub(&made, &VerifyOptions::default()).is_clean());
    scrub(&other, &VerifyOptions::default());
    let note = |made: &Made| std::fs::read(&files(&made.vault.join("checks"))[0]).expect("a note");
    let (whole, foreign) = (note(&made), note(&other));
    let mut damages = vec![Vec::new(), foreign, whole[..whole.len() - 1].to_vec(), vec![0; 5000]];
    damages.extend((0..whole.len()).step_by(5).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    }));
    for (number, bytes) in damages.into_iter().enumerate() {
        for file in files(&made.vault.join("checks")) {
            std::fs::remove_file(file).expect("remove");
        }
        std::fs::write(made.vault.join("checks/1.note"), bytes).expect("damage");
        let report = scrub(&made, &ONE);
        assert!(report.is_clean() && report.coverage.not_remembered.is_none(), "damage {number}");
        assert_eq!((report.harmless.len(), report.coverage.never_checked), (1, all - 1), "damage {number}");
        let next = scrub(&made, &ONE);
        assert_eq!(next.coverage.never_checked, all - 2, "damage {number}");
    }
    // A vault from before there were notes.
    std::fs::remove_dir_all(made.vault.join("checks")).expect("remove");
    let report = verify(&made, &ONE);
    assert!(report.is_clean() && report.coverage.not_remembered.is_none());
    assert_eq!(files(&made.vault.join("checks")).len(), 1);
    assert_eq!(scrub(&made, &ONE).coverage.never_checked, all - 2);
}

#[test]
fn an_interrupted_run_is_remembered_as_far_as_it_came() {
    let made = make();
    let progress = VerifyProgress::default();
    progress.cancel();
    let vault = common::open(&made.vault);
    assert!(matches!(vault.verify(&progress), Err(Error::Interrupted)));
    assert!(scrub(&made, &ONE).is_clean());
    assert!(matches!(Vault::scrub(&made.vault, &VerifyOptions::default(), &progress), Err(Error::Interrupted)));
    let all = segments(&made).len() as u64;
    assert_eq!(scrub(&made, &ONE).coverage.never_checked, all - 2, "and what was known before is kept");
}
