//! What each point and machine takes of a vault, record by record: what it needs, what of that nobody else needs, and so what
//! would be given back without it.
//!
//! The tables of all segments tell what each record takes. Then the points are walked, machine by machine and in the order of
//! their time, as one set of records that changes: a record is in it while something in it leads there. Of two points in a
//! row only what differs is read, once when it comes and once when it goes, however much the points share; each record
//! keeps note of who needs it. So the cost is that of the map nodes there are, twice, and not of points times records.
//!
//! Invariants:
//! - memory is one table of 20 bytes a record, a quarter of it free, whatever the number of points;
//! - what is told to be a point's alone is what its purge makes unneeded, to the byte: records count with their header, their
//!   padding and their entry in the segment's table, and of one that is in two segments nobody needs the second;
//! - forgotten points, and points without a catalog entry, need what they need: it is nobody else's alone.
//!
//! Of a record half of its tag is known, and a little less in [`super::gc`]: two that share it are taken for one, which makes an error of
//! some kilobytes once in a million vaults of ten million records.

mod table;

use serde::Serialize;

use super::Vault;
use super::checked_manifest;
use super::parallel::each;
use crate::error::{Error, Result};
use crate::format::segment::{RECORD_HEADER_BYTES, RecordType, TABLE_ENTRY_BYTES, TableEntry, padded};
use crate::format::{Hash, Id};
use crate::point::{Manifest, PointInfo};
use crate::progress::Progress;
use crate::sync::{Arc, Mutex, PoisonError};
use table::{Owner, Table, Went};

/// What each point and machine takes. All sizes in bytes; those of records are what they take in segments, parity not counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Usage {
    /// Each machine, in order of name; those with forgotten points only are among them.
    pub machines: Vec<MachineUsage>,
    /// Records that somebody needs.
    pub records: u64,
    /// Bytes of those.
    pub needed_bytes: u64,
    /// Bytes of records that only points need which have no catalog entry, as an interrupted backup leaves them.
    pub unlisted_bytes: u64,
    /// Bytes of records that nobody needs, second copies of others among them: `gc` gives them back, as far as it is worth moving the rest of their segments.
    pub unneeded_bytes: u64,
    /// Map nodes that were read, each time counted.
    pub nodes_read: u64,
    /// Points and segments that can't be read wholly, and why: what they need is counted as far as it could be seen.
    pub damaged: Vec<UsageDamage>,
}

/// What could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct UsageDamage {
    /// A point, as `machine/point`, or a segment.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a machine takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MachineUsage {
    /// Its name.
    pub machine: String,
    /// Bytes of the records that its points need.
    pub stored_bytes: u64,
    /// Bytes of those that no other machine needs: given back if all its points were purged.
    pub unique_bytes: u64,
    /// Its points, oldest first, forgotten ones among them.
    pub points: Vec<PointUsage>,
}

/// What a point takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PointUsage {
    /// Its name.
    pub point: String,
    /// Its id.
    pub id: String,
    /// Whether it was forgotten and can be brought back.
    pub forgotten: bool,
    /// Size of its disks.
    pub size_bytes: u64,
    /// The same without zeros and holes.
    pub used_bytes: u64,
    /// Bytes of the records that it needs.
    pub stored_bytes: u64,
    /// Bytes of those that no other point needs: given back if it were purged.
    pub unique_bytes: u64,
}

impl PointUsage {
    /// Bytes of the records that it shares with other points.
    pub fn shared_bytes(&self) -> u64 {
        self.stored_bytes.saturating_sub(self.unique_bytes)
    }
}

impl MachineUsage {
    /// Bytes of the records that it shares with other machines.
    pub fn shared_bytes(&self) -> u64 {
        self.stored_bytes.saturating_sub(self.unique_bytes)
    }
}

/// Points of a machine, in the order in which they are walked. Those without an entry are one more, without a name.
struct Group {
    machine: String,
    points: Vec<Arc<PointInfo>>,
}

