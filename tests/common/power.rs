//! Power loss at every moment of a workload on a simulated disk, and what must be true afterwards.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use icecore::format::key_slot::Role;
use icecore::media::files::Files;
use icecore::media::simulated::{Crash, Image, Left, Operation, SimulatedFiles, Trace};
use icecore::media::{DirectoryMedia, Media, ReadMode};
use icecore::seal::Credential;
use icecore::vault::{FOLDERS, InitOptions, LOCKS, OpenOptions, RewriteProgress};
use icecore::{Error, Result, Vault};

use super::{CHEAP, Random};

/// Where the vault is on the simulated disk.
pub const VAULT: &str = "/vault";

/// Disks of a machine by name.
pub type Disks = BTreeMap<&'static str, Arc<Vec<u8>>>;

/// A thing that a workload does to a vault. What it acknowledges is written into the trace as a note with its number.
#[derive(Clone, Debug)]
pub enum Step {
    Backup {
        machine: &'static str,
        disks: Disks,
    },
    AddKey,
    RemoveKey,
    /// The password is changed, to the same one: a new slot, and the old one goes.
    ChangeKey,
    /// A new epoch of the keys begins.
    Rotate,
    /// Everything older is moved under its keys.
    Rewrite,
    /// Every point is read.
    Read,
    /// Everything is verified.
    Verify,
    /// The index is lost, and made again by who opens next.
    LoseIndex,
}

/// What is done: a vault is made, and one step after the other taken, each by a process of its own.
#[derive(Clone, Debug)]
pub struct Workload {
    pub chunk_bytes: u32,
    pub steps: Vec<Step>,
}

impl Workload {
    /// The one that continuous integration walks through: every kind of write that there is.
    pub fn of_everything() -> Self {
        // More than one segment of data on the first day; much of it known on the second.
        let [os, data] = [super::noise(1, 1_100_000), super::text(2, 70_000)];
        let mut changed = os.clone();
        changed[500_000..650_000].copy_from_slice(&super::noise(3, 150_000));
        let other = super::noise(4, 90_000);
        let disks = |os: Vec<u8>, data: &[u8]| Disks::from([("os", Arc::new(os)), ("data", Arc::new(data.to_vec()))]);
        let steps = vec![
            Step::Backup { machine: "web", disks: disks(os, &data) },
            Step::AddKey,
            Step::Backup { machine: "web", disks: disks(changed, &data) },
            Step::Read,
            Step::LoseIndex,
            Step::Rotate,
            Step::Backup { machine: "db", disks: disks(other, &data[..30_000]) },
            Step::ChangeKey,
            Step::RemoveKey,
            Step::Rotate,
            Step::Rewrite,
            Step::Verify,
        ];
        Self { chunk_bytes: 64 << 10, steps }
    }

