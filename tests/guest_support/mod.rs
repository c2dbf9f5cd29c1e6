//! What the tests of guests' disks share: disks over bytes and files, images, mounts, and the comparison of trees.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod compare;
pub mod ext;
pub mod image;
pub mod lvm;
pub mod physical;
pub mod source;
pub mod uml;
pub mod xfs;
pub mod xfs_load;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use icecore::guest::{BlockRead, FileSystem, MediumError, Probe, probe};

/// A disk in memory.
pub struct MemoryDisk(pub Vec<u8>);

impl BlockRead for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let bytes = self.0.get(start..end).ok_or_else(|| MediumError("past the end".into()))?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A disk in memory with a few changes: many such disks share the bytes that they are made from.
pub struct PatchedDisk {
    pub bytes: Arc<Vec<u8>>,
    /// Where a change begins, and the bytes there.
    pub patches: Vec<(usize, Vec<u8>)>,
}

impl PatchedDisk {
    /// The bytes of a range as they are with the changes so far.
    pub fn get(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_exact_at(at as u64, &mut bytes).expect("a range of the disk");
        bytes
    }
}

impl BlockRead for PatchedDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        buffer.copy_from_slice(self.bytes.get(start..end).ok_or_else(|| MediumError("past the end".into()))?);
        for (at, patch) in &self.patches {
            let (from, to) = (start.max(*at), end.min(at + patch.len()));
            if from < to {
                buffer[from - start..to - start].copy_from_slice(&patch[from - at..to - at]);
            }
        }
        Ok(())
    }
}

/// A disk in memory, a range of which can't be read.
pub struct FailingDisk {
    pub bytes: Vec<u8>,
    pub bad: std::ops::Range<u64>,
}

impl BlockRead for FailingDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        if offset < self.bad.end && offset + buffer.len() as u64 > self.bad.start {
            return Err(MediumError("a bad sector".into()));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(bytes.ok_or_else(|| MediumError("past the end".into()))?);
        Ok(())
    }
}

/// A disk in a file.
pub struct FileDisk {
    file: File,
    size_bytes: u64,
}

impl FileDisk {
    pub fn open(path: &Path) -> Arc<dyn BlockRead> {
        let file = File::open(path).expect("the image can be opened");
        let size_bytes = file.metadata().expect("the image has a size").len();
        Arc::new(Self { file, size_bytes })
    }
}

impl BlockRead for FileDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| MediumError(Box::new(error)))
    }
}

/// Opens the file system on a volume that must have one.
pub fn open(volume: Arc<dyn BlockRead>) -> FileSystem {
    match probe(volume).expect("the volume can be probed") {
        Probe::FileSystem(file_system) => file_system,
        Probe::Other(content) => panic!("a file system was expected, not {content:?}"),
    }
}

/// Says that a test, or a part of one, could not run. The harness collects these lines, one a test.
pub fn not_run(test: &str, why: &str) {
    eprintln!("NOT RUN: {test}: {why}");
}

/// What parts of a test could not run, said in one line when the test ends.
pub struct NotRun {
    test: &'static str,
    parts: Vec<String>,
}

impl NotRun {
    pub fn new(test: &'static str) -> Self {
        Self { test, parts: Vec::new() }
    }

    pub fn add(&mut self, part: &str, why: &str) {
        self.parts.push(format!("{part}: {why}"));
    }
}

impl Drop for NotRun {
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            not_run(self.test, &self.parts.join("; "));
        }
    }
}
