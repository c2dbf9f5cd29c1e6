//! Partition tables: which volumes a disk has.
//!
//! A table is what the guest's root wrote, so it may lie. Invariants:
//! - a volume without a problem lies wholly on the disk and overlaps no other volume without a problem;
//! - a lie costs the volume that it is about, never its neighbours;
//! - volumes come in the order of their numbers, and a number occurs once.

mod gpt;
mod mbr;
mod names;
mod overlap;

use crate::guest::{BlockRead, Error, Uuid, probe};

/// What kind of table a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// None: the whole disk is one volume.
    None,
    /// A master boot record.
    Mbr,
    /// A GUID partition table.
    Gpt,
    /// A GUID partition table whose protective MBR names partitions of its own. The GPT is what counts.
    Hybrid,
}

/// The volumes of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    /// What kind of table it is.
    pub kind: TableKind,
    /// The sector size that the table counts in, in bytes.
    pub sector_bytes: u64,
    /// Volumes in the order of their numbers, unusable ones included.
    pub volumes: Vec<Volume>,
    /// What is wrong with the table itself.
    pub problems: Vec<TableProblem>,
}

/// A part of a disk that may hold a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Partition number; zero for the whole disk.
    pub number: u32,
    /// Where it starts, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What the table says that it holds.
    pub kind: VolumeType,
    /// Its name in a GPT.
    pub label: Option<String>,
    /// Its own UUID in a GPT.
    pub uuid: Option<Uuid>,
    /// Why it can't be used, where it can't.
    pub problem: Option<VolumeProblem>,
}

impl Volume {
    /// Its name in paths: `p1`, `p2`..., or `whole`.
    pub fn name(&self) -> String {
        match self.number {
            0 => "whole".to_owned(),
            number => format!("p{number}"),
        }
    }
}

/// What a table says that a volume holds. It need not be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeType {
    /// Nothing is said: the disk has no table.
    Unsaid,
    /// The type byte of an MBR entry.
    Mbr(u8),
    /// The type GUID of a GPT entry.
    Gpt(Uuid),
}

impl VolumeType {
    /// The type in words, `unknown` where there are none.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unsaid => "no partition table",
            Self::Mbr(byte) => names::of_mbr(*byte),
            Self::Gpt(guid) => names::of_gpt(guid),
        }
    }
}

/// Why a volume can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeProblem {
    /// It reaches past the end of the disk, or past what 64 bits can count.
    #[error("it reaches past the end of the disk")]
    PastEnd,
    /// It ends before it starts, or is empty.
    #[error("it ends before it starts")]
    Inverted,
    /// It overlaps another volume, which is smaller and stays usable.
    #[error("it overlaps volume {with}")]
    Overlaps {
        /// The other volume's number.
        with: u32,
    },
}

/// What is wrong with a table as a whole. What could be read of it is listed all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// The first GPT is damaged; the backup at the disk's end was used.
    #[error("the primary GPT is damaged, its backup was used")]
    PrimaryGptDamaged,
    /// A protective MBR promises a GPT, and neither it nor its backup can be read.
    #[error("both the GPT and its backup are damaged")]
    GptLost,
    /// The chain of extended boot records breaks: logical partitions may be missing.
    #[error("the chain of logical partitions breaks at sector {sector}")]
    ExtendedChainBroken {
        /// Where the record should be.
        sector: u64,
    },
    /// A record of the chain could not be read from below: logical partitions may be missing, for now.
    #[error("the chain of logical partitions can't be read at sector {sector}")]
    ExtendedChainUnreadable {
        /// Where the record is.
        sector: u64,
    },
    /// The chain of extended boot records leads back into itself.
    #[error("the chain of logical partitions loops at sector {sector}")]
    ExtendedChainLoops {
        /// The record that was met twice.
        sector: u64,
    },
    /// There are more logical partitions than anyone makes; the rest is left out.
    #[error("too many logical partitions")]
    TooManyLogical,
}

impl TableProblem {
    /// Whether volumes may be missing in the list because of it.
    pub fn hides_volumes(&self) -> bool {
        !matches!(self, Self::PrimaryGptDamaged)
    }

    /// Whether another look may find more: the disk failed, not the table.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::ExtendedChainUnreadable { .. })
    }
}

/// Lists the volumes of a disk.
///
/// # Errors
/// [`Error::Medium`] where the disk can't be read. A table that lies is no error: see [`Volume::problem`] and
/// [`PartitionTable::problems`].
pub fn find_volumes(disk: &dyn BlockRead) -> Result<PartitionTable, Error> {
    let record = match mbr::read(disk) {
        Ok(Some(record)) => record,
        Ok(None) => return without_record(disk),
        // A GPT has a copy at the other end of the disk.
        Err(error) => return gpt::read(disk, None)?.map(|table| finish(table, disk)).ok_or(error),
    };
    if record.is_protective() {
        if let Some(mut table) = gpt::read(disk, record.promised_end())? {
            if record.has_partitions() {
                table.kind = TableKind::Hybrid;
            }
            return Ok(finish(table, disk));
        }
        let mut table = mbr::list(disk, &record);
        if !record.has_partitions() {
            table.kind = TableKind::Gpt;
        }
        table.problems.push(TableProblem::GptLost);
        return Ok(finish(table, disk));
    }
    if is_boot_sector_of_a_volume(disk, &record)? {
        return Ok(whole(disk));
    }
    Ok(finish(mbr::list(disk, &record), disk))
}

/// A disk without a boot signature may have lost only that to its GPT; a file system's own magic number decides first.
fn without_record(disk: &dyn BlockRead) -> Result<PartitionTable, Error> {
    if !probe::name_content(disk)?.is_known()
        && let Some(table) = gpt::read(disk, None)?
    {
        return Ok(finish(table, disk));
    }
    Ok(whole(disk))
}

/// Whether a first sector that ends in 0x55AA is the boot sector of a file system on the whole disk and no MBR.
///
/// FAT and NTFS boot sectors end so, and an ext file system may have a boot loader before its superblock. What stands
/// in the place of the partition entries decides: a status byte other than 0x00 and 0x80 is boot code. Where the
/// entries could be true, a known file system on the disk must be outweighed by an entry that fits the disk.
fn is_boot_sector_of_a_volume(disk: &dyn BlockRead, record: &mbr::Record) -> Result<bool, Error> {
    if !record.is_plausible() {
        return Ok(true);
    }
    Ok(probe::name_content(disk)?.is_known() && !record.has_partition_within(disk.size_bytes()))
}

fn whole(disk: &dyn BlockRead) -> PartitionTable {
    let volume = Volume {
        number: 0,
        start: 0,
        size_bytes: disk.size_bytes(),
        kind: VolumeType::Unsaid,
        label: None,
        uuid: None,
        problem: None,
    };
    PartitionTable { kind: TableKind::None, sector_bytes: 512, volumes: vec![volume], problems: Vec::new() }
}

fn finish(mut table: PartitionTable, disk: &dyn BlockRead) -> PartitionTable {
    for volume in table.volumes.iter_mut().filter(|volume| volume.problem.is_none()) {
        let end = volume.start.checked_add(volume.size_bytes);
        if end.is_none_or(|end| end > disk.size_bytes()) {
            volume.problem = Some(VolumeProblem::PastEnd);
        }
    }
    overlap::mark(&mut table.volumes);
    table
}
