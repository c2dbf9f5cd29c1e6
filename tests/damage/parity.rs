//! Promises 2 and 3: what is damaged within its parity reads as it was, is told once for each segment, and is computed
//! once however many ask; what is damaged beyond it is an error of what needs it, and of nothing else.

use std::collections::BTreeMap;
use std::fs::OpenOptions as FileOptions;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::common;
use icecore::format::segment::id_of;
use icecore::media::files::{File, FileLock, Files, Listed, SystemFiles};
use icecore::media::{DirectoryMedia, LockKind, Media, ReadMode};
use icecore::point::PointInfo;
use icecore::store::parity::{self, Repair};
use icecore::vault::{InitOptions, OpenOptions, VerifyOptions, VerifyProgress};
use icecore::{Error, ErrorKind, Vault};

/// Two groups of shards of 16 KiB, each with 20 of parity.
const DISK_BYTES: usize = 12 << 20;

/// Files of the system, of which some ranges are bad sectors; counts what is read below `parity/`.
#[derive(Clone, Default)]
struct Worn(Arc<State>);

#[derive(Default)]
struct State {
    bad: Mutex<BTreeMap<PathBuf, Vec<Range<u64>>>>,
    parity_bytes_read: AtomicU64,
}

struct WornFile {
    file: Arc<dyn File>,
    path: PathBuf,
    state: Arc<State>,
}

