//! Promise 2: nothing changes what was backed up; here: every way to write through the mount is refused.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount};
use rustix::fs::{XattrFlags, setxattr};

const EROFS: Option<i32> = Some(30);

#[test]
fn writing_is_refused() {
    if !can_mount("writing_is_refused") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "file", 2, Content::File(b"kept".to_vec()));
    tree.add(ROOT, "directory", 3, Content::Directory(Vec::new()));
    let mounted = Mounted::new(tree);
    let (file, new) = (mounted.join("file"), mounted.join("new"));
    let attempts: [(&str, io::Result<()>); 11] = [
        ("open to write", OpenOptions::new().write(true).open(&file).map(drop)),
        ("truncate", OpenOptions::new().write(true).truncate(true).open(&file).map(drop)),
        ("create", fs::write(&new, b"new")),
        ("remove", fs::remove_file(&file)),
        ("rename", fs::rename(&file, &new)),
        ("make a directory", fs::create_dir(&new)),
        ("remove a directory", fs::remove_dir(mounted.join("directory"))),
        ("link", fs::hard_link(&file, &new)),
        ("make a symbolic link", symlink("file", &new)),
        ("change the mode", fs::set_permissions(&file, fs::Permissions::from_mode(0o777))),
        ("set an attribute", setxattr(&file, "user.a", b"b", XattrFlags::empty()).map_err(io::Error::from)),
    ];
    for (what, outcome) in attempts {
        assert_eq!(outcome.map_err(|error| error.raw_os_error()), Err(EROFS), "{what}");
    }
    assert_eq!(fs::read(file).unwrap(), b"kept");
}
