//! From a group's description and the physical volumes that are there to disks that can be read.
//!
//! Invariants:
//! - every volume is made once and shared by all that are made of it: memory and time follow the metadata's size, however
//!   often it names the same volume;
//! - plain volumes (everything that is arithmetic) are made only of plain ones, at most [`HEIGHT_MAX`] deep; thin volumes
//!   and snapshots keep their own structures on plain ones only, and refer to one origin each, at most as deep. So a read
//!   takes a bounded number of steps for each piece of it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::guest::{BlockRead, Error};

use super::Opened;
use super::group::{Group, HEIGHT_MAX, Logical, Physical, check_height, heights};
use super::mapped::{Area, Mapped, Rule, Stretch};
use super::problem::{Caution, Problem, wrong};
use super::segment::{Layout, Level, On, Place, Segment};
use super::snapshot::Snapshot;
use super::thin::{Nodes, PoolParts, Thin};

/// Snapshots of the old kind in one group: opening one reads all of its exceptions, and a listing opens them all. Each
/// write to an origin is written once more for each of its snapshots, so that nobody keeps many.
const SNAPSHOTS_MAX: usize = 64;

/// A physical volume that a group names.
pub(super) enum Presence {
    /// It is there: the volume, and the disk that it lies on.
    Here(Arc<dyn BlockRead>, usize),
    Missing,
    /// More than once, at these places.
    Ambiguous(Arc<str>),
}

/// A group, and what is there of it.
pub(super) struct Instance {
    pub group: Arc<Group>,
    /// As many as the group names physical volumes, in the same order.
    physical: Vec<Presence>,
    /// What might hold missing ones and could not be read.
    unreadable: Arc<str>,
    /// What stands in the way of all volumes, if anything.
    problem: Option<Problem>,
    heights: Vec<Option<u8>>,
    plain: Vec<OnceLock<Result<Opened, Problem>>>,
    /// By the volume that is their store, what they are a snapshot of, and how many extents of it.
    snapshots: HashMap<usize, (usize, u64)>,
    /// By the volume that they are merged into, their stores.
    merging: HashMap<usize, usize>,
    nodes: Arc<Nodes>,
    number: u64,
    /// Whether bytes could not be had that would have told more.
    pub(super) has_unread: AtomicBool,
}

impl Instance {
    pub fn new(
        group: Arc<Group>,
        physical: Vec<Presence>,
        unreadable: Arc<str>,
        nodes: Arc<Nodes>,
        number: u64,
    ) -> Self {
        let (mut snapshots, mut merging) = (HashMap::new(), HashMap::new());
        for segment in group.logical.iter().flat_map(|volume| &volume.segments) {
            if let Ok(Layout::Snapshot { origin, store, is_merging }) = &segment.layout {
                if *is_merging {
                    merging.insert(*origin, *store);
                }
                snapshots.insert(*store, (*origin, segment.count));
            }
        }
        Self {
            heights: heights(&group.logical),
            plain: group.logical.iter().map(|_| OnceLock::new()).collect(),
            group,
            physical,
            unreadable,
            problem: None,
            snapshots,
            merging,
            nodes,
            number,
            has_unread: AtomicBool::new(false),
        }
    }

    /// Refuses all volumes for one reason.
    pub fn refuse(&mut self, problem: Problem) {
        self.problem = Some(problem);
    }

    pub fn has_unread(&self) -> bool {
        self.has_unread.load(Ordering::Relaxed)
    }

    /// The volumes that a user of the group sees, by their places in it.
    pub fn shown(&self) -> impl Iterator<Item = usize> {
        let merged: HashSet<usize> = self.merging.values().copied().collect();
        (0..).zip(&self.group.logical).filter_map(move |(at, volume): (usize, &Logical)| {
            // Not volumes themselves: what others take their chunks from, and the rule of a snapshot, whose store has
            // the name that its user knows.
            let is_a_part = volume
                .segments
                .iter()
                .any(|segment| matches!(segment.kind.as_str(), "thin-pool" | "cache-pool" | "vdo-pool" | "snapshot"));
            let is_snapshot = self.snapshots.contains_key(&at) && !merged.contains(&at);
            ((volume.is_visible && !is_a_part) || is_snapshot).then_some(at)
        })
    }

    /// Whether a volume is what a store of changes makes of another one.
    pub fn is_snapshot(&self, at: usize) -> bool {
        self.snapshots.contains_key(&at)
    }

    pub(super) fn logical(&self, at: usize) -> Result<&Logical, Problem> {
        self.group.logical.get(at).ok_or(Problem::Metadata { what: "it names a device that there is not" })
    }

