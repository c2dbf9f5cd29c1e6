//! A small tree in memory, and mounts of it that never outlive their test.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use icecore_fuse::{
    Attributes, DirectoryEntry, FileType, Mount, MountOptions, NodeId, ReadOnlyTree, Seek, Space, Timestamp, mount,
};
use rustix::mount::{UnmountFlags, unmount};

/// Any number but 1, which is the kernel's.
pub const ROOT: NodeId = 77;

pub const EIO: i32 = 5;
pub const ENOENT: i32 = 2;

#[derive(Debug)]
pub struct Broken(pub i32);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken on purpose ({})", self.0)
    }
}

impl std::error::Error for Broken {}

#[derive(Clone, Debug)]
pub enum Content {
    Directory(Vec<(Vec<u8>, NodeId)>),
    File(Vec<u8>),
    /// Pieces of data by offset; the rest, up to the size in the attributes, is a hole.
    Sparse(BTreeMap<u64, Vec<u8>>),
    Link(Vec<u8>),
    /// A device, a pipe or a socket.
    Special,
    /// Reading or listing it fails so.
    Failing(i32),
    /// Reading it panics.
    Panicking,
    /// It cannot even be described.
    Indescribable(FileType),
}

#[derive(Clone, Debug)]
pub struct Node {
    pub content: Content,
    pub attributes: Attributes,
    pub immutable: bool,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Default)]
pub struct MemoryTree {
    nodes: Mutex<BTreeMap<NodeId, Node>>,
    pub largest_read: AtomicUsize,
    /// Calls of everything but `space` and `is_immutable`.
    pub calls: AtomicUsize,
}

impl MemoryTree {
    /// A tree with an empty, immutable root.
    pub fn new() -> Arc<Self> {
        let tree = Self::default();
        tree.put(ROOT, Content::Directory(Vec::new()));
        Arc::new(tree)
    }

    /// Puts a node in place, immutable and with plain attributes.
    pub fn put(&self, node: NodeId, content: Content) {
        let (kind, size) = match &content {
            Content::Directory(_) => (FileType::Directory, 0),
            Content::Link(target) => (FileType::Symlink, target.len()),
            Content::File(bytes) => (FileType::Regular, bytes.len()),
            Content::Special => (FileType::Fifo, 0),
            Content::Indescribable(kind) => (*kind, 0),
            _ => (FileType::Regular, 4096),
        };
        let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
        let attributes = Attributes {
            node,
            kind,
            size_bytes: size as u64,
            blocks_512: (size as u64).div_ceil(512),
            mode: 0o755,
            uid: 0,
            gid: 0,
            links: 1,
            device: (0, 0),
            accessed: time,
            modified: time,
            changed: time,
            created: None,
        };
        let node_ = Node { content, attributes, immutable: true, xattrs: Vec::new() };
        self.nodes.lock().unwrap().insert(node, node_);
    }

    pub fn change(&self, node: NodeId, change: impl FnOnce(&mut Node)) {
        change(self.nodes.lock().unwrap().get_mut(&node).unwrap());
    }

    /// Changes the entries of a directory, and with them its time of modification.
    pub fn relist(&self, directory: NodeId, change: impl FnOnce(&mut Vec<(Vec<u8>, NodeId)>)) {
        self.change(directory, |parent| {
            parent.attributes.modified.nanoseconds += 1;
            match &mut parent.content {
                Content::Directory(entries) => change(entries),
                other => panic!("{other:?} has no entries"),
            }
        });
    }

    /// Puts a node in place under this name of the directory.
    pub fn add(&self, directory: NodeId, name: &str, node: NodeId, content: Content) {
        self.put(node, content);
        self.link(directory, name, node);
    }

    pub fn link(&self, directory: NodeId, name: &str, node: NodeId) {
        self.relist(directory, |entries| entries.push((name.as_bytes().to_vec(), node)));
    }

    fn node(&self, node: NodeId) -> Result<Node, Broken> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nodes.lock().unwrap().get(&node).cloned().ok_or(Broken(ENOENT))
    }

    /// Entries without a copy of all of them for each request.
    fn entries<R>(&self, node: NodeId, look: impl FnOnce(&[(Vec<u8>, NodeId)]) -> R) -> Result<R, Broken> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match &self.nodes.lock().unwrap().get(&node).ok_or(Broken(ENOENT))?.content {
            Content::Directory(entries) => Ok(look(entries)),
            Content::Failing(errno) => Err(Broken(*errno)),
            _ => Err(Broken(20)),
        }
    }

    fn kind(&self, node: NodeId) -> FileType {
        self.nodes.lock().unwrap()[&node].attributes.kind
    }
}

impl ReadOnlyTree for MemoryTree {
    type Error = Broken;