    /// One that follows from a seed.
    pub fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut steps: Vec<Step> = Vec::new();
        let mut content: BTreeMap<&'static str, Disks> = BTreeMap::new();
        for _ in 0..3 + random.below(5) {
            steps.push(match random.below(13) {
                10 => Step::Rotate,
                11 => Step::Rewrite,
                12 => Step::ChangeKey,
                0 => Step::LoseIndex,
                1 => Step::Read,
                2 => Step::Verify,
                3 if !steps.iter().any(|step| matches!(step, Step::AddKey)) => Step::AddKey,
                4 if matches!(
                    steps.iter().rfind(|step| matches!(step, Step::AddKey | Step::RemoveKey)),
                    Some(Step::AddKey)
                ) =>
                {
                    Step::RemoveKey
                }
                _ => {
                    let machine = ["web", "db"][random.below(2) as usize];
                    let disks = content.entry(machine).or_default();
                    for disk in ["os", "data"] {
                        let bytes = disks.entry(disk).or_insert_with(|| {
                            let length = 1 + random.below(400_000) as usize;
                            Arc::new(if random.below(3) == 0 {
                                vec![0; length]
                            } else {
                                super::noise(random.0, length)
                            })
                        });
                        let bytes = Arc::make_mut(bytes);
                        for _ in 0..random.below(4) {
                            let start = random.below(bytes.len() as u64) as usize;
                            let end = (start + random.below(60_000) as usize).min(bytes.len());
                            let seed = random.below(1000);
                            bytes[start..end].copy_from_slice(&super::text(seed, end - start));
                        }
                    }
                    Step::Backup { machine, disks: disks.clone() }
                }
            });
        }
        Self { chunk_bytes: [4096, 16 << 10, 64 << 10][random.below(3) as usize], steps }
    }

    fn options(&self) -> InitOptions {
        InitOptions { chunk_bytes: self.chunk_bytes, ..super::protected() }
    }

    /// Does everything on a new disk.
    pub fn run(&self) -> SimulatedFiles {
        let files = SimulatedFiles::new();
        init(&files, &self.options()).expect("init");
        files.note("made");
        for (number, step) in self.steps.iter().enumerate() {
            let vault = open(&files, &super::password()).expect("open");
            match step {
                Step::Backup { machine, disks } => {
                    backup(&vault, machine, disks).expect("backup");
                }
                Step::AddKey => {
                    vault.add_key(Role::Restore, &second_password(), CHEAP).expect("added");
                }
                Step::RemoveKey => {
                    let slots = vault.key_slots().expect("slots");
                    let added = slots.iter().find(|slot| slot.info.role == Role::Restore).expect("the added slot");
                    vault.remove_key(&added.info.id, false).expect("removed");
                }
                Step::ChangeKey => {
                    vault.change_own_key(&super::password(), CHEAP).expect("changed");
                }
                Step::Rotate => drop(vault.rotate_keys(true).expect("rotated")),
                Step::Rewrite => {
                    let report = vault.rewrite(&RewriteProgress::default()).expect("rewritten");
                    assert!(report.left.is_empty(), "{report:?}");
                }
                Step::Read => {
                    for machine in vault.machines() {
                        for point in vault.points(&machine).expect("points") {
                            super::disk_bytes(&vault, &point, "os").expect("read");
                        }
                    }
                }
                Step::Verify => assert!(super::verify(&vault).is_clean()),
                Step::LoseIndex => {
                    drop(vault);
                    let index = Path::new(VAULT).join("index");
                    for run in files.list(&index).expect("listed") {
                        files.remove(&index.join(run.name)).expect("removed");
                    }
                    // Who comes next makes it again.
                    drop(open(&files, &super::password()).expect("open"));
                }
            }
            files.note(number.to_string());
        }
        files
    }
}

fn second_password() -> Credential {
    Credential::password(*b"battery staple")
}

fn media(files: &SimulatedFiles) -> DirectoryMedia {
    DirectoryMedia::over(Arc::new(files.clone()), Path::new(VAULT), ReadMode::Pread)
}

pub fn init(files: &SimulatedFiles, options: &InitOptions) -> Result<Vault> {
    let media = media(files);
    media.initialize(&FOLDERS, &LOCKS)?;
    Vault::init_on(Arc::new(media), &super::password(), options)
}

pub fn open(files: &SimulatedFiles, credential: &Credential) -> Result<Vault> {
    let media: Arc<dyn Media> = Arc::new(media(files));
    Vault::open_on(media, credential, &OpenOptions::default())
}

fn backup(vault: &Vault, machine: &str, disks: &Disks) -> Result<String> {
    let disks: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    Ok(super::backup_bytes(vault, machine, &disks)?.point.id.clone())
}

/// What was said to the world up to a moment.
#[derive(Clone, Copy, Debug)]
struct Acknowledged<'a> {
    workload: &'a Workload,
    /// Whether the vault was acknowledged.
    made: bool,
    /// Steps that were acknowledged. The next one may have happened too.
    steps: usize,
}

impl<'a> Acknowledged<'a> {
    fn points(&self, machine: &str) -> Vec<&'a Disks> {
        let of = |step: &'a Step| match step {
            Step::Backup { machine: of, disks } if *of == machine => Some(disks),
            _ => None,
        };
        self.workload.steps[..self.steps].iter().filter_map(of).collect()
    }

    /// The step that may or may not have happened.
    fn in_flight(&self) -> Option<&'a Step> {
        self.workload.steps.get(self.steps).filter(|_| self.made)
    }

    /// Whether the second key must open the vault; nothing where it may.
    fn second_key(&self) -> Option<bool> {
        let change = |step: &Step| match step {
            Step::AddKey => Some(true),
            Step::RemoveKey => Some(false),
            _ => None,
        };
        if self.in_flight().and_then(change).is_some() {
            return None;
        }
        Some(self.workload.steps[..self.steps].iter().rev().find_map(change).unwrap_or(false))
    }
}

fn ensure(is_so: bool, what: impl FnOnce() -> String) -> std::result::Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}