    /// A volume's size in bytes, as its user sees it.
    pub fn size_bytes(&self, at: usize) -> u64 {
        let own = || self.group.logical.get(at).map_or(0, Logical::extents);
        let extents = self.snapshots.get(&at).map_or_else(own, |(_, extents)| *extents);
        extents.saturating_mul(self.group.extent_bytes)
    }

    /// The disk that a volume begins on; the first one of the group's where that can't be said.
    pub fn home(&self, at: usize) -> usize {
        let mut at = at;
        // No cycle is left after so many steps; they do no harm before.
        for _ in 0..u8::MAX {
            if let Some((origin, _)) = self.snapshots.get(&at) {
                at = *origin;
                continue;
            }
            let first = self.group.logical.get(at).and_then(|volume| volume.segments.first());
            let next = match first.map(|segment| &segment.layout) {
                Some(Ok(Layout::Striped { places, .. } | Layout::Mirror { places, .. })) => {
                    places.first().map(|place| place.on)
                }
                Some(Ok(Layout::Raid { legs, .. })) => legs.first().map(|leg| On::Logical(leg.data)),
                Some(Ok(Layout::Thin { pool, .. })) => Some(On::Logical(*pool)),
                Some(Ok(Layout::ThinPool { data, .. })) => Some(On::Logical(*data)),
                _ => None,
            };
            match next {
                Some(On::Logical(part)) => at = part,
                Some(On::Physical(volume)) => match self.physical.get(volume) {
                    Some(Presence::Here(_, disk)) => return *disk,
                    _ => break,
                },
                None => break,
            }
        }
        let disk = |presence: &Presence| if let Presence::Here(_, disk) = presence { Some(*disk) } else { None };
        self.physical.iter().filter_map(disk).min().unwrap_or_default()
    }

