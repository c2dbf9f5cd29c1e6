//! Finding points that the catalog has lost: their manifests are records like any other.
//!
//! A manifest is sealed with the vault's keys, so what is found is what somebody who may add points once wrote. But the
//! catalog alone says which points were acknowledged: a backup that was interrupted at its very end leaves a manifest too.
//! So found points are told apart from others, and nothing is written.

use std::collections::{BTreeMap, HashSet};

use super::Vault;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::format::catalog_entry::PointMade;
use crate::format::segment::{self, RecordType, SegmentHeader, SegmentKind, TableEntry};
use crate::format::{HASH_BYTES, Hash, Id, id_from_hex};
use crate::point::{Manifest, check_name};
use crate::store::{Store, segment_header};

/// What was found without the catalog.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// Points that are in a segment and have no catalog entry.
    pub points: usize,
    /// Manifests that are there and can't be read, and why.
    pub unreadable: Vec<Error>,
}

impl Vault {
    /// Looks for points without an entry in all segments, and lists them from now on.
    pub(super) fn find_points(&self) -> Result<Salvaged> {
        let (found, unreadable) = self.unlisted_points()?;
        let points = found.into_iter().filter(|point| self.catalog.add_found(point.clone())).count();
        Ok(Salvaged { points, unreadable })
    }

    /// The points that segments hold and the catalog does not list, and why others can't be read.
    pub(super) fn unlisted_points(&self) -> Result<(Vec<PointMade>, Vec<Error>)> {
        loop {
            if let Some(found) = self.look_for_unlisted()? {
                return Ok(found);
            }
            // Somebody moved what we were about to look at: it may be in a segment that came since.
            self.reader.store().refresh()?;
            self.refresh()?;
        }
    }

    /// Nothing where a segment was removed meanwhile.
    fn look_for_unlisted(&self) -> Result<Option<(Vec<PointMade>, Vec<Error>)>> {
        let store = self.reader.store();
        let known: HashSet<Hash> = self.catalog.all().iter().map(|point| point.entry.manifest).collect();
        let mut found: BTreeMap<Id, PointMade> = BTreeMap::new();
        let mut doubtful: BTreeMap<Id, Error> = BTreeMap::new();
        let mut unreadable = Vec::new();
        // By its name: one that is there and can't be opened was not removed.
        let is_removed = |segment: &Id| Ok::<bool, Error>(!store.segments().list()?.contains(segment));
        for segment in store.segments().list()? {
            // What can't be looked into hides no other.
            let entries = match manifests(store, &segment) {
                Err(error) if error.is_absent() && is_removed(&segment)? => return Ok(None),
                Err(error) if error.kind() != ErrorKind::Damaged => {
                    unreadable.push(error);
                    continue;
                }
                // None where it is damaged beyond that.
                entries => entries.unwrap_or_default(),
            };
            for entry in entries.into_iter().filter(|entry| !known.contains(&entry.id)) {
                match read(store, &segment, &entry) {
                    Ok(point) if self.catalog.is_purged(&point) => {}
                    Ok(point) => {
                        let other = found.insert(point.point, point.clone());
                        if other.is_some_and(|other| other.manifest != point.manifest) {
                            // Somebody who may add points forged one of them: nobody can tell which.
                            let problem = Problem::Field("point id, which two manifests have");
                            doubtful
                                .insert(point.point, Error::damaged(segment::object(&segment), entry.offset, problem));
                        }
                    }
                    Err(_) if is_removed(&segment)? => return Ok(None),
                    Err(error) => unreadable.push(error),
                }
            }
        }
        found.retain(|point, _| !doubtful.contains_key(point));
        unreadable.extend(doubtful.into_values());
        Ok(Some((found.into_values().collect(), unreadable)))
    }
}

/// The manifests that a segment holds.
fn manifests(store: &Store, segment: &Id) -> Result<Vec<TableEntry>> {
    let is_data = |bytes| SegmentHeader::decode(&bytes).is_ok_and(|(header, _)| header.kind != SegmentKind::Meta);
    if segment_header(store.media().as_ref(), segment).is_ok_and(is_data) {
        return Ok(Vec::new());
    }
    let mut entries = store.segments().entries(segment)?;
    entries.retain(|entry| entry.kind == RecordType::Manifest);
    Ok(entries)
}

/// What the catalog entry of a manifest's point said, as far as it matters.
fn read(store: &Store, segment: &Id, entry: &TableEntry) -> Result<PointMade> {
    let object = segment::object(segment);
    let manifest = Manifest::decode(&store.read(RecordType::Manifest, &entry.id)?, &object)?;
    let wrong = |field| Error::damaged(&object, entry.offset, crate::error::Problem::Field(field));
    check_name("machine name", &manifest.machine).map_err(|_| wrong("machine name"))?;
    Ok(PointMade {
        predecessor: [0; HASH_BYTES],
        consistency: manifest.consistency,
        point: id_from_hex(&manifest.point).ok_or_else(|| wrong("point id"))?,
        time_unix_seconds: manifest.time.as_second(),
        recorded_unix_seconds: manifest.ended.as_second(),
        segment: *segment,
        offset: entry.offset,
        manifest: entry.id,
        machine: manifest.machine,
    })
}
