//! A segment of a logical volume: which extents of it lie where, and how.

use std::collections::HashMap;

use super::problem::{Problem, wrong};
use super::text::{Section, Value};

const SECTOR_BYTES: u64 = 512;
/// Devices of one segment at most; LVM2 has no more than 128 stripes and 253 parts of a RAID.
const PARTS_MAX: usize = 256;
/// Longest name of a layout that is repeated to a person.
const LAYOUT_BYTES_MAX: usize = 64;

/// Volumes of a group by the names that its metadata uses.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub physical: HashMap<&'a str, usize>,
    pub logical: HashMap<&'a str, usize>,
}

/// Consecutive extents that are laid out in one way.
#[derive(Debug, PartialEq)]
pub(super) struct Segment {
    /// The first extent, and how many there are.
    pub start: u64,
    pub count: u64,
    /// The layout's name in LVM2.
    pub kind: String,
    pub layout: Result<Layout, Problem>,
}

/// How a segment is laid out.
#[derive(Debug, PartialEq)]
pub(super) enum Layout {
    /// In turn on each of several places; on one place, all of it.
    Striped {
        stripe_bytes: Option<u64>,
        places: Vec<Place>,
    },
    /// By the driver of software RAID.
    Raid {
        level: Level,
        stripe_bytes: Option<u64>,
        legs: Vec<Leg>,
    },
    /// The same on each place, the first of which is the one that others are made from.
    Mirror {
        places: Vec<Place>,
        log: Option<usize>,
    },
    Zero,
    /// Extents that the guest gave up.
    Error,
    /// What thin volumes take their chunks from.
    ThinPool {
        metadata: usize,
        data: usize,
    },
    /// A device of a pool; what it does not have comes from its origin outside of the pool, if it has one.
    Thin {
        pool: usize,
        device: u64,
        origin: Option<usize>,
    },
    /// What the volume of changes `store` makes of another volume.
    Snapshot {
        origin: usize,
        store: usize,
        is_merging: bool,
    },
}

/// A level of RAID, with the arrangement of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Stripes,
    Mirror,
    /// Mirrors of so many copies, striped.
    StripedMirrors(usize),
    Parity(Parity),
}

/// Where a row of stripes has its parity (`drivers/md/raid5.c`, `raid5_compute_sector`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parity {
    /// On the first device.
    First,
    /// On the last `parities` devices.
    Last {
        parities: u64,
    },
    /// One device back from row to row, data in order beside it.
    LeftAsymmetric {
        on_last: bool,
    },
    RightAsymmetric {
        on_last: bool,
    },
    /// The same, data beginning behind the parity.
    LeftSymmetric {
        on_last: bool,
    },
    RightSymmetric {
        on_last: bool,
    },
    /// Two parities that move together: RAID 6 of the kernel's own.
    ZeroRestart,
    NRestart,
    NContinue,
}

/// One part of a RAID: its data, and what the driver remembers of it.
#[derive(Debug, PartialEq)]
pub(super) struct Leg {
    pub memory: Option<usize>,
    pub data: usize,
}

/// An extent of a volume.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    pub on: On,
    pub extent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum On {
    Physical(usize),
    Logical(usize),
}

impl Segment {
    pub fn parse(section: &Section<'_>, names: &Names<'_>) -> Self {
        let kind = section.text("type").unwrap_or("unknown");
        let is_plain = kind.len() <= LAYOUT_BYTES_MAX && kind.bytes().all(|byte| byte.is_ascii_graphic());
        let kind = if is_plain { kind } else { "unknown" };
        let (start, count) = (section.number("start_extent"), section.number("extent_count"));
        let layout = match (start, count) {
            (Some(_), Some(1..)) => parse(kind, section, names),
            _ => wrong("a segment's place"),
        };
        let (start, count) = (start.unwrap_or(u64::MAX), count.unwrap_or_default());
        Self { start, count, kind: kind.to_owned(), layout }
    }

