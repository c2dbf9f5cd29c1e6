//! A group as its metadata describes it: names resolved, numbers checked, nothing read of any volume yet.
//!
//! Invariants:
//! - what is made takes memory and time in proportion to the text;
//! - a name is one that LVM2 itself would allow, so none has a `/` or leads with a hyphen;
//! - a segment that can't be understood carries its problem and hides no other.

use std::collections::{HashMap, HashSet};

use super::LvmId;
use super::problem::{Problem, wrong};
use super::segment::{Names, Segment};
use super::text::{self, Section};

const SECTOR_BYTES: u64 = 512;
/// Longer names LVM2 does not give.
const NAME_BYTES_MAX: usize = 127;

/// A group of volumes.
#[derive(Debug, PartialEq)]
pub(super) struct Group {
    pub id: LvmId,
    pub name: String,
    /// Counts changes of the metadata: the highest one is the newest.
    pub seqno: u64,
    pub extent_bytes: u64,
    pub physical: Vec<Physical>,
    pub logical: Vec<Logical>,
    /// Volumes left out because of their names or ids.
    pub left_out: usize,
}

/// A physical volume as the group knows it.
#[derive(Debug)]
pub(super) struct Physical {
    pub id: LvmId,
    /// Where its extents begin, in bytes.
    pub start: u64,
    pub extents: u64,
    /// Whether the guest had lost it when it last wrote.
    pub is_missing: bool,
    /// Where the guest saw it. Every copy of the metadata may have its own.
    pub device: String,
}

impl PartialEq for Physical {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.start, self.extents, self.is_missing) == (other.id, other.start, other.extents, other.is_missing)
    }
}

/// A logical volume, hidden ones included.
#[derive(Debug, PartialEq)]
pub(super) struct Logical {
    pub name: String,
    pub id: LvmId,
    pub is_visible: bool,
    /// Whether it is a copy that is to be made anew from the others.
    pub is_rebuilding: bool,
    /// In their order in the volume.
    pub segments: Vec<Segment>,
}

impl Group {
    /// Volumes and segments: what memory goes by.
    pub fn parts(&self) -> usize {
        self.logical.iter().map(|volume| volume.segments.len().saturating_add(1)).fold(0, usize::saturating_add)
    }
}

impl Logical {
    /// Its length in extents, as far as its segments can be believed.
    pub fn extents(&self) -> u64 {
        self.segments.iter().map(|segment| segment.count).fold(0, u64::saturating_add)
    }
}

/// Reads the text of a group; the error says what is wrong with it.
pub(super) fn parse(text: &[u8]) -> Result<Group, &'static str> {
    let text = text::parse(text).ok_or("it can't be parsed")?;
    let (name, section) =
        text.sections().find(|(_, section)| section.value("seqno").is_some()).ok_or("it has no group")?;
    if !is_name(name) {
        return Err("the group's name is none");
    }
    let id = section.text("id").and_then(|id| LvmId::parse(id.as_bytes())).ok_or("the group's id is none")?;
    let extents = section.number("extent_size").and_then(|sectors| sectors.checked_mul(SECTOR_BYTES));
    let extent_bytes = extents.filter(|bytes| *bytes > 0).ok_or("the size of extents is none")?;
    let (mut names, mut physical) = (Names::default(), Vec::new());
    for (name, volume) in section.section("physical_volumes").into_iter().flat_map(Section::sections) {
        // What lies on one that can't be believed names a device that is not there.
        if let Some(volume) = parse_physical(volume)
            && names.physical.insert(name, physical.len()).is_none()
        {
            physical.push(volume);
        }
    }
    let all = || section.section("logical_volumes").into_iter().flat_map(Section::sections);
    let (mut kept, mut left_out, mut ids) = (Vec::new(), 0_usize, HashSet::new());
    for (name, volume) in all() {
        let id = volume.text("id").and_then(|id| LvmId::parse(id.as_bytes()));
        match id.filter(|id| is_name(name) && !names.logical.contains_key(name) && ids.insert(*id)) {
            Some(id) => {
                names.logical.insert(name, kept.len());
                kept.push((name, id, volume));
            }
            None => left_out = left_out.saturating_add(1),
        }
    }
    let logical = kept.into_iter().map(|(name, id, volume)| parse_logical(name, id, volume, &names)).collect();
    let seqno = section.number("seqno").ok_or("the group's seqno is none")?;
    Ok(Group { id, name: name.to_owned(), seqno, extent_bytes, physical, logical, left_out })
}

