//! Promise 2: a point that was read from reflink copies is the image as of that moment, whatever is written to it meanwhile;
//! and nothing is left of the copies, also where the process is killed.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use crate::attached::{Attached, BTRFS, KINDS, Kind, run, tool};
use crate::cli_support::{Sandbox, is_root, noise, not_run};

/// A file system that shares blocks, of the kind of this name, mounted in the sandbox.
fn mounted(test: &str, sandbox: &Sandbox, name: &str) -> Option<Attached> {
    if !is_root() {
        not_run(test, "loop mounts need root");
        return None;
    }
    let kind: Kind = KINDS.into_iter().chain([BTRFS]).find(|kind| kind.name == name)?;
    let image = sandbox.path("file-system");
    let mounted = kind.make(&image).and_then(|()| Attached::mount(&kind, &image, &sandbox.path("images")));
    mounted.map_err(|why| not_run(test, &why)).ok()
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("entry").path()).collect();
    names.sort();
    names
}

fn used_bytes(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).expect("a file system");
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
}

#[test]
fn the_point_is_of_the_moment_of_the_copy() {
    for name in ["xfs", "btrfs"] {
        let sandbox = Sandbox::new();
        let Some(place) = mounted("reflink", &sandbox, name) else { continue };
        let (os, data) = (noise(1, 3_000_000), noise(2, 1_000_001));
        sandbox.write("images/os.raw", &os);
        let data_path = sandbox.write("images/data.raw", b"");
        if name == "btrfs" {
            // As images of machines often are: not copied on write.
            let _ = run(tool("chattr").arg("+C").arg(&data_path));
        }
        std::fs::write(&data_path, &data).expect("written");
        std::os::unix::fs::symlink("images/os.raw", sandbox.path("link.raw")).expect("a link");
        // Nothing was read yet when the post-script runs; all of it is changed, made shorter, and taken away.
        let post =
            "head -c 5000000 /dev/zero | tr '\\0' x > images/os.raw && : > images/data.raw && rm images/data.raw";
        let disks = ["backup", "m", "--disk", "os=link.raw", "--disk", "data=images/data.raw", "--reflink"];
        sandbox.ok(&[&disks[..], &["--pre-script", "true", "--post-script", post]].concat());
        assert!(sandbox.ok(&["cat", "m/latest/disks/os.raw"]).stdout == os, "{name}");
        assert!(sandbox.ok(&["cat", "m/latest/disks/data.raw"]).stdout == data, "{name}");
        let point = sandbox.ok(&["cat", "m/latest/point.json"]).json();
        assert_eq!(point["quiesced"], serde_json::json!({"read": "reflink", "scripts": "succeeded"}));
        assert_eq!(names(place.path()), [place.path().join("os.raw")], "{name}");

        // In a directory of choice, and without scripts.
        std::fs::create_dir(place.path().join("snap")).expect("a directory");
        let more = ["--reflink", "--snapshot-dir", "images/snap", "--json"];
        let ran = sandbox.ok(&[&["backup", "n", "--disk", "os=images/os.raw"][..], &more].concat());
        let summary = ran.json_lines().pop().expect("a summary");
        assert_eq!((&summary["consistency"], &summary["quiesced"]["read"]), (&"crash".into(), &"reflink".into()));
        assert!(names(&place.path().join("snap")).is_empty());
    }
}

#[test]
fn a_killed_backup_leaves_no_copy() {
    let sandbox = Sandbox::new();
    let Some(place) = mounted("reflink, killed", &sandbox, "xfs") else { return };
    sandbox.write("images/os.raw", &noise(1, 8 << 20));
    rustix::fs::syncfs(std::fs::File::open(place.path()).expect("opened")).expect("synced");
    let before = used_bytes(place.path());
    // The copy is there, and changed blocks are paid for twice, when icecore is killed.
    let post = "head -c 8388608 /dev/urandom | dd of=images/os.raw conv=notrunc,fsync 2>/dev/null
        stat -f -c %f images > free; kill -9 $PPID";
    let disks = ["backup", "m", "--disk", "os=images/os.raw", "--reflink"];
    let mut command = sandbox.command(&[&disks[..], &["--pre-script", "true", "--post-script", post]].concat());
    let ended = command.status().expect("the binary runs");
    assert_eq!(ended.signal(), Some(9));
    assert_eq!(names(place.path()), [place.path().join("os.raw")]);
    let free: u64 = std::fs::read_to_string(sandbox.path("free")).expect("it ran").trim().parse().expect("a number");
    let stat = rustix::fs::statvfs(place.path()).expect("a file system");
    let held = (stat.f_blocks - free) * stat.f_frsize;
    assert!(held > before + (6 << 20), "{held} bytes were in use while the copy was there, {before} before");
    // Freed in the background, once the last descriptor is closed.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while used_bytes(place.path()) > before + (2 << 20) {
        assert!(std::time::Instant::now() < deadline, "{} bytes are in use, {before} were", used_bytes(place.path()));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(sandbox.points(), 0);
    sandbox.ok(&["backup", "m", "--disk", "os=images/os.raw", "--reflink"]);
}

