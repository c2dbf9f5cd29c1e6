//! Promise 5: any recovery point can be browsed without root; here: through fusermount3, as the user nobody.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::{Content, MemoryTree, Mounted, Place, ROOT, can_mount, has, is_mounted, is_root, noise};
use icecore_fuse::{Ended, MountError, MountOptions, mount};

const NAME: &str = "an_ordinary_user_can_mount";

/// Opens /dev/fuse to all where it is not, in this name space only, and runs the test there as the user nobody.
const OPEN_AND_RUN: &str = "mknod $1 c 10 229 && chmod 666 $1 && mount --bind $1 /dev/fuse
    exec setpriv --reuid=65534 --regid=65534 --clear-groups $2 --exact $3 --nocapture";

#[test]
fn an_ordinary_user_can_mount() {
    if !can_mount(NAME) {
        return;
    }
    if !has("fusermount3") {
        eprintln!("NOT RUN: {NAME}: fusermount3 is missing");
    } else if !is_root() {
        mount_read_and_unmount();
    } else if !has("setpriv") || !has("unshare") {
        eprintln!("NOT RUN: {NAME}: root, and setpriv or unshare is missing");
    } else {
        // This very program again, from a place that anybody can reach.
        let place = Place::new();
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
        let program = place.0.join(NAME);
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let device = place.0.join("fuse");
        // Where the system keeps /dev/fuse to root, a mount name space of our own has one that is open to all.
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", OPEN_AND_RUN, "sh"])
            .args([&device, &program])
            .arg(NAME)
            .current_dir("/")
            .status();
        let _ = fs::remove_file(&device);
        fs::remove_file(&program).unwrap();
        assert!(status.unwrap().success());
    }
}

fn mount_read_and_unmount() {
    let mode = fs::metadata("/dev/fuse").unwrap().permissions().mode();
    if mode & 0o006 != 0o006 {
        let place = Place::new();
        let refused = mount(MemoryTree::new(), &place.0, &MountOptions::default(), |_| {});
        assert!(matches!(refused, Err(MountError::DeviceDenied(_))), "{refused:?}");
        eprintln!("NOT RUN: {NAME}: /dev/fuse is closed to ordinary users");
        return;
    }
    let bytes = noise(4, 1_000_000);
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 2, Content::File(bytes.clone()));
    // A guest's private file is its backup's owner's to read.
    tree.change(2, |file| file.attributes.mode = 0o600);

    let mut idle = Mounted::new(tree.clone());
    assert!(fs::read(idle.join("file")).unwrap() == bytes);
    assert_eq!(idle.mount.take().unwrap().unmount().unwrap(), Ended::Unmounted);
    assert!(!is_mounted(idle.path()));

    let mut busy = Mounted::new(tree.clone());
    let open = File::open(busy.join("file")).unwrap();
    assert_eq!(busy.mount.take().unwrap().unmount().unwrap(), Ended::StillInUse);
    assert!(!is_mounted(busy.path()));
    drop(open);

    let refused = mount(tree.clone(), "/usr".as_ref(), &allowing_non_empty(), |_| {});
    assert!(matches!(refused, Err(MountError::MountPointDenied(..))), "{refused:?}");

    if !fs::read_to_string("/etc/fuse.conf").is_ok_and(|all| all.lines().any(|line| line == "user_allow_other")) {
        let place = Place::new();
        let options = MountOptions { allow_other: true, ..MountOptions::default() };
        let refused = mount(tree, &place.0, &options, |_| {});
        assert!(matches!(refused, Err(MountError::AllowOtherForbidden)), "{refused:?}");
    }
}

fn allowing_non_empty() -> MountOptions {
    MountOptions { allow_non_empty: true, ..MountOptions::default() }
}
