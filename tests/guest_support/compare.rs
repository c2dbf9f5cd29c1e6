//! Compares a tree with a directory, entry by entry.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use icecore_fuse::{Attributes, FileType, NodeId, ReadOnlyTree, Seek};
use rustix::fs::{AtFlags, CWD, SeekFrom, StatxFlags};

/// What the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// What the image was made from: times to the second, no inode numbers, no holes.
    Source,
    /// The kernel's mount of the same image: everything.
    Kernel,
    /// The same where the kernel may write: at any time it gives back what it preallocated behind the ends of files, so
    /// that those have fewer blocks.
    KernelAtWork,
    /// The same after a recovery of fast commits: everything but what that makes up, as sizes and times of directories
    /// and the number of blocks.
    FastCommits,
}

/// What a comparison found.
#[derive(Default, Debug)]
pub struct Report {
    pub entries: u64,
    pub bytes: u64,
    pub xattrs: u64,
    /// Files that a recovery cut.
    pub cut: u64,
    /// What the other side could not read: there is nothing to compare with.
    pub unreadable: Vec<String>,
    pub differences: Vec<String>,
}

impl Report {
    /// Fails with the first differences, and where nothing was compared.
    pub fn expect_same(&self, what: &str) {
        let Self { entries, xattrs, bytes, differences, .. } = self;
        eprintln!("{what}: {entries} entries, {xattrs} xattrs, {bytes} bytes, {} differences", differences.len());
        assert!(*entries > 0, "{what}: nothing was compared");
        let first = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "{what}: {} differences:\n{first}", differences.len());
    }
}

/// Name, node and kind of a directory's entry.
pub type Listed = (Vec<u8>, NodeId, FileType);

/// Lists a directory a few entries at a time, so that each position is used.
pub fn list<T: ReadOnlyTree>(tree: &T, directory: NodeId) -> Result<Vec<Listed>, T::Error> {
    let mut all = Vec::new();
    let mut position = 0;
    loop {
        let before = all.len();
        tree.read_directory(directory, position, &mut |entry| {
            if all.len() - before == 61 {
                return false;
            }
            assert_ne!(entry.next, 0, "a position is never zero");
            position = entry.next;
            all.push((entry.name.to_vec(), entry.node, entry.kind));
            true
        })?;
        if all.len() == before {
            return Ok(all);
        }
    }
}

pub fn compare<T: ReadOnlyTree>(tree: &T, directory: &Path, against: Against) -> Report {
    compare_recovered(tree, directory, against, None)
}

/// The same with a file system that the kernel recovered since some moment. What it cut then, because a machine stopped
/// while it did so, has times of then, and fewer blocks.
pub fn compare_recovered<T: ReadOnlyTree>(
    tree: &T,
    directory: &Path,
    against: Against,
    since: Option<SystemTime>,
) -> Report {
    let mut report = Report::default();
    let since = since.map(|since| since.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970"));
    let cut_since = since.map(|since| (since.as_secs() as i64, i64::from(since.subsec_nanos())));
    let mut comparison = Comparison { tree, against, cut_since, read: HashSet::new(), report: &mut report };
    comparison.directory(tree.root(), directory, true);
    report
}

struct Comparison<'a, T> {
    tree: &'a T,
    against: Against,
    /// Files that were changed since are those that recovery cut.
    cut_since: Option<(i64, i64)>,
    /// Files whose content was compared under another name.
    read: HashSet<NodeId>,
    report: &'a mut Report,
}

