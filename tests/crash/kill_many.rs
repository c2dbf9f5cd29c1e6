//! Promise 1: of many processes at work on one vault any may be killed at any moment, and nothing acknowledged is lost.
//!
//! Backups of two machines, two of them of the same one, a verify, a restore, a reader of the tree, a mount with a reader,
//! one that removes the index, and one that makes points, forgets them and gives back their space all run at once, each over and over. Some are killed with SIGKILL, by seed, and begun
//! anew. After each round the rest end by themselves, none with an error, and the vault is held against what was said.
//!
//! A few rounds; with `ICECORE_CAMPAIGN` as many as fit into `ICECORE_CAMPAIGN_SECONDS` (default 120).
#![cfg(feature = "mount")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common;
use crate::common::Random;
use crate::common::ledger::{Digest, Disks, Ledger, digest, read};
use icecore::Vault;
use icecore::backup::Progress;
use icecore::restore::RestoreOptions;
use icecore::vault::{GcOptions, GcProgress, SoftDelete};
use icecore_fuse::MountOptions;

/// What the child does; set for children only, as are the others.
const ROLE: &str = "ICECORE_TEST_ROLE";
const VAULT: &str = "ICECORE_TEST_VAULT";
/// A directory of the child's own; of a mount its mount point, of a reader of mounts what holds all mount points.
const PLACE: &str = "ICECORE_TEST_PLACE";
/// Number of the first content that a backup makes.
const FIRST: &str = "ICECORE_TEST_FIRST";

/// What every line that a child has to say begins with: the test runner prints to the same pipe.
const SAYS: &str = "child says: ";

/// Rounds without a campaign.
const ROUNDS: u64 = 5;

/// Rounds on one vault: reading it all takes longer with each.
const ROUNDS_OF_A_VAULT: u64 = 6;

/// Longest time between two kills: some hit a child that is only starting, most one at work.
const MOST_MILLISECONDS: u64 = 150;

/// Contents that one process may back up.
const OF_A_PROCESS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Backup(&'static str),
    Verify,
    Restore,
    ReadTree,
    LoseIndex,
    Collect,
    Mount,
    ReadMount,
}

const ROLES: [Role; 10] = [
    Role::Backup("alone"),
    Role::Backup("shared"),
    Role::Backup("shared"),
    Role::Verify,
    Role::Restore,
    Role::ReadTree,
    Role::LoseIndex,
    Role::Collect,
    Role::Mount,
    Role::ReadMount,
];

/// The machine whose points go as soon as they are made; all that they have in common with others' must stay.
const GOING: &str = "going";

impl Role {
    fn name(self) -> String {
        format!("{self:?}")
    }

    fn named(name: &str) -> Self {
        ROLES.into_iter().find(|role| role.name() == name).expect("a role")
    }

    fn is_backup(self) -> bool {
        matches!(self, Self::Backup(_))
    }

    fn is_reader(self) -> bool {
        matches!(self, Self::Verify | Self::Restore | Self::ReadTree)
    }
}

/// What is backed up under a number: much that all have in common, much that is new, a disk that repeats.
fn content(number: u64) -> Disks {
    let mut os = common::noise(1, 1_300_000);
    let at = usize::try_from(number % 97).expect("small") * 8000;
    os[at..at + 200_000].copy_from_slice(&common::noise(1_000_000 + number, 200_000));
    let data = common::text(number / 3, 90_000);
    Disks::from([("os".to_owned(), os), ("data".to_owned(), data)])
}

fn say(what: &str) {
    println!("{SAYS}{what}");
}