fn said<T>(result: Result<T>, what: &str) -> std::result::Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// The points of all machines are exactly the acknowledged ones, and at most one more; each reads right.
fn check_points(vault: &Vault, known: &Acknowledged<'_>) -> std::result::Result<(), String> {
    let mut more = 0;
    for machine in ["web", "db"] {
        let acknowledged = known.points(machine);
        let found = match vault.points(machine) {
            Ok(points) => points,
            Err(Error::UnknownMachine { .. }) => Vec::new(),
            Err(error) => return Err(format!("points of {machine}: {error}")),
        };
        let told = || format!("{} of {machine} were acknowledged, {} are there", acknowledged.len(), found.len());
        ensure(found.len() >= acknowledged.len(), told)?;
        more += found.len() - acknowledged.len();
        let in_flight = known.in_flight().and_then(|step| match step {
            Step::Backup { machine: of, disks } if *of == machine => Some(disks),
            _ => None,
        });
        let mut expected: Vec<&Disks> = acknowledged.into_iter().chain(in_flight).take(found.len()).collect();
        ensure(expected.len() == found.len(), || format!("a point of {machine} that nobody made"))?;
        for point in &found {
            let is_it = |disks: &&Disks| {
                disks
                    .iter()
                    .all(|(name, bytes)| super::disk_bytes(vault, point, name).is_ok_and(|read| read == **bytes))
            };
            let place = expected.iter().position(is_it);
            let Some(place) = place else {
                let error = super::disk_bytes(vault, point, "os").err();
                return Err(format!("a point of {machine} reads as none that was made ({error:?})"));
            };
            expected.remove(place);
        }
    }
    ensure(more <= 1, || format!("{more} points more than were acknowledged"))
}

/// What must be true of a disk after power loss. Returns it after the next backup, with all that was done to it.
fn check(image: &Image, known: &Acknowledged<'_>) -> std::result::Result<SimulatedFiles, String> {
    let files = SimulatedFiles::from_image(image.clone()).map_err(|error| error.to_string())?;
    if !known.made {
        // A second init completes what the first began, or says that there is a vault, which then opens.
        match init(&files, &known.workload.options()) {
            Ok(_) | Err(Error::VaultExists { .. }) => {}
            Err(error) => return Err(format!("init again: {error}")),
        }
    }
    let vault = said(open(&files, &super::password()), "open")?;
    check_points(&vault, known)?;
    let second = open(&files, &second_password());
    match (known.second_key(), &second) {
        (Some(true), Err(error)) => return Err(format!("the added key does not open: {error}")),
        (Some(false), Ok(_)) => return Err("the removed key opens".to_owned()),
        (_, Err(Error::WrongKey { .. } | Error::RemovedKey) | Ok(_)) => {}
        (_, Err(error)) => return Err(format!("the second key: {error}")),
    }
    let report = said(vault.verify(&icecore::vault::VerifyProgress::default()), "verify")?;
    ensure(report.is_clean(), || format!("verify: {:?} {:?}", report.damage, report.hit))?;
    drop(vault);
    let vault = said(open(&files, &super::password()), "open again")?;
    let disks = Disks::from([("os", Arc::new(super::noise(9, 100_000)))]);
    let id = said(backup(&vault, "next", &disks), "the next backup")?;
    let vault = said(open(&files, &super::password()), "open after the next backup")?;
    let point = said(vault.point("next", &id), "the next point")?;
    let read = said(super::disk_bytes(&vault, &point, "os"), "reading the next point")?;
    ensure(read == *disks["os"], || "the next point reads wrong".to_owned())?;
    check_points(&vault, known)?;
    // Of some: they cost more than everything before.
    let rotates = known.workload.steps.iter().any(|step| matches!(step, Step::Rotate | Step::Rewrite));
    if rotates && image.hash()[0].is_multiple_of(4) {
        // Whatever a rotation or a rewrite was at, the next ones work, and shut nobody out.
        let (vault, report) = said(vault.rotate_keys(true), "the next rotation")?;
        ensure(report.left_out.is_empty() && report.unreadable.is_empty(), || format!("left out: {report:?}"))?;
        let report = said(vault.rewrite(&RewriteProgress::default()), "the next rewrite")?;
        ensure(report.left.is_empty(), || format!("not rewritten: {report:?}"))?;
        let vault = said(open(&files, &super::password()), "open after the next rotation")?;
        check_points(&vault, known)?;
        ensure(open(&files, &second_password()).is_ok() == second.is_ok(), || {
            "the second key was shut out".to_owned()
        })?;
    }
    let left = files.list(&Path::new(VAULT).join("tmp")).map_err(|error| error.to_string())?;
    ensure(left.is_empty(), || format!("{} temporary files are left", left.len()))?;
    Ok(files)
}

/// What is walked through, and how thoroughly.
#[derive(Clone, Copy, Debug)]
pub struct Thoroughness {
    /// Throws of the dice at each moment.
    pub throws: u64,
    /// Of the ways in which single changes are kept, lost or torn, one in so many.
    pub one_in: usize,
    /// Of the recoveries, one in so many loses power too.
    pub recoveries_one_in: usize,
}

