//! Promise 5: logical volumes read as device-mapper would give them, or are named with the reason why not.

mod common;
mod guest_support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use guest_support::MemoryDisk;
use icecore::guest::lvm::{LogicalVolume, PhysicalVolume, Problem, assemble};
use icecore::guest::{BlockRead, Error};

const EXTENT: usize = 64 << 10;
/// Where a volume's extents begin.
const DATA_AT: usize = 1 << 20;
const EXTENTS: usize = 16;
const AREA_AT: usize = 4096;
const AREA_BYTES: usize = (1 << 20) - AREA_AT;

/// LVM2's checksum.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// A physical volume that holds a metadata text, which begins so far into the ring that it may wrap.
fn physical(id: &str, text: &str, into_ring: usize) -> Vec<u8> {
    let mut disk = vec![0; DATA_AT + EXTENTS * EXTENT];
    let mut label = [0; 512];
    label[..8].copy_from_slice(b"LABELONE");
    label[8] = 1;
    label[20] = 32;
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(id.replace('-', "").as_bytes());
    label[64..72].copy_from_slice(&(disk.len() as u64).to_le_bytes());
    label[72..80].copy_from_slice(&(DATA_AT as u64).to_le_bytes());
    // Behind the area of data an end, the area of metadata, an end.
    label[104..112].copy_from_slice(&(AREA_AT as u64).to_le_bytes());
    label[112..120].copy_from_slice(&(AREA_BYTES as u64).to_le_bytes());
    let sum = checksum(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    disk[512..1024].copy_from_slice(&label);
    let ring = AREA_BYTES - 512;
    for (at, byte) in text.bytes().enumerate() {
        disk[AREA_AT + 512 + (into_ring + at) % ring] = byte;
    }
    let mut header = [0; 512];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    header[24..32].copy_from_slice(&(AREA_AT as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(AREA_BYTES as u64).to_le_bytes());
    header[40..48].copy_from_slice(&((512 + into_ring) as u64).to_le_bytes());
    header[48..56].copy_from_slice(&(text.len() as u64).to_le_bytes());
    header[56..60].copy_from_slice(&checksum(text.as_bytes()).to_le_bytes());
    let sum = checksum(&header[4..]);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    disk[AREA_AT..AREA_AT + 512].copy_from_slice(&header);
    disk
}

fn id(letter: char) -> String {
    let part = |length: usize| letter.to_string().repeat(length);
    [6, 4, 4, 4, 4, 4, 6].map(part).join("-")
}

/// The text of a group on the volumes `a` and `b`.
fn group(name: &str, seqno: u32, volumes: &str) -> String {
    let one = |name: &str, letter| {
        format!(
            "{name} {{ id = \"{}\" dev_size = 4096 pe_start = {} pe_count = {EXTENTS} }}\n",
            id(letter),
            DATA_AT / 512
        )
    };
    format!(
        "{name} {{\nid = \"{}\"\nseqno = {seqno}\nextent_size = {}\nphysical_volumes {{\n{}{}}}\nlogical_volumes {{\n{volumes}\n}}\n}}\n\
         contents = \"Text Format Volume Group\"\n\0",
        id('g'),
        EXTENT / 512,
        one("pv0", 'a'),
        one("pv1", 'b'),
    )
}

fn volume(name: &str, shown: bool, segments: &[&str]) -> String {
    let status = if shown { "[\"READ\", \"WRITE\", \"VISIBLE\"]" } else { "[\"READ\", \"WRITE\"]" };
    let segments: String =
        (1..).zip(segments).map(|(number, text)| format!("segment{number} {{ {text} }}\n")).collect();
    format!("{name} {{\nid = \"{name}-id\"\nstatus = {status}\n{segments}}}\n")
}

fn found(disks: Vec<Vec<u8>>) -> Vec<LogicalVolume> {
    let read = |disk| Arc::new(PhysicalVolume::read(Arc::new(MemoryDisk(disk))).expect("a physical volume"));
    assemble(&disks.into_iter().map(read).collect::<Vec<_>>())
}

fn content(volume: &LogicalVolume) -> Vec<u8> {
    let device = volume.device.as_ref().unwrap_or_else(|problem| panic!("{}: {problem}", volume.name));
    let mut bytes = vec![0; usize::try_from(device.size_bytes()).expect("small")];
    device.read_exact_at(0, &mut bytes).expect("read");
    assert_eq!(bytes.len() as u64, volume.size_bytes);
    bytes
}

fn extent(disk: &[u8], number: usize) -> &[u8] {
    &disk[DATA_AT + number * EXTENT..][..EXTENT]
}

/// Two volumes with a text on both, and noise where their extents are.
fn pair(text: &str) -> [Vec<u8>; 2] {
    let mut disks = [physical(&id('a'), text, 0), physical(&id('b'), text, AREA_BYTES - 512 - 100)];
    for (number, disk) in disks.iter_mut().enumerate() {
        disk[DATA_AT..].copy_from_slice(&common::noise(number as u64, EXTENTS * EXTENT));
    }
    disks
}

#[test]
fn linear_striped_and_raid0_volumes() {
    let text = group(
        "vg",
        1,
        &[
            volume(
                "root",
                true,
                &[
                    "start_extent = 2 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 9]",
                    "start_extent = 0 extent_count = 2 type = \"linear\" stripe_count = 1 stripes = [\"pv1\", 3]",
                ],
            ),
            volume(
                "fast",
                true,
                &["start_extent = 0 extent_count = 4 type = \"striped\" stripe_count = 2 stripe_size = 64 \
                   stripes = [\"pv0\", 0, \"pv1\", 5]"],
            ),
            volume(
                "zero",
                true,
                &["start_extent = 0 extent_count = 2 type = \"raid0\" stripe_count = 2 stripe_size = 128 \
                   raid0_lvs = [\"zero_0\", \"zero_1\"]"],
            ),
            volume(
                "zero_0",
                false,
                &["start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 7]"],
            ),
            volume(
                "zero_1",
                false,
                &["start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv1\", 8]"],
            ),
        ]
        .concat(),
    );
    let disks = pair(&text);
    let volumes = found(disks.to_vec());
    assert_eq!(volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["fast", "root", "zero"]);
    let [a, b] = &disks;
    common::assert_same(&content(&volumes[1]), &[extent(b, 3), extent(b, 4), extent(a, 9)].concat(), "root");
    assert_eq!((volumes[0].home, volumes[1].home, volumes[2].home), (0, 1, 0));
    let mut fast = Vec::new();
    for stripe in 0..4 {
        for (disk, first) in [(a, 0), (b, 5)] {
            fast.extend_from_slice(&disk[DATA_AT + first * EXTENT + stripe * (32 << 10)..][..32 << 10]);
        }
    }
    common::assert_same(&content(&volumes[0]), &fast, "fast");
    common::assert_same(&content(&volumes[2]), &[extent(a, 7), extent(b, 8)].concat(), "zero");
}

#[test]
fn of_a_mirror_the_copy_that_is_whole() {
    let linear = |pv: &str, extent: u32| {
        format!("start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"{pv}\", {extent}]")
    };
    let text = group(
        "vg",
        1,
        &[
            volume(
                "m",
                true,
                &["start_extent = 0 extent_count = 1 type = \"raid1\" device_count = 2 region_size = 1024 \
                                 raids = [\"m_rmeta_0\", \"m_rimage_0\", \"m_rmeta_1\", \"m_rimage_1\"]"],
            ),
            volume("m_rmeta_0", false, &[&linear("pv0", 0)]),
            volume("m_rimage_0", false, &[&linear("pv0", 1)]),
            volume("m_rmeta_1", false, &[&linear("pv1", 0)]),
            volume("m_rimage_1", false, &[&linear("pv1", 1)]),
            volume(
                "old",
                true,
                &["start_extent = 0 extent_count = 1 type = \"mirror\" mirror_count = 2 \
                                   mirrors = [\"old_0\", 0, \"old_1\", 0]"],
            ),
            volume("old_0", false, &[&linear("pv1", 2)]),
            volume("old_1", false, &[&linear("pv0", 2)]),
        ]
        .concat(),
    );
    let mut disks = pair(&text);
    let mut remember = |disk: usize, events: u64, failed: u64, rebuilt: u64| {
        let at = DATA_AT;
        disks[disk][at..at + 4].copy_from_slice(b"DmRd");
        disks[disk][at + 12..at + 16].copy_from_slice(&(disk as u32).to_le_bytes());
        disks[disk][at + 16..at + 24].copy_from_slice(&events.to_le_bytes());
        disks[disk][at + 24..at + 32].copy_from_slice(&failed.to_le_bytes());
        disks[disk][at + 32..at + 40].copy_from_slice(&rebuilt.to_le_bytes());
    };
    remember(0, 7, 0, u64::MAX);
    remember(1, 8, 1, u64::MAX);
    let [a, b] = disks.clone();
    let volumes = found(disks.to_vec());
    common::assert_same(&content(&volumes[0]), extent(&b, 1), "the copy that did not fail");
    common::assert_same(&content(&volumes[1]), extent(&b, 2), "the first copy");
    // Without the disk of the other copy this one is what there is: as far as it remembers it is whole.
    let alone = found(vec![a.clone()]);
    common::assert_same(&content(&alone[0]), extent(&a, 1), "the copy that is left");
    assert_eq!(alone[1].device.as_ref().err(), Some(&Problem::Missing { id: id('b') }));
}

#[test]
fn what_cannot_be_read_is_named_and_hides_nothing() {
    let good = volume(
        "good",
        true,
        &["start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 0]"],
    );
    let segment = |text: &str| volume("bad", true, &[text]);
    let itself = [
        volume(
            "bad",
            true,
            &["start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"loop\", 0]"],
        ),
        volume(
            "loop",
            false,
            &["start_extent = 0 extent_count = 2 type = \"striped\" stripe_count = 2 stripe_size = 8 \
                                 stripes = [\"loop\", 0, \"loop\", 0]"],
        ),
    ]
    .concat();
    let metadata = |problem: &Problem| matches!(problem, Problem::Metadata { .. });
    type Expected<'a> = &'a dyn Fn(&Problem) -> bool;
    let cases: [(String, Expected<'_>); 9] = [
        (segment("start_extent = 0 extent_count = 1 type = \"thin\" thin_pool = \"pool\""), &|problem| {
            *problem == Problem::Layout { layout: "thin".to_owned() }
        }),
        (
            segment("start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv9\", 0]"),
            &metadata,
        ),
        (
            segment("start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 16]"),
            &metadata,
        ),
        (
            segment("start_extent = 1 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 0]"),
            &metadata,
        ),
        (
            segment(
                "start_extent = 0 extent_count = 99999999999999 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 0]",
            ),
            &metadata,
        ),
        (
            segment(
                "start_extent = 0 extent_count = 2 type = \"striped\" stripe_count = 2 stripes = [\"pv0\", 0, \"pv1\", 0]",
            ),
            &metadata,
        ),
        (
            segment("start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", -1]"),
            &metadata,
        ),
        (
            segment("start_extent = 0 extent_count = 0 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 0]"),
            &metadata,
        ),
        (itself, &metadata),
    ];
    for (bad, is_expected) in cases {
        let volumes = found(pair(&group("vg", 1, &[bad.clone(), good.clone()].concat())).to_vec());
        assert_eq!(volumes.len(), 2, "{bad}");
        assert!(volumes[0].device.as_ref().is_err_and(is_expected), "{bad}: {:?}", volumes[0].device.as_ref().err());
        assert_eq!(content(&volumes[1]).len(), EXTENT);
    }
}

#[test]
fn the_newest_whole_copy_of_the_metadata_counts() {
    let one = |name: &str| {
        volume(
            name,
            true,
            &["start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 0]"],
        )
    };
    let (old, new) = (group("vg", 4, &one("before")), group("vg", 5, &one("after")));
    let disks = vec![physical(&id('a'), &old, 0), physical(&id('b'), &new, 1000)];
    assert_eq!(found(disks.clone())[0].name, "after");
    // A copy whose checksum is wrong is an error of its own volume.
    let mut damaged = disks[1].clone();
    damaged[AREA_AT + 512 + 1010] ^= 1;
    let error = PhysicalVolume::read(Arc::new(MemoryDisk(damaged))).err().expect("damaged");
    assert!(matches!(error, Error::Damaged(_)), "{error}");
}

#[test]
fn damage_anywhere_in_label_and_metadata_never_panics() {
    let text = group(
        "vg",
        1,
        &volume(
            "root",
            true,
            &["start_extent = 0 extent_count = 2 type = \"striped\" \
                                                       stripe_count = 1 stripes = [\"pv0\", 0]"],
        ),
    );
    let whole = physical(&id('a'), &text, 0);
    let mut random = common::Random(11);
    let mut refused = 0;
    for at in (512..1024).chain(AREA_AT..AREA_AT + 512 + text.len()) {
        let mut disk = whole.clone();
        disk[at] ^= 1 << random.below(8);
        match PhysicalVolume::read(Arc::new(MemoryDisk(disk.clone()))) {
            Err(_) => refused += 1,
            Ok(volume) => drop(assemble(&[Arc::new(volume)])),
        }
        // The same with right checksums: what stands there must not lead astray.
        let sum = checksum(&disk[512 + 20..1024]);
        disk[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
        let sum = checksum(&disk[AREA_AT + 512..AREA_AT + 512 + text.len()]);
        disk[AREA_AT + 56..AREA_AT + 60].copy_from_slice(&sum.to_le_bytes());
        let sum = checksum(&disk[AREA_AT + 4..AREA_AT + 512]);
        disk[AREA_AT..AREA_AT + 4].copy_from_slice(&sum.to_le_bytes());
        if let Ok(volume) = PhysicalVolume::read(Arc::new(MemoryDisk(disk))) {
            for logical in assemble(&[Arc::new(volume)]) {
                if let Ok(device) = logical.device {
                    let _ = device.read_exact_at(device.size_bytes() / 2, &mut [0; 512]);
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

/// LVM2's own tools, kept to two loop devices.
struct Tools {
    folder: tempfile::TempDir,
    devices: Vec<String>,
}

impl Tools {
    /// Attaches images to loop devices; says why not where the machine can't.
    fn new(test: &str, images: &[PathBuf]) -> Option<Self> {
        if !common::is_root() {
            common::not_run(test, "loop devices need root");
            return None;
        }
        if Command::new("lvm").arg("version").output().is_err() {
            common::not_run(test, "lvm is not installed");
            return None;
        }
        let mut this = Self { folder: tempfile::tempdir().expect("tempdir"), devices: Vec::new() };
        for image in images {
            let attached = Command::new("losetup").args(["--find", "--show"]).arg(image).output();
            match attached {
                Ok(output) if output.status.success() => {
                    this.devices.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
                }
                other => {
                    common::not_run(test, &format!("no loop device: {other:?}"));
                    return None;
                }
            }
        }
        let accept: String = this.devices.iter().map(|device| format!("\"a|^{device}$|\", ")).collect();
        let folder = this.folder.path().display();
        let configuration = format!(
            "devices {{ filter = [ {accept}\"r|.*|\" ] use_devicesfile = 0 obtain_device_list_from_udev = 0 }}\n\
             backup {{ backup = 0 archive = 0 }}\nglobal {{ use_lvmpolld = 0 locking_dir = \"{folder}/lock\" }}\n\
             activation {{ udev_sync = 0 udev_rules = 0 monitoring = 0 }}\n"
        );
        std::fs::write(this.folder.path().join("lvm.conf"), configuration).expect("lvm.conf");
        Some(this)
    }

    fn lvm(&self, command: &str, arguments: &str) -> String {
        let output = Command::new("lvm")
            .env("LVM_SYSTEM_DIR", self.folder.path())
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .arg(command)
            // No device-mapper is needed to write metadata.
            .args(["--driverloaded", "n"])
            .args(arguments.split_whitespace())
            .output()
            .expect("lvm");
        assert!(output.status.success(), "{command} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        for device in &self.devices {
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}

fn ext4(folder: &Path, megabytes: u32) -> Vec<u8> {
    let content = folder.join("content");
    std::fs::create_dir_all(content.join("etc")).expect("folder");
    std::fs::write(content.join("etc/hostname"), format!("of {megabytes} MiB\n")).expect("file");
    std::fs::write(content.join("noise"), common::noise(9, 3_000_000)).expect("file");
    let image = folder.join("ext4");
    std::fs::write(&image, []).expect("image");
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([&content, &image])
        .arg(format!("{megabytes}M"))
        .status();
    assert!(made.expect("mke2fs").success());
    std::fs::read(&image).expect("image")
}

#[test]
fn groups_that_lvm_itself_made_show_their_files_in_the_tree() {
    let test = "groups_that_lvm_itself_made_show_their_files_in_the_tree";
    let folder = common::scratch();
    let images = ["os", "data"].map(|name| folder.path().join(name));
    for image in &images {
        std::fs::File::create(image).expect("image").set_len(64 << 20).expect("length");
    }
    let Some(tools) = Tools::new(test, &images) else { return };
    let [first, second] = tools.devices.as_slice() else { panic!("two devices") };
    tools.lvm("pvcreate", &format!("{first} {second}"));
    tools.lvm("vgcreate", &format!("-s 1M vg {first} {second}"));
    tools.lvm("lvcreate", &format!("-an -Zn -Wn -L 10M -n root vg {first}"));
    tools.lvm("lvcreate", "-an -Zn -Wn -i 2 -I 64k -L 16M -n fast vg");
    tools.lvm("lvextend", &format!("-L +6M vg/root {second}"));
    drop(tools);

    let read = |path: &PathBuf| {
        let disk: Arc<dyn BlockRead> = guest_support::FileDisk::open(path);
        Arc::new(PhysicalVolume::read(disk).expect("a physical volume"))
    };
    let volumes = assemble(&images.each_ref().map(read));
    assert_eq!(
        volumes.iter().map(|volume| (volume.name.as_str(), volume.size_bytes)).collect::<Vec<_>>(),
        [("fast", 16 << 20), ("root", 16 << 20)]
    );
    // A file system is put where LVM said that the volumes lie: extents of 1 MiB behind the first.
    let content = ext4(folder.path(), 16);
    let mut disks = images.each_ref().map(|image| std::fs::read(image).expect("image"));
    let data_at = 1 << 20;
    let extent = 1 << 20;
    disks[0][data_at..][..10 * extent].copy_from_slice(&content[..10 * extent]);
    for (number, stripe) in content.chunks(64 << 10).enumerate() {
        let first = if number % 2 == 0 { 10 } else { 0 };
        disks[number % 2][data_at + first * extent + number / 2 * (64 << 10)..][..64 << 10].copy_from_slice(stripe);
    }
    disks[1][data_at + 8 * extent..][..6 * extent].copy_from_slice(&content[10 * extent..]);

    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup_bytes(&vault, "web", &[("os", &disks[0]), ("data", &disks[1])]).expect("backup");
    let names = common::tree_names(&vault, "web/latest/files/os").expect("listed");
    assert_eq!(names, ["whole.raw", "vg-fast", "vg-root"]);
    assert_eq!(common::tree_names(&vault, "web/latest/files/data").expect("listed"), ["whole.raw"]);
    for name in ["vg-root", "vg-fast"] {
        let path = format!("web/latest/files/os/{name}/etc/hostname");
        assert_eq!(common::tree_bytes(&vault, &path).expect("read"), b"of 16 MiB\n");
        let noise = common::tree_bytes(&vault, &format!("web/latest/files/os/{name}/noise")).expect("read");
        common::assert_same(&noise, &common::noise(9, 3_000_000), name);
    }
    let json = String::from_utf8(common::tree_bytes(&vault, "web/latest/point.json").expect("read")).expect("text");
    assert!(json.contains("\"group\": \"vg\"") && json.contains("\"layout\": \"striped\""), "{json}");
    // A point without the second disk names what is missing, and hides nothing else.
    common::backup_bytes(&vault, "half", &[("os", &disks[0])]).expect("backup");
    let names = common::tree_names(&vault, "half/latest/files/os").expect("listed");
    assert_eq!(names, ["whole.raw", "vg-fast.ERROR", "vg-root.ERROR"]);
    let why = common::tree_bytes(&vault, "half/latest/files/os/vg-root.ERROR").expect("read");
    assert!(String::from_utf8_lossy(&why).contains("is not on the disks of this point"));
}
