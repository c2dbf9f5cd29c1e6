//! Promise 1: a process killed in the middle of a backup hurts nothing; what it left unpublished is removed by the next.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::common;
use crate::common::sources::{Gate, Gated};
use icecore::backup::{BackupRequest, Progress};

/// Where the child finds its vault; set for the child only.
const VAULT: &str = "ICECORE_TEST_KILLED_VAULT";

fn disk(round: u64) -> Vec<u8> {
    let mut bytes = common::noise(1, 6 << 20);
    bytes[..2 << 20].copy_from_slice(&common::noise(100 + round, 2 << 20));
    bytes
}

/// Not a test by itself: the process that is killed. It stops in the middle of its disk for ever.
#[test]
fn child() {
    let Ok(vault) = std::env::var(VAULT) else { return };
    let round: u64 = std::env::var("ROUND").expect("round").parse().expect("a number");
    let source = Gated { bytes: disk(round), at: (5 + round) << 19, gate: Arc::new(Gate::default()) };
    println!("begins");
    let _ = common::open(Path::new(&vault)).backup(&BackupRequest::new("m").disk("os", source), &Progress::default());
    unreachable!("the gate never opens");
}

#[test]
fn killed_backups_leave_a_clean_vault() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let first = common::noise(1, 5 << 20);
    let point =
        common::backup_bytes(&common::init(&path, &common::protected()), "m", &[("os", &first)]).expect("first").point;
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "kill::child", "--nocapture"])
            .env(VAULT, &path)
            .env("ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("child");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        assert!(lines.any(|line| line.expect("line").contains("begins")));
        // Somewhere between the first temporary file and the gate.
        common::wait_until("a temporary file", || !common::files(&path.join("tmp")).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(15 * round));
        // While it lives its files are its own.
        let vault = common::open(&path);
        common::backup_bytes(&vault, "other", &[("os", b"beside a running backup")]).expect("backup");
        assert!(!common::files(&path.join("tmp")).is_empty(), "the files of the living were removed");
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(!common::files(&path.join("tmp")).is_empty(), "killed too late to leave anything");

        let vault = common::open(&path);
        assert_eq!(vault.points("m").expect("points").len() as u64, 1 + round, "no point of the dead");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &first, "the first point");
        let bytes = disk(round);
        let next = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("next").point;
        assert_eq!(common::files(&path.join("tmp")), Vec::<std::path::PathBuf>::new());
        let vault = common::open(&path);
        common::assert_same(&common::disk_bytes(&vault, &next, "os").expect("read"), &bytes, "the next point");
        assert!(common::verify(&vault).is_clean());
    }
}
