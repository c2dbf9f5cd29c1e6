//! What a guest says of itself: which system it is, its name, its kernels; read from its own files.
//!
//! It promises: what is told was read from the volume that it names, as an administrator would read it: links are
//! followed inside the guest, and what `/etc/fstab` mounts is where the guest would have it. A fact that can't be read
//! hides no other one; what was damaged on the way is told.
//!
//! All of it is the guest's word. So files are read up to 64 KiB, directories up to a few thousand names, paths are walked
//! up to a number of steps, and text is cut and freed of control characters.
//!
//! It refuses to know: vaults, disks, and formats of file systems.

mod boot;
mod fstab;
mod kernels;
mod program;
mod release;
mod view;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Error, GuestFileSystem, Uuid};
use fstab::Mount;
use view::View;

/// A volume of the guest that may be a part of its tree.
pub struct Part<'a, T> {
    /// Its name to whoever asks: `os/p2`.
    pub name: String,
    /// Its name among the volumes of its disk; of a logical volume, `<vg>-<lv>`.
    pub volume: String,
    /// Its name in the partition table.
    pub partition_label: Option<&'a str>,
    /// Its UUID in the partition table.
    pub partition_uuid: Option<Uuid>,
    /// Its file system.
    pub tree: &'a T,
}

/// What a guest says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The system in words: `Debian GNU/Linux 12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The system as a word: `debian`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_id: Option<String>,
    /// The system's version: `12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The name of the host, as the guest sets it when it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Versions of the kernels that are installed, the newest first.
    pub kernels: Vec<String>,
    /// Version of the kernel that the boot loader starts next, where its configuration is plain enough to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boots_next: Option<String>,
    /// What its programs are for, as `uname -m` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<&'static str>,
    /// What systemd and D-Bus know the installation by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// The time zone: `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The volume that holds the guest's root directory.
    pub from: String,
    /// Where the guest mounts its volumes, as far as they are among those that were given; `/` among them.
    pub mounts: BTreeMap<String, String>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Whether a part of that may be readable at another time: the disk failed, not the guest.
    #[serde(skip)]
    pub has_failed_medium: bool,
}

/// Most lines that are told of what could not be read.
const MOST_UNREADABLE: usize = 16;

/// Looks for the guest's root among its volumes, and asks it. `None` where no volume looks like one.
///
/// # Errors
/// [`Error::Medium`] where no root was found, and a disk failed that may hold one.
pub fn find<T: GuestFileSystem>(parts: &[Part<'_, T>]) -> Result<Option<Facts>, Error> {
    let mut best: Option<(u8, View<'_, T>, Facts)> = None;
    let mut failed = None;
    for (number, part) in parts.iter().enumerate() {
        let mut view = View::new(parts, number);
        match view.looks_like_root() {
            Ok(true) => {}
            // What is damaged is no root; what can't be read now may be one.
            Err(error @ Error::Medium(_)) => {
                failed = Some(error);
                continue;
            }
            Ok(false) | Err(_) => continue,
        }
        let mut facts = Facts { from: part.name.clone(), ..Facts::default() };
        let mounts =
            facts.note("etc/fstab", view.read("etc/fstab")).map(|text| fstab::parse(&text)).unwrap_or_default();
        let rank = rank(parts, number, &mounts);
        // An old root on another disk names the volume that it once was, or one that is the root itself.
        if best.as_ref().is_none_or(|(other, ..)| rank > *other) {
            view.mount(&mounts);
            best = Some((rank, view, facts));
        }
    }
    match (best, failed) {
        (Some((_, view, mut facts)), _) => {
            facts.read(&view);
            Ok(Some(facts))
        }
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

/// How sure it is that a volume is the guest's root: 2 where its own `fstab` says so, 0 where that names another.
fn rank<T: GuestFileSystem>(parts: &[Part<'_, T>], number: usize, mounts: &[Mount]) -> u8 {
    let Some(root) = mounts.iter().find(|mount| mount.place.is_empty()) else { return 1 };
    match parts.iter().position(|part| root.what.names(part)) {
        Some(found) if found == number => 2,
        Some(_) => 0,
        None => 1,
    }
}

impl Facts {
    fn read<T: GuestFileSystem>(&mut self, view: &View<'_, T>) {
        self.mounts = view.mounts();
        self.read_release(view);
        self.host_name = self.read_host_name(view);
        self.kernels = self.read_kernels(view);
        self.boots_next = self.read_boots_next(view);
        self.architecture = self.read_architecture(view);
        self.machine_id = self.line(view, "etc/machine-id").filter(|id| {
            // `uninitialized` stands there in images that were made to be copied.
            id.len() == 32 && id.chars().all(|digit| digit.is_ascii_hexdigit())
        });
        self.time_zone = self.read_time_zone(view);
    }

    fn read_host_name<T: GuestFileSystem>(&mut self, view: &View<'_, T>) -> Option<String> {
        ["etc/hostname", "etc/HOSTNAME"].into_iter().find_map(|path| self.line(view, path)).or_else(|| {
            let network = self.note("etc/sysconfig/network", view.read("etc/sysconfig/network"))?;
            release::value(&network, "HOSTNAME")
        })
    }

    fn read_time_zone<T: GuestFileSystem>(&mut self, view: &View<'_, T>) -> Option<String> {
        let link = self.note("etc/localtime", view.read_link("etc/localtime"));
        let zone = link.and_then(|target| {
            let target = text(&target)?;
            target.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned()).filter(|zone| !zone.is_empty())
        });
        zone.or_else(|| self.line(view, "etc/timezone"))
    }

    /// The first line of a file that says anything.
    fn line<T: GuestFileSystem>(&mut self, view: &View<'_, T>, path: &str) -> Option<String> {
        let bytes = self.note(path, view.read(path))?;
        lines(&bytes).find(|line| !line.starts_with(b"#")).and_then(text)
    }

    /// What was read, if anything; an error is noted and is no end.
    fn note<R>(&mut self, path: &str, read: Result<Option<R>, Error>) -> Option<R> {
        match read {
            Ok(read) => read,
            Err(error) => {
                self.has_failed_medium |= matches!(error, Error::Medium(_));
                let line = format!("{path}: {error}");
                if self.unreadable.len() < MOST_UNREADABLE && !self.unreadable.contains(&line) {
                    self.unreadable.push(line);
                }
                None
            }
        }
    }
}

/// Longest text that is told of anything, in characters.
const MOST_CHARACTERS: usize = 256;

/// Bytes of the guest as text that can be shown; `None` where nothing is left.
fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let shown = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    let text: String = text.trim().chars().take(MOST_CHARACTERS).map(shown).collect();
    (!text.is_empty()).then_some(text)
}

/// The lines of a file that are not empty, without the white space around them.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}
