//! Promise 1: power that is lost, or a call that fails, while points are forgotten, brought back, protected and purged and
//! space is given back, takes no point that is not purged, undoes nothing that was acknowledged, and the next call ends it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::common;
use crate::common::faults::{Call, Fault, FaultyFiles, Plan};
use crate::common::power::VAULT;
use icecore::error::Problem;
use icecore::media::simulated::{Crash, Image, Left, Operation, SimulatedFiles, Trace};
use icecore::point::{PointInfo, Until};
use icecore::vault::{GcOptions, GcProgress, GcReport, InitOptions, SoftDelete};
use icecore::{Error, ErrorKind, Result, Vault};
use jiff::Timestamp;

/// A vault whose space is worth giving back, before anybody does.
struct Made {
    image: Image,
    /// Id and bytes of the points of `web`, in the order in which they were made.
    points: Vec<(String, Vec<u8>)>,
}

fn files(disk: &SimulatedFiles, plan: Plan) -> FaultyFiles {
    FaultyFiles::over(Arc::new(disk.clone()), plan)
}

fn root() -> &'static Path {
    Path::new(VAULT)
}

/// Five points: of what the first and the second have alone a segment holds nothing else, or something that the fourth
/// needs.
fn make(parity_percent: u8) -> Made {
    let disk = SimulatedFiles::new();
    let options = InitOptions { parity_percent, ..common::small() };
    let vault = files(&disk, Plan::NONE).init(root(), &options).expect("init");
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let mut points = Vec::new();
    let shared = common::noise(90, 40_000);
    for seed in 0..5 {
        let mut bytes = common::noise(seed, 60_000);
        if seed == 1 || seed == 3 {
            bytes[..40_000].copy_from_slice(&shared);
        }
        let point = common::backup_bytes(&vault, "web", &[("os", &bytes)]).expect("backup").point;
        points.push((point.id.clone(), bytes));
    }
    drop(vault);
    Made { image: last(&disk.trace()), points }
}

fn last(trace: &Trace) -> Image {
    let mut crash = Crash::before(trace);
    while crash.step().is_some() {}
    crash.image(Left::Everything)
}

fn options() -> GcOptions {
    GcOptions { least_dead_percent: 10, ..GcOptions::default() }
}

fn gc(vault: &Vault) -> Result<GcReport> {
    vault.gc(&options(), &GcProgress::default())
}

fn of<'a>(all: &'a [Arc<PointInfo>], id: &str) -> Option<&'a PointInfo> {
    all.iter().find(|point| point.id == id).map(AsRef::as_ref)
}

/// What is done, one step after the other; each is a promise once it returned.
const STEPS: usize = 6;

impl Made {
    fn step(&self, vault: &Vault, step: usize) -> Result<()> {
        let id = |number: usize| self.points[number].0.as_str();
        let point = |number: usize| vault.point("web", id(number));
        match step {
            0 => vault.forget(&*point(0)?, "first", false).map(drop),
            1 => vault.forget(&*point(1)?, "second", false).map(drop),
            2 => vault.forget(&*point(2)?, "a mistake", false).map(drop),
            3 => vault.undelete("web", id(2)).map(drop),
            4 => vault.protect(&*point(4)?, Some(Until::Ever), "evidence").map(drop),
            _ => gc(vault).map(drop),
        }
    }

    /// Whether what is there is what it was after some of the steps, at least so many of which were acknowledged.
    fn check(&self, disk: &SimulatedFiles, acknowledged: usize, what: &str) {
        let vault = files(disk, Plan::NONE).open(root()).unwrap_or_else(|error| panic!("{what}: open: {error}"));
        let listed = vault.points("web").unwrap_or_else(|error| panic!("{what}: {error}"));
        let forgotten = vault.forgotten("web");
        let report = common::verify(&vault);
        assert!(report.is_clean(), "{what}: {:?} {:?}", report.damage, report.hit);
        for (number, (id, bytes)) in self.points.iter().enumerate() {
            let (is_listed, is_forgotten) = (of(&listed, id).is_some(), of(&forgotten, id).is_some());
            match number {
                0 | 1 if acknowledged > number => assert!(!is_listed, "{what}: point {number} is forgotten"),
                0 | 1 => {}
                2 if acknowledged < 3 => assert!(is_listed || is_forgotten, "{what}: point 2 is gone"),
                2 if acknowledged == 3 => assert!(is_forgotten || is_listed, "{what}: point 2 is gone"),
                _ => assert!(is_listed, "{what}: point {number} is listed"),
            }
            if let Some(point) = of(&listed, id) {
                common::assert_same(&common::disk_bytes(&vault, point, "os").expect(what), bytes, what);
            }
        }
        if acknowledged > 4 {
            let point = of(&listed, &self.points[4].0).expect("it is listed");
            assert!(point.is_protected(Timestamp::now()), "{what}: point 4 is protected");
        }
        if acknowledged > 5 {
            assert!(forgotten.is_empty(), "{what}: all that was forgotten is purged");
        }
    }

