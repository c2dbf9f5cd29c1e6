//! The same reads through a mount, past the kernel's cache, where this user may mount.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use icecore_fuse::{Mount, MountOptions};

use super::place::failed;
use super::reads::{READERS, ReadAt, SMALL_CACHE, Used, dealt_random, random, random_name, sequential};
use super::report::NotMeasured;
use super::runs::{Bench, Dealt, Made, Outcome};
use super::stopwatch::{faster_of_two, taken};
use crate::Vault;
use crate::error::{Error, Result};
use crate::store::CacheSizes;

/// The disk in the mount.
struct MountedFile {
    file: File,
}

impl ReadAt for MountedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(failed("read", Path::new("the mount")))
    }
}

/// A vault, mounted while this lives.
struct Mounted {
    mount: Mount,
    vault: Vault,
}

impl Mounted {
    fn new(bench: &Bench<'_>, made: &Made, cache: CacheSizes) -> Result<Self> {
        let vault = made.open(bench.options, cache)?;
        let mount_point = bench.place.join("mount");
        fs::create_dir_all(&mount_point).map_err(failed("create", &mount_point))?;
        let mounted = icecore_fuse::mount(Arc::new(vault.tree()), &mount_point, &MountOptions::default(), |_| {});
        let mount = mounted.map_err(|error| failed("mount on", &mount_point)(io::Error::other(error)))?;
        Ok(Self { mount, vault })
    }

    fn file(&self, flags: i32) -> Result<MountedFile> {
        let path = self.mount.mount_point().join(Made::disk_path());
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(failed("open", &path))?;
        Ok(MountedFile { file })
    }
}

/// Reads through the mount, or tells why not.
pub(super) fn reads(bench: &Bench<'_>, made: &Made, clock_hz: f64, outcome: &mut Outcome) -> Result<()> {
    let name = "sequential, mount";
    bench.begin(name)?;
    // Whether this user may mount is found out by trying. What fails later, fails for a reason that must be told.
    if let Err(error) = Mounted::new(bench, made, SMALL_CACHE) {
        let why = match &error {
            Error::File { source, .. } => source.to_string(),
            error => error.to_string(),
        };
        outcome.not_measured.push(NotMeasured { name: "reads through a mount".to_owned(), why });
        return Ok(());
    }
    let used = Used::of(&made.open(bench.options, CacheSizes::default())?)?;
    let best = faster_of_two(|_| {
        // Mounted anew, the kernel has nothing of it in its cache.
        let mounted = Mounted::new(bench, made, CacheSizes::default())?;
        let file = mounted.file(0)?;
        Ok(taken(mounted.vault.meter(), || sequential(&file, &used, bench.progress))?.0)
    })?;
    let workers = bench.options.workers();
    bench.add(outcome, name, clock_hz, &best, &Dealt { bytes: used.bytes(), reads: None, cores: workers });
    for readers in READERS {
        let name = random_name("mount", readers);
        bench.begin(&name)?;
        let mounted = Mounted::new(bench, made, SMALL_CACHE)?;
        let file = mounted.file(libc::O_DIRECT)?;
        let time = (bench.options.read_time, 1);
        let (taken, reads) = taken(mounted.vault.meter(), || random(&file, &used, readers, time, bench.progress))?;
        bench.add(outcome, &name, clock_hz, &taken, &dealt_random(reads, readers.min(workers)));
    }
    Ok(())
}
