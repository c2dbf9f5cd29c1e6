//! Promise 1: whatever power loss leaves of a real file system's disk, it holds every acknowledged point.
//!
//! A vault is worked on, on a file system of the kernel, on a disk that takes down every write and every flush. The disk
//! is then made as power loss may leave it, after this operation or that; the kernel mounts it, and the vault must keep
//! all that was acknowledged by then. So it is the kernel's file system, and not a model of one, that says whether we sync
//! enough. It is kinder than it would have to be: on ext4 and XFS a sync of one file keeps all names that were given before.
//! What must hold on others too is what the simulated disk is for.
//!
//! A dozen cases; with `ICECORE_CAMPAIGN` as many as fit into `ICECORE_CAMPAIGN_SECONDS` (default 120), on ext4 as it comes,
//! on ext4 with as little order as it offers, and on XFS.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::block_support::attached::{Attached, KINDS, Kind};
use crate::block_support::served::{self, Served};
use crate::block_support::trace::{Image, Left, Operation, Trace};
use crate::common;
use crate::common::Random;
use crate::common::ledger::{Broken, Disks, Ledger, digest, ensure, said};
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::OpenOptions;
use icecore::{Error, Vault};

/// Where the process that serves the disk finds it; set for that process only.
const FOLDER: &str = "ICECORE_TEST_SERVED_FOLDER";

/// Cases of one file system without a campaign.
const CASES: usize = 12;

/// Cases after which the workload is recorded anew: the kernel does not do the same twice.
const CASES_OF_A_RECORDING: usize = 60;

/// Not a test by itself: the process that serves the disk.
#[test]
fn server() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    served::serve(Path::new(&folder)).expect("served");
}

