//! Vaults that are damaged, copies of them, and what a repair makes of that.

use std::path::{Path, PathBuf};

use icecore::vault::{InitOptions, Repair, RepairProgress, RepairReport, RepairSources};
use icecore::{Result, Vault};

use super::{copy_folder, files};

pub const CHUNK: usize = 4096;

/// A vault with two points of each of two machines, and a copy of it as it was.
pub struct Made {
    pub folder: tempfile::TempDir,
    pub vault: PathBuf,
    pub copy: PathBuf,
    /// Machine, id of the point, bytes of its disk `os`.
    pub points: Vec<(&'static str, String, Vec<u8>)>,
}

/// Without parity.
pub fn make() -> Made {
    make_with(&super::small())
}

pub fn make_with(options: &InitOptions) -> Made {
    let folder = super::scratch();
    let (path, copy) = (folder.path().join("vault"), folder.path().join("copy"));
    let vault = super::init(&path, options);
    let mut points = Vec::new();
    for (seed, machine) in [(1, "web"), (2, "db")] {
        let mut disk = super::noise(seed, 330 * CHUNK + 100);
        for day in 0..2 {
            disk[day * 100 * CHUNK..(day * 100 + 20) * CHUNK]
                .copy_from_slice(&super::noise(10 * seed + day as u64, 20 * CHUNK));
            let report = super::backup_bytes(&vault, machine, &[("os", &disk)]).expect("backup");
            points.push((machine, report.point.id.clone(), disk.clone()));
        }
    }
    drop(vault);
    copy_folder(&path, &copy);
    Made { folder, vault: path, copy, points }
}

impl Made {
    /// The segments of a kind, 1 for data and 2 for maps and manifests, the largest first.
    pub fn segments(&self, kind: u8) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = files(&self.vault.join("segments"))
            .into_iter()
            .filter(|file| std::fs::read(file).expect("segment")[12] == kind)
            .collect();
        found.sort_by_key(|file| std::cmp::Reverse(file.metadata().expect("stat").len()));
        found
    }

    /// The same file in the copy.
    pub fn in_copy(&self, file: &Path) -> PathBuf {
        self.copy.join(file.strip_prefix(&self.vault).expect("in the vault"))
    }

    pub fn copied(&self) -> RepairSources {
        RepairSources::default().copy(&self.copy)
    }

    /// Plans with the administrator's key.
    pub fn plan(&self, sources: RepairSources) -> Result<Repair> {
        Vault::plan_repair(&self.vault, Some(&super::password()), sources, &RepairProgress::default())
    }

    /// Plans without a key.
    pub fn plan_keyless(&self, sources: RepairSources) -> Result<Repair> {
        Vault::plan_repair(&self.vault, None, sources, &RepairProgress::default())
    }

    /// Every point reads as it was made.
    #[track_caller]
    pub fn assert_whole(&self) {
        let vault = super::open(&self.vault);
        for (machine, id, bytes) in &self.points {
            let point = vault.point(machine, id).expect("the point");
            super::assert_same(&super::disk_bytes(&vault, &point, "os").expect("it reads"), bytes, machine);
        }
    }

    /// Each file of the vault is, byte for byte, what it is in the copy; the derived ones left out.
    #[track_caller]
    pub fn assert_as_copied(&self) {
        for file in files(&self.copy) {
            let name = file.strip_prefix(&self.copy).expect("below");
            if name.starts_with("index") || name.starts_with("checks") {
                continue;
            }
            let own = std::fs::read(self.vault.join(name)).unwrap_or_default();
            super::assert_same(&own, &std::fs::read(&file).expect("the copy's"), &name.to_string_lossy());
        }
    }
}

pub fn write(repair: &Repair) -> RepairReport {
    repair.write(&RepairProgress::default()).expect("a repair")
}

/// Changes one byte of a file.
pub fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("read");
    bytes[at] ^= 0x41;
    std::fs::write(file, bytes).expect("damage");
}

/// Everything in a directory, to see whether somebody changed it.
pub fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|file| (file.clone(), std::fs::read(&file).expect("read"))).collect()
}