    /// A volume as its user sees it.
    pub fn open(&self, at: usize) -> Result<Opened, Error> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone().into());
        }
        self.open_at(at, 1)
    }

    fn open_at(&self, at: usize, depth: u8) -> Result<Opened, Error> {
        if depth > HEIGHT_MAX {
            return Ok(wrong("its volumes are made of each other, or nest too deep")?);
        }
        let below = depth.saturating_add(1);
        let volume = self.logical(at)?;
        let of_snapshot = |origin: Opened, store: usize, size_bytes| {
            let store = self.plain(store)?;
            let snapshot = Snapshot::open(origin.device, Arc::clone(&store.device), size_bytes)?;
            Ok(Opened { device: Arc::new(snapshot), caution: origin.caution.or_else(|| store.caution.clone()) })
        };
        if let Some((origin, _)) = self.snapshots.get(&at) {
            if self.snapshots.len() > SNAPSHOTS_MAX {
                return Err(Problem::TooMany { what: "snapshots" }.into());
            }
            // What is merged into its origin is not there any more; the origin is what it was. Snapshots of snapshots
            // LVM2 does not make.
            let layout = if self.merging.contains_key(origin) {
                Some("snapshot of a volume that another one is merged into")
            } else {
                self.snapshots.contains_key(origin).then_some("snapshot of a snapshot")
            };
            if let Some(layout) = layout {
                return Err(Problem::Layout { layout: layout.to_owned() }.into());
            }
            return of_snapshot(self.open_at(*origin, below)?, at, self.size_bytes(at));
        }
        let opened = match volume.segments.as_slice() {
            [Segment { start: 0, layout: Ok(Layout::Thin { pool, device, origin }), .. }] => {
                let origin = origin.map(|origin| self.open_at(origin, below)).transpose()?;
                self.thin(*pool, *device, self.size_bytes(at), origin)?
            }
            _ => self.plain(at)?,
        };
        // After a restart of the guest the merge goes on, and shows what it will end in.
        match self.merging.get(&at) {
            Some(store) => {
                let size_bytes = opened.device.size_bytes();
                of_snapshot(opened, *store, size_bytes)
            }
            None => Ok(opened),
        }
    }

    fn thin(&self, pool: usize, device: u64, size_bytes: u64, origin: Option<Opened>) -> Result<Opened, Error> {
        let [Segment { layout: Ok(Layout::ThinPool { metadata, data }), .. }] = self.logical(pool)?.segments.as_slice()
        else {
            return Ok(wrong("a thin volume's pool")?);
        };
        let (metadata, data) = (self.plain(*metadata)?, self.plain(*data)?);
        let (origin, of_origin) = origin.map(|origin| (origin.device, origin.caution)).unzip();
        let caution = metadata.caution.or(data.caution).or(of_origin.flatten());
        // A text has less than 2^20 volumes, a point less than 2^20 groups.
        let number = self.number << 20 | u64::try_from(pool).unwrap_or_default();
        let parts = PoolParts { metadata: metadata.device, data: data.device, nodes: Arc::clone(&self.nodes), number };
        Ok(Opened { device: Arc::new(Thin::open(parts, device, size_bytes, origin)?), caution })
    }

    /// A volume that is plain arithmetic over physical ones; made once.
    pub(super) fn plain(&self, at: usize) -> Result<Opened, Problem> {
        // Bounds the recursion below.
        check_height(&self.heights, at)?;
        let slot = self.plain.get(at).ok_or(Problem::Metadata { what: "it names a device that there is not" })?;
        slot.get_or_init(|| self.make_plain(self.logical(at)?)).clone()
    }

    fn make_plain(&self, volume: &Logical) -> Result<Opened, Problem> {
        let mut caution = None;
        let mut stretches = Vec::new();
        for segment in &volume.segments {
            let bytes = |extents: u64| extents.checked_mul(self.group.extent_bytes);
            let (Some(start), Some(length)) = (bytes(segment.start), bytes(segment.count)) else {
                return wrong("a segment's place");
            };
            let layout = segment.layout.as_ref().map_err(Clone::clone)?;
            stretches.push(Stretch { start, length, rule: self.rule(layout, segment, length, &mut caution)? });
        }
        match Mapped::new(stretches) {
            Some(mapped) => Ok(Opened { device: Arc::new(mapped), caution }),
            None => wrong("its segments do not fit together, or reach past the end of what they lie on"),
        }
    }

    fn rule(
        &self,
        layout: &Layout,
        segment: &Segment,
        length: u64,
        caution: &mut Option<Caution>,
    ) -> Result<Rule, Problem> {
        let one = |area: Area| Rule::Striped { stripe_bytes: length, areas: vec![area] };
        Ok(match layout {
            Layout::Striped { stripe_bytes, places } => {
                let areas = places.iter().map(|place| self.area(place, caution)).collect::<Result<Vec<_>, _>>()?;
                Rule::Striped { stripe_bytes: stripe_bytes_of(*stripe_bytes, areas.len(), length)?, areas }
            }
            Layout::Raid { level, stripe_bytes, legs } => {
                let areas = self.raid(*level, legs, caution)?;
                let stripe_bytes = stripe_bytes_of(*stripe_bytes, areas.len(), length)?;
                match level {
                    Level::Parity(parity) => Rule::Parity { parity: *parity, stripe_bytes, areas },
                    _ => Rule::Striped { stripe_bytes, areas },
                }
            }
            Layout::Mirror { places, log } => one(self.mirror(places, *log, caution)?),
            Layout::Zero => Rule::Zero,
            Layout::Error => Rule::Error,
            Layout::ThinPool { .. } | Layout::Thin { .. } | Layout::Snapshot { .. } => {
                return Err(Problem::Layout { layout: format!("{}, as a part of another volume", segment.kind) });
            }
        })
    }

    /// A place on a physical volume, or in a volume of the group, from an extent on.
    pub(super) fn area(&self, place: &Place, caution: &mut Option<Caution>) -> Result<Area, Problem> {
        let start = place.extent.checked_mul(self.group.extent_bytes);
        let start = start.ok_or(Problem::Metadata { what: "an extent's number" })?;
        let volume = match place.on {
            On::Logical(volume) => {
                let opened = self.plain(volume)?;
                *caution = caution.take().or(opened.caution);
                return Ok(Area { device: opened.device, start });
            }
            On::Physical(volume) => volume,
        };
        let nameless = Problem::Metadata { what: "it names a device that there is not" };
        let (Some(known), Some(presence)) = (self.group.physical.get(volume), self.physical.get(volume)) else {
            return Err(nameless);
        };
        let Physical { id, device, .. } = known;
        match presence {
            _ if known.is_missing => Err(Problem::MarkedMissing { id: *id, device: device.clone() }),
            Presence::Missing => {
                Err(Problem::Missing { id: *id, device: device.clone(), unreadable: Arc::clone(&self.unreadable) })
            }
            Presence::Ambiguous(places) => Err(Problem::Ambiguous { id: *id, places: Arc::clone(places) }),
            Presence::Here(..) if place.extent >= known.extents => wrong("an extent's number"),
            Presence::Here(device, _) => match start.checked_add(known.start) {
                Some(start) => Ok(Area { device: Arc::clone(device), start }),
                None => wrong("an extent's number"),
            },
        }
    }
}

/// The size of stripes; of a single one that does not matter.
fn stripe_bytes_of(stripe_bytes: Option<u64>, areas: usize, length: u64) -> Result<u64, Problem> {
    match (areas, stripe_bytes) {
        (1, _) => Ok(length),
        (_, Some(bytes)) => Ok(bytes),
        (_, None) => wrong("a segment's stripe size"),
    }
}
