//! The one name space of everything in a vault.
//!
//! ```text
//! <machine>/<point>/disks/<disk>.raw             the disk, byte for byte
//! <machine>/<point>/files/<disk>/<volume>/...    the guest's own files
//! <machine>/<point>/files/<disk>/<volume>.raw    a volume without a file system that can be read
//! <machine>/<point>/files/<disk>/<volume>.STALE  why a volume may lack its newest changes
//! <machine>/<point>/files/<disk>/<volume>.ERROR  why a volume is not shown as files
//! <machine>/<point>/files/<disk>/table.ERROR     why volumes may be missing there
//! <machine>/<point>/point.json                   what it is
//! <machine>/latest -> <point>
//! ```
//!
//! A volume is a partition, `p1`, a whole disk without a table, `whole`, or a logical volume, `<group>-<name>`, below the
//! disk that it begins on.
//!
//! Invariants:
//! - a node's number follows from what it is, so it is the same in the next mount too, but for rare collisions;
//! - everything below a point stays as it is for ever; only the lists of machines and points grow;
//! - a volume that is damaged, or lies, hides neither the other volumes nor its own raw bytes.

mod block;
mod describe;
mod facts;
mod logical;
mod nodes;
mod point;
mod resolve;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use icecore_fuse::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space, Timestamp};

use crate::error::{Error, Result};
use crate::guest::FileSystem;
use crate::point::Catalog;
use crate::store::Reader;
use nodes::{Node, Nodes};
use point::{Content, Opener, PointNode, PointVolume, Shown};
pub use state::StaleVolume;

/// New points show up after this time at the latest.
const REFRESH: Duration = Duration::from_millis(250);

/// Everything in a vault as one read-only tree.
pub struct VaultTree {
    opener: Opener,
    catalog: Arc<Catalog>,
    nodes: Nodes,
    refreshed: Mutex<Option<Instant>>,
}

/// A node as it is asked for.
enum Found {
    /// One of the tree's own.
    Own(Arc<Node>),
    /// A file of a guest: its file system, the prefix of its numbers, its number there.
    Guest(Arc<Shown>, u64, u64),
}

impl VaultTree {
    pub(crate) fn new(reader: Arc<Reader>, catalog: Arc<Catalog>) -> Self {
        let opener = Opener::new(reader, Arc::clone(&catalog));
        Self { opener, catalog, nodes: Nodes::default(), refreshed: Mutex::default() }
    }

    fn find(&self, node: NodeId) -> Result<Found> {
        if let Some((prefix, inode)) = nodes::guest_parts(node) {
            let (point, disk, volume) = self.nodes.volume(prefix).ok_or_else(gone)?;
            return Ok(Found::Guest(point.shown(&self.opener, disk, volume)?, prefix, inode));
        }
        self.nodes.get(node).map(Found::Own).ok_or_else(gone)
    }

    /// Looks for new points, unless that was done a moment ago.
    fn refresh(&self) -> Result<()> {
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if refreshed.is_none_or(|at| at.elapsed() >= REFRESH) {
            self.catalog.refresh()?;
            *refreshed = Some(Instant::now());
        }
        Ok(())
    }

