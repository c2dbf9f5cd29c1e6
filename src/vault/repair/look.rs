//! Finding out what is damaged, what of that can be had again, and what stays lost. Writes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use super::objects::{self, Objects};
use super::records::{Have, Records, Wanted};
use super::report::{CopyFacts, Mended, RepairPlan, Restored};
use super::segments::{self, Mendable};
use super::sources::{CopyOfVault, Spare};
use super::{Repair, Wish, segments_of};
use crate::error::{Error, Problem, Result};
use crate::format::catalog_entry::PointMade;
use crate::format::header::{self, Header};
use crate::format::parity;
use crate::format::segment;
use crate::format::{Hash, Id};
use crate::media::{Media, ReadOnlyMedia};
use crate::point::PointInfo;
use crate::point::vault_chain::VaultChain;
use crate::progress::Progress;
use crate::vault::unlock::Unlocked;
use crate::vault::{FOLDERS, LOCKS, OpenOptions, Vault, read_header};

impl Repair {
    pub(super) fn look(&mut self, wish: Wish, progress: &Progress) -> Result<()> {
        // Whatever is asked of it: who looks writes nothing.
        let media: Arc<dyn Media> = Arc::new(ReadOnlyMedia(Arc::clone(&self.media)));
        let open = |by: &Unlocked| Vault::assemble(Arc::clone(&media), by.clone(), &OpenOptions::default());
        let vault = self.unlocked.as_ref().map(open).transpose()?;
        let objects = self.look_at_objects(media.as_ref(), vault.as_ref(), wish)?;
        let store = vault.as_ref().map(|vault| vault.reader.store());
        self.plan.only_elsewhere = objects.only_elsewhere;
        self.parity_percent = self.find_parity_percent(media.as_ref(), vault.as_ref());
        let survey = segments::survey(media.as_ref(), &self.vault, store, self.parity_percent > 0, progress)?;
        let present: HashSet<Id> = segments_of(media.as_ref())?;
        let wanted = self.pieces(media.as_ref()).wanted(&survey.damaged, &present)?;
        let (mut mendable, mended) = self.pieces(media.as_ref()).plan(&wanted, progress)?;
        self.plan.folders = self.media.not_laid_out(&FOLDERS, &LOCKS)?;
        self.plan.segments = survey.segments;
        self.plan.bytes = survey.bytes;
        self.plan.copies = self.copies.iter().map(|copy| facts(copy, &present)).collect::<Result<_>>()?;
        if let Some(vault) = &vault {
            let mut records = Records::new(vault, &survey, &mended, &self.stores, &self.disks);
            let comes_back: HashSet<String> = mendable.iter().map(|segment| segment::object(&segment.id)).collect();
            let look = (objects.points.as_slice(), wish.adopt, &comes_back);
            let adopted = look_at_points(&mut records, vault, look, &mut self.plan, progress)?;
            let mut used = vec![false; mendable.len()];
            for wanted in records.wanted.values() {
                if let Have::Mended(number) = wanted.have {
                    used[number] = true;
                }
            }
            for segment in survey.unframed.iter().filter(|id| !mendable.iter().any(|one| one.id == **id)) {
                records.move_out_of(segment);
            }
            // What is gone and nobody needs was perhaps removed.
            let mut used = used.into_iter();
            mendable.retain(|segment| used.next().unwrap_or(false) || !segment.is_absent);
            let found: Vec<(Hash, Wanted)> = records.wanted.into_iter().collect();
            self.adopted = adopted;
            self.take_records(found);
        } else if !wish.gone {
            let all = mendable.len();
            // Its own parity alone makes a short one, of which nothing was removed.
            mendable.retain(|segment| !segment.is_absent || segment.whole.foreign_bytes == 0);
            self.plan.only_elsewhere += (all - mendable.len()) as u64;
        }
        self.take_parity(survey.parity, &survey.damaged, &mendable)?;
        self.take(objects, survey.damaged, mendable);
        Ok(())
    }

    /// How much parity each segment has, as the vault's header tells or, where no key is at hand, any header of the vault.
    fn find_parity_percent(&self, media: &dyn Media, vault: Option<&Vault>) -> u8 {
        if let Some(vault) = vault {
            return vault.header.parity_percent;
        }
        let places = std::iter::once(media).chain(self.copies.iter().map(|copy| copy.media.as_ref()));
        let headers = places.flat_map(|media| [header::OBJECT, header::COPY].map(|name| read_header(media, name)));
        let header = headers.flatten().map(|decoded| decoded.header).find(|header| header.vault == self.vault);
        header.map_or(0, |header| header.parity_percent)
    }

