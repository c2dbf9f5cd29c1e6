//! Carrying files over into a copy of the same vault, as it was earlier: segments with their parity, key slots, and the
//! catalog entries that came since.
//!
//! Invariants:
//! - every chain of the target must be the beginning of the same chain here: what went another way is refused, whole;
//! - a segment takes its name in the target after every check that this vault's keys can make of what was written;
//! - entries come after everything that they need, in their order, and never replace any;
//! - while files are read here, nobody removes any: backups go on, and what they add is for the next copy.

use super::CopyProgress;
use std::cmp::Ordering;
use std::collections::HashSet;

use super::report::{CopiedPoint, CopyPlan, CopyReport, CopySkip, CopyWanted, CopyWay};
use crate::error::{Error, Problem, Result};
use crate::format::{Hash, Id, catalog_entry, hex, key_slot, parity, segment};
use crate::media::{Media, Object};
use crate::point::vault_chain::{self, VaultChain};
use crate::point::{ChainHead, stored_entry};
use crate::seal::VaultKeys;
use crate::store::parity::{Corrected, Maker, plan as parity_plan};
use crate::store::{Kept, Origin, assemble_segment, open_segment};
use crate::sync::Arc;
use crate::vault::parallel::each;
use crate::vault::{Vault, keys};

/// Bytes after which the system is asked to begin writing out, so that the sync at the end is short.
const WRITEBACK_BYTES: usize = 8 << 20;

/// Entries of one chain that the target lacks.
struct Behind {
    head: ChainHead,
    /// How many it has.
    has: u64,
}

/// What the target lacks.
struct Lacking {
    chains: Vec<Behind>,
    segments: Vec<(Id, u64)>,
}

impl Vault {
    pub(super) fn plan_files(&self, target: &Self, wanted: &[CopyWanted]) -> Result<CopyPlan> {
        let mut machines: Vec<String> = Vec::new();
        for CopyWanted { machine, point } in wanted {
            if let Some(point) = point {
                let rule = "the target is a copy of the same vault, whose catalog is carried over in its order: name the \
                            machine alone";
                return Err(Error::Invalid { what: "point", value: format!("{machine}/{point}"), rule });
            }
            self.points(machine)?;
            machines.push(machine.clone());
        }
        let lacking = self.lacking(target, &machines)?;
        let mut plan = CopyPlan {
            way: CopyWay::Files,
            points: Vec::new(),
            skipped: Vec::new(),
            entries: lacking.chains.iter().map(|chain| chain.head.entries - chain.has).sum(),
            segments: lacking.segments.len() as u64,
            segment_bytes: lacking.segments.iter().map(|(_, bytes)| bytes).sum(),
            machines,
        };
        for point in self.catalog.all().into_iter().filter(|point| point.forgotten.is_none()) {
            if !plan.machines.is_empty() && !plan.machines.contains(&point.machine) {
                continue;
            }
            match target.standing(&point) {
                Some(CopySkip::Known) => plan.skipped.push((point, CopySkip::Known)),
                // What was done with it since comes over too.
                _ => plan.points.push(point),
            }
        }
        Ok(plan)
    }

