//! The catalog: what happened to points. Per machine a chain of entries; the list of points is its replay.
//!
//! Invariants:
//! - the publication of an entry is what makes a point exist; everything that it names is durable before;
//! - only administrators forget, bring back, protect and purge: each such entry is signed by one;
//! - a point that is purged was forgotten, and the time to bring it back was over;
//! - of two writers who append at once one gets the number, the other takes the next;
//! - an entry that is damaged or missing hides only itself, and is reported.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Consistency;
use super::entries::{self, ReadEntry};
use super::heads::ChainHead;
use crate::error::{Damage, Error, Problem, Result};
use crate::format::catalog_entry::{self, Change, Entry, PointChanged, PointMade};
use crate::format::{HASH_BYTES, Hash, Id, hex, id_from_hex};
use crate::media::Media;
use crate::policy::is_future;
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
    /// Where it was forgotten: it is listed no more, but can be brought back.
    pub forgotten: Option<Forgotten>,
    /// Until when it can't be forgotten, where somebody protected it.
    pub protected: Option<Until>,
    pub(crate) entry: PointMade,
}

/// That a point was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// When.
    pub since: Timestamp,
    /// Until when it can be brought back.
    pub until: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// The number of the entry that says so.
    pub(crate) entry: u64,
}

/// An end that something has, or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// At that time.
    Time(Timestamp),
    /// Never.
    Ever,
}

impl Until {
    /// As an entry has it.
    pub(crate) fn of(unix_seconds: i64) -> Self {
        if unix_seconds == i64::MAX {
            return Self::Ever;
        }
        Timestamp::from_second(unix_seconds).map_or(Self::Ever, Self::Time)
    }

    /// As an entry has it.
    pub fn unix_seconds(self) -> i64 {
        match self {
            Self::Time(time) => time.as_second(),
            Self::Ever => i64::MAX,
        }
    }

    /// Whether that is still to come.
    pub fn is_after(self, now: Timestamp) -> bool {
        match self {
            Self::Time(time) => time > now,
            Self::Ever => true,
        }
    }
}

impl PointInfo {
    /// Its path in the tree, as `machine/point`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.machine, self.name)
    }

    /// Whether it was forgotten, and the time to bring it back is over.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.forgotten.as_ref().is_some_and(|it| it.until <= now) && !self.is_protected(now)
    }

    /// Whether it can't be forgotten at that time.
    pub fn is_protected(&self, now: Timestamp) -> bool {
        self.protected.is_some_and(|until| until.is_after(now))
    }
}

/// Whether the state of a point, and of all of its machine, allows what is to be done with it.
pub(crate) type Allows<'a> = &'a dyn Fn(&PointInfo, &[Arc<PointInfo>]) -> Result<()>;

/// Makes the entry of a point.
pub(crate) type Makes<'a> = &'a dyn Fn(Hash, &[Arc<PointInfo>]) -> Result<PointMade>;

