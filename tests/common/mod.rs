//! What several tests need: a cheap password, small vaults, disks with known content.

#![allow(missing_docs, dead_code, reason = "each test file uses its own part")]

pub mod damage;
pub mod faults;
pub mod guest;
pub mod ledger;
#[cfg(shuttle)]
pub mod model;
pub mod power;
pub mod repair;
pub mod sources;

use std::path::{Path, PathBuf};

use icecore::backup::{BackupReport, BackupRequest, Progress};
use icecore::media::ReadMode;
use icecore::point::PointInfo;
use icecore::restore::RestoreOptions;
use icecore::seal::{Credential, PasswordCost};
use icecore::source::RawSource;
use icecore::vault::{InitOptions, OpenOptions, VerifyProgress, VerifyReport};
use icecore::{Result, Vault};
use icecore_fuse::ReadOnlyTree;

use sources::Memory;

/// A cache for a few chunks.
pub const SMALL_CACHE: icecore::store::CacheSizes =
    icecore::store::CacheSizes { chunk_bytes: 1 << 20, node_bytes: 1 << 16 };

/// Argon2id at its cheapest: tests open vaults by the hundred.
pub const CHEAP: PasswordCost = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };

pub fn password() -> Credential {
    Credential::password(*b"correct horse")
}

/// Small chunks and segments, so that small disks make trees of several levels and several segments. Without parity: what
/// is damaged stays damaged.
pub fn small() -> InitOptions {
    InitOptions { parity_percent: 0, ..protected() }
}

/// The same with the parity that a vault has unless told otherwise.
pub fn protected() -> InitOptions {
    InitOptions { chunk_bytes: 4096, segment_bytes: 1 << 20, password_cost: CHEAP, ..InitOptions::default() }
}

pub fn init(path: &Path, options: &InitOptions) -> Vault {
    Vault::init(path, &password(), options).expect("init")
}

pub fn open(path: &Path) -> Vault {
    Vault::open(path, &password(), &OpenOptions::default()).expect("open")
}

/// Bytes that do not repeat and do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress, the same for the same seed.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 64);
    let mut line = 0_u64;
    while out.len() < length {
        out.extend_from_slice(format!("{seed} line {line}: all work and no play\n").as_bytes());
        line += 1;
    }
    out.truncate(length);
    out
}

pub fn request(machine: &str, disks: &[(&str, &Path)]) -> BackupRequest {
    disks.iter().fold(BackupRequest::new(machine), |request, (name, path)| {
        request.disk(*name, RawSource::open(path).expect("source"))
    })
}

pub fn backup(vault: &Vault, machine: &str, disks: &[(&str, &Path)]) -> BackupReport {
    vault.backup(&request(machine, disks), &Progress::default()).expect("backup")
}

/// Opens for reads through `mode`.
pub fn open_with(path: &Path, mode: ReadMode) -> Result<Vault> {
    Vault::open(path, &password(), &OpenOptions { read_mode: mode, ..OpenOptions::default() })
}

/// A backup of disks that lie in memory.
pub fn backup_bytes(vault: &Vault, machine: &str, disks: &[(&str, &[u8])]) -> Result<BackupReport> {
    vault.backup(&memory_request(machine, disks), &Progress::default())
}

pub fn memory_request(machine: &str, disks: &[(&str, &[u8])]) -> BackupRequest {
    disks.iter().fold(BackupRequest::new(machine), |request, (name, bytes)| {
        request.disk(*name, Memory { bytes: bytes.to_vec() })
    })
}

/// A whole disk of a point, through its map.
pub fn disk_bytes(vault: &Vault, point: &PointInfo, disk: &str) -> Result<Vec<u8>> {
    let map = vault.disk(point, disk)?;
    let mut bytes = vec![0xaa; usize::try_from(map.size_bytes()).expect("small")];
    let read = map.read(0, &mut bytes)?;
    assert_eq!(read, bytes.len(), "a read inside the disk is never short");
    Ok(bytes)
}