    /// What a copy of this vault lacks; fails where it is none that this one could go on from.
    fn lacking(&self, target: &Self, machines: &[String]) -> Result<Lacking> {
        let (here, there) = (self.reader.store(), target.reader.store());
        let invalid =
            |rule| Err(Error::Invalid { what: "target", value: target.location().display().to_string(), rule });
        // What is damaged here would be missing there, and what is damaged there may be another way that it went.
        if let Some(damage) = self.catalog_damage().into_iter().chain(target.catalog_damage()).next() {
            return Err(Error::Damaged(damage));
        }
        match here.keys().epoch().cmp(&there.keys().epoch()) {
            Ordering::Greater => {
                return invalid("it is a copy from before the vault's keys were rotated: make a new one in its place");
            }
            Ordering::Less => return invalid("it is a copy that went another way: its keys were rotated"),
            Ordering::Equal => {}
        }
        let heads = target.heads();
        if !self.setbacks(&heads)?.is_empty() {
            return invalid("it is a copy of this vault that went another way: it has catalog entries of its own");
        }
        let is_wanted = |head: &ChainHead| match &head.machine {
            Some(machine) => machines.is_empty() || machines.contains(machine),
            // The vault's own.
            None => true,
        };
        let has = |head: &ChainHead| heads.chains.iter().find(|known| known.is_of_chain(head));
        let chains = self.heads().chains.into_iter().filter(is_wanted).map(|head| {
            let has = has(&head).map_or(0, |known| known.entries);
            Behind { head, has }
        });
        let chains: Vec<Behind> = chains.filter(|chain| chain.has < chain.head.entries).collect();
        let mut segments = Vec::new();
        if !chains.is_empty() {
            let present: HashSet<Id> = there.segments().list()?.into_iter().collect();
            for id in here.segments().list()?.into_iter().filter(|id| !present.contains(id)) {
                // What opens with no key that counts is somebody else's.
                if !here.segments().counts(&id) {
                    continue;
                }
                // All of it may be there in other segments, where space was given back in the target.
                let table = here.segments().table(&id);
                let is_there = |entries: &Vec<segment::TableEntry>| {
                    !entries.is_empty() && entries.iter().all(|entry| there.locate(&entry.id).is_some())
                };
                if !table.as_ref().is_ok_and(is_there) {
                    segments.push((id, here.segments().length(&id).unwrap_or(0)));
                }
            }
            segments.sort_unstable();
        }
        Ok(Lacking { chains, segments })
    }

    pub(super) fn copy_files(
        &self,
        target: &Self,
        plan: &CopyPlan,
        progress: &CopyProgress,
        report: &mut CopyReport,
    ) -> Result<()> {
        let (here, there) = (self.reader.store(), target.reader.store());
        let _nothing_goes = Kept::begin(self.media.as_ref(), &|| progress.check())?;
        target.media.clear_abandoned()?;
        let _nothing_goes_there = Kept::begin(target.media.as_ref(), &|| progress.check())?;
        vault_chain::check(target.media.as_ref(), there.keys())?;
        vault_chain::check(self.media.as_ref(), here.keys())?;
        there.refresh_for_writing()?;
        here.refresh()?;
        self.refresh()?;
        target.refresh()?;
        // What came since it was planned comes too.
        let points = self.plan_files(target, &wanted(plan))?.points;
        let lacking = self.lacking(target, &plan.machines)?;
        progress.add_total(lacking.segments.iter().map(|(_, bytes)| bytes).sum());
        let carried = each(&lacking.segments, progress, |(id, bytes)| {
            let carried = self.carry_segment(target, id)?;
            progress.add_done(*bytes);
            Ok(carried)
        })?;
        for carried in carried {
            match carried {
                Ok(bytes) => {
                    report.segments += 1;
                    report.added_bytes += bytes;
                }
                Err(error) => report.left.push(error),
            }
        }
        // Also for names that others gave: an entry must never name what a power cut can take back.
        target.media.sync_folder(parity::FOLDER)?;
        target.media.sync_folder(segment::FOLDER)?;
        if report.left.is_empty() {
            self.carry_catalog(target, &lacking.chains, progress, report)?;
        }
        there.refresh()?;
        let _ = there.flush_index();
        target.refresh()?;
        for point in points {
            if let Some(point) = target.catalog.with_id(&point.machine, &point.id) {
                report.copied.push(CopiedPoint { point, read_bytes: 0, new_bytes: 0 });
            }
        }
        Ok(())
    }

