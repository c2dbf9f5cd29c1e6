//! The table in memory, before it becomes a run.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::super::Place;
use crate::format::Id;
use crate::format::index_run::Tag;

/// What was added since the last run was written.
#[derive(Default)]
pub(super) struct Fresh {
    /// Where the records are.
    pub places: HashMap<Tag, Place, BuildHasherDefault<TagHasher>>,
    /// The segments that they are in, those without records included.
    pub segments: HashSet<Id>,
}

impl Fresh {
    /// Adds a segment and the places of its records.
    pub(super) fn add(&mut self, segment: Id, places: Vec<(Tag, Place)>) {
        self.places.extend(places);
        self.segments.insert(segment);
    }

    /// Drops segments and all that is in them.
    pub(super) fn forget(&mut self, gone: &HashSet<Id>) {
        self.places.retain(|_, place| !gone.contains(&place.segment));
        self.segments.retain(|segment| !gone.contains(segment));
    }
}

/// A tag is the output of a cipher under a secret key: nobody chooses it, and any part of it is a hash already.
#[derive(Default)]
pub(super) struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(word) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*word);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length, which is always the same.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
