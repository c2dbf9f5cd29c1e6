//! Runs one command, bounded in time and output, in a process group of its own.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process_group};

use super::{ScriptFailure, TICK};

/// Most bytes that a snapshot command may print as its answer.
pub(super) const MOST_ANSWER_BYTES: usize = 64 << 10;

/// What is kept of other output: its end, where a command says why it fails.
pub(super) const TAIL_BYTES: usize = 1 << 10;

/// What is read of one pipe before time is looked at again: what a pipe holds, whoever goes on filling it.
const TURN_BYTES: usize = 64 << 10;

/// How long a process group may take to end after TERM, and again after KILL: one that hangs in a frozen file system ends
/// only when that is thawed, by the script that comes next.
const GRACE: Duration = Duration::from_secs(5);

/// A command to run.
pub(super) struct Script<'a> {
    pub command: &'a str,
    pub timeout: Duration,
    pub variables: Vec<(OsString, OsString)>,
    /// Whether standard output is an answer, and not something to be told.
    pub answers: bool,
}

/// How it ended.
pub(super) struct Ended {
    pub failure: Option<ScriptFailure>,
    /// What it answered.
    pub answer: Vec<u8>,
    /// The end of what it printed besides.
    pub output: String,
    /// Ends of its pipes that what it left running still prints to: kept open, or that would die by printing.
    pub pipes: Vec<OwnedFd>,
}

/// Runs it. A wish to stop ends it, if `stop` is given.
pub(super) fn run(script: &Script<'_>, stop: Option<&dyn Fn() -> bool>) -> Ended {
    let mut heard = Heard { pipes: Vec::new(), answer: Vec::new(), tail: Vec::new() };
    // Saturating is out of reach: a timeout is a day at most.
    let deadline = Instant::now() + script.timeout;
    let failure = match start(script, &mut heard) {
        Ok(mut child) => {
            let failure = attend(&mut child, &mut heard, script.timeout, deadline, stop);
            if failure.as_ref().is_some_and(|failure| !matches!(failure, ScriptFailure::Ended(_))) {
                end_group(&mut child, &mut heard);
            }
            failure
        }
        Err(error) => Some(ScriptFailure::NotRun(error.kind())),
    };
    let output = heard.text();
    let pipes = heard.pipes.into_iter().map(|(pipe, _)| pipe).collect();
    Ended { failure, answer: heard.answer, output, pipes }
}

fn start(script: &Script<'_>, heard: &mut Heard) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script.command).process_group(0);
    // All of them: passwords and where they lie, and what another icecore said to us as a script of its own.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ICECORE_")) {
        command.env_remove(name);
    }
    command.envs(script.variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec it only makes system calls that are safe there, and allocates nothing.
    unsafe { command.pre_exec(keep_descriptors) };
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    for (pipe, is_answer) in [(stdout, script.answers), (stderr, false)] {
        // One that could make us wait is not listened to.
        if let Some(pipe) = pipe.filter(|pipe| ioctl_fionbio(pipe, true).is_ok()) {
            heard.pipes.push((pipe, is_answer));
        }
    }
    Ok(child)
}

/// Keeps from the command what this process itself inherited, such as the pipe that a password came through.
fn keep_descriptors() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: it changes flags of descriptors of the child, which goes on to exec and nothing else.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return Ok(());
    }
    // Linux before 5.11. A descriptor that is not open is an error of no interest.
    for descriptor in 3..65_536 {
        // SAFETY: as above.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Listens until the command has ended, its time is over, or nobody wants it any more.
fn attend(
    child: &mut Child,
    heard: &mut Heard,
    timeout: Duration,
    deadline: Instant,
    stop: Option<&dyn Fn() -> bool>,
) -> Option<ScriptFailure> {
    // Wakes us when it ends. Without one the ticks do.
    let ends = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    loop {
        // Before the pipes are read: what it printed until then is in them. What it left running may hold them open for ever.
        let status = match child.try_wait() {
            Ok(status) => status,
            Err(error) => return Some(ScriptFailure::NotRun(error.kind())),
        };
        heard.listen();
        if heard.answer.len() > MOST_ANSWER_BYTES {
            return Some(ScriptFailure::TooMuch(MOST_ANSWER_BYTES));
        }
        match status {
            Some(status) if status.success() => return None,
            Some(status) => return Some(ScriptFailure::Ended(status)),
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(ScriptFailure::TimedOut(timeout));
        }
        if stop.is_some_and(|stop| stop()) {
            return Some(ScriptFailure::Interrupted);
        }
        heard.wait(ends.as_ref(), left.min(TICK));
    }
}

/// Ends a command and what it started.
fn end_group(child: &mut Child, heard: &mut Heard) {
    let group = Pid::from_child(child);
    // The number is the group's as long as one process is in it, also when the first one was waited for.
    let mut gone = |heard: &mut Heard| {
        let _ = child.try_wait();
        heard.listen();
        test_kill_process_group(group) == Err(Errno::SRCH)
    };
    for signal in [Signal::TERM, Signal::KILL] {
        if gone(heard) {
            return;
        }
        let _ = kill_process_group(group, signal);
        let deadline = Instant::now() + GRACE;
        while !gone(heard) && Instant::now() < deadline {
            heard.wait(None, TICK / 5);
        }
    }
}

/// What a command prints.
struct Heard {
    /// Pipes that are open, and whether the answer comes through.
    pipes: Vec<(OwnedFd, bool)>,
    answer: Vec<u8>,
    tail: Vec<u8>,
}

impl Heard {
    /// Takes what there is, and does not wait.
    fn listen(&mut self) {
        let Self { pipes, answer, tail } = self;
        pipes.retain(|(pipe, is_answer)| {
            let mut buffer = [0; 4096];
            let mut turn = 0;
            while turn < TURN_BYTES {
                match rustix::io::read(pipe, &mut buffer) {
                    Ok(0) => return false,
                    Ok(count) => {
                        turn += count;
                        let bytes = buffer.get(..count).unwrap_or_default();
                        if *is_answer && answer.len() <= MOST_ANSWER_BYTES {
                            answer.extend_from_slice(bytes);
                        } else {
                            tail.extend_from_slice(bytes);
                            tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
            true
        });
    }

    fn wait(&self, ends: Option<&OwnedFd>, most: Duration) {
        let pipes = self.pipes.iter().map(|(pipe, _)| pipe.as_fd());
        let mut descriptors: Vec<PollFd<'_>> =
            pipes.chain(ends.map(AsFd::as_fd)).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos().max(1_000_000)) };
        // Woken by a signal, or not at all: the caller looks again.
        if poll(&mut descriptors, Some(&most)).is_err_and(|error| error != Errno::INTR) {
            std::thread::sleep(TICK);
        }
    }

    /// The end of what was printed, as a line of text. A cut character or a wild byte becomes a replacement character.
    fn text(&self) -> String {
        super::one_line(&String::from_utf8_lossy(&self.tail), TAIL_BYTES)
    }
}