fn parse_physical(volume: &Section<'_>) -> Option<Physical> {
    let device = volume
        .text("device")
        .filter(|device| device.len() <= NAME_BYTES_MAX && device.bytes().all(|byte| byte.is_ascii_graphic()));
    Some(Physical {
        id: LvmId::parse(volume.text("id")?.as_bytes())?,
        start: volume.number("pe_start")?.checked_mul(SECTOR_BYTES)?,
        extents: volume.number("pe_count")?,
        is_missing: volume.lists("flags", "MISSING") || volume.lists("status", "MISSING"),
        device: device.unwrap_or_default().to_owned(),
    })
}

fn parse_logical(name: &str, id: LvmId, volume: &Section<'_>, names: &Names<'_>) -> Logical {
    let segments = volume.sections().filter(|(name, _)| name.starts_with("segment"));
    let mut segments: Vec<Segment> = segments.map(|(_, segment)| Segment::parse(segment, names)).collect();
    segments.sort_by_key(|segment| segment.start);
    Logical {
        name: name.to_owned(),
        id,
        is_visible: volume.lists("status", "VISIBLE"),
        is_rebuilding: volume.lists("status", "REBUILD") || volume.lists("flags", "REBUILD"),
        segments,
    }
}

/// Whether LVM2 would let a group or a volume have this name (`lib/misc/lvm-string.c`, `validate_name`).
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(fits)
        && !name.starts_with('-')
        && name != "."
        && name != ".."
}

/// How deep each volume's plain parts lie, itself included; `None` where it is made of itself or lies deeper than any.
///
/// In the order of what depends on what, each step once: no recursion, and time in proportion to the text.
pub(super) fn heights(logical: &[Logical]) -> Vec<Option<u8>> {
    let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut waits_for = vec![0_usize; logical.len()];
    for (user, volume) in logical.iter().enumerate() {
        for part in volume.segments.iter().flat_map(Segment::parts) {
            users.entry(part).or_default().push(user);
            if let Some(count) = waits_for.get_mut(user) {
                *count = count.saturating_add(1);
            }
        }
    }
    let mut heights: Vec<Option<u8>> = vec![None; logical.len()];
    let mut ready: Vec<(usize, u8)> =
        (0..).zip(&waits_for).filter(|(_, count)| **count == 0).map(|(at, _)| (at, 1)).collect();
    let mut least = vec![1_u8; logical.len()];
    while let Some((part, height)) = ready.pop() {
        if let Some(place) = heights.get_mut(part) {
            *place = (height <= HEIGHT_MAX).then_some(height);
        }
        for user in users.remove(&part).unwrap_or_default() {
            let (Some(count), Some(least)) = (waits_for.get_mut(user), least.get_mut(user)) else { continue };
            *count = count.saturating_sub(1);
            *least = (*least).max(height.saturating_add(1));
            if *count == 0 {
                ready.push((user, *least));
            }
        }
    }
    heights
}

/// Volumes made of volumes made of volumes: a mirror that is being moved while it grows is as deep as LVM2 goes.
pub(super) const HEIGHT_MAX: u8 = 8;

/// The height of one volume, or that it has none.
pub(super) fn check_height(heights: &[Option<u8>], volume: usize) -> Result<u8, Problem> {
    match heights.get(volume).copied().flatten() {
        Some(height) => Ok(height),
        None => wrong("its volumes are made of each other, or nest too deep"),
    }
}