    /// The entries of one of the tree's own directories, in order.
    fn entries(&self, directory: &Node) -> Result<Vec<(Vec<u8>, NodeId)>> {
        let mut entries = Vec::new();
        let mut add = |name: String, node: Node| entries.push((name.into_bytes(), self.nodes.add(node)));
        match directory {
            Node::Root => {
                self.refresh()?;
                for machine in self.catalog.machines() {
                    add(machine.clone(), Node::Machine(machine));
                }
            }
            Node::Machine(machine) => {
                self.refresh()?;
                for info in self.catalog.points(machine)? {
                    add(info.name.clone(), Node::Point(self.nodes.point(&info)));
                }
                add("latest".to_owned(), Node::Latest(machine.clone()));
            }
            Node::Point(point) => {
                add("disks".to_owned(), Node::Disks(Arc::clone(point)));
                add("files".to_owned(), Node::Files(Arc::clone(point)));
                add("point.json".to_owned(), Node::PointJson(Arc::clone(point)));
            }
            Node::Disks(point) => {
                for (number, disk) in point.manifest(&self.opener)?.disks.iter().enumerate() {
                    add(format!("{}.raw", disk.name), Node::Disk(Arc::clone(point), number));
                }
            }
            Node::Files(point) => {
                for (number, disk) in point.manifest(&self.opener)?.disks.iter().enumerate() {
                    add(disk.name.clone(), Node::Volumes(Arc::clone(point), number));
                }
            }
            Node::Volumes(point, disk) => return self.volume_entries(point, *disk, None),
            Node::Latest(_) | Node::PointJson(_) | Node::Disk(..) | Node::RawVolume(..) | Node::Note(..) => {
                return Err(Error::WrongNode { path: directory.describe(), wanted: "a directory" });
            }
        }
        Ok(entries)
    }

