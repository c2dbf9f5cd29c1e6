//! The memory that a process and those that it started have to themselves, looked at while they run.
//!
//! The kernel keeps a peak of the resident set only, in which pages of mapped files count that it may drop at any time. So
//! the anonymous part is looked at often, and its largest value kept; a peak shorter than [`EVERY`] may be missed.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(20);

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Watch {
    peak_bytes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look at a process, and at those below it: a mount is served by a child of the one that was started.
    pub fn start(pid: libc::pid_t) -> Self {
        let (peak_bytes, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (peak, done) = (Arc::clone(&peak_bytes), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(family_bytes(pid), Ordering::Relaxed);
                thread::sleep(EVERY);
            }
        });
        Self { peak_bytes, over, thread: Some(thread) }
    }

    /// The largest value so far.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a process and all below it have now.
fn family_bytes(pid: libc::pid_t) -> u64 {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let own = anonymous_bytes(&read(format!("/proc/{pid}/status")));
    // Of the first thread: none of those who start a child here does so from another.
    let children = read(format!("/proc/{pid}/task/{pid}/children"));
    own + children.split_whitespace().filter_map(|child| child.parse().ok()).map(family_bytes).sum::<u64>()
}

/// What `/proc/PID/status` says; zero of a process that has ended.
fn anonymous_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::anonymous_bytes;

    #[test]
    fn the_anonymous_part_is_read_in_bytes() {
        assert_eq!(anonymous_bytes("VmRSS:\t  900 kB\nRssAnon:\t     332 kB\nRssFile:\t 500 kB\n"), 332 * 1024);
        assert_eq!(anonymous_bytes("Name:\tgone\nState:\tZ (zombie)\n"), 0);
    }
}