    /// The volumes that it is made of by plain arithmetic.
    pub fn parts(&self) -> impl Iterator<Item = usize> {
        let (places, legs, log): (&[Place], &[Leg], Option<usize>) = match &self.layout {
            Ok(Layout::Striped { places, .. }) => (places, &[], None),
            Ok(Layout::Mirror { places, log }) => (places, &[], *log),
            Ok(Layout::Raid { legs, .. }) => (&[], legs, None),
            _ => (&[], &[], None),
        };
        let of_place = |place: &Place| match place.on {
            On::Logical(volume) => Some(volume),
            On::Physical(_) => None,
        };
        let of_legs = legs.iter().flat_map(|leg| leg.memory.into_iter().chain([leg.data]));
        places.iter().filter_map(of_place).chain(of_legs).chain(log)
    }
}

fn parse(kind: &str, section: &Section<'_>, names: &Names<'_>) -> Result<Layout, Problem> {
    let volume = |name: &str| {
        let name = section.text(name).ok_or(Problem::Metadata { what: "a segment's volume" })?;
        logical(name, names)
    };
    let optional = |name: &str| section.text(name).map(|name| logical(name, names)).transpose();
    Ok(match kind {
        "striped" | "linear" => {
            let places = places(section.list("stripes"), names)?;
            if section.number("stripe_count").unwrap_or(1) != u64::try_from(places.len()).unwrap_or_default() {
                return wrong("the number of a segment's stripes");
            }
            Layout::Striped { stripe_bytes: stripe_bytes(section)?, places }
        }
        "mirror" => Layout::Mirror { places: places(section.list("mirrors"), names)?, log: optional("mirror_log")? },
        "zero" => Layout::Zero,
        "error" => Layout::Error,
        "thin-pool" => Layout::ThinPool { metadata: volume("metadata")?, data: volume("pool")? },
        // From the guest's next start on it would be what is merged into it.
        "thin" if section.value("merge").is_some() => return refused("thin, to be merged"),
        "thin" => Layout::Thin {
            pool: volume("thin_pool")?,
            device: section.number("device_id").ok_or(Problem::Metadata { what: "a thin volume's number" })?,
            origin: optional("external_origin")?,
        },
        "snapshot" => {
            let merging = optional("merging_store")?;
            let store = merging.map_or_else(|| volume("cow_store"), Ok)?;
            Layout::Snapshot { origin: volume("origin")?, store, is_merging: merging.is_some() }
        }
        _ => match level(kind, section) {
            Some(level) => raid(level, section, names)?,
            None => return refused(kind),
        },
    })
}

fn refused<T>(layout: &str) -> Result<T, Problem> {
    Err(Problem::Layout { layout: layout.to_owned() })
}

fn level(kind: &str, section: &Section<'_>) -> Option<Level> {
    use Parity::{
        First, LeftAsymmetric, LeftSymmetric, NContinue, NRestart, RightAsymmetric, RightSymmetric, ZeroRestart,
    };
    let (one, two) = (false, true);
    Some(match kind {
        "raid0" | "raid0_meta" => Level::Stripes,
        "raid1" => Level::Mirror,
        "raid10" | "raid10_near" => {
            Level::StripedMirrors(usize::try_from(section.number("data_copies").unwrap_or(2)).ok()?)
        }
        "raid4" => Level::Parity(First),
        "raid5_n" => Level::Parity(Parity::Last { parities: 1 }),
        "raid6_n_6" => Level::Parity(Parity::Last { parities: 2 }),
        "raid5" | "raid5_ls" => Level::Parity(LeftSymmetric { on_last: one }),
        "raid5_la" => Level::Parity(LeftAsymmetric { on_last: one }),
        "raid5_rs" => Level::Parity(RightSymmetric { on_last: one }),
        "raid5_ra" => Level::Parity(RightAsymmetric { on_last: one }),
        "raid6_ls_6" => Level::Parity(LeftSymmetric { on_last: two }),
        "raid6_la_6" => Level::Parity(LeftAsymmetric { on_last: two }),
        "raid6_rs_6" => Level::Parity(RightSymmetric { on_last: two }),
        "raid6_ra_6" => Level::Parity(RightAsymmetric { on_last: two }),
        "raid6" | "raid6_zr" => Level::Parity(ZeroRestart),
        "raid6_nr" => Level::Parity(NRestart),
        "raid6_nc" => Level::Parity(NContinue),
        _ => return None,
    })
}

