//! Which physical volumes make which groups.
//!
//! Groups and volumes are told apart by their ids alone. A disk may be there twice, a clone beside its original: then both
//! have the same ids, and nothing of one may be read through the other. So where an id occurs twice,
//! - a disk that has all of a group by its own metadata is a group of its own;
//! - of the rest, volumes that occur twice still are ambiguous, and what lies on them is refused.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::build::{Instance, Presence};
use super::group::{self, Group};
use super::problem::Problem;
use super::thin::Nodes;
use super::{Assembly, GroupProblem, LogicalVolume, LvmId, PhysicalVolume};

/// All texts of one point together, those that occur several times counted once: what is made of them takes some times as
/// much memory.
const TEXTS_BYTES_MAX: usize = 32 << 20;

/// Volumes and segments in all texts of one point together: a segment takes a few bytes there, and twenty times as many here.
const PARTS_MAX: usize = 1 << 18;

/// Volumes of one point at most. A listing looks at the beginning of each.
const SHOWN_MAX: usize = 10_000;

/// A copy of a group's metadata, and the physical volume that it lies on.
struct Copy {
    on: usize,
    group: Arc<Group>,
}

/// Makes the groups of all physical volumes of a point.
pub(super) fn assemble(physical: &[PhysicalVolume], unreadable: &[String]) -> Assembly {
    let mut assembly = Assembly::default();
    let copies = read_copies(physical, &mut assembly);
    let mut groups: BTreeMap<LvmId, Vec<&Copy>> = BTreeMap::new();
    for copy in &copies {
        groups.entry(copy.group.id).or_default().push(copy);
    }
    let has_own: HashSet<usize> = copies.iter().map(|copy| copy.on).collect();
    let mut taken: HashSet<usize> = HashSet::new();
    let (unreadable, nodes): (Arc<str>, _) = (unreadable.join("; ").into(), Arc::new(Nodes::default()));
    let mut number = 0;
    for copies in groups.values() {
        let members = members(physical, copies, &has_own);
        taken.extend(&members);
        for members in separate(&members, physical, copies) {
            let copies: Vec<&Copy> = copies.iter().copied().filter(|copy| members.contains(&copy.on)).collect();
            let newest = copies.iter().max_by_key(|copy| (copy.group.seqno, std::cmp::Reverse(copy.on)));
            let Some(group) = newest.map(|copy| &copy.group) else { continue };
            let presences = presences(group, &members, physical);
            let (nodes, unreadable) = (Arc::clone(&nodes), Arc::clone(&unreadable));
            let mut instance = Instance::new(Arc::clone(group), presences, unreadable, nodes, number);
            number += 1;
            // What they lack in common is no matter: the text is written anew for each disk.
            if copies.iter().any(|copy| copy.group.seqno == group.seqno && copy.group != *group) {
                instance.refuse(Problem::Split { seqno: group.seqno });
            }
            add(Arc::new(instance), &mut assembly);
        }
    }
    // One that was never made part of a group holds nothing; damage is told already.
    let is_orphan = |at: &usize| !taken.contains(at);
    assembly.orphans =
        (0..physical.len()).filter(is_orphan).filter_map(|at| Some(physical.get(at)?.place.clone())).collect();
    assembly.volumes.sort_by_cached_key(|volume| {
        (volume.home(), volume.group_name().to_owned(), volume.group_id(), volume.name().to_owned())
    });
    assembly
}

/// The physical volumes of a group: those with metadata of it, and those without any that it names.
fn members(physical: &[PhysicalVolume], copies: &[&Copy], has_own: &HashSet<usize>) -> Vec<usize> {
    let named: HashSet<LvmId> = copies.iter().flat_map(|copy| &copy.group.physical).map(|named| named.id).collect();
    let own: HashSet<usize> = copies.iter().map(|copy| copy.on).collect();
    let belongs = |(at, volume): (usize, &PhysicalVolume)| {
        let is_its = own.contains(&at) || !has_own.contains(&at);
        (is_its && named.contains(&volume.label.id)).then_some(at)
    };
    physical.iter().enumerate().filter_map(belongs).collect()
}

