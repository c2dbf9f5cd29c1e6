//! Of data that is there several times, or in parts: what is read.
//!
//! Invariant: only what is known to be whole is read; where something that would know better can't be seen, that is said.

use std::sync::atomic::Ordering;

use crate::guest::MediumError;

use super::build::Instance;
use super::mapped::Area;
use super::mirror;
use super::problem::{Caution, Problem};
use super::raid::{self, Known};
use super::segment::{Leg, Level, On, Place};

impl Instance {
    /// What of a RAID the data is read from: of copies the first one that is whole.
    pub(super) fn raid(&self, level: Level, legs: &[Leg], caution: &mut Option<Caution>) -> Result<Vec<Area>, Problem> {
        let data = |leg: &Leg| self.area(&Place { on: On::Logical(leg.data), extent: 0 }, &mut None);
        if level == Level::Stripes {
            return legs
                .iter()
                .map(|leg| self.area(&Place { on: On::Logical(leg.data), extent: 0 }, caution))
                .collect();
        }
        let known = legs.iter().enumerate().map(|(number, leg)| self.memory(number, leg)).collect::<Vec<_>>();
        if known.iter().any(|known| matches!(known, Known::Memory(memory) if memory.is_reshaping)) {
            return Err(Problem::Layout { layout: "raid, being reshaped".to_owned() });
        }
        let whole = raid::whole(&known);
        let unseen = known.iter().find_map(|known| if let Known::Unseen(why) = known { Some(why) } else { None });
        let each = match level {
            Level::Mirror => legs.len(),
            Level::StripedMirrors(copies) => copies.max(1),
            Level::Stripes | Level::Parity(_) => 1,
        };
        let mut areas = Vec::new();
        for (legs, whole) in legs.chunks(each).zip(whole.chunks(each)) {
            let mut missing = None;
            let mut chosen = None;
            for (leg, _) in legs.iter().zip(whole).filter(|(_, whole)| **whole) {
                match data(leg) {
                    Ok(area) => chosen = chosen.or(Some(area)),
                    Err(problem) => missing = missing.or(Some(problem)),
                }
            }
            let none = || {
                let why = unseen.map_or("the others are being made anew, or failed", String::as_str);
                missing.unwrap_or_else(|| Problem::NoCopy { why: why.to_owned() })
            };
            areas.push(chosen.ok_or_else(none)?);
        }
        // Another copy may be newer, and know of this one that it failed.
        if let Some(why) = unseen {
            *caution = caution.take().or_else(|| Some(Caution::UnseenCopy { why: why.clone() }));
        }
        Ok(areas)
    }

    /// What is known of a part of a RAID.
    fn memory(&self, number: usize, leg: &Leg) -> Known {
        let Some(memory) = leg.memory else { return Known::Unseen("it has no record".to_owned()) };
        let is_rebuilding =
            [memory, leg.data].iter().any(|at| self.logical(*at).is_ok_and(|volume| volume.is_rebuilding));
        if is_rebuilding {
            return Known::Nothing;
        }
        let read = self
            .plain(memory)
            .map_err(|problem| problem.to_string())
            .and_then(|opened| raid::read(opened.device.as_ref(), number).map_err(|error| self.unread(&error)));
        read.unwrap_or_else(Known::Unseen)
    }

    fn unread(&self, error: &MediumError) -> String {
        self.has_unread.store(true, Ordering::Relaxed);
        error.to_string()
    }

    /// The first copy of an old mirror; where that is not there, any other one while its log says that all are the same.
    pub(super) fn mirror(
        &self,
        places: &[Place],
        log: Option<usize>,
        caution: &mut Option<Caution>,
    ) -> Result<Area, Problem> {
        let mut missing = None;
        for (number, place) in places.iter().enumerate() {
            match self.area(place, caution) {
                Ok(area) if number == 0 || self.is_in_sync(log) => return Ok(area),
                Ok(_) => {}
                Err(problem) => missing = missing.or(Some(problem)),
            }
        }
        Err(missing.unwrap_or(Problem::Metadata { what: "a mirror without copies" }))
    }

    fn is_in_sync(&self, log: Option<usize>) -> bool {
        let log = log.and_then(|log| self.plain(log).ok());
        let told = log.map(|log| mirror::is_in_sync(log.device.as_ref()).map_err(|error| self.unread(&error)));
        matches!(told, Some(Ok(Some(true))))
    }
}
