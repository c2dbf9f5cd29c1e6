//! Reading a disk through the mount, with neither the kernel nor our cache holding what is read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use icecore_fixtures::Rng;
use icecore_fuse::{Mount, MountOptions};
use rustix::fs::{Advice, fadvise};

use crate::material::{EXTENT_BYTES, Place, USED_BYTES};
use crate::{quick, whole};

/// So small that next to nothing of what is read was read before.
const CACHE_BYTES: u64 = 8 << 20;

const PAGE_BYTES: usize = 4096;

/// Sequential as `cp` and `dd` read, random as a guest's file system is walked.
pub fn reads(c: &mut Criterion) {
    if let Err(why) = File::options().read(true).write(true).open("/dev/fuse") {
        eprintln!("NOT RUN: mount: /dev/fuse: {why}");
        return;
    }
    let mut mounted = None;
    let mut group = whole(c, "mount/sequential", USED_BYTES);
    group.bench_function("1MiB", |b| {
        let disk = mounted.get_or_insert_with(Mounted::new).disk();
        b.iter_custom(|iterations| (0..iterations).map(|_| read_through(&disk)).sum());
    });
    group.finish();

    let mut group = quick(c, "mount/random", PAGE_BYTES);
    group.throughput(Throughput::Bytes(PAGE_BYTES as u64));
    for readers in [1, 4] {
        group.bench_function(format!("4KiB, readers: {readers}"), |b| {
            let disk = mounted.get_or_insert_with(Mounted::new).disk();
            b.iter_custom(|iterations| read_randomly(&disk, readers, iterations));
        });
    }
}

/// A vault with one point of a disk, mounted.
struct Mounted {
    // Unmounted first, then removed.
    mount: Option<Mount>,
    place: Place,
}

impl Mounted {
    fn new() -> Self {
        let place = Place::with_disk();
        let tree = Arc::new(place.vault_with_disk(CACHE_BYTES).tree());
        let mount_point = place.join("mount");
        std::fs::create_dir(&mount_point).expect("a mount point");
        let mount = icecore_fuse::mount(tree, &mount_point, &MountOptions::default(), |failure| panic!("{failure}"));
        Self { mount: Some(mount.expect("mounted")), place }
    }

    fn disk(&self) -> PathBuf {
        self.place.join("mount/web01/latest/disks/os.raw")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.unmount().expect("unmounted");
        }
    }
}

/// Reads the whole disk, holes too, after the kernel was made to forget it.
fn read_through(disk: &Path) -> Duration {
    let file = File::open(disk).expect("the disk");
    fadvise(&file, 0, None, Advice::DontNeed).expect("forgotten");
    let mut buffer = vec![0; 1 << 20];
    let began = Instant::now();
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset).expect("read") {
            0 => return began.elapsed(),
            length => offset += length as u64,
        }
    }
}

/// Reads `iterations` pages at random places that hold data, past the kernel's cache, shared out among `readers`.
fn read_randomly(disk: &Path, readers: u64, iterations: u64) -> Duration {
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(disk).expect("the disk");
    let files: Vec<File> = (0..readers).map(|_| open()).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (reader, file) in (0..).zip(&files) {
            let share = iterations / readers + u64::from(reader < iterations % readers);
            scope.spawn(move || {
                let mut random = Rng::labelled(iterations, &reader.to_le_bytes());
                let mut page = [0; PAGE_BYTES];
                for _ in 0..share {
                    file.read_exact_at(&mut page, random_page(&mut random)).expect("read");
                }
            });
        }
    });
    began.elapsed()
}

/// The offset of a page that is in no hole.
fn random_page(random: &mut Rng) -> u64 {
    let page = random.below(USED_BYTES / PAGE_BYTES as u64) * PAGE_BYTES as u64;
    page + page / EXTENT_BYTES * EXTENT_BYTES
}
