//! Every kind of damage to every file of a small vault, and what readers, `verify` and the next backup make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore::backup::Progress;
use icecore::format::hex;
use icecore::format::key_slot::Role;
use icecore::format::parity::ParityHeader;
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, id_of as segment_id, padded};
use icecore::media::simulated::{Image, SECTOR_BYTES, SimulatedFiles};
use icecore::media::{Media, Object};
use icecore::point::PointInfo;
use icecore::seal::Credential;
use icecore::store::CacheSizes;
use icecore::store::parity::{self, Repair};
use icecore::vault::{DamagedSegment, InitOptions, OpenOptions, VerifyProgress};
use icecore::{Error, ErrorKind, Result, Vault};
use jiff::Timestamp;

use super::faults::{Fault, FaultyFiles, Plan};
use super::power::VAULT;

const CHUNK: usize = 4096;
const SECTOR: usize = SECTOR_BYTES as usize;

/// Calls of the file system that one look at the vault may take. Without damage it takes some 200.
const MOST_CALLS: u64 = 20_000;

/// The vault before its damage.
pub struct Sound {
    image: Image,
    /// Another vault of the same shape and password.
    foreign: Image,
    points: Vec<Point>,
    /// Bytes of segments that fill up records.
    padding: BTreeMap<PathBuf, Vec<Range<usize>>>,
    /// Of each parity object: how its segment is cut.
    parities: BTreeMap<PathBuf, ParityHeader>,
}

