//! The catalog: what happened to points. Per machine a chain of entries; the list of points is its replay.
//!
//! Invariants:
//! - the publication of an entry is what makes a point exist; everything that it names is durable before;
//! - of two writers who append at once one gets the number, the other takes the next;
//! - an entry that is damaged or missing hides only itself, and is reported.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Consistency;
use super::entries::{self, ReadEntry};
use super::heads::ChainHead;
use crate::error::{Damage, Error, Problem, Result};
use crate::format::catalog_entry::{self, PointMade};
use crate::format::{HASH_BYTES, Hash, Id, hex, id_from_hex};
use crate::media::Media;
use crate::seal::VaultKeys;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A recovery point, as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointInfo {
    /// The machine.
    pub machine: String,
    /// The name in the tree: its time, and where another point has the same, a dash and eight digits of its id.
    pub name: String,
    /// Its id, 32 hex digits.
    pub id: String,
    /// The moment that it stands for.
    pub time: Timestamp,
    /// How consistent it is.
    pub consistency: Consistency,
    /// Whether only its manifest was found in a segment, and the catalog has no entry of it: seen only where the vault was
    /// opened to salvage what is left.
    pub is_found: bool,
    pub(crate) entry: PointMade,
}

/// Most entries that are read before they are replayed.
const MOST_AT_ONCE: usize = 4096;

/// The catalog of an open vault.
pub struct Catalog {
    media: Arc<dyn Media>,
    keys: Arc<VaultKeys>,
    chains: Mutex<BTreeMap<Id, Chain>>,
}

/// What is known of a chain so far.
#[derive(Clone, Default)]
struct Chain {
    points: Vec<Arc<PointInfo>>,
    /// The names of the points.
    names: HashSet<String>,
    /// Number that the next entry gets.
    next: u64,
    /// Hash of the last entry.
    head: Hash,
    damage: Vec<Damage>,
    /// The last entry that the medium did not give: what follows can't be bound to it.
    unreadable: Option<u64>,
}

impl Catalog {
    /// Opens the catalog and replays it.
    pub fn open(media: Arc<dyn Media>, keys: Arc<VaultKeys>) -> Result<Self> {
        let catalog = Self { media, keys, chains: Mutex::default() };
        catalog.refresh()?;
        Ok(catalog)
    }

    /// Reads the entries that came since. Damaged ones are remembered, see [`Self::damage`].
    pub fn refresh(&self) -> Result<()> {
        let folders = self.media.list_folders(catalog_entry::FOLDER)?;
        // The vault's own chain tells of no points.
        let own = self.keys.own_chain();
        let machines = folders.iter().filter_map(|folder| id_from_hex(folder)).filter(|id| *id != own);
        self.refresh_chains(&machines.collect::<Vec<_>>())
    }