impl Vault {
    /// Tells what each point and machine takes. Reads the tables of all segments and the maps of all points, what they share
    /// once. `progress` counts about the bytes of the segments, twice.
    ///
    /// # Errors
    /// Those of the medium. Damage is told in the result.
    pub fn usage(&self, progress: &Progress) -> Result<Usage> {
        // First the points, then the segments: whatever a point needs is in a segment that is there.
        self.refresh()?;
        let mut groups = groups(self.catalog.all());
        let listed = groups.len();
        let unlisted = self.unlisted_points()?.0;
        if !unlisted.is_empty() {
            let points = unlisted.into_iter().map(|made| Arc::new(crate::point::point_of(made, &|_| false))).collect();
            groups.push(Group { machine: String::new(), points });
        }
        let mut usage = Usage::default();
        let table = self.read_tables(&groups, progress, &mut usage)?;
        let points = groups.iter().map(|group| group.points.len() as u64).sum::<u64>().max(1);
        let share = progress.total_bytes() / 2 / points;
        let (set_bytes, point) = (0, String::new());
        let mut walk = Walk { vault: self, table, usage: &mut usage, progress, share, set_bytes, point };
        for (number, group) in groups.iter().enumerate() {
            walk.group(number, group, number < listed)?;
        }
        let Walk { table, .. } = walk;
        settle(&table, listed, &mut usage);
        Ok(usage)
    }