    /// The point that has exactly this name.
    fn point_named(&self, machine: &str, name: &[u8]) -> Result<Option<NodeId>> {
        self.refresh()?;
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        match self.catalog.point(machine, name) {
            Ok(info) if info.name == name => Ok(Some(self.nodes.add(Node::Point(self.nodes.point(&info))))),
            Ok(_)
            | Err(
                Error::UnknownPoint { .. }
                | Error::Purged { .. }
                | Error::AmbiguousPoint { .. }
                | Error::Forgotten { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a disk's volumes show; where a name is wanted, only those that may have it: all others need not be opened.
    fn volume_entries(
        &self,
        point: &Arc<PointNode>,
        disk: usize,
        wanted: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, NodeId)>> {
        let mut entries = Vec::new();
        let note = describe::table_note(point.table(&self.opener, disk)?.as_ref());
        if let Some(note) = note {
            let file = format!("{}.{}", note.volume, note.suffix);
            entries.push((file.into_bytes(), self.nodes.add(Node::Note(Arc::clone(point), disk, note))));
        }
        for (number, volume) in point.volumes(&self.opener, disk)? {
            let (name, place) = (volume.name(), (Arc::clone(point), disk, number));
            if wanted.is_some_and(|wanted| !wanted.starts_with(name.as_bytes())) {
                continue;
            }
            let shown = match volume.problem() {
                Some(_) => None,
                None => match point.shown(&self.opener, disk, number) {
                    Ok(shown) => Some(shown),
                    // Damage where this volume begins must not hide its neighbours.
                    Err(error @ (Error::Damaged(_) | Error::Missing { .. })) => {
                        let raw = self.nodes.add(Node::RawVolume(Arc::clone(point), disk, number));
                        entries.push((format!("{name}.raw").into_bytes(), raw));
                        let note = describe::damaged(&volume, &error);
                        let file = format!("{name}.{}", note.suffix);
                        entries.push((file.into_bytes(), self.nodes.add(Node::Note(Arc::clone(point), disk, note))));
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            match shown.as_ref().map(|shown| &shown.content) {
                Some(Content::Files(file_system)) => {
                    let prefix = self.nodes.prefix(&place);
                    entries.push((name.clone().into_bytes(), nodes::guest_node(prefix, file_system.root())?));
                }
                Some(Content::Other(_) | Content::Failed(_))
                    if shown.as_ref().is_some_and(|shown| shown.has_bytes(&volume)) =>
                {
                    let node = Node::RawVolume(Arc::clone(point), disk, number);
                    entries.push((format!("{name}.raw").into_bytes(), self.nodes.add(node)));
                }
                _ => {}
            }
            let lost = || self.lost_note(point, disk, &volume);
            if let Some(note) = describe::note(&volume, shown.as_deref()).map_or_else(lost, |note| Ok(Some(note)))? {
                let file = format!("{name}.{}", note.suffix);
                entries.push((file.into_bytes(), self.nodes.add(Node::Note(Arc::clone(point), disk, note))));
            }
        }
        Ok(entries)
    }

    /// What must be said of a physical volume whose group can't be shown.
    fn lost_note(&self, point: &PointNode, disk: usize, volume: &PointVolume) -> Result<Option<describe::Note>> {
        let PointVolume::Partition(partition) = volume else { return Ok(None) };
        let name = point.manifest_disk(&self.opener, disk)?.name;
        let why = point.logical(&self.opener)?.why_lost(disk, &name, &partition.name());
        Ok(why.map(|text| describe::Note { volume: partition.name(), suffix: "ERROR", text }))
    }

    /// The whole content of a small file of the tree's own; `None` for disks and volumes.
    fn small_file(&self, node: &Node) -> Result<Option<Arc<Vec<u8>>>> {
        match node {
            Node::PointJson(point) => describe::point_json(&self.opener, point).map(Some),
            Node::Note(_, _, note) => Ok(Some(Arc::new(format!("{}\n", note.text).into_bytes()))),
            _ => Ok(None),
        }
    }

    fn own_attributes(&self, id: NodeId, node: &Node) -> Result<Attributes> {
        let (kind, mode, size_bytes, stored_bytes) = match node {
            Node::Root | Node::Machine(_) => (FileType::Directory, 0o555, 0, 0),
            Node::Point(_) | Node::Disks(_) | Node::Files(_) | Node::Volumes(..) => (FileType::Directory, 0o555, 0, 0),
            Node::Latest(machine) => {
                self.refresh()?;
                let length = self.catalog.point(machine, "latest")?.name.len() as u64;
                (FileType::Symlink, 0o777, length, 0)
            }
            Node::PointJson(_) | Node::Note(..) => {
                let length = self.small_file(node)?.map_or(0, |text| text.len() as u64);
                (FileType::Regular, 0o444, length, length)
            }
            Node::Disk(point, number) => {
                let disk = point.manifest_disk(&self.opener, *number)?;
                (FileType::Regular, 0o444, disk.size_bytes, disk.size_bytes.saturating_sub(disk.zero_bytes))
            }
            Node::RawVolume(point, disk, volume) => {
                let volume = point.volume(&self.opener, *disk, *volume)?;
                let size_bytes = volume.size_bytes();
                let stored = match volume {
                    PointVolume::Partition(volume) => {
                        let end = volume.start.saturating_add(size_bytes);
                        point.disk(&self.opener, *disk)?.data_bytes(volume.start, end)?
                    }
                    PointVolume::Logical(_) => size_bytes,
                };
                (FileType::Regular, 0o444, size_bytes, stored)
            }
        };
        let time = match node.point() {
            Some(point) => Timestamp { seconds: point.info.time.as_second(), nanoseconds: 0 },
            None => Timestamp { seconds: self.created(), nanoseconds: 0 },
        };
        let modified = match node {
            Node::Root | Node::Machine(_) => Timestamp { nanoseconds: self.revision()?, ..time },
            _ => time,
        };
        Ok(Attributes {
            node: id,
            kind,
            size_bytes,
            blocks_512: stored_bytes.div_ceil(512),
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            links: if kind == FileType::Directory { 2 } else { 1 },
            device: (0, 0),
            accessed: time,
            modified,
            changed: time,
            created: Some(time),
        })
    }

    /// A number of nanoseconds that moves when machines or points come or go: whoever keeps their lists looks at it.
    fn revision(&self) -> Result<u32> {
        self.refresh()?;
        Ok(u32::try_from(self.catalog.entries() % 1_000_000_000).unwrap_or(0))
    }

    fn created(&self) -> i64 {
        i64::try_from(self.opener.reader.store().header().created_unix_seconds).unwrap_or(0)
    }

    /// Runs a call on a guest's file system.
    fn guest<R>(
        shown: &Shown,
        call: impl FnOnce(&FileSystem) -> std::result::Result<R, crate::guest::Error>,
    ) -> Result<R> {
        match &shown.content {
            Content::Files(file_system) => call(file_system).map_err(block::unwrapped),
            Content::Other(_) | Content::Failed(_) => Err(gone()),
        }
    }
}

/// A node that is not, or no longer, there.
fn gone() -> Error {
    Error::NoSuchPath { path: "(a node that the tree does not have)".to_owned() }
}

impl ReadOnlyTree for VaultTree {
    type Error = Error;

    fn errno(error: &Error) -> i32 {
        error.errno()
    }

    fn root(&self) -> NodeId {
        self.nodes.add(Node::Root)
    }

    fn is_immutable(&self, node: NodeId) -> bool {
        match self.nodes.get(node) {
            Some(own) => !matches!(*own, Node::Root | Node::Machine(_) | Node::Latest(_)),
            None => nodes::guest_parts(node).is_some(),
        }
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes> {
        match self.find(node)? {
            Found::Own(own) => self.own_attributes(node, &own),
            Found::Guest(shown, _, inode) => {
                let mut attributes = Self::guest(&shown, |guest| guest.attributes(inode))?;
                attributes.node = node;
                Ok(attributes)
            }
        }
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        match self.find(parent)? {
            Found::Own(own) => match own.as_ref() {
                // A machine may have thousands of points: no need to go through them all.
                Node::Machine(machine) if name != b"latest" => self.point_named(machine, name),
                Node::Volumes(point, disk) => {
                    let entries = self.volume_entries(point, *disk, Some(name))?;
                    Ok(entries.into_iter().find(|(entry, _)| entry == name).map(|(_, node)| node))
                }
                own => Ok(self.entries(own)?.into_iter().find(|(entry, _)| entry == name).map(|(_, node)| node)),
            },
            Found::Guest(shown, prefix, inode) => {
                let found = Self::guest(&shown, |guest| guest.lookup(inode, name))?;
                found.map(|inode| nodes::guest_node(prefix, inode)).transpose()
            }
        }
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        match self.find(directory)? {
            Found::Own(own) => Ok(self.nodes.add(own.parent())),
            Found::Guest(shown, prefix, inode) => {
                let (root, parent) = Self::guest(&shown, |guest| Ok((guest.root(), guest.parent(inode)?)))?;
                if inode == root {
                    let (point, disk, _) = self.nodes.volume(prefix).ok_or_else(gone)?;
                    return Ok(self.nodes.add(Node::Volumes(point, disk)));
                }
                nodes::guest_node(prefix, parent)
            }
        }
    }

    fn read_directory(
        &self,
        directory: NodeId,
        position: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<()> {
        match self.find(directory)? {
            Found::Own(own) => {
                let entries = self.entries(&own)?;
                let from = usize::try_from(position).unwrap_or(usize::MAX);
                for (next, (name, node)) in (1..).zip(&entries).skip(from) {
                    if !visit(DirectoryEntry { name, node: *node, kind: self.kind(*node), next }) {
                        break;
                    }
                }
                Ok(())
            }
            Found::Guest(shown, prefix, inode) => {
                let mut wide = None;
                Self::guest(&shown, |guest| {
                    guest.read_directory(inode, position, &mut |entry| match nodes::guest_node(prefix, entry.node) {
                        Ok(node) => visit(DirectoryEntry { node, ..entry }),
                        Err(error) => {
                            wide = Some(error);
                            false
                        }
                    })
                })?;
                wide.map_or(Ok(()), Err)
            }
        }
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        match self.find(node)? {
            Found::Own(own) => match own.as_ref() {
                Node::Latest(machine) => {
                    self.refresh()?;
                    Ok(self.catalog.point(machine, "latest")?.name.clone().into_bytes())
                }
                other => Err(Error::WrongNode { path: other.describe(), wanted: "a symbolic link" }),
            },
            Found::Guest(shown, _, inode) => Self::guest(&shown, |guest| guest.read_link(inode)),
        }
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        match self.find(node)? {
            Found::Guest(shown, _, inode) => Self::guest(&shown, |guest| guest.read(inode, offset, buffer)),
            Found::Own(own) => match own.as_ref() {
                Node::Disk(point, disk) => point.disk(&self.opener, *disk)?.read(offset, buffer),
                Node::RawVolume(point, disk, number) => self.read_raw(point, *disk, *number, offset, buffer),
                other => {
                    let text = self.small_file(other)?;
                    let text = text.ok_or_else(|| Error::WrongNode { path: other.describe(), wanted: "a file" })?;
                    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                    let length = buffer.len().min(text.len() - start);
                    buffer[..length].copy_from_slice(&text[start..start + length]);
                    Ok(length)
                }
            },
        }
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<Option<u64>> {
        match self.find(node)? {
            Found::Guest(shown, _, inode) => Self::guest(&shown, |guest| guest.seek(inode, offset, what)),
            Found::Own(own) => match own.as_ref() {
                Node::Disk(point, disk) => point.disk(&self.opener, *disk)?.seek(offset, what == Seek::Data),
                Node::RawVolume(point, disk, volume) => {
                    let volume = point.volume(&self.opener, *disk, *volume)?;
                    let size_bytes = volume.size_bytes();
                    if offset >= size_bytes {
                        return Ok(None);
                    }
                    let PointVolume::Partition(volume) = volume else {
                        // Its holes are not looked for.
                        return Ok(Some(if what == Seek::Data { offset } else { size_bytes }));
                    };
                    let map = point.disk(&self.opener, *disk)?;
                    let found = map.seek(volume.start.saturating_add(offset), what == Seek::Data)?;
                    let found = found.map(|at| (at - volume.start).min(volume.size_bytes));
                    Ok(found.filter(|at| what == Seek::Hole || *at < volume.size_bytes))
                }
                _ => {
                    let size = self.own_attributes(node, &own)?.size_bytes;
                    Ok((offset < size).then_some(if what == Seek::Data { offset } else { size }))
                }
            },
        }
    }

    fn list_xattrs(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        match self.find(node)? {
            Found::Own(_) => Ok(Vec::new()),
            Found::Guest(shown, _, inode) => Self::guest(&shown, |guest| guest.list_xattrs(inode)),
        }
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.find(node)? {
            Found::Own(_) => Ok(None),
            Found::Guest(shown, _, inode) => Self::guest(&shown, |guest| guest.xattr(inode, name)),
        }
    }

    fn space(&self) -> Result<Space> {
        let segments = self.opener.reader.store().segments();
        let ids = segments.list()?;
        let mut total_bytes = 0;
        for id in &ids {
            total_bytes += segments.length(id).unwrap_or(0);
        }
        Ok(Space { total_bytes, free_bytes: 0, files: self.catalog.entries() })
    }
}

impl VaultTree {
    /// Reads a volume's bytes, whatever is on it.
    fn read_raw(
        &self,
        point: &Arc<PointNode>,
        disk: usize,
        number: usize,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let volume = point.volume(&self.opener, disk, number)?;
        let left = usize::try_from(volume.size_bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let buffer = &mut buffer[..length];
        match volume {
            PointVolume::Partition(volume) => {
                point.disk(&self.opener, disk)?.read(volume.start.saturating_add(offset), buffer)
            }
            PointVolume::Logical(logical) => {
                let shown = point.shown(&self.opener, disk, number).ok().and_then(|shown| shown.device.clone());
                let device = match shown {
                    Some(device) => device,
                    // Its first bytes may be damaged, which is no reason to refuse the others.
                    None => logical.volume.open().map_err(block::unwrapped)?.device,
                };
                device.read_exact_at(offset, buffer).map_err(|error| block::unwrapped(error.into()))?;
                Ok(length)
            }
        }
    }

    /// Kind of a node that the tree itself just handed out.
    fn kind(&self, node: NodeId) -> FileType {
        match self.nodes.get(node).as_deref() {
            Some(Node::Latest(_)) => FileType::Symlink,
            Some(Node::PointJson(_) | Node::Disk(..) | Node::RawVolume(..) | Node::Note(..)) => FileType::Regular,
            // The root of a guest's volume among them.
            _ => FileType::Directory,
        }
    }
}
