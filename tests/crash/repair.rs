//! Promises 1 and 3: a repair that power loss, a failing call or a full disk ends anywhere leaves no less than there was,
//! and the next one ends it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::faults::{Call, Fault, FaultyFiles, Plan};
use crate::common::power::VAULT;
use icecore::media::files::Files;
use icecore::media::simulated::{Crash, Image, Left, SimulatedFiles};
use icecore::media::{DirectoryMedia, Media, ReadMode};
use icecore::vault::{RepairProgress, RepairReport, RepairSources, VerifyProgress};
use icecore::{Result, Vault};

/// Where the copy is on the simulated disk.
const COPY: &str = "/copy";

/// A damaged vault and a copy of it on one disk.
struct Made {
    image: Image,
    /// The vault's files as they were before the damage, the derived ones left out.
    whole: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    disks: Vec<(&'static str, Vec<u8>)>,
}

fn kind(path: &Path) -> &str {
    let first = path.strip_prefix(VAULT).ok().and_then(|path| path.iter().next()).and_then(|part| part.to_str());
    first.unwrap_or_default()
}

fn is_kept(path: &Path) -> bool {
    path.starts_with(VAULT) && !["index", "checks", "tmp", "locks"].contains(&kind(path))
}

fn changed(bytes: &[u8], at: usize) -> Arc<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x41;
    Arc::new(bytes)
}

/// Everything that there is to repair: a segment that has its bytes in the copy, one that is gone, one that no union makes
/// whole, and a header, a slot and an entry. With parity, the first has its bytes there, the second lost it, and that of
/// another segment is damaged.
fn make(with_parity: bool) -> Made {
    let disk = SimulatedFiles::new();
    let files = FaultyFiles::over(Arc::new(disk.clone()), Plan::NONE);
    let options = if with_parity { common::protected() } else { common::small() };
    let vault = files.init(Path::new(VAULT), &options).expect("init");
    let disks =
        vec![("web", common::noise(1, 150_000)), ("web", common::noise(2, 90_000)), ("db", common::noise(3, 60_000))];
    for (machine, bytes) in &disks {
        common::backup_bytes(&vault, machine, &[("os", bytes)]).expect("backup");
    }
    drop(vault);
    let trace = disk.trace();
    let mut crash = Crash::before(&trace);
    while crash.step().is_some() {}
    let mut image = crash.image(Left::Everything);
    let whole: BTreeMap<PathBuf, Arc<Vec<u8>>> = image
        .files
        .iter()
        .filter(|(path, _)| is_kept(path))
        .map(|(path, bytes)| (path.clone(), Arc::clone(bytes)))
        .collect();
    let in_copy = |path: &Path| Path::new(COPY).join(path.strip_prefix(VAULT).expect("in the vault"));
    let folders: Vec<PathBuf> = image.directories.iter().filter(|path| path.starts_with(VAULT)).cloned().collect();
    image.directories.insert(PathBuf::from(COPY));
    image.directories.extend(folders.iter().map(|folder| in_copy(folder)));
    image.files.extend(whole.iter().map(|(path, bytes)| (in_copy(path), Arc::clone(bytes))));
    // In the order of their lengths: the data of the first point, of the second, of the third, and their maps.
    let mut segments: Vec<PathBuf> = whole.keys().filter(|path| kind(path) == "segments").cloned().collect();
    segments.sort_by_key(|path| std::cmp::Reverse(whole[path].len()));
    let mut set = |path: &Path, bytes| image.files.insert(path.to_path_buf(), bytes);
    set(&segments[0], changed(&whole[&segments[0]], 20_000));
    // The same record in both, and another one in the vault.
    set(&segments[1], changed(&changed(&whole[&segments[1]], 8_000), 30_000));
    set(&in_copy(&segments[1]), changed(&whole[&segments[1]], 8_000));
    for path in whole.keys().filter(|path| matches!(kind(path), "keys" | "header")) {
        set(path, changed(&whole[path], 20));
    }
    let entry = whole.keys().rfind(|path| kind(path) == "catalog").expect("an entry");
    set(entry, changed(&whole[entry], 20));
    image.files.remove(&segments[3]);
    if with_parity {
        let parity = |segment: &Path| {
            let name = segment.with_extension("par");
            Path::new(VAULT).join("parity").join(name.file_name().expect("a name"))
        };
        image.files.remove(&in_copy(&segments[0]));
        for path in [parity(&segments[1]), in_copy(&parity(&segments[1]))] {
            assert!(image.files.remove(&path).is_some(), "{}", path.display());
        }
        let other = parity(&segments[2]);
        image.files.insert(other.clone(), changed(&whole[&other], 20));
    }
    Made { image, whole, disks }
}

fn repair(files: &Arc<dyn Files>, keyless: bool) -> Result<RepairReport> {
    let media = |root| -> Arc<dyn Media> {
        Arc::new(DirectoryMedia::over(Arc::clone(files), Path::new(root), ReadMode::Pread))
    };
    let sources = RepairSources::default().copy_on(media(COPY));
    let sources = if keyless { sources.gone() } else { sources };
    let password = common::password();
    let credential = if keyless { None } else { Some(&password) };
    Vault::plan_repair_on(media(VAULT), credential, sources, &RepairProgress::default())?
        .write(&RepairProgress::default())
}

