//! Promise 1: power that is lost, or a call that fails, while points are copied into another vault leaves each of them there
//! whole or not at all, hurts nothing that was there, and the next copy ends it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::common;
use crate::common::faults::{Call, Fault, FaultyFiles, Plan};
use icecore::error::Problem;
use icecore::media::simulated::{Crash, Image, Left, SimulatedFiles, Trace};
use icecore::vault::{CopyOptions, CopyProgress, CopyReport, InitOptions};
use icecore::{Error, ErrorKind, Result, Vault};

/// Where the vaults are on their disks.
const FROM: &str = "/from";
const TO: &str = "/to";

fn files(disk: &SimulatedFiles, plan: Plan) -> FaultyFiles {
    FaultyFiles::over(Arc::new(disk.clone()), plan)
}

fn open(disk: &SimulatedFiles, path: &str) -> Result<Vault> {
    files(disk, Plan::NONE).open(Path::new(path))
}

fn last(trace: &Trace) -> Image {
    let mut crash = Crash::before(trace);
    while crash.step().is_some() {}
    crash.image(Left::Everything)
}

fn copy(from: &Vault, to: &Vault) -> Result<CopyReport> {
    from.copy_to(to, &from.plan_copy(to, &[])?, &CopyOptions::default(), &CopyProgress::default())
}

