//! A file system below a vault that counts its calls, and fails or cuts short those that it is told to.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use icecore::media::files::{File, FileLock, Files, Listed, SystemFiles};
use icecore::media::{DirectoryMedia, LockKind, Media, ReadMode};
use icecore::vault::{FOLDERS, InitOptions, LOCKS, OpenOptions};
use icecore::{Result, Vault};

/// What goes wrong, from which call on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of the first call that goes wrong, from 1; 0 for none.
    pub nth: u64,
    /// Whether all later calls go wrong too. Of those that are interrupted, every other: who tries again comes through.
    pub for_ever: bool,
    /// How it goes wrong.
    pub fault: Fault,
    /// Which calls count.
    pub counts: fn(Call) -> bool,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this value of `errno`. A write that fails has written its first half: that is what a full disk
    /// leaves.
    Fails(i32),
    /// It reads or writes half of what it was asked to, one byte at least; other calls do as they should.
    Short,
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
    pub const NONE: Self = Self { nth: 0, for_ever: false, fault: Fault::Fails(libc::EIO), counts: |_| true };

    fn hits(&self, number: u64) -> bool {
        let again = if self.fault == Fault::Fails(libc::EINTR) { 2 } else { 1 };
        let later = || self.for_ever && number > self.nth && (number - self.nth).is_multiple_of(again);
        self.nth != 0 && (number == self.nth || later())
    }
}

struct Shared {
    files: Arc<dyn Files>,
    plan: Mutex<Plan>,
    calls: AtomicU64,
    log: Mutex<Vec<(Call, PathBuf)>>,
    /// Those of the log that went wrong.
    wrong: Mutex<Vec<usize>>,
}

/// Files that go wrong as planned.
#[derive(Clone)]
pub struct FaultyFiles(Arc<Shared>);

impl FaultyFiles {
    /// Over the operating system's files.
    pub fn new(plan: Plan) -> Self {
        Self::over(Arc::new(SystemFiles), plan)
    }

    pub fn over(files: Arc<dyn Files>, plan: Plan) -> Self {
        Self(Arc::new(Shared {
            files,
            plan: Mutex::new(plan),
            calls: AtomicU64::new(0),
            log: Mutex::default(),
            wrong: Mutex::default(),
        }))
    }

    /// Begins to count anew, for another plan.
    pub fn plan(&self, plan: Plan) {
        *self.0.plan.lock().expect("plan") = plan;
        self.0.calls.store(0, Ordering::SeqCst);
        self.0.log.lock().expect("log").clear();
        self.0.wrong.lock().expect("wrong").clear();
    }

    /// Calls counted so far.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Calls that went wrong so far.
    pub fn failed(&self) -> usize {
        self.0.wrong.lock().expect("wrong").len()
    }

    /// What was called, in order.
    pub fn log(&self) -> Vec<(Call, PathBuf)> {
        self.0.log.lock().expect("log").clone()
    }

    /// Which of the calls in the log went wrong.
    pub fn wrong(&self) -> Vec<usize> {
        self.0.wrong.lock().expect("wrong").clone()
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
        self.sized_call(call, path, 0).map(|_| ())
    }

    /// The same for a call that reads or writes so many bytes; tells how many it is to be.
    fn sized_call(&self, call: Call, path: &Path, length: usize) -> io::Result<usize> {
        let plan = *self.0.plan.lock().expect("plan");
        let mut log = self.0.log.lock().expect("log");
        log.push((call, path.to_path_buf()));
        if !(plan.counts)(call) || !plan.hits(self.0.calls.fetch_add(1, Ordering::SeqCst) + 1) {
            return Ok(length);
        }
        self.0.wrong.lock().expect("wrong").push(log.len() - 1);
        match plan.fault {
            Fault::Fails(errno) => Err(io::Error::from_raw_os_error(errno)),
            Fault::Short => Ok((length / 2).max(1).min(length)),
        }
    }

    fn wrap(&self, file: Arc<dyn File>, path: &Path) -> Arc<dyn File> {
        Arc::new(FaultyFile { files: self.clone(), file, path: path.to_path_buf() })
    }
}

impl Files for FaultyFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.call(Call::Create, path)?;
        Ok(self.wrap(self.0.files.create_new(path)?, path))
    }

    fn open(&self, path: &Path, mapped: bool) -> io::Result<Arc<dyn File>> {
        self.call(Call::Open, path)?;
        Ok(self.wrap(self.0.files.open(path, mapped)?, path))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, to)?;
        self.0.files.rename_new(from, to)
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, to)?;
        self.0.files.rename_over(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, path)?;
        self.0.files.remove(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.call(Call::MakeDirectory, path)?;
        self.0.files.make_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.call(Call::List, path)?;
        self.0.files.list(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(Call::SyncDirectory, path)?;
        self.0.files.sync_directory(path)
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<FileLock>> {
        self.call(Call::Lock, path)?;
        self.0.files.lock(path, kind, wait)
    }

    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> io::Result<Option<FileLock>> {
        self.call(Call::Lock, path)?;
        self.0.files.lock_parts(path, parts, kind)
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

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        match self.files.sized_call(Call::Write, &self.path, bytes.len()) {
            Ok(length) => self.file.write_at(offset, &bytes[..length]),
            Err(error) => {
                self.file.write_at(offset, &bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.files.sized_call(Call::Read, &self.path, buffer.len())?;
        self.file.read_at(offset, &mut buffer[..length])
    }

    fn sync(&self) -> io::Result<()> {
        self.files.call(Call::Sync, &self.path)?;
        self.file.sync()
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
