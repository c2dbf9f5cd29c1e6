//! From a group's metadata to its volumes.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::guest::BlockRead;

use super::mapped::{Area, Mapped, Stretch};
use super::text::{Section, Value};
use super::{LogicalVolume, NAME_BYTES_MAX, PhysicalVolume, Problem, raid};

const SECTOR_BYTES: u64 = 512;

/// Volumes made of volumes made of volumes: a mirror of stripes is as deep as LVM2 goes.
const DEPTH_MAX: u32 = 8;

/// Devices of one stretch at most.
const AREAS_MAX: u64 = 128;

/// Devices of all stretches of one volume at most, those of the volumes that it is made of included: metadata where each
/// volume names another one many times would never come to an end.
const DEVICES_MAX: u32 = 1 << 16;

/// A group, and what is there of its physical volumes.
pub(super) struct Group<'a> {
    id: &'a str,
    name: &'a str,
    section: &'a Section,
    physical: &'a [Arc<PhysicalVolume>],
    extent_bytes: u64,
    /// Physical volumes by the names that the metadata uses: the id, and where the volume's extents begin in bytes.
    named: HashMap<&'a str, (&'a str, u64, Option<usize>)>,
    devices_left: Cell<u32>,
}

type Found<T> = Result<T, Problem>;

fn wrong<T>(what: &'static str) -> Found<T> {
    Err(Problem::Metadata { what })
}

impl<'a> Group<'a> {
    pub fn new(
        id: &'a str,
        name: &'a str,
        section: &'a Section,
        physical: &'a [Arc<PhysicalVolume>],
        places: &HashMap<&str, usize>,
    ) -> Self {
        let mut named = HashMap::new();
        for (name, volume) in section.section("physical_volumes").into_iter().flat_map(Section::sections) {
            let id = volume.text("id").unwrap_or_default();
            let place = places.get(id.replace('-', "").as_str()).copied();
            let start = volume.number("pe_start").unwrap_or_default().saturating_mul(SECTOR_BYTES);
            named.insert(name, (id, start, place));
        }
        // LVM2 knows no extents larger than 4 GiB, so that this product does not saturate where it counts.
        let extent_bytes = section.number("extent_size").unwrap_or_default().saturating_mul(SECTOR_BYTES);
        Self { id, name, section, physical, extent_bytes, named, devices_left: Cell::new(0) }
    }

    /// The volumes that a user of the group sees.
    pub fn volumes(&self) -> Vec<LogicalVolume> {
        let all = self.section.section("logical_volumes");
        let is_shown =
            |(name, volume): &(&str, &Section)| volume.lists("status", "VISIBLE") && name.len() <= NAME_BYTES_MAX;
        let visible = all.into_iter().flat_map(Section::sections).filter(is_shown);
        visible.map(|(name, volume)| self.volume(name, volume)).collect()
    }

    fn volume(&self, name: &str, volume: &Section) -> LogicalVolume {
        let extents =
            segments(volume).filter_map(|segment| segment.number("extent_count")).fold(0, u64::saturating_add);
        let layout = segments(volume).find_map(|segment| segment.text("type")).unwrap_or("unknown");
        let mut home = None;
        self.devices_left.set(DEVICES_MAX);
        let device = self.device(volume, 0, &mut home);
        // Where nothing says more, the first disk of the group that is there.
        let any = || self.named.values().filter_map(|(_, _, place)| *place).min().unwrap_or_default();
        LogicalVolume {
            group: self.name.to_owned(),
            group_id: self.id.to_owned(),
            name: name.to_owned(),
            id: volume.text("id").unwrap_or_default().to_owned(),
            size_bytes: extents.saturating_mul(self.extent_bytes),
            layout: layout.to_owned(),
            home: home.unwrap_or_else(any),
            device,
        }
    }

    /// A volume as a disk. `home` becomes the physical volume that the first of its bytes lies on.
    fn device(&self, volume: &Section, depth: u32, home: &mut Option<usize>) -> Found<Arc<dyn BlockRead>> {
        if depth > DEPTH_MAX {
            return wrong("its volumes are made of each other");
        }
        // In their order in the volume: the first one tells where it begins.
        let mut segments: Vec<&Section> = segments(volume).collect();
        segments.sort_by_key(|segment| segment.number("start_extent"));
        let stretches: Vec<Stretch> =
            segments.into_iter().map(|segment| self.stretch(segment, depth, home)).collect::<Found<_>>()?;
        if stretches.is_empty() {
            return wrong("no segments");
        }
        match Mapped::new(stretches) {
            Some(mapped) => Ok(Arc::new(mapped)),
            None => wrong("its segments do not fit together"),
        }
    }