impl<T: ReadOnlyTree> Comparison<'_, T> {
    fn check<V: PartialEq + std::fmt::Debug>(&mut self, path: &Path, what: &str, found: V, expected: V) {
        if found != expected {
            self.report.differences.push(format!("{}: {what} is {found:?}, not {expected:?}", path.display()));
        }
    }

    /// What the other side has; it may be damaged there too, where a log was torn.
    fn readable<V>(&mut self, path: &Path, result: std::io::Result<V>) -> Option<V> {
        result.map_err(|error| self.report.unreadable.push(format!("{}: {error}", path.display()))).ok()
    }

    fn ok<V>(&mut self, path: &Path, what: &str, result: Result<V, T::Error>) -> Option<V> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.report.differences.push(format!("{}: {what}: {error}", path.display()));
                None
            }
        }
    }

    fn directory(&mut self, node: NodeId, path: &Path, is_root: bool) {
        let listed = list(self.tree, node);
        let Some(listed) = self.ok(path, "list", listed) else {
            return;
        };
        let count = listed.len();
        let mut ours: BTreeMap<OsString, (NodeId, FileType)> =
            listed.into_iter().map(|(name, node, kind)| (OsString::from_vec(name), (node, kind))).collect();
        self.check(path, "number of distinct names", ours.len(), count);
        let Some(theirs) =
            self.readable(path, fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>))
        else {
            return;
        };
        for entry in theirs {
            let name = entry.file_name();
            let path = path.join(&name);
            match ours.remove(&name) {
                Some((child, kind)) => self.entry(node, &name, child, kind, &path),
                None => self.report.differences.push(format!("{}: missing", path.display())),
            }
        }
        for name in ours.keys() {
            if !(is_root && self.against == Against::Source && name == "lost+found") {
                self.report.differences.push(format!("{}: {name:?} is too much", path.display()));
            }
        }
        let absent = self.tree.lookup(node, b"no such name \x01");
        let absent = self.ok(path, "lookup of an absent name", absent);
        self.check(path, "an absent name", absent, Some(None));
    }

    fn entry(&mut self, parent: NodeId, name: &OsStr, node: NodeId, kind: FileType, path: &Path) {
        self.report.entries += 1;
        let found = self.tree.lookup(parent, name.as_bytes());
        let found = self.ok(path, "lookup", found);
        self.check(path, "looked up node", found, Some(Some(node)));
        let attributes = self.tree.attributes(node);
        let Some(attributes) = self.ok(path, "attributes", attributes) else {
            return;
        };
        self.check(path, "kind in the directory", kind, attributes.kind);
        let Some(theirs) = self.readable(path, fs::symlink_metadata(path)) else {
            return;
        };
        self.attributes(path, &attributes, &theirs);
        self.xattrs(path, node);
        match attributes.kind {
            FileType::Directory => {
                let up = self.tree.parent(node);
                let up = self.ok(path, "parent", up);
                self.check(path, "parent", up, Some(parent));
                self.directory(node, path, false);
            }
            FileType::Symlink => {
                let target = self.tree.read_link(node);
                let target = self.ok(path, "target", target);
                if let Some(expected) = self.readable(path, fs::read_link(path)) {
                    self.check(path, "target", target, Some(expected.into_os_string().into_vec()));
                }
            }
            // Once: what was read of it is in the kernel's page cache, which hides holes.
            FileType::Regular if self.read.insert(node) => self.content(path, node, attributes.size_bytes),
            _ => {}
        }
    }

    fn attributes(&mut self, path: &Path, ours: &Attributes, theirs: &fs::Metadata) {
        self.check(path, "kind", ours.kind, kind_of(theirs.file_type()));
        self.check(path, "mode", u32::from(ours.mode), theirs.mode() & 0o7777);
        self.check(path, "owner", (ours.uid, ours.gid), (theirs.uid(), theirs.gid()));
        let is_device = matches!(ours.kind, FileType::BlockDevice | FileType::CharDevice);
        let device = (rustix::fs::major(theirs.rdev()), rustix::fs::minor(theirs.rdev()));
        self.check(path, "device", ours.device, if is_device { device } else { (0, 0) });
        let exact = self.against != Against::Source;
        let is_directory = ours.kind == FileType::Directory;
        let is_made_up = self.against == Against::FastCommits;
        let changed = (theirs.ctime(), theirs.ctime_nsec());
        let is_cut = ours.kind == FileType::Regular && self.cut_since.is_some_and(|since| changed >= since);
        let has_times = !(is_cut || is_directory && is_made_up);
        self.report.cut += u64::from(is_cut);
        if !is_directory || matches!(self.against, Against::Kernel | Against::KernelAtWork) {
            self.check(path, "size", ours.size_bytes, theirs.size());
        }
        if !is_directory || exact {
            self.check(path, "links", u64::from(ours.links), theirs.nlink());
        }
        let whole = |time: icecore_fuse::Timestamp| (time.seconds, if exact { i64::from(time.nanoseconds) } else { 0 });
        let their = |seconds, nanoseconds| (seconds, if exact { nanoseconds } else { 0 });
        if has_times {
            self.check(path, "mtime", whole(ours.modified), their(theirs.mtime(), theirs.mtime_nsec()));
        }
        if exact {
            self.check(path, "inode", ours.node, theirs.ino());
            let is_regular = ours.kind == FileType::Regular;
            let gave_back = self.against == Against::KernelAtWork && is_regular && theirs.blocks() < ours.blocks_512;
            if !is_made_up && !is_cut && !gave_back {
                self.check(path, "blocks", ours.blocks_512, theirs.blocks());
            }
            self.check(path, "atime", whole(ours.accessed), their(theirs.atime(), theirs.atime_nsec()));
            if has_times {
                self.check(path, "ctime", whole(ours.changed), their(theirs.ctime(), theirs.ctime_nsec()));
            }
            let birth = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME).expect("statx");
            let has = birth.stx_mask & StatxFlags::BTIME.bits() != 0;
            let birth = has.then(|| (birth.stx_btime.tv_sec, i64::from(birth.stx_btime.tv_nsec)));
            self.check(path, "birth", ours.created.map(whole), birth);
        }
    }

    fn xattrs(&mut self, path: &Path, node: NodeId) {
        let Some(theirs) = self.readable(path, xattrs_of(path)) else {
            return;
        };
        let ours = self.tree.list_xattrs(node);
        let Some(mut ours) = self.ok(path, "xattrs", ours) else {
            return;
        };
        ours.sort();
        self.check(path, "xattr names", ours, theirs.keys().cloned().collect());
        for (name, value) in theirs {
            self.report.xattrs += 1;
            let found = self.tree.xattr(node, &name);
            let Some(value) = self.readable(path, value) else {
                continue;
            };
            let found = self.ok(path, "xattr", found);
            self.check(path, &String::from_utf8_lossy(&name), found, Some(Some(value)));
        }
    }

    fn content(&mut self, path: &Path, node: NodeId, size: u64) {
        if !self.read.insert(node) {
            return;
        }
        let Some(file) = self.readable(path, File::open(path)) else {
            return;
        };
        // Before anything is read: what the kernel has in its page cache it no longer calls a hole.
        let theirs = data_ranges(size, |at| {
            let data = rustix::fs::seek(&file, SeekFrom::Data(at)).ok()?;
            // Linux answers ENOENT where inline data is shorter than its file, as mke2fs writes it for a lone hole.
            Some((data, rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap_or(size)))
        });
        let ours = data_ranges(size, |at| {
            let data = self.tree.seek(node, at, Seek::Data).expect("seek for data")?;
            Some((data, self.tree.seek(node, data, Seek::Hole).expect("seek for a hole")?))
        });
        if self.against != Against::Source {
            self.check(path, "data", &ours, &theirs);
        }
        // What is a hole to both is not worth reading: a file of 5 GiB would take long.
        let extra = if ours == theirs { Vec::new() } else { theirs };
        for (start, end) in ours.into_iter().chain(extra) {
            if !self.same_bytes(path, node, &file, start, end) {
                return;
            }
        }
        let past = self.tree.read(node, size, &mut [0; 10]);
        let past = self.ok(path, "read at the end", past);
        self.check(path, "bytes behind the end", past, Some(0));
    }

    fn same_bytes(&mut self, path: &Path, node: NodeId, file: &File, start: u64, end: u64) -> bool {
        let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        let mut at = start;
        while at < end {
            // A little further than the range, so that reads also cross from one range to the next.
            let length = usize::try_from(end - at + 5000).unwrap_or(usize::MAX).min(ours.len());
            let Some(expected) = self.readable(path, file.read_at(&mut theirs[..length], at)) else {
                return false;
            };
            let read = self.tree.read(node, at, &mut ours[..length]);
            let Some(read) = self.ok(path, "read", read) else {
                return false;
            };
            self.check(path, "bytes read", read, expected);
            if ours.get(..read) != theirs.get(..expected) {
                self.report.differences.push(format!("{}: content differs at {at}", path.display()));
                return false;
            }
            self.report.bytes += read as u64;
            at += (read as u64).max(1);
        }
        true
    }
}

fn data_ranges(size: u64, next: impl Fn(u64) -> Option<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size
        && let Some((data, hole)) = next(at)
    {
        ranges.push((data, hole));
        at = hole;
    }
    ranges
}

type Xattrs = BTreeMap<Vec<u8>, std::io::Result<Vec<u8>>>;

fn xattrs_of(path: &Path) -> std::io::Result<Xattrs> {
    let mut names = vec![0; 65_536];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    names.truncate(length);
    let mut all = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let read = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]);
        all.insert(name.to_vec(), read.map(|length| value[..length].to_vec()).map_err(Into::into));
    }
    Ok(all)
}

fn kind_of(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_file() => FileType::Regular,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_block_device() => FileType::BlockDevice,
        kind if kind.is_char_device() => FileType::CharDevice,
        kind if kind.is_fifo() => FileType::Fifo,
        _ => FileType::Socket,
    }
}