    /// What each record takes, by the segments' own tables.
    fn read_tables(&self, groups: &[Group], progress: &Progress, usage: &mut Usage) -> Result<Table> {
        let store = self.reader.store();
        store.refresh()?;
        let segments = store.segments().list()?;
        let points: Vec<usize> = groups.iter().map(|group| group.points.len()).collect();
        let table = Mutex::new(Table::new(store.index().size().entries, &points)?);
        let damaged = Mutex::new(Vec::new());
        // As much again for the points, which are as much work: each has an even share of it.
        progress.add_total(2 * segments.len() as u64 * u64::from(store.header().segment_bytes));
        each(&segments, progress, |id: &Id| {
            match store.segments().entries(id) {
                Ok(entries) => {
                    let taken: Vec<_> =
                        entries.iter().map(|entry| (store.keys().index_tag(&entry.id), takes(entry))).collect();
                    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                    taken.iter().try_for_each(|(tag, bytes)| table.add(tag, *bytes))?;
                }
                // Somebody gave its space back just now.
                Err(error) if error.is_absent() => {}
                Err(Error::Damaged(damage)) => {
                    let what = crate::format::segment::object(id);
                    let why = damage.problem.to_string();
                    damaged.lock().unwrap_or_else(PoisonError::into_inner).push(UsageDamage { what, why });
                }
                Err(error) => return Err(error),
            }
            progress.add_done(u64::from(store.header().segment_bytes));
            Ok(())
        })?;
        usage.damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(table.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a record takes in its segment.
fn takes(entry: &TableEntry) -> u64 {
    RECORD_HEADER_BYTES as u64 + padded(entry.stored_bytes) + TABLE_ENTRY_BYTES as u64
}

/// The machines, in order of name, each with its points in the order of their time.
fn groups(points: Vec<Arc<PointInfo>>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for point in points {
        match groups.last_mut() {
            Some(group) if group.machine == point.machine => group.points.push(point),
            _ => groups.push(Group { machine: point.machine.clone(), points: vec![point] }),
        }
    }
    groups
}

/// Goes from point to point.
struct Walk<'a> {
    vault: &'a Vault,
    table: Table,
    usage: &'a mut Usage,
    progress: &'a Progress,
    /// What a point adds to the progress.
    share: u64,
    /// Bytes of the records that the point at hand needs.
    set_bytes: u64,
    /// The point at hand, for messages; nothing where it has no entry.
    point: String,
}

impl Walk<'_> {
    /// Walks the points of a machine.
    fn group(&mut self, number: usize, group: &Group, is_listed: bool) -> Result<()> {
        let mut told = MachineUsage { machine: group.machine.clone(), ..MachineUsage::default() };
        self.table.begin(number);
        let mut before: Option<(Hash, Manifest)> = None;
        for point in &group.points {
            self.progress.check()?;
            self.point = if is_listed { point.path() } else { String::new() };
            let mut known = PointUsage {
                point: point.name.clone(),
                id: point.id.clone(),
                forgotten: point.forgotten.is_some(),
                ..PointUsage::default()
            };
            self.table.next_point();
            let manifest = self.manifest(point)?;
            if let Some(manifest) = &manifest {
                known.size_bytes = manifest.disks.iter().map(|disk| disk.size_bytes).fold(0, u64::saturating_add);
                let used = manifest.disks.iter().map(|disk| disk.size_bytes.saturating_sub(disk.zero_bytes));
                known.used_bytes = used.fold(0, u64::saturating_add);
                self.come(&point.entry.manifest, manifest)?;
            }
            // After the new one came: what both share was in the set all the time.
            if let Some((id, manifest)) = before.take() {
                self.go(&id, &manifest)?;
            }
            known.stored_bytes = self.set_bytes;
            self.progress.add_done(self.share);
            before = manifest.map(|manifest| (point.entry.manifest, manifest));
            told.points.push(known);
        }
        self.table.next_point();
        if let Some((id, manifest)) = before {
            self.go(&id, &manifest)?;
        }
        told.stored_bytes = self.table.group_bytes();
        if is_listed {
            self.usage.machines.push(told);
        }
        Ok(())
    }

    /// The manifest of a point; none, and told, where it is damaged.
    fn manifest(&mut self, point: &PointInfo) -> Result<Option<Manifest>> {
        let store = self.vault.reader.store();
        let read = store.read(RecordType::Manifest, &point.entry.manifest);
        self.whole(read.and_then(|plain| checked_manifest(&plain, point)))
    }

    /// What was read; none, and told, where it is damaged.
    fn whole<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Error::Damaged(damage)) => {
                // Once for each point: a damaged segment may hold thousands of nodes. What has no entry may never have been
                // whole.
                if !self.point.is_empty() && self.usage.damaged.last().is_none_or(|last| last.what != self.point) {
                    self.usage.damaged.push(UsageDamage { what: self.point.clone(), why: damage.to_string() });
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn come(&mut self, id: &Hash, manifest: &Manifest) -> Result<()> {
        self.record_comes(id)?;
        manifest.disks.iter().try_for_each(|disk| match disk.root() {
            Some(root) => self.node_comes(&root, disk.map_level),
            None => Ok(()),
        })
    }

    fn go(&mut self, id: &Hash, manifest: &Manifest) -> Result<()> {
        self.record_goes(id)?;
        manifest.disks.iter().try_for_each(|disk| match disk.root() {
            Some(root) => self.node_goes(&root, disk.map_level),
            None => Ok(()),
        })
    }

    /// One more that leads to a record. Whether it was not in the set.
    fn record_comes(&mut self, id: &Hash) -> Result<bool> {
        let came = self.table.comes(&self.vault.reader.store().keys().index_tag(id))?;
        self.set_bytes = self.set_bytes.saturating_add(came.unwrap_or(0));
        Ok(came.is_some())
    }

    /// One fewer. Whether it was the last.
    fn record_goes(&mut self, id: &Hash) -> Result<bool> {
        match self.table.goes(&self.vault.reader.store().keys().index_tag(id))? {
            Went::Last { bytes } => {
                self.set_bytes = self.set_bytes.saturating_sub(bytes);
                Ok(true)
            }
            Went::NotLast => Ok(false),
        }
    }

    fn node_comes(&mut self, id: &Hash, level: u8) -> Result<()> {
        if !self.record_comes(id)? {
            return Ok(());
        }
        for child in self.children(id, level)? {
            match level.checked_sub(1) {
                Some(below) => self.node_comes(&child, below)?,
                None => self.record_comes(&child).map(drop)?,
            }
        }
        Ok(())
    }

    fn node_goes(&mut self, id: &Hash, level: u8) -> Result<()> {
        if !self.record_goes(id)? {
            return Ok(());
        }
        for child in self.children(id, level)? {
            match level.checked_sub(1) {
                Some(below) => self.node_goes(&child, below)?,
                None => self.record_goes(&child).map(drop)?,
            }
        }
        Ok(())
    }

    /// The children of a node; none where it is damaged.
    fn children(&mut self, id: &Hash, level: u8) -> Result<Vec<Hash>> {
        self.progress.check()?;
        self.usage.nodes_read += 1;
        let node = self.vault.reader.node_uncached(id, level);
        let node = self.whole(node)?;
        Ok(node.map(|node| node.children.iter().flatten().copied().collect()).unwrap_or_default())
    }
}

/// Adds up what is whose alone.
fn settle(table: &Table, listed: usize, usage: &mut Usage) {
    usage.unneeded_bytes = table.again_bytes();
    table.each(&mut |owner, bytes| {
        match owner {
            Owner::Nobody => {
                usage.unneeded_bytes += bytes;
                return;
            }
            Owner::Point { group, .. } | Owner::Machine { group } if group >= listed => usage.unlisted_bytes += bytes,
            Owner::Point { group, point } => {
                if let Some(machine) = usage.machines.get_mut(group) {
                    machine.unique_bytes += bytes;
                    if let Some(point) = machine.points.get_mut(point) {
                        point.unique_bytes += bytes;
                    }
                }
            }
            Owner::Machine { group } => {
                if let Some(machine) = usage.machines.get_mut(group) {
                    machine.unique_bytes += bytes;
                }
            }
            Owner::Several => {}
        }
        usage.records += 1;
        usage.needed_bytes += bytes;
    });
}

#[cfg(test)]
mod tests;