    fn errno(error: &Broken) -> i32 {
        error.0
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn is_immutable(&self, node: NodeId) -> bool {
        self.nodes.lock().unwrap().get(&node).is_some_and(|node| node.immutable)
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Broken> {
        let node = self.node(node)?;
        match node.content {
            Content::Indescribable(_) => Err(Broken(EIO)),
            _ => Ok(node.attributes),
        }
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Broken> {
        self.entries(parent, |entries| entries.iter().find(|entry| entry.0 == name).map(|entry| entry.1))
    }

    fn parent(&self, _directory: NodeId) -> Result<NodeId, Broken> {
        Ok(ROOT)
    }

    fn read_directory(
        &self,
        directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), Broken> {
        // Copied, at most a few hundred at a time, so that `kind` may take the lock.
        let entries = self.entries(directory, |entries| {
            entries.iter().skip(position as usize).take(1000).cloned().collect::<Vec<_>>()
        })?;
        let partial = entries.len() == 1000;
        let mut next = position;
        for (name, node) in &entries {
            next += 1;
            if !visit(DirectoryEntry { name, node: *node, kind: self.kind(*node), next }) {
                return Ok(());
            }
        }
        if partial { self.read_directory(directory, next, visit) } else { Ok(()) }
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Broken> {
        match self.node(node)?.content {
            Content::Link(target) => Ok(target),
            _ => Err(Broken(22)),
        }
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Broken> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.largest_read.fetch_max(buffer.len(), Ordering::Relaxed);
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.get(&node).ok_or(Broken(ENOENT))?;
        match &node.content {
            Content::File(bytes) => {
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                let size = rest.len().min(buffer.len());
                buffer[..size].copy_from_slice(&rest[..size]);
                Ok(size)
            }
            Content::Sparse(pieces) => {
                let size = buffer.len().min(node.attributes.size_bytes.saturating_sub(offset) as usize);
                for (place, byte) in buffer[..size].iter_mut().enumerate() {
                    let at = offset + place as u64;
                    *byte = pieces
                        .range(..=at)
                        .next_back()
                        .and_then(|(start, piece)| piece.get((at - start) as usize))
                        .copied()
                        .unwrap_or(0);
                }
                Ok(size)
            }
            Content::Failing(errno) => Err(Broken(*errno)),
            Content::Panicking => {
                drop(nodes);
                panic!("a bug on purpose")
            }
            _ => Err(Broken(21)),
        }
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>, Broken> {
        let node = self.node(node)?;
        let Content::Sparse(pieces) = node.content else {
            return Err(Broken(22));
        };
        let size = node.attributes.size_bytes;
        if offset >= size {
            return Ok(None);
        }
        let inside = pieces.iter().map(|(start, piece)| (*start, start + piece.len() as u64));
        Ok(match what {
            Seek::Data => inside.filter(|piece| piece.1 > offset).map(|piece| piece.0.max(offset)).min(),
            Seek::Hole => Some(inside.filter(|piece| (piece.0..piece.1).contains(&offset)).fold(offset, |_, p| p.1)),
        })
    }

    fn list_xattrs(&self, node: NodeId) -> Result<Vec<Vec<u8>>, Broken> {
        Ok(self.node(node)?.xattrs.into_iter().map(|xattr| xattr.0).collect())
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        Ok(self.node(node)?.xattrs.into_iter().find(|xattr| xattr.0 == name).map(|xattr| xattr.1))
    }

    fn space(&self) -> Result<Space, Broken> {
        Ok(Space { total_bytes: 1 << 40, free_bytes: 0, files: 12_345 })
    }
}

/// An empty directory, removed at the end; never while something is mounted there.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("icecore-fuse-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a failed test left behind must go too, or it would hang whoever looks here next.
        while is_mounted(&self.0) && unmount(&self.0, UnmountFlags::DETACH).is_ok() {}
        let _ = fs::remove_dir(&self.0);
    }
}

/// A mounted tree; unmounted at the end of the test however it ends. Fields drop in this order.
pub struct Mounted {
    pub mount: Option<Mount>,
    pub tree: Arc<MemoryTree>,
    pub failures: Arc<Mutex<Vec<String>>>,
    place: Place,
}

impl Mounted {
    pub fn new(tree: Arc<MemoryTree>) -> Self {
        Self::with(tree, &MountOptions::default())
    }

    pub fn with(tree: Arc<MemoryTree>, options: &MountOptions) -> Self {
        let place = Place::new();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&failures);
        let mount = mount(Arc::clone(&tree), &place.0, options, move |failure| {
            told.lock().unwrap().push(failure.to_string());
        });
        Self { mount: Some(mount.expect("mounted")), tree, failures, place }
    }

    pub fn path(&self) -> &Path {
        &self.place.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.place.0.join(name)
    }
}

/// Whether FUSE is there at all; says so where it is not.
pub fn can_mount(test: &str) -> bool {
    let why = if !Path::new("/dev/fuse").exists() {
        "/dev/fuse is missing"
    } else if !is_root() && !has("fusermount3") {
        "neither root nor fusermount3"
    } else {
        return true;
    };
    eprintln!("NOT RUN: {test}: {why}");
    false
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mounts.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// Bytes that differ everywhere, the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}