/// What is done to the vault, each by an opening of its own.
#[derive(Clone, Debug)]
enum Step {
    Init,
    Backup(&'static str, Disks),
    AddKey,
    RemoveKey,
    /// The index is lost, and made anew by who opens next.
    LoseIndex,
}

/// Every kind of write that there is; how much, and what, follows from the seed.
fn steps(seed: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let mut bytes = |least: u64| common::noise(random.below(1 << 40), (least + random.below(least)) as usize);
    let (os, changed, other) = (bytes(1_500_000), bytes(100_000), bytes(500_000));
    let data = common::text(seed, changed.len());
    let mut web = Disks::from([("os".to_owned(), os), ("data".to_owned(), data)]);
    let first = Step::Backup("web", web.clone());
    web.entry("os".to_owned()).or_default()[..changed.len()].copy_from_slice(&changed);
    let second = Step::Backup("web", web.clone());
    web.insert("data".to_owned(), common::text(seed + 1, 310_000));
    let third = Step::Backup("web", web);
    let db = Step::Backup("db", Disks::from([("os".to_owned(), other)]));
    vec![Step::Init, first, Step::AddKey, second, Step::LoseIndex, db, Step::RemoveKey, third]
}

fn second_password() -> Credential {
    Credential::password(*b"battery staple")
}

impl Step {
    /// Does it. Returns the point that was made.
    fn run(&self, path: &Path) -> Option<String> {
        if let Self::Init = self {
            common::init(path, &common::protected());
            return None;
        }
        let vault = common::open(path);
        match self {
            Self::Init => {}
            Self::Backup(machine, disks) => {
                let disks: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
                return Some(common::backup_bytes(&vault, machine, &disks).expect("backup").point.id.clone());
            }
            Self::AddKey => {
                vault.add_key(Role::Restore, &second_password(), common::CHEAP).expect("added");
            }
            Self::RemoveKey => {
                let slots = vault.key_slots().expect("slots");
                let added = slots.iter().find(|slot| slot.info.role == Role::Restore).expect("the added slot");
                vault.remove_key(&added.info.id, false).expect("removed");
            }
            Self::LoseIndex => {
                drop(vault);
                for run in common::files(&path.join("index")) {
                    std::fs::remove_file(run).expect("removed");
                }
                drop(common::open(path));
            }
        }
        None
    }
}

/// A vault's life on a disk.
struct Recording {
    kind: Kind,
    trace: Trace,
    steps: Vec<Step>,
    /// The points that the steps made.
    points: Vec<Option<String>>,
    /// After which operation each step was acknowledged.
    acknowledged: Vec<usize>,
    /// Before these nothing was done to the vault, after those nothing any more.
    first: usize,
    last: usize,
}

fn record(kind: Kind, folder: &Path, seed: u64) -> Result<Recording, String> {
    let image = served::image_in(folder);
    kind.make(&image)?;
    let before = Image::read(&image).map_err(|error| error.to_string())?;
    let mut server = Command::new(std::env::current_exe().expect("this binary"));
    server.args(["--exact", "block_trace::server", "--nocapture"]).env(FOLDER, folder);
    let disk = Served::start(folder, server)?;
    let steps = steps(seed);
    let mounted = Attached::mount(&kind, &disk.disk(), &folder.join("recorded"))?;
    disk.note("mounted");
    let mut points = Vec::new();
    for step in &steps {
        points.push(step.run(&mounted.path().join("vault")));
        disk.note("acknowledged");
    }
    drop(mounted);
    drop(disk);
    let trace = Trace::read(before, &served::trace_in(folder)).map_err(|error| error.to_string())?;
    let noted = |wanted: &str| -> Vec<usize> {
        let notes = trace.operations.iter().enumerate();
        notes.filter(|(_, found)| **found == Operation::Note(wanted.to_owned())).map(|(at, _)| at + 1).collect()
    };
    let (first, acknowledged) = (noted("mounted")[0], noted("acknowledged"));
    assert_eq!(acknowledged.len(), steps.len());
    let last = *acknowledged.last().expect("steps");
    assert!(trace.flushes() > 2 * steps.len(), "the disk hears of syncs");
    Ok(Recording { kind, trace, steps, points, acknowledged, first, last })
}

/// Power is lost after so many operations.
#[derive(Clone, Copy, Debug)]
struct Case {
    operations: usize,
    left: Left,
}

impl Recording {
    /// Those that would show a forgotten sync first, then others by seed, in an order in which any number is a sample.
    fn cases(&self, seed: u64) -> impl Iterator<Item = Case> {
        let at_once = self.acknowledged.iter().map(|at| Case { operations: *at, left: Left::Nothing });
        let mut random = Random(seed);
        let flushes: Vec<usize> =
            (self.first..self.last).filter(|at| matches!(self.trace.operations[*at], Operation::Flush)).collect();
        let (first, span) = (self.first, (self.last - self.first + 1) as u64);
        let others = std::iter::repeat_with(move || {
            // Right before a flush the most is at stake.
            let at_flush = flushes[random.below(flushes.len() as u64) as usize];
            let anywhere = first + random.below(span) as usize;
            let operations = if random.below(2) == 0 { at_flush } else { anywhere };
            let left = match random.below(6) {
                0 => Left::Nothing,
                1 => Left::Everything,
                _ => Left::Some { seed: random.below(1 << 30) },
            };
            Case { operations, left }
        });
        at_once.collect::<Vec<_>>().into_iter().chain(others)
    }

    /// Loses power, mounts what is left, and holds the vault against what was acknowledged by then.
    fn check(&self, case: Case, folder: &Path) -> Result<(), Broken> {
        let image = folder.join("lost");
        let written = self.trace.after(case.operations, case.left).write_to(&image);
        written.map_err(|error| error.to_string())?;
        let mounted = Attached::mount(&self.kind, &image, &folder.join("found"))?;
        let path = mounted.path().join("vault");
        let done = self.acknowledged.iter().filter(|at| **at <= case.operations).count();
        if done == 0 {
            match Vault::init(&path, &common::password(), &common::protected()) {
                Ok(_) | Err(Error::VaultExists { .. }) => {}
                Err(error) => return Err(format!("init again: {error}")),
            }
        }
        let vault = Vault::open(&path, &common::password(), &OpenOptions::default()).map_err(said("open"))?;
        let mut ledger = self.ledger(done);
        let unsaid = ledger.check(&vault)?;
        ensure(unsaid.len() <= 1, || format!("{} points that nobody acknowledged", unsaid.len()))?;
        if let Some(expected) = self.second_key(done) {
            let opened = Vault::open(&path, &second_password(), &OpenOptions::default());
            let opens = match opened {
                Ok(_) => true,
                Err(Error::WrongKey { .. } | Error::RemovedKey) => false,
                Err(error) => return Err(format!("open with the second key: {error}")),
            };
            ensure(opens == expected, || format!("the second key should open: {expected}; it does: {opens}"))?;
        }
        ledger.check_next_backup(&vault, &path, 77)
    }

