//! The one directory that a bench writes to.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::error::{Error, Result};
use crate::format::{header, key_slot, segment};

/// A file system needs some room beside the bytes of files, and a bench for its small ones.
const SLACK_BYTES: u64 = 96 << 20;

/// A directory that vanishes with its handle.
pub(super) struct Place {
    path: PathBuf,
    parent: PathBuf,
}

/// The error of a file operation.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::File { operation, path, source }
}

impl Place {
    /// Makes it, readable by its owner only: a copy of the user's disk will lie there.
    pub fn make(parent: &Path) -> Result<Self> {
        let real = parent.canonicalize().map_err(failed("use the directory", parent))?;
        if !real.is_dir() {
            return Err(failed("use the directory", parent)(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        if let Some(vault) = real.ancestors().find(|path| is_vault(path)) {
            let use_ = format!("it belongs to the vault {}", vault.display());
            return Err(Error::TargetInUse { path: parent.to_path_buf(), use_ });
        }
        let name = crate::seal::random_name()?;
        let path = real.join(format!("icecore-bench-{}", &name[..12]));
        DirBuilder::new().mode(0o700).create(&path).map_err(failed("write to the directory", parent))?;
        Ok(Self { path, parent: real })
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that may still be written.
    pub fn free_bytes(&self) -> Result<u64> {
        let space = statvfs(&self.path).map_err(|error| failed("look at", &self.path)(error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Fails where there is no room for so much, and some slack.
    pub fn needs_room(&self, bytes: u64) -> Result<()> {
        let needed = bytes.saturating_add(SLACK_BYTES);
        let available = self.free_bytes()?;
        if available >= needed {
            return Ok(());
        }
        Err(Error::NoRoom { path: self.parent.clone(), available, needed })
    }

    /// Removes it with all it holds, and tells where that failed.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever failed already has an error to tell; who did not has called `remove`.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Whether a directory holds a vault, or one that lost its header.
fn is_vault(path: &Path) -> bool {
    path.join(segment::FOLDER).is_dir() && (path.join(key_slot::FOLDER).is_dir() || path.join(header::OBJECT).is_file())
}
