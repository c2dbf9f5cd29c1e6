//! Mounting a vault, mounting an image by the kernel, and seeing everything that is below a directory.
#![cfg(feature = "mount")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use icecore::Vault;
use icecore_fuse::{Mount, MountOptions};

/// A mounted vault, unmounted at the end however the test ends.
pub struct Mounted {
    mount: Option<Mount>,
    place: tempfile::TempDir,
}

impl Mounted {
    /// Mounts; says why not where the machine can't.
    pub fn new(test: &str, vault: &Vault) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            super::not_run(test, "/dev/fuse is missing");
            return None;
        }
        let place = tempfile::tempdir().expect("tempdir");
        // As the kernel shows it, set-user-id bits and devices included.
        let options = MountOptions { keep_modes: true, ..MountOptions::default() };
        match icecore_fuse::mount(Arc::new(vault.tree()), place.path(), &options, |_| {}) {
            Ok(mount) => Some(Self { mount: Some(mount), place }),
            Err(error) => {
                super::not_run(test, &format!("cannot mount: {error}"));
                None
            }
        }
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(self.mount.take());
    }
}

/// A file system of an image as the kernel reads it, detached at the end.
pub struct KernelMount {
    device: String,
    place: tempfile::TempDir,
}

impl KernelMount {
    /// Attaches a range of an image to a loop device and mounts that, both for reading only.
    pub fn new(test: &str, image: &Path, offset: u64, size: u64) -> Option<Self> {
        if !super::is_root() {
            super::not_run(test, "loop mounts need root");
            return None;
        }
        let (offset, size) = (offset.to_string(), size.to_string());
        let attached = Command::new("losetup")
            .args(["--find", "--show", "--read-only", "--offset", &offset, "--sizelimit", &size])
            .arg(image)
            .output();
        let device = match attached {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            other => {
                super::not_run(test, &format!("no loop device: {other:?}"));
                return None;
            }
        };
        let this = Self { device, place: tempfile::tempdir().expect("tempdir") };
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", "ro,noload,noatime", &this.device]).arg(this.place.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(this),
            other => {
                super::not_run(test, &format!("the kernel does not mount it: {other:?}"));
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for KernelMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.place.path()).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

/// What can be seen of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub links: u64,
    pub size: u64,
    pub blocks: u64,
    pub device: u64,
    /// Access, content, attributes: seconds and nanoseconds.
    pub times: [(i64, i64); 3],
    pub target: Option<Vec<u8>>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub blake3: Option<[u8; 32]>,
    /// The smallest path that is the same file.
    pub first_name: Vec<u8>,
}

/// Everything below a directory, by path; the directory itself is the empty path.
pub fn see(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let full = if path.is_empty() { root.to_path_buf() } else { root.join(OsStr::from_bytes(&path)) };
        let (seen, inode) = see_one(&full);
        if seen.kind == 'd' {
            for entry in fs::read_dir(&full).expect("read_dir") {
                let name = entry.expect("entry").file_name();
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                left.push([path.as_slice(), slash, name.as_bytes()].concat());
            }
        }
        inodes
            .entry(inode)
            .and_modify(|first| *first = first.clone().min(path.clone()))
            .or_insert_with(|| path.clone());
        found.insert(path, (seen, inode));
    }
    let named = |(path, (seen, inode)): (Vec<u8>, (Seen, u64))| {
        let first_name = inodes[&inode].clone();
        (path, Seen { first_name, ..seen })
    };
    found.into_iter().map(named).collect()
}

fn see_one(path: &Path) -> (Seen, u64) {
    let status = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kind = status.file_type();
    let letter = [
        (kind.is_dir(), 'd'),
        (kind.is_file(), 'f'),
        (kind.is_symlink(), 'l'),
        (kind.is_fifo(), 'p'),
        (kind.is_socket(), 's'),
        (kind.is_char_device(), 'c'),
        (kind.is_block_device(), 'b'),
    ];
    let seen = Seen {
        kind: letter.iter().find(|(is, _)| *is).map_or('?', |(_, letter)| *letter),
        mode: status.mode() & 0o7777,
        owner: (status.uid(), status.gid()),
        links: status.nlink(),
        size: status.size(),
        blocks: status.blocks(),
        device: status.rdev(),
        times: [
            (status.atime(), status.atime_nsec()),
            (status.mtime(), status.mtime_nsec()),
            (status.ctime(), status.ctime_nsec()),
        ],
        target: kind.is_symlink().then(|| fs::read_link(path).expect("link").as_os_str().as_bytes().to_vec()),
        xattrs: xattrs(path),
        blake3: kind.is_file().then(|| hash(path)),
        first_name: Vec::new(),
    };
    (seen, status.ino())
}

/// BLAKE3 of a file.
pub fn hash(path: &Path) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).expect("open")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    *hasher.finalize().as_bytes()
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length =
            rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).expect("a listed xattr");
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    found
}