    fn chains(&self) -> MutexGuard<'_, BTreeMap<Id, Chain>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh_chains(&self, ids: &[Id]) -> Result<()> {
        let media = self.media.as_ref();
        let listed: Result<Vec<Vec<u64>>> =
            entries::each(ids, |id| entries::sequences(media, id)).into_iter().collect();
        let listed = listed?;
        let mut chains = self.chains();
        let mut wanted = Vec::new();
        for (id, sequences) in ids.iter().zip(listed) {
            let next = chains.get(id).map_or(0, |chain| chain.next);
            let from = sequences.partition_point(|sequence| *sequence < next);
            wanted.extend(sequences.into_iter().skip(from).map(|sequence| (*id, sequence)));
        }
        // So many at a time: what is read need not all be in memory before it is replayed.
        for wanted in wanted.chunks(MOST_AT_ONCE) {
            let (media, keys) = (self.media.as_ref(), self.keys.as_ref());
            let read = entries::each(wanted, |(id, sequence)| entries::read_or_why(media, keys, id, *sequence));
            for ((id, sequence), entry) in wanted.iter().zip(read) {
                self.replay_up_to(id, *sequence, entry, chains.entry(*id).or_default())?;
            }
        }
        Ok(())
    }

    /// Replays an entry, and before it those that must be there and were not listed.
    fn replay_up_to(&self, id: &Id, sequence: u64, entry: ReadEntry, chain: &mut Chain) -> Result<()> {
        for lost in chain.next..sequence.min(chain.next.saturating_add(entries::MOST_LOST)) {
            let object = catalog_entry::object(id, lost);
            // A listing made while entries came may show a later one only.
            if self.media.exists(&object)? {
                let entry = entries::read_or_why(self.media.as_ref(), &self.keys, id, lost);
                Self::replay(id, lost, entry, chain)?;
                continue;
            }
            chain.damage.push(Damage { object, offset: 0, problem: Problem::Absent });
            chain.head = [0; HASH_BYTES];
        }
        Self::replay(id, sequence, entry, chain)
    }

    fn replay(id: &Id, sequence: u64, (hash, entry): ReadEntry, chain: &mut Chain) -> Result<()> {
        let gap = chain.next != sequence;
        chain.next = sequence.checked_add(1).ok_or(Error::Busy { what: "a chain is full" })?;
        let expected = std::mem::replace(&mut chain.head, hash);
        match entry {
            Ok(entry) => {
                // A damaged or missing predecessor has been reported itself; its hash can't be known any more.
                if entry.predecessor != expected
                    && !gap
                    && chain.damage.last().is_none_or(|last| !last.is_entry(id, sequence))
                {
                    let object = catalog_entry::object(id, sequence);
                    let problem = Problem::Chain("does not follow the one before it", sequence);
                    chain.damage.push(Damage { object, offset: 0, problem });
                }
                // One that was found without its entry has one now.
                let id = hex(&entry.point);
                chain.points.retain(|known| !(known.is_found && known.id == id));
                let point = point_of(entry, &|name| chain.names.contains(name));
                chain.names.insert(point.name.clone());
                chain.points.push(Arc::new(point));
                Ok(())
            }
            Err(Error::Damaged(damage)) => {
                chain.damage.push(damage);
                Ok(())
            }
            Err(Error::Vault { path, source, .. }) => {
                chain.unreadable = Some(sequence);
                let problem = Problem::Unreadable(source.to_string());
                chain.damage.push(Damage { object: path.to_string_lossy().into_owned(), offset: 0, problem });
                Ok(())
            }
            // One entry must not close the vault: the other points are as good as ever.
            Err(Error::UnsupportedVersion { object, found, .. }) => {
                chain.damage.push(Damage { object, offset: 0, problem: Problem::Version(found) });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Appends that a point was made. `make` gets the hash of the entry before.
    pub fn append(&self, machine: &str, make: &dyn Fn(Hash) -> PointMade) -> Result<Arc<PointInfo>> {
        let id = self.keys.chain_of(machine);
        let mut taken = None;
        loop {
            self.refresh_chains(&[id])?;
            let (sequence, head) =
                self.chains().get(&id).map_or((0, [0; HASH_BYTES]), |chain| (chain.next, chain.head));
            let unreadable = self.chains().get(&id).and_then(|chain| chain.unreadable);
            if let Some(lost) = unreadable.filter(|lost| lost.checked_add(1) == Some(sequence)) {
                // The new entry must bind this one. Perhaps the medium gives it now; else this is the error.
                let (hash, _) = entries::read(self.media.as_ref(), &self.keys, &id, lost)?;
                if let Some(chain) = self.chains().get_mut(&id) {
                    chain.head = hash;
                    chain.unreadable = None;
                }
                continue;
            }
            let entry = make(head);
            let name = catalog_entry::object(&id, sequence);
            let object = self.media.create(&name)?;
            object.write_at(0, &self.keys.seal_entry(id, sequence, &entry)?)?;
            if !object.publish()? {
                // Somebody else was faster: theirs comes first, ours follows it. What takes the name for good is no entry.
                if taken.replace(sequence) == Some(sequence) {
                    return Err(Error::damaged(name, 0, Problem::Magic("catalog entry")));
                }
                continue;
            }
            self.media.sync_folder(&format!("{}/{}", catalog_entry::FOLDER, hex(&id)))?;
            if sequence == 0 {
                // The folder may be another writer's, who died before its own name was durable.
                self.media.sync_folder(catalog_entry::FOLDER)?;
            }
            self.refresh_chains(&[id])?;
            let point = hex(&entry.point);
            let chains = self.chains();
            let made = chains.get(&id).and_then(|chain| chain.points.iter().find(|info| info.id == point));
            // The point is made, also where the medium did not give the entry back just now.
            return Ok(made.cloned().unwrap_or_else(|| Arc::new(point_of(entry, &|_| false))));
        }
    }

    /// Lists a point that has no entry, by what its manifest says; false where there is one. It is listed by this
    /// process, and nothing is written.
    pub(crate) fn add_found(&self, entry: PointMade) -> bool {
        let mut chains = self.chains();
        let chain = chains.entry(self.keys.chain_of(&entry.machine)).or_default();
        let id = hex(&entry.point);
        if chain.points.iter().any(|point| point.id == id) {
            return false;
        }
        let point = PointInfo { is_found: true, ..point_of(entry, &|name| chain.names.contains(name)) };
        chain.names.insert(point.name.clone());
        chain.points.push(Arc::new(point));
        true
    }

    /// All points, by machine, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<PointInfo>> {
        self.machines().iter().flat_map(|machine| self.points(machine).unwrap_or_default()).collect()
    }

    /// The machines that have points, in order of name.
    pub fn machines(&self) -> Vec<String> {
        let mut machines: Vec<String> =
            self.chains().values().filter_map(|chain| Some(chain.points.first()?.machine.clone())).collect();
        machines.sort_unstable();
        machines
    }

    /// The points of a machine, oldest first.
    pub fn points(&self, machine: &str) -> Result<Vec<Arc<PointInfo>>> {
        let chains = self.chains();
        let points = chains.get(&self.keys.chain_of(machine)).map(|chain| chain.points.clone()).unwrap_or_default();
        if points.is_empty() {
            return Err(Error::UnknownMachine { name: machine.to_owned() });
        }
        drop(chains);
        let mut points = points;
        // Stable: of points that stand for one second, the last made comes last.
        points.sort_by_key(|point| point.time);
        Ok(points)
    }

    /// One point: by its name, `latest`, or at least the first four digits of its id.
    pub fn point(&self, machine: &str, wanted: &str) -> Result<Arc<PointInfo>> {
        let points = self.points(machine)?;
        let unknown = || Error::UnknownPoint { machine: machine.to_owned(), point: wanted.to_owned() };
        if wanted == "latest" {
            return points.last().cloned().ok_or_else(unknown);
        }
        if let Some(point) = points.iter().find(|point| point.name == wanted) {
            return Ok(Arc::clone(point));
        }
        if wanted.len() < 4 || wanted.len() > 32 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let prefix = wanted.to_ascii_lowercase();
        let mut fitting = points.iter().filter(|point| point.id.starts_with(&prefix));
        match (fitting.next(), fitting.next()) {
            (Some(point), None) => Ok(Arc::clone(point)),
            (Some(_), Some(_)) => Err(Error::AmbiguousPoint { machine: machine.to_owned(), point: wanted.to_owned() }),
            (None, _) => Err(unknown()),
        }
    }

    /// What is damaged or missing in the chains.
    pub fn damage(&self) -> Vec<Damage> {
        self.chains().values().flat_map(|chain| chain.damage.iter().cloned()).collect()
    }

    /// How far each chain has come. One whose last entry is damaged or not to be had is left out: nothing is known of that.
    pub fn heads(&self) -> Vec<ChainHead> {
        let chains = self.chains();
        let known = chains.iter().filter(|(id, chain)| {
            let is_whole = chain.damage.last().is_none_or(|damage| !damage.is_entry(id, chain.next));
            chain.next > 0 && is_whole && chain.unreadable != chain.next.checked_sub(1)
        });
        let mut heads: Vec<ChainHead> = known
            .map(|(id, chain)| ChainHead {
                chain: *id,
                entries: chain.next,
                hash: chain.head,
                machine: chain.points.first().map(|point| point.machine.clone()),
            })
            .collect();
        heads.sort_by(|one, other| one.machine.cmp(&other.machine));
        heads
    }

    /// Whether there are entries under keys that came after those at hand.
    pub(crate) fn has_newer(&self) -> bool {
        let is_newer = |damage: &Damage| matches!(damage.problem, Problem::Epoch(_));
        self.chains().values().any(|chain| chain.damage.iter().any(is_newer))
    }

    /// The number of entries in all chains: any point made since shows as a change.
    pub fn entries(&self) -> u64 {
        self.chains().values().map(|chain| chain.next).sum()
    }
}

impl Damage {
    /// Whether this is the damage of the entry just before `sequence`.
    fn is_entry(&self, chain: &Id, sequence: u64) -> bool {
        sequence.checked_sub(1).is_some_and(|before| self.object == catalog_entry::object(chain, before))
    }
}

fn point_of(entry: PointMade, taken: &dyn Fn(&str) -> bool) -> PointInfo {
    let time = Timestamp::from_second(entry.time_unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let id = hex(&entry.point);
    let mut name = point_name(time);
    if taken(&name) {
        name = format!("{name}-{}", &id[..8]);
    }
    PointInfo { machine: entry.machine.clone(), name, id, time, consistency: entry.consistency, is_found: false, entry }
}

/// A point's time as its name: no colons, they break Samba and make.
pub(crate) fn point_name(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}
