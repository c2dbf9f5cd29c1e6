//! Where the time goes: processor time, elapsed time, calls and bytes of each stage of the work.
//!
//! A meter that is off costs one load per stage and piece of work. One that is on asks the kernel for the thread's own
//! processor time around each, some hundred nanoseconds: about one part in a hundred of what a chunk costs.
//!
//! Invariants:
//! - a stage is counted on the thread that does the work, and stages never nest, so their sums never count time twice;
//! - what no stage claims (handing over between threads, allocation, the caller's own work) is the process' time less
//!   the sum of the stages.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A piece of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading the source disk.
    Read,
    /// Looking for zeros.
    Scan,
    /// The id of plain bytes, keyed BLAKE3.
    Hash,
    /// Asking the index whether a record is known.
    LookUp,
    /// zstd, or finding that it does not pay.
    Compress,
    /// AES-256-GCM and the plain hash of the sealed bytes.
    Seal,
    /// Before a new record is believed: opening it again.
    VerifyOpen,
    /// Before a new record is believed: decompressing it again.
    VerifyDecompress,
    /// Before a new record is believed: its id once more.
    VerifyHash,
    /// Handing sealed bytes to the file system of the vault.
    Append,
    /// Computing the parity of segments.
    Parity,
    /// Making segments survive power loss.
    Sync,
    /// Getting sealed bytes out of the vault.
    Fetch,
    /// The plain hash of sealed bytes, where a whole segment is checked.
    Checksum,
    /// Opening AES-256-GCM.
    Open,
    /// unzstd.
    Decompress,
    /// The id of what was read, which must be the one asked for.
    Rehash,
    /// Writing a restored disk.
    Write,
    /// Making a restored disk survive power loss.
    WriteSync,
}

impl Stage {
    /// All of them, in the order in which a chunk meets them.
    pub const ALL: [Self; 19] = [
        Self::Read,
        Self::Scan,
        Self::Hash,
        Self::LookUp,
        Self::Compress,
        Self::Seal,
        Self::VerifyOpen,
        Self::VerifyDecompress,
        Self::VerifyHash,
        Self::Append,
        Self::Parity,
        Self::Sync,
        Self::Fetch,
        Self::Checksum,
        Self::Open,
        Self::Decompress,
        Self::Rehash,
        Self::Write,
        Self::WriteSync,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read the disk",
            Self::Scan => "look for zeros",
            Self::Hash => "hash (BLAKE3)",
            Self::LookUp => "look up in the index",
            Self::Compress => "compress (zstd)",
            Self::Seal => "seal (AES-256-GCM)",
            Self::VerifyOpen => "verify: open",
            Self::VerifyDecompress => "verify: decompress",
            Self::VerifyHash => "verify: hash",
            Self::Append => "append to segments",
            Self::Parity => "parity (Reed-Solomon)",
            Self::Sync => "fsync of segments",
            Self::Fetch => "fetch from segments",
            Self::Checksum => "checksum (BLAKE3)",
            Self::Open => "open (AES-256-GCM)",
            Self::Decompress => "decompress (unzstd)",
            Self::Rehash => "hash again (BLAKE3)",
            Self::Write => "write the disk",
            Self::WriteSync => "fsync of the disk",
        }
    }
}

/// What a stage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// How often it ran.
    pub calls: u64,
    /// Bytes that went into it.
    pub bytes: u64,
    /// Processor time, of all threads together.
    pub processor: Duration,
    /// Elapsed time, of all threads together: more than the processor's where a thread waited.
    pub elapsed: Duration,
}

#[derive(Default)]
struct Counter {
    calls: AtomicU64,
    bytes: AtomicU64,
    processor_nanoseconds: AtomicU64,
    elapsed_nanoseconds: AtomicU64,
}

/// Counts what stages take, while it is on.
#[derive(Default)]
pub struct Meter {
    on: AtomicBool,
    counters: [Counter; Stage::ALL.len()],
}

impl Meter {
    /// Begins to count, from zero.
    pub fn start(&self) {
        for Counter { calls, bytes, processor_nanoseconds, elapsed_nanoseconds } in &self.counters {
            for number in [calls, bytes, processor_nanoseconds, elapsed_nanoseconds] {
                number.store(0, Ordering::Relaxed);
            }
        }
        self.on.store(true, Ordering::Relaxed);
    }

    /// Stops counting, and tells what the stages that ran took.
    pub fn stop(&self) -> Vec<StageTime> {
        self.on.store(false, Ordering::Relaxed);
        let read = |stage: Stage| {
            let counter = &self.counters[stage as usize];
            StageTime {
                stage,
                calls: counter.calls.load(Ordering::Relaxed),
                bytes: counter.bytes.load(Ordering::Relaxed),
                processor: Duration::from_nanos(counter.processor_nanoseconds.load(Ordering::Relaxed)),
                elapsed: Duration::from_nanos(counter.elapsed_nanoseconds.load(Ordering::Relaxed)),
            }
        };
        Stage::ALL.into_iter().map(read).filter(|time| time.calls > 0).collect()
    }

    /// Runs a stage over so many bytes.
    pub fn time<R>(&self, stage: Stage, bytes: usize, work: impl FnOnce() -> R) -> R {
        if !self.on.load(Ordering::Relaxed) {
            return work();
        }
        let (began, processor) = (Instant::now(), thread_time());
        let result = work();
        let counter = &self.counters[stage as usize];
        let add = |to: &AtomicU64, time: Duration| {
            to.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        add(&counter.processor_nanoseconds, thread_time().saturating_sub(processor));
        add(&counter.elapsed_nanoseconds, began.elapsed());
        counter.calls.fetch_add(1, Ordering::Relaxed);
        counter.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        result
    }
}

/// Processor time of this thread so far.
pub(crate) fn thread_time() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

/// Processor time of all threads of this process so far.
pub fn process_time() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

fn clock(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_own_counter() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number, "{stage:?}");
        }
    }

    #[test]
    fn a_meter_counts_only_while_it_is_on() {
        let meter = Meter::default();
        meter.time(Stage::Hash, 10, || ());
        assert_eq!(meter.stop(), Vec::new());
        meter.start();
        assert_eq!(meter.time(Stage::Hash, 10, || 7), 7);
        meter.time(Stage::Hash, 5, || ());
        let counted = meter.stop();
        assert_eq!(
            counted.iter().map(|time| (time.stage, time.calls, time.bytes)).collect::<Vec<_>>(),
            [(Stage::Hash, 2, 15)]
        );
        meter.start();
        assert_eq!(meter.stop(), Vec::new(), "it begins from zero");
    }
}
