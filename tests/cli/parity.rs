//! Promise 3: who reads a damaged segment gets the right bytes and one line that says so, whatever the verb; `verify` says
//! what can be repaired, and `init` and `stats` tell of parity.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cli_support::{Sandbox, noise, not_run};
use icecore::vault::InitOptions;

fn sandbox() -> Sandbox {
    Sandbox::with(&InitOptions { chunk_bytes: 4096, segment_bytes: 1 << 20, ..InitOptions::default() })
}

/// A vault whose largest segment is damaged in two places.
fn damaged() -> (Sandbox, String) {
    let sandbox = sandbox();
    sandbox.write("os.raw", &noise(1, 1_500_000));
    sandbox.ok(&["backup", "web", "--disk", "os=os.raw"]);
    let largest = largest(&sandbox, "segments");
    let mut bytes = std::fs::read(&largest).expect("segment");
    bytes[400] ^= 1;
    bytes[500_000] ^= 1;
    std::fs::write(&largest, bytes).expect("damage");
    (sandbox, format!("segments/{}", largest.file_name().expect("name").to_string_lossy()))
}

fn largest(sandbox: &Sandbox, folder: &str) -> PathBuf {
    let files = std::fs::read_dir(sandbox.path("vault").join(folder)).expect("list");
    let files = files.map(|entry| entry.expect("entry").path());
    files.max_by_key(|path| path.metadata().expect("stat").len()).expect("a file")
}

#[test]
fn every_verb_that_reads_tells_once() {
    let (sandbox, object) = damaged();
    let line = format!(
        "icecore: {object} is damaged; what was read of it is right, corrected by parity; run `icecore repair`\n"
    );
    let disk = "web/latest/disks/os.raw";
    for arguments in
        [&["cat", disk][..], &["cp", disk, "copied"], &["restore", "web/latest", "--disk", "os", "--to", "restored"]]
    {
        let ran = sandbox.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, line.as_str()), "{arguments:?}");
        if arguments[0] == "cat" {
            assert!(ran.stdout == noise(1, 1_500_000), "the right bytes");
        }
    }
    for file in ["copied", "restored"] {
        assert!(std::fs::read(sandbox.path(file)).expect("written") == noise(1, 1_500_000), "{file}");
    }
    let ran = sandbox.run(&["cat", disk, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one line of JSON");
    assert_eq!(told["message_type"], "warning");
    assert!(told["message"].as_str().is_some_and(|text| text.starts_with(&object)), "{told}");
}

#[test]
fn a_mount_logs_it() {
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
        return not_run("a_mount_logs_it", "/dev/fuse cannot be opened");
    }
    let (sandbox, object) = damaged();
    std::fs::create_dir(sandbox.path("points")).expect("a directory");
    sandbox.ok(&["mount", "points", "--log", "log"]);
    let read = std::fs::read(sandbox.path("points/web/latest/disks/os.raw"));
    let log = || std::fs::read_to_string(sandbox.path("log")).expect("log");
    let began = Instant::now();
    while !log().contains("corrected by parity") && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    sandbox.ok(&["umount", "points"]);
    assert!(read.expect("the disk") == noise(1, 1_500_000), "the right bytes");
    let log = log();
    assert_eq!(log.matches(&format!("{object} is damaged; what was read of it is right")).count(), 1, "{log}");
}

#[test]
fn verify_says_what_can_be_repaired() {
    let (sandbox, object) = damaged();
    let ran = sandbox.run(&["verify"]);
    let told = ran.failed(1, &["verify"]);
    assert!(told.contains("1 of 1 point is whole; run `icecore repair`"), "{told}");
    assert!(ran.text().contains(&format!("{object} can be repaired: run `icecore repair`")), "{}", ran.text());
    assert!(!ran.text().contains("can't be read"), "{}", ran.text());
    let told = sandbox.fails(1, &["verify", "--scrub"]);
    assert!(told.contains("run `icecore repair --no-key`"), "{told}");
    let summary = sandbox.run(&["verify", "--json"]).json_lines().pop().expect("a summary");
    assert_eq!(summary["repairs"], serde_json::json!([{ "object": object, "repair": "possible" }]));
    assert_eq!((&summary["parity"], &summary["hit"]), (&serde_json::json!([]), &serde_json::json!([])));

    // Its parity gone too, the same damage can't be read.
    let parity = largest(&sandbox, "parity");
    std::fs::remove_file(&parity).expect("removed");
    let ran = sandbox.run(&["verify"]);
    assert!(ran.text().contains(&format!("{object} has no parity that could repair it")), "{}", ran.text());
    assert!(ran.text().contains("can't be read: web/") && ran.code == 1, "{}", ran.text());
}

#[test]
fn parity_alone_that_is_damaged_ends_with_3() {
    let sandbox = sandbox();
    sandbox.write("os.raw", &noise(1, 1_500_000));
    sandbox.ok(&["backup", "web", "--disk", "os=os.raw"]);
    let parity = largest(&sandbox, "parity");
    let mut bytes = std::fs::read(&parity).expect("parity");
    bytes[20_000] ^= 1;
    std::fs::write(&parity, bytes).expect("damage");
    let name = parity.file_name().expect("name").to_string_lossy().into_owned();
    for arguments in [&["verify"][..], &["verify", "--scrub"]] {
        let ran = sandbox.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{arguments:?}");
        let line = format!("parity, no data is lost: damaged: parity/{name} at byte ");
        assert!(ran.text().starts_with(&line), "{}", ran.text());
    }
}

#[test]
fn init_and_stats_tell_of_parity() {
    let sandbox = Sandbox::empty();
    assert!(sandbox.fails(2, &["init", "--parity", "21"]).contains("0% to 20%"));
    let made = sandbox.ok(&["init"]).text().to_owned();
    assert!(made.contains(", parity 5 %\n"), "{made}");
    let fields = sandbox.ok(&["init", "--vault", "other", "--parity", "0", "--json"]).json();
    assert_eq!(fields["parity_percent"], 0);
    sandbox.write("os.raw", &noise(1, 1_500_000));
    for (vault, says) in [("vault", "parity"), ("other", "none")] {
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw", "--vault", vault]);
        let stats = sandbox.ok(&["stats", "--vault", vault]);
        let line = stats.text().lines().find(|line| line.starts_with("parity")).expect("a line").to_owned();
        assert!(line.contains(says), "{line}");
        let stats = sandbox.ok(&["stats", "--json", "--vault", vault]).json();
        let (bytes, with) = (stats["parity_bytes"].as_u64(), stats["segments_with_parity"].as_u64());
        if vault == "vault" {
            assert!(bytes.is_some_and(|bytes| bytes > 75_000 && bytes < 150_000), "{bytes:?}");
            assert_eq!(with, stats["segments"].as_u64());
        } else {
            assert_eq!((bytes, with), (Some(0), Some(0)));
        }
    }
}