    /// The steps that are left are done, and then nothing is left that nobody needs.
    fn go_on(&self, disk: &SimulatedFiles, what: &str) {
        let vault = files(disk, Plan::NONE).open(root()).expect(what);
        for step in 0..STEPS {
            match self.step(&vault, step) {
                Ok(()) | Err(Error::Forgotten { .. } | Error::UnknownPoint { .. } | Error::Purged { .. }) => {}
                Err(error) => panic!("{what}: step {step}: {error}"),
            }
        }
        let again = gc(&vault).unwrap_or_else(|error| panic!("{what}: gc again: {error}"));
        let gone = (again.removed_segments, again.rewritten_segments, again.left.len());
        assert_eq!(gone, (0, 0, 0), "{what}: all was done");
        self.check(disk, STEPS, what);
        common::backup_bytes(&vault, "web", &[("os", &self.points[0].1)]).expect(what);
        drop(vault);
        let vault = files(disk, Plan::NONE).open(root()).expect(what);
        let point = vault.point("web", "latest").expect(what);
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect(what), &self.points[0].1, what);
        assert!(common::verify(&vault).is_clean(), "{what}");
    }

    fn all_steps(&self, disk: &SimulatedFiles) {
        let vault = files(disk, Plan::NONE).open(root()).expect("open");
        for step in 0..STEPS {
            self.step(&vault, step).expect("a step");
            disk.note("acknowledged");
        }
    }
}

#[test]
fn power_is_lost_at_any_call() {
    for parity_percent in [0, 5] {
        let made = make(parity_percent);
        let disk = SimulatedFiles::from_image(made.image.clone()).expect("an image");
        made.all_steps(&disk);
        made.go_on(&SimulatedFiles::from_image(last(&disk.trace())).expect("an image"), "nothing happens");
        let trace = disk.trace();
        let one_in = if common::campaign().is_some() { 1 } else { 7 };
        let (mut crash, mut seen, mut gone_on) = (Crash::before(&trace), HashSet::new(), 0);
        let (mut acknowledged, mut moment) = (0, 0);
        loop {
            for (number, left) in crash.ways(2).into_iter().enumerate() {
                let image = crash.image(left);
                if !seen.insert((image.hash(), acknowledged)) || !(number + moment).is_multiple_of(one_in) {
                    continue;
                }
                let what = format!("parity {parity_percent}, after call {moment} and {acknowledged} steps, {left:?}");
                let disk = SimulatedFiles::from_image(image).expect("an image");
                made.check(&disk, acknowledged, &what);
                made.go_on(&disk, &what);
                gone_on += 1;
            }
            moment += 1;
            match crash.step() {
                None => break,
                Some(Operation::Note(_)) => acknowledged += 1,
                Some(_) => {}
            }
        }
        assert!(acknowledged == STEPS && seen.len() > 300 && gone_on > 50, "{acknowledged} {} {gone_on}", seen.len());
        println!(
            "CAMPAIGN: power while space is given back, parity {parity_percent}: {moment} calls, {} crashes, {gone_on} looked at",
            seen.len()
        );
    }
}

#[test]
fn any_call_fails_or_the_disk_is_full() {
    use Call::{Create, MakeDirectory, Rename, Sync, SyncDirectory, Write};
    let takes_space = |call| matches!(call, Create | MakeDirectory | Rename | Sync | SyncDirectory | Write);
    let full = Plan { fault: Fault::Fails(libc::ENOSPC), counts: takes_space, ..Plan::NONE };
    let made = make(0);
    let step_by = if common::campaign().is_some() { 1 } else { 7 };
    for like in [full, Plan::NONE] {
        let (mut failed, mut nth) = (0, 1);
        loop {
            let disk = SimulatedFiles::from_image(made.image.clone()).expect("an image");
            let plan = Plan { nth, for_ever: nth % 2 == 0, ..like };
            let faulty = files(&disk, Plan::NONE);
            let vault = faulty.open(root()).expect("open");
            faulty.plan(plan);
            let what = format!("{:?} at call {nth}", plan.fault);
            let mut acknowledged = 0;
            // Whoever sees a step fail does not go on as if it had not.
            while acknowledged < STEPS {
                match made.step(&vault, acknowledged) {
                    Ok(()) => acknowledged += 1,
                    Err(error) => {
                        failed += 1;
                        // An entry that can't be read may hide a point: that alone ends it.
                        let is_unreadable = |error: &Error| matches!(error, Error::Damaged(damage) if matches!(damage.problem, Problem::Unreadable(_)));
                        let is_told = error.kind() == ErrorKind::Medium || is_unreadable(&error);
                        assert!(is_told, "{what}: step {acknowledged}: {error}");
                        break;
                    }
                }
            }
            let hit = faulty.failed();
            drop(vault);
            if hit == 0 {
                break;
            }
            made.check(&disk, acknowledged, &what);
            made.go_on(&disk, &what);
            nth += step_by;
        }
        println!("CAMPAIGN: faults while space is given back, {:?}: calls up to {nth}, {failed} told", like.fault);
        assert!(nth > 20 && failed > 5, "{nth} {failed}");
    }
}
