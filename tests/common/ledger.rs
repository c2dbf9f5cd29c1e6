//! What was said to the world about a vault, and whether the vault keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use icecore::point::PointInfo;
use icecore::{Error, Vault};

/// Disks of a machine by name.
pub type Disks = BTreeMap<String, Vec<u8>>;

/// A hash over names and bytes of all disks of a machine.
pub type Digest = [u8; 32];

/// Why a vault does not keep what was said.
pub type Broken = String;

pub fn digest(disks: &Disks) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in disks {
        hasher.update(name.as_bytes()).update(&[0]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    *hasher.finalize().as_bytes()
}

/// Points that must be there, and contents that may be.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By id: the machine, and what the point reads as.
    acknowledged: BTreeMap<String, (String, Digest)>,
    /// Contents of which a backup was begun, by machine.
    begun: BTreeSet<(String, Digest)>,
}

/// A point that is there and whole, and that nobody acknowledged.
#[derive(Clone, Debug)]
pub struct Unsaid {
    machine: String,
    id: String,
    content: Digest,
}

impl Ledger {
    pub fn begins(&mut self, machine: &str, content: Digest) {
        self.begun.insert((machine.to_owned(), content));
    }

    pub fn acknowledges(&mut self, machine: &str, id: &str, content: Digest) {
        self.acknowledged.insert(id.to_owned(), (machine.to_owned(), content));
    }

    /// From now on these have to be there as the others.
    pub fn adopts(&mut self, unsaid: Vec<Unsaid>) {
        self.acknowledged.extend(unsaid.into_iter().map(|point| (point.id, (point.machine, point.content))));
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Every acknowledged point is there and reads right; every other one is the whole of something that was begun;
    /// nothing is damaged. Returns those others.
    pub fn check(&self, vault: &Vault) -> Result<Vec<Unsaid>, Broken> {
        let damage = vault.catalog_damage();
        ensure(damage.is_empty(), || format!("the catalog is damaged: {damage:?}"))?;
        let mut unsaid = Vec::new();
        let mut missing: BTreeSet<&str> = self.acknowledged.keys().map(String::as_str).collect();
        for machine in vault.machines() {
            for point in vault.points(&machine).map_err(said("points"))? {
                let content = read(vault, &point).map_err(said(&format!("{machine}/{} {}", point.name, point.id)))?;
                missing.remove(point.id.as_str());
                let right = match self.acknowledged.get(&point.id) {
                    Some(expected) => *expected == (machine.clone(), content),
                    None => self.begun.contains(&(machine.clone(), content)),
                };
                ensure(right, || {
                    format!("{machine}/{} {} reads as what was never on that disk", point.name, point.id)
                })?;
                if !self.acknowledged.contains_key(&point.id) {
                    unsaid.push(Unsaid { machine: machine.clone(), id: point.id.clone(), content });
                }
            }
        }
        ensure(missing.is_empty(), || format!("acknowledged and gone: {missing:?}"))?;
        is_clean(vault)?;
        Ok(unsaid)
    }

    /// The next backup works, and clears away what those who died left behind.
    pub fn check_next_backup(&mut self, vault: &Vault, path: &Path, seed: u64) -> Result<(), Broken> {
        let disks = Disks::from([("os".to_owned(), super::noise(seed, 50_000))]);
        let made = super::backup_bytes(vault, "next", &[("os", &disks["os"])]).map_err(said("the next backup"))?;
        self.acknowledges("next", &made.point.id, digest(&disks));
        let left = super::files(&path.join("tmp"));
        ensure(left.is_empty(), || format!("left behind after the next backup: {left:?}"))?;
        let found = read(vault, &made.point).map_err(said("the next point"))?;
        ensure(found == digest(&disks), || "the next point reads wrong".to_owned())?;
        is_clean(vault)
    }
}

/// All disks of a point.
pub fn read(vault: &Vault, point: &PointInfo) -> icecore::Result<Digest> {
    let mut disks = Disks::new();
    for disk in vault.manifest(point)?.disks {
        let bytes = super::disk_bytes(vault, point, &disk.name)?;
        disks.insert(disk.name, bytes);
    }
    Ok(digest(&disks))
}

fn is_clean(vault: &Vault) -> Result<(), Broken> {
    let report = vault.verify(&icecore::vault::VerifyProgress::default()).map_err(said("verify"))?;
    ensure(report.is_clean(), || format!("verify found {:?}, {:?}", report.damage, report.hit))
}

pub fn ensure(is_so: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if is_so { Ok(()) } else { Err(broken()) }
}

pub fn said(what: &str) -> impl Fn(Error) -> Broken {
    move |error| format!("{what}: {error}")
}
