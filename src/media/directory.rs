//! A vault in a directory of a file system.
//!
//! Objects are written under a random name in `tmp/`, synced, and renamed to their place. While one is being written
//! its file is locked, so that whoever cleans `tmp/` can tell the living from the dead without a clock or a process id.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::files::{self, File, Files, Listed, SystemFiles};
use super::{Lock, LockKind, Media, Object, ObjectWriter, ReadMode};
use crate::error::{Error, Problem, Result};
use crate::format::{catalog_entry, header, segment};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Folder of unpublished objects.
const TEMPORARY: &str = "tmp";

/// Folder of lock files.
const LOCKS: &str = "locks";

/// A vault's objects in a directory.
pub struct DirectoryMedia {
    root: PathBuf,
    files: Arc<dyn Files>,
    mode: ReadMode,
}

impl DirectoryMedia {
    /// The objects under `root` in the operating system's file system.
    pub fn new(root: &Path, mode: ReadMode) -> Self {
        Self::over(Arc::new(SystemFiles), root, mode)
    }

    /// The objects under `root` of any implementation of the file system calls.
    pub fn over(files: Arc<dyn Files>, root: &Path, mode: ReadMode) -> Self {
        Self { root: root.to_path_buf(), files, mode }
    }

    /// Makes the directories of a new vault. The root may exist if it is empty.
    pub fn initialize(&self, folders: &[&str], locks: &[&str]) -> Result<()> {
        match self.files.list(&self.root) {
            // What a failed `init` or a fresh file system leaves behind is no content.
            Ok(found) if found.iter().any(|entry| entry.name == header::OBJECT) => {
                return Err(Error::VaultExists { path: self.root.clone() });
            }
            Ok(found) => {
                let ours = |name: &str| folders.contains(&name) || [TEMPORARY, LOCKS, "lost+found"].contains(&name);
                let fits = |entry: &Listed| (entry.is_directory && ours(&entry.name)) || entry.name == header::COPY;
                if !found.iter().all(fits) {
                    return Err(Error::NotEmpty { path: self.root.clone() });
                }
                // Segments or points without a header are a vault that lost it: never to be built over.
                for folder in [segment::FOLDER, catalog_entry::FOLDER] {
                    if !self.list(folder)?.is_empty() || !self.list_folders(folder)?.is_empty() {
                        return Err(Error::damaged(header::OBJECT, 0, Problem::Absent));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_directory(&self.root)?,
            Err(error) => return Err(self.failed("list", &self.root, error)),
        }
        self.lay_out(folders, locks)?;
        // The root's own name, where the parent lets itself be opened.
        if let Some(parent) = self.root.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            self.files.sync_directory(parent).map_err(|error| self.failed("sync", parent, error))?;
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        match self.files.make_directory(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.failed("create", path, error)),
        }
    }

    fn failed(&self, operation: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.strip_prefix(&self.root).map_or_else(|_| path.to_path_buf(), Path::to_path_buf);
        Error::Vault { operation, path, source }
    }

    fn listed(&self, folder: &str, directories: bool) -> Result<Vec<String>> {
        let path = self.root.join(folder);
        match self.files.list(&path) {
            Ok(found) => Ok(found
                .into_iter()
                .filter(|entry| entry.is_directory == directories)
                .map(|entry| entry.name)
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", &path, error)),
        }
    }
}

impl Media for DirectoryMedia {
    fn location(&self) -> &Path {
        &self.root
    }

    fn read_mode(&self) -> ReadMode {
        self.mode
    }

    fn free_bytes(&self) -> Option<u64> {
        self.files.free_bytes(&self.root)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn ObjectWriter>> {
        loop {
            let temporary = self.root.join(TEMPORARY).join(crate::seal::random_name()?);
            let file = self.files.create_new(&temporary).map_err(|error| self.failed("create", &temporary, error))?;
            if file.mark_in_use().map_err(|error| self.failed("lock", &temporary, error))? {
                return Ok(Arc::new(Writer {
                    files: Arc::clone(&self.files),
                    root: self.root.clone(),
                    file,
                    temporary,
                    name: name.to_owned(),
                    failed: AtomicBool::new(false),
                    published: AtomicBool::new(false),
                }));
            }
        }
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Object>> {
        let path = self.root.join(name);
        let file = self.files.open(&path, self.mode == ReadMode::Map).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Error::damaged(name, 0, Problem::Absent)
            } else {
                self.failed("open", &path, error)
            }
        })?;
        let length = file.length().map_err(|error| self.failed("stat", &path, error))?;
        Ok(Arc::new(Published { file, name: name.to_owned(), length }))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        let path = self.root.join(name);
        match self.files.open(&path, false) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            // Then nothing was looked for.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                Err(self.failed("open", &path, error))
            }
            // What can't be opened is there; who reads it learns why.
            Err(_) => Ok(true),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.listed(folder, false)
    }

    fn list_folders(&self, folder: &str) -> Result<Vec<String>> {
        self.listed(folder, true)
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        self.files.sync_directory(&path).map_err(|error| self.failed("sync", &path, error))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        match self.files.remove(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("remove", &path, error)),
        }
    }

    fn lock(&self, name: &str, kind: LockKind, wait: bool) -> Result<Option<Lock>> {
        let path = self.root.join(LOCKS).join(name);
        let held = self.files.lock(&path, kind, wait).map_err(|error| self.failed("lock", &path, error))?;
        Ok(held.map(|held| Lock { _held: held }))
    }

