//! A point in the tree: what has been opened of it so far.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;

use super::block::{PointDisk, unwrapped};
use crate::error::{Error, Result};
use crate::guest::lvm::{self, LogicalVolume, PhysicalVolume};
use crate::guest::partition::{PartitionTable, Volume, find_volumes};
use crate::guest::{self, BlockRead, FileSystem, Probe, Slice, probe};
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
    logical: Mutex<Option<Arc<Vec<Logical>>>>,
}

/// A logical volume, with the disk that it is shown below and the name that it has there.
#[derive(Clone)]
pub(super) struct Logical {
    pub disk: usize,
    pub name: String,
    pub volume: LogicalVolume,
}

/// A volume of a disk of a point.
pub(super) enum PointVolume {
    /// As the disk's table tells.
    Partition(Volume),
    /// One that lies on partitions, and begins on this disk.
    Logical(Logical),
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
            Self::Logical(logical) => logical.volume.size_bytes,
        }
    }

    /// Why it can't be used, where it can't.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Partition(volume) => volume.problem.as_ref().map(ToString::to_string),
            Self::Logical(logical) => logical.volume.device.as_ref().err().map(ToString::to_string),
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
    /// By point, disk and volume. Bounded, because an open file system has caches and perhaps a replayed journal; one
    /// that was dropped is opened again.
    volumes: Cache<(String, usize, usize), Arc<Shown>>,
}

/// Most volumes that are open at a time.
const MOST_VOLUMES: usize = 32;

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
    /// A part of a group of logical volumes.
    Physical(Arc<PhysicalVolume>),
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
            Ok(OpenPoint { manifest, disks, logical: Mutex::default() })
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
        once(&disk.table, || find_volumes(&PointDisk(Arc::clone(&disk.map))).map_err(unwrapped))
    }

    /// The volumes of a disk: those of its table, then the logical ones that begin on it.
    pub(super) fn volumes(&self, opener: &Opener, disk: usize) -> Result<Vec<PointVolume>> {
        let table = self.table(opener, disk)?;
        let logical = self.logical(opener)?;
        let here = logical.iter().filter(|logical| logical.disk == disk);
        Ok(table
            .volumes
            .iter()
            .map(|volume| PointVolume::Partition(volume.clone()))
            .chain(here.map(|logical| PointVolume::Logical(logical.clone())))
            .collect())
    }

    pub(super) fn volume(&self, opener: &Opener, disk: usize, number: usize) -> Result<PointVolume> {
        // Partitions come first: who asks for one need not know what lies on the others.
        if let Some(volume) = self.table(opener, disk)?.volumes.get(number) {
            return Ok(PointVolume::Partition(volume.clone()));
        }
        self.volumes(opener, disk)?.into_iter().nth(number).ok_or_else(super::gone)
    }

    /// The logical volumes of all disks.
    fn logical(&self, opener: &Opener) -> Result<Arc<Vec<Logical>>> {
        let open = self.open(opener)?;
        if let Some(known) = lock(&open.logical).as_ref() {
            return Ok(Arc::clone(known));
        }
        let (mut physical, mut places, mut keep) = (Vec::new(), Vec::new(), true);
        for disk in 0..open.disks.len() {
            match self.physical_volumes(opener, disk) {
                Ok(found) => {
                    places.extend(found.iter().map(|_| disk));
                    physical.extend(found);
                }
                // What lies on the other disks is shown all the same; this is asked for again the next time.
                Err(_) => keep = false,
            }
        }
        let mut names = HashSet::new();
        let mut logical = Vec::new();
        for volume in lvm::assemble(&physical) {
            let disk = places.get(volume.home).copied().unwrap_or_default();
            let mut name = format!("{}-{}", volume.group, volume.name);
            // Hyphens in names, groups of one name, and the files that stand beside volumes can make names meet.
            let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem).to_owned();
            if names.contains(&name) || names.contains(&stem) {
                name = format!("{name}-{}", volume.id);
            }
            names.insert(name.clone());
            logical.push(Logical { disk, name, volume });
        }
        let logical = Arc::new(logical);
        if keep {
            *lock(&open.logical) = Some(Arc::clone(&logical));
        }
        Ok(logical)
    }

    /// The LVM2 physical volumes on a disk.
    fn physical_volumes(&self, opener: &Opener, disk: usize) -> Result<Vec<Arc<PhysicalVolume>>> {
        let mut found = Vec::new();
        for (number, volume) in self.table(opener, disk)?.volumes.iter().enumerate() {
            if volume.problem.is_none()
                && let Content::Physical(physical) = &self.shown(opener, disk, number)?.content
            {
                found.push(Arc::clone(physical));
            }
        }
        Ok(found)
    }

    /// What a volume shows. A failure of the vault below is an error; one of the guest's own is what is shown.
    pub(super) fn shown(&self, opener: &Opener, disk: usize, number: usize) -> Result<Arc<Shown>> {
        opener.volumes.get_or_insert_with(&(self.info.id.clone(), disk, number), || {
            let content = match self.volume(opener, disk, number)? {
                PointVolume::Partition(volume) => open_partition(&self.disk(opener, disk)?, &volume)?,
                PointVolume::Logical(logical) => match logical.volume.device {
                    Ok(device) => open_device(device)?,
                    Err(problem) => Content::Failed(problem.to_string()),
                },
            };
            Ok(Arc::new(Shown { content }))
        })
    }
}

fn open_partition(map: &Arc<DiskMap>, volume: &Volume) -> Result<Content> {
    match Slice::new(Arc::new(PointDisk(Arc::clone(map))), volume.start, volume.size_bytes) {
        Some(slice) => open_device(Arc::new(slice)),
        None => Ok(Content::Failed("it reaches past the end of the disk".to_owned())),
    }
}

fn open_device(device: Arc<dyn BlockRead>) -> Result<Content> {
    let open = || {
        Ok(match probe(Arc::clone(&device))? {
            Probe::FileSystem(file_system) => Content::Files(file_system),
            Probe::Other(guest::Content::Lvm2PhysicalVolume) => {
                Content::Physical(Arc::new(PhysicalVolume::read(Arc::clone(&device))?))
            }
            Probe::Other(content) => Content::Other(content),
        })
    };
    match open().map_err(unwrapped) {
        Err(Error::Guest(error)) => Ok(Content::Failed(error.to_string())),
        opened => opened,
    }
}
