//! Promise 5: file systems of XFS version 4, which newer kernels no longer mount, read as what they were made from.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::guest_support::compare::list;
use crate::guest_support::{FileDisk, NotRun, open, source, xfs};
use icecore::guest::{FileSystem, GuestFileSystem, VolumeState};
use icecore_fuse::{FileType, NodeId, ReadOnlyTree};

const MADE_WITH: &[(&str, &str)] = &[
    ("version 4", ""),
    ("version 4, 1 KiB blocks", "-b size=1024"),
    ("version 4, 512-byte blocks", "-b size=512"),
    ("version 4, kinds in directories", "-n ftype=1"),
    ("version 4, directory blocks of 16 KiB", "-b size=1024 -n size=16384"),
    ("version 4, 1 KiB inodes", "-i size=1024"),
    ("version 4, log of version 1", "-l version=1"),
    ("version 4, names in any case", "-n version=ci"),
];

fn fill(root: &Path) {
    for size in [0, 1, 100, 4096, 5000, 300_000] {
        fs::write(root.join(format!("file-{size}")), source::noise(size as u64 + 1, size)).expect("a file");
    }
    for length in [1, 60, 155, 156, 157, 500, 1000] {
        std::os::unix::fs::symlink("x".repeat(length), root.join(format!("link-{length}"))).expect("a link");
    }
    for names in [1, 5, 40, 300, 6000] {
        let directory = root.join(format!("names-{names}"));
        fs::create_dir(&directory).expect("a directory");
        for number in 0..names {
            fs::write(directory.join(format!("Name-{number}-{}", "n".repeat(number % 60))), b"").expect("a file");
        }
    }
    fs::create_dir_all(root.join("deep/er/and/deeper")).expect("directories");
}

/// Compares what `mkfs.xfs` copies: names, kinds, contents and targets. Answers how many entries it met.
fn compare_made(tree: &FileSystem, node: NodeId, path: &Path) -> usize {
    let mut ours = list(tree, node).expect("a listing");
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    let mut theirs: Vec<_> = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry")).collect();
    theirs.sort_by_key(|entry| entry.file_name());
    let names =
        |names: Vec<&[u8]>| names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>();
    let their_names: Vec<_> = theirs.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(
        names(ours.iter().map(|(name, ..)| name.as_slice()).collect()),
        names(their_names.iter().map(|name| name.as_bytes()).collect()),
        "{}",
        path.display()
    );
    let mut met = ours.len();
    for (name, child, kind) in ours {
        let path = path.join(std::ffi::OsStr::from_bytes(&name));
        assert_eq!(tree.lookup(node, &name).expect("a lookup"), Some(child), "{}", path.display());
        assert_eq!(tree.attributes(child).expect("attributes").kind, kind, "{}", path.display());
        match kind {
            FileType::Directory => {
                assert_eq!(tree.parent(child).expect("a parent"), node);
                met += compare_made(tree, child, &path);
            }
            FileType::Symlink => {
                let target = fs::read_link(&path).expect("a link").into_os_string();
                assert_eq!(tree.read_link(child).expect("a target"), target.as_bytes(), "{}", path.display());
            }
            _ => {
                let mut content = vec![0; 1 << 20];
                let read = tree.read(child, 0, &mut content).expect("content");
                assert!(content[..read] == fs::read(&path).expect("a file"), "{}: content", path.display());
            }
        }
    }
    assert_eq!(tree.lookup(node, b"no such name").expect("a lookup"), None);
    met
}

#[test]
fn what_was_copied_in_reads_the_same() {
    let place = xfs::scratch();
    let mut not_run = NotRun::new("what_was_copied_in_reads_the_same");
    if let Err(why) = xfs::can_make() {
        return not_run.add("all of it", &why);
    }
    let from = place.path().join("source");
    fs::create_dir(&from).expect("a directory");
    fill(&from);
    for (name, options) in MADE_WITH {
        let made = place.path().join("image");
        if let Err(why) = xfs::make_version_4(&made, "64M", &options.split_whitespace().collect::<Vec<_>>(), &from) {
            not_run.add(name, &why);
            continue;
        }
        let tree = open(FileDisk::open(&made));
        assert_eq!(tree.info().state, VolumeState::Clean, "{name}");
        let met = compare_made(&tree, tree.root(), &from);
        assert!(met > 6000, "{name}: {met} entries");
    }
}

#[test]
fn attributes_of_any_size_read_as_set() {
    let place = xfs::scratch();
    let mut not_run = NotRun::new("attributes_of_any_size_read_as_set");
    if let Err(why) = xfs::can_make() {
        return not_run.add("all of it", &why);
    }
    let from = place.path().join("source");
    fs::create_dir(&from).expect("a directory");
    fs::write(from.join("file"), b"content").expect("a file");
    let made = place.path().join("image");
    if let Err(why) = xfs::make_version_4(&made, "32M", &[], &from) {
        return not_run.add("all of it", &why);
    }
    let tree = open(FileDisk::open(&made));
    let file = tree.lookup(tree.root(), b"file").expect("a lookup").expect("the file");
    // In the inode, then in a leaf; in the order in which the fork grows.
    for (count, bytes) in [(1, 20_usize), (30, 90)] {
        for number in 0..count {
            xfs::set_xattr(&made, file, &format!("of-{bytes}-{number}"), bytes);
        }
        let tree = open(FileDisk::open(&made));
        for number in 0..count {
            let value = tree.xattr(file, format!("user.of-{bytes}-{number}").as_bytes()).expect("an attribute");
            assert_eq!(value, Some(vec![b'v'; bytes]));
        }
    }
    assert_eq!(open(FileDisk::open(&made)).list_xattrs(file).expect("names").len(), 31);
}
