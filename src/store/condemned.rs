//! How segments are removed while backups run.
//!
//! ```text
//! who gives back space                         a backup
//! publish which segments are condemned
//! wait for the locks of all older generations  take notice: rely on none of them from now on,
//!                                              tell which of them it relies on already,
//!                                              share the lock of the new generation instead of the old one's
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
//! - it relies on no segment that was condemned in its generation or one before, except on those that it told of;
//! - who removes has the locks of all older generations alone, and the lock `removal`: a backup that begins meanwhile finds
//!   no other lock to share than that of the newest;
//! - whoever can't take notice in time, as a process that is stopped, has nothing removed under it: the wait ends.

use std::collections::{BTreeSet, HashSet};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{Index, REMOVAL_LOCK, WRITERS_LOCK};
use crate::error::{Error, Problem, Result};
use crate::format::Id;
use crate::format::condemned::{self, Listed};
use crate::format::index_run::Tag;
use crate::media::{Lock, LockKind, Media};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lock file whose parts are generations.
pub(crate) const CONDEMNED_LOCK: &str = "condemned";

/// More than anybody ever gives back space: a higher number is none of ours.
const MOST_GENERATIONS: u64 = 1 << 62;

/// How often a backup looks whether there is something to take notice of.
const TICK: Duration = Duration::from_millis(50);

/// How long who waits sleeps before he looks again.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// What a backup relies on.
pub(crate) struct Reliance {
    media: Arc<dyn Media>,
    vault: Id,
    backup: Id,
    state: Mutex<State>,
}

struct State {
    generation: u64,
    /// That of the generation or, where the medium has no locks of parts, the one that nobody removes anything under.
    lock: Lock,
    /// Whether it is the latter.
    keeps_all: bool,
    condemned: HashSet<Id>,
    relied: HashSet<Id>,
}

impl Reliance {
    /// Begins to rely on what there is. The caller shares the lock `writers`, and asks what there is afterwards.
    pub fn begin(media: &Arc<dyn Media>, vault: &Id) -> Result<Self> {
        let state = loop {
            let newest = newest(&generations(media.as_ref())?);
            // The checker of models knows nothing of time, by which notice is taken.
            let part = match cfg!(shuttle) {
                true => Err(Error::Poisoned),
                false => media.lock_part(CONDEMNED_LOCK, newest, LockKind::Shared),
            };
            let lock = match part {
                Ok(Some(lock)) => lock,
                // Somebody waits for those who share it: there is a newer one.
                Ok(None) => {
                    std::thread::sleep(BETWEEN_TRIES);
                    continue;
                }
                Err(_) => {
                    let lock = media.lock(REMOVAL_LOCK, LockKind::Shared, true)?.ok_or(Error::Poisoned)?;
                    let (condemned, relied) = (HashSet::new(), HashSet::new());
                    break State { generation: newest, lock, keeps_all: true, condemned, relied };
                }
            };
            if self::newest(&generations(media.as_ref())?) != newest {
                continue;
            }
            // Where nobody is about to remove anything, what is condemned is left from one who died.
            let is_over = media.lock(REMOVAL_LOCK, LockKind::Shared, false)?.is_some();
            let condemned = match is_over {
                true => HashSet::new(),
                false => match read(media.as_ref(), vault, newest) {
                    // He is through.
                    Err(error) if error.is_absent() => continue,
                    read => read?.into_iter().collect(),
                },
            };
            break State { generation: newest, lock, keeps_all: false, condemned, relied: HashSet::new() };
        };
        Ok(Self { media: Arc::clone(media), vault: *vault, backup: crate::seal::random()?, state: Mutex::new(state) })
    }

