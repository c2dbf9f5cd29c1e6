//! Promise 6, told honestly: what a point is said to need, alone and with others, is what sets of its records say.

use std::collections::{HashMap, HashSet};
use std::io;

use super::takes;
use crate::Vault;
use crate::backup::{BackupRequest, Progress};
use crate::format::segment::{HEADER_BYTES, RecordType, TRAILER_BYTES};
use crate::format::{Hash, TAG_BYTES};
use crate::point::PointInfo;
use crate::seal::{Credential, PasswordCost};
use crate::source::Source;
use crate::vault::{InitOptions, checked_manifest};

struct Memory(Vec<u8>);

impl Source for Memory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.0[usize::try_from(offset).expect("small")..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const CHUNK: usize = 4096;

/// A disk of chunks out of a few: so that points, machines and places of one disk share some.
fn disk(random: &mut Random, before: Option<&Vec<u8>>) -> Vec<u8> {
    let fill = |chunk: &mut [u8], what: u64| {
        chunk.fill(0);
        if what > 0 {
            blake3::Hasher::new().update(&what.to_le_bytes()).finalize_xof().fill(chunk);
        }
    };
    let mut bytes = match before {
        Some(before) if random.below(5) > 0 => before.clone(),
        _ => vec![0; CHUNK * usize::try_from(1 + random.below(400)).expect("small")],
    };
    let chunks = (bytes.len() / CHUNK) as u64;
    for _ in 0..1 + random.below(40) {
        // A run of chunks, which may be a run that stands elsewhere: nodes are shared too.
        let (from, to, what) = (random.below(chunks), random.below(chunks), random.below(60));
        for number in 0..random.below(150).min(chunks - from.max(to)) {
            let at = usize::try_from(to + number).expect("small") * CHUNK;
            match what {
                0..10 => bytes.copy_within(
                    usize::try_from(from + number).expect("small") * CHUNK
                        ..(usize::try_from(from + number).expect("small") + 1) * CHUNK,
                    at,
                ),
                10..20 => fill(&mut bytes[at..at + CHUNK], 0),
                _ => fill(&mut bytes[at..at + CHUNK], 1 + what + random.below(300)),
            }
        }
    }
    bytes
}

/// The records that a point needs, by walking all of it.
fn needs(vault: &Vault, point: &PointInfo) -> HashSet<Hash> {
    fn node(vault: &Vault, id: &Hash, level: u8, found: &mut HashSet<Hash>) {
        found.insert(*id);
        for child in vault.reader.node_uncached(id, level).expect("a node").children.iter().flatten() {
            match level {
                0 => drop(found.insert(*child)),
                _ => node(vault, child, level - 1, found),
            }
        }
    }
    let plain = vault.reader.store().read(RecordType::Manifest, &point.entry.manifest).expect("a manifest");
    let mut found = HashSet::from([point.entry.manifest]);
    for disk in checked_manifest(&plain, point).expect("a manifest").disks {
        if let Some(root) = disk.root() {
            node(vault, &root, disk.map_level, &mut found);
        }
    }
    found
}

fn compare(vault: &Vault) {
    let usage = vault.usage(&crate::progress::Progress::default()).expect("usage");
    let (mut sizes, mut overhead): (HashMap<Hash, u64>, u64) = Default::default();
    let store = vault.reader.store();
    for segment in store.segments().list().expect("segments") {
        overhead += (HEADER_BYTES + TAG_BYTES + TRAILER_BYTES) as u64;
        for entry in store.segments().table(&segment).expect("a table") {
            *sizes.entry(entry.id).or_default() += takes(&entry);
        }
    }
    let all: Vec<_> = vault.catalog.all().into_iter().map(|point| (needs(vault, &point), point)).collect();
    let size = |records: &mut dyn Iterator<Item = &Hash>| records.map(|id| sizes[id]).sum::<u64>();
    let union = |of: &dyn Fn(&PointInfo) -> bool| -> HashSet<Hash> {
        all.iter().filter(|(_, point)| of(point)).flat_map(|(records, _)| records.iter().copied()).collect()
    };
    for (records, point) in &all {
        let others = union(&|other| other.id != point.id);
        let machine = usage.machines.iter().find(|machine| machine.machine == point.machine).expect("a machine");
        let told = machine.points.iter().find(|told| told.id == point.id).expect("a point");
        let path = point.path();
        assert_eq!(told.stored_bytes, size(&mut records.iter()), "{path}");
        assert_eq!(told.unique_bytes, size(&mut records.difference(&others)), "{path}");
        assert_eq!(told.forgotten, point.forgotten.is_some());
    }
    for machine in &usage.machines {
        let (own, others) =
            (union(&|other| other.machine == machine.machine), union(&|other| other.machine != machine.machine));
        assert_eq!(machine.stored_bytes, size(&mut own.iter()), "{}", machine.machine);
        assert_eq!(machine.unique_bytes, size(&mut own.difference(&others)), "{}", machine.machine);
    }
    let needed = union(&|_| true);
    assert_eq!((usage.records, usage.needed_bytes), (needed.len() as u64, size(&mut needed.iter())));
    let space = store.space().expect("space").segment_bytes;
    assert_eq!(usage.needed_bytes + usage.unneeded_bytes + overhead, space, "each byte is somebody's, or nobody's");
    assert!(usage.damaged.is_empty() && usage.unlisted_bytes == 0, "{usage:?}");
}

#[test]
fn what_is_told_is_what_sets_of_records_say() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let folder = tempfile::tempdir().expect("a directory");
        let options = InitOptions {
            chunk_bytes: 4096,
            segment_bytes: 1 << 20,
            parity_percent: 0,
            password_cost: PasswordCost { passes: 1, memory_kib: 8, lanes: 1 },
            ..InitOptions::default()
        };
        let vault = Vault::init(&folder.path().join("vault"), &Credential::password(*b"correct horse"), &options)
            .expect("init");
        let machines = ["a", "b", "c"];
        let mut before: HashMap<(&str, &str), Vec<u8>> = HashMap::new();
        for _ in 0..12 {
            let machine = machines[usize::try_from(random.below(3)).expect("small")];
            let mut request = BackupRequest::new(machine);
            for name in &["os", "data"][..1 + usize::try_from(random.below(2)).expect("small")] {
                let bytes = disk(&mut random, before.get(&(machine, *name)));
                request = request.disk(*name, Memory(bytes.clone()));
                before.insert((machine, *name), bytes);
            }
            vault.backup(&request, &Progress::default()).expect("backup");
            let all = vault.catalog.all();
            if random.below(4) == 0 {
                let point = &all[usize::try_from(random.below(all.len() as u64)).expect("small")];
                let _ = vault.forget(point, "", true);
            }
        }
        compare(&vault);
        // What is purged leaves records that nobody needs.
        vault
            .set_soft_delete(crate::vault::SoftDelete { grace_seconds: 0, locked_until_unix_seconds: 0 })
            .expect("set");
        for point in vault.catalog.all().iter().step_by(2) {
            let _ = vault.forget(point, "", true);
        }
        let options = crate::vault::GcOptions { most_rewritten_bytes: 0, ..Default::default() };
        vault.gc(&options, &crate::progress::Progress::default()).expect("gc");
        compare(&vault);
    }
}
