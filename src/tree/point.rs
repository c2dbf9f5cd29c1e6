//! A point in the tree: what has been opened of it so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;

use super::block::{PointDisk, unwrapped};
use crate::error::{Error, Result};
use crate::guest::partition::{PartitionTable, TableProblem, Volume, find_volumes};
use crate::guest::{self, FileSystem, Probe, Slice, probe};
use crate::point::{DiskMap, Manifest, ManifestDisk, PointInfo};
use crate::store::Reader;

/// A point, opened as far as somebody looked into it. Errors are not kept: a medium that failed may come back.
pub(super) struct PointNode {
    pub info: Arc<PointInfo>,
    open: Mutex<Option<Arc<OpenPoint>>>,
    pub json: Mutex<Option<Arc<Vec<u8>>>>,
}

struct OpenPoint {
    manifest: Manifest,
    disks: Vec<Arc<OpenDisk>>,
}

struct OpenDisk {
    map: Arc<DiskMap>,
    table: Mutex<Option<Arc<PartitionTable>>>,
}

/// What is needed to open anything: the reader, and the volumes that are open.
pub(super) struct Opener {
    pub reader: Arc<Reader>,
    /// By point, disk and volume. Bounded, because an open file system has caches and perhaps a replayed journal; one
    /// that was dropped is opened again.
    volumes: Cache<(String, usize, usize), Arc<Shown>>,
}

/// Most volumes that are open at a time.
pub(super) const MOST_VOLUMES: usize = 32;

impl Opener {
    pub(super) fn new(reader: Arc<Reader>) -> Self {
        Self { reader, volumes: Cache::new(MOST_VOLUMES) }
    }
}

/// What is shown of a volume.
pub(super) struct Shown {
    pub content: Content,
}

pub(super) enum Content {
    /// A file system that can be read.
    Files(FileSystem),
    /// Something that can be named only.
    Other(guest::Content),
    /// A file system that can't be opened, and why.
    Failed(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in the slot, or what `make` makes for it. Others wait: opening something twice would cost more.
fn once<T>(slot: &Mutex<Option<Arc<T>>>, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
    let mut slot = lock(slot);
    if let Some(made) = slot.as_ref() {
        return Ok(Arc::clone(made));
    }
    let made = Arc::new(make()?);
    *slot = Some(Arc::clone(&made));
    Ok(made)
}

impl PointNode {
    pub(super) fn new(info: Arc<PointInfo>) -> Self {
        Self { info, open: Mutex::default(), json: Mutex::default() }
    }

    fn open(&self, opener: &Opener) -> Result<Arc<OpenPoint>> {
        once(&self.open, || {
            let manifest = crate::vault::read_manifest(opener.reader.store(), &self.info)?;
            let open = |disk| {
                let map = Arc::new(DiskMap::open(Arc::clone(&opener.reader), disk)?);
                Ok(Arc::new(OpenDisk { map, table: Mutex::default() }))
            };
            let disks = manifest.disks.iter().map(open).collect::<Result<_>>()?;
            Ok(OpenPoint { manifest, disks })
        })
    }

    pub(super) fn manifest(&self, opener: &Opener) -> Result<Manifest> {
        Ok(self.open(opener)?.manifest.clone())
    }

    pub(super) fn manifest_disk(&self, opener: &Opener, number: usize) -> Result<ManifestDisk> {
        self.open(opener)?.manifest.disks.get(number).cloned().ok_or_else(super::gone)
    }

    fn open_disk(&self, opener: &Opener, number: usize) -> Result<Arc<OpenDisk>> {
        self.open(opener)?.disks.get(number).cloned().ok_or_else(super::gone)
    }

    pub(super) fn disk(&self, opener: &Opener, number: usize) -> Result<Arc<DiskMap>> {
        Ok(Arc::clone(&self.open_disk(opener, number)?.map))
    }

    /// The volumes of a disk, as its table tells.
    pub(super) fn volumes(&self, opener: &Opener, disk: usize) -> Result<Arc<PartitionTable>> {
        let disk = self.open_disk(opener, disk)?;
        let table = once(&disk.table, || find_volumes(&PointDisk(Arc::clone(&disk.map))).map_err(unwrapped))?;
        if table.problems.iter().any(TableProblem::may_pass) {
            *lock(&disk.table) = None;
        }
        Ok(table)
    }

    pub(super) fn volume(&self, opener: &Opener, disk: usize, volume: usize) -> Result<Volume> {
        self.volumes(opener, disk)?.volumes.get(volume).cloned().ok_or_else(super::gone)
    }

    /// What a volume shows. A failure of the vault below is an error; one of the guest's own is what is shown.
    pub(super) fn shown(&self, opener: &Opener, disk: usize, number: usize) -> Result<Arc<Shown>> {
        opener.volumes.get_or_insert_with(&(self.info.id.clone(), disk, number), || {
            let volume = self.volume(opener, disk, number)?;
            let content = open_volume(&self.disk(opener, disk)?, &volume)?;
            Ok(Arc::new(Shown { content }))
        })
    }
}

fn open_volume(map: &Arc<DiskMap>, volume: &Volume) -> Result<Content> {
    let slice = Slice::new(Arc::new(PointDisk(Arc::clone(map))), volume.start, volume.size_bytes);
    match slice.map(|slice| probe(Arc::new(slice))) {
        Some(Ok(Probe::FileSystem(file_system))) => Ok(Content::Files(file_system)),
        Some(Ok(Probe::Other(content))) => Ok(Content::Other(content)),
        Some(Err(error)) => match unwrapped(error) {
            Error::Guest(error) => Ok(Content::Failed(error.to_string())),
            error => Err(error),
        },
        None => Ok(Content::Failed("it reaches past the end of the disk".to_owned())),
    }
}