    fn lock_parts(&self, name: &str, parts: RangeInclusive<u64>, kind: LockKind) -> Result<Option<Lock>> {
        let path = self.root.join(LOCKS).join(name);
        let held = self.files.lock_parts(&path, parts, kind).map_err(|error| self.failed("lock", &path, error))?;
        Ok(held.map(|held| Lock { _held: held }))
    }

    fn not_laid_out(&self, folders: &[&str], locks: &[&str]) -> Result<Vec<String>> {
        let there = self.list_folders("")?;
        let folders =
            folders.iter().chain(&[TEMPORARY, LOCKS]).filter(|folder| !there.iter().any(|name| name == *folder));
        let mut absent: Vec<String> = folders.map(|folder| (*folder).to_owned()).collect();
        for lock in locks.iter().map(|lock| format!("{LOCKS}/{lock}")) {
            if !self.exists(&lock)? {
                absent.push(lock);
            }
        }
        Ok(absent)
    }

    fn lay_out(&self, folders: &[&str], locks: &[&str]) -> Result<()> {
        for folder in folders.iter().chain(&[TEMPORARY, LOCKS]) {
            self.make_directory(&self.root.join(folder))?;
        }
        for lock in locks {
            let path = self.root.join(LOCKS).join(lock);
            match self.files.create_new(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failed("create", &path, error)),
            }
        }
        for folder in [LOCKS, ""] {
            let path = self.root.join(folder);
            self.files.sync_directory(&path).map_err(|error| self.failed("sync", &path, error))?;
        }
        Ok(())
    }

    fn clear_abandoned(&self) -> Result<usize> {
        let mut removed = 0;
        for name in self.list(TEMPORARY)? {
            let path = self.root.join(TEMPORARY).join(&name);
            // Holding the lock means that no writer lives; it stays held until the name is gone.
            match self.files.lock(&path, LockKind::Exclusive, false) {
                Ok(Some(_held)) => match self.files.remove(&path) {
                    Ok(()) => removed += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(self.failed("remove", &path, error)),
                },
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed("lock", &path, error)),
            }
        }
        Ok(removed)
    }
}

struct Writer {
    files: Arc<dyn Files>,
    root: PathBuf,
    file: Arc<dyn File>,
    temporary: PathBuf,
    name: String,
    failed: AtomicBool,
    published: AtomicBool,
}

impl Writer {
    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        self.failed.store(true, Ordering::Release);
        Error::Vault { operation, path: PathBuf::from(&self.name), source }
    }

    /// Makes the content durable and the folder ready; returns the path that the object is to get.
    fn ready(&self) -> Result<PathBuf> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::Poisoned);
        }
        // Content before name: a name that survives power loss must not lead to bytes that did not.
        self.file.sync().map_err(|error| self.failed("sync", error))?;
        let target = self.root.join(&self.name);
        self.make_folder(&target).map_err(|error| self.failed("create the folder of", error))?;
        Ok(target)
    }

    /// Makes the folder that holds the target where it is new: a catalog chain's first entry brings its own folder.
    fn make_folder(&self, target: &Path) -> io::Result<()> {
        let Some(folder) = target.parent() else {
            return Ok(());
        };
        match self.files.make_directory(folder) {
            Ok(()) => match folder.parent() {
                Some(parent) => self.files.sync_directory(parent),
                None => Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl ObjectWriter for Writer {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        files::write_all(self.file.as_ref(), offset, bytes).map_err(|error| self.failed("write", error))
    }

    fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = files::read_up_to(|offset, buffer| self.file.read_at(offset, buffer), offset, buffer);
        match read.map_err(|error| self.failed("read", error))? {
            count if count == buffer.len() => Ok(()),
            _ => Err(self.failed("read", io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        self.file.start_writeback(offset, length);
    }

    fn drop_cached(&self) {
        self.file.drop_cached();
    }

    fn publish(&self) -> Result<bool> {
        let target = self.ready()?;
        match self.files.rename_new(&self.temporary, &target) {
            Ok(()) => {
                self.published.store(true, Ordering::Release);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed("publish", error)),
        }
    }

    fn replace(&self) -> Result<()> {
        let target = self.ready()?;
        // One step: who looks meanwhile, and who comes after a power cut, finds the old file or the new one. Until then
        // the old one stays, damaged as it is.
        self.files.rename_over(&self.temporary, &target).map_err(|error| self.failed("replace", error))?;
        self.published.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.published.load(Ordering::Acquire) {
            // A name that stays behind is found by `clear_abandoned` later.
            let _ = self.files.remove(&self.temporary);
        }
    }
}

struct Published {
    file: Arc<dyn File>,
    name: String,
    length: u64,
}

impl Object for Published {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = files::read_up_to(|offset, buffer| self.file.read_at(offset, buffer), offset, buffer);
        self.filled(offset, buffer.len(), read)
    }

    fn read_past_map(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = files::read_up_to(|offset, buffer| self.file.read_past_map(offset, buffer), offset, buffer);
        self.filled(offset, buffer.len(), read)
    }
}

impl Published {
    /// What became of a read that wanted so many bytes.
    fn filled(&self, offset: u64, wanted: usize, read: io::Result<usize>) -> Result<()> {
        let count =
            read.map_err(|source| Error::Vault { operation: "read", path: PathBuf::from(&self.name), source })?;
        if count == wanted {
            return Ok(());
        }
        let expected = offset.saturating_add(wanted as u64);
        // Its length as it is now: who cut it short did so after it was opened.
        let found = self.file.length().unwrap_or(self.length);
        Err(Error::damaged(&self.name, offset, Problem::Length { expected, found }))
    }
}
