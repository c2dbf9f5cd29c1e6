//! A file system below a vault that counts its calls and fails those that it is told to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use icecore::media::files::{File, Files, Listed, SystemFiles};
use icecore::media::{DirectoryMedia, LockKind, Media, ReadMode};
use icecore::vault::{FOLDERS, InitOptions, LOCKS, OpenOptions};
use icecore::{Result, Vault};

/// What goes wrong, from which call on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of the first call that fails, from 1; 0 for none.
    pub nth: u64,
    /// Whether all later calls fail too.
    pub for_ever: bool,
    /// What the failing call says.
    pub errno: i32,
    /// Which calls count.
    pub counts: fn(Call) -> bool,
}

/// The calls of [`Files`] and [`File`] that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create,
    Open,
    Rename,
    Remove,
    MakeDirectory,
    List,
    SyncDirectory,
    Lock,
    Length,
    Write,
    Read,
    Sync,
    Mark,
}

impl Plan {
    pub const NONE: Self = Self { nth: 0, for_ever: false, errno: libc::EIO, counts: |_| true };
}

struct Shared {
    plan: Mutex<Plan>,
    calls: AtomicU64,
    failed: AtomicU64,
    log: Mutex<Vec<(Call, PathBuf)>>,
}

/// The operating system's files, failing as planned.
#[derive(Clone)]
pub struct FaultyFiles(Arc<Shared>);

impl FaultyFiles {
    pub fn new(plan: Plan) -> Self {
        Self(Arc::new(Shared {
            plan: Mutex::new(plan),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            log: Mutex::default(),
        }))
    }

    /// Begins to count anew, for another plan.
    pub fn plan(&self, plan: Plan) {
        *self.0.plan.lock().expect("plan") = plan;
        self.0.calls.store(0, Ordering::SeqCst);
        self.0.failed.store(0, Ordering::SeqCst);
        self.0.log.lock().expect("log").clear();
    }

    /// Calls counted so far.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Calls that failed so far.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::SeqCst)
    }

    /// What was called, in order.
    pub fn log(&self) -> Vec<(Call, PathBuf)> {
        self.0.log.lock().expect("log").clone()
    }

    pub fn media(&self, root: &Path) -> DirectoryMedia {
        DirectoryMedia::over(Arc::new(self.clone()), root, ReadMode::Pread)
    }

    pub fn init(&self, root: &Path, options: &InitOptions) -> Result<Vault> {
        let media = self.media(root);
        media.initialize(&FOLDERS, &LOCKS)?;
        Vault::init_on(Arc::new(media), &super::password(), options)
    }

    pub fn open(&self, root: &Path) -> Result<Vault> {
        let media: Arc<dyn Media> = Arc::new(self.media(root));
        Vault::open_on(media, &super::password(), &OpenOptions::default())
    }

    fn call(&self, call: Call, path: &Path) -> io::Result<()> {
        let plan = *self.0.plan.lock().expect("plan");
        self.0.log.lock().expect("log").push((call, path.to_path_buf()));
        if !(plan.counts)(call) {
            return Ok(());
        }
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if plan.nth != 0 && (number == plan.nth || (plan.for_ever && number > plan.nth)) {
            self.0.failed.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(plan.errno));
        }
        Ok(())
    }

    fn wrap(&self, file: Arc<dyn File>, path: &Path) -> Arc<dyn File> {
        Arc::new(FaultyFile { files: self.clone(), file, path: path.to_path_buf() })
    }
}

impl Files for FaultyFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.call(Call::Create, path)?;
        Ok(self.wrap(SystemFiles.create_new(path)?, path))
    }

    fn open(&self, path: &Path, mapped: bool) -> io::Result<Arc<dyn File>> {
        self.call(Call::Open, path)?;
        Ok(self.wrap(SystemFiles.open(path, mapped)?, path))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, to)?;
        SystemFiles.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, path)?;
        SystemFiles.remove(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.call(Call::MakeDirectory, path)?;
        SystemFiles.make_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.call(Call::List, path)?;
        SystemFiles.list(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(Call::SyncDirectory, path)?;
        SystemFiles.sync_directory(path)
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.call(Call::Lock, path)?;
        SystemFiles.lock(path, kind, wait)
    }
}

struct FaultyFile {
    files: FaultyFiles,
    file: Arc<dyn File>,
    path: PathBuf,
}

impl File for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.files.call(Call::Length, &self.path)?;
        self.file.length()
    }

    /// A write that fails has written its first half: that is what a full disk leaves.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.files.call(Call::Write, &self.path) {
            self.file.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.files.call(Call::Read, &self.path)?;
        self.file.read_at(offset, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        self.files.call(Call::Sync, &self.path)?;
        // Tests need no power-safe disk: what matters is who asked, and when.
        Ok(())
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        self.file.start_writeback(offset, length);
    }

    fn drop_cached(&self) {
        self.file.drop_cached();
    }

    fn mark_in_use(&self) -> io::Result<bool> {
        self.files.call(Call::Mark, &self.path)?;
        self.file.mark_in_use()
    }
}
