//! A point in the tree: what has been opened of it so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;

use super::block::{PointDisk, unwrapped};
use super::logical::{self, Logical, LogicalVolumes};
use crate::error::{Error, Result};
use crate::guest::partition::{PartitionTable, TableProblem, Volume, find_volumes};
use crate::guest::{self, BlockRead, FileSystem, Probe, Slice, probe};
use crate::point::hold::{self, Hold};
use crate::point::{Catalog, DiskMap, Manifest, ManifestDisk, PointInfo};
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

/// A volume of a disk of a point.
pub(super) enum PointVolume {
    /// As the disk's table tells.
    Partition(Volume),
    /// One that lies on partitions, and begins on this disk.
    Logical(Arc<Logical>),
}

impl PointVolume {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Partition(volume) => volume.name(),
            Self::Logical(logical) => logical.name.clone(),
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Partition(volume) => volume.size_bytes,
            Self::Logical(logical) => logical.volume.size_bytes(),
        }
    }

    /// Why the table itself rules it out, where it does.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Partition(volume) => volume.problem.as_ref().map(ToString::to_string),
            Self::Logical(_) => None,
        }
    }
}

struct OpenDisk {
    map: Arc<DiskMap>,
    table: Mutex<Option<Arc<PartitionTable>>>,
}

/// What is needed to open anything: the reader, and the volumes that are open.
pub(super) struct Opener {
    pub reader: Arc<Reader>,
    catalog: Arc<Catalog>,
    /// The points that were read last: nobody purges them. By id.
    held: Cache<String, Arc<Hold>>,
    /// By point, disk and volume. Bounded, because an open file system has caches and perhaps a replayed journal; one
    /// that was dropped is opened again.
    volumes: Cache<(String, usize, usize), Arc<Shown>>,
    /// By point. Bounded, because hostile metadata may be large.
    logical: Cache<String, Arc<LogicalVolumes>>,
}

/// Most volumes that are open at a time.
pub(super) const MOST_VOLUMES: usize = 32;

/// Most points that are held at a time. Each is an open file.
const MOST_HELD: usize = 64;

/// Most points of which the logical volumes are known at a time.
const MOST_POINTS: usize = 8;

impl Opener {
    pub(super) fn new(reader: Arc<Reader>, catalog: Arc<Catalog>) -> Self {
        let (held, volumes, logical) = (Cache::new(MOST_HELD), Cache::new(MOST_VOLUMES), Cache::new(MOST_POINTS));
        Self { reader, catalog, held, volumes, logical }
    }

    /// Keeps a point from being purged while it is among those that were read last.
    fn hold(&self, point: &PointInfo) -> Result<()> {
        if self.held.get(&point.id).is_some() {
            return Ok(());
        }
        self.held.get_or_insert_with(&point.id, || {
            hold::hold(self.reader.store().media().as_ref(), &self.catalog, point).map(Arc::new)
        })?;
        Ok(())
    }
}

/// What is shown of a volume.
pub(super) struct Shown {
    pub content: Content,
    /// A logical volume's bytes, where it has any.
    pub device: Option<Arc<dyn BlockRead>>,
    /// What must be said of those bytes, if anything.
    pub caution: Option<String>,
}

impl Shown {
    /// Whether its bytes can be read, whatever is on it.
    pub(super) fn has_bytes(&self, volume: &PointVolume) -> bool {
        matches!(volume, PointVolume::Partition(_)) || self.device.is_some()
    }
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
        opener.hold(&self.info)?;
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

    /// The partition table of a disk.
    pub(super) fn table(&self, opener: &Opener, disk: usize) -> Result<Arc<PartitionTable>> {
        let disk = self.open_disk(opener, disk)?;
        let table = once(&disk.table, || find_volumes(&PointDisk(Arc::clone(&disk.map))).map_err(unwrapped))?;
        if table.problems.iter().any(TableProblem::may_pass) {
            *lock(&disk.table) = None;
        }
        Ok(table)
    }

    /// The volumes of a disk with their numbers: those of its table, then the logical ones that begin on it.
    pub(super) fn volumes(&self, opener: &Opener, disk: usize) -> Result<Vec<(usize, PointVolume)>> {
        let table = self.table(opener, disk)?;
        let partitions = table.volumes.iter().cloned().map(PointVolume::Partition).enumerate();
        let logical = self.logical(opener)?;
        let here = logical.volumes.iter().filter(|logical| logical.volume.home() == disk);
        Ok(partitions.chain(here.map(|logical| (logical.number, PointVolume::Logical(Arc::clone(logical))))).collect())
    }

