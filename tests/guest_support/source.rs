//! A directory with one of everything.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

/// Bytes that differ from block to block and compress badly, the same in every run.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// An access control list in the form that `setxattr` takes.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 6] =
        [(1, 6, !0), (2, 7, 1001), (4, 4, !0), (8, 5, 70_000), (0x10, 7, !0), (0x20, 4, !0)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Fills a directory: files of telling sizes, holes, links, nodes, owners, times, attributes, odd names, depth.
pub fn fill(root: &Path, xattr_bytes: usize) {
    for size in [0, 1, 59, 60, 61, 100, 150, 1023, 1024, 4095, 4096, 4097, 12_288, 13_000, 70_000, 300_000, 5_000_001] {
        fs::write(root.join(format!("file-{size}")), noise(size as u64 + 1, size)).expect("a file");
    }
    holes(&root.join("holes"));
    links(root);
    names(&root.join("names"));
    attributes(root, xattr_bytes);
    owners(root);
}

fn holes(directory: &Path) {
    fs::create_dir(directory).expect("a directory");
    let file = File::create(directory.join("sparse")).expect("a file");
    for (place, at) in [0_u64, 65_536, 1 << 20, 100 << 20, 300 << 20].into_iter().enumerate() {
        file.write_all_at(&noise(place as u64 + 77, 9000), at).expect("a write");
    }
    file.set_len(400 << 20).expect("a length");
    File::create(directory.join("only-a-hole")).expect("a file").set_len(10 << 20).expect("a length");
}

fn links(root: &Path) {
    fs::hard_link(root.join("file-4097"), root.join("hard-link")).expect("a link");
    for length in [1, 59, 60, 61, 255, 1000, 1023] {
        symlink("x".repeat(length), root.join(format!("symlink-{length}"))).expect("a link");
    }
    let node = |name: &str, kind, device| {
        let made = rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device);
        if let Err(error) = made {
            eprintln!("no node {name}: {error}");
        }
    };
    node("fifo", FileType::Fifo, 0);
    node("socket", FileType::Socket, 0);
    if rustix::process::geteuid().is_root() {
        node("char-5-1", FileType::CharacterDevice, rustix::fs::makedev(5, 1));
        node("block-259-70000", FileType::BlockDevice, rustix::fs::makedev(259, 70_000));
    }
}

fn names(directory: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let mut deep = directory.to_owned();
    for level in 0..12 {
        deep.push(format!("level-{level}"));
    }
    fs::create_dir_all(&deep).expect("directories");
    fs::write(deep.join("bottom"), b"here").expect("a file");
    for name in [&b"with space"[..], b"new\nline", b"\xff\xfe not UTF-8", b"...", b"-", &[b'n'; 255]] {
        fs::write(directory.join(std::ffi::OsStr::from_bytes(name)), name).expect("a file");
    }
    fs::create_dir(directory.join("empty")).expect("a directory");
}

fn attributes(root: &Path, xattr_bytes: usize) {
    let directory = root.join("attributes");
    fs::create_dir(&directory).expect("a directory");
    let make = |name: &str| {
        let path = directory.join(name);
        fs::write(&path, name).expect("a file");
        path
    };
    let small = make("small");
    set_xattr(&small, "user.a", b"1");
    set_xattr(&small, "user.empty", b"");
    let large = make("large");
    set_xattr(&large, "user.large", &noise(5, xattr_bytes));
    set_xattr(&large, "user.other", b"beside it");
    if rustix::process::geteuid().is_root() {
        set_xattr(&small, "trusted.t", b"for root only");
        set_xattr(&small, "security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    set_xattr(&make("acl"), "system.posix_acl_access", &acl());
    set_xattr(&directory, "system.posix_acl_default", &acl());
}

fn owners(root: &Path) {
    let path = root.join("owned");
    fs::write(&path, b"by a large number").expect("a file");
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(100_000), Gid::from_raw(4_000_000_000));
        rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), AtFlags::empty()).expect("an owner");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6751)).expect("a mode");
    for (name, seconds) in [("before-1970", -86_400_123_i64), ("in-2100", 4_102_444_800), ("in-2400", 13_569_465_600)] {
        let path = root.join(name);
        fs::write(&path, name).expect("a file");
        let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).expect("times");
    }
}

/// Numbers that do not repeat, the same for the same seed.
pub fn random(seed: u64, count: usize) -> impl Iterator<Item = u64> {
    let bytes = noise(seed, count * 8);
    (0..count).map(move |index| u64::from_le_bytes(bytes[index * 8..][..8].try_into().expect("eight bytes")))
}
