//! Promise 1: Ctrl-C leaves no point and a usable vault. Its exit code is 130.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::cli_support::{Ran, Sandbox, noise};
use icecore::vault::InitOptions;
use rustix::process::{Pid, Signal, kill_process};

/// A backup that takes its time: text at a level that is slow.
fn begin(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = sandbox.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary runs")
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the child is alive");
}

fn slow() -> Sandbox {
    let sandbox = Sandbox::with(&InitOptions { level: 22, ..InitOptions::default() });
    let words: Vec<u8> = noise(1, 64 << 20).into_iter().map(|byte| b'a' + byte % 16).collect();
    sandbox.write("os.raw", &words);
    sandbox
}

#[test]
fn an_interrupted_backup_leaves_no_point() {
    let sandbox = slow();
    for which in [Signal::INT, Signal::TERM] {
        let child = begin(&sandbox, &["backup", "m", "--disk", "os=os.raw"]);
        std::thread::sleep(Duration::from_millis(700));
        signal(&child, which);
        let line = Ran::of(child.wait_with_output().expect("ends")).failed(130, &["backup"]);
        assert!(line.contains("interrupted") && line.contains("no point was made"), "{line}");
        assert_eq!(sandbox.points(), 0);
    }
    sandbox.ok(&["verify"]);
    sandbox.write("small.raw", b"x");
    sandbox.ok(&["backup", "m", "--disk", "os=small.raw"]);
    assert_eq!(sandbox.points(), 1);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let sandbox = slow();
    let child = begin(&sandbox, &["backup", "m", "--disk", "os=os.raw"]);
    std::thread::sleep(Duration::from_millis(700));
    signal(&child, Signal::INT);
    // Two of the same kind that are pending together count once.
    std::thread::sleep(Duration::from_millis(5));
    signal(&child, Signal::INT);
    assert_eq!(Ran::of(child.wait_with_output().expect("ends")).code, 130);
    assert_eq!(sandbox.points(), 0);
    sandbox.ok(&["verify"]);
}

#[test]
fn a_long_backup_tells_programs_how_far_it_is() {
    let sandbox = slow();
    let mut child = begin(&sandbox, &["backup", "m", "--disk", "os=os.raw", "--json"]);
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let _ = child.kill();
    let _ = child.wait();
    let status: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&status["message_type"], &status["total_bytes"]), (&"status".into(), &(64 << 20).into()), "{line}");
    assert_eq!(status["parts"][0]["name"], "os");
    // Killed outright, it leaves no point and a usable vault as well.
    assert_eq!(sandbox.points(), 0);
    sandbox.ok(&["verify"]);
}