    /// Which parity is to be made anew: what is damaged or gone, of segments that are whole or will be.
    fn take_parity(
        &mut self,
        found: Vec<(Id, Vec<Error>)>,
        damaged: &[(Id, Vec<Error>)],
        mendable: &[Mendable],
    ) -> Result<()> {
        let will_be_whole: HashSet<Id> = mendable.iter().map(|segment| segment.id).collect();
        let mut wanted: Vec<Id> = Vec::new();
        for (id, errors) in found {
            if will_be_whole.contains(&id) || !damaged.iter().any(|(other, _)| *other == id) {
                wanted.push(id);
            }
            self.plan.damage.extend(errors);
        }
        // Of a segment that comes back there is mostly no parity either.
        for segment in mendable.iter().filter(|segment| segment.is_absent) {
            if !wanted.contains(&segment.id) && !self.media.exists(&parity::object(&segment.id))? {
                wanted.push(segment.id);
            }
        }
        if self.parity_percent > 0 {
            for id in &wanted {
                let object = parity::object(id);
                let is_absent = !self.media.exists(&object)?;
                self.plan.parity.push(Restored { object, from: "computed from its segment".to_owned(), is_absent });
            }
            self.parity = wanted;
        }
        Ok(())
    }

    fn look_at_objects(&self, media: &dyn Media, vault: Option<&Vault>, wish: Wish) -> Result<Objects> {
        let leaves_unreadable = self.unlocked.is_none() && !wish.gone;
        let mut objects = Objects { leaves_unreadable, ..Objects::default() };
        let keys = self.unlocked.as_ref().map(|by| by.keys.as_ref());
        let header = || vault.map(completed_header);
        objects::headers(media, &self.vault, keys, &header, &self.copies, &mut objects)?;
        objects::slots(media, &self.vault, keys, &self.copies, &mut objects)?;
        objects::inventories(media, &self.vault, keys, &self.copies, &mut objects)?;
        objects::entries(media, &self.vault, keys, &self.copies, wish.gone, &mut objects)?;
        if let Some(keys) = keys {
            objects::lost_epoch(media, keys, &mut objects)?;
            if let Ok(chain) = VaultChain::read(media, keys) {
                // What comes back all the same is good to have. What stays lost was told for the last time.
                let is_given_up = |error: &Error| error.object().is_some_and(|object| chain.gave_up(media, object));
                objects.remaining.retain(|error| !is_given_up(error));
                let comes_back =
                    |error: &Error| objects.restorable.iter().any(|object| error.object() == Some(&object.told.object));
                objects.damage.retain(|error| !is_given_up(error) || comes_back(error));
            }
        }
        // What shows only by what was written later, or by what comes before it.
        let broken = vault.map(Vault::damage_of_points).unwrap_or_default();
        for damage in broken.into_iter().filter(|damage| matches!(damage.problem, Problem::Chain(..))) {
            objects.damage.push(Error::Damaged(damage.clone()));
            objects.remaining.push(Error::Damaged(damage));
        }
        let own_damage = match vault {
            Some(vault) => vault.own_damage(),
            None => self.unlocked.iter().flat_map(|by| by.own_damage.clone()).collect(),
        };
        for damage in &own_damage {
            if !objects.damage.iter().any(|error| error.object() == Some(&damage.object)) {
                objects.damage.push(Error::Damaged(damage.clone()));
                if !objects.restorable.iter().any(|object| object.told.object == damage.object) {
                    objects.remaining.push(Error::Damaged(damage.clone()));
                }
            }
        }
        Ok(objects)
    }

    /// The records that are to be stored, in the order in which their sources give them best.
    fn take_records(&mut self, found: Vec<(Hash, Wanted)>) {
        let lost = found.iter().filter(|(_, wanted)| matches!(wanted.have, Have::Lost)).map(|(id, _)| *id);
        self.lost = lost.collect();
        self.plan.records_lost = self.lost.len() as u64;
        let is_had = |wanted: &Wanted| !matches!(wanted.have, Have::Mended(_) | Have::Lost);
        self.records = found.into_iter().filter(|(_, wanted)| is_had(wanted)).collect();
        let stores = &self.stores;
        self.records.sort_by_cached_key(|(id, wanted)| match wanted.have {
            Have::Copy(copy) => {
                let place = stores.get(copy).and_then(Option::as_ref).and_then(|store| store.locate(id));
                (copy, place.map(|place| place.segment), place.map_or(0, |place| place.offset))
            }
            Have::Disk { disk, offset, .. } => (stores.len() + disk, None, offset),
            _ => (usize::MAX, None, 0),
        });
        let of_disks = |wanted: &Wanted| matches!(wanted.have, Have::Disk { .. } | Have::Bytes(_));
        self.plan.records_moved =
            self.records.iter().filter(|(_, wanted)| matches!(wanted.have, Have::Own)).count() as u64;
        self.plan.records = self.records.len() as u64;
        self.plan.record_bytes = self.records.iter().map(|(_, wanted)| wanted.plain_bytes).sum();
        self.plan.records_from_disks = self.records.iter().filter(|(_, wanted)| of_disks(wanted)).count() as u64;
    }