impl Files for Worn {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        SystemFiles.create_new(path)
    }

    fn open(&self, path: &Path, mapped: bool) -> io::Result<Arc<dyn File>> {
        let file = SystemFiles.open(path, mapped)?;
        Ok(Arc::new(WornFile { file, path: path.to_path_buf(), state: Arc::clone(&self.0) }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename_new(from, to)
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename_over(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.make_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        SystemFiles.list(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.sync_directory(path)
    }

    fn lock(&self, path: &Path, kind: LockKind, wait: bool) -> io::Result<Option<FileLock>> {
        SystemFiles.lock(path, kind, wait)
    }

    fn lock_parts(&self, path: &Path, parts: RangeInclusive<u64>, kind: LockKind) -> io::Result<Option<FileLock>> {
        SystemFiles.lock_parts(path, parts, kind)
    }
}

impl File for WornFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let end = offset + buffer.len() as u64;
        let bad = self.state.bad.lock().expect("bad");
        if bad.get(&self.path).is_some_and(|bad| bad.iter().any(|bad| bad.start < end && offset < bad.end)) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if self.path.parent().is_some_and(|folder| folder.ends_with("parity")) {
            self.state.parity_bytes_read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        self.file.read_at(offset, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn start_writeback(&self, _: u64, _: u64) {}

    fn drop_cached(&self) {}

    fn mark_in_use(&self) -> io::Result<bool> {
        self.file.mark_in_use()
    }
}

/// A vault with one point of one disk whose data is in one segment.
struct Bed {
    folder: tempfile::TempDir,
    point: Arc<PointInfo>,
    bytes: Vec<u8>,
}

impl Bed {
    fn new(parity_percent: u8) -> Self {
        let folder = common::scratch();
        let options = InitOptions { parity_percent, segment_bytes: 64 << 20, ..common::small() };
        let vault = common::init(&folder.path().join("vault"), &options);
        let bytes = common::noise(1, DISK_BYTES);
        let point = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup").point;
        Self { folder, point, bytes }
    }

    fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    /// The segment with the disk's chunks.
    fn segment(&self) -> PathBuf {
        let files = common::files(&self.vault().join("segments"));
        files.into_iter().max_by_key(|file| file.metadata().expect("stat").len()).expect("a segment")
    }

    fn parity(&self) -> PathBuf {
        let name = self.segment().with_extension("par");
        self.vault().join("parity").join(name.file_name().expect("a name"))
    }

    fn object(&self) -> String {
        common::object(&self.vault(), &self.segment())
    }

    /// Changes the bytes of a range of the segment.
    fn damage(&self, range: Range<u64>) {
        let file = FileOptions::new().write(true).open(self.segment()).expect("opened");
        let bytes = common::noise(range.start, usize::try_from(range.end - range.start).expect("small"));
        file.write_all_at(&bytes, range.start).expect("damaged");
    }

    /// The same vault in another directory.
    fn copy(&self) -> Self {
        let folder = common::scratch();
        common::copy_folder(&self.vault(), &folder.path().join("vault"));
        Self { folder, point: Arc::clone(&self.point), bytes: self.bytes.clone() }
    }

    /// Opens it, and has what is corrected told.
    fn open(&self, files: &Worn, mode: ReadMode) -> (Vault, Arc<Mutex<Vec<String>>>) {
        let media = DirectoryMedia::over(Arc::new(files.clone()), &self.vault(), mode);
        let vault = Vault::open_on(Arc::new(media), &common::password(), &OpenOptions::default()).expect("open");
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        vault.on_correction(move |correction| tell.lock().expect("told").push(correction.object.clone()));
        (vault, told)
    }
}

#[test]
fn what_is_damaged_within_parity_reads_as_it_was_by_every_way() {
    let sound = Bed::new(5);
    let length = sound.segment().metadata().expect("stat").len();
    let parity_bytes = sound.parity().metadata().expect("stat").len();
    assert!(parity_bytes * 20 > length && parity_bytes * 18 < length, "{parity_bytes} of {length}: a twentieth");
    type Damage = fn(&Bed, &Worn, u64);
    let cases: [(&str, Damage); 9] = [
        ("the header", |bed, _, _| bed.damage(0..192)),
        ("a bit", |bed, _, _| bed.damage(1_000_000..1_000_001)),
        ("half a MiB in the middle", |bed, _, _| bed.damage(7_000_000..7_500_000)),
        ("header and table", |bed, _, length| {
            bed.damage(0..4096);
            bed.damage(length - 8192..length);
        }),
        ("cut short", |bed, _, length| {
            let file = FileOptions::new().write(true).open(bed.segment()).expect("opened");
            file.set_len(length - 500_000).expect("cut");
        }),
        ("grown", |bed, _, length| {
            let file = FileOptions::new().write(true).open(bed.segment()).expect("opened");
            file.write_all_at(&[0; 5000], length).expect("grown");
        }),
        ("bad sectors", |bed, files, length| {
            let bad = vec![0..512, 3_000_000..3_300_000, 9_000_000..9_000_512, length - 512..length];
            files.0.bad.lock().expect("bad").insert(bed.segment(), bad);
        }),
        ("thirty sectors here and there, some of them of the parity", |bed, files, length| {
            let every =
                |of: u64, from: u64| (0..of).map(move |number| from + number * 200_000..from + number * 200_000 + 512);
            (0..28).for_each(|number| bed.damage(number * (length / 28)..number * (length / 28) + 4096));
            files.0.bad.lock().expect("bad").insert(bed.parity(), every(2, 200_000).collect());
        }),
        ("parity cut short, and some of the data", |bed, _, _| {
            let file = FileOptions::new().write(true).open(bed.parity()).expect("opened");
            file.set_len(400_000).expect("cut");
            bed.damage(5_000_000..5_200_000);
        }),
    ];
    for (number, (what, damage)) in cases.into_iter().enumerate() {
        let (mode, lost_index) = [(ReadMode::Map, true), (ReadMode::Pread, false)][number % 2];
        let (bed, files) = (sound.copy(), Worn::default());
        damage(&bed, &files, length);
        if lost_index {
            common::files(&bed.vault().join("index")).iter().for_each(|run| std::fs::remove_file(run).expect("gone"));
        }
        let (vault, told) = bed.open(&files, mode);
        let ways = [
            common::disk_bytes(&vault, &bed.point, "os"),
            common::restored(&vault, &bed.point, "os"),
            common::tree_bytes(&vault, "m/latest/disks/os.raw"),
        ];
        for read in ways {
            common::assert_same(&read.expect(what), &bed.bytes, what);
        }
        // Bytes behind the end that no index leads to are nobody's damage until they hide the trailer.
        if what != "grown" || lost_index {
            assert_eq!(*told.lock().expect("told"), [bed.object()], "{what}: once");
        }
        let (again, _) = bed.open(&files, mode);
        let report = again.verify(&VerifyProgress::default()).expect("verify");
        assert!(!report.damage.is_empty() && report.hit.is_empty(), "{what}: {:?}", report.hit);
        let repairs: Vec<_> = report.repairs.iter().map(|one| (one.object.clone(), one.repair)).collect();
        assert_eq!(repairs, [(bed.object(), Repair::Possible)], "{what}");
        assert_eq!(report.parity.is_empty(), !what.contains("parity"), "{what}: {:?}", report.parity);
        // What is mended for its readers stays known: nothing is stored twice.
        let added = common::backup_bytes(&again, "m", &[("os", &bed.bytes)]).expect("backup").added_bytes;
        assert!(added < 100_000, "{what}: {added} bytes are stored again");
    }
}

#[test]
fn what_is_rebuilt_is_the_segment_byte_for_byte() {
    let bed = Bed::new(5);
    let original = std::fs::read(bed.segment()).expect("read");
    let id = id_of(bed.segment().file_name().and_then(|name| name.to_str()).expect("a name")).expect("an id");
    bed.damage(2_000_000..2_500_000);
    let media = DirectoryMedia::new(&bed.vault(), ReadMode::Pread);
    let rebuilt = parity::rebuild(&media, None, &id).expect("within parity");
    let mut bytes = vec![0; original.len()];
    icecore::media::Object::read_exact_at(&rebuilt, 0, &mut bytes).expect("read");
    common::assert_same(&bytes, &original, "rebuilt");
    assert_eq!(rebuilt.survey(), (31, true), "shards of 16 KiB");
    // Parity that is gone is made again from the segment, the same.
    let made = std::fs::read(bed.parity()).expect("read");
    std::fs::write(bed.segment(), &original).expect("mended");
    let vault = common::open(&bed.vault());
    assert!(parity::make(&media, &vault.header().vault, &id, 5).is_err(), "there is parity");
    std::fs::remove_file(bed.parity()).expect("removed");
    parity::make(&media, &vault.header().vault, &id, 5).expect("made");
    common::assert_same(&std::fs::read(bed.parity()).expect("read"), &made, "parity");
}

#[test]
fn however_many_ask_it_is_computed_once() {
    let bed = Bed::new(5);
    bed.damage(4_000_000..4_400_000);
    let files = Worn::default();
    let (vault, told) = bed.open(&files, ReadMode::Map);
    let parity = bed.parity().metadata().expect("stat").len();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let map = vault.disk(&bed.point, "os").expect("disk");
                let mut buffer = vec![0; 1 << 16];
                for _ in 0..4 {
                    for at in (3_900_000..4_500_000).step_by(1 << 16) {
                        map.read(at as u64, &mut buffer).expect("read");
                        assert!(buffer == bed.bytes[at..at + (1 << 16)], "byte {at}");
                    }
                }
            });
        }
    });
    let read = files.0.parity_bytes_read.load(Ordering::Relaxed);
    assert!(read > 0 && read <= 2 * parity, "{read} bytes of {parity} were read");
    assert_eq!(told.lock().expect("told").len(), 1);
}

