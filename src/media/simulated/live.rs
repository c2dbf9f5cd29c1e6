//! The simulated disk while the machine lives.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use super::{Image, Node, Operation, Trace};
use crate::media::LockKind;
use crate::media::files::{File, FileLock, Files, Listed};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A file system in memory that remembers what was synced and what was not. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedFiles(Arc<Shared>);

struct Shared {
    disk: Mutex<Disk>,
    unlocked: Condvar,
}

struct Disk {
    nodes: Vec<Content>,
    trace: Trace,
}

enum Content {
    Directory(BTreeMap<String, Node>),
    File { bytes: Vec<u8>, names: usize, locks: Locks, parts: Vec<PartsHeld> },
}

/// Who holds the lock of a file.
#[derive(Default)]
struct Locks {
    shared: usize,
    exclusive: bool,
}

impl Locks {
    fn take(&mut self, kind: LockKind) -> bool {
        match kind {
            _ if self.exclusive => return false,
            LockKind::Shared => self.shared += 1,
            LockKind::Exclusive if self.shared > 0 => return false,
            LockKind::Exclusive => self.exclusive = true,
        }
        true
    }

    fn give_back(&mut self, kind: LockKind) {
        match kind {
            LockKind::Shared => self.shared -= 1,
            LockKind::Exclusive => self.exclusive = false,
        }
    }
}

