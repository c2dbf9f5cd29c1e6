//! The oracle itself: what other tests believe of the machine that they ask must hold.

use std::time::Duration;

use crate::guest_support::{not_run, uml};

const LIMIT: Duration = Duration::from_secs(60);

// Promise 5's oracle. What was flushed before the machine was ended is there after it, and its kernel has what is asked of it.
#[test]
fn a_machine_that_is_ended_leaves_what_it_flushed() {
    if let Some(why) = uml::why_not() {
        return not_run("a_machine_that_is_ended_leaves_what_it_flushed", why);
    }
    let disk = tempfile::NamedTempFile::new().expect("a file");
    disk.as_file().set_len(400 << 20).expect("a length");
    let disks = [disk.path()];
    let said = uml::run_until(
        &disks,
        "mkfs.xfs -q -m crc=0 /dev/ubda; mount /dev/ubda /run/mnt; echo kept >/run/mnt/file; sync; echo flushed; sleep 60",
        "flushed",
        LIMIT,
    );
    assert!(said.ends_with("flushed\n"), "{said}");
    let said = uml::run(
        &disks,
        "load dm-mod; grep -w device-mapper /proc/devices; mount /dev/ubda /run/mnt; cat /run/mnt/file",
        LIMIT,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("device-mapper"), "{said}");
    assert_eq!(lines[1], "kept");
}