/// Not a test by itself: a process of those at work, until its standard input ends.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [vault, place] = [VAULT, PLACE].map(|name| PathBuf::from(std::env::var_os(name).expect(name)));
    let first: u64 = std::env::var(FIRST).expect(FIRST).parse().expect("a number");
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Release);
    });
    let role = Role::named(&role);
    let mounted = (role == Role::Mount).then(|| {
        let tree = Arc::new(common::open(&vault).tree());
        icecore_fuse::mount(tree, &place, &MountOptions::default(), |failure| panic!("{failure}")).expect("mount")
    });
    let lasting = common::open(&vault);
    for number in first.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        match role {
            Role::Backup(machine) => back_up(&vault, machine, number),
            Role::Verify => {
                let report = common::verify(&common::open(&vault));
                assert!(report.is_clean(), "{:?} {:?}", report.damage, report.hit);
            }
            Role::Restore => restore(&common::open(&vault), &place.join(number.to_string())),
            Role::ReadTree => {
                // One that was opened long ago, and one that has just been.
                lasting.refresh().expect("refresh");
                read_tree(&lasting);
                read_tree(&common::open(&vault));
            }
            Role::LoseIndex => {
                for run in common::files(&vault.join("index")) {
                    let _ = std::fs::remove_file(run);
                }
                let vault = common::open(&vault);
                let point = vault.point("alone", "latest").expect("latest");
                assert_eq!(read(&vault, &point).expect("read"), digest(&content(number_of(&vault, &point))));
            }
            Role::Collect => {
                let vault = common::open(&vault);
                let disks = content(number);
                let bytes: Vec<(&str, &[u8])> =
                    disks.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
                common::backup_bytes(&vault, GOING, &bytes).expect("backup");
                forget_going(&vault);
                let options = GcOptions { least_dead_percent: 1, ..GcOptions::default() };
                let collected = vault.gc(&options, &GcProgress::default()).expect("gc");
                assert!(collected.left.is_empty(), "{:?}", collected.left);
                say("right");
            }
            Role::Mount => std::thread::sleep(Duration::from_millis(1)),
            Role::ReadMount => read_newest_mount(&place),
        }
        if role.is_reader() {
            say("right");
        }
    }
    if let Some(mounted) = mounted {
        mounted.unmount().expect("unmount");
    }
}

fn back_up(vault: &Path, machine: &str, number: u64) {
    let disks = content(number);
    let bytes: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let mut request = common::memory_request(machine, &bytes);
    request.tags.push(number.to_string());
    say(&format!("begins {number}"));
    let report = common::open(vault).backup(&request, &Progress::default()).expect("backup");
    say(&format!("made {number} {}", report.point.id));
}

fn forget_going(vault: &Vault) {
    for point in vault.points(GOING).unwrap_or_default() {
        vault.forget(&point, "", true).expect("forgotten");
    }
}

/// Under which number the content of a point was made.
fn number_of(vault: &Vault, point: &icecore::point::PointInfo) -> u64 {
    vault.manifest(point).expect("manifest").tags[0].parse().expect("a number")
}

fn restore(vault: &Vault, target: &Path) {
    let point = vault.point("shared", "latest").expect("latest");
    let progress = icecore::restore::Progress::default();
    vault.restore(&point, "os", target, &RestoreOptions::default(), &progress).expect("restore");
    let restored = std::fs::read(target).expect("the restored file");
    common::assert_same(&restored, &content(number_of(vault, &point))["os"], "restored");
    std::fs::remove_file(target).expect("remove");
}

fn read_tree(vault: &Vault) {
    for machine in ["alone", "shared"] {
        let point = vault.point(machine, "latest").expect("latest");
        for (disk, bytes) in content(number_of(vault, &point)) {
            let path = format!("{machine}/{}/disks/{disk}.raw", point.name);
            common::assert_same(&common::tree_bytes(vault, &path).expect(&path), &bytes, &path);
        }
    }
}