    /// Takes notice again and again, until what is returned is dropped.
    pub fn attend(self: &Arc<Self>) -> Result<Attention> {
        if self.state().keeps_all {
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
            let next = self.state().generation.saturating_add(1);
            if !self.media.exists(&condemned::segments(next))? {
                return Ok(());
            }
            let ids = read(self.media.as_ref(), &self.vault, next)?;
            let mut relied: Vec<Id> = {
                // At once: who relies on one of them either did so before this, and is told of, or finds it condemned.
                let mut state = self.state();
                state.condemned.extend(&ids);
                ids.into_iter().filter(|id| state.relied.contains(id)).collect()
            };
            if !relied.is_empty() {
                relied.sort_unstable();
                let object = condemned::relied(next, &self.backup);
                // Where it is there, an earlier try got that far; what is relied on of these can't have become more.
                if !self.media.exists(&object)? {
                    publish(self.media.as_ref(), &object, &condemned::encode(&self.vault, &relied))?;
                }
            }
            let Some(lock) = self.media.lock_part(CONDEMNED_LOCK, next, LockKind::Shared)? else { return Ok(()) };
            let mut state = self.state();
            (state.generation, state.lock) = (next, lock);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    generation: u64,
    relied: HashSet<Id>,
    // In the order in which they are given back.
    _older: Vec<Lock>,
    _removal: Lock,
    _writers: Lock,
}

impl<'a> Condemned<'a> {
    /// Condemns segments, and waits until every backup has taken notice. `go_on` is asked again and again whether to wait on.
    pub fn new(
        media: &'a dyn Media,
        vault: &Id,
        mut segments: Vec<Id>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let wait = |take: &dyn Fn() -> Result<Option<Lock>>| loop {
            if let Some(lock) = take()? {
                return Ok::<Lock, Error>(lock);
            }
            go_on()?;
            std::thread::sleep(BETWEEN_TRIES);
        };
        let writers = wait(&|| media.lock(WRITERS_LOCK, LockKind::Shared, false))?;
        let removal = wait(&|| media.lock(REMOVAL_LOCK, LockKind::Exclusive, false))?;
        let listed = generations(media)?;
        let newest = newest(&listed);
        let none_left = || Error::damaged(condemned::segments(newest), 0, Problem::Misplaced("generation"));
        let generation = newest.checked_add(1).filter(|next| *next < MOST_GENERATIONS).ok_or_else(none_left)?;
        segments.sort_unstable();
        publish(media, &condemned::segments(generation), &condemned::encode(vault, &segments))?;
        let mut condemned = Self {
            media,
            vault: *vault,
            generation,
            relied: HashSet::new(),
            _older: Vec::new(),
            _removal: removal,
            _writers: writers,
        };
        // And the one before each: a list is removed once there is a next one, and backups take notice of that later.
        let older: BTreeSet<u64> = listed.iter().flat_map(|listed| [listed.saturating_sub(1), *listed]).collect();
        for older in older {
            let part = || match media.lock_part(CONDEMNED_LOCK, older, LockKind::Exclusive) {
                // Then nobody shares it either, but the lock `removal`.
                Err(error) if !error.has_locks() => media.lock(CONDEMNED_LOCK, LockKind::Shared, true),
                lock => lock,
            };
            let lock = wait(&part)?;
            condemned._older.push(lock);
        }
        for name in media.list(condemned::FOLDER)? {
            if condemned::listed(&name) == Some(Listed::Relied(generation)) {
                condemned.relied.extend(read_object(media, vault, &format!("{}/{name}", condemned::FOLDER))?);
            }
        }
        Ok(condemned)
    }

    /// Whether a backup relies on a segment.
    pub fn is_relied_on(&self, segment: &Id) -> bool {
        self.relied.contains(segment)
    }
}

impl Drop for Condemned<'_> {
    /// Nothing is condemned any more. Where that can't be written, the next who condemns anything says so.
    fn drop(&mut self) {
        let (media, empty) = (self.media, condemned::encode(&self.vault, &[]));
        let next = self.generation.saturating_add(1);
        if publish(media, &condemned::segments(next), &empty).is_err() {
            return;
        }
        for name in media.list(condemned::FOLDER).unwrap_or_default() {
            match condemned::listed(&name) {
                Some(Listed::Segments(of) | Listed::Relied(of)) if of < next => {
                    let _ = media.remove(&format!("{}/{name}", condemned::FOLDER));
                }
                _ => {}
            }
        }
    }
}

/// The generations that there is a list of, and zero, that of a vault which nobody has collected yet.
fn generations(media: &dyn Media) -> Result<Vec<u64>> {
    let of = |name: &String| match condemned::listed(name) {
        Some(Listed::Segments(generation)) => Some(generation),
        _ => None,
    };
    Ok(std::iter::once(0).chain(media.list(condemned::FOLDER)?.iter().filter_map(of)).collect())
}

fn newest(generations: &[u64]) -> u64 {
    generations.iter().copied().max().unwrap_or(0)
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

fn publish(media: &dyn Media, name: &str, bytes: &[u8]) -> Result<()> {
    let object = media.create(name)?;
    object.write_at(0, bytes)?;
    if object.publish()? { Ok(()) } else { Err(Error::Busy { what: "somebody else gives back space" }) }
}