impl Made {
    /// Each file is as it was before the repair, or as it was before the damage; what is in both is in neither's place.
    fn check_files(&self, image: &Image, what: &str) {
        for (path, bytes) in self.image.files.iter().filter(|(path, _)| is_kept(path) || path.starts_with(COPY)) {
            let found = image.files.get(path).unwrap_or_else(|| panic!("{what}: {} is gone", path.display()));
            let is_whole = self.whole.get(path).is_some_and(|whole| whole == found);
            assert!(is_whole || found == bytes, "{what}: {} holds something else", path.display());
        }
    }

    /// The next repair brings back all that can be had, and the vault goes on.
    fn check_next(&self, image: &Image, what: &str) {
        let disk = SimulatedFiles::from_image(image.clone()).expect("an image");
        let files: Arc<dyn Files> = Arc::new(disk.clone());
        let report = repair(&files, false).unwrap_or_else(|error| panic!("{what}: the next repair: {error}"));
        assert!(report.failures.is_empty(), "{what}: {:?}", report.failures);
        let vault = FaultyFiles::over(files, Plan::NONE).open(Path::new(VAULT)).expect(what);
        let report = vault.verify(&VerifyProgress::default()).expect(what);
        let lost: u64 = report.hit.iter().map(|hit| hit.range.bytes()).sum();
        assert_eq!(lost, 4096, "{what}: one record is in neither: {:?}", report.hit);
        let mut whole = 0;
        for machine in ["web", "db"] {
            for point in vault.points(machine).expect(what) {
                if let Ok(read) = common::disk_bytes(&vault, &point, "os") {
                    assert!(
                        self.disks.iter().any(|(of, bytes)| *of == machine && *bytes == read),
                        "{what}: other bytes"
                    );
                    whole += 1;
                }
            }
        }
        assert_eq!(whole, 2, "{what}: of three points");
        let next = common::noise(9, 40_000);
        common::backup_bytes(&vault, "web", &[("os", &next)]).expect(what);
        assert!(disk.list(&Path::new(VAULT).join("tmp")).expect(what).is_empty(), "{what}: temporary files are left");
    }
}

#[test]
fn power_is_lost_at_any_call() {
    for (with_parity, keyless) in [(false, false), (false, true), (true, false), (true, true)] {
        let made = make(with_parity);
        let disk = SimulatedFiles::from_image(made.image.clone()).expect("an image");
        let report = repair(&(Arc::new(disk.clone()) as Arc<dyn Files>), keyless).expect("a repair");
        assert_eq!((report.mended, report.objects, report.records), (2, 3, u64::from(!keyless)));
        assert_eq!(report.parity > 0, with_parity);
        let trace = disk.trace();
        let one_in = if common::campaign().is_some() { 1 } else { 29 };
        let (mut crash, mut seen, mut looked, mut moment) = (Crash::before(&trace), HashSet::new(), 0, 0);
        loop {
            for (number, left) in crash.ways(2).into_iter().enumerate() {
                let image = crash.image(left);
                if !seen.insert(image.hash()) {
                    continue;
                }
                let what = format!("parity {with_parity}, keyless {keyless}, after call {moment}, {left:?}");
                made.check_files(&image, &what);
                if (number + moment) % one_in == 0 {
                    made.check_next(&image, &what);
                    looked += 1;
                }
            }
            moment += 1;
            if crash.step().is_none() {
                break;
            }
        }
        assert!(seen.len() > 40 && looked > 3, "{} {looked}", seen.len());
        println!(
            "CAMPAIGN: power during repairs, parity {with_parity}, keyless {keyless}: {moment} calls, {} crashes, {looked} repaired",
            seen.len()
        );
    }
}

/// What a full disk refuses.
fn takes_space(call: Call) -> bool {
    use Call::{Create, MakeDirectory, Rename, Sync, SyncDirectory, Write};
    matches!(call, Create | MakeDirectory | Rename | Sync | SyncDirectory | Write)
}

#[test]
fn any_call_fails_or_the_disk_is_full() {
    // Of the calls every third, and of what they left one in 17: all of it in the campaign.
    let (step, one_in) = if common::campaign().is_some() { (1, 1) } else { (3, 17) };
    let full = Plan { fault: Fault::Fails(libc::ENOSPC), counts: takes_space, ..Plan::NONE };
    for (like, with_parity) in [(full, false), (Plan::NONE, false), (full, true), (Plan::NONE, true)] {
        let made = make(with_parity);
        let fault = like.fault;
        let (mut failed, mut nth) = (0, 0);
        loop {
            nth += step;
            let disk = SimulatedFiles::from_image(made.image.clone()).expect("an image");
            let plan = Plan { nth, for_ever: nth % 2 == 0, ..like };
            let faulty = FaultyFiles::over(Arc::new(disk.clone()), plan);
            let done = repair(&(Arc::new(faulty.clone()) as Arc<dyn Files>), false);
            if faulty.failed() == 0 {
                break;
            }
            failed += usize::from(done.is_err());
            let what = format!("{fault:?} at call {nth}: {:?}", done.err().map(|error| error.to_string()));
            let trace = disk.trace();
            let mut crash = Crash::before(&trace);
            while crash.step().is_some() {}
            let image = crash.image(Left::Everything);
            made.check_files(&image, &what);
            if nth % one_in == 0 {
                made.check_next(&image, &what);
            }
        }
        println!(
            "CAMPAIGN: faults during repairs, parity {with_parity}, {fault:?}: calls up to {nth}, {failed} of them ended it"
        );
        assert!(nth > 20 && failed > 5, "{nth} {failed}");
    }
}
