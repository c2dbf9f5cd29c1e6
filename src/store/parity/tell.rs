//! Telling whoever wants to know that a segment is read with the help of its parity.

use std::collections::HashSet;

use crate::format::{Id, segment};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A segment of which damaged bytes were computed from its parity. What was read is right; the file is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The segment's object.
    pub object: String,
}

type Listener = Arc<dyn Fn(&Correction) + Send + Sync>;

/// What was told, to whom.
#[derive(Default)]
pub(in crate::store) struct Corrections(Mutex<Told>);

#[derive(Default)]
struct Told {
    segments: HashSet<Id>,
    /// What nobody listened to so far.
    waiting: Vec<Correction>,
    listener: Option<Listener>,
}

impl Corrections {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `tell` called for each segment, once, those of before included.
    pub(in crate::store) fn listen(&self, tell: Listener) {
        let waiting = {
            let mut told = self.told();
            told.listener = Some(Arc::clone(&tell));
            std::mem::take(&mut told.waiting)
        };
        waiting.iter().for_each(|correction| tell(correction));
    }

    /// Takes note of a correction in a segment.
    pub(in crate::store) fn tell(&self, id: &Id) {
        let (listener, correction) = {
            let mut told = self.told();
            if !told.segments.insert(*id) {
                return;
            }
            let correction = Correction { object: segment::object(id) };
            let Some(listener) = &told.listener else {
                told.waiting.push(correction);
                return;
            };
            (Arc::clone(listener), correction)
        };
        listener(&correction);
    }
}
