//! Groups of logical volumes, made and read by LVM2's own tools and the kernel's device-mapper in a machine of their own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use icecore::guest::lvm::{Assembly, LogicalVolume, PhysicalVolume, assemble};
use icecore::guest::{BlockRead, Error};

use super::{FileDisk, MemoryDisk, uml};

/// What every script begins with: LVM2 kept to the disks that the machine was given, and away from this machine's files.
///
/// `volume NAME` copies a mapped volume to the last disk, where the test finds what the kernel reads of it; `noise FILE AT
/// KIB SEED` writes to it, all but the first counted in KiB. The disks for volumes are `$disks`.
const PRELUDE: &str = r#"
for module in dm-mod dm-mirror dm-raid raid0 raid1 raid10 raid456 dm-snapshot dm-thin-pool; do load $module; done
mkdir -p /run/lvm /run/lock/lvm /run/etc
cat >/run/etc/lvm.conf <<END
devices { use_devicesfile = 0 obtain_device_list_from_udev = 0 filter = [ "a|^/dev/ubd|", "r|.*|" ] }
backup { backup = 0 archive = 0 }
global { use_lvmpolld = 0 locking_dir = "/run/lock/lvm" thin_check_executable = "" raid10_segtype_default = "raid10" }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 thin_pool_autoextend_threshold = 100 }
END
export LVM_SYSTEM_DIR=/run/etc LVM_SUPPRESS_FD_WARNINGS=1
# Their warnings fill pages; what fails still ends the script.
quiet() { "$@" >/run/said 2>&1 || { cat /run/said; return 1; }; }
for tool in pvcreate vgcreate vgextend vgchange lvcreate lvchange lvconvert lvextend pvmove vgrename vgimportclone; do
    eval "$tool() { quiet command $tool \"\$@\"; }"
done
disks=$(ls /dev/ubd? | head -n -2)
source=$(ls /dev/ubd? | tail -n 2 | head -n 1)
answers=$(ls /dev/ubd? | tail -n 1)
answered=0
volume() {
    size=$(blockdev --getsize64 "/dev/mapper/$1")
    dd if="/dev/mapper/$1" of="$answers" bs=64k seek=$((answered / 65536)) conv=notrunc status=none
    echo "VOLUME $1 $answered $size"
    answered=$((answered + (size + 65535) / 65536 * 65536))
}
noise() {
    dd if="$source" of="$1" bs=1k skip="$4" seek="$2" count="$3" conv=notrunc status=none
}
"#;

/// Where disks lie that a machine made, with the hashes of what its kernel read of them; the fuzzer has them too.
/// `ICECORE_MAKE_IMAGES=1 cargo test --test guest lvm_kernel::kept` makes them anew.
pub const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/images");

/// Those disks.
pub fn kept() -> Vec<Arc<Vec<u8>>> {
    let read = |number| {
        let packed = std::fs::read(Path::new(KEPT).join(format!("lvm-{number}.zst"))).expect("an image");
        Arc::new(zstd::decode_all(packed.as_slice()).expect("an image that was packed"))
    };
    (0..2).map(read).collect()
}

/// Disks for machines, and what the kernel read of the volumes on them.
pub struct Lab {
    pub place: tempfile::TempDir,
    pub disks: Vec<PathBuf>,
    noise: PathBuf,
    answers: PathBuf,
}