struct Point {
    machine: &'static str,
    name: String,
    id: String,
    disks: [(&'static str, Vec<u8>); 2],
}

/// In which state of the vault something is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Whole,
    /// The index was lost before.
    NoIndex,
    /// The copy of the header was lost before.
    LoneHeader,
}

/// What is done to a file.
#[derive(Clone, Debug)]
pub enum Damage {
    Flip {
        file: PathBuf,
        bit: usize,
    },
    /// A run of them.
    ZeroSectors {
        file: PathBuf,
        first: usize,
        sectors: usize,
    },
    Swap {
        one: (PathBuf, usize),
        other: (PathBuf, usize),
    },
    Truncate {
        file: PathBuf,
        length: usize,
    },
    Append {
        file: PathBuf,
        bytes: usize,
        zeros: bool,
    },
    Remove {
        file: PathBuf,
    },
    /// It has the content of another, of this vault or of the other one.
    Replace {
        file: PathBuf,
        by: PathBuf,
        foreign: bool,
    },
    /// The same content under another name too.
    Duplicate {
        file: PathBuf,
        name: PathBuf,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Something can't be read, and that is told with the right places.
    Detected,
    /// Everything reads right because parity corrects it; verify says so, and the file can be made again byte for byte.
    Corrected,
    /// Everything reads right, and why that is so.
    Harmless(&'static str),
    /// What THREATS.md says that nobody can see.
    Known(&'static str),
    /// What must never be.
    Wrong(String),
}

fn root() -> &'static Path {
    Path::new(VAULT)
}

fn second_password() -> Credential {
    Credential::password(*b"battery staple")
}

/// Two disks: noise, text and zeros, of two levels of map nodes the one, of two chunks the other.
fn disks(day: u64) -> [(&'static str, Vec<u8>); 2] {
    let mut os = vec![0; 131 * CHUNK + 1000];
    os[..CHUNK].copy_from_slice(&super::noise(1, CHUNK));
    os[CHUNK..2 * CHUNK].copy_from_slice(&super::text(day, CHUNK));
    os[130 * CHUNK..].copy_from_slice(&super::text(20, CHUNK + 1000));
    [("os", os), ("data", super::text(30, CHUNK + 900))]
}

fn other_disks() -> [(&'static str, Vec<u8>); 2] {
    [("os", [super::text(1, CHUNK), vec![0; CHUNK], super::text(40, 3000)].concat()), ("data", super::text(30, CHUNK))]
}

fn make(parity_percent: u8) -> (Image, Vec<Point>) {
    let disk = SimulatedFiles::new();
    let files = FaultyFiles::over(Arc::new(disk.clone()), Plan::NONE);
    let options = InitOptions { parity_percent, ..super::small() };
    let vault = files.init(root(), &options).expect("init");
    vault.add_key(Role::Restore, &second_password(), super::CHEAP).expect("key");
    let mut points = Vec::new();
    for (second, machine, disks) in [(1, "web", disks(1)), (2, "db", other_disks()), (3, "web", disks(2))] {
        let vault = files.open(root()).expect("open");
        let named: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        let mut request = super::memory_request(machine, &named);
        request.time = Timestamp::from_second(second).ok();
        let point = vault.backup(&request, &Progress::default()).expect("backup").point;
        points.push(Point { machine, name: point.name.clone(), id: point.id.clone(), disks });
        if second == 1 {
            // So that there are two runs in the end, and one of them covers more than one backup.
            drop(vault);
            lose_index(&disk);
        }
    }
    (image_of(&disk), points)
}

fn lose_index(disk: &SimulatedFiles) {
    use icecore::media::files::Files;
    let index = root().join("index");
    for run in disk.list(&index).expect("listed") {
        disk.remove(&index.join(run.name)).expect("removed");
    }
}

/// All that a disk holds.
fn image_of(disk: &SimulatedFiles) -> Image {
    use icecore::media::simulated::{Crash, Left};
    let trace = disk.trace();
    let mut crash = Crash::before(&trace);
    while crash.step().is_some() {}
    crash.image(Left::Everything)
}

impl Sound {
    /// A vault with parity or, for 0, without.
    pub fn new(parity_percent: u8) -> Self {
        let (image, points) = make(parity_percent);
        let (foreign, _) = make(parity_percent);
        let segments = image.files.iter().filter(|(path, _)| kind(path) == "segments");
        let padding = segments.map(|(path, bytes)| (path.clone(), padding(bytes))).collect();
        let parities = image.files.iter().filter(|(path, _)| kind(path) == "parity");
        let header = |bytes: &[u8]| ParityHeader::decode(bytes.first_chunk().expect("a header")).expect("a header");
        let parities = parities.map(|(path, bytes)| (path.clone(), header(bytes))).collect();
        Self { image, foreign, points, padding, parities }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> usize {
        self.image.files.values().map(|bytes| bytes.len()).sum()
    }

    /// Every damage of every kind, each in the states of the vault in which it may matter.
    pub fn cases(&self) -> Vec<(Base, Damage)> {
        let mut cases = Vec::new();
        let mut sectors: Vec<(PathBuf, usize)> = Vec::new();
        for (file, bytes) in &self.image.files {
            let bases: &[Base] = match kind(file) {
                "segments" => &[Base::Whole, Base::NoIndex],
                "header" => &[Base::Whole, Base::LoneHeader],
                _ => &[Base::Whole],
            };
            sectors.extend((0..bytes.len().div_ceil(SECTOR)).map(|sector| (file.clone(), sector)));
            for damage in self.damages(file, bytes) {
                cases.extend(bases.iter().map(|base| (*base, damage.clone())));
            }
        }
        for (number, one) in sectors.iter().enumerate() {
            let others = sectors[number + 1..].iter();
            let damages = others.map(|other| Damage::Swap { one: one.clone(), other: other.clone() });
            cases.extend(damages.map(|damage| (Base::Whole, damage)));
        }
        cases
    }

    /// What can be done to one file, but for swaps.
    fn damages(&self, path: &Path, bytes: &[u8]) -> Vec<Damage> {
        let file = || path.to_path_buf();
        let sectors = 0..bytes.len().div_ceil(SECTOR);
        let mut damages = vec![Damage::Remove { file: file() }];
        damages.extend((0..8 * bytes.len()).map(|bit| Damage::Flip { file: file(), bit }));
        let runs: &[usize] = if ["segments", "parity"].contains(&kind(path)) { &[1, 8, 16, 24] } else { &[1] };
        damages.extend(sectors.flat_map(|first| {
            runs.iter().map(move |sectors| Damage::ZeroSectors { file: path.to_path_buf(), first, sectors: *sectors })
        }));
        damages.extend((0..bytes.len()).map(|length| Damage::Truncate { file: file(), length }));
        for zeros in [false, true] {
            damages.extend([1, 511, 512, 4096].map(|bytes| Damage::Append { file: file(), bytes, zeros }));
        }
        for (image, foreign) in [(&self.image, false), (&self.foreign, true)] {
            let same_kind = image.files.keys().filter(|other| kind(other) == kind(path) && **other != path);
            damages.extend(same_kind.map(|by| Damage::Replace { file: file(), by: by.clone(), foreign }));
        }
        damages.extend(self.other_names(path).into_iter().map(|name| Damage::Duplicate { file: file(), name }));
        damages
    }

    /// Names that are free and that a file of this kind may have.
    fn other_names(&self, path: &Path) -> Vec<PathBuf> {
        let beside = |name: &str| path.with_file_name(name);
        let number = "5a".repeat(16);
        let mut names = match kind(path) {
            "keys" => ["0123456789abcdef.slot", "ffffffffffffffff.slot"].map(beside).to_vec(),
            "segments" => vec![beside(&format!("{number}.seg"))],
            "parity" => vec![beside(&format!("{number}.par"))],
            "index" => vec![beside(&format!("{number}.run"))],
            "catalog" => {
                let entries = self.image.files.keys().filter(|path| kind(path) == "catalog");
                let chains: BTreeSet<&Path> = entries.filter_map(|entry| entry.parent()).collect();
                let new = root().join("catalog").join(&number);
                let all = chains
                    .into_iter()
                    .chain([new.as_path()])
                    .flat_map(|chain| [0, 1, 2, 3, 100].map(|sequence| chain.join(format!("{sequence:016x}.entry"))));
                all.collect()
            }
            _ => Vec::new(),
        };
        names.retain(|name| !self.image.files.contains_key(name));
        names.push(root().join("tmp").join(number));
        names
    }

    /// Does it; nothing where it would change nothing.
    fn damaged(&self, base: Base, damage: &Damage) -> Option<Image> {
        let mut image = self.image.clone();
        match base {
            Base::Whole => {}
            Base::NoIndex => image.files.retain(|path, _| kind(path) != "index"),
            Base::LoneHeader => drop(image.files.remove(&root().join("header-copy"))),
        }
        let before = image.clone();
        let mut change = |file: &PathBuf, change: &mut dyn FnMut(&mut Vec<u8>)| {
            image.files.get_mut(file).is_some_and(|content| {
                change(Arc::make_mut(content));
                true
            })
        };
        let done = match damage {
            Damage::Flip { file, bit } => change(file, &mut |bytes| bytes[bit / 8] ^= 1 << (bit % 8)),
            Damage::ZeroSectors { file, first, sectors } => change(file, &mut |bytes| {
                let end = ((first + sectors) * SECTOR).min(bytes.len());
                bytes[first * SECTOR..end].fill(0);
            }),
            Damage::Truncate { file, length } => change(file, &mut |bytes| bytes.truncate(*length)),
            Damage::Append { file, bytes: more, zeros } => change(file, &mut |bytes| {
                bytes.extend(if *zeros { vec![0; *more] } else { super::noise(77, *more) });
            }),
            Damage::Swap { one, other } => {
                let content = |(file, sector): &(PathBuf, usize)| {
                    let bytes = &before.files[file];
                    bytes[sector * SECTOR..((sector + 1) * SECTOR).min(bytes.len())].to_vec()
                };
                let (first, second) = (content(one), content(other));
                let length = first.len().min(second.len());
                for ((file, sector), new) in [(one, second), (other, first)] {
                    change(file, &mut |bytes| bytes[sector * SECTOR..][..length].copy_from_slice(&new[..length]));
                }
                true
            }
            Damage::Remove { file } => image.files.remove(file).is_some(),
            Damage::Replace { file, by, foreign } => {
                let content = if *foreign { &self.foreign.files[by] } else { &self.image.files[by] };
                image.files.insert(file.clone(), Arc::clone(content)).is_some()
            }
            Damage::Duplicate { file, name } => {
                image.directories.insert(name.parent().expect("a folder").to_path_buf());
                image.files.insert(name.clone(), Arc::clone(&self.image.files[file])).is_none()
            }
        };
        (done && image != before).then_some(image)
    }

    /// Damages the vault and looks at what that does; nothing where it changes nothing. With `next`, another backup is made
    /// after the check, which must not suffer.
    pub fn judge(&self, base: Base, damage: &Damage, next: bool) -> Option<Verdict> {
        let image = self.damaged(base, damage)?;
        let look = AssertUnwindSafe(|| self.look(&image, base, damage, next));
        let looked = catch_unwind(look).unwrap_or_else(|_| Err("it panics".to_owned()));
        Some(looked.unwrap_or_else(Verdict::Wrong))
    }

    fn look(&self, image: &Image, base: Base, damage: &Damage, next: bool) -> std::result::Result<Verdict, String> {
        let disk = SimulatedFiles::from_image(image.clone()).map_err(|error| error.to_string())?;
        let mut damaged: Vec<String> = damage.files().iter().map(|file| object(file)).collect();
        if base == Base::LoneHeader {
            damaged.push("header-copy".to_owned());
        }
        let names = |error: &Error| error.object().is_some_and(|name| damaged.iter().any(|damaged| damaged == name));
        let only = |kind_of: &str| damage.files().iter().all(|file| kind(file) == kind_of);
        let within_parity = !matches!(damage, Damage::Duplicate { .. })
            && damage.files().iter().all(|file| ["segments", "parity"].contains(&kind(file)))
            && !self.parities.is_empty()
            && self.is_within_parity(image);
        let vault = match open(&disk) {
            Ok(vault) => vault,
            Err(error) => {
                let closes = damage.files().iter().any(|file| ["keys", "header"].contains(&kind(file)));
                let lost_slot = matches!(error, Error::WrongKey { .. }) && matches!(damage, Damage::Remove { .. });
                // A header of one vault and slots of another: nobody can say which of them belong here.
                let stranger = matches!(damage, Damage::Replace { foreign: true, .. }) && base == Base::LoneHeader;
                let named = is_damage(&error) && (names(&error) || stranger);
                ensure(closes && (lost_slot || named), || format!("open: {error}"))?;
                return Ok(Verdict::Detected);
            }
        };
        let found = self.read(&vault, &names)?;
        // By another instance, which knows nothing of what the readers met.
        let vault = open(&disk).map_err(|error| format!("opens once only: {error}"))?;
        let report = vault.verify(&VerifyProgress::default()).map_err(|error| format!("verify: {error}"))?;
        for error in &report.damage {
            ensure(is_damage(error), || format!("verify: {error}"))?;
        }
        let told: BTreeSet<Lost> = report
            .hit
            .iter()
            .map(|hit| (hit.machine.clone(), hit.point.clone(), hit.disk.clone(), hit.range.start, hit.range.end))
            .collect();
        ensure(told == found.lost, || format!("verify tells {told:?}, readers meet {:?}", found.lost))?;
        let is_told = report.damage.iter().any(names);
        if within_parity {
            ensure(found.lost.is_empty() && found.gone.is_empty(), || format!("{:?}, within parity", found.lost))?;
            let can = |one: &DamagedSegment| one.repair == Repair::Possible;
            ensure(report.repairs.iter().all(can), || format!("{:?}, within parity", report.repairs))?;
        }
        for one in report.repairs.iter().filter(|one| one.repair == Repair::Possible) {
            self.is_rebuilt(&disk, &one.object)?;
        }
        for error in &report.parity {
            ensure(is_damage(error) && (names(error) || error.object().is_some_and(is_parity)), || error.to_string())?;
        }
        let tells_parity = || report.parity.iter().chain(&report.harmless).any(names);
        if only("parity") {
            ensure(tells_parity() && report.is_clean(), || format!("damage of parity: {:?}", report.damage))?;
        }
        if next && !only("locks") {
            next_backup(&disk).map_err(|what| format!("the next backup: {what}"))?;
        }
        if !found.gone.is_empty() {
            let newest = matches!(damage, Damage::Remove { file } if self.is_newest_entry(file));
            ensure(is_told || newest, || format!("{:?} vanished, and nobody is told", found.gone))?;
            return Ok(if is_told { Verdict::Detected } else { Verdict::Known("the newest entry of a chain cut off") });
        }
        if !found.lost.is_empty() {
            let is_absent = matches!(damage, Damage::Remove { .. });
            ensure(is_told || is_absent, || format!("verify does not name what is damaged: {:?}", report.damage))?;
            return Ok(Verdict::Detected);
        }
        if !report.is_clean() {
            ensure(is_told, || format!("verify names something else: {:?}", report.damage))?;
            let is_corrected = report.repairs.iter().any(|one| one.repair == Repair::Possible);
            return Ok(if is_corrected { Verdict::Corrected } else { Verdict::Harmless("told by verify") });
        }
        match damage {
            _ if only("index") => Ok(Verdict::Harmless("in the index")),
            _ if damage.files().iter().all(|file| ["index", "parity", "locks"].contains(&kind(file)))
                && tells_parity() =>
            {
                Ok(Verdict::Harmless("in parity, told by verify"))
            }
            _ if only("locks") => Ok(Verdict::Harmless("in a lock file")),
            Damage::Duplicate { name, .. } if kind(name) == "tmp" => Ok(Verdict::Harmless("unpublished")),
            Damage::Remove { file } if kind(file) == "keys" => Ok(Verdict::Known("another's key slot removed")),
            _ if self.only_padding(image) => Ok(Verdict::Harmless("in the padding of records")),
            _ => Err("nobody is told, and it is not known to be harmless".to_owned()),
        }
    }

    /// Reads every disk of every point.
    fn read(&self, vault: &Vault, names: &dyn Fn(&Error) -> bool) -> std::result::Result<Found, String> {
        let mut found = Found::default();
        let known: BTreeSet<&str> = self.points.iter().map(|point| point.id.as_str()).collect();
        let listed: Vec<Arc<PointInfo>> =
            vault.machines().iter().flat_map(|machine| vault.points(machine).unwrap_or_default()).collect();
        let distinct: BTreeSet<&str> = listed.iter().map(|point| point.id.as_str()).collect();
        ensure(distinct.is_subset(&known), || "a point that was never made".to_owned())?;
        ensure(distinct.len() == listed.len(), || "a point is there twice".to_owned())?;
        let is_right = |error: &Error| {
            // What is in no segment has no object of its own: verify tells which points it hits.
            let about_records =
                || error.object().is_some_and(|name| name == "segments" || name.starts_with("map node"));
            ensure(is_damage(error) && (names(error) || about_records()), || format!("a read: {error}"))
        };
        for point in &self.points {
            let Some(info) = listed.iter().find(|listed| listed.id == point.id) else {
                found.gone.push(point.name.clone());
                continue;
            };
            ensure(info.machine == point.machine && info.name == point.name, || "a point is misnamed".to_owned())?;
            let lost = |disk: &str, start, end| (info.machine.clone(), info.name.clone(), disk.to_owned(), start, end);
            if let Err(error) = vault.manifest(info) {
                is_right(&error)?;
                found.lost.insert(lost("(all)", 0, 0));
                continue;
            }
            for (name, expected) in &point.disks {
                let error = match super::disk_bytes(vault, info, name) {
                    Ok(read) => {
                        ensure(read == *expected, || format!("{} of {} reads as other bytes", name, point.name))?;
                        continue;
                    }
                    Err(error) => error,
                };
                is_right(&error)?;
                for (start, end) in unreadable_ranges(vault, info, name, expected)? {
                    found.lost.insert(lost(name, start, end));
                }
            }
        }
        Ok(found)
    }

    /// Whether parity must give everything back, by what FORMAT.md says of it.
    fn is_within_parity(&self, image: &Image) -> bool {
        self.parities.iter().all(|(path, header)| {
            let segment = root().join(format!("segments/{}.seg", hex(&header.segment)));
            let Some(found) = image.files.get(&segment) else { return false };
            let lost = differing(&self.image.files[&segment], found, header.shard_bytes());
            let Some(parity) = image.files.get(path) else { return lost.is_empty() };
            if lost.is_empty() {
                return true;
            }
            let sound = &self.image.files[path];
            let (front, back) = (header.shards_offset() as usize, header.second_sums_offset() as usize);
            let differs = |from: usize, to: usize| parity.get(from..to) != Some(&sound[from..to]);
            let one_copy = !differs(0, front) || (!differs(back, sound.len()) && parity.len() == sound.len());
            let shards = (front..back).step_by(header.shard_bytes());
            let lost_parity = shards.filter(|at| differs(*at, at + header.shard_bytes())).count();
            assert_eq!(header.groups, 1, "the vault is small");
            one_copy && lost.len() + lost_parity <= header.parity_shards as usize
        })
    }

    /// Whether a damaged segment is made again byte for byte.
    fn is_rebuilt(&self, disk: &SimulatedFiles, object: &str) -> std::result::Result<(), String> {
        let media = FaultyFiles::over(Arc::new(disk.clone()), Plan::NONE).media(root());
        let sound = &self.image.files[&root().join(object)];
        let id = segment_id(object.trim_start_matches("segments/")).expect("a segment's name");
        let rebuilt = parity::rebuild(&media, None, &id).map_err(|error| format!("it is not made again: {error}"))?;
        let mut bytes = vec![0; sound.len()];
        ensure(rebuilt.length() == sound.len() as u64, || "it is made again with another length".to_owned())?;
        rebuilt.read_exact_at(0, &mut bytes).map_err(|error| error.to_string())?;
        ensure(bytes == **sound, || "it is made again with other bytes".to_owned())
    }

    fn is_newest_entry(&self, file: &Path) -> bool {
        let last = self.image.files.keys().rfind(|path| path.parent() == file.parent());
        kind(file) == "catalog" && last.is_some_and(|last| last == file)
    }

    /// Whether nothing differs but bytes that fill up records.
    fn only_padding(&self, image: &Image) -> bool {
        let mut paths = self.image.files.keys().filter(|path| kind(path) != "index");
        paths.all(|path| {
            let (sound, Some(damaged)) = (&self.image.files[path], image.files.get(path)) else { return false };
            let is_padding =
                |at: usize| self.padding.get(path).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&at)));
            let mut pairs = sound.iter().zip(damaged.iter()).enumerate();
            sound.len() == damaged.len() && pairs.all(|(at, (sound, damaged))| sound == damaged || is_padding(at))
        })
    }
}

/// A range of a disk that can't be read: machine, point, disk, first byte, first byte after.
type Lost = (String, String, String, u64, u64);

/// What readers met.
#[derive(Default)]
struct Found {
    lost: BTreeSet<Lost>,
    /// Points that are not listed.
    gone: Vec<String>,
}

impl Damage {
    /// The files that it is done to.
    fn files(&self) -> Vec<&Path> {
        match self {
            Self::Flip { file, .. }
            | Self::ZeroSectors { file, .. }
            | Self::Truncate { file, .. }
            | Self::Append { file, .. }
            | Self::Remove { file }
            | Self::Replace { file, .. }
            | Self::Duplicate { name: file, .. } => vec![file],
            Self::Swap { one, other } => vec![&one.0, &other.0],
        }
    }

    /// Whether it is done to the index and nothing else.
    pub fn is_to_the_index(&self) -> bool {
        self.is_only_to("index")
    }

    /// Whether it is done to parity, among others.
    pub fn is_to_parity(&self) -> bool {
        self.files().iter().any(|file| kind(file) == "parity")
    }

    /// Whether it is done to files of one kind and no others.
    pub fn is_only_to(&self, of: &str) -> bool {
        self.files().iter().all(|file| kind(file) == of)
    }
}

/// What a file of the vault is: the first part of its name, both headers one.
fn kind(path: &Path) -> &str {
    let first = path.strip_prefix(root()).ok().and_then(|path| path.iter().next()).and_then(|part| part.to_str());
    match first.expect("a file of the vault") {
        "header-copy" => "header",
        first => first,
    }
}

/// Numbers of the pieces of so many bytes in which a file is not what it was.
fn differing(sound: &[u8], found: &[u8], bytes: usize) -> Vec<usize> {
    let pieces = sound.chunks(bytes).enumerate();
    let differ = |at: usize, piece: &[u8]| found.get(at * bytes..at * bytes + piece.len()) != Some(piece);
    pieces.filter(|(at, piece)| differ(*at, piece)).map(|(at, _)| at).collect()
}

fn is_parity(object: &str) -> bool {
    object.starts_with("parity/")
}

fn object(path: &Path) -> String {
    path.strip_prefix(root()).expect("in the vault").to_string_lossy().into_owned()
}

fn padding(segment: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(header) = segment.get(at..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
        let Ok(header) = RecordHeader::decode(header) else { break };
        let payload = at + RECORD_HEADER_BYTES;
        at = payload + padded(header.stored_bytes) as usize;
        found.push(payload + header.stored_bytes as usize..at);
    }
    found
}

fn ensure(is_so: bool, what: impl FnOnce() -> String) -> std::result::Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported)
}

/// Opens the vault for so many calls and no more.
fn open(disk: &SimulatedFiles) -> Result<Vault> {
    let plan = Plan { nth: MOST_CALLS, for_ever: true, fault: Fault::Fails(libc::ETIME), ..Plan::NONE };
    let files = FaultyFiles::over(Arc::new(disk.clone()), plan);
    let media: Arc<dyn Media> = Arc::new(files.media(root()));
    let cache = CacheSizes { chunk_bytes: 1 << 16, node_bytes: 1 << 16 };
    Vault::open_on(media, &super::password(), &OpenOptions { cache, ..OpenOptions::default() })
}

/// The chunks of a disk that can't be read, those that touch made one.
fn unreadable_ranges(
    vault: &Vault,
    point: &PointInfo,
    disk: &str,
    expected: &[u8],
) -> std::result::Result<Vec<(u64, u64)>, String> {
    let Ok(map) = vault.disk(point, disk) else { return Ok(vec![(0, expected.len() as u64)]) };
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    for (start, expected) in (0_u64..).step_by(CHUNK).zip(expected.chunks(CHUNK)) {
        match map.read(start, &mut buffer[..expected.len()]) {
            Ok(_) => ensure(buffer[..expected.len()] == *expected, || format!("{disk} at {start}: other bytes"))?,
            Err(_) => {
                let end = start + expected.len() as u64;
                match ranges.last_mut().filter(|last| last.1 == start) {
                    Some(last) => last.1 = end,
                    None => ranges.push((start, end)),
                }
            }
        }
    }
    Ok(ranges)
}

/// Backs up once more what was there, and reads it: what is damaged was told by `verify`, and is stored again.
fn next_backup(disk: &SimulatedFiles) -> std::result::Result<(), String> {
    let said = |error: Error| error.to_string();
    let vault = open(disk).map_err(said)?;
    let disks = disks(2);
    let named: Vec<(&str, &[u8])> = disks.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let id = super::backup_bytes(&vault, "next", &named).map_err(said)?.point.id.clone();
    let vault = open(disk).map_err(said)?;
    let point = vault.point("next", &id).map_err(said)?;
    for (name, expected) in &disks {
        let read = super::disk_bytes(&vault, &point, name).map_err(said)?;
        ensure(read == *expected, || format!("{name} reads as other bytes"))?;
    }
    Ok(())
}
