//! A kernel of its own as an ordinary process (User Mode Linux, Debian's `user-mode-linux`): an oracle for what the kernel
//! below the tests was not built with, such as XFS of version 4 or device-mapper.
//!
//! The machine sees this one's files, read-only, and the disks that it is given as `/dev/ubda`, `/dev/ubdb`, ... Its script
//! runs as root there; `/run` and `/dev` are its own. A disk is a file on this side, written through at once, so
//! that a machine which is killed leaves behind what a power cut would.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const BEGIN: &str = "script begins";
const END: &str = "script ended with ";

const PRELUDE: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mount -t devtmpfs dev /dev
mkdir -p /run/mnt /run/lib/modules
ln -s /usr/lib/uml/modules/* /run/lib/modules/
load() { modprobe -d /run "$@"; }
# Nothing of this kernel's is to stand between the lines.
echo 0 >/proc/sys/kernel/printk
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run
"#;

/// Why no such machine can be had here; `None` where it can.
pub fn why_not() -> Option<&'static str> {
    static WHY: OnceLock<Option<&'static str>> = OnceLock::new();
    *WHY.get_or_init(|| {
        let found = Command::new("linux.uml").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Some("linux.uml is missing (package user-mode-linux)");
        }
        // Its kernel 6.1 ends at once where the processor's registers are larger than it knows, as with Intel's AMX.
        let begins = Machine::start(&[], "true").lines(Duration::from_secs(60), |line| line.starts_with(END));
        begins.is_err().then_some("linux.uml does not run on this processor, or under this kernel")
    })
}

/// Runs a script to its end and answers with what it printed. It has `load MODULE` for modules of its kernel, and
/// `/run/mnt` to mount at.
///
/// # Panics
/// Where the script fails or takes longer than the limit; what it printed is told.
pub fn run(disks: &[&Path], script: &str, limit: Duration) -> String {
    let mut machine = Machine::start(disks, script);
    let said = machine.lines(limit, |line| line.starts_with(END));
    let said = said.unwrap_or_else(|said| panic!("the machine did not end in time:\n{said}"));
    // Its writes are its own until it has gone.
    let _ = machine.child.wait();
    let (before, end) = said.rsplit_once(END).expect("the line that was waited for");
    assert_eq!(end.trim(), "0", "the script failed:\n{before}");
    before.to_owned()
}

/// Runs a script until it prints a line, and ends the machine there as a power cut would.
///
/// # Panics
/// Where that line does not come in time.
pub fn run_until(disks: &[&Path], script: &str, line: &str, limit: Duration) -> String {
    let mut machine = Machine::start(disks, script);
    machine.lines(limit, |said| said == line).unwrap_or_else(|said| panic!("no line '{line}' in time:\n{said}"))
}

/// A running machine; killed when dropped.
struct Machine {
    child: Child,
    lines: Receiver<String>,
    _place: tempfile::TempDir,
}

impl Machine {
    fn start(disks: &[&Path], script: &str) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let init = place.path().join("init");
        // A kernel whose first process ends panics; so it is switched off, which takes a moment.
        let end = format!("echo '{END}'$?\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n");
        let text = format!("{PRELUDE}echo '{BEGIN}'\n(\nset -e\n{script}\n) 2>&1 </dev/null\n{end}");
        fs::write(&init, text).expect("a script");
        fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let mut command = Command::new("linux.uml");
        command.args(["mem=256M", "root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro", "quiet", "panic=-1"]);
        command.args(["con=null", "con0=null,fd:1", "con1=null"]);
        command.arg(format!("init={}", init.display())).arg(format!("uml_dir={}/", place.path().display()));
        for (number, disk) in disks.iter().enumerate() {
            command.arg(format!("ubd{number}={}", disk.display()));
        }
        // Its memory is a file there.
        command.env("TMPDIR", place.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create("/dev/null").expect("the null device"));
        let mut child = command.process_group(0).spawn().expect("a machine");
        let output = BufReader::new(child.stdout.take().expect("its console"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, _place: place }
    }

    /// What the script prints up to a line that is wanted; all that it printed, if that does not come.
    fn lines(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let end = Instant::now() + limit;
        let (mut said, mut has_begun) = (String::new(), false);
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if !has_begun => has_begun = line == BEGIN,
                Ok(line) => {
                    said.push_str(&line);
                    said.push('\n');
                    if wanted(&line) {
                        return Ok(said);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(said),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its processes are processes of this machine too: all of the group go.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