impl Lab {
    /// Empty disks of so many MiB each; the error says why no machine can be had.
    pub fn new(disks: usize, mebibytes: u64) -> Result<Self, &'static str> {
        if let Some(why) = uml::why_not() {
            return Err(why);
        }
        if !std::process::Command::new("lvm").arg("version").output().is_ok_and(|output| output.status.success()) {
            return Err("lvm is missing (package lvm2)");
        }
        let place = super::xfs::scratch();
        let disks = (0..disks).map(|number| place.path().join(format!("disk-{number}"))).collect::<Vec<_>>();
        let (noise, answers) = (place.path().join("noise"), place.path().join("answers"));
        std::fs::write(&noise, super::source::noise(1, 24 << 20)).expect("noise");
        for (path, size) in disks.iter().map(|path| (path, mebibytes << 20)).chain([(&answers, 1 << 30)]) {
            File::create(path).and_then(|file| file.set_len(size)).expect("a disk");
        }
        Ok(Self { place, disks, noise, answers })
    }

    /// Runs a script with all disks, the one for answers being the last one; answers what the kernel read of each volume.
    pub fn run(&self, script: &str) -> BTreeMap<String, Vec<u8>> {
        let said = uml::run(&self.all(), &format!("{PRELUDE}{script}"), Duration::from_secs(300));
        let answers = FileDisk::open(&self.answers);
        let volumes = said.lines().filter_map(|line| line.strip_prefix("VOLUME "));
        volumes
            .map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let [name, at, size] = fields[..] else { panic!("a line of a volume: {line}") };
                let mut bytes = vec![0; size.parse().expect("a size")];
                answers.read_exact_at(at.parse().expect("a place"), &mut bytes).expect("an answer");
                (name.to_owned(), bytes)
            })
            .collect()
    }

    /// Runs a script until it prints a line, and cuts the power.
    pub fn run_until(&self, script: &str, line: &str) {
        uml::run_until(&self.all(), &format!("{PRELUDE}{script}"), line, Duration::from_secs(300));
    }

    fn all(&self) -> Vec<&Path> {
        self.disks.iter().chain([&self.noise, &self.answers]).map(PathBuf::as_path).collect()
    }

    /// The disks as they are now.
    pub fn bytes(&self) -> Vec<Arc<Vec<u8>>> {
        self.disks.iter().map(|path| Arc::new(std::fs::read(path).expect("a disk"))).collect()
    }
}

/// The groups on whole disks, each of which must be a physical volume or nothing.
pub fn groups(disks: &[Arc<dyn BlockRead>]) -> Assembly {
    let read = |(number, disk): (usize, &Arc<dyn BlockRead>)| {
        PhysicalVolume::read(Arc::clone(disk), number, format!("disk {number}")).expect("a label that can be read")
    };
    assemble(&disks.iter().enumerate().filter_map(read).collect::<Vec<_>>(), &[])
}

/// Disks in memory as the reader takes them.
pub fn in_memory(disks: &[Arc<Vec<u8>>]) -> Vec<Arc<dyn BlockRead>> {
    disks.iter().map(|disk| Arc::new(MemoryDisk(disk.to_vec())) as Arc<dyn BlockRead>).collect()
}

/// The name that device-mapper gives a volume.
pub fn mapped_name(volume: &LogicalVolume) -> String {
    let escape = |name: &str| name.replace('-', "--");
    format!("{}-{}", escape(volume.group_name()), escape(volume.name()))
}

/// All bytes of a volume.
pub fn content(volume: &LogicalVolume) -> Result<Vec<u8>, Error> {
    let device = volume.open()?.device;
    assert_eq!(device.size_bytes(), volume.size_bytes(), "{}", volume.name());
    let mut bytes = vec![0xEE; usize::try_from(device.size_bytes()).expect("small")];
    // In pieces of an odd size, as readers of file systems would.
    let mut at = 0;
    for piece in bytes.chunks_mut(333_333) {
        device.read_exact_at(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(bytes)
}

/// Compares every volume that the kernel mapped with what is read here; answers how many.
pub fn compare(assembly: &Assembly, expected: &BTreeMap<String, Vec<u8>>) -> usize {
    for (name, kernel) in expected {
        let volume = assembly.volumes.iter().find(|volume| mapped_name(volume) == *name);
        let volume = volume.unwrap_or_else(|| panic!("{name} is not found"));
        let read = content(volume).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.len(), kernel.len(), "{name}");
        if let Some(at) = read.iter().zip(kernel).position(|(a, b)| a != b) {
            panic!("{name} differs from what the kernel reads at byte {at}");
        }
    }
    expected.len()
}