/// Reads the latest points through the mount that was begun last. Errors are fine where it is gone by now, or was not
/// there yet: nothing is ever mounted twice in one place.
fn read_newest_mount(places: &Path) {
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
    let begun = std::fs::read_dir(places).expect("places").map(|place| place.expect("a place").path());
    let Some(place) = begun.max_by_key(number) else { return };
    for machine in ["alone", "shared"].map(|machine| place.join(machine)) {
        let read = || {
            let point = machine.join(std::fs::read_link(machine.join("latest"))?);
            let described: serde_json::Value = serde_json::from_slice(&std::fs::read(point.join("point.json"))?)?;
            let number = described["tags"][0].as_str().expect("a tag").parse().expect("a number");
            for (disk, bytes) in content(number) {
                let path = point.join("disks").join(format!("{disk}.raw"));
                common::assert_same(&std::fs::read(&path)?, &bytes, &path.to_string_lossy());
            }
            std::io::Result::Ok(())
        };
        let lives = || std::fs::read_dir(&machine).is_ok();
        // One that came up only while it was read has said nothing wrong.
        let lived = lives();
        match read() {
            Ok(()) => say("right"),
            // Nobody is left to answer. The look at what lives may find in the kernel's cache what nobody answers for any more.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED)) => {}
            Err(error) => {
                assert!(!(lived && lives()), "the mount lives and says: {error}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// A child at work. Dropped, it is killed.
struct Running {
    role: Role,
    child: Child,
    lives_on: Option<ChildStdin>,
    lines: Option<JoinHandle<Vec<String>>>,
}

impl Running {
    fn start(role: Role, workplace: &Workplace, first: u64) -> Self {
        let place = match role {
            Role::Mount => {
                workplace.detach();
                workplace.own(&format!("points/{first}"))
            }
            Role::ReadMount => workplace.points(),
            _ => workplace.own(&format!("own-{first}")),
        };
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "kill_many::child", "--nocapture"])
            .env(ROLE, role.name())
            .env(VAULT, workplace.vault())
            .env(PLACE, place)
            .env(FIRST, first.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("child");
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let said = |line: String| line.find(SAYS).map(|at| line[at + SAYS.len()..].to_owned());
        let lines = std::thread::spawn(move || stdout.lines().map_while(Result::ok).filter_map(said).collect());
        Self { role, lives_on: child.stdin.take(), child, lines: Some(lines) }
    }

    /// Kills it, and returns what it had said.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("kill");
        self.said()
    }

    /// Waits until it has come to its end, and returns what it said.
    fn end(mut self) -> Vec<String> {
        let began = Instant::now();
        while self.child.try_wait().expect("wait").is_none() {
            assert!(began.elapsed().as_secs() < 120, "{:?} hangs", self.role);
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{:?} ended with {status}", self.role);
        self.said()
    }

    fn said(mut self) -> Vec<String> {
        self.child.wait().expect("wait");
        self.lines.take().map(|lines| lines.join().expect("a reader")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory of a vault and all who work on it. Leaves no mount behind.
struct Workplace {
    folder: tempfile::TempDir,
    seed: u64,
    mounts: bool,
}

impl Workplace {
    fn new(seed: u64, mounts: bool) -> Self {
        let workplace = Self { folder: common::scratch(), seed, mounts };
        std::fs::create_dir(workplace.points()).expect("a directory");
        workplace
    }

    fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    fn points(&self) -> PathBuf {
        self.folder.path().join("points")
    }

    fn own(&self, name: &str) -> PathBuf {
        let own = self.folder.path().join(name);
        std::fs::create_dir(&own).expect("a directory");
        own
    }

    /// Unmounts what killed processes mounted, as a person would.
    fn detach(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        for place in places.filter(|place| place.starts_with(self.points())) {
            let _ = Command::new(env!("CARGO_BIN_EXE_icecore")).args(["umount", "--lazy"]).arg(place).status();
        }
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        self.detach();
    }
}

/// What happened.
#[derive(Debug, Default)]
struct Counts {
    rounds: u64,
    kills: u64,
    kills_in_a_backup: u64,
    points: usize,
    unsaid: usize,
    checks: usize,
}

/// Takes down what a process said, and returns whether it was in a backup.
fn take_down(ledger: &mut Ledger, role: Role, lines: &[String]) -> bool {
    let Role::Backup(machine) = role else { return false };
    let mut in_flight = false;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let content = |number: &str| -> Digest { digest(&content(number.parse().expect("a number"))) };
        match words[..] {
            ["begins", number] => {
                ledger.begins(machine, content(number));
                in_flight = true;
            }
            ["made", number, id] => {
                ledger.acknowledges(machine, id, content(number));
                in_flight = false;
            }
            _ => {}
        }
    }
    in_flight
}

fn round(workplace: &Workplace, ledger: &mut Ledger, number: u64, counts: &mut Counts) {
    let mut random = Random(workplace.seed.wrapping_mul(1000).wrapping_add(number));
    let mut first = (1 + number) * 100 * OF_A_PROCESS;
    let mut next = || {
        first += OF_A_PROCESS;
        first
    };
    let roles = ROLES.into_iter().filter(|role| workplace.mounts || !matches!(role, Role::Mount | Role::ReadMount));
    let mut running: Vec<Running> = roles.map(|role| Running::start(role, workplace, next())).collect();
    let mut in_flight = 0;
    for _ in 0..2 + random.below(4) {
        std::thread::sleep(Duration::from_millis(random.below(MOST_MILLISECONDS)));
        // Every second one is a backup: there is the most to lose.
        let backup = random.below(2) == 0;
        let chosen: Vec<usize> = (0..running.len()).filter(|at| !backup || running[*at].role.is_backup()).collect();
        let victim = running.swap_remove(chosen[random.below(chosen.len() as u64) as usize]);
        let role = victim.role;
        let lines = victim.kill();
        in_flight += usize::from(take_down(ledger, role, &lines));
        counts.kills += 1;
        running.push(Running::start(role, workplace, next()));
    }
    // All are asked at once, and none goes on while another is waited for.
    running.iter_mut().for_each(|running| drop(running.lives_on.take()));
    for running in running {
        let role = running.role;
        let lines = running.end();
        assert!(!take_down(ledger, role, &lines), "{role:?} ended in the middle of a backup");
        counts.checks += lines.iter().filter(|line| *line == "right").count();
    }
    counts.kills_in_a_backup += in_flight as u64;
    let vault = common::open(&workplace.vault());
    forget_going(&vault);
    let held = ledger.check(&vault).and_then(|unsaid| {
        let told = || format!("{} points that nobody acknowledged, of {in_flight} in flight", unsaid.len());
        common::ledger::ensure(unsaid.len() <= in_flight, told)?;
        ledger.check_next_backup(&vault, &workplace.vault(), number)?;
        Ok(unsaid)
    });
    let unsaid = held.unwrap_or_else(|broken| panic!("seed {}, round {number}: {broken}", workplace.seed));
    counts.unsaid += unsaid.len();
    ledger.adopts(unsaid);
    counts.rounds += 1;
}

#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed() {
    let campaign = common::campaign();
    let began = Instant::now();
    let mut counts = Counts::default();
    let goes_on = |counts: &Counts| campaign.map_or(counts.rounds < ROUNDS, |time| began.elapsed() < time);
    let mut mounts = None;
    for seed in 0.. {
        if !goes_on(&counts) {
            break;
        }
        let mut workplace = Workplace::new(seed, false);
        let vault = common::init(&workplace.vault(), &common::protected());
        // Whether a mount can be had here is told once.
        let test = "nothing_acknowledged_is_lost_whoever_is_killed, the mount";
        workplace.mounts = *mounts.get_or_insert_with(|| common::guest::Mounted::new(test, &vault).is_some());
        vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
        drop(vault);
        let mut ledger = Ledger::default();
        for (number, machine) in (0..).zip(["alone", "shared"]) {
            let vault = common::open(&workplace.vault());
            let disks = content(number);
            let bytes: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
            let mut request = common::memory_request(machine, &bytes);
            request.tags.push(number.to_string());
            let made = vault.backup(&request, &Progress::default()).expect("the first backup");
            ledger.acknowledges(machine, &made.point.id, digest(&disks));
        }
        for number in 0..ROUNDS_OF_A_VAULT {
            if goes_on(&counts) {
                round(&workplace, &mut ledger, number, &mut counts);
            }
        }
        counts.points += ledger.acknowledged();
    }
    println!(
        "CAMPAIGN: kill -9: {} rounds, {} processes killed, {} of them in a backup; {} points acknowledged or found \
         whole and read right each round, {} of them never acknowledged; {} checks beside them; lost 0, wrong 0; {} s",
        counts.rounds,
        counts.kills,
        counts.kills_in_a_backup,
        counts.points,
        counts.unsaid,
        counts.checks,
        began.elapsed().as_secs(),
    );
    assert!(counts.kills >= 2 * counts.rounds && counts.kills_in_a_backup > 0 && counts.checks > 0, "{counts:?}");
}