    fn stretch(&self, segment: &Section, depth: u32, home: &mut Option<usize>) -> Found<Stretch> {
        let extents = |name| segment.number(name).and_then(|count| count.checked_mul(self.extent_bytes));
        let (Some(start), Some(length)) = (extents("start_extent"), extents("extent_count")) else {
            return wrong("a segment's place");
        };
        if length == 0 {
            return wrong("an empty segment");
        }
        let layout = segment.text("type").unwrap_or("unknown");
        let whole = |area| Stretch { start, length, stripe_bytes: length, areas: vec![area] };
        match layout {
            "striped" | "linear" => self.striped(segment, segment.list("stripes"), true, depth, home).map(|stretch| {
                let stripe_bytes = stretch.0.unwrap_or(length);
                Stretch { start, length, stripe_bytes, areas: stretch.1 }
            }),
            "raid0" | "raid0_meta" => {
                let devices = if layout == "raid0" { segment.list("raid0_lvs") } else { segment.list("raids") };
                let devices: Vec<Value> = match layout {
                    // Pairs of what the driver remembers and the data.
                    "raid0_meta" => devices.iter().skip(1).step_by(2).cloned().collect(),
                    _ => devices.to_vec(),
                };
                let (stripe_bytes, areas) = self.striped(segment, &devices, false, depth, home)?;
                Ok(Stretch { start, length, stripe_bytes: stripe_bytes.unwrap_or(length), areas })
            }
            "raid1" => self.raid1(segment, depth, home).map(whole),
            // The first copy of an old mirror is the one that the others are made from.
            "mirror" => match segment.list("mirrors") {
                [Value::Text(name), Value::Number(extent), ..] => self.area(name, *extent, depth, home).map(whole),
                _ => wrong("a mirror's copies"),
            },
            layout => Err(Problem::Layout { layout: layout.to_owned() }),
        }
    }

    /// The size of stripes, where there are several, and what they lie on.
    fn striped(
        &self,
        segment: &Section,
        devices: &[Value],
        has_extents: bool,
        depth: u32,
        home: &mut Option<usize>,
    ) -> Found<(Option<u64>, Vec<Area>)> {
        let count = segment.number("stripe_count").or(segment.number("device_count")).unwrap_or(1);
        let mut areas = Vec::new();
        let mut rest = devices;
        while let Some((name, after)) = rest.split_first() {
            let Value::Text(name) = name else { return wrong("a segment's devices") };
            let extent = match after.first() {
                Some(Value::Number(extent)) if has_extents => *extent,
                _ if has_extents => return wrong("a segment's devices"),
                _ => 0,
            };
            areas.push(self.area(name, extent, depth, home)?);
            rest = if has_extents { after.get(1..).unwrap_or_default() } else { after };
        }
        if areas.is_empty() || count > AREAS_MAX || u64::try_from(areas.len()) != Ok(count) {
            return wrong("the number of a segment's devices");
        }
        let stripe_bytes = segment.number("stripe_size").and_then(|sectors| sectors.checked_mul(SECTOR_BYTES));
        match (areas.len(), stripe_bytes) {
            (1, _) => Ok((None, areas)),
            (_, Some(bytes)) if bytes > 0 => Ok((Some(bytes), areas)),
            _ => wrong("a segment's stripe size"),
        }
    }

    /// The first copy of a mirrored segment that is whole.
    fn raid1(&self, segment: &Section, depth: u32, home: &mut Option<usize>) -> Found<Area> {
        let pairs = segment.list("raids").chunks_exact(2);
        let mut copies = Vec::new();
        let mut memories = Vec::new();
        let mut missing = None;
        for pair in pairs {
            let [Value::Text(memory), Value::Text(data)] = pair else { return wrong("a mirror's copies") };
            let mut of_this = None;
            let opened = self.area(memory, 0, depth, &mut None).and_then(|memory| {
                let data = self.area(data, 0, depth, &mut of_this)?;
                Ok((raid::read(memory.device.as_ref()).unwrap_or(None), data))
            });
            match opened {
                Ok((memory, data)) => {
                    memories.push(memory);
                    copies.push((data, of_this));
                }
                Err(problem) => missing = Some(problem),
            }
        }
        let chosen = raid::whole(&memories).first().and_then(|first| copies.into_iter().nth(*first));
        match chosen {
            Some((area, of_this)) => {
                *home = home.or(of_this);
                Ok(area)
            }
            None => Err(missing.unwrap_or(Problem::NoCopy)),
        }
    }

    /// A part of a physical volume, or a volume of the group as a whole, from an extent on.
    fn area(&self, name: &str, extent: i64, depth: u32, home: &mut Option<usize>) -> Found<Area> {
        match self.devices_left.get().checked_sub(1) {
            Some(left) => self.devices_left.set(left),
            None => return wrong("its volumes are made of each other"),
        }
        let Some(offset) = u64::try_from(extent).ok().and_then(|extent| extent.checked_mul(self.extent_bytes)) else {
            return wrong("an extent's number");
        };
        if let Some((id, start, place)) = self.named.get(name) {
            let missing = || Problem::Missing { id: (*id).to_owned() };
            let place = place.ok_or_else(missing)?;
            let device = Arc::clone(&self.physical.get(place).ok_or_else(missing)?.device);
            home.get_or_insert(place);
            return match start.checked_add(offset) {
                Some(start) => Ok(Area { device, start }),
                None => wrong("an extent's number"),
            };
        }
        let volumes = self.section.section("logical_volumes");
        match volumes.and_then(|volumes| volumes.section(name)) {
            Some(volume) => Ok(Area { device: self.device(volume, depth + 1, home)?, start: offset }),
            None => wrong("it names a device that there is not"),
        }
    }
}

/// The segments of a volume.
fn segments(volume: &Section) -> impl Iterator<Item = &Section> {
    volume.sections().filter(|(name, _)| name.starts_with("segment")).map(|(_, segment)| segment)
}