    /// Takes over what was found, and tells it.
    fn take(&mut self, objects: Objects, damaged: Vec<(Id, Vec<Error>)>, mendable: Vec<Mendable>) {
        let will_be_whole: HashSet<Id> = mendable.iter().map(|segment| segment.id).collect();
        self.plan.objects = objects.restorable.iter().map(|object| object.told.clone()).collect();
        self.plan.remaining.extend(objects.remaining);
        self.plan.damage.extend(objects.damage);
        for (id, damage) in damaged {
            if !will_be_whole.contains(&id) {
                self.plan.left_damaged.push(segment::object(&id));
            }
            self.plan.damage.extend(damage);
        }
        self.plan.left_damaged.sort_unstable();
        self.plan.mended = mendable
            .iter()
            .map(|segment| Mended {
                object: segment::object(&segment.id),
                is_absent: segment.is_absent,
                bytes: segment.whole.bytes,
                parity_bytes: segment.whole.parity_bytes,
                foreign_bytes: segment.whole.foreign_bytes,
            })
            .collect();
        self.objects = objects.restorable;
        self.mendable = mendable;
    }
}

fn facts(copy: &CopyOfVault, own: &HashSet<Id>) -> Result<CopyFacts> {
    let has = copy.list()?;
    Ok(CopyFacts {
        path: copy.media.location().to_path_buf(),
        lacks: own.difference(&has).count() as u64,
        alone: has.difference(own).count() as u64,
    })
}

/// The header of an open vault; of one that has none, what a slot and the points say of it.
fn completed_header(vault: &Vault) -> Header {
    let mut header = vault.header.clone();
    let manifests = vault.catalog.all().into_iter().filter_map(|point| vault.manifest(&point).ok());
    let disk = manifests.flat_map(|manifest| manifest.disks).next();
    if let Some(log2) = disk.and_then(|disk| u8::try_from(disk.chunk_bytes.trailing_zeros()).ok()) {
        header.chunk_size_log2 = log2;
    }
    header
}

/// Walks the maps of all points: those of the catalog, those whose entries come back, and, where that is wished, those that
/// have none. `comes_back` are the segments that will be whole. Returns the last, as far as they are whole or will be.
fn look_at_points(
    records: &mut Records<'_>,
    vault: &Vault,
    (restored, adopt, comes_back): (&[PointMade], bool, &HashSet<String>),
    plan: &mut RepairPlan,
    progress: &Progress,
) -> Result<Vec<PointMade>> {
    for point in restored {
        vault.catalog.add_found(point.clone());
    }
    let listed = vault.catalog.all();
    plan.lists_any = !listed.is_empty();
    let (unlisted, unreadable) = vault.unlisted_points()?;
    // What such a segment holds shows once it is whole.
    let stays = |error: &Error| error.object().is_none_or(|object| !comes_back.contains(object));
    plan.remaining.extend(unreadable.into_iter().filter(stays));
    let mut unlisted: Vec<Arc<PointInfo>> = if adopt {
        for point in &unlisted {
            vault.catalog.add_found(point.clone());
        }
        let is_new = |point: &Arc<PointInfo>| !listed.iter().any(|known| known.id == point.id);
        vault.catalog.all().into_iter().filter(is_new).collect()
    } else {
        plan.found = unlisted.iter().map(|point| path_of(&point.machine, point.time_unix_seconds)).collect();
        Vec::new()
    };
    for point in listed.iter().chain(&unlisted) {
        records.point(point, progress)?;
    }
    look_on_disks(records, listed.iter().chain(&unlisted), progress)?;
    for point in &listed {
        let (regained, lost) = records.point(point, progress)?;
        if !(regained.is_empty() && lost.is_empty()) && vault.is_purged_now(point)? {
            continue;
        }
        plan.regained.extend(regained);
        plan.lost.extend(lost);
        plan.points += 1;
    }
    let mut whole = Vec::new();
    unlisted.sort_by_key(|point| point.time);
    for point in unlisted {
        let path = point.path();
        if records.point(&point, progress)?.1.is_empty() {
            plan.adopted.push(path.clone());
            whole.push(point.entry.clone());
        }
        plan.found.push(path);
    }
    Ok(whole)
}

fn path_of(machine: &str, time: i64) -> String {
    let time = jiff::Timestamp::from_second(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{machine}/{}", crate::point::point_name(time))
}

/// Looks for what is lost on the disks that were given, beside each point's map of them.
fn look_on_disks<'a>(
    records: &mut Records<'_>,
    points: impl Iterator<Item = &'a Arc<PointInfo>> + Clone,
    progress: &Progress,
) -> Result<()> {
    let disks = records.disks;
    for (number, original) in disks.iter().enumerate() {
        let is_its =
            |point: &&Arc<PointInfo>| original.machine.as_ref().is_none_or(|machine| *machine == point.machine);
        for point in points.clone().filter(is_its) {
            let Some(manifest) = records.manifest(point) else { continue };
            if let Some(described) = manifest.disk(&original.name) {
                records.look_on_disk(number, described, progress)?;
            }
        }
        records.forget_walks();
    }
    Ok(())
}
