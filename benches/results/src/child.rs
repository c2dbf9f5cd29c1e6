//! A child process: what it cost, and that it never outlives us.
//!
//! Its output goes to a log in the scratch directory, of which an error quotes the end. Whoever drops a child that still
//! runs ends it; so does Ctrl-C.
//!
//! The peak memory is that of the process' anonymous memory, without files that it mapped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::anonymous::Watch;
use crate::machine::Cores;

/// Children that were started and not yet waited for.
static RUNNING: Mutex<Vec<libc::pid_t>> = Mutex::new(Vec::new());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a child cost.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Elapsed seconds from its start to its end.
    pub seconds: f64,
    /// Seconds of processor time, its own and the kernel's for it.
    pub processor_seconds: f64,
    /// Largest anonymous memory in bytes.
    pub peak_bytes: u64,
    /// What all other programs used meanwhile, as a part of all cores' time, 0 to 1.
    pub others: f64,
}

/// A child process.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    program: OsString,
    log: PathBuf,
    started: Instant,
    cores: Cores,
    memory: Watch,
    over: bool,
}

/// From now on Ctrl-C ends the children, and with them what waits for them, instead of us before we could clean up.
pub fn end_with_us() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::Relaxed);
            // A child stays in the list, and its number its own, until `wait4` took it away under the same lock.
            for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                kill(*pid, SIGTERM);
            }
        }
    });
    Ok(())
}

/// Fails when somebody pressed Ctrl-C. To be asked where a failed measurement would only be noted.
pub fn check_interrupted() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Runs a command to its end; fails when the command does.
pub fn run(command: &mut Command, log: &Path) -> Result<Usage> {
    Child::start(command, log)?.finish()
}

impl Child {
    /// Starts a command.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_owned();
        let output = File::create(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        check_interrupted()?;
        let (started, cores) = (Instant::now(), Cores::now());
        // Waited for below by its number; the standard library's handle neither waits nor kills when it is dropped.
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let pid = libc::pid_t::try_from(child.id())?;
        running.push(pid);
        let memory = Watch::start(pid);
        Ok(Self { pid, program, log: log.to_owned(), started, cores, memory, over: false })
    }

    /// Waits for its end; fails when it did.
    pub fn finish(mut self) -> Result<Usage> {
        wait_for_end(self.pid);
        let (seconds, cores) = (self.started.elapsed().as_secs_f64(), Cores::now());
        let (status, usage) = self.take_away()?;
        if !status.success() {
            bail!("{} {status}: {}", self.program.display(), self.last_words());
        }
        Ok(Usage { seconds, others: self.cores.others_until(&cores, usage.processor_seconds), ..usage })
    }

    /// Fails when it has ended already.
    pub fn check_running(&self) -> Result<()> {
        check_interrupted()?;
        ensure!(!has_ended(self.pid), "{} ended: {}", self.program.display(), self.last_words());
        Ok(())
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        kill(self.pid, SIGTERM);
    }

    /// Whether it ends within this time.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < limit {
            if has_ended(self.pid) {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Collects what is left of it. Its number may be another's from then on.
    fn take_away(&mut self) -> Result<(ExitStatus, Usage)> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = 0;
        // SAFETY: a rusage is integers only, for which zeros are valid.
        let mut usage: libc::rusage = unsafe { mem::zeroed() };
        // SAFETY: both places are ours and live through the call.
        let taken = unsafe { libc::wait4(self.pid, &raw mut status, 0, &raw mut usage) };
        self.over = true;
        running.retain(|pid| *pid != self.pid);
        ensure!(taken == self.pid, "wait4: {}", std::io::Error::last_os_error());
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let processor_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
        let peak_bytes = self.memory.peak_bytes();
        Ok((ExitStatus::from_raw(status), Usage { seconds: 0.0, processor_seconds, peak_bytes, others: 0.0 }))
    }

    /// The last lines that it printed, in one.
    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(4)).copied().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.terminate();
        if !self.ends_within(Duration::from_secs(5)) {
            kill(self.pid, libc::SIGKILL);
        }
        // Nobody is left to be told.
        let _ = self.take_away();
    }
}

/// Returns when it has ended, and leaves it to be taken away.
fn wait_for_end(pid: libc::pid_t) {
    // Interrupted only by signals, after which it is asked again.
    while !look(pid, 0) && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) {}
}

fn has_ended(pid: libc::pid_t) -> bool {
    look(pid, libc::WNOHANG)
}

fn look(pid: libc::pid_t, flags: libc::c_int) -> bool {
    // SAFETY: zeros are valid for it.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let id = libc::id_t::try_from(pid).unwrap_or_default();
    // SAFETY: the place is ours and lives through the call.
    let returned = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT | flags) };
    // SAFETY: waitid filled it in, or left the zeros of a child that still runs.
    returned == 0 && unsafe { info.si_pid() } == pid
}

fn kill(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: no memory is involved. The child was not taken away yet, so the number is still its own.
    unsafe { libc::kill(pid, signal) };
}
