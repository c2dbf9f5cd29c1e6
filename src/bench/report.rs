//! What a bench tells. All sizes in bytes, all times in seconds; bytes of a run are used bytes of the disk, zeros do not
//! count.

use std::path::PathBuf;

use serde::Serialize;

/// Everything that was found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// What was measured on it.
    pub setting: Setting,
    /// Where the vault was.
    pub medium: Medium,
    /// The parts that every byte passes.
    pub primitives: Vec<Primitive>,
    /// Whole backups, restores, reads.
    pub runs: Vec<Run>,
    /// What could not be measured here.
    pub not_measured: Vec<NotMeasured>,
    /// One sentence: what limits, and what would help.
    pub conclusion: String,
    /// The most memory that a run took, mapped segments of the vault included.
    pub peak_memory_bytes: u64,
    /// Time of the whole bench.
    pub seconds: f64,
}

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Name of the processor, as far as it tells one.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Cycles a second, from the time that a chain of dependent operations takes. Under load on all cores it may be
    /// less; what a virtual machine says of its clock is not asked.
    pub clock_hz: f64,
    /// Memory.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Version of icecore.
    pub version: String,
    /// Whether icecore was built with optimisation; if not, no number means anything.
    pub optimized: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// The directory that held everything.
    pub directory: PathBuf,
    /// The disk that was given; nothing where it was made up.
    pub disk: Option<PathBuf>,
    /// Size of the disk.
    pub size_bytes: u64,
    /// The same without zeros.
    pub used_bytes: u64,
    /// What a first backup of it adds to a vault.
    pub stored_bytes: u64,
    /// Size of chunks.
    pub chunk_bytes: u32,
    /// zstd level.
    pub level: i8,
    /// Threads.
    pub workers: usize,
    /// Whether the disk was read once before, so that it comes from the page cache.
    pub cached: bool,
}

/// The medium under the directory.
#[derive(Clone, Debug, Serialize)]
pub struct Medium {
    /// Name of its file system.
    pub file_system: String,
    /// Whether it is memory: syncs say nothing of a disk then.
    pub is_memory: bool,
    /// Writing a file and making it survive power loss.
    pub write_sync_bytes_per_second: f64,
    /// The same for a file of 4 KiB with its name: what the least commit costs.
    pub small_sync_seconds: f64,
}

/// What is done to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Reading the disk.
    Read,
    /// Looking for zeros.
    Scan,
    /// Copying in memory.
    Copy,
    /// The id of a chunk, keyed BLAKE3.
    Hash,
    /// zstd, in plain bytes.
    Compress,
    /// unzstd, in plain bytes.
    Decompress,
    /// Sealing a record, in stored bytes.
    Seal,
    /// Opening a record, in stored bytes.
    Open,
    /// Parity of a segment, in the segment's bytes.
    Parity,
    /// Handing bytes to a file, without a sync.
    Write,
}

/// How fast a part is.
#[derive(Clone, Debug, Serialize)]
pub struct Primitive {
    /// What is done.
    pub part: Part,
    /// The zstd level, where there is one.
    pub level: Option<i8>,
    /// Name in tables.
    pub name: String,
    /// On one core, by its processor time: other programs do not count.
    pub one_core_bytes_per_second: f64,
    /// On as many cores as there are workers, together.
    pub all_cores_bytes_per_second: f64,
    /// Cycles of one core for each byte.
    pub cycles_per_byte: f64,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was done.
    pub name: String,
    /// Elapsed time of the faster of two.
    pub seconds: f64,
    /// Used bytes of the disk that it dealt with.
    pub bytes: u64,
    /// Those a second.
    pub bytes_per_second: f64,
    /// Reads a second, where single reads were measured.
    pub reads_per_second: Option<f64>,
    /// Processor time of all threads.
    pub processor_seconds: f64,
    /// Processor time as a part of what the cores that this run can use had, 0 to 1.
    pub busy: f64,
    /// What the host took away from this virtual machine meanwhile, as a part of all cores' time, 0 to 1.
    pub stolen: f64,
    /// What other programs used meanwhile, as a part of all cores' time, 0 to 1. Coarse for runs below a second.
    pub others: f64,
    /// Where the processor time went; the last one is what belongs to no stage.
    pub stages: Vec<StageShare>,
    /// What the parts allow.
    pub bound: Bound,
    /// What limits.
    pub limit: Limit,
    /// The most memory that the process took meanwhile, mapped segments of the vault included.
    pub peak_memory_bytes: u64,
}

/// A stage's share of a run.
#[derive(Clone, Debug, Serialize)]
pub struct StageShare {
    /// Name.
    pub name: String,
    /// How often it ran.
    pub calls: u64,
    /// Bytes that went in.
    pub bytes: u64,
    /// Processor time of all threads.
    pub processor_seconds: f64,
    /// Elapsed time of all threads; more than the processor's where they waited.
    pub elapsed_seconds: f64,
    /// Its part of the run's processor time, 0 to 1.
    pub share: f64,
    /// Cycles for each byte that went in; 0 where none did.
    pub cycles_per_byte: f64,
}

/// The least time that a run can take on cores of its own: each byte through each part that it must pass, and nothing else.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// Least time.
    pub seconds: f64,
    /// Used bytes a second at that.
    pub bytes_per_second: f64,
    /// Least time as a part of the time taken. More than 1 where the parts were disturbed more than the run, or worked on
    /// bytes that were further away.
    pub reached: f64,
    /// Whether it is the medium that decides the bound, and not the processor.
    pub by_medium: bool,
}

/// What kind of thing limits a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// The cores are busy.
    Processor,
    /// Other programs, or the host, have the cores.
    Others,
    /// A thread waits in one stage, for a medium or the kernel.
    Waiting,
    /// One core works, the others have nothing to do.
    OneThread,
    /// The threads wait for each other.
    Handover,
}

/// What limits a run.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// Of what kind it is.
    pub kind: LimitKind,
    /// The stage that counts most.
    pub stage: String,
    /// The same in words.
    pub text: String,
}

/// Something that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct NotMeasured {
    /// What.
    pub name: String,
    /// Why.
    pub why: String,
}