    /// Carries a segment over. The inner error is that of a segment that is not whole here, also with the help of its parity.
    fn carry_segment(&self, target: &Self, id: &Id) -> Result<std::result::Result<u64, Error>> {
        let (from, to) = (self.media.as_ref(), target.media.as_ref());
        let vault = &self.header.vault;
        let mut pieces: Vec<(Origin, Arc<dyn Object>)> = Vec::new();
        if let Ok(object) = open_segment(from, id) {
            pieces.push((Origin::Copy, object));
        }
        if let Ok(corrected) = Corrected::open(from, Some(vault), id) {
            pieces.push((Origin::Parity, Arc::new(corrected)));
        }
        let object = to.create(&segment::object(id))?;
        let mut written = 0;
        let keys: &VaultKeys = self.reader.store().keys();
        let whole = assemble_segment(None, &pieces, vault, Some(keys), id, &mut |offset, bytes| {
            written += bytes.len();
            if written >= WRITEBACK_BYTES {
                written = 0;
                object.start_writeback(0, 0);
            }
            object.write_at(offset, bytes)
        })?;
        let Some(whole) = whole else {
            let problem = Problem::Unreadable("neither the file nor its parity gives all of it".to_owned());
            return Ok(Err(Error::damaged(segment::object(id), 0, problem)));
        };
        let mut bytes = whole.bytes;
        if self.header.parity_percent > 0 {
            // Before the segment: what others can find has what mends it.
            let header = parity_plan(vault, id, whole.bytes, self.header.parity_percent);
            let made = to.create(&parity::object(id))?;
            Maker::new().make(&header, &|offset, buffer| object.read_back(offset, buffer), made.as_ref())?;
            // Where one was left behind, it is the same.
            made.publish()?;
            made.drop_cached();
            bytes += header.object_bytes();
        }
        // Where somebody else was faster, theirs is as whole.
        object.publish()?;
        object.drop_cached();
        Ok(Ok(bytes))
    }

    /// Carries over slots and entries. The order: what opens the vault, then what happened to points, then what happened to
    /// the vault, then the slots go that it removed.
    fn carry_catalog(
        &self,
        target: &Self,
        chains: &[Behind],
        progress: &CopyProgress,
        report: &mut CopyReport,
    ) -> Result<()> {
        let (from, to) = (self.media.as_ref(), target.media.as_ref());
        let store = self.reader.store();
        let own = VaultChain::read_to_append(from, store.keys())?;
        for (name, slot) in keys::read_slots(from)?.0 {
            let counts = slot.vault == self.header.vault && slot.epoch == store.keys().epoch();
            if counts && !own.removed.contains(&slot.id) && !to.exists(&name)? {
                report.added_bytes += put(to, &name, &slot.encode())?;
            }
        }
        to.sync_folder(key_slot::FOLDER)?;
        let (machines, of_vault): (Vec<&Behind>, Vec<&Behind>) =
            chains.iter().partition(|chain| chain.head.machine.is_some());
        for chain in machines.into_iter().chain(of_vault) {
            progress.check()?;
            let id = chain.head.chain;
            for sequence in chain.has..chain.head.entries {
                let bytes = stored_entry(from, &id, sequence)??;
                let name = catalog_entry::object(&id, sequence);
                if chain.head.machine.is_some() {
                    store.keys().open_entry(&id, sequence, &bytes)?;
                } else {
                    store.keys().open_event(sequence, &bytes)?;
                }
                let hash: Hash = *blake3::hash(&bytes).as_bytes();
                if sequence + 1 == chain.head.entries && hash != chain.head.hash {
                    return Err(Error::damaged(name, 0, Problem::Unreadable("it changed meanwhile".to_owned())));
                }
                report.added_bytes += put(to, &name, &bytes)?;
                // Each before the next: power that is lost leaves no gap.
                to.sync_folder(&format!("{}/{}", catalog_entry::FOLDER, hex(&id)))?;
                report.entries += 1;
            }
        }
        to.sync_folder(catalog_entry::FOLDER)?;
        for (name, _) in keys::read_slots(to)?.0.into_iter().filter(|(_, slot)| own.removed.contains(&slot.id)) {
            to.remove(&name)?;
        }
        to.sync_folder(key_slot::FOLDER)
    }
}

fn wanted(plan: &CopyPlan) -> Vec<CopyWanted> {
    plan.machines.iter().map(|machine| CopyWanted { machine: machine.clone(), point: None }).collect()
}

/// Publishes an object. Whoever was faster must have put the same there.
fn put(media: &dyn Media, name: &str, bytes: &[u8]) -> Result<u64> {
    let object = media.create(name)?;
    object.write_at(0, bytes)?;
    if object.publish()? {
        return Ok(bytes.len() as u64);
    }
    let there = media.open(name)?;
    let mut found = vec![0; bytes.len()];
    if there.length() == bytes.len() as u64 && there.read_past_map(0, &mut found).is_ok() && found == bytes {
        return Ok(0);
    }
    let rule = "it is a copy of this vault that just went another way: somebody else wrote to it";
    Err(Error::Invalid { what: "target", value: media.location().display().to_string(), rule })
}
