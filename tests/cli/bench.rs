//! A bench tells every part and run in numbers, leaves nothing behind however it ends, and touches no vault.

use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::cli_support::{Ran, Sandbox, SmallDisk, is_root, noise, not_run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Runs that every machine can measure.
const RUNS: [&str; 7] = [
    "first backup",
    "second backup, unchanged",
    "restore to a file",
    "verify",
    "sequential, tree",
    "random 4 KiB, tree, 1 reader",
    "random 4 KiB, tree, 4 readers",
];

/// Runs that need the right to mount.
const MOUNTED: [&str; 3] = ["sequential, mount", "random 4 KiB, mount, 1 reader", "random 4 KiB, mount, 4 readers"];

/// A sandbox with a directory `room` for the bench.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    std::fs::create_dir(sandbox.path("room")).expect("a directory");
    sandbox
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("a directory").next().is_none()
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.is_finite() && number > 0.0)
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().expect("rows").iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

#[test]
fn programs_get_every_row_and_nothing_is_left() {
    let sandbox = sandbox();
    let ran = sandbox.ok(&["bench", "--quick", "--size", "20MiB", "--level", "2", "--dir", "room", "--json"]);
    let report = ran.json();
    assert_eq!((&report["message_type"], &report["setting"]["size_bytes"]), (&"summary".into(), &(20 << 20).into()));
    for field in ["clock_hz", "cores", "memory_bytes"] {
        assert!(positive(&report["machine"][field]), "{field} in {}", report["machine"]);
    }
    for field in ["used_bytes", "stored_bytes", "chunk_bytes", "workers"] {
        assert!(positive(&report["setting"][field]), "{field} in {}", report["setting"]);
    }
    assert!(positive(&report["medium"]["write_sync_bytes_per_second"]), "{}", report["medium"]);
    for part in report["primitives"].as_array().expect("parts") {
        for field in ["one_core_bytes_per_second", "all_cores_bytes_per_second", "cycles_per_byte"] {
            assert!(positive(&part[field]), "{field} in {part}");
        }
    }
    let parts = names(&report["primitives"]);
    for part in [
        "read the disk",
        "hash (BLAKE3)",
        "make parity (Reed-Solomon)",
        "compress (zstd 1)",
        "compress (zstd 2)",
        "decompress (zstd 3)",
    ] {
        assert!(parts.contains(&part), "{part} in {parts:?}");
    }
    for run in report["runs"].as_array().expect("runs") {
        for field in ["seconds", "bytes", "bytes_per_second", "processor_seconds", "peak_memory_bytes"] {
            assert!(positive(&run[field]), "{field} in {run}");
        }
        assert!(positive(&run["bound"]["reached"]) && positive(&run["busy"]), "{run}");
        assert!(run["limit"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{run}");
        let stages = run["stages"].as_array().expect("stages");
        let whole: f64 = stages.iter().filter_map(|stage| stage["share"].as_f64()).sum();
        assert!(stages.len() > 2 && (0.9..1.1).contains(&whole), "{run}");
    }
    let runs = names(&report["runs"]);
    assert_eq!(runs[..RUNS.len()], RUNS);
    match runs.len() {
        7 => {
            assert!(positive(&report["not_measured"].as_array().map_or(0, Vec::len).into()), "why is not told");
            not_run("bench: reads through a mount", &report["not_measured"][0]["why"].to_string());
        }
        _ => assert_eq!(runs[RUNS.len()..], MOUNTED),
    }
    assert!(is_empty(&sandbox.path("room")));
}

#[test]
fn a_person_gets_tables_that_fit_a_terminal() {
    let sandbox = sandbox();
    let mut disk = noise(1, 6 << 20);
    disk.extend(vec![b'a'; 6 << 20]);
    let path = sandbox.write("os.raw", &disk);
    let file = std::fs::File::options().write(true).open(&path).expect("the disk");
    file.set_len(64 << 20).and_then(|()| file.write_all_at(b"end", (64 << 20) - 3)).expect("a hole");
    let before = std::fs::read(&path).expect("the disk");
    let mut command = sandbox.command(&["bench", "--quick", "--disk", "os.raw", "--dir", "room"]);
    let ran = Ran::of(command.env("LC_ALL", "C").output().expect("the binary runs"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let text = ran.text();
    for words in ["os.raw, 64.0 MiB with", "PARTS, MB/s", "hash (BLAKE3)", "first backup", "REACHED", "####", "fsync"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(is_empty(&sandbox.path("room")));
    assert!(std::fs::read(&path).expect("the disk") == before);
}

#[test]
fn what_cannot_be_measured_is_refused_and_nothing_is_left() {
    let sandbox = sandbox();
    let quick = ["bench", "--quick", "--dir", "room"];
    let fails = |code, more: &[&str]| {
        let line = sandbox.fails(code, &[&quick[..], more].concat());
        assert!(line.contains("no vault of yours was touched and nothing is left behind"), "{line}");
        assert!(is_empty(&sandbox.path("room")));
        line
    };
    assert!(fails(1, &["--disk", "absent.raw"]).contains("absent.raw"));
    sandbox.write("tiny.raw", b"x");
    assert!(fails(2, &["--disk", "tiny.raw"]).contains("less than 1 MiB"));
    assert!(fails(1, &["--disk", "room"]).contains("neither a regular file nor a block device"));
    sandbox.write("zeros.raw", &vec![0; 4 << 20]);
    assert!(fails(2, &["--disk", "zeros.raw"]).contains("nothing but zeros"));
    assert!(fails(1, &["--size", "900TiB"]).contains("are needed"));
    assert!(sandbox.fails(1, &["bench", "--dir", "absent"]).contains("absent"));
    sandbox.write("file", b"x");
    assert!(sandbox.fails(1, &["bench", "--dir", "file"]).contains("file"));
    sandbox.fails(2, &["bench", "--size", "1K"]);
    sandbox.fails(2, &["bench", "--chunk-size", "100K"]);

    if is_root() {
        return not_run("bench: a directory or disk that this user may not use", "root may use everything");
    }
    std::fs::set_permissions(sandbox.path("zeros.raw"), Permissions::from_mode(0o0)).expect("chmod");
    fails(1, &["--disk", "zeros.raw"]);
    std::fs::set_permissions(sandbox.path("room"), Permissions::from_mode(0o500)).expect("chmod");
    fails(1, &[]);
}

#[test]
fn a_small_file_system_is_not_filled() {
    let sandbox = Sandbox::empty();
    let room = sandbox.path("small");
    let Some(_disk) = SmallDisk::mount(&room, 32 << 20) else {
        return not_run("bench: a full file system", "a tmpfs can't be mounted");
    };
    let line = sandbox.fails(1, &["bench", "--quick", "--dir", "small"]);
    assert!(line.contains("MiB free") && line.contains("--size"), "{line}");
    assert!(is_empty(&room));
}

#[test]
fn an_interrupt_leaves_nothing() {
    let sandbox = sandbox();
    // While the disk is made, in the middle of the parts, and of the first backup, by somebody impatient.
    for (which, wait_ms, times) in [(Signal::INT, 20, 1), (Signal::TERM, 1000, 1), (Signal::INT, 6000, 3)] {
        let mut command = sandbox.command(&["bench", "--quick", "--size", "256MiB", "--level", "19", "--dir", "room"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let began = Instant::now();
        while is_empty(&sandbox.path("room")) && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        for _ in 0..times {
            kill_process(Pid::from_child(&child), which).expect("the child is alive");
            std::thread::sleep(Duration::from_millis(5));
        }
        let line = Ran::of(child.wait_with_output().expect("ends")).failed(130, &["bench"]);
        assert!(line.contains("interrupted") && line.contains("nothing is left behind"), "{line}");
        assert!(is_empty(&sandbox.path("room")), "after {wait_ms} ms");
    }
}

/// Every file of a directory with its time of change.
fn files(directory: &Path) -> Vec<(String, SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let time = path.symlink_metadata().and_then(|metadata| metadata.modified()).expect("a time");
        found.push((path.to_string_lossy().into_owned(), time));
        if path.is_dir() {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn a_vault_of_the_users_is_not_touched() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"x");
    sandbox.ok(&["backup", "m", "--disk", "os=os.raw"]);
    let before = files(&sandbox.path("vault"));
    std::fs::create_dir(sandbox.path("room")).expect("a directory");
    sandbox.ok(&["bench", "--quick", "--size", "16MiB", "--dir", "room", "--json"]);
    for inside in ["vault", "vault/segments"] {
        let line = sandbox.fails(1, &["bench", "--quick", "--dir", inside]);
        assert!(line.contains("belongs to the vault"), "{line}");
    }
    assert!(before.len() > 5 && files(&sandbox.path("vault")) == before);
    sandbox.write("password", b"another\n");
    sandbox.ok(&["bench", "--quick", "--size", "16MiB", "--dir", "room", "--json"]);
}