/// Two vaults as they are before anything is copied.
struct Tried {
    from: SimulatedFiles,
    from_at: &'static str,
    to: Image,
    to_at: &'static str,
    /// Machine, id and bytes of the points that the target has.
    old: Vec<(&'static str, String, Vec<u8>)>,
    /// Those that are copied.
    new: Vec<(&'static str, String, Vec<u8>)>,
}

impl Tried {
    /// The target has a point of its own or, where it is an earlier copy of the source's files, the first of the source.
    fn new(is_same_vault: bool, parity_percent: u8) -> Self {
        let options = InitOptions { parity_percent, ..common::small() };
        let from = SimulatedFiles::new();
        let vault = files(&from, Plan::NONE).init(Path::new(FROM), &options).expect("init");
        let mut bytes = common::noise(1, 90_000);
        let backup = |vault: &Vault, machine: &'static str, bytes: &[u8]| {
            let report = common::backup_bytes(vault, machine, &[("os", bytes)]).expect("backup");
            (machine, report.point.id.clone(), bytes.to_vec())
        };
        let first = backup(&vault, "web", &bytes);
        let (to, old, mut new) = if is_same_vault {
            (last(&from.trace()), vec![first], Vec::new())
        } else {
            let to = SimulatedFiles::new();
            let target = files(&to, Plan::NONE).init(Path::new(TO), &options).expect("init");
            let own = backup(&target, "own", &common::noise(5, 60_000));
            drop(target);
            (last(&to.trace()), vec![own], vec![first])
        };
        for day in 0..2 {
            bytes[20_000..40_000].copy_from_slice(&common::noise(10 + day, 20_000));
            new.push(backup(&vault, "web", &bytes));
        }
        new.push(backup(&vault, "db", &common::text(7, 50_000)));
        drop(vault);
        if is_same_vault {
            // The target keeps the place: two vaults at one place are taken for one.
            return Self { from: moved(&from), from_at: TO, to, to_at: FROM, old, new };
        }
        Self { from, from_at: FROM, to, to_at: TO, old, new }
    }

    fn source(&self) -> Vault {
        open(&self.from, self.from_at).expect("the source opens")
    }

    fn disk(&self) -> SimulatedFiles {
        SimulatedFiles::from_image(self.to.clone()).expect("an image")
    }

    /// Each point that is there is whole, those of before are, and at least so many that were copied.
    fn check(&self, to: &Vault, least: usize, what: &str) -> usize {
        let report = common::verify(to);
        assert!(report.is_clean(), "{what}: {:?} {:?}", report.damage, report.hit);
        let mut there = 0;
        for (number, (machine, id, bytes)) in self.old.iter().chain(&self.new).enumerate() {
            let Ok(point) = to.point(machine, id) else {
                assert!(number >= self.old.len(), "{what}: an old point is gone");
                continue;
            };
            there += usize::from(number >= self.old.len());
            common::assert_same(&common::disk_bytes(to, &point, "os").expect(what), bytes, what);
        }
        assert!(there >= least, "{what}: {there} of {least}");
        there
    }

    fn go_on(&self, disk: &SimulatedFiles, from: &Vault, what: &str) {
        let to = open(disk, self.to_at).unwrap_or_else(|error| panic!("{what}: open: {error}"));
        let report = copy(from, &to).unwrap_or_else(|error| panic!("{what}: again: {error}"));
        assert!(report.is_complete(), "{what}: {report:?}");
        drop(to);
        let to = open(disk, self.to_at).expect(what);
        self.check(&to, self.new.len(), what);
        let entries: u64 = to.heads().chains.iter().map(|head| head.entries).sum();
        assert_eq!(entries, (self.old.len() + self.new.len()) as u64, "{what}: each is made once");
    }
}

/// The files of a simulated disk, below another folder of another disk.
fn moved(disk: &SimulatedFiles) -> SimulatedFiles {
    use icecore::media::files::Files;
    fn walk(from: &SimulatedFiles, to: &SimulatedFiles, folder: &Path, target: &Path) {
        to.make_directory(target).expect("a folder");
        for listed in from.list(folder).expect("listed") {
            let (path, target) = (folder.join(&listed.name), target.join(&listed.name));
            if listed.is_directory {
                walk(from, to, &path, &target);
                continue;
            }
            let file = from.open(&path, false).expect("a file");
            let mut bytes = vec![0; usize::try_from(file.length().expect("its length")).expect("small")];
            let mut read = 0;
            while read < bytes.len() {
                read += file.read_at(read as u64, &mut bytes[read..]).expect("read");
            }
            let copy = to.create_new(&target).expect("created");
            assert_eq!(copy.write_at(0, &bytes).expect("written"), bytes.len());
        }
    }
    let to = SimulatedFiles::new();
    walk(disk, &to, Path::new(FROM), Path::new(TO));
    to
}

#[test]
fn power_is_lost_at_any_call() {
    for (is_same_vault, parity_percent) in [(false, 0), (false, 5), (true, 0), (true, 5)] {
        let tried = Tried::new(is_same_vault, parity_percent);
        let from = tried.source();
        let disk = tried.disk();
        let to = open(&disk, tried.to_at).expect("open");
        assert!(copy(&from, &to).expect("copied").is_complete());
        drop(to);
        let trace = disk.trace();
        let one_in = if common::campaign().is_some() { 1 } else { 29 };
        let (mut crash, mut seen, mut gone_on, mut moment) = (Crash::before(&trace), HashSet::new(), 0, 0);
        let (mut most, mut partly) = (0, 0);
        loop {
            for (number, left) in crash.ways(2).into_iter().enumerate() {
                let image = crash.image(left);
                if !seen.insert(image.hash()) || !(number + moment).is_multiple_of(one_in) {
                    continue;
                }
                let what = format!("same {is_same_vault}, parity {parity_percent}, after call {moment}, {left:?}");
                let disk = SimulatedFiles::from_image(image).expect("an image");
                let to = open(&disk, tried.to_at).unwrap_or_else(|error| panic!("{what}: open: {error}"));
                let there = tried.check(&to, 0, &what);
                drop(to);
                most = most.max(there);
                partly += usize::from(there > 0 && there < tried.new.len());
                tried.go_on(&disk, &from, &what);
                gone_on += 1;
            }
            moment += 1;
            if crash.step().is_none() {
                break;
            }
        }
        assert!(seen.len() > 80 && gone_on > 5 && most > 0, "{} {gone_on} {most}", seen.len());
        println!(
            "CAMPAIGN: power while points are copied, same vault {is_same_vault}, parity {parity_percent}: {moment} calls, {} crashes, {gone_on} looked at, {partly} of them with a part of the points",
            seen.len()
        );
    }
}

#[test]
fn any_call_fails_at_the_target_or_its_disk_is_full() {
    use Call::{Create, MakeDirectory, Rename, Sync, SyncDirectory, Write};
    let takes_space = |call| matches!(call, Create | MakeDirectory | Rename | Sync | SyncDirectory | Write);
    let full = Plan { fault: Fault::Fails(libc::ENOSPC), counts: takes_space, ..Plan::NONE };
    let step_by = if common::campaign().is_some() { 1 } else { 11 };
    for is_same_vault in [false, true] {
        let tried = Tried::new(is_same_vault, 0);
        let from = tried.source();
        for like in [full, Plan::NONE] {
            let (mut failed, mut nth) = (0, 1);
            loop {
                let disk = tried.disk();
                let faulty = files(&disk, Plan::NONE);
                let to = faulty.open(Path::new(tried.to_at)).expect("open");
                faulty.plan(Plan { nth, for_ever: nth % 2 == 0, ..like });
                let what = format!("same {is_same_vault}: {:?} at call {nth}", like.fault);
                let outcome = copy(&from, &to);
                let hit = faulty.failed();
                drop(to);
                if let Err(error) = &outcome {
                    failed += 1;
                    // An entry or a record that can't be read is as good as damaged.
                    let is_told = error.kind() == ErrorKind::Medium
                        || matches!(error, Error::Damaged(damage) if matches!(damage.problem, Problem::Unreadable(_) | Problem::Unreachable { .. } | Problem::Absent));
                    assert!(is_told, "{what}: {error}");
                }
                if hit == 0 {
                    break;
                }
                let to = open(&disk, tried.to_at).unwrap_or_else(|error| panic!("{what}: open: {error}"));
                let all = if outcome.is_ok() { tried.new.len() } else { 0 };
                tried.check(&to, all, &what);
                drop(to);
                tried.go_on(&disk, &from, &what);
                nth += step_by;
            }
            println!(
                "CAMPAIGN: faults while points are copied, same vault {is_same_vault}, {:?}: calls up to {nth}, {failed} told",
                like.fault
            );
            assert!(nth > 20 && failed > 3, "{nth} {failed}");
        }
    }
}

#[test]
fn a_source_that_can_not_be_read_costs_points_and_hurts_no_target() {
    let tried = Tried::new(false, 0);
    let step_by = if common::campaign().is_some() { 1 } else { 7 };
    let (mut nth, mut told) = (1, 0);
    loop {
        let faulty = files(&tried.from, Plan::NONE);
        let from = faulty.open(Path::new(FROM)).expect("open");
        let disk = tried.disk();
        let to = open(&disk, TO).expect("open");
        let plan = from.plan_copy(&to, &[]).expect("planned");
        faulty.plan(Plan { nth, for_ever: nth % 2 == 0, ..Plan::NONE });
        let what = format!("EIO at call {nth}");
        let report = from.copy_to(&to, &plan, &CopyOptions::default(), &CopyProgress::default());
        let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
        let hit = faulty.failed();
        assert_eq!(report.copied.len() + report.failed.len(), tried.new.len(), "{what}");
        assert!(report.failed.iter().all(|failed| !failed.hit.is_empty()), "{what}: {report:?}");
        told += report.failed.len();
        drop(to);
        let to = open(&disk, TO).expect("open");
        assert_eq!(tried.check(&to, 0, &what), report.copied.len(), "{what}");
        drop((to, from));
        tried.go_on(&disk, &tried.source(), &what);
        if hit == 0 {
            break;
        }
        nth += step_by;
    }
    println!("CAMPAIGN: a source that fails while points are copied: calls up to {nth}, {told} points told");
    assert!(nth > 20 && told > 5, "{nth} {told}");
}
