//! What sections that drive the library itself have in common: vaults that open at once, and time.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use icecore::Vault;
use icecore::seal::Credential;
use icecore::store::CacheSizes;
use icecore::vault::{InitOptions, OpenOptions};
use icecore_fuse::{NodeId, ReadOnlyTree};
use rustix::fs::Advice;

/// A key file opens all vaults made here: what Argon2 costs is none of what they measure.
pub fn credential() -> Result<Credential> {
    Ok(Credential::key_file(*b"thirty-two bytes for every bench")?)
}

/// A new vault.
pub fn init(path: &Path, chunk_bytes: u32, level: i8, segment_bytes: u32) -> Result<Vault> {
    let options = InitOptions { chunk_bytes, level, segment_bytes, ..InitOptions::default() };
    Ok(Vault::init(path, &credential()?, &options)?)
}

/// An existing one, with nothing cached.
pub fn open(path: &Path) -> Result<Vault> {
    open_with(path, CacheSizes::default())
}

/// The same with caches of a chosen size.
pub fn open_with(path: &Path, cache: CacheSizes) -> Result<Vault> {
    Ok(Vault::open(path, &credential()?, &OpenOptions { cache, ..OpenOptions::default() })?)
}

/// The node at a path of the tree.
pub fn node(tree: &impl ReadOnlyTree, path: &[&str]) -> Result<NodeId> {
    path.iter().try_fold(tree.root(), |node, name| {
        tree.lookup(node, name.as_bytes())?.with_context(|| format!("{name} is not in the tree"))
    })
}

/// Bytes of all files in and below a directory.
pub fn bytes_below(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Makes the kernel drop the content of all files in and below a directory from memory. What it knows of their names
/// stays.
pub fn forget_below(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_below(&path)?;
            continue;
        }
        let file = fs::File::open(path)?;
        // Only what is written out can be dropped.
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// What a call returns, and the seconds that it took.
pub fn timed<R>(call: impl FnOnce() -> R) -> (R, f64) {
    let began = Instant::now();
    let result = call();
    (result, began.elapsed().as_secs_f64())
}
