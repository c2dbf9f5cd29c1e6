//! Whole backups, restores, reads and a check, each twice; the faster one counts.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::bound::{Allowed, bound};
use super::disk::Disk;
use super::limit::limit;
use super::place::{Place, failed};
use super::progress::{Progress, Running};
use super::report::{Medium, NotMeasured, Primitive, Run, StageShare};
use super::stopwatch::{Taken, faster_of_two, taken};
use super::{Options, machine, number, reads};
use crate::Vault;
use crate::backup::{self, BackupReport, BackupRequest};
use crate::error::Result;
use crate::restore::{self, RestoreOptions};
use crate::seal::Credential;
use crate::store::CacheSizes;
use crate::vault::{OpenOptions, VerifyProgress};

/// Steps beside the parts: the machine, the medium, four runs on the vault, three kinds of reads of the tree, and three
/// of a mount.
pub(super) const STEPS: usize = 12;

/// Names in the vault.
const MACHINE: &str = "bench";
const DISK: &str = "disk";

/// What the runs need.
pub(super) struct Bench<'a> {
    pub place: &'a Place,
    pub disk: &'a Disk,
    pub options: &'a Options,
    pub progress: &'a Progress,
    pub primitives: &'a [Primitive],
    pub medium: &'a Medium,
}

/// What came out.
#[derive(Default)]
pub(super) struct Outcome {
    pub runs: Vec<Run>,
    pub not_measured: Vec<NotMeasured>,
    pub used_bytes: u64,
    pub stored_bytes: u64,
    pub peak_memory_bytes: u64,
}

/// What is measured, beside the time.
pub(super) struct Dealt {
    /// Used bytes of the disk.
    pub bytes: u64,
    /// Single reads, where those are measured.
    pub reads: Option<u64>,
    /// Cores that can work on it at once.
    pub cores: usize,
}

/// The vault made here, and its only key.
pub(super) struct Made {
    path: PathBuf,
    credential: Credential,
}

impl Made {
    /// Opens it anew: nothing of what it holds is in a cache of ours then.
    pub fn open(&self, options: &Options, cache: CacheSizes) -> Result<Vault> {
        Vault::open(
            &self.path,
            &self.credential,
            &OpenOptions { read_mode: options.read_mode, cache, ..OpenOptions::default() },
        )
    }

    /// The disk's path in the tree.
    pub fn disk_path() -> String {
        format!("{MACHINE}/latest/disks/{DISK}.raw")
    }
}