#[test]
fn beyond_parity_only_what_needs_the_bytes_is_lost() {
    let bed = Bed::new(5);
    bed.damage(8_000_000..10_000_000);
    let files = Worn::default();
    let (vault, _) = bed.open(&files, ReadMode::Map);
    let map = vault.disk(&bed.point, "os").expect("disk");
    let mut lost = 0;
    let mut buffer = vec![0; 4096];
    for at in (0..DISK_BYTES).step_by(4096) {
        match map.read(at as u64, &mut buffer) {
            Ok(_) => assert!(buffer == bed.bytes[at..at + 4096], "byte {at}"),
            Err(error) => {
                assert!(error.kind() == ErrorKind::Damaged && error.object() == Some(&bed.object()), "{error}");
                lost += 1;
            }
        }
    }
    assert!((470..=490).contains(&lost), "{lost} of the 478 chunks there");
    let read = files.0.parity_bytes_read.load(Ordering::Relaxed);
    assert!(read < 100_000, "{read} bytes: too much is lost, so parity is not even read");
    let report = common::verify(&common::open(&bed.vault()));
    assert_eq!(report.repairs.iter().map(|one| one.repair).collect::<Vec<_>>(), [Repair::BeyondParity]);
    assert!(!report.hit.is_empty());
    // A segment that is gone altogether.
    std::fs::remove_file(bed.segment()).expect("gone");
    let vault = common::open(&bed.vault());
    assert!(common::disk_bytes(&vault, &bed.point, "os").is_err());
    let report = common::verify(&vault);
    assert!(!report.hit.is_empty());
    let told = report.harmless.iter().any(|error| error.to_string().contains("the segment was lost"));
    assert!(told, "its parity tells: {:?}", report.harmless);
    let scrub = Vault::scrub(&bed.vault(), &VerifyOptions::default(), &VerifyProgress::default()).expect("scrub");
    assert!(
        scrub.harmless.iter().any(|error| error.to_string().contains("the segment was lost")),
        "{:?}",
        scrub.harmless
    );
}

#[test]
fn without_parity_damage_is_damage() {
    let bed = Bed::new(0);
    assert!(common::files(&bed.vault().join("parity")).is_empty());
    let report = common::verify(&common::open(&bed.vault()));
    assert!(report.is_clean() && report.parity.is_empty(), "none is missed: {:?}", report.parity);
    bed.damage(1_000_000..1_000_001);
    let (vault, told) = bed.open(&Worn::default(), ReadMode::Map);
    assert!(common::disk_bytes(&vault, &bed.point, "os").is_err());
    let report = common::verify(&vault);
    assert_eq!((report.hit.len(), report.repairs[0].repair), (1, Repair::NoParity));
    assert!(told.lock().expect("told").is_empty());
}

