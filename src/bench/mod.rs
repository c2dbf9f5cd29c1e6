//! How fast icecore is on this machine, and where its time goes.
//!
//! First the parts that every byte passes, each alone, on one core and on all: what they allow is a bound. Then whole
//! backups, restores, reads and a check of a vault made for the purpose, stage by stage, held against that bound.
//!
//! Promises:
//! - everything lives in one directory with a random name, readable by its owner only, which is gone when [`run`]
//!   returns, however it returns;
//! - no vault but the one made here is opened; a disk that is given is only read;
//! - parts and runs work on the same bytes: those of the disk.
//!
//! What it does not tell: how fast a medium is that was not read before. The disk is read once before anything is
//! timed, so that it comes from the page cache where memory holds it, and the vault's segments stay there after they
//! were written. Each run is done twice and the faster one counts: in a virtual machine, memory that is touched for the
//! first time costs the host more than the work done in it.

mod bound;
mod disk;
mod limit;
mod machine;
mod material;
mod medium;
#[cfg(feature = "mount")]
mod mounted;
mod parts;
mod place;
mod progress;
mod reads;
mod report;
mod runs;
mod stopwatch;
mod synthetic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use progress::Progress;
pub use report::{
    Bound, Limit, LimitKind, Machine, Medium, NotMeasured, Part, Primitive, Report, Run, Setting, StageShare,
};

use crate::error::Result;
use crate::media::ReadMode;
use crate::vault::InitOptions;
use disk::Disk;
use material::Material;
use place::Place;
use runs::Bench;

/// Bytes of the disk that is made where none is given, if memory and space allow.
pub const SYNTHETIC_BYTES: u64 = 1 << 30;

/// What to measure, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the directory for everything is made.
    pub directory: PathBuf,
    /// The disk: a raw image or a block device. One is made up where none is given.
    pub disk: Option<PathBuf>,
    /// Size of the disk that is made up; of a given one so much of its front is used that this many bytes are in no hole.
    /// Without it a given disk is used whole, and one that is made up has [`SYNTHETIC_BYTES`], or less where memory or
    /// space is short.
    pub size_bytes: Option<u64>,
    /// Size of chunks in bytes.
    pub chunk_bytes: u32,
    /// zstd level of the vault.
    pub level: i8,
    /// Threads of backups, restores and of what is called all cores; as many as there are cores, where none is given.
    pub workers: Option<usize>,
    /// How the vault's files are read.
    pub read_mode: ReadMode,
    /// Time for each part, on one core and once more on all.
    pub part_time: Duration,
    /// Time for each kind of random reads.
    pub read_time: Duration,
}

impl Default for Options {
    /// About half a minute on two cores.
    fn default() -> Self {
        let vault = InitOptions::default();
        Self {
            directory: std::env::temp_dir(),
            disk: None,
            size_bytes: None,
            chunk_bytes: vault.chunk_bytes,
            level: vault.level,
            workers: None,
            read_mode: vault.read_mode,
            part_time: Duration::from_millis(400),
            read_time: Duration::from_millis(1500),
        }
    }
}

impl Options {
    /// A few seconds: for a first impression. The numbers vary more.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            size_bytes: Some(SYNTHETIC_BYTES / 8),
            part_time: Duration::from_millis(50),
            read_time: Duration::from_millis(200),
            ..Self::default()
        }
    }

    /// What the vault is made with.
    fn init(&self) -> InitOptions {
        InitOptions {
            chunk_bytes: self.chunk_bytes,
            level: self.level,
            read_mode: self.read_mode,
            ..InitOptions::default()
        }
    }

    fn workers(&self) -> usize {
        self.workers.unwrap_or_else(machine::cores).max(1)
    }
}

/// Measures. Takes care to leave nothing behind, whether it succeeds, fails or is cancelled.
pub fn run(options: &Options, progress: &Progress) -> Result<Report> {
    let began = Instant::now();
    options.init().check()?;
    progress.begin(runs::STEPS + parts::steps(options));
    progress.step("looking at the machine")?;
    let mut machine = machine::describe();
    let place = Place::make(&options.directory)?;
    let disk = match &options.disk {
        Some(path) => Disk::given(&place, path, options.size_bytes)?,
        None => Disk::made(&place, options.size_bytes, progress)?,
    };
    disk.warm(progress)?;
    let material = Material::sample(&disk, options)?;
    machine.clock_hz = machine::clock_hz();
    let primitives = parts::measure(&place, &disk, &material, (options, machine.clock_hz), progress)?;
    let medium = medium::measure(&place, &material, options, progress)?;
    drop(material);
    let bench = Bench { place: &place, disk: &disk, options, progress, primitives: &primitives, medium: &medium };
    let outcome = bench.runs(machine.clock_hz)?;
    let setting = Setting {
        directory: options.directory.clone(),
        disk: options.disk.clone(),
        size_bytes: disk.size_bytes(),
        used_bytes: outcome.used_bytes,
        stored_bytes: outcome.stored_bytes,
        chunk_bytes: options.chunk_bytes,
        level: options.level,
        workers: options.workers(),
        cached: disk.is_warm(),
    };
    place.remove()?;
    Ok(Report {
        conclusion: limit::conclusion(&outcome.runs),
        machine,
        setting,
        medium,
        primitives,
        runs: outcome.runs,
        not_measured: outcome.not_measured,
        peak_memory_bytes: outcome.peak_memory_bytes,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// A number of bytes, calls or threads to calculate rates with.
#[expect(clippy::cast_precision_loss, reason = "rates need no more than 15 digits")]
fn number(count: u64) -> f64 {
    count as f64
}

/// The middle one; nothing sensible where there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
