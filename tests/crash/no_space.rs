//! Promise 1: on a full disk a backup fails as such, older points stay whole, and the space comes back.

use std::path::Path;
use std::process::Command;

use crate::common;
use icecore::vault::InitOptions;

/// A small file system of its own in memory, unmounted at the end.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount(test: &str, options: &str) -> Option<Self> {
        if !common::is_root() {
            common::not_run(test, "mounting a tmpfs needs root");
            return None;
        }
        let place = common::scratch();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(place)),
            other => {
                common::not_run(test, &format!("no tmpfs here: {other:?}"));
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(self.path()).expect("statvfs");
        space.f_bfree * space.f_frsize
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_backup_that_does_not_fit_gives_its_space_back() {
    let Some(tiny) = Tiny::mount("a_backup_that_does_not_fit_gives_its_space_back", "size=12m") else { return };
    let path = tiny.path().join("vault");
    let vault = common::init(&path, &InitOptions { chunk_bytes: 16 << 10, ..common::protected() });
    let first = common::noise(1, 3 << 20);
    let point = common::backup_bytes(&vault, "m", &[("os", &first)]).expect("it fits").point;
    for (round, machine) in ["m", "new machine", "m"].into_iter().enumerate() {
        let before = tiny.free();
        let too_large = common::noise(7 + round as u64, 20 << 20);
        let error = common::backup_bytes(&vault, machine, &[("os", &too_large)]).expect_err("it does not fit");
        assert!(error.is_out_of_space(), "{error}");
        let after = tiny.free();
        assert!(before.abs_diff(after) <= 16 << 10, "round {round}: {before} free before, {after} after");
        assert!(common::verify(&vault).is_clean());
        common::assert_same(&common::restored(&vault, &point, "os").expect("restore"), &first, "the old point");
    }
    let small = common::noise(20, 1 << 20);
    let next = common::backup_bytes(&vault, "m", &[("os", &small)]).expect("what fits is taken").point;
    let vault = common::open(&path);
    assert_eq!(vault.points("m").expect("points").len(), 2);
    common::assert_same(&common::disk_bytes(&vault, &next, "os").expect("read"), &small, "the new point");
}

/// There is room for bytes, and none for files: that shows where one is made, not where one is written.
#[test]
fn a_file_system_without_room_for_files_is_full_too() {
    let name = "a_file_system_without_room_for_files_is_full_too";
    let Some(tiny) = Tiny::mount(name, "size=64m,nr_inodes=32") else { return };
    let path = tiny.path().join("vault");
    let vault = common::init(&path, &common::protected());
    let first = common::noise(1, 1 << 20);
    let point = common::backup_bytes(&vault, "m", &[("os", &first)]).expect("it fits").point;
    let files = || common::files(&path).len();
    let before = files();
    let error = common::backup_bytes(&vault, "m", &[("os", &common::noise(2, 30 << 20))]).expect_err("it does not fit");
    assert!(error.is_out_of_space(), "{error}");
    assert_eq!(files(), before, "what was begun is gone");
    let next = common::backup_bytes(&vault, "m", &[("os", &first)]).expect("what fits is taken").point;
    let vault = common::open(&path);
    assert!(common::verify(&vault).is_clean());
    for point in [point, next] {
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &first, &point.name);
    }
}

/// Segments that another instance knew of and that were given back are known to it no more.
#[test]
fn what_was_given_back_is_stored_again_by_who_knew_it() {
    let name = "what_was_given_back_is_stored_again_by_who_knew_it";
    let Some(tiny) = Tiny::mount(name, "size=12m") else { return };
    let path = tiny.path().join("vault");
    let vault = common::init(&path, &common::protected());
    let bytes = common::noise(1, 20 << 20);
    let gate = std::sync::Arc::new(common::sources::Gate::default());
    let watcher = common::open(&path);
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| {
            let source = common::sources::Gated { bytes: bytes.clone(), at: 6 << 20, gate: gate.clone() };
            let request = icecore::backup::BackupRequest::new("m").disk("os", source);
            vault.backup(&request, &icecore::backup::Progress::default())
        });
        gate.wait_reached();
        // Some segments are published by now, and this instance learns of them.
        common::wait_until("two segments", || watcher.stats().expect("stats").segments >= 2);
        gate.open();
        assert!(failing.join().expect("thread").expect_err("no space").is_out_of_space());
    });
    let part = &bytes[..2 << 20];
    let point = common::backup_bytes(&watcher, "m", &[("os", part)]).expect("backup").point;
    common::assert_same(&common::disk_bytes(&common::open(&path), &point, "os").expect("read"), part, "the point");
}