impl Bench<'_> {
    /// Runs everything.
    pub fn runs(&self, clock_hz: f64) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let made = self.backups(clock_hz, &mut outcome)?;
        self.restore(&made, clock_hz, &mut outcome)?;
        self.verify(&made, clock_hz, &mut outcome)?;
        reads::of_tree(self, &made, clock_hz, &mut outcome)?;
        #[cfg(feature = "mount")]
        super::mounted::reads(self, &made, clock_hz, &mut outcome)?;
        #[cfg(not(feature = "mount"))]
        outcome.not_measured.push(NotMeasured {
            name: "reads through a mount".to_owned(),
            why: "this icecore was built without mounting".to_owned(),
        });
        Ok(outcome)
    }

    /// Begins a run: its name, and the memory that it takes from now on.
    pub fn begin(&self, name: &str) -> Result<()> {
        machine::reset_peak_memory();
        self.progress.step(name)
    }

    /// Ends a run.
    pub fn add(&self, outcome: &mut Outcome, name: &str, clock_hz: f64, taken: &Taken, dealt: &Dealt) {
        let peak_memory_bytes = machine::peak_memory();
        outcome.peak_memory_bytes = outcome.peak_memory_bytes.max(peak_memory_bytes);
        let bound = bound(
            taken,
            dealt.bytes,
            &Allowed {
                primitives: self.primitives,
                level: self.options.level,
                medium: self.medium,
                cached: self.disk.is_warm(),
            },
            (dealt.cores, self.options.workers()),
        );
        let seconds = taken.seconds.max(1e-9);
        outcome.runs.push(Run {
            name: name.to_owned(),
            seconds: taken.seconds,
            bytes: dealt.bytes,
            bytes_per_second: number(dealt.bytes) / seconds,
            reads_per_second: dealt.reads.map(|reads| number(reads) / seconds),
            processor_seconds: taken.processor_seconds,
            busy: (taken.processor_seconds / seconds / number(dealt.cores as u64)).min(1.0),
            stolen: taken.stolen,
            others: taken.others,
            stages: shares(taken, clock_hz),
            limit: limit(taken, &bound, dealt.cores),
            bound,
            peak_memory_bytes,
        });
    }

    /// The first backup and one where nothing changed. Returns the vault.
    fn backups(&self, clock_hz: f64, outcome: &mut Outcome) -> Result<Made> {
        let (first, second) = ("first backup", "second backup, unchanged");
        self.begin(first)?;
        let credential = Credential::key_file(crate::seal::random::<32>()?)?;
        let mut made = Made { path: PathBuf::new(), credential };
        let best = faster_of_two(|round| {
            if round > 0 {
                // There is room for one at a time.
                fs::remove_dir_all(&made.path).map_err(failed("remove", &made.path))?;
            }
            made.path = self.place.join(&format!("vault-{round}"));
            let vault = Vault::init(&made.path, &made.credential, &self.options.init())?;
            let (taken, report) = self.back_up(&vault)?;
            let disks = report.manifest.disks.iter();
            outcome.used_bytes = disks.map(|disk| disk.size_bytes.saturating_sub(disk.zero_bytes)).sum();
            outcome.stored_bytes = report.added_bytes;
            Ok(taken)
        })?;
        if outcome.used_bytes == 0 {
            return Err(self.disk.nothing());
        }
        self.add_whole(outcome, first, clock_hz, &best);

        self.begin(second)?;
        let best = faster_of_two(|_| {
            // As another process would, on another day.
            let vault = made.open(self.options, CacheSizes::default())?;
            Ok(self.back_up(&vault)?.0)
        })?;
        self.add_whole(outcome, second, clock_hz, &best);
        Ok(made)
    }

    /// Ends a run that dealt with the whole disk on all cores.
    fn add_whole(&self, outcome: &mut Outcome, name: &str, clock_hz: f64, taken: &Taken) {
        let dealt = Dealt { bytes: outcome.used_bytes, reads: None, cores: self.options.workers() };
        self.add(outcome, name, clock_hz, taken, &dealt);
    }

    fn back_up(&self, vault: &Vault) -> Result<(Taken, BackupReport)> {
        let progress = Arc::new(backup::Progress::default());
        let mut request = BackupRequest::new(MACHINE).disk(DISK, self.disk.source()?);
        request.workers = Some(self.options.workers());
        let work = || taken(vault.meter(), || vault.backup(&request, &progress));
        self.progress.during(Running::Backup(Arc::clone(&progress)), work)
    }

    fn restore(&self, made: &Made, clock_hz: f64, outcome: &mut Outcome) -> Result<()> {
        let name = "restore to a file";
        self.begin(name)?;
        let target = self.place.join("restored.raw");
        let best = faster_of_two(|_| {
            let vault = made.open(self.options, CacheSizes::default())?;
            let point = vault.point(MACHINE, "latest")?;
            let options = RestoreOptions { workers: Some(self.options.workers()), ..RestoreOptions::default() };
            let progress = Arc::new(restore::Progress::default());
            let work = || taken(vault.meter(), || vault.restore(&point, DISK, &target, &options, &progress));
            let (taken, _) = self.progress.during(Running::Other(Arc::clone(&progress)), work)?;
            fs::remove_file(&target).map_err(failed("remove", &target))?;
            Ok(taken)
        })?;
        self.add_whole(outcome, name, clock_hz, &best);
        Ok(())
    }

    fn verify(&self, made: &Made, clock_hz: f64, outcome: &mut Outcome) -> Result<()> {
        let name = "verify";
        self.begin(name)?;
        let best = faster_of_two(|_| {
            let vault = made.open(self.options, CacheSizes::default())?;
            let progress = Arc::new(VerifyProgress::default());
            let work = || taken(vault.meter(), || vault.verify(&progress));
            let (taken, mut report) = self.progress.during(Running::Other(Arc::clone(&progress)), work)?;
            if let Some(damage) = report.damage.pop() {
                // What this machine wrote a moment ago does not come back: nothing else matters then.
                return Err(damage);
            }
            Ok(taken)
        })?;
        self.add_whole(outcome, name, clock_hz, &best);
        Ok(())
    }
}

/// Each stage's share of the processor time, and last what belongs to none.
fn shares(taken: &Taken, clock_hz: f64) -> Vec<StageShare> {
    let total = taken.processor_seconds.max(1e-9);
    let share = |name: &str, calls, bytes, processor: f64, elapsed| StageShare {
        name: name.to_owned(),
        calls,
        bytes,
        processor_seconds: processor,
        elapsed_seconds: elapsed,
        share: processor / total,
        cycles_per_byte: if bytes == 0 { 0.0 } else { processor * clock_hz / number(bytes) },
    };
    let stage = |time: &crate::meter::StageTime| {
        let (processor, elapsed) = (time.processor.as_secs_f64(), time.elapsed.as_secs_f64());
        share(time.stage.name(), time.calls, time.bytes, processor, elapsed)
    };
    let mut shares: Vec<StageShare> = taken.stages.iter().map(stage).collect();
    let claimed: f64 = shares.iter().map(|stage| stage.processor_seconds).sum();
    shares.push(share("everything else", 0, 0, (taken.processor_seconds - claimed).max(0.0), 0.0));
    shares
}
