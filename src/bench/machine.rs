//! What the machine says of itself, and what it can only be found out by trying.

use std::fs;
use std::hint::black_box;

use super::number;
use super::report::Machine;
use crate::meter::thread_time;

/// Steps of the chain that the clock is estimated by: some milliseconds.
const CHAIN: u64 = 1 << 22;

/// How often that is tried. The fastest counts: nothing makes a chain faster than the clock.
const TRIES: usize = 24;

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Cores of the machine.
pub(super) fn all_cores() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    (text.lines().filter(core).count() as u64).max(1)
}

/// The machine, but for its clock.
pub(super) fn describe() -> Machine {
    let line = |file: &str| fs::read_to_string(file).map(|text| text.trim().to_owned()).unwrap_or_default();
    Machine {
        processor: processor(),
        cores: cores(),
        clock_hz: 0.0,
        memory_bytes: kib("/proc/meminfo", "MemTotal:"),
        kernel: format!("{} {}", line("/proc/sys/kernel/ostype"), line("/proc/sys/kernel/osrelease")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        optimized: !cfg!(debug_assertions),
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let named = |name: &str| text.lines().find(|line| line.starts_with(name)).and_then(value);
    named("model name").or_else(|| named("Model")).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Memory that can be had without taking it from anybody, page cache included, in bytes.
pub(super) fn available_memory() -> u64 {
    kib("/proc/meminfo", "MemAvailable:")
}

/// Begins to watch for the most memory that this process takes; false where the kernel does not let it begin anew.
pub(super) fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory that this process took, in bytes.
pub(super) fn peak_memory() -> u64 {
    kib("/proc/self/status", "VmHWM:")
}

fn kib(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

/// What all cores did so far, in ticks of the kernel's clock; zeros where nobody tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticks {
    /// All time of all cores.
    pub all: u64,
    /// What any program used, or the kernel.
    pub used: u64,
    /// What the host took away.
    pub stolen: u64,
}

impl Ticks {
    /// What was added since.
    pub fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            used: self.used.saturating_sub(before.used),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }
}

/// Ticks so far.
pub(super) fn ticks() -> Ticks {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; the rest is counted in user already.
    let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let (all, stolen) = (fields.iter().sum(), fields.get(7).copied().unwrap_or(0));
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ticks { all, used: all.saturating_sub(idle).saturating_sub(stolen), stolen }
}

/// Cycles a second.
///
/// Neither `/proc/cpuinfo` nor the time stamp counter of a virtual machine tells at what clock a core runs. A chain of
/// operations that each need the one before does: rotate, xor and add of 64 bits take one cycle each on all processors
/// that matter. By the thread's own time: other programs that have the core meanwhile make it no slower.
pub(super) fn clock_hz() -> f64 {
    let fastest = (0..TRIES).map(|_| chain_seconds()).fold(f64::INFINITY, f64::min);
    number(CHAIN * 3) / fastest.max(1e-9)
}

fn chain_seconds() -> f64 {
    let (xor, add) = (black_box(0x9e37_79b9_7f4a_7c15_u64), black_box(0xbf58_476d_1ce4_e5b9_u64));
    let mut word = black_box(1_u64);
    let began = thread_time();
    for _ in 0..CHAIN {
        word = (word.rotate_left(7) ^ xor).wrapping_add(add);
    }
    black_box(word);
    thread_time().saturating_sub(began).as_secs_f64()
}