    pub(super) fn volume(&self, opener: &Opener, disk: usize, number: usize) -> Result<PointVolume> {
        // Who asks for a partition need not know what lies on the others.
        if let Some(volume) = self.table(opener, disk)?.volumes.get(number) {
            return Ok(PointVolume::Partition(volume.clone()));
        }
        let logical = self.logical(opener)?;
        let found = logical.volumes.iter().find(|logical| logical.number == number && logical.volume.home() == disk);
        found.map(|logical| PointVolume::Logical(Arc::clone(logical))).ok_or_else(super::gone)
    }

    /// The logical volumes of all disks. Looked for again after a while where something could not be read.
    pub(super) fn logical(&self, opener: &Opener) -> Result<Arc<LogicalVolumes>> {
        let open = self.open(opener)?;
        if opener.logical.get(&self.info.id).is_some_and(|known| known.is_outdated()) {
            opener.logical.remove(&self.info.id);
        }
        opener.logical.get_or_insert_with(&self.info.id, || {
            let tables = open.disks.iter().zip(&open.manifest.disks).enumerate();
            Ok(Arc::new(logical::find(tables.map(|(number, (disk, described))| {
                (described.name.as_str(), PointDisk(Arc::clone(&disk.map)), self.table(opener, number))
            }))))
        })
    }

    /// The bytes of a partition; `None` where it reaches past the end of its disk.
    fn partition(&self, opener: &Opener, disk: usize, volume: &Volume) -> Result<Option<Arc<dyn BlockRead>>> {
        let map = PointDisk(self.disk(opener, disk)?);
        let slice = Slice::new(Arc::new(map), volume.start, volume.size_bytes);
        Ok(slice.map(|slice| Arc::new(slice) as Arc<dyn BlockRead>))
    }

    /// The bytes of a volume that was opened, where it has any.
    pub(super) fn bytes(
        &self,
        opener: &Opener,
        disk: usize,
        volume: &PointVolume,
        shown: &Shown,
    ) -> Result<Option<Arc<dyn BlockRead>>> {
        match volume {
            PointVolume::Partition(volume) => self.partition(opener, disk, volume),
            PointVolume::Logical(_) => Ok(shown.device.clone()),
        }
    }

    /// What a volume shows. A failure of the vault below is an error; one of the guest's own is what is shown.
    pub(super) fn shown(&self, opener: &Opener, disk: usize, number: usize) -> Result<Arc<Shown>> {
        opener.hold(&self.info)?;
        let key = (self.info.id.clone(), disk, number);
        let shown = opener.volumes.get_or_insert_with(&key, || {
            let shown = match self.volume(opener, disk, number)? {
                PointVolume::Partition(volume) => {
                    let content = match self.partition(opener, disk, &volume)? {
                        Some(slice) => open_device(slice)?,
                        None => Content::Failed("it reaches past the end of the disk".to_owned()),
                    };
                    Shown { content, device: None, caution: None }
                }
                PointVolume::Logical(logical) => match logical.volume.open().map_err(unwrapped) {
                    Ok(opened) => Shown {
                        content: match open_device(Arc::clone(&opened.device)) {
                            // Its other bytes can be read, and making it may have been long work.
                            Err(error @ (Error::Damaged(_) | Error::Missing { .. })) => {
                                Content::Failed(error.to_string())
                            }
                            content => content?,
                        },
                        device: Some(opened.device),
                        caution: opened.caution.map(|caution| caution.to_string()),
                    },
                    Err(Error::Guest(error)) => {
                        Shown { content: Content::Failed(error.to_string()), device: None, caution: None }
                    }
                    Err(error) => return Err(error),
                },
            };
            Ok(Arc::new(shown))
        })?;
        // What could not be read may come back, and make more of the volume than this.
        let is_less = shown.caution.is_some() || matches!(shown.content, Content::Failed(_));
        if is_less && self.logical(opener)?.has_unread() {
            opener.volumes.remove(&key);
        }
        Ok(shown)
    }
}

fn open_device(device: Arc<dyn BlockRead>) -> Result<Content> {
    match probe(device).map_err(unwrapped) {
        Ok(Probe::FileSystem(file_system)) => Ok(Content::Files(file_system)),
        Ok(Probe::Other(content)) => Ok(Content::Other(content)),
        Err(Error::Guest(error)) => Ok(Content::Failed(error.to_string())),
        Err(error) => Err(error),
    }
}
