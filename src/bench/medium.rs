//! What the medium under the directory takes: writing with a sync, and the smallest commit there is.

use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

use rustix::fs::statfs;

use super::material::Material;
use super::place::{Place, failed};
use super::progress::Progress;
use super::report::Medium;
use super::{Options, median, number};
use crate::error::Result;

/// Bytes that are written and synced at once: a segment of a vault.
const BYTES: u64 = 64 << 20;

/// How often a small file is synced.
const SMALL: usize = 9;

/// Measures it.
pub(super) fn measure(place: &Place, material: &Material, options: &Options, progress: &Progress) -> Result<Medium> {
    progress.step("write and fsync")?;
    let quick = options.part_time < Options::default().part_time;
    let (bytes, times) = if quick { (BYTES / 4, 1) } else { (BYTES, 3) };
    let mut rates = Vec::new();
    for _ in 0..times {
        progress.check()?;
        rates.push(large(place, material, bytes)?);
    }
    let mut small_seconds = Vec::new();
    for _ in 0..SMALL {
        progress.check()?;
        small_seconds.push(small(place)?);
    }
    let file_system = file_system(place)?;
    Ok(Medium {
        is_memory: matches!(file_system.as_str(), "tmpfs" | "ramfs"),
        file_system,
        write_sync_bytes_per_second: median(rates),
        small_sync_seconds: median(small_seconds),
    })
}

/// Bytes a second, fsync included.
fn large(place: &Place, material: &Material, bytes: u64) -> Result<f64> {
    let path = place.join("sync");
    let mut file = File::create(&path).map_err(failed("create", &path))?;
    let began = Instant::now();
    let mut written = 0;
    for chunk in material.chunks.iter().cycle() {
        file.write_all(chunk).map_err(failed("write", &path))?;
        written += chunk.len() as u64;
        if written >= bytes {
            break;
        }
    }
    file.sync_all().map_err(failed("sync", &path))?;
    let seconds = began.elapsed().as_secs_f64();
    drop(file);
    fs::remove_file(&path).map_err(failed("remove", &path))?;
    Ok(number(written) / seconds.max(1e-9))
}

/// Seconds for one small file: written, synced, named, its name synced.
fn small(place: &Place) -> Result<f64> {
    let (path, named) = (place.join("small"), place.join("small-named"));
    let began = Instant::now();
    let mut file = File::create(&path).map_err(failed("create", &path))?;
    file.write_all(&[7; 4096]).and_then(|()| file.sync_all()).map_err(failed("sync", &path))?;
    fs::rename(&path, &named).map_err(failed("rename", &path))?;
    File::open(place.path()).and_then(|folder| folder.sync_all()).map_err(failed("sync", place.path()))?;
    let seconds = began.elapsed().as_secs_f64();
    fs::remove_file(&named).map_err(failed("remove", &named))?;
    Ok(seconds)
}

/// The file system's name, by the numbers of `linux/magic.h`.
fn file_system(place: &Place) -> Result<String> {
    let found = statfs(place.path()).map_err(|error| failed("look at", place.path())(error.into()))?;
    let name = match u32::try_from(found.f_type as u64 & 0xffff_ffff).unwrap_or(0) {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x6573_5546 => "fuse",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        other => return Ok(format!("file system {other:#x}")),
    };
    Ok(name.to_owned())
}