// Promise 1, and the machine goes on: who makes a file on a frozen file system waits where no signal reaches him.
#[test]
fn a_frozen_file_system_of_the_images_holds_nobody_longer_than_the_timeout() {
    let sandbox = Sandbox::new();
    let Some(place) = mounted("reflink, frozen", &sandbox, "xfs") else { return };
    sandbox.write("images/os.raw", &noise(1, 1 << 20));
    sandbox.write("images/data.raw", &noise(2, 1 << 20));
    let post = "echo $ICECORE_RESULT >> log; fsfreeze --unfreeze images";
    let mut backup = vec!["backup", "m", "--disk", "os=images/os.raw", "--disk", "data=images/data.raw", "--reflink"];
    backup.extend(["--pre-script", "fsfreeze --freeze images", "--post-script", post, "--hook-timeout", "1s"]);
    let line = sandbox.fails(1, &backup);
    assert!(line.contains("images/os.raw: it took longer than 1 s") && line.contains("must not freeze"), "{line}");
    // The file system goes on, and there is nothing on it but the images.
    std::fs::write(place.path().join("more"), b"x").expect("written");
    assert_eq!(names(place.path()).len(), 3);

    // A wish to stop is heard as well.
    let mut command = sandbox.command(&backup[..backup.len() - 2]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("the binary runs");
    let frozen = || {
        let pid = child.id().to_string();
        let threads = std::fs::read_dir(Path::new("/proc").join(pid).join("task")).into_iter().flatten().flatten();
        threads.into_iter().any(|thread| {
            std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == "icecore-reflink")
        })
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !frozen() {
        assert!(std::time::Instant::now() < deadline, "no copy is begun");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(std::fs::read_to_string(sandbox.path("log")).expect("a log"), "failed\nfailed\n");
    assert_eq!(sandbox.points(), 0);
}

#[test]
fn where_it_is_not_possible_that_is_told_and_the_machine_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"x");
    let log = "echo $ICECORE_PHASE $ICECORE_RESULT >> log";
    let base = ["backup", "m", "--pre-script", log, "--post-script", log, "--reflink", "--disk"];
    let line = sandbox.fails(1, &[&base[..], &["os=password/none"]].concat());
    assert!(line.contains("cannot open disk"), "{line}");
    let line = sandbox.fails(1, &[&base[..], &["os=/dev/null"]].concat());
    assert!(line.contains("only a regular file has a reflink copy"), "{line}");
    let line = sandbox.fails(1, &[&base[..], &["os=os.raw", "--snapshot-dir", "nowhere"]].concat());
    assert!(line.contains("cannot make a reflink copy in nowhere"), "{line}");
    let log = std::fs::read_to_string(sandbox.path("log")).expect("a log");
    assert_eq!(log, "pre\npost failed\n".repeat(3));
    let mount = mounted("reflink, across file systems", &sandbox, "xfs");
    if mount.is_some() {
        let line = sandbox.fails(1, &[&base[..], &["os=os.raw", "--snapshot-dir", "images"]].concat());
        assert!(line.contains("another file system"), "{line}");
    }
    drop(mount);
    let ext4 = KINDS.into_iter().find(|kind| kind.name == "ext4").expect("ext4");
    let image = sandbox.path("ext4");
    let made = ext4.make(&image).and_then(|()| Attached::mount(&ext4, &image, &sandbox.path("plain")));
    match made {
        Ok(_mounted) => {
            sandbox.write("plain/os.raw", b"x");
            let line = sandbox.fails(1, &[&base[..], &["os=plain/os.raw"]].concat());
            assert!(line.contains("its file system can't; XFS and btrfs can"), "{line}");
        }
        Err(why) => not_run("reflink, on ext4", &why),
    }
    assert_eq!(sandbox.points(), 0);
}
