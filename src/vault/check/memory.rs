//! What was checked when: read from the notes in the vault, and written back as one.
//!
//! Invariants:
//! - nothing here decides whether bytes are whole; it decides in which order they are looked at;
//! - a note that is lost, damaged or not to be written costs checking again, and fails no check;
//! - two checks at once lose nothing of each other's: each removes only notes whose content is in its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Error, Problem, Result};
use crate::format::Id;
use crate::format::check_note::{self, Check, Checked, MOST_BYTES, MOST_SEGMENTS};
use crate::media::Media;

/// How thorough a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vault) enum Depth {
    /// Checksums, which need no key.
    Checksums,
    /// Everything opened with its keys, which includes the checksums.
    Keys,
}

/// What is known of all segments.
pub(in crate::vault) struct Memory {
    media: Arc<dyn Media>,
    /// `None` where the vault's headers are lost: then nothing can be known.
    vault: Option<Id>,
    known: HashMap<Id, Checked>,
    /// Notes that the next one replaces.
    replaced: Vec<String>,
    changed: bool,
    /// What is wrong with notes.
    pub damage: Vec<Error>,
}

impl Memory {
    /// Reads all notes; only what they say of segments that are there, and of times that have been, counts.
    pub fn read(media: &Arc<dyn Media>, vault: Option<Id>, present: &[Id]) -> Self {
        let mut memory = Self {
            media: Arc::clone(media),
            vault,
            known: HashMap::new(),
            replaced: Vec::new(),
            changed: false,
            damage: Vec::new(),
        };
        let Some(vault) = vault else { return memory };
        let (present, now): (HashSet<&Id>, u64) = (present.iter().collect(), now());
        let names = media.list(check_note::FOLDER).unwrap_or_else(|error| {
            memory.damage.push(error);
            Vec::new()
        });
        for name in names.iter().filter(|name| check_note::is_note(name)) {
            let name = format!("{}/{name}", check_note::FOLDER);
            match read_note(media.as_ref(), &vault, &name) {
                Ok(entries) => {
                    for (id, checked) in entries.into_iter().filter(|(id, _)| present.contains(id)) {
                        memory.learn(id, checked, now);
                    }
                    memory.replaced.push(name);
                }
                Err(error) => {
                    if matches!(error, Error::Damaged(_)) {
                        memory.replaced.push(name);
                    }
                    memory.damage.push(error);
                }
            }
        }
        memory
    }

    fn learn(&mut self, id: Id, checked: Checked, now: u64) {
        let later = |known: Option<Check>, told: Option<Check>| known.max(told.filter(|told| told.unix_seconds <= now));
        let known = self.known.entry(id).or_default();
        known.checksums = later(known.checksums, checked.checksums);
        known.keys = later(known.keys, checked.keys);
    }

    /// Notes that a segment was checked just now.
    pub fn add(&mut self, id: Id, depth: Depth, damaged: bool) {
        let check = Some(Check { unix_seconds: now(), damaged });
        let known = self.known.entry(id).or_default();
        known.checksums = check;
        if depth == Depth::Keys {
            known.keys = check;
        }
        self.changed = true;
    }

    /// When a segment was last checked that thoroughly, Unix seconds.
    pub fn last(&self, id: &Id, depth: Depth) -> Option<u64> {
        let known = self.known.get(id)?;
        let check = match depth {
            Depth::Checksums => known.checksums,
            Depth::Keys => known.keys,
        };
        Some(check?.unix_seconds)
    }

    /// Whether the last check of either kind found damage.
    pub fn was_damaged(&self, id: &Id) -> bool {
        let damaged = |check: Option<Check>| check.is_some_and(|check| check.damaged);
        self.known.get(id).is_some_and(|known| damaged(known.checksums) || damaged(known.keys))
    }

    /// Writes what is known as one note, and removes those that it replaces.
    pub fn write(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let vault = self.vault.ok_or_else(|| Error::damaged(crate::format::header::OBJECT, 0, Problem::Absent))?;
        let mut entries: Vec<(Id, Checked)> = self.known.iter().map(|(id, checked)| (*id, *checked)).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        entries.truncate(MOST_SEGMENTS);
        let name = check_note::object(&crate::seal::random_name()?);
        let object = self.media.create(&name)?;
        object.write_at(0, &check_note::encode(&vault, &entries))?;
        if !object.publish()? {
            // Somebody made a file of that random name: the next time is as good.
            return Ok(());
        }
        // The new name before the old ones go. A crash in between leaves both, which say the same.
        self.media.sync_folder(check_note::FOLDER)?;
        let replaced = std::mem::replace(&mut self.replaced, vec![name]);
        self.changed = false;
        replaced.iter().try_for_each(|old| self.media.remove(old))
    }
}

/// Now, in Unix seconds; never 0, which stands for never.
fn now() -> u64 {
    Timestamp::now().as_second().unsigned_abs().max(1)
}

/// Unix seconds as a time.
pub(in crate::vault) fn time(unix_seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(unix_seconds).ok()?).ok()
}

fn read_note(media: &dyn Media, vault: &Id, name: &str) -> Result<Vec<(Id, Checked)>> {
    let object = media.open(name)?;
    let length = object.length();
    let too_long = || Error::damaged(name, 0, Problem::Length { expected: MOST_BYTES, found: length });
    let length = usize::try_from(length.min(MOST_BYTES + 1)).map_err(|_| too_long())?;
    if length as u64 > MOST_BYTES {
        return Err(too_long());
    }
    let mut bytes = vec![0; length];
    object.read_past_map(0, &mut bytes)?;
    let (of, entries) = check_note::decode(&bytes).map_err(|error| error.at(name, 0))?;
    if of == *vault { Ok(entries) } else { Err(Error::damaged(name, 16, Problem::Misplaced("vault id"))) }
}