    /// What was acknowledged after so many steps; the next was begun.
    fn ledger(&self, done: usize) -> Ledger {
        let mut ledger = Ledger::default();
        for (number, (step, point)) in self.steps.iter().zip(&self.points).enumerate().take(done + 1) {
            let Step::Backup(machine, disks) = step else { continue };
            match point {
                Some(point) if number < done => ledger.acknowledges(machine, point, digest(disks)),
                _ => ledger.begins(machine, digest(disks)),
            }
        }
        ledger
    }

    /// Whether the second key must open the vault; nothing where it may.
    fn second_key(&self, done: usize) -> Option<bool> {
        let change = |step: &Step| match step {
            Step::AddKey => Some(true),
            Step::RemoveKey => Some(false),
            _ => None,
        };
        if self.steps.get(done).and_then(change).is_some() {
            return None;
        }
        Some(self.steps[..done].iter().rev().find_map(change).unwrap_or(false))
    }

    /// Tells what is needed to look at a failed case, and keeps its disk.
    fn fail(&self, case: Case, broken: &str) -> ! {
        let kept = std::env::temp_dir().join(format!("icecore-lost-{}.img", std::process::id()));
        let written = self.trace.after(case.operations, case.left).write_to(&kept);
        let Kind { name, options, .. } = self.kind;
        panic!(
            "{broken}\n{name} ({options}), {case:?} of {}; the steps were acknowledged after {:?}; the disk is in {} \
             ({written:?})",
            self.trace.operations.len(),
            self.acknowledged,
            kept.display(),
        )
    }
}

/// Why the kernel can't be asked here.
fn why_not() -> Option<String> {
    if !common::is_root() {
        return Some("loop mounts need root".to_owned());
    }
    let missing = ["/dev/fuse", "/dev/loop-control"].into_iter().find(|device| !Path::new(device).exists())?;
    Some(format!("{missing} is missing"))
}

/// What was tried on a file system.
#[derive(Debug, Default)]
struct Counts {
    recordings: u64,
    operations: usize,
    flushes: usize,
    cases: usize,
}

fn walk(kind: Kind, folder: &Path, time: Option<Duration>) -> Result<(), String> {
    let began = Instant::now();
    let mut counts = Counts::default();
    let goes_on = |counts: &Counts| counts.cases < CASES || time.is_some_and(|time| began.elapsed() < time);
    while goes_on(&counts) {
        let folder = folder.join(counts.recordings.to_string());
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let recording = record(kind, &folder, counts.recordings)?;
        counts.operations += recording.trace.operations.len();
        counts.flushes += recording.trace.flushes();
        for case in recording.cases(counts.recordings).take(CASES_OF_A_RECORDING) {
            if !goes_on(&counts) {
                break;
            }
            recording.check(case, &folder).unwrap_or_else(|broken| recording.fail(case, &broken));
            counts.cases += 1;
        }
        counts.recordings += 1;
        std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    }
    println!(
        "CAMPAIGN: block trace: {} ({}): {} power losses; recorded works: {}; {} operations of the disk, {} \
         of them flushes; lost 0, wrong 0; {} s",
        kind.name,
        kind.options,
        counts.cases,
        counts.recordings,
        counts.operations,
        counts.flushes,
        began.elapsed().as_secs(),
    );
    assert!(counts.cases >= CASES);
    Ok(())
}

#[test]
fn power_loss_below_a_real_file_system_loses_nothing_acknowledged() {
    let test = "power_loss_below_a_real_file_system_loses_nothing_acknowledged";
    if let Some(why) = why_not() {
        return common::not_run(test, &why);
    }
    let campaign = common::campaign();
    let kinds = if campaign.is_some() { &KINDS[..] } else { &KINDS[..1] };
    for kind in kinds {
        let folder = common::scratch();
        let time = campaign.map(|time| time / kinds.len() as u32);
        if let Err(why) = walk(*kind, folder.path(), time) {
            common::not_run(&format!("{test}, {}", kind.name), &why);
        }
    }
}
