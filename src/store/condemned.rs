//! How segments are removed while backups run.
//!
//! ```text
//! who gives back space                         a backup
//! publish which segments are condemned
//! wait for the locks of all other generations  take notice: rely on none of them from now on,
//!                                              tell which of them it relies on already,
//!                                              share the lock of the newest generation instead of its own
//! leave what somebody relies on
//! mark the points that came since
//! remove
//! publish that nothing is condemned any more
//! ```
//!
//! A generation's lock is a part of the lock file `condemned`, numbered by it. It ends with the process: who died relies on
//! nothing, unless he made a point, which is marked.
//!
//! Invariants:
//! - a backup shares the lock of a generation from before it asks what there is until its point is made;
//! - it relies on no segment that was condemned in that generation, nor in any that it took notice of before, except on those
//!   that it told of: what it knows to be condemned it never forgets;
//! - who removes has the locks of all generations but his own alone, and the lock `removal`: a backup that begins meanwhile
//!   finds no other lock to share than that of the newest;
//! - so while a backup shares the lock of a generation, nobody removes anything that was condemned in a later one: it may pass
//!   over those whose makers gave up, and take notice of the newest;
//! - whoever can't take notice in time, as a process that is stopped, has nothing removed under it: the wait ends.

use std::collections::HashSet;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{Index, REMOVAL_LOCK, WRITERS_LOCK};
use crate::error::{Error, Problem, Result};
use crate::format::Id;
use crate::format::condemned::{self, Listed};
use crate::format::index_run::Tag;
use crate::format::segment;
use crate::media::{HIGHEST_PART, Lock, LockKind, Media};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lock file whose parts are generations.
pub(crate) const CONDEMNED_LOCK: &str = "condemned";

/// Names that may be taken by what is no list before that is told.
const MOST_TAKEN: u64 = 64;

/// How long a backup tries to begin while space is given back.
const MOST_BEGINNING: Duration = Duration::from_secs(60);

/// How often a backup looks whether there is something to take notice of.
const TICK: Duration = Duration::from_millis(50);

/// How long who waits sleeps before he looks again.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// What a backup relies on.
pub(crate) struct Reliance {
    media: Arc<dyn Media>,
    vault: Id,
    backup: Id,
    /// The generation in which it began, where nobody was about to remove anything.
    first: Option<u64>,
    state: Mutex<State>,
}

struct State {
    generation: u64,
    /// That of the generation or, where the medium has no locks of parts, the one that nobody removes anything under.
    lock: Lock,
    /// Whether it is the latter.
    keeps_all: bool,
    /// Never emptied: the index may learn again of what it forgot.
    condemned: HashSet<Id>,
    relied: HashSet<Id>,
}

