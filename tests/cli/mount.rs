//! `mount` returns when the mount is up, ends cleanly whoever ends it, and refuses places that would hide the vault.

use std::fs;
use std::process::{Command, Stdio};

use crate::cli_support::mounting::{is_mounted, logged, sandbox, told, wait_until};
use crate::cli_support::{Ran, Sandbox, noise, not_run};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_mount_in_the_background() {
    let Some(sandbox) = sandbox("a_mount_in_the_background") else { return };
    let points = sandbox.path("points").canonicalize().expect("path");
    // Its output is read to the end: a daemon that kept it open would never let that happen.
    sandbox.ok(&["mount", "points", "--log", "log"]);
    assert!(is_mounted(&points));
    let disk = points.join("web01/2026-11-20T02-00-00Z/disks/os.raw");
    assert!(fs::read(&disk).expect("the disk") == noise(1, 300_000));
    // New points appear.
    sandbox.ok(&["backup", "db", "--disk", "os=os.raw"]);
    wait_until("the new machine appears", || points.join("db/latest/disks/os.raw").exists());
    // In use it stays; then it goes.
    let file = fs::File::open(&disk).expect("open");
    assert!(sandbox.fails(11, &["umount", "points"]).contains("in use"));
    drop(file);
    sandbox.ok(&["umount", "points"]);
    assert!(!is_mounted(&points));
    assert!(sandbox.fails(1, &["umount", "points"]).contains("no mount of icecore"));
    assert_eq!(logged(&sandbox), "");
}

#[test]
fn a_mount_in_the_foreground_ends_cleanly_whoever_ends_it() {
    let Some(sandbox) = sandbox("a_mount_in_the_foreground_ends_cleanly_whoever_ends_it") else { return };
    let points = sandbox.path("points").canonicalize().expect("path");
    for end in ["INT", "TERM", "umount", "fusermount3"] {
        if end == "fusermount3" && Command::new("fusermount3").arg("-V").output().is_err() {
            not_run("a_mount_in_the_foreground_ends_cleanly_whoever_ends_it", "fusermount3 is missing");
            continue;
        }
        let mut command = sandbox.command(&["mount", "points", "--foreground"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        wait_until("it is mounted", || is_mounted(&points));
        assert!(points.join("web01").exists());
        let pid = Pid::from_child(&child);
        match end {
            "INT" => kill_process(pid, Signal::INT).expect("kill"),
            "TERM" => kill_process(pid, Signal::TERM).expect("kill"),
            "umount" => assert!(Command::new("umount").arg(&points).status().expect("runs").success()),
            _ => assert!(Command::new("fusermount3").arg("-u").arg(&points).status().expect("runs").success()),
        }
        let ran = Ran::of(child.wait_with_output().expect("ends"));
        assert_eq!((ran.code, told(&ran.stderr).as_slice()), (0, &[][..]), "{end}");
        assert!(!is_mounted(&points), "{end}");
    }
}

#[test]
fn mount_points_that_are_refused() {
    let Some(sandbox) = sandbox("mount_points_that_are_refused") else { return };
    fs::create_dir(sandbox.path("vault/inside")).expect("a directory");
    std::os::unix::fs::symlink("vault/inside", sandbox.path("link")).expect("a link");
    fs::create_dir(sandbox.path("full")).expect("a directory");
    sandbox.write("full/letter", b"dear");
    for (mount_point, word) in [
        ("vault/inside", "inside the vault"),
        ("link", "inside the vault"),
        ("vault", "is the vault itself"),
        (".", "holds the vault"),
        ("full", "is not empty"),
        ("os.raw", "is not a directory"),
        ("nope", "does not exist"),
    ] {
        let line = sandbox.fails(1, &["mount", mount_point]);
        assert!(line.contains(word) && line.contains("nothing was mounted"), "{word} in {line}");
    }
    // What only the child can find out has its own code too.
    sandbox.write("wrong", b"wrong");
    sandbox.fails(12, &["mount", "points", "--password-file", "wrong"]);
}

#[test]
fn a_disk_that_cannot_be_read_in_the_middle_makes_no_point_unless_allowed() {
    let test = "a_disk_that_cannot_be_read_in_the_middle_makes_no_point_unless_allowed";
    let Some(broken) = sandbox(test) else { return };
    // A disk with a medium error: one in a mounted vault, of which a byte was flipped.
    let segments = fs::read_dir(broken.path("vault/segments")).expect("segments");
    let segment =
        segments.map(|entry| entry.expect("entry").path()).max_by_key(|path| path.metadata().expect("size").len());
    let segment = segment.expect("a segment");
    let mut bytes = fs::read(&segment).expect("segment");
    bytes[150_000] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    broken.ok(&["mount", "points", "--log", "log"]);
    let disk = format!("os={}", broken.path("points/web01/latest/disks/os.raw").display());

    let sandbox = Sandbox::new();
    let line = sandbox.fails(1, &["backup", "m", "--disk", &disk]);
    let partial = sandbox.run(&["backup", "m", "--disk", &disk, "--allow-incomplete"]);
    let log = fs::read_to_string(broken.path("log")).expect("log");
    broken.ok(&["umount", "points"]);
    assert!(line.contains("cannot read disk \"os\" at byte") && line.contains("--allow-incomplete"), "{line}");
    assert!(log.contains("damaged"), "the daemon tells why: {log:?}");
    assert_eq!(partial.code, 3, "{}", partial.stderr);
    assert!(partial.stderr.contains("could not be read and are missing"), "{}", partial.stderr);
    assert_eq!(sandbox.points(), 1);
    assert!(sandbox.ok(&["points"]).text().contains("incomplete"));
    // What is missing is never read as zeros unasked.
    let line = sandbox.fails(1, &["restore", "m/latest", "--disk", "os", "--to", "out"]);
    assert!(line.contains("unreadable when") && line.contains("--allow-incomplete"), "{line}");
    assert_eq!(sandbox.run(&["restore", "m/latest", "--disk", "os", "--to", "out", "--allow-incomplete"]).code, 3);
    assert_eq!(sandbox.path("out").metadata().expect("restored").len(), 300_000);
}