/// An entry, sealed, and what the caller wants of it.
type Sealed<T> = (Vec<u8>, T);

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
    /// The machine's name.
    machine: Option<String>,
    /// The names that points have and had.
    names: HashSet<String>,
    /// Points that are purged.
    purged: HashSet<Id>,
    /// What was done with points whose own entry is lost, for when they are listed again.
    early: BTreeMap<Id, Vec<PointChanged>>,
    /// The newest time that an administrator's entry tells: what he does later is not from before. What others write must
    /// not move time.
    latest_unix_seconds: i64,
    /// When the entries were made, Unix seconds.
    recorded: Vec<i64>,
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
                if *entry.predecessor() != expected
                    && !gap
                    && chain.damage.last().is_none_or(|last| !last.is_entry(id, sequence))
                {
                    let object = catalog_entry::object(id, sequence);
                    let problem = Problem::Chain("does not follow the one before it", sequence);
                    chain.damage.push(Damage { object, offset: 0, problem });
                }
                chain.machine = Some(entry.machine().to_owned());
                chain.recorded.push(entry.recorded_unix_seconds());
                let done = match entry {
                    Entry::Made(made) => chain.add(made),
                    Entry::Changed(changed) => chain.change(&changed),
                };
                if let Err(problem) = done {
                    let object = catalog_entry::object(id, sequence);
                    chain.damage.push(Damage { object, offset: 0, problem: Problem::Chain(problem, sequence) });
                }
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

    /// Appends that a point was made. `make` gets the hash of the entry before and the machine's points as they are then, also
    /// forgotten ones; it is asked anew where somebody else was faster.
    ///
    /// # Errors
    /// [`Error::PointExists`] where the point is there, forgotten or purged: it was copied here before.
    pub(crate) fn append(&self, machine: &str, point: Id, make: Makes<'_>) -> Result<Arc<PointInfo>> {
        let (id, wanted) = (self.keys.chain_of(machine), hex(&point));
        let entry = self.append_entry(&id, &|sequence, chain| {
            // Whoever was faster may have copied the same.
            if chain.purged.contains(&point) || chain.points.iter().any(|known| !known.is_found && known.id == wanted) {
                return Err(Error::PointExists { machine: machine.to_owned(), point: wanted[..8].to_owned() });
            }
            let entry = make(chain.head, &chain.points)?;
            Ok((self.keys.seal_entry(id, sequence, &entry)?, entry))
        })?;
        let chains = self.chains();
        let made = chains.get(&id).and_then(|chain| chain.points.iter().find(|info| info.id == wanted));
        // The point is made, also where the medium did not give the entry back just now.
        Ok(made.cloned().unwrap_or_else(|| Arc::new(point_of(entry, &|_| false))))
    }

    /// Appends that an administrator does something with a point, where `allow` says that the point's state allows it: it
    /// is asked anew where somebody else was faster.
    pub(crate) fn change(
        &self,
        (machine, point): (&str, Id),
        change: Change,
        reason: &str,
        allow: Allows<'_>,
    ) -> Result<()> {
        let (id, wanted) = (self.keys.chain_of(machine), hex(&point));
        self.append_entry(&id, &|sequence, chain| {
            let unknown = || Error::UnknownPoint { machine: machine.to_owned(), point: wanted[..8].to_owned() };
            allow(chain.points.iter().find(|known| known.id == wanted).ok_or_else(unknown)?, &chain.points)?;
            let entry = PointChanged {
                predecessor: chain.head,
                change,
                point,
                // Time only goes on: a clock that was set back makes nothing earlier than what was before.
                recorded_unix_seconds: Timestamp::now().as_second().max(chain.latest_unix_seconds),
                machine: machine.to_owned(),
                reason: reason.to_owned(),
            };
            Ok((self.keys.seal_change(id, sequence, &entry)?, ()))
        })
    }

    /// Appends an entry that `make` makes of the chain as it is, and publishes it.
    fn append_entry<T>(&self, id: &Id, make: &dyn Fn(u64, &Chain) -> Result<Sealed<T>>) -> Result<T> {
        let mut taken = None;
        loop {
            self.refresh_chains(&[*id])?;
            let chain = self.chains().get(id).cloned().unwrap_or_default();
            let sequence = chain.next;
            if let Some(lost) = chain.unreadable.filter(|lost| lost.checked_add(1) == Some(sequence)) {
                // The new entry must bind this one. Perhaps the medium gives it now; else this is the error.
                let hash = match entries::read(self.media.as_ref(), &self.keys, id, lost) {
                    Ok((hash, _)) => hash,
                    // What was given up nobody can bind.
                    Err(error) => {
                        let own = super::vault_chain::VaultChain::read(self.media.as_ref(), &self.keys)?;
                        if !own.gave_up(self.media.as_ref(), &catalog_entry::object(id, lost)) {
                            return Err(error);
                        }
                        [0; HASH_BYTES]
                    }
                };
                if let Some(chain) = self.chains().get_mut(id) {
                    chain.head = hash;
                    chain.unreadable = None;
                }
                continue;
            }
            let (sealed, made) = make(sequence, &chain)?;
            let name = catalog_entry::object(id, sequence);
            let object = self.media.create(&name)?;
            object.write_at(0, &sealed)?;
            if !object.publish()? {
                // Somebody else was faster: theirs comes first, ours follows it. What takes the name for good is no entry.
                if taken.replace(sequence) == Some(sequence) {
                    return Err(Error::damaged(name, 0, Problem::Magic("catalog entry")));
                }
                continue;
            }
            self.media.sync_folder(&format!("{}/{}", catalog_entry::FOLDER, hex(id)))?;
            if sequence == 0 {
                // The folder may be another writer's, who died before its own name was durable.
                self.media.sync_folder(catalog_entry::FOLDER)?;
            }
            self.refresh_chains(&[*id])?;
            return Ok(made);
        }
    }

    /// Lists a point that has no entry, by what its manifest says; false where there is one. It is listed by this
    /// process, and nothing is written.
    pub(crate) fn add_found(&self, entry: PointMade) -> bool {
        let mut chains = self.chains();
        let chain = chains.entry(self.keys.chain_of(&entry.machine)).or_default();
        let id = hex(&entry.point);
        if chain.points.iter().any(|point| point.id == id) || chain.purged.contains(&entry.point) {
            return false;
        }
        let of = entry.point;
        let point = PointInfo { is_found: true, ..point_of(entry, &|name| chain.names.contains(name)) };
        chain.list(point, &of);
        true
    }

    /// All points, also forgotten ones, by machine, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<PointInfo>> {
        let mut points: Vec<Arc<PointInfo>> =
            self.chains().values().flat_map(|chain| chain.points.iter().cloned()).collect();
        points.sort_by(|one, other| (&one.machine, one.time).cmp(&(&other.machine, other.time)));
        points
    }

    /// The machines that have points, in order of name.
    pub fn machines(&self) -> Vec<String> {
        let listed = |chain: &Chain| Some(chain.points.iter().find(|point| point.forgotten.is_none())?.machine.clone());
        let mut machines: Vec<String> = self.chains().values().filter_map(listed).collect();
        machines.sort_unstable();
        machines
    }

    /// The points of a machine, oldest first.
    pub fn points(&self, machine: &str) -> Result<Vec<Arc<PointInfo>>> {
        let mut points = self.of_machine(machine);
        points.retain(|point| point.forgotten.is_none());
        if points.is_empty() {
            return Err(Error::UnknownMachine { name: machine.to_owned() });
        }
        Ok(points)
    }

    /// The points of a machine with those that were forgotten and can be brought back, oldest first.
    pub(crate) fn of_machine(&self, machine: &str) -> Vec<Arc<PointInfo>> {
        let chains = self.chains();
        let chain = chains.get(&self.keys.chain_of(machine));
        let mut points = chain.map(|chain| chain.points.clone()).unwrap_or_default();
        drop(chains);
        // Stable: of points that stand for one second, the last made comes last.
        points.sort_by_key(|point| point.time);
        points
    }

    /// The newest time that any administrator's entry tells, Unix seconds.
    pub(crate) fn latest(&self) -> i64 {
        self.chains().values().map(|chain| chain.latest_unix_seconds).max().unwrap_or(0)
    }

    /// The newest time before `end` that any entry was made at, Unix seconds.
    pub(crate) fn last_recorded_before(&self, end: i64) -> Option<i64> {
        let chains = self.chains();
        let all = chains.values().flat_map(|chain| chain.recorded.iter().copied());
        all.filter(|recorded| *recorded < end).max()
    }

    /// The points that were forgotten before one of these entries, which are given up: it may have brought them back.
    pub(crate) fn doubtful(&self, given_up: &HashSet<(String, Hash)>) -> HashSet<String> {
        let chains = self.chains();
        let places = given_up.iter().filter_map(|(object, _)| catalog_entry::place_of(object));
        let mut doubtful = HashSet::new();
        for (id, sequence) in places {
            let points = chains.get(&id).map(|chain| chain.points.as_slice()).unwrap_or_default();
            let before = |point: &&Arc<PointInfo>| point.forgotten.as_ref().is_some_and(|it| it.entry < sequence);
            doubtful.extend(points.iter().filter(before).map(|point| point.id.clone()));
        }
        doubtful
    }

    /// Whether a point is purged.
    pub(crate) fn is_purged(&self, point: &PointMade) -> bool {
        let chains = self.chains();
        chains.get(&self.keys.chain_of(&point.machine)).is_some_and(|chain| chain.purged.contains(&point.point))
    }

    /// A point of that id, also a forgotten one.
    pub(crate) fn with_id(&self, machine: &str, id: &str) -> Option<Arc<PointInfo>> {
        let chains = self.chains();
        chains.get(&self.keys.chain_of(machine))?.points.iter().find(|point| point.id == id).cloned()
    }

    /// One point: by its name, `latest`, or at least the first four digits of its id.
    pub fn point(&self, machine: &str, wanted: &str) -> Result<Arc<PointInfo>> {
        let all = self.of_machine(machine);
        let (listed, forgotten): (Vec<_>, Vec<_>) = all.into_iter().partition(|point| point.forgotten.is_none());
        let unknown = || match self.unknown(machine, wanted) {
            Error::UnknownPoint { .. } if listed.is_empty() && forgotten.is_empty() => {
                Error::UnknownMachine { name: machine.to_owned() }
            }
            unknown => unknown,
        };
        if wanted == "latest" {
            let made = self.chains().get(&self.keys.chain_of(machine)).map(|chain| chain.points.clone());
            return latest(&made.unwrap_or_default()).ok_or_else(unknown);
        }
        if let Some(point) = find(&listed, machine, wanted)? {
            return Ok(point);
        }
        match find(&forgotten, machine, wanted) {
            Ok(Some(point)) => Err(Error::Forgotten {
                machine: machine.to_owned(),
                point: point.name.clone(),
                until_unix_seconds: point.forgotten.as_ref().map_or(0, |forgotten| forgotten.until.as_second()),
            }),
            _ => Err(unknown()),
        }
    }

    /// One point that was forgotten, by its name or the first digits of its id.
    pub(crate) fn forgotten_point(&self, machine: &str, wanted: &str) -> Result<Arc<PointInfo>> {
        let mut all = self.of_machine(machine);
        all.retain(|point| point.forgotten.is_some());
        find(&all, machine, wanted)?.ok_or_else(|| self.unknown(machine, wanted))
    }

    /// Why there is no such point.
    fn unknown(&self, machine: &str, wanted: &str) -> Error {
        let (is_purged, machine, point) = (self.was_purged(machine, wanted), machine.to_owned(), wanted.to_owned());
        if is_purged { Error::Purged { machine, point } } else { Error::UnknownPoint { machine, point } }
    }

    /// Whether there was a point of that name, or with at least four digits of it of that id, and it is purged.
    fn was_purged(&self, machine: &str, wanted: &str) -> bool {
        let chains = self.chains();
        let Some(chain) = chains.get(&self.keys.chain_of(machine)) else { return false };
        let is_there = chain.points.iter().any(|point| point.name == wanted);
        let is_of_purged = |id: &Id| hex(id).starts_with(&wanted.to_ascii_lowercase());
        !is_there && (chain.names.contains(wanted) || wanted.len() >= 4 && chain.purged.iter().any(is_of_purged))
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
                machine: chain.machine.clone(),
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

/// The newest of a machine's points, which are given in the order in which they were made. One whose time had not come yet
/// when itself or a later one was made is of a clock that was wrong, and the newest only where there is no other. What the
/// clock of whoever asks says is of no importance: he may have started his server from a disk that came to hand.
fn latest(made: &[Arc<PointInfo>]) -> Option<Arc<PointInfo>> {
    let listed = || made.iter().rev().filter(|point| point.forgotten.is_none());
    let mut recorded = Timestamp::MAX;
    let is_believed = |point: &&Arc<PointInfo>| {
        let made = Timestamp::from_second(point.entry.recorded_unix_seconds).unwrap_or(Timestamp::MAX);
        // One that was found without its entry has no place in the order.
        if point.is_found {
            return !is_future(point.time, made);
        }
        recorded = recorded.min(made);
        !is_future(point.time, recorded)
    };
    listed().filter(is_believed).reduce(newer).or_else(|| listed().reduce(newer)).cloned()
}

/// The newer of two points; of those of one second the first that is given.
fn newer<'a>(one: &'a Arc<PointInfo>, other: &'a Arc<PointInfo>) -> &'a Arc<PointInfo> {
    if other.time > one.time { other } else { one }
}

/// The point of that name or, with at least four digits of it, of that id.
fn find(points: &[Arc<PointInfo>], machine: &str, wanted: &str) -> Result<Option<Arc<PointInfo>>> {
    if let Some(point) = points.iter().find(|point| point.name == wanted) {
        return Ok(Some(Arc::clone(point)));
    }
    if wanted.len() < 4 || wanted.len() > 32 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let prefix = wanted.to_ascii_lowercase();
    let mut fitting = points.iter().filter(|point| point.id.starts_with(&prefix));
    match (fitting.next(), fitting.next()) {
        (Some(_), Some(_)) => Err(Error::AmbiguousPoint { machine: machine.to_owned(), point: wanted.to_owned() }),
        (found, _) => Ok(found.cloned()),
    }
}

impl Chain {
    /// Lists a point that was made; or why that can't be.
    fn add(&mut self, made: PointMade) -> std::result::Result<(), &'static str> {
        // One that was found without its entry has one now.
        let id = hex(&made.point);
        self.points.retain(|known| !(known.is_found && known.id == id));
        // Made twice, as by two who enter what they found: the first counts. What is purged stays so.
        if self.purged.contains(&made.point) || self.points.iter().any(|known| known.id == id) {
            return Ok(());
        }
        let point = made.point;
        self.list(point_of(made, &|name| self.names.contains(name)), &point);
        Ok(())
    }

    /// Lists a point, as it is by what was done with it before it was known here.
    fn list(&mut self, point: PointInfo, id: &Id) {
        self.names.insert(point.name.clone());
        self.points.push(Arc::new(point));
        for changed in self.early.remove(id).unwrap_or_default() {
            // What does not fit was told, or hides behind what is lost.
            let _ = self.change(&changed);
        }
    }

    /// Does with a point what an administrator did; or why that can't have been.
    fn change(&mut self, changed: &PointChanged) -> std::result::Result<(), &'static str> {
        let recorded = changed.recorded_unix_seconds;
        self.latest_unix_seconds = self.latest_unix_seconds.max(recorded);
        // The one that is replayed just now.
        let entry = self.next.saturating_sub(1);
        let at = |unix_seconds| Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::MAX);
        let id = hex(&changed.point);
        let Some(number) = self.points.iter().position(|known| known.id == id) else {
            // The entry that made it is lost, which was told.
            if changed.change == Change::Purged {
                self.purged.insert(changed.point);
            }
            self.early.entry(changed.point).or_default().push(changed.clone());
            return Ok(());
        };
        let point = Arc::make_mut(&mut self.points[number]);
        match (changed.change, &point.forgotten) {
            (Change::Forgotten { .. }, None) if point.is_protected(at(recorded)) => Err("forgets a protected point"),
            (Change::Forgotten { until_unix_seconds }, None) => {
                let (since, until, reason) = (at(recorded), at(until_unix_seconds), changed.reason.clone());
                point.forgotten = Some(Forgotten { since, until, reason, entry });
                Ok(())
            }
            (Change::BroughtBack, Some(_)) => {
                point.forgotten = None;
                Ok(())
            }
            (Change::Protected { until_unix_seconds }, _) => {
                point.protected = Some(Until::of(until_unix_seconds));
                Ok(())
            }
            (Change::Released, _) => {
                point.protected = None;
                Ok(())
            }
            (Change::Purged, Some(forgotten)) => {
                let is_over = forgotten.until <= at(recorded);
                self.points.remove(number);
                self.purged.insert(changed.point);
                if is_over { Ok(()) } else { Err("purges a point before its time") }
            }
            (Change::Forgotten { .. }, Some(_)) => Err("forgets a point again"),
            (Change::BroughtBack, None) => Err("brings back a point that was not forgotten"),
            (Change::Purged, None) => Err("purges a point that was not forgotten"),
        }
    }
}

