//! The logical volumes of a point: found on all of its disks, and named.
//!
//! Invariants:
//! - a disk or a partition that can't be looked at hides no volume of the others;
//! - names are unique below a disk, and follow from what is on the disks alone;
//! - a volume's number follows from its ids, so that it stays the same while other volumes come and go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block::{PointDisk, unwrapped};
use crate::error::{Error, Result};
use crate::guest::lvm::{self, Assembly, LogicalVolume, PhysicalVolume};
use crate::guest::partition::PartitionTable;
use crate::guest::{BlockRead, Slice};

/// Numbers of partitions are below, of logical volumes from here on.
const NUMBERS: usize = 1 << 30;

/// How long what was found is kept while something could not be read.
const AGAIN: Duration = Duration::from_secs(5);

/// Most places that could not be read which one message tells.
const TOLD_MAX: usize = 4;

/// A logical volume with its name and number below the disk that it begins on.
pub(super) struct Logical {
    pub name: String,
    pub number: usize,
    pub volume: LogicalVolume,
}

/// What the disks of a point hold of LVM2.
pub(super) struct LogicalVolumes {
    pub volumes: Vec<Arc<Logical>>,
    assembly: Assembly,
    /// Where something could not be read that might hold more.
    unreadable: Vec<String>,
    /// Labels that can't be believed: disk, volume, and why.
    labels: Vec<(usize, String, String)>,
    made: Instant,
}

impl LogicalVolumes {
    /// Whether something could not be read, and may be the next time.
    pub(super) fn has_unread(&self) -> bool {
        !self.unreadable.is_empty() || self.assembly.has_unread()
    }

    /// Whether it is worth to look again: what can't be read mostly stays so, and looking takes time.
    pub(super) fn is_outdated(&self) -> bool {
        self.has_unread() && self.made.elapsed() > AGAIN
    }

    /// What is wrong with what groups keep on a disk.
    pub(super) fn problems(&self, disk: usize, name: &str) -> Vec<String> {
        let labels = self.labels.iter().filter(|(of, ..)| *of == disk);
        let labels = labels.map(|(_, volume, why)| format!("{volume}: {why}"));
        let here = |at: &str| at.strip_prefix(&place(name, "")).map(str::to_owned);
        let copies = self.assembly.problems.iter().filter_map(|problem| {
            let group = || problem.place.starts_with("group ").then(|| problem.place.clone());
            Some(format!("{}: {}", here(&problem.place).or_else(group)?, problem.what))
        });
        let orphans = self.assembly.orphans.iter().filter_map(|orphan| here(orphan));
        labels.chain(copies).chain(orphans.map(|volume| format!("{volume}: {NAMELESS}"))).collect()
    }

    /// Why nothing is shown of what lies on a physical volume, where damage is the reason.
    pub(super) fn why_lost(&self, disk: usize, name: &str, volume: &str) -> Option<String> {
        if let Some((.., why)) = self.labels.iter().find(|(of, at, _)| *of == disk && at == volume) {
            return Some(why.clone());
        }
        let at = place(name, volume);
        self.assembly.orphans.iter().find(|orphan| **orphan == at)?;
        let damage = self.assembly.problems.iter().find(|problem| problem.place == at)?;
        Some(format!("{NAMELESS}; {}", damage.what))
    }
}

/// What is said of a physical volume that is part of nothing.
const NAMELESS: &str = "no group on the disks of this point names this physical volume";

/// A volume of a disk, to a person.
fn place(disk: &str, volume: &str) -> String {
    format!("disk {disk}, {volume}")
}

/// Looks at every volume of every disk for what it holds of LVM2.
pub(super) fn find<'a>(
    tables: impl Iterator<Item = (&'a str, PointDisk, Result<Arc<PartitionTable>>)>,
) -> LogicalVolumes {
    let (mut physical, mut unreadable, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (name, disk, table)) in tables.enumerate() {
        let disk: Arc<dyn BlockRead> = Arc::new(disk);
        let table = match table {
            Ok(table) => table,
            Err(error) => {
                unreadable.push(format!("disk {name} can't be read: {error}"));
                continue;
            }
        };
        for volume in table.volumes.iter().filter(|volume| volume.problem.is_none()) {
            let Some(slice) = Slice::new(Arc::clone(&disk), volume.start, volume.size_bytes) else { continue };
            let at = place(name, &volume.name());
            match PhysicalVolume::read(Arc::new(slice), number, at.clone()).map_err(unwrapped) {
                Ok(found) => physical.extend(found),
                Err(Error::Guest(error)) => labels.push((number, volume.name(), error.to_string())),
                Err(error) => unreadable.push(format!("{at} can't be read: {error}")),
            }
        }
    }
    let labelled = labels.iter().map(|(_, volume, why)| format!("{volume}: {why}"));
    let told: Vec<String> = labelled.chain(unreadable.iter().cloned()).take(TOLD_MAX).collect();
    let assembly = lvm::assemble(&physical, &told);
    LogicalVolumes { volumes: name_all(&assembly.volumes), assembly, unreadable, labels, made: Instant::now() }
}

/// Gives each volume a name and a number that no other volume of its disk has.
///
/// Hyphens in names, groups of one name, clones of a disk, and the files that stand beside volumes can make names meet: then
/// the id of the group, and if that does not do, a count, tell them apart.
fn name_all(volumes: &[LogicalVolume]) -> Vec<Arc<Logical>> {
    let (mut names, mut numbers, mut named) = (HashSet::new(), HashSet::new(), Vec::new());
    for volume in volumes {
        let disk = volume.home();
        let plain = format!("{}-{}", volume.group_name(), volume.name());
        let mut name = plain.clone();
        for attempt in 0_usize.. {
            if files_of(&name).all(|file| !names.contains(&(disk, file))) {
                break;
            }
            name = match attempt {
                0 => format!("{plain}-{}", volume.group_id().short()),
                1 => format!("{plain}-{}", volume.group_id()),
                count => format!("{plain}-{}-{count}", volume.group_id()),
            };
        }
        names.extend(files_of(&name).map(|file| (disk, file)));
        let hash = blake3::hash(format!("{} {}", volume.group_id(), volume.id()).as_bytes());
        let mut number = hash.as_bytes().iter().take(3).fold(0, |number, byte| number << 8 | usize::from(*byte));
        while !numbers.insert((disk, number)) {
            number += 1;
        }
        named.push(Arc::new(Logical { name, number: NUMBERS + number, volume: volume.clone() }));
    }
    named
}

/// The names that a volume may take in its directory.
fn files_of(name: &str) -> impl Iterator<Item = String> {
    ["", ".raw", ".STALE", ".ERROR"].into_iter().map(move |suffix| format!("{name}{suffix}"))
}
