//! How fast the server is when the tree does nothing: serves one huge file of zeros and measures reading it.
//!
//!     cargo run --release -p icecore-fuse --example zeros -- <empty directory> [threads]
//!
//! Prints sequential rates through the page cache and with direct I/O, and random 4 KiB direct reads with one and
//! four readers. The page cache cannot hold the file, and each measurement reads a part of its own.

use std::convert::Infallible;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use icecore_fuse::{
    Attributes, DirectoryEntry, FileType, MountOptions, NodeId, ReadOnlyTree, Seek, Space, Timestamp, mount,
};

const FILE_BYTES: u64 = 1 << 44;
const MIB: usize = 1 << 20;
const MEASURED: Duration = Duration::from_secs(2);

/// A root directory with one file.
struct Zeros;

impl ReadOnlyTree for Zeros {
    type Error = Infallible;

    fn errno(error: &Infallible) -> i32 {
        match *error {}
    }

    fn root(&self) -> NodeId {
        1
    }

    fn is_immutable(&self, _node: NodeId) -> bool {
        true
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Infallible> {
        let directory = node == 1;
        Ok(Attributes {
            node,
            kind: if directory { FileType::Directory } else { FileType::Regular },
            size_bytes: if directory { 0 } else { FILE_BYTES },
            blocks_512: 0,
            mode: if directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            links: 1,
            device: (0, 0),
            accessed: Timestamp::default(),
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            created: None,
        })
    }

    fn lookup(&self, _parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Infallible> {
        Ok((name == b"zeros").then_some(2))
    }

    fn parent(&self, _directory: NodeId) -> Result<NodeId, Infallible> {
        Ok(1)
    }

    fn read_directory(
        &self,
        _directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), Infallible> {
        if position == 0 {
            visit(DirectoryEntry { name: b"zeros", node: 2, kind: FileType::Regular, next: 1 });
        }
        Ok(())
    }

    fn read_link(&self, _node: NodeId) -> Result<Vec<u8>, Infallible> {
        Ok(Vec::new())
    }

    /// The server's buffer holds zeros already: this is the least that a read can cost.
    fn read(&self, _node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(buffer.len().min(usize::try_from(FILE_BYTES.saturating_sub(offset)).unwrap_or(usize::MAX)))
    }

    fn seek(&self, _node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>, Infallible> {
        Ok((what == Seek::Hole && offset < FILE_BYTES).then_some(offset))
    }

    fn list_xattrs(&self, _node: NodeId) -> Result<Vec<Vec<u8>>, Infallible> {
        Ok(Vec::new())
    }

    fn xattr(&self, _node: NodeId, _name: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }

    fn space(&self) -> Result<Space, Infallible> {
        Ok(Space::default())
    }
}

/// A buffer that direct I/O takes: its useful part begins at a page.
struct PageBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl PageBuffer {
    fn new(size: usize) -> Self {
        let bytes = vec![0; size + 4096];
        let start = bytes.as_ptr().align_offset(4096);
        Self { bytes, start }
    }

    fn slice(&mut self, size: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + size]
    }
}

fn open(path: &Path, direct: bool) -> File {
    let flags = if direct { rustix::fs::OFlags::DIRECT.bits() } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags as i32).open(path).expect("the file opens")
}

/// GB/s of reading 1 MiB after the other from `offset` on.
fn sequential(path: &Path, direct: bool, offset: u64) -> f64 {
    let file = open(path, direct);
    let mut buffer = PageBuffer::new(MIB);
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < MEASURED {
        file.read_exact_at(buffer.slice(MIB), offset + done).expect("zeros are readable");
        done += MIB as u64;
    }
    done as f64 / started.elapsed().as_secs_f64() / 1e9
}

/// Thousands per second of random 4 KiB reads by so many readers at once.
fn random(path: &Path, direct: bool, readers: u64) -> f64 {
    let reader = |seed: u64| {
        let path = path.to_owned();
        thread::spawn(move || {
            let file = open(&path, direct);
            let mut buffer = PageBuffer::new(4096);
            let (started, mut done, mut state) = (Instant::now(), 0_u64, seed);
            while started.elapsed() < MEASURED {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let offset = (state >> 21) % (FILE_BYTES / 4096) * 4096;
                file.read_exact_at(buffer.slice(4096), offset).expect("zeros are readable");
                done += 1;
            }
            done as f64 / started.elapsed().as_secs_f64() / 1e3
        })
    };
    let all: Vec<_> = (1..=readers).map(reader).collect();
    all.into_iter().map(|reader| reader.join().expect("a reader ends")).sum()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mount_point = PathBuf::from(arguments.next().ok_or("usage: zeros <empty directory> [threads]")?);
    let mut options = MountOptions::default();
    if let Some(threads) = arguments.next() {
        options.threads = threads.parse::<NonZeroUsize>()?;
    }
    let mounted = mount(Arc::new(Zeros), &mount_point, &options, |failure| eprintln!("{failure}"))?;
    let path = mounted.mount_point().join("zeros");

    println!("{} threads", options.threads);
    println!("sequential, page cache: {:5.1} GB/s", sequential(&path, false, 0));
    println!("sequential, direct:     {:5.1} GB/s", sequential(&path, true, 0));
    for readers in [1, 4] {
        println!("random 4 KiB, direct, {readers} readers: {:5.0} k/s", random(&path, true, readers));
    }
    for readers in [1, 4] {
        println!("random 4 KiB, page cache, {readers} readers: {:5.0} k/s", random(&path, false, readers));
    }
    mounted.unmount()?;
    Ok(())
}
