//! Media that are only read, whatever is asked of them.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Lock, LockKind, Media, Object, ObjectWriter, ReadMode};
use crate::error::{Error, Result};

/// Other media, without what changes them: for a copy that must stay as it is, and for who only looks what could be done.
/// It gives no locks, so that nobody takes its holder for a writer.
pub(crate) struct ReadOnlyMedia(pub Arc<dyn Media>);

fn refused(operation: &'static str, name: &str) -> Error {
    Error::Vault { operation, path: PathBuf::from(name), source: io::ErrorKind::ReadOnlyFilesystem.into() }
}

impl Media for ReadOnlyMedia {
    fn location(&self) -> &Path {
        self.0.location()
    }

    fn read_mode(&self) -> ReadMode {
        self.0.read_mode()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.free_bytes()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn ObjectWriter>> {
        Err(refused("create", name))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Object>> {
        self.0.open(name)
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.0.exists(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.0.list(folder)
    }

    fn list_folders(&self, folder: &str) -> Result<Vec<String>> {
        self.0.list_folders(folder)
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        Err(refused("sync", folder))
    }

    fn remove(&self, name: &str) -> Result<()> {
        Err(refused("remove", name))
    }

    fn lock(&self, _: &str, _: LockKind, _: bool) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn lock_parts(&self, _: &str, _: RangeInclusive<u64>, _: LockKind) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn not_laid_out(&self, folders: &[&str], locks: &[&str]) -> Result<Vec<String>> {
        self.0.not_laid_out(folders, locks)
    }

    fn lay_out(&self, _: &[&str], _: &[&str]) -> Result<()> {
        Err(refused("create folders in", ""))
    }

    fn clear_abandoned(&self) -> Result<usize> {
        Ok(0)
    }
}
