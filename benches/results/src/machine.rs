//! The machine that measures, in a line.

use std::fmt;
use std::fs;
use std::thread;

/// What of a machine decides how fast it is.
#[derive(Debug)]
pub struct Machine {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
}

impl Machine {
    /// The machine that this runs on.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: model.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: meminfo_bytes("MemTotal"),
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_bytes, kernel } = self;
        let memory_gib = *memory_bytes as f64 / f64::from(1 << 30);
        write!(f, "{processor}, {cores} cores, {memory_gib:.1} GiB of memory, Linux {kernel}")
    }
}

/// Memory that nothing uses, not even as page cache, in bytes; 0 where the kernel does not tell.
pub fn free_bytes() -> u64 {
    meminfo_bytes("MemFree")
}

/// What all cores did since the start of the machine, in seconds of one core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    busy_seconds: f64,
    all_seconds: f64,
}

impl Cores {
    /// Until now.
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// What others than somebody who used that much did from this moment to a later one, as a part of all, 0 to 1.
    pub fn others_until(&self, later: &Self, used_seconds: f64) -> f64 {
        let busy_seconds = later.busy_seconds - self.busy_seconds;
        let all_seconds = later.all_seconds - self.all_seconds;
        if all_seconds > 0.0 { ((busy_seconds - used_seconds) / all_seconds).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal, in hundredths of a second. The guests that
    /// follow are in user already.
    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        let [.., idle, waiting, _, _, _] = ticks[..] else { return Self::default() };
        let all: f64 = ticks.iter().sum();
        Self { busy_seconds: (all - idle - waiting) / 100.0, all_seconds: all / 100.0 }
    }
}

fn meminfo_bytes(key: &str) -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::Cores;

    #[test]
    fn others_have_what_neither_we_nor_idling_took() {
        let before = Cores::parse("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 ...");
        let after = Cores::parse("cpu  500 0 100 1200 100 0 0 100 300 0\n");
        assert_eq!(before.others_until(&after, 5.0), 0.1);
        assert_eq!(before.others_until(&after, 50.0), 0.0);
        assert_eq!(before.others_until(&before, 1.0), 0.0);
        assert_eq!(Cores::parse("").all_seconds, 0.0);
    }
}