impl Reliance {
    /// Begins to rely on what there is. The caller shares the lock `writers`, and asks what there is afterwards.
    pub fn begin(media: &Arc<dyn Media>, vault: &Id) -> Result<Self> {
        let began = Instant::now();
        let refused = || match began.elapsed() < MOST_BEGINNING {
            true => {
                std::thread::sleep(BETWEEN_TRIES);
                Ok(())
            }
            false => Err(Error::Busy { what: "space is given back, and no backup can begin" }),
        };
        let (state, first) = loop {
            let newest = newest(media.as_ref())?;
            // The checker of models knows nothing of time, by which notice is taken.
            let part = match cfg!(shuttle) {
                true => Err(Error::Poisoned),
                false => media.lock_parts(CONDEMNED_LOCK, newest..=newest, LockKind::Shared),
            };
            let lock = match part {
                Ok(Some(lock)) => lock,
                // Somebody waits for those who share it: there is a newer one.
                Ok(None) => {
                    refused()?;
                    continue;
                }
                Err(_) => {
                    let lock = media.lock(REMOVAL_LOCK, LockKind::Shared, true)?.ok_or(Error::Poisoned)?;
                    break (State::new(newest, lock, true), Some(newest));
                }
            };
            if self::newest(media.as_ref())? != newest {
                continue;
            }
            let mut state = State::new(newest, lock, false);
            // Where nobody is about to remove anything, what is condemned is left from one who died.
            let is_quiet = media.lock(REMOVAL_LOCK, LockKind::Shared, false)?.is_some();
            if !is_quiet {
                match read(media.as_ref(), vault, newest) {
                    Ok(condemned) => state.condemned.extend(condemned),
                    // He is through, or it is no list.
                    Err(Error::Damaged(_)) => {
                        refused()?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            break (state, is_quiet.then_some(newest));
        };
        let backup = crate::seal::random()?;
        Ok(Self { media: Arc::clone(media), vault: *vault, backup, first, state: Mutex::new(state) })
    }

    /// Takes notice again and again, until what is returned is dropped.
    pub fn attend(self: &Arc<Self>) -> Result<Attention> {
        if self.keeps_all() {
            return Ok(Attention { _ends: None });
        }
        let (ends, ended) = sync_channel::<()>(0);
        let reliance = Arc::downgrade(self);
        let attend = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let Some(reliance) = reliance.upgrade() else { return };
                // What fails now may succeed at the next look. Till then nothing is removed.
                let _ = reliance.take_notice();
            }
        };
        let begun = std::thread::Builder::new().name("icecore-notice".to_owned()).spawn(attend);
        begun.map_err(|source| Error::File { operation: "begin a thread of", path: "the backup".into(), source })?;
        Ok(Attention { _ends: Some(ends) })
    }

    /// Whether nothing is removed at all as long as this is there.
    pub fn keeps_all(&self) -> bool {
        self.state().keeps_all
    }

    /// Whether nobody condemned anything since this began. The caller has the lock `writers` alone.
    pub fn is_undisturbed(&self) -> Result<bool> {
        Ok(self.first == Some(newest(self.media.as_ref())?))
    }

    /// Fails where a segment that is relied on is gone, against all that was said here: better no point than one that leads
    /// nowhere.
    pub fn check(&self) -> Result<()> {
        let names = self.media.list(segment::FOLDER)?;
        let there: HashSet<Id> = names.iter().filter_map(|name| segment::id_of(name)).collect();
        let gone = self.state().relied.iter().find(|id| !there.contains(*id)).copied();
        gone.map_or(Ok(()), |id| Err(Error::damaged(segment::object(&id), 0, Problem::Absent)))
    }

    /// Whether a record is there, in a segment that stays. From then on it is relied on.
    pub fn has(&self, index: &Index, tag: &Tag) -> bool {
        let Some(place) = index.lookup(tag) else { return false };
        let mut state = self.state();
        if !state.condemned.contains(&place.segment) {
            state.relied.insert(place.segment);
            return true;
        }
        let Some(place) = index.lookup_besides(tag, &state.condemned) else { return false };
        state.relied.insert(place.segment);
        true
    }

    /// Relies on a segment that is about to be published.
    pub fn keep(&self, segment: Id) {
        self.state().relied.insert(segment);
    }

    fn take_notice(&self) -> Result<()> {
        loop {
            let newest = newest(self.media.as_ref())?;
            if newest == self.state().generation {
                return Ok(());
            }
            let ids = match read(self.media.as_ref(), &self.vault, newest) {
                // A still newer one took its place.
                Err(error) if error.is_absent() => continue,
                ids => ids?,
            };
            let mut relied: Vec<Id> = {
                // At once: who relies on one of them either did so before this, and is told of, or finds it condemned.
                let mut state = self.state();
                state.condemned.extend(&ids);
                ids.into_iter().filter(|id| state.relied.contains(id)).collect()
            };
            if !relied.is_empty() {
                relied.sort_unstable();
                let object = condemned::relied(newest, &self.backup);
                // Where the name is taken, an earlier try got that far; what is relied on of these can't have become more.
                let told = self.media.create(&object)?;
                told.write_at(0, &condemned::encode(&self.vault, &relied))?;
                told.publish()?;
            }
            let lock = self.media.lock_parts(CONDEMNED_LOCK, newest..=newest, LockKind::Shared)?;
            // Where it is refused, somebody waits for all but a still newer one.
            let Some(lock) = lock else { return Ok(()) };
            let mut state = self.state();
            (state.generation, state.lock) = (newest, lock);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(generation: u64, lock: Lock, keeps_all: bool) -> Self {
        Self { generation, lock, keeps_all, condemned: HashSet::new(), relied: HashSet::new() }
    }
}

/// That notice is taken.
pub(crate) struct Attention {
    /// Ends it when it is dropped.
    _ends: Option<SyncSender<()>>,
}

/// Segments that nobody relies on, but for those that are told.
pub(crate) struct Condemned<'a> {
    media: &'a dyn Media,
    vault: Id,
    /// None where nobody could have taken notice: there are no backups.
    generation: Option<u64>,
    relied: HashSet<Id>,
    // In the order in which they are given back.
    _others: Vec<Lock>,
    _removal: Lock,
    _writers: Lock,
}

impl<'a> Condemned<'a> {
    /// Condemns segments, and waits until every backup has taken notice. `go_on` is asked again and again whether to wait on.
    ///
    /// Where it ends before, the list stays, as it does when the process is killed: backups may have taken notice of it.
    pub fn new(
        media: &'a dyn Media,
        vault: &Id,
        mut segments: Vec<Id>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let wait = |take: &dyn Fn() -> Result<Option<Lock>>| wait_for(take, go_on);
        let writers = wait(&|| media.lock(WRITERS_LOCK, LockKind::Shared, false))?;
        let removal = wait(&|| media.lock(REMOVAL_LOCK, LockKind::Exclusive, false))?;
        segments.sort_unstable();
        let alone = |writers, removal| {
            let (relied, _others) = (HashSet::new(), Vec::new());
            Self { media, vault: *vault, generation: None, relied, _others, _removal: removal, _writers: writers }
        };
        let generation = match publish_next(media, vault, &segments) {
            Ok(generation) => generation,
            // On a full medium space is given back all the same, where nobody writes.
            Err(error) if error.is_out_of_space() => {
                drop(writers);
                let writers = media.lock(WRITERS_LOCK, LockKind::Exclusive, false)?;
                return writers.map(|writers| alone(writers, removal)).ok_or(error);
            }
            Err(error) => return Err(error),
        };
        let mut others = Vec::new();
        for parts in [0..=generation - 1, generation + 1..=HIGHEST_PART] {
            match wait(&|| media.lock_parts(CONDEMNED_LOCK, parts.clone(), LockKind::Exclusive)) {
                Ok(lock) => others.push(lock),
                // Then nobody takes notice, and those who write are waited for.
                Err(error) if !error.has_locks() => {
                    drop((writers, removal));
                    let writers = wait(&|| media.lock(WRITERS_LOCK, LockKind::Exclusive, false))?;
                    let removal = wait(&|| media.lock(REMOVAL_LOCK, LockKind::Exclusive, false))?;
                    return Ok(alone(writers, removal));
                }
                Err(error) => return Err(error),
            }
        }
        let mut relied = HashSet::new();
        for name in media.list(condemned::FOLDER)? {
            if condemned::listed(&name) == Some(Listed::Relied(generation)) {
                relied.extend(read_object(media, vault, &format!("{}/{name}", condemned::FOLDER))?);
            }
        }
        let generation = Some(generation);
        Ok(Self { media, vault: *vault, generation, relied, _others: others, _removal: removal, _writers: writers })
    }

    /// Whether a backup relies on a segment.
    pub fn is_relied_on(&self, segment: &Id) -> bool {
        self.relied.contains(segment)
    }
}

impl Drop for Condemned<'_> {
    /// Nothing is condemned any more. Where that can't be written, the next who condemns anything says so.
    fn drop(&mut self) {
        if self.generation.is_none() {
            return;
        }
        let Ok(next) = publish_next(self.media, &self.vault, &[]) else { return };
        for name in self.media.list(condemned::FOLDER).unwrap_or_default() {
            match condemned::listed(&name) {
                Some(Listed::Segments(of) | Listed::Relied(of)) if of < next => {
                    let _ = self.media.remove(&format!("{}/{name}", condemned::FOLDER));
                }
                _ => {}
            }
        }
    }
}

/// Tries to take a lock again and again, as long as `go_on` says so.
pub(super) fn wait_for(take: &dyn Fn() -> Result<Option<Lock>>, go_on: &dyn Fn() -> Result<()>) -> Result<Lock> {
    loop {
        if let Some(lock) = take()? {
            return Ok(lock);
        }
        go_on()?;
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// The newest generation; zero in a vault that nobody has collected yet.
fn newest(media: &dyn Media) -> Result<u64> {
    let of = |name: &String| match condemned::listed(name) {
        Some(Listed::Segments(generation)) => Some(generation),
        _ => None,
    };
    Ok(media.list(condemned::FOLDER)?.iter().filter_map(of).max().unwrap_or(0))
}

/// Publishes a list as the next generation, and tells which that is.
fn publish_next(media: &dyn Media, vault: &Id, segments: &[Id]) -> Result<u64> {
    let newest = newest(media)?;
    let bytes = condemned::encode(vault, segments);
    for generation in newest + 1..(newest + 1 + MOST_TAKEN).min(condemned::MOST_GENERATIONS) {
        let object = media.create(&condemned::segments(generation))?;
        object.write_at(0, &bytes)?;
        // Something that is no list may have that name.
        if object.publish()? {
            return Ok(generation);
        }
    }
    // Who planted it must take it away: it says that space was given back more often than anybody can.
    Err(Error::damaged(condemned::segments(newest), 0, Problem::Misplaced("generation")))
}

fn read(media: &dyn Media, vault: &Id, generation: u64) -> Result<Vec<Id>> {
    if generation == 0 { Ok(Vec::new()) } else { read_object(media, vault, &condemned::segments(generation)) }
}

fn read_object(media: &dyn Media, vault: &Id, name: &str) -> Result<Vec<Id>> {
    let object = media.open(name)?;
    let length = usize::try_from(object.length()).unwrap_or(usize::MAX);
    if object.length() > condemned::MOST_BYTES {
        let (expected, found) = (condemned::MOST_BYTES, object.length());
        return Err(Error::damaged(name, 0, Problem::Length { expected, found }));
    }
    let mut bytes = vec![0; length];
    object.read_exact_at(0, &mut bytes)?;
    let (of, ids) = condemned::decode(&bytes).map_err(|error| error.at(name, 0))?;
    if of != *vault {
        return Err(Error::damaged(name, 16, Problem::Misplaced("vault id")));
    }
    Ok(ids)
}