fn raid(level: Level, section: &Section<'_>, names: &Names<'_>) -> Result<Layout, Problem> {
    // While its parts change in number or size, some rows lie in the old way and some in the new.
    if ["data_offset", "delta_disks", "reshape_count"]
        .iter()
        .any(|name| section.number(name).is_some_and(|value| value > 0))
    {
        return refused("raid, being reshaped");
    }
    let name = |value: &Value<'_>| logical(value.text().unwrap_or_default(), names);
    let legs: Vec<Leg> = match section.list("raids") {
        [] => {
            let devices = bounded(section.list("raid0_lvs"), 1)?;
            devices.iter().map(|value| Ok(Leg { memory: None, data: name(value)? })).collect::<Result<_, Problem>>()?
        }
        pairs => {
            let pairs = bounded(pairs, 2)?.chunks_exact(2);
            let leg = |pair: &[Value<'_>]| match pair {
                [memory, data] => Ok(Leg { memory: Some(name(memory)?), data: name(data)? }),
                _ => wrong("a segment's devices"),
            };
            pairs.map(leg).collect::<Result<_, _>>()?
        }
    };
    let count = section.number("device_count").or(section.number("stripe_count"));
    let least = match level {
        Level::Stripes | Level::Mirror => 1,
        Level::StripedMirrors(copies) if copies > 0 && legs.len().is_multiple_of(copies) => 1,
        // Copies that are spread over a number of devices which they do not divide.
        Level::StripedMirrors(_) => return refused("raid10 of uneven copies"),
        Level::Parity(Parity::First | Parity::Last { parities: 1 }) => 2,
        Level::Parity(_) => 3,
    };
    if legs.len() < least || count.is_some_and(|count| usize::try_from(count) != Ok(legs.len())) {
        return wrong("the number of a segment's devices");
    }
    Ok(Layout::Raid { level, stripe_bytes: stripe_bytes(section)?, legs })
}

/// The list of a segment's devices, `each` values for one.
fn bounded<'v, 'a>(values: &'v [Value<'a>], each: usize) -> Result<&'v [Value<'a>], Problem> {
    if values.is_empty() || values.len() > PARTS_MAX.saturating_mul(each) || !values.len().is_multiple_of(each) {
        return wrong("a segment's devices");
    }
    Ok(values)
}

fn places(values: &[Value<'_>], names: &Names<'_>) -> Result<Vec<Place>, Problem> {
    let place = |pair: &[Value<'_>]| {
        let [Value::Text(name), extent] = pair else { return wrong("a segment's devices") };
        let Some(extent) = extent.number() else { return wrong("an extent's number") };
        // Where both have it, LVM2 takes a name for that of a physical volume.
        match names.physical.get(name.as_ref()) {
            Some(volume) => Ok(Place { on: On::Physical(*volume), extent }),
            None => Ok(Place { on: On::Logical(logical(name, names)?), extent }),
        }
    };
    bounded(values, 2)?.chunks_exact(2).map(place).collect()
}

fn logical(name: &str, names: &Names<'_>) -> Result<usize, Problem> {
    names.logical.get(name).copied().ok_or(Problem::Metadata { what: "it names a device that there is not" })
}

fn stripe_bytes(section: &Section<'_>) -> Result<Option<u64>, Problem> {
    match section.number("stripe_size").map(|sectors| sectors.checked_mul(SECTOR_BYTES)) {
        None | Some(Some(0)) => Ok(None),
        Some(Some(bytes)) => Ok(Some(bytes)),
        Some(None) => wrong("a segment's stripe size"),
    }
}