impl Disk {
    fn new(before: Image) -> io::Result<Self> {
        let mut disk = Self { nodes: vec![Content::Directory(BTreeMap::new())], trace: Trace::default() };
        disk.trace.nodes_before.push(PathBuf::from("/"));
        // In order of path: a directory comes before what is in it.
        for path in &before.directories {
            let (directory, name) = disk.parent(path)?;
            disk.add(directory, name, Content::Directory(BTreeMap::new()))?;
            disk.trace.nodes_before.push(path.clone());
        }
        for (path, bytes) in &before.files {
            let (directory, name) = disk.parent(path)?;
            disk.add(directory, name, Content::file(bytes.to_vec()))?;
            disk.trace.nodes_before.push(path.clone());
        }
        disk.trace.before = before;
        Ok(disk)
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = 0;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            node = *self.entries(node)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The directory of a path and the name in it.
    fn parent(&self, path: &Path) -> io::Result<(Node, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.find(path.parent().unwrap_or(Path::new("/")))?;
        self.entries(directory)?;
        Ok((directory, name.to_owned()))
    }

    fn entries(&self, node: Node) -> io::Result<&BTreeMap<String, Node>> {
        match &self.nodes[node] {
            Content::Directory(entries) => Ok(entries),
            Content::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn entries_mut(&mut self, node: Node) -> io::Result<&mut BTreeMap<String, Node>> {
        match &mut self.nodes[node] {
            Content::Directory(entries) => Ok(entries),
            Content::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Gives new content a name that must be free.
    fn add(&mut self, directory: Node, name: String, content: Content) -> io::Result<Node> {
        let node = self.nodes.len();
        let entries = self.entries_mut(directory)?;
        if entries.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        entries.insert(name, node);
        self.nodes.push(content);
        Ok(node)
    }

    fn bytes(&mut self, node: Node) -> &mut Vec<u8> {
        match &mut self.nodes[node] {
            Content::File { bytes, .. } => bytes,
            Content::Directory(_) => unreachable!("only files are opened"),
        }
    }

    /// The lock of a file, and those of parts of it that are held.
    fn locks(&mut self, node: Node) -> (&mut Locks, &mut Vec<PartsHeld>) {
        match &mut self.nodes[node] {
            Content::File { locks, parts, .. } => (locks, parts),
            Content::Directory(_) => unreachable!("only files are locked"),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Node> {
        let node = self.find(path)?;
        match &self.nodes[node] {
            Content::File { .. } => Ok(node),
            Content::Directory(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
    }
}

impl Content {
    fn file(bytes: Vec<u8>) -> Self {
        Self::File { bytes, names: 1, locks: Locks::default(), parts: Vec::new() }
    }
}

impl Default for SimulatedFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedFiles {
    /// An empty disk.
    pub fn new() -> Self {
        Self::from_image(Image::default()).expect("an empty image has no conflicts")
    }

    /// A disk with content, all of it durable. Fails where a path of the image has no directory.
    pub fn from_image(image: Image) -> io::Result<Self> {
        let disk = Mutex::new(Disk::new(image)?);
        Ok(Self(Arc::new(Shared { disk, unlocked: Condvar::new() })))
    }

    /// What was done so far.
    pub fn trace(&self) -> Trace {
        self.disk().trace.clone()
    }

    /// Writes into the trace what the program says to the world now.
    pub fn note(&self, what: impl Into<String>) {
        self.disk().trace.operations.push(Operation::Note(what.into()));
    }

    /// Calls in the trace so far.
    pub fn operations(&self) -> usize {
        self.disk().trace.operations.len()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, node: Node) -> Arc<dyn File> {
        Arc::new(Handle { files: self.clone(), node, marked: Mutex::new(false) })
    }

    fn unlock(&self, node: Node, kind: LockKind) {
        self.disk().locks(node).0.give_back(kind);
        self.0.unlocked.notify_all();
    }
}

impl Files for SimulatedFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        let (directory, name) = disk.parent(path)?;
        let node = disk.add(directory, name.clone(), Content::file(Vec::new()))?;
        disk.trace.operations.push(Operation::Create { directory, name, node });
        Ok(self.handle(node))
    }

    fn open(&self, path: &Path, _mapped: bool) -> io::Result<Arc<dyn File>> {
        let node = self.disk().open(path)?;
        Ok(self.handle(node))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let (from, to) = (disk.parent(from)?, disk.parent(to)?);
        let node = *disk.entries(from.0)?.get(&from.1).ok_or(io::ErrorKind::NotFound)?;
        let target = disk.entries_mut(to.0)?;
        if target.contains_key(&to.1) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        target.insert(to.1.clone(), node);
        disk.entries_mut(from.0)?.remove(&from.1);
        disk.trace.operations.push(Operation::Rename { from, to, node });
        Ok(())
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let (from, to) = (disk.parent(from)?, disk.parent(to)?);
        let node = *disk.entries(from.0)?.get(&from.1).ok_or(io::ErrorKind::NotFound)?;
        if let Some(replaced) = disk.entries_mut(to.0)?.insert(to.1.clone(), node) {
            match &mut disk.nodes[replaced] {
                Content::File { names, .. } => *names -= 1,
                Content::Directory(_) => {
                    disk.entries_mut(to.0)?.insert(to.1, replaced);
                    return Err(io::ErrorKind::IsADirectory.into());
                }
            }
        }
        disk.entries_mut(from.0)?.remove(&from.1);
        disk.trace.operations.push(Operation::Rename { from, to, node });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let (directory, name) = disk.parent(path)?;
        let node = *disk.entries(directory)?.get(&name).ok_or(io::ErrorKind::NotFound)?;
        match &mut disk.nodes[node] {
            Content::File { names, .. } => *names -= 1,
            Content::Directory(_) => return Err(io::ErrorKind::IsADirectory.into()),
        }
        disk.entries_mut(directory)?.remove(&name);
        disk.trace.operations.push(Operation::Remove { directory, name });
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let (directory, name) = disk.parent(path)?;
        let node = disk.add(directory, name.clone(), Content::Directory(BTreeMap::new()))?;
        disk.trace.operations.push(Operation::MakeDirectory { directory, name, node });
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let disk = self.disk();
        let entries = disk.entries(disk.find(path)?)?;
        let listed = |(name, node): (&String, &Node)| Listed {
            name: name.clone(),
            is_directory: matches!(disk.nodes[*node], Content::Directory(_)),
        };
        Ok(entries.iter().map(listed).collect())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let node = disk.find(path)?;
        disk.entries(node)?;
        disk.trace.operations.push(Operation::SyncDirectory { node });
        Ok(())
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<FileLock>> {
        let mut disk = self.disk();
        let node = disk.open(path)?;
        while !disk.locks(node).0.take(kind) {
            if !wait {
                return Ok(None);
            }
            disk = self.0.unlocked.wait(disk).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Some(Box::new(Held { files: self.clone(), node, kind })))
    }

    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> io::Result<Option<FileLock>> {
        let mut disk = self.disk();
        let node = disk.open(path)?;
        let held = disk.locks(node).1;
        let is_refused = |(others, other): &PartsHeld| {
            (kind, *other) != (LockKind::Shared, LockKind::Shared)
                && others.start() <= parts.end()
                && parts.start() <= others.end()
        };
        if held.iter().any(is_refused) {
            return Ok(None);
        }
        held.push((parts.clone(), kind));
        Ok(Some(Box::new(HeldParts { files: self.clone(), node, parts: (parts, kind) })))
    }
}

/// A locked file.
struct Held {
    files: SimulatedFiles,
    node: Node,
    kind: LockKind,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.files.unlock(self.node, self.kind);
    }
}

/// Parts of a lock that somebody holds, and how.
type PartsHeld = (RangeInclusive<u64>, LockKind);

/// A file of which parts are locked.
struct HeldParts {
    files: SimulatedFiles,
    node: Node,
    parts: PartsHeld,
}

impl Drop for HeldParts {
    fn drop(&mut self) {
        let mut disk = self.files.disk();
        let held = disk.locks(self.node).1;
        if let Some(at) = held.iter().position(|parts| *parts == self.parts) {
            held.swap_remove(at);
        }
    }
}

/// An open file.
struct Handle {
    files: SimulatedFiles,
    node: Node,
    /// Whether this handle holds the mark of a file that is being written.
    marked: Mutex<bool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if *self.marked.get_mut().unwrap_or_else(PoisonError::into_inner) {
            self.files.unlock(self.node, LockKind::Exclusive);
        }
    }
}

impl File for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.files.disk().bytes(self.node).len() as u64)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.files.disk();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let content = disk.bytes(self.node);
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
        disk.trace.operations.push(Operation::Write { node: self.node, offset, bytes: bytes.into() });
        Ok(bytes.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.files.disk();
        let content = disk.bytes(self.node);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        self.files.disk().trace.operations.push(Operation::Sync { node: self.node });
        Ok(())
    }

    fn start_writeback(&self, _offset: u64, _length: u64) {
        // What is written out without a sync may as well not be: the crash images have both.
    }

    fn drop_cached(&self) {}

    fn mark_in_use(&self) -> io::Result<bool> {
        let mut disk = self.files.disk();
        if !disk.locks(self.node).0.take(LockKind::Exclusive) {
            return Ok(false);
        }
        *self.marked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(matches!(disk.nodes[self.node], Content::File { names, .. } if names > 0))
    }
}