pub(crate) fn point_of(entry: PointMade, taken: &dyn Fn(&str) -> bool) -> PointInfo {
    let time = Timestamp::from_second(entry.time_unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let id = hex(&entry.point);
    let mut name = point_name(time);
    if taken(&name) {
        name = format!("{name}-{}", &id[..8]);
    }
    PointInfo {
        machine: entry.machine.clone(),
        name,
        id,
        time,
        consistency: entry.consistency,
        is_found: false,
        forgotten: None,
        protected: None,
        entry,
    }
}

/// A point's time as its name: no colons, they break Samba and make.
pub(crate) fn point_name(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(point: u8, recorded_unix_seconds: i64) -> PointMade {
        PointMade {
            predecessor: [0; HASH_BYTES],
            consistency: Consistency::Crash,
            point: [point; 16],
            time_unix_seconds: 1_800_000_000 + i64::from(point),
            recorded_unix_seconds,
            segment: [0; 16],
            offset: 0,
            manifest: [point; HASH_BYTES],
            machine: "web".to_owned(),
        }
    }

    fn changed(point: u8, recorded_unix_seconds: i64, change: Change) -> PointChanged {
        let (machine, reason) = ("web".to_owned(), String::new());
        PointChanged {
            predecessor: [0; HASH_BYTES],
            change,
            point: [point; 16],
            recorded_unix_seconds,
            machine,
            reason,
        }
    }

    #[test]
    fn only_what_can_follow_is_taken_for_true() {
        let mut chain = Chain::default();
        for point in 0..3 {
            chain.add(made(point, 1000)).expect("a point");
        }
        let mut change = |point, at, what| chain.change(&changed(point, at, what));
        let forgotten = Change::Forgotten { until_unix_seconds: 2000 };
        assert!(change(0, 1000, Change::Purged).is_err(), "what was not forgotten");
        assert!(change(0, 1000, Change::BroughtBack).is_err());
        assert!(change(0, 1000, forgotten).is_ok());
        assert!(change(0, 1000, forgotten).is_err(), "twice");
        assert!(change(0, 1999, Change::Purged).is_err(), "before its time");
        assert!(change(1, 1000, Change::Protected { until_unix_seconds: 1500 }).is_ok());
        assert!(change(1, 1499, forgotten).is_err(), "while it is protected");
        assert!(change(1, 1500, forgotten).is_ok());
        assert!(change(1, 2000, Change::Purged).is_ok());
        assert!(change(9, 1000, forgotten).is_ok(), "of a point whose own entry is lost nothing is known");
        assert!(chain.purged.contains(&[1; 16]) && chain.points.iter().all(|point| point.id != hex(&[1; 16])));
    }

    #[test]
    fn what_is_purged_or_made_twice_is_listed_once_or_never() {
        let mut chain = Chain::default();
        chain.change(&changed(2, 1000, Change::Forgotten { until_unix_seconds: 9000 })).expect("its entry is lost");
        chain.add(made(2, 1000)).expect("and comes back");
        assert!(chain.points.remove(0).forgotten.is_some(), "as it was");
        chain.change(&changed(0, 2000, Change::Purged)).expect("its entry is lost");
        chain.add(made(0, 1000)).expect("and comes back");
        chain.add(made(1, 1000)).expect("a point");
        chain.add(PointMade { manifest: [9; HASH_BYTES], ..made(1, 1000) }).expect("the same again");
        assert_eq!(chain.points.iter().map(|point| point.entry.manifest).collect::<Vec<_>>(), [[1; HASH_BYTES]]);
    }

    // Promise 2: who asks for the latest point gets the last true one, whatever a wrong clock said once.
    #[test]
    fn the_latest_point_is_of_no_time_to_come() {
        let listed = |times: &[(i64, i64)]| {
            let mut chain = Chain::default();
            for (number, (time, recorded)) in (0..).zip(times) {
                chain.add(PointMade { time_unix_seconds: *time, ..made(number, *recorded) }).expect("a point");
            }
            chain.points
        };
        let latest_of = |points: &[_]| latest(points).map(|point| point.entry.point[0]);
        let of = |times: &[(i64, i64)]| latest_of(&listed(times));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(1000, 1001), (2000, 2001), (2000, 2002)]), Some(2), "of one second the last made");
        assert_eq!(of(&[(3000, 3001), (1000, 4000)]), Some(0), "an older one that came later");
        assert_eq!(of(&[(9000, 9001), (2000, 2001), (1900, 2010)]), Some(1), "a clock that was ahead, and no more");
        assert_eq!(of(&[(1000, 1001), (9000, 9001)]), Some(1), "that nobody has shown to be wrong yet");
        assert_eq!(of(&[(1000, 1001), (9000, 1100)]), Some(0), "a copy of one that was ahead");
        assert_eq!(of(&[(9000, 9001), (9100, 9101), (10, 10)]), Some(2), "a clock that fell back: the last made");
        assert_eq!(of(&[(9000, 9001), (10, 10), (9100, 9101)]), Some(2), "and was set right");
        assert_eq!(of(&[(9000, 10), (9100, 20)]), Some(1), "where none is believed, the newest");
        assert_eq!(of(&[(2000, 1800), (2100, 1900)]), Some(1), "clocks differ by a little");
        let mut points = listed(&[(9000, 9001), (2000, 2001)]);
        let forgotten = Forgotten { since: Timestamp::MIN, until: Timestamp::MAX, reason: String::new(), entry: 9 };
        Arc::make_mut(&mut points[1]).forgotten = Some(forgotten);
        assert_eq!(latest_of(&points), Some(0), "of those that are listed");
    }

    #[test]
    fn what_others_write_moves_no_time() {
        let mut chain = Chain::default();
        chain.add(made(0, i64::MAX - 1)).expect("a point from the far future");
        assert_eq!(chain.latest_unix_seconds, 0, "or whoever backs up would end the time of forgotten points");
        chain.change(&changed(0, 3000, Change::Protected { until_unix_seconds: i64::MAX })).expect("protected");
        assert_eq!((chain.latest_unix_seconds, chain.points[0].protected), (3000, Some(Until::Ever)));
    }
}