/// How many cases there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls of the workload that change the disk or make a change durable.
    pub moments: usize,
    /// Crashes looked at, those that left the same as another left out.
    pub cases: usize,
    /// Crashes in all.
    pub crashes: usize,
    /// Crashes during a recovery.
    pub second_crashes: usize,
}

/// Loses power at every moment of a workload, and checks what is left.
pub fn walk(workload: &Workload, thoroughness: Thoroughness) -> Counts {
    let trace = workload.run().trace();
    let seen = Mutex::new(HashSet::new());
    let [crashes, cases, second] = [const { AtomicUsize::new(0) }; 3];
    let next = AtomicUsize::new(0);
    let work = || {
        let mut crash = Crash::before(&trace);
        let mut known = Acknowledged { workload, made: false, steps: 0 };
        loop {
            // Each thread walks through the whole trace, and looks at the moments that nobody took before.
            let moment = next.fetch_add(1, Ordering::Relaxed);
            while crash.made() < moment {
                match crash.step() {
                    None => return,
                    Some(Operation::Note(note)) if note == "made" => known.made = true,
                    Some(Operation::Note(_)) => known.steps += 1,
                    Some(_) => {}
                }
            }
            for (number, left) in crash.ways(thoroughness.throws).into_iter().enumerate() {
                let is_single = matches!(left, Left::First(_) | Left::Without(_) | Left::Only(_) | Left::Torn { .. });
                if is_single && !(number + moment).is_multiple_of(thoroughness.one_in) {
                    continue;
                }
                crashes.fetch_add(1, Ordering::Relaxed);
                let image = crash.image(left);
                if !seen.lock().expect("seen").insert((image.hash(), known.made, known.steps)) {
                    continue;
                }
                let case = cases.fetch_add(1, Ordering::Relaxed);
                let files = check(&image, &known).unwrap_or_else(|what| fail(&trace, moment, left, &image, &what));
                if case.is_multiple_of(thoroughness.recoveries_one_in) {
                    second.fetch_add(crash_again(&files.trace(), &known, moment, left), Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().expect("a worker");
        }
    });
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    Counts {
        moments: trace.operations.len(),
        cases: count(&cases),
        crashes: count(&crashes),
        second_crashes: count(&second),
    }
}

/// Loses power again at some moments of a recovery.
fn crash_again(recovery: &Trace, known: &Acknowledged<'_>, first_moment: usize, first_left: Left) -> usize {
    let mut crash = Crash::before(recovery);
    let mut random = Random(first_moment as u64);
    let mut count = 0;
    while crash.step().is_some() {
        if random.below(6) != 0 {
            continue;
        }
        let ways = crash.ways(1);
        for left in [Left::Nothing, Left::Everything, ways[random.below(ways.len() as u64) as usize]] {
            count += 1;
            let image = crash.image(left);
            let again = || {
                let files = SimulatedFiles::from_image(image.clone()).map_err(|error| error.to_string())?;
                if !known.made {
                    match init(&files, &known.workload.options()) {
                        Ok(_) | Err(Error::VaultExists { .. }) => {}
                        Err(error) => return Err(format!("init again: {error}")),
                    }
                }
                let vault = said(open(&files, &super::password()), "open")?;
                check_points(&vault, known)?;
                let report = said(vault.verify(&icecore::vault::VerifyProgress::default()), "verify")?;
                ensure(report.is_clean(), || format!("verify: {:?} {:?}", report.damage, report.hit))
            };
            again().unwrap_or_else(|what| {
                let what = format!("crash at {first_moment} ({first_left:?}), then in the recovery: {what}");
                fail(recovery, crash.made(), left, &image, &what)
            });
        }
    }
    count
}

/// Tells everything that is needed to look at a failed case.
fn fail(trace: &Trace, moment: usize, left: Left, image: &Image, what: &str) -> ! {
    let folder: PathBuf = std::env::temp_dir().join(format!("icecore-crash-{}", std::process::id()));
    let written = image.write_to(&folder);
    let first = moment.saturating_sub(8);
    let calls: Vec<String> = trace.operations[first..moment].iter().map(brief).collect();
    panic!(
        "{what}\nafter call {moment} of {} with {left:?} left; the disk is in {} ({written:?}); the last calls:\n{}",
        trace.operations.len(),
        folder.display(),
        calls.join("\n"),
    );
}

fn brief(operation: &Operation) -> String {
    match operation {
        Operation::Write { node, offset, bytes } => format!("Write {{ node: {node}, {offset} + {} }}", bytes.len()),
        other => format!("{other:?}"),
    }
}
