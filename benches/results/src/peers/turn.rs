//! One peer's turn: everything that is measured of it, in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::peer::{Ground, Peer};
use crate::child::{self, Usage};
use crate::memory;
use crate::mounted::Mounted;
use crate::reads;

/// What everybody has in common.
#[derive(Debug)]
pub struct Conditions {
    /// The image as it is on the first and on the second day.
    pub images: [PathBuf; 2],
    /// Blocks of the second day's image that random reads go to.
    pub blocks: Vec<u32>,
    /// How long random reads last.
    pub duration: Duration,
    /// Whether what was restored is compared with what was backed up.
    pub compare: bool,
}

/// What a turn brought.
#[derive(Debug)]
pub struct Turn {
    /// The backup of each day, and by how much the store grew, in bytes.
    pub backups: Vec<(Usage, u64)>,
    /// The restore of the second day.
    pub restore: Usage,
    /// Seconds from the restore's start until what it wrote was on the disk.
    pub restore_synced_seconds: f64,
    /// The mount, or why there was none.
    pub mount: Result<MountFigures>,
}

/// What was measured of a mount.
#[derive(Debug)]
pub struct MountFigures {
    /// Seconds until the image could be looked at.
    pub ready_seconds: f64,
    /// Bytes per second from end to end.
    pub sequential: f64,
    /// Random reads per second by one reader.
    pub one_reader: f64,
    /// By four.
    pub four_readers: f64,
    /// The largest of the three mounts.
    pub peak_bytes: u64,
}

impl Turn {
    /// What other programs used at most while this one was measured, as a part of all cores' time, 0 to 1.
    pub fn others(&self) -> f64 {
        let backups = self.backups.iter().map(|(usage, _)| usage.others);
        backups.chain([self.restore.others]).fold(0.0, f64::max)
    }
}

/// Measures a peer. Its store is gone afterwards, whatever happens.
pub fn take(peer: &dyn Peer, ground: &Ground, conditions: &Conditions) -> Result<Turn> {
    let _cleaning = Cleaning(ground);
    clean(ground);
    fs::create_dir_all(ground.store())?;
    fs::create_dir_all(ground.cache())?;
    if let Some(mut init) = peer.init() {
        child::run(&mut init, &ground.log()).context("init")?;
    }
    let mut backups = Vec::new();
    for (day, image) in (1..).zip(&conditions.images) {
        backups.push(back_up(peer, ground, day, image).with_context(|| format!("backup of day {day}"))?);
    }
    let (restore, restore_synced_seconds) = restore(peer, ground, conditions).context("restore")?;
    let mount = mount(peer, ground, conditions).context("mount");
    Ok(Turn { backups, restore, restore_synced_seconds, mount })
}

fn back_up(peer: &dyn Peer, ground: &Ground, day: u32, image: &Path) -> Result<(Usage, u64)> {
    put_image(image, &ground.image())?;
    memory::read_into_cache(&ground.image())?;
    let before = bytes_below(&ground.store())?;
    memory::settle();
    let usage = child::run(&mut peer.backup(day), &ground.log())?;
    Ok((usage, bytes_below(&ground.store())?.saturating_sub(before)))
}

/// Both days under one path, so that a peer sees a file that changed. A link where the file system allows it.
fn put_image(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_file(to)?;
    }
    if fs::hard_link(from, to).is_err() {
        let mut copy = std::process::Command::new("cp");
        let copied = copy.arg("--sparse=always").arg(from).arg(to).status().context("cp")?;
        ensure!(copied.success(), "{} can't be copied to {}", from.display(), to.display());
    }
    Ok(())
}

fn restore(peer: &dyn Peer, ground: &Ground, conditions: &Conditions) -> Result<(Usage, f64)> {
    let to = ground.restored();
    fs::create_dir_all(&to)?;
    memory::drop_caches();
    let began = Instant::now();
    let usage = child::run(&mut peer.restore(&to), &ground.log())?;
    memory::settle();
    let synced_seconds = began.elapsed().as_secs_f64();
    if conditions.compare {
        let mut compare = std::process::Command::new("cmp");
        compare.arg(peer.restored(&to)).arg(&conditions.images[1]);
        child::run(&mut compare, &ground.log()).context("what came back is not what was backed up")?;
    }
    fs::remove_dir_all(&to)?;
    Ok((usage, synced_seconds))
}

/// Every figure from a mount of its own, with nothing in any cache.
fn mount(peer: &dyn Peer, ground: &Ground, conditions: &Conditions) -> Result<MountFigures> {
    let Conditions { blocks, duration, .. } = conditions;
    let mut ready = Vec::new();
    let mut peak_bytes = 0;
    let mut mounted = |read: &dyn Fn(&Path) -> Result<f64>| {
        memory::drop_caches();
        let (at, log) = (ground.mount_point(), ground.log());
        let file = peer.mounted(&at);
        let mounted = Mounted::start(&mut peer.mount(&at), &at, &file, &log)?;
        ready.push(mounted.ready_seconds);
        let figure = read(&file)?;
        peak_bytes = peak_bytes.max(mounted.finish()?.peak_bytes);
        Ok::<_, anyhow::Error>(figure)
    };
    // Beside the log of the mount, which still writes to it.
    let dd_log = ground.log().with_extension("dd");
    let sequential = mounted(&|file| reads::sequential(file, &dd_log))?;
    let one_reader = mounted(&|file| reads::random(file, blocks, 1, *duration))?;
    let four_readers = mounted(&|file| reads::random(file, blocks, 4, *duration))?;
    let ready_seconds = crate::table::median(ready).unwrap_or_default();
    Ok(MountFigures { ready_seconds, sequential, one_reader, four_readers, peak_bytes })
}

/// Sizes of all files in a directory and below.
fn bytes_below(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Removes what a turn leaves.
struct Cleaning<'a>(&'a Ground);

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        clean(self.0);
    }
}

/// What can't be removed goes with the scratch directory, or stays for a person to look at. Never through a mount.
fn clean(ground: &Ground) {
    for dir in [ground.store(), ground.cache(), ground.restored()] {
        let _ = fs::remove_dir_all(dir);
    }
    let _ = fs::remove_file(ground.image());
    let _ = fs::remove_dir(ground.mount_point());
}
