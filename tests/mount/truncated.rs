//! Promise 2: a file of the vault that is cut short, or that its medium no longer gives, below a live mount or any other
//! reader is an error for the reads that need it; the process, the mount and all other reads live on.
#![cfg(feature = "mount")]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::common;
use crate::common::guest::{KernelMount, Mounted};
use icecore::error::Problem;
use icecore::media::ReadMode;
use icecore::point::PointInfo;
use icecore::{Error, ErrorKind};

const DISK_BYTES: usize = 4 << 20;
const BLOCK: usize = 4096;

/// A vault with a disk, and later a small one beside it that lies in segments of its own.
struct Made {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    point: Arc<PointInfo>,
    beside: Arc<PointInfo>,
    /// Of the segments with the data of the disk the one that holds most of it.
    segment: PathBuf,
}

impl Made {
    fn path(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    fn block(&self, number: usize) -> &[u8] {
        &self.bytes[number * BLOCK..][..BLOCK]
    }
}

fn is_data(segment: &Path) -> bool {
    std::fs::read(segment).expect("segment")[12] == 1
}

fn make() -> Made {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = common::noise(1, DISK_BYTES);
    let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
    let segments = common::files(&path.join("segments")).into_iter().filter(|file| is_data(file));
    let segment = segments.max_by_key(|file| file.metadata().expect("stat").len()).expect("a data segment");
    let beside = common::backup_bytes(&vault, "beside", &[("os", &common::noise(2, BLOCK))]).expect("backup").point;
    Made { folder, bytes, point, beside, segment }
}

fn cut(file: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(file).expect("open").set_len(bytes).expect("cut");
}

/// Reads all blocks of the disk, by whatever reads one; returns how many were had and how many not, after looking at what
/// came.
fn read_all<E: std::fmt::Display>(
    made: &Made,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    is_right: impl Fn(&E) -> bool,
) -> (usize, usize) {
    let mut counts = (0, 0);
    for number in 0..DISK_BYTES / BLOCK {
        let mut buffer = [0; BLOCK];
        match read((number * BLOCK) as u64, &mut buffer) {
            Ok(()) => {
                common::assert_same(&buffer, made.block(number), &format!("block {number}"));
                counts.0 += 1;
            }
            Err(error) => {
                assert!(is_right(&error), "block {number}: {error}");
                counts.1 += 1;
            }
        }
    }
    counts
}

/// Where the child finds its vault; set for the child only.
const VAULT: &str = "ICECORE_TEST_TRUNCATED_VAULT";

/// Not a test by itself: the process that has the mount, until its standard input ends.
#[test]
fn child() {
    let Ok(vault) = std::env::var(VAULT) else { return };
    let Some(mounted) = Mounted::new("child", &common::open(Path::new(&vault))) else { return };
    println!("mounted {}", mounted.join("").display());
    io::copy(&mut io::stdin(), &mut io::sink()).expect("standard input");
}

/// A mount in a process of its own. If that died, reads from it would end with an error, where a reader in the same
/// process would wait for it, and it for the reader.
struct Served {
    child: Child,
    place: PathBuf,
}

impl Served {
    fn new(test: &str, vault: &Path) -> Option<Self> {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "truncated::child", "--nocapture"])
            .env(VAULT, vault)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("child");
        let lines = BufReader::new(child.stdout.as_mut().expect("stdout")).lines();
        let place = lines.map_while(Result::ok).find_map(|line| Some(PathBuf::from(line.split_once("mounted ")?.1)));
        match place {
            Some(place) => Some(Self { child, place }),
            None => {
                assert!(child.wait().expect("wait").success(), "no mount");
                common::not_run(test, "cannot mount");
                None
            }
        }
    }

    fn open(&self, point: &PointInfo) -> File {
        let path = format!("{}/{}/disks/os.raw", point.machine, point.name);
        File::open(self.place.join(path)).expect("open")
    }

    /// Unmounts; the process must have lived until now.
    fn end(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "the mount died: {status}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !self.child.wait().is_ok_and(|status| status.success()) {
            // It died and left its mount behind.
            let _ = Command::new("umount").arg("--lazy").arg(&self.place).output();
        }
    }
}

fn is_eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

#[test]
fn a_segment_cut_short_below_a_live_mount_is_eio_for_its_reads_only() {
    // At the front, within a page, at a page, in the last record.
    for keep in [0, 100, 64 << 10, (64 << 10) + 100] {
        let made = make();
        let test = "a_segment_cut_short_below_a_live_mount_is_eio_for_its_reads_only";
        let Some(served) = Served::new(test, &made.path()) else { return };
        let file = served.open(&made.point);
        // The segments are open and mapped from here on.
        for number in [0, 300, 600, 900] {
            let mut buffer = [0; BLOCK];
            file.read_exact_at(&mut buffer, (number * BLOCK) as u64).expect("whole");
            common::assert_same(&buffer, made.block(number), "before");
        }
        cut(&made.segment, keep);
        let (had, lost) = read_all(&made, |offset, buffer| file.read_exact_at(buffer, offset), is_eio);
        assert!(had >= DISK_BYTES / BLOCK / 2 && lost >= 100, "cut to {keep}: {had} blocks had, {lost} lost");
        let mut buffer = [0; BLOCK];
        served.open(&made.beside).read_exact_at(&mut buffer, 0).expect("the other machine");
        common::assert_same(&buffer, &common::noise(2, BLOCK), "the other machine");
        served.end();
    }
}