#[test]
fn parity_that_is_damaged_or_gone_is_told_and_costs_nothing() {
    let bed = Bed::new(5);
    let file = FileOptions::new().write(true).open(bed.parity()).expect("opened");
    file.write_all_at(&[1, 2, 3], 300_000).expect("damaged");
    let scrub = || Vault::scrub(&bed.vault(), &VerifyOptions::default(), &VerifyProgress::default()).expect("scrub");
    let name = common::object(&bed.vault(), &bed.parity());
    let about =
        |errors: &[Error]| errors.iter().map(|error| error.object().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    for gone in [false, true] {
        if gone {
            std::fs::remove_file(bed.parity()).expect("gone");
        }
        let vault = common::open(&bed.vault());
        common::assert_same(&common::disk_bytes(&vault, &bed.point, "os").expect("read"), &bed.bytes, "the disk");
        let report = common::verify(&vault);
        assert!(report.is_clean(), "{:?}", report.damage);
        assert_eq!((about(&report.parity), about(&scrub().parity)), (vec![name.clone()], vec![name.clone()]), "{gone}");
    }
    let stats = common::open(&bed.vault()).stats().expect("stats");
    assert_eq!((stats.segments, stats.segments_with_parity), (2, 1));
}

#[test]
fn parity_goes_with_its_segment_and_what_a_dead_writer_left_goes_too() {
    let bed = Bed::new(5);
    let of = |number: u8| bed.vault().join("parity").join(format!("{}.par", format!("{number:02x}").repeat(16)));
    let (long, short) = (std::fs::read(bed.parity()).expect("read"), of(2));
    std::fs::write(of(1), &long).expect("left behind");
    // One that could give back its segment alone.
    let id = [2; 16];
    let segment = bed.vault().join(format!("segments/{}.seg", "02".repeat(16)));
    std::fs::write(&segment, [7; 5000]).expect("a short segment");
    let media = DirectoryMedia::new(&bed.vault(), ReadMode::Pread);
    parity::make(&media, &common::open(&bed.vault()).header().vault, &id, 5).expect("made");
    std::fs::remove_file(segment).expect("lost");
    let vault = common::open(&bed.vault());
    common::backup_bytes(&vault, "m", &[("os", b"more")]).expect("backup");
    assert!(of(1).exists(), "nobody died, as far as is known");
    std::fs::write(bed.vault().join("tmp/half-a-segment"), b"half").expect("left behind");
    {
        let _another = media.lock("writers", LockKind::Shared, true).expect("lock");
        common::backup_bytes(&vault, "m", &[("os", b"again")]).expect("backup");
        assert!(of(1).exists(), "another may be about to publish its segment");
    }
    std::fs::write(bed.vault().join("tmp/half-a-segment"), b"half").expect("left behind");
    common::backup_bytes(&vault, "m", &[("os", b"and again")]).expect("backup");
    assert!(!of(1).exists() && short.exists());
    std::fs::remove_file(short).expect("removed");
    let segments = common::files(&bed.vault().join("segments"));
    let parities = common::files(&bed.vault().join("parity"));
    let stems =
        |files: &[PathBuf]| files.iter().filter_map(|file| file.file_stem().map(ToOwned::to_owned)).collect::<Vec<_>>();
    assert_eq!(stems(&segments), stems(&parities), "each segment has its parity");
    common::assert_same(&common::disk_bytes(&vault, &bed.point, "os").expect("read"), &bed.bytes, "the disk");
}

#[test]
fn what_goes_bad_after_the_rest_of_its_group_was_computed_is_computed_too() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let bytes = common::noise(1, 900_000);
    let point = common::backup_bytes(&common::init(&path, &common::protected()), "m", &[("os", &bytes)]);
    let point = point.expect("backup").point;
    let segment =
        common::files(&path.join("segments")).into_iter().max_by_key(|file| file.metadata().expect("stat").len());
    let segment = segment.expect("a segment");
    let vault = common::open(&path);
    let disk = vault.disk(&point, "os").expect("a disk");
    // One reader all the time, and each piece read for the first time after it went bad.
    for at in [100_000, 300_000, 500_000, 700_000] {
        common::repair::flip(&segment, at);
        let mut read = vec![0; 20_000];
        let from = at as u64 - 10_000;
        assert_eq!(disk.read(from, &mut read).expect("parity gives it"), 20_000, "at {at}");
        common::assert_same(&read, &bytes[at - 10_000..at + 10_000], "a piece");
    }
}