/// A whole disk of a point, restored to a file.
pub fn restored(vault: &Vault, point: &PointInfo, disk: &str) -> Result<Vec<u8>> {
    let folder = scratch();
    let target = folder.path().join("restored");
    let progress = icecore::restore::Progress::default();
    vault.restore(point, disk, &target, &RestoreOptions::default(), &progress)?;
    Ok(std::fs::read(target).expect("the restored file"))
}

/// A whole file of the tree, read in pieces of an odd size.
pub fn tree_bytes(vault: &Vault, path: &str) -> Result<Vec<u8>> {
    let tree = vault.tree();
    let node = tree.resolve(path, true)?;
    let mut bytes = Vec::new();
    let mut piece = vec![0; 50_021];
    loop {
        let read = tree.read(node, bytes.len() as u64, &mut piece)?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece[..read]);
    }
}

/// The names in a directory of the tree.
pub fn tree_names(vault: &Vault, path: &str) -> Result<Vec<String>> {
    let tree = vault.tree();
    let mut names = Vec::new();
    tree.read_directory(tree.resolve(path, true)?, 0, &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    })?;
    Ok(names)
}

pub fn verify(vault: &Vault) -> VerifyReport {
    vault.verify(&VerifyProgress::default()).expect("verify")
}

/// Equal, without printing megabytes where not.
#[track_caller]
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("{what}: first difference at byte {at}");
    }
}

/// The files below a folder of a vault, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The name of a file as the vault calls it.
pub fn object(vault: &Path, file: &Path) -> String {
    file.strip_prefix(vault).expect("in the vault").to_string_lossy().into_owned()
}

/// Damages the first record of each data segment that is not among those of before.
pub fn damage_new_data(vault: &Path, before: &[PathBuf]) {
    for file in files(&vault.join("segments")).into_iter().filter(|file| !before.contains(file)) {
        let mut bytes = std::fs::read(&file).expect("segment");
        if bytes[12] == 1 {
            bytes[192 + 96 + 40] ^= 1;
            std::fs::write(&file, bytes).expect("damage");
        }
    }
}

/// Bytes of all segments.
pub fn segment_bytes(vault: &Path) -> u64 {
    files(&vault.join("segments")).iter().map(|file| file.metadata().expect("stat").len()).sum()
}

pub fn copy_folder(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("folder");
        std::fs::copy(&file, &target).expect("copy");
    }
    for empty in ["tmp", "index", "catalog", "segments", "parity"] {
        std::fs::create_dir_all(to.join(empty)).expect("folder");
    }
}

/// A directory that vanishes with the test, in memory where there is room: what is tested is not the disk below.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("tempdir")
}

/// The one line that a test prints where the machine can't run it.
pub fn not_run(test: &str, why: &str) {
    eprintln!("NOT RUN: {test}: {why}");
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How long a test of the campaign goes on: as many seconds as `ICECORE_CAMPAIGN_SECONDS` says, 120 if it says nothing;
/// none where `ICECORE_CAMPAIGN` is not set, and the test is to be short.
pub fn campaign() -> Option<std::time::Duration> {
    std::env::var_os("ICECORE_CAMPAIGN")?;
    let seconds = std::env::var("ICECORE_CAMPAIGN_SECONDS").ok();
    let seconds = seconds.map_or(120, |seconds| seconds.parse().expect("ICECORE_CAMPAIGN_SECONDS is a number"));
    Some(std::time::Duration::from_secs(seconds))
}

/// Seeds that nobody had before, for as long as a test that began then goes on in a campaign; none without one.
pub fn campaign_seeds(began: std::time::Instant) -> impl Iterator<Item = u64> {
    let time = campaign().unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    (now.expect("now").as_secs()..).take_while(move |_| began.elapsed() < time)
}

/// Waits until something is so, and fails where it never comes to be.
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed().as_secs() < 30, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Random numbers, the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}