/// Adds what a user of a group sees.
fn add(instance: Arc<Instance>, assembly: &mut Assembly) {
    let group = &instance.group;
    let place = || format!("group {} ({})", group.name, group.id);
    if group.left_out > 0 {
        let what = format!("{} volumes are left out because of their names or ids", group.left_out);
        assembly.problems.push(GroupProblem { place: place(), what });
    }
    let mut shown: Vec<usize> = instance.shown().collect();
    let room = SHOWN_MAX.saturating_sub(assembly.volumes.len());
    if shown.len() > room {
        let what = format!("{} volumes are left out: there are too many", shown.len().saturating_sub(room));
        assembly.problems.push(GroupProblem { place: place(), what });
        shown.truncate(room);
    }
    assembly.volumes.extend(shown.into_iter().map(|at| LogicalVolume::new(Arc::clone(&instance), at)));
}

/// The newest whole copy of the metadata on each physical volume.
fn read_copies(physical: &[PhysicalVolume], assembly: &mut Assembly) -> Vec<Copy> {
    let mut known: HashMap<blake3::Hash, Result<Arc<Group>, &'static str>> = HashMap::new();
    let (mut copies, mut bytes_left, mut parts_left) = (Vec::new(), TEXTS_BYTES_MAX, PARTS_MAX);
    for (on, volume) in physical.iter().enumerate() {
        let mut newest: Option<Arc<Group>> = None;
        let mut tell = |what: String| assembly.problems.push(GroupProblem { place: volume.place.clone(), what });
        for text in volume.texts() {
            let text = match text {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(error) => {
                    assembly.has_unread |= matches!(error, crate::guest::Error::Medium(_));
                    tell(error.to_string());
                    continue;
                }
            };
            let hash = blake3::hash(&text);
            let group = match known.get(&hash) {
                Some(group) => group.clone(),
                None => match bytes_left.checked_sub(text.len()) {
                    Some(left) => {
                        bytes_left = left;
                        let group = group::parse(&text).and_then(|group| {
                            let left = parts_left.checked_sub(group.parts());
                            parts_left = left.ok_or("there are more volumes on these disks than are read")?;
                            Ok(Arc::new(group))
                        });
                        known.insert(hash, group.clone());
                        group
                    }
                    None => Err("there is more metadata on these disks than is read"),
                },
            };
            match group {
                Ok(group) => {
                    if newest.as_ref().is_none_or(|newest| group.seqno > newest.seqno) {
                        newest = Some(group);
                    }
                }
                Err(what) => tell(format!("the text of its group's metadata is damaged: {what}")),
            }
        }
        copies.extend(newest.map(|group| Copy { on, group }));
    }
    copies
}

/// The members of one group, apart where a clone is among them.
fn separate(members: &[usize], physical: &[PhysicalVolume], copies: &[&Copy]) -> Vec<Vec<usize>> {
    let id = |at: usize| physical.get(at).map(|volume| volume.label.id);
    let is_twice = |members: &[usize]| {
        let mut seen = HashSet::new();
        members.iter().any(|at| !seen.insert(id(*at)))
    };
    if !is_twice(members) {
        return vec![members.to_vec()];
    }
    let mut disks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in members {
        disks.entry(physical.get(*at).map_or(0, |volume| volume.disk)).or_default().push(*at);
    }
    let (mut apart, mut rest) = (Vec::new(), Vec::new());
    for of_disk in disks.into_values() {
        let newest = copies.iter().filter(|copy| of_disk.contains(&copy.on)).max_by_key(|copy| copy.group.seqno);
        let is_complete = newest.is_some_and(|newest| {
            newest.group.physical.iter().all(|named| of_disk.iter().any(|at| id(*at) == Some(named.id)))
        });
        if is_complete && !is_twice(&of_disk) {
            apart.push(of_disk);
        } else {
            rest.extend(of_disk);
        }
    }
    if !rest.is_empty() {
        apart.push(rest);
    }
    apart
}

/// For each physical volume that a group names, whether it is there.
fn presences(group: &Group, members: &[usize], physical: &[PhysicalVolume]) -> Vec<Presence> {
    let mut places: HashMap<LvmId, Vec<&PhysicalVolume>> = HashMap::new();
    for volume in members.iter().filter_map(|at| physical.get(*at)) {
        places.entry(volume.label.id).or_default().push(volume);
    }
    let presence = |id: LvmId| match places.get(&id).map_or(&[][..], Vec::as_slice) {
        [] => Presence::Missing,
        [one] => Presence::Here(Arc::clone(&one.device), one.disk),
        several => {
            let places: Vec<&str> = several.iter().map(|volume| volume.place.as_str()).collect();
            Presence::Ambiguous(places.join(", ").into())
        }
    };
    group.physical.iter().map(|named| presence(named.id)).collect()
}