#[test]
fn a_segment_cut_short_below_an_open_vault_is_damage_with_its_name() {
    let made = make();
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let vault = common::open_with(&made.path(), mode).expect("open");
        let map = vault.disk(&made.point, "os").expect("disk");
        let mut buffer = [0; BLOCK];
        map.read(0, &mut buffer).expect("whole");
        let original = std::fs::read(&made.segment).expect("segment");
        cut(&made.segment, 0);
        let name = common::object(&made.path(), &made.segment);
        let is_right = |error: &Error| match error {
            Error::Damaged(damage) => {
                damage.object == name && matches!(damage.problem, Problem::Length { found: 0, .. })
            }
            _ => false,
        };
        let (had, lost) = read_all(&made, |offset, buffer| map.read(offset, buffer).map(|_| ()), is_right);
        assert!(had >= DISK_BYTES / BLOCK / 2 && lost >= 100, "{mode:?}: {had} blocks had, {lost} lost");
        // Put back it is read again, by whoever did not give it up as hopeless.
        std::fs::write(&made.segment, original).expect("repair");
        let vault = common::open_with(&made.path(), mode).expect("open");
        common::assert_same(&common::disk_bytes(&vault, &made.point, "os").expect("read"), &made.bytes, "repaired");
    }
}

#[test]
fn an_index_run_cut_short_below_a_live_mount_costs_no_read() {
    let made = make();
    let runs = common::files(&made.path().join("index"));
    assert!(!runs.is_empty(), "an index");
    for keep in [0, 100, BLOCK as u64] {
        let originals: Vec<Vec<u8>> = runs.iter().map(|run| std::fs::read(run).expect("run")).collect();
        let test = "an_index_run_cut_short_below_a_live_mount_costs_no_read";
        let Some(served) = Served::new(test, &made.path()) else { return };
        let file = served.open(&made.point);
        file.read_exact_at(&mut [0; BLOCK], 0).expect("whole");
        runs.iter().for_each(|run| cut(run, keep));
        let counts = read_all(&made, |offset, buffer| file.read_exact_at(buffer, offset), is_eio);
        assert_eq!(counts, (DISK_BYTES / BLOCK, 0), "cut to {keep}");
        served.end();
        runs.iter().zip(originals).for_each(|(run, bytes)| std::fs::write(run, bytes).expect("repair"));
    }
}

/// A vault on a disk that vanishes: an ext4 whose image is cut to nothing below it, so that every page that the kernel
/// does not have yet is an input/output error.
struct Vanishing {
    kernel: KernelMount,
    image: PathBuf,
}

impl Vanishing {
    fn new(test: &str, made: &Made) -> Option<Self> {
        let image = made.folder.path().join("image");
        let file = File::create(&image).expect("image");
        file.set_len(64 << 20).expect("grown");
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("mke2fs");
        command.env("PATH", path).args(["-q", "-t", "ext4", "-d"]).arg(made.path()).arg(&image);
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                common::not_run(test, "mke2fs is missing");
                return None;
            }
            made => assert!(made.as_ref().is_ok_and(|output| output.status.success()), "{made:?}"),
        }
        let kernel = KernelMount::new(test, &image, 0, 64 << 20)?;
        Some(Self { kernel, image })
    }

    fn vanish(&self) {
        cut(&self.image, 0);
    }
}

#[test]
fn a_medium_that_fails_below_an_open_vault_is_an_error_of_the_medium() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let made = make();
        let test = "a_medium_that_fails_below_an_open_vault_is_an_error_of_the_medium";
        let Some(vanishing) = Vanishing::new(test, &made) else { return };
        let vault = common::open_with(vanishing.kernel.path(), mode).expect("open");
        let map = vault.disk(&made.point, "os").expect("disk");
        map.read(0, &mut [0; BLOCK]).expect("whole");
        vanishing.vanish();
        let is_right = |error: &Error| {
            error.errno() == libc::EIO && matches!(error.kind(), ErrorKind::Medium | ErrorKind::Damaged)
        };
        let (had, lost) = read_all(&made, |offset, buffer| map.read(offset, buffer).map(|_| ()), is_right);
        assert!(lost >= 500, "{mode:?}: {had} blocks had, {lost} lost");
        common::disk_bytes(&common::open(&made.path()), &made.beside, "os").expect("another vault in the same process");
    }
}

#[test]
fn a_medium_that_fails_below_a_live_mount_is_eio() {
    let made = make();
    let test = "a_medium_that_fails_below_a_live_mount_is_eio";
    let Some(vanishing) = Vanishing::new(test, &made) else { return };
    let Some(served) = Served::new(test, vanishing.kernel.path()) else { return };
    let file = served.open(&made.point);
    file.read_exact_at(&mut [0; BLOCK], 0).expect("whole");
    vanishing.vanish();
    let (had, lost) = read_all(&made, |offset, buffer| file.read_exact_at(buffer, offset), is_eio);
    assert!(lost >= 500, "{had} blocks had, {lost} lost");
    assert_eq!(std::fs::read_dir(&served.place).expect("the mount").count(), 2, "both machines are listed");
    served.end();
}
