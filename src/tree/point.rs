//! A point in the tree: what has been opened of it so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{PointDisk, unwrapped};
use crate::error::{Error, Result};
use crate::guest::partition::{PartitionTable, Volume, find_volumes};
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
    shown: Mutex<Vec<Option<Arc<Shown>>>>,
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

    fn open(&self, reader: &Arc<Reader>) -> Result<Arc<OpenPoint>> {
        once(&self.open, || {
            let manifest = crate::vault::read_manifest(reader.store(), &self.info)?;
            let open = |disk| {
                let map = Arc::new(DiskMap::open(Arc::clone(reader), disk)?);
                Ok(Arc::new(OpenDisk { map, table: Mutex::default(), shown: Mutex::default() }))
            };
            let disks = manifest.disks.iter().map(open).collect::<Result<_>>()?;
            Ok(OpenPoint { manifest, disks })
        })
    }

    pub(super) fn manifest(&self, reader: &Arc<Reader>) -> Result<Manifest> {
        Ok(self.open(reader)?.manifest.clone())
    }

    pub(super) fn manifest_disk(&self, reader: &Arc<Reader>, number: usize) -> Result<ManifestDisk> {
        self.open(reader)?.manifest.disks.get(number).cloned().ok_or_else(super::gone)
    }

    fn open_disk(&self, reader: &Arc<Reader>, number: usize) -> Result<Arc<OpenDisk>> {
        self.open(reader)?.disks.get(number).cloned().ok_or_else(super::gone)
    }

    pub(super) fn disk(&self, reader: &Arc<Reader>, number: usize) -> Result<Arc<DiskMap>> {
        Ok(Arc::clone(&self.open_disk(reader, number)?.map))
    }

    /// The volumes of a disk, as its table tells.
    pub(super) fn volumes(&self, reader: &Arc<Reader>, disk: usize) -> Result<Arc<PartitionTable>> {
        let disk = self.open_disk(reader, disk)?;
        once(&disk.table, || find_volumes(&PointDisk(Arc::clone(&disk.map))).map_err(unwrapped))
    }

    pub(super) fn volume(&self, reader: &Arc<Reader>, disk: usize, volume: usize) -> Result<Volume> {
        self.volumes(reader, disk)?.volumes.get(volume).cloned().ok_or_else(super::gone)
    }

    /// What a volume shows. A failure of the vault below is an error; one of the guest's own is what is shown.
    pub(super) fn shown(&self, reader: &Arc<Reader>, disk: usize, number: usize) -> Result<Arc<Shown>> {
        let open = self.open_disk(reader, disk)?;
        if let Some(Some(shown)) = lock(&open.shown).get(number) {
            return Ok(Arc::clone(shown));
        }
        let volume = self.volume(reader, disk, number)?;
        let slice = Slice::new(Arc::new(PointDisk(Arc::clone(&open.map))), volume.start, volume.size_bytes);
        let content = match slice.map(|slice| probe(Arc::new(slice))) {
            Some(Ok(Probe::FileSystem(file_system))) => Content::Files(file_system),
            Some(Ok(Probe::Other(content))) => Content::Other(content),
            Some(Err(error)) => match unwrapped(error) {
                Error::Guest(error) => Content::Failed(error.to_string()),
                error => return Err(error),
            },
            None => Content::Failed("it reaches past the end of the disk".to_owned()),
        };
        let shown = Arc::new(Shown { content });
        let mut slots = lock(&open.shown);
        if slots.len() <= number {
            slots.resize_with(number + 1, || None);
        }
        // Whoever came first stays, so that all use one set of caches.
        Ok(Arc::clone(slots[number].get_or_insert(shown)))
    }
}
