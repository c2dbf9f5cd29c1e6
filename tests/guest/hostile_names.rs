//! THREATS.md, a guest's root: no name with `/` or NUL, nor `.` and `..`, gets out of a directory that it wrote.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::guest_support::{MemoryDisk, image, not_run, open, xfs};
use icecore_fuse::ReadOnlyTree;

/// Names as they are made, and what they become on the disk.
const CHANGED: [(&[u8], &[u8]); 6] = [
    (b"-slashed1", b"../../etc"),
    (b"-slashed2", b"/bin/bash"),
    (b"-nulled-1", b"nulled\0-1"),
    (b"-nulled-2", b"\0ulled--2"),
    (b"-dotted--", b"........."),
    (b"-bystand-", b"-bystand-"),
];

/// The dots have names of their own length.
const DOTS: [(&[u8], &[u8]); 2] = [(b"Q", b"."), (b"QZ", b"..")];

fn source(place: &Path) -> std::path::PathBuf {
    let from = place.join("source");
    fs::create_dir(&from).expect("a directory");
    for (name, _) in CHANGED.iter().chain(&DOTS) {
        fs::write(from.join(std::str::from_utf8(name).expect("text")), "guest").expect("a file");
    }
    from
}

/// Writes the names anew where they are, near to one another. `length_at` tells how far before a name its length stands.
fn change(bytes: &mut [u8], length_at: usize) {
    let find = |bytes: &[u8], name: &[u8], from: usize, to: usize| {
        let length = u8::try_from(name.len()).expect("short");
        (from..to).find(|at| bytes[*at..].starts_with(name) && bytes[at - length_at] == length)
    };
    let bystander = find(bytes, b"-bystand-", 8, bytes.len() - 16).expect("a directory");
    for (name, hostile) in CHANGED.iter().chain(&DOTS) {
        let at = find(bytes, name, bystander - 200, bystander + 200);
        let at = at.unwrap_or_else(|| panic!("{} is there", String::from_utf8_lossy(name)));
        bytes[at..at + name.len()].copy_from_slice(hostile);
    }
}

fn look(bytes: Vec<u8>, what: &str) {
    let tree = open(Arc::new(MemoryDisk(bytes)));
    let mut names = Vec::new();
    // Damage may be told as well; what matters is what was handed out before.
    let _ = tree.read_directory(tree.root(), 0, &mut |entry| {
        names.push(entry.name.to_vec());
        true
    });
    names.retain(|name| name != b"lost+found");
    names.sort();
    assert_eq!(names, [b"-bystand-", b"........."], "{what}");
    for (_, hostile) in CHANGED.iter().take(4).chain(&DOTS) {
        assert!(!matches!(tree.lookup(tree.root(), hostile), Ok(Some(_))), "{what}: {hostile:?}");
    }
}

#[test]
fn a_hostile_ext_directory() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("image");
    // Without checksums of metadata: who is root in the guest can make them right.
    image::make(&path, "8M", &["-t", "ext4", "-O", "^metadata_csum,^has_journal"], Some(&source(place.path())));
    let mut bytes = fs::read(&path).expect("the image");
    // The kind of file is between the two.
    change(&mut bytes, 2);
    look(bytes, "ext4");
}

#[test]
fn a_hostile_xfs_directory() {
    let test = "a_hostile_xfs_directory";
    if let Err(why) = xfs::can_make() {
        return not_run(test, &why);
    }
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("image");
    if let Err(why) = xfs::make_version_4(&path, "32M", &[], &source(place.path())) {
        return not_run(test, &why);
    }
    let mut bytes = fs::read(&path).expect("the image");
    // A short directory, in its inode: the entry's offset is between the two.
    change(&mut bytes, 3);
    look(bytes, "XFS");
}
