//! What the benches work on: chunks, a disk, vaults whose password costs nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use icecore::Vault;
use icecore::backup::{BackupReport, BackupRequest, Progress};
use icecore::seal::{Credential, PasswordCost};
use icecore::source::RawSource;
use icecore::store::CacheSizes;
use icecore::vault::{InitOptions, OpenOptions};
use icecore_fixtures::{Content, Kind, PIECE_BYTES};
use tempfile::TempDir;

/// The chunk size that vaults have unless told otherwise, in bytes.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Number of different chunks that a bench goes around in: one alone would be learnt by heart.
const CHUNKS: usize = 64;

/// Length of each of the disk's extents, and of the hole behind it, in bytes.
pub const EXTENT_BYTES: u64 = 64 << 20;
const EXTENTS: u64 = 3;

/// Bytes of the disk that are no hole.
pub const USED_BYTES: u64 = EXTENT_BYTES * EXTENTS;

/// Different chunks, over and over again.
pub struct Chunks {
    chunks: Vec<Vec<u8>>,
    next: usize,
}

impl Chunks {
    /// Chunks of `bytes` each, as a user's files are.
    pub fn of(bytes: usize) -> Self {
        let size_bytes = (CHUNKS * bytes) as u64;
        let content = Content::generated(Kind::Mixed, 1, size_bytes);
        let pieces = size_bytes.div_ceil(PIECE_BYTES as u64);
        let all: Vec<u8> = (0..pieces).flat_map(|number| content.piece(number)).collect();
        Self { chunks: all.chunks_exact(bytes).map(<[u8]>::to_vec).collect(), next: 0 }
    }

    /// The next one.
    pub fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.chunks.len();
        &self.chunks[self.next]
    }
}

/// A directory with a disk in it, and room for vaults.
pub struct Place {
    directory: TempDir,
    /// The disk: extents of data, each followed by a hole.
    pub disk: PathBuf,
}

impl Place {
    /// Makes the disk.
    pub fn with_disk() -> Self {
        let directory = directory();
        let disk = directory.path().join("disk.raw");
        let file = File::create(&disk).expect("a disk");
        file.set_len(USED_BYTES * 2).expect("its size");
        for extent in 0..EXTENTS {
            let content = Content::generated(Kind::Mixed, extent, EXTENT_BYTES);
            for number in 0..EXTENT_BYTES / PIECE_BYTES as u64 {
                let offset = extent * EXTENT_BYTES * 2 + number * PIECE_BYTES as u64;
                file.write_all_at(&content.piece(number), offset).expect("its content");
            }
        }
        Self { directory, disk }
    }

    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A vault in this directory that holds the disk, opened with a chunk cache of `cache_bytes`.
    pub fn vault_with_disk(&self, cache_bytes: u64) -> Vault {
        let path = self.join("vault");
        back_up(&init(&path), &self.disk);
        let cache = CacheSizes { chunk_bytes: cache_bytes, ..CacheSizes::default() };
        Vault::open(&path, &password(), &OpenOptions { cache, ..OpenOptions::default() }).expect("opened")
    }
}

/// A directory that vanishes with its handle, where TMPDIR says.
pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A new vault.
pub fn init(path: &Path) -> Vault {
    let password_cost = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };
    let options = InitOptions { password_cost, ..InitOptions::default() };
    Vault::init(path, &password(), &options).expect("made")
}

fn password() -> Credential {
    Credential::password(*b"bench")
}

/// Backs the disk up, verified, as `os` of `web01`.
pub fn back_up(vault: &Vault, disk: &Path) -> BackupReport {
    let request = BackupRequest::new("web01").disk("os", RawSource::open(disk).expect("a source"));
    vault.backup(&request, &Progress::default()).expect("backed up")
}
