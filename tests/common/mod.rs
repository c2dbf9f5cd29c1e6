//! What several tests need: a cheap password, small vaults, disks with known content.

#![allow(missing_docs, dead_code, reason = "each test file uses its own part")]

use std::path::Path;

use icecore::Vault;
use icecore::backup::{BackupReport, BackupRequest, Progress};
use icecore::seal::{Credential, PasswordCost};
use icecore::source::RawSource;
use icecore::vault::{InitOptions, OpenOptions};

/// Argon2id at its cheapest: tests open vaults by the hundred.
pub const CHEAP: PasswordCost = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };

pub fn password() -> Credential {
    Credential::password(*b"correct horse")
}

/// Small chunks and segments, so that small disks make trees of several levels and several segments.
pub fn small() -> InitOptions {
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
