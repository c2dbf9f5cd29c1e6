//! Promise 1: whenever a signal comes, the machine goes on and the snapshot goes: the post-script and the release run once.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cli_support::{Ran, Sandbox, noise};
use icecore::vault::InitOptions;
use rustix::process::{Pid, Signal, kill_process};

/// Takes down what it is run for; in the phase `WAIT` it waits until it is stopped or a file tells it to go on.
const SCRIPT: &str = "echo $ICECORE_PHASE $ICECORE_RESULT >> log
if [ $ICECORE_PHASE = snapshot ]; then echo os=os.raw; fi
if [ $ICECORE_PHASE = \"$WAIT\" ]; then while ! [ -e go ]; do sleep 0.02; done; echo went on >> log; fi";

fn log(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path("log")).unwrap_or_default().replace('\n', ",")
}

fn begin(sandbox: &Sandbox, wait: &str, snapshot: bool) -> Child {
    let arguments = ["backup", "m", "--disk", "os=os.raw", "--pre-script", SCRIPT, "--post-script", SCRIPT];
    let more: &[&str] = if snapshot { &["--snapshot-command", SCRIPT] } else { &[] };
    let mut command = sandbox.command(&[&arguments[..], more].concat());
    command.env("WAIT", wait).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the child is alive");
}

/// Waits until the scripts have come so far.
fn until(sandbox: &Sandbox, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while log(sandbox) != expected {
        assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", log(sandbox));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn interrupted(child: Child) {
    let line = Ran::of(child.wait_with_output().expect("ends")).failed(130, &["backup"]);
    assert!(line.contains("interrupted") && line.contains("no point was made"), "{line}");
}

#[test]
fn in_the_pre_script_or_the_snapshot_command_that_is_stopped() {
    for which in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        for (wait, before, after) in
            [("pre", "pre,", "post failed,"), ("snapshot", "pre,snapshot,", "post failed,release failed,")]
        {
            let sandbox = Sandbox::new();
            sandbox.write("os.raw", b"x");
            let child = begin(&sandbox, wait, true);
            until(&sandbox, before);
            signal(&child, which);
            interrupted(child);
            assert_eq!(log(&sandbox), format!("{before}{after}"), "{which:?} in {wait}");
            assert_eq!(sandbox.points(), 0);
        }
    }
}

#[test]
fn in_the_post_script_or_the_release_that_goes_on() {
    for (wait, snapshot, before, after) in [
        ("post", false, "pre,post ok,", "went on,"),
        ("post", true, "pre,snapshot,post ok,", "went on,release failed,"),
        ("release", true, "pre,snapshot,post ok,release ok,", "went on,"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("os.raw", b"x");
        let child = begin(&sandbox, wait, snapshot);
        until(&sandbox, before);
        // However impatient.
        for which in [Signal::INT, Signal::TERM, Signal::INT, Signal::HUP] {
            signal(&child, which);
            std::thread::sleep(Duration::from_millis(150));
        }
        sandbox.write("go", b"");
        if wait == "release" {
            // The point was there before.
            assert_eq!(Ran::of(child.wait_with_output().expect("ends")).code, 0);
            assert_eq!(sandbox.points(), 1);
        } else {
            interrupted(child);
            assert_eq!(sandbox.points(), 0);
        }
        assert_eq!(log(&sandbox), format!("{before}{after}"), "in {wait}");
    }
}

#[test]
fn in_the_reading() {
    for (snapshot, before, after) in
        [(false, "pre,", "post failed,"), (true, "pre,snapshot,post ok,", "release failed,")]
    {
        let sandbox = Sandbox::with(&InitOptions { level: 22, ..InitOptions::default() });
        let words: Vec<u8> = noise(1, 64 << 20).into_iter().map(|byte| b'a' + byte % 16).collect();
        sandbox.write("os.raw", &words);
        let child = begin(&sandbox, "", snapshot);
        until(&sandbox, before);
        std::thread::sleep(Duration::from_millis(500));
        signal(&child, Signal::INT);
        signal(&child, Signal::TERM);
        interrupted(child);
        assert_eq!(log(&sandbox), format!("{before}{after}"));
        assert_eq!(sandbox.points(), 0);
        sandbox.ok(&["verify"]);
    }
}
