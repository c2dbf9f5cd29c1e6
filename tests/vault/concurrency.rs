//! Section 5, "Many at once": backups of different and of the same machine, and readers, run together on one vault.

use std::collections::HashSet;
use std::io::Result;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use crate::common;
use icecore::Vault;
use icecore::media::files::{File, FileLock, Files, Listed, SystemFiles};
use icecore::media::{DirectoryMedia, LockKind, ReadMode};
use icecore::vault::OpenOptions;

fn disk(machine: &str, round: u64) -> Vec<u8> {
    let mut bytes = common::noise(1, 400_000);
    let own = blake3::hash(machine.as_bytes()).as_bytes()[0];
    let at = usize::from(own) * 1000;
    bytes[at..at + 20_000].copy_from_slice(&common::noise(u64::from(own) * 1000 + round, 20_000));
    bytes
}

/// Tells the reader to end, also where a writer failed: a failure must not become a hang.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn many_backups_and_a_reader_at_once() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let shared = common::init(&path, &common::small());
    let over = AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let vault = common::open(&path);
            let mut read = 0;
            while !over.load(Ordering::Acquire) {
                vault.refresh().expect("refresh");
                assert_eq!(vault.catalog_damage(), []);
                for machine in vault.machines() {
                    let point = vault.point(&machine, "latest").expect("latest");
                    assert_eq!(common::disk_bytes(&vault, &point, "os").expect("read").len(), 400_000);
                    read += 1;
                }
            }
            read
        });
        let ends = Ends(&over);
        let mut writers = Vec::new();
        for (writer, machine) in ["a", "b", "same", "same", "same"].into_iter().enumerate() {
            let (path, shared) = (&path, &shared);
            writers.push(scope.spawn(move || {
                // Some share an instance, some have their own.
                let own = (writer % 2 == 0).then(|| common::open(path));
                let vault: &Vault = own.as_ref().unwrap_or(shared);
                let mut made = Vec::new();
                for round in 0..6 {
                    let bytes = disk(machine, round * 10 + writer as u64);
                    let report = common::backup_bytes(vault, machine, &[("os", &bytes)]).expect("backup");
                    made.push((machine, report.point.id.clone(), bytes));
                }
                made
            }));
        }
        let made: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().expect("writer")).collect();
        drop(ends);
        assert!(reader.join().expect("reader") > 0, "the reader found something while others wrote");
        made
    });
    for vault in [common::open(&path), shared] {
        vault.refresh().expect("refresh");
        assert_eq!(vault.catalog_damage(), []);
        for (machine, id, bytes) in &made {
            let point = vault.point(machine, id).expect("point");
            common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), bytes, machine);
        }
        let names: HashSet<String> = vault.points("same").expect("points").iter().map(|p| p.name.clone()).collect();
        assert_eq!(names.len(), 18, "every point has a name of its own");
        assert!(common::verify(&vault).is_clean());
    }
    assert_eq!(common::files(&path.join("tmp")), Vec::<std::path::PathBuf>::new());
}

/// The system's files, with one call made strange.
#[derive(Default)]
struct Strange {
    /// A name that listings leave out.
    unlisted: Option<&'static str>,
    /// Where those who are about to name a catalog entry wait for each other.
    meeting: Option<Barrier>,
}

impl Files for Strange {
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        SystemFiles.create_new(path)
    }

    fn open(&self, path: &Path, mapped: bool) -> Result<Arc<dyn File>> {
        SystemFiles.open(path, mapped)
    }

    fn rename_over(&self, from: &Path, to: &Path) -> Result<()> {
        SystemFiles.rename_over(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        if let Some(meeting) = self.meeting.as_ref().filter(|_| to.ends_with("0000000000000000.entry")) {
            meeting.wait();
        }
        SystemFiles.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        SystemFiles.remove(path)
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        SystemFiles.make_directory(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>> {
        let mut found = SystemFiles.list(path)?;
        found.retain(|entry| Some(entry.name.as_str()) != self.unlisted);
        Ok(found)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        SystemFiles.sync_directory(path)
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> Result<Option<FileLock>> {
        SystemFiles.lock(path, kind, wait)
    }

    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> Result<Option<FileLock>> {
        SystemFiles.lock_parts(path, parts, kind)
    }
}

fn open_over(files: Arc<dyn Files>, path: &Path) -> Vault {
    let media = Arc::new(DirectoryMedia::over(files, path, ReadMode::Pread));
    Vault::open_on(media, &common::password(), &OpenOptions::default()).expect("open")
}

#[test]
fn of_writers_who_take_the_same_number_each_gets_its_point() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    drop(common::init(&path, &common::small()));
    let files: Arc<dyn Files> = Arc::new(Strange { meeting: Some(Barrier::new(3)), ..Strange::default() });
    std::thread::scope(|scope| {
        for round in 0..3 {
            let (files, path) = (Arc::clone(&files), &path);
            scope.spawn(move || {
                let vault = open_over(files, path);
                let bytes = disk("m", round);
                let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
                common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("read"), &bytes, "own");
            });
        }
    });
    let vault = common::open(&path);
    assert_eq!((vault.catalog_damage(), vault.points("m").expect("points").len()), (Vec::new(), 3));
    assert!(common::verify(&vault).is_clean());
}

/// A folder's listing may show an entry and miss one that came before it, where both came while it was read.
#[test]
fn an_entry_that_a_listing_missed_is_not_called_lost() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    for round in 0..3 {
        common::backup_bytes(&vault, "m", &[("os", &disk("m", round))]).expect("backup");
    }
    let unlisted = Some("0000000000000001.entry");
    let vault = open_over(Arc::new(Strange { unlisted, ..Strange::default() }), &path);
    assert_eq!(vault.catalog_damage(), []);
    assert_eq!(vault.points("m").expect("points").len(), 3);
}
