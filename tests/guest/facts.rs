//! Promise 5: a point tells which system it holds, from the guest's own files, whatever the guest wrote into them.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::guest_support::{FailingDisk, FileDisk, MemoryDisk, NotRun, image, open};
use icecore::guest::facts::{Facts, Part, find};
use icecore::guest::{BlockRead, FileSystem, MediumError};

const UUIDS: [&str; 3] = [
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333",
];

/// Volumes of a guest in the making: directories, then images.
struct Guest {
    place: tempfile::TempDir,
}

impl Guest {
    fn new() -> Self {
        Self { place: tempfile::tempdir().expect("a directory") }
    }

    fn folder(&self, volume: &str) -> PathBuf {
        self.place.path().join(volume)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::create_dir_all(self.folder(path).parent().expect("a parent")).expect("directories");
        std::fs::write(self.folder(path), content).expect("a file");
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        std::fs::create_dir_all(self.folder(path).parent().expect("a parent")).expect("directories");
        symlink(target, self.folder(path)).expect("a link");
        self
    }

    fn image(&self, volume: &str, uuid: &str) -> PathBuf {
        let path = self.folder(&format!("{volume}.image"));
        let options = ["-t", "ext4", "-O", "^has_journal", "-U", uuid, "-L", volume];
        image::make(&path, "8M", &options, Some(&self.folder(volume)));
        path
    }

    /// The facts, with each volume as `os/<name>`.
    fn facts(&self, volumes: &[&str]) -> Option<Facts> {
        let trees: Vec<(String, FileSystem)> = volumes
            .iter()
            .zip(UUIDS)
            .map(|(volume, uuid)| ((*volume).to_owned(), open(FileDisk::open(&self.image(volume, uuid)))))
            .collect();
        facts_of(&trees)
    }
}

fn facts_of(trees: &[(String, FileSystem)]) -> Option<Facts> {
    let parts: Vec<Part<'_, FileSystem>> = trees
        .iter()
        .map(|(name, tree)| Part {
            name: format!("os/{name}"),
            volume: name.clone(),
            partition_label: None,
            partition_uuid: None,
            tree,
        })
        .collect();
    find(&parts).expect("images in files can be read")
}

fn can_make(test: &'static str) -> bool {
    let found = std::process::Command::new("mke2fs").arg("-V").output().is_ok();
    if !found {
        NotRun::new(test).add("all", "mke2fs is missing");
    }
    found
}

/// Header of a program for a 64-bit ARM.
fn program() -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..6].copy_from_slice(b"\x7fELF\x02\x01");
    header[18..20].copy_from_slice(&183_u16.to_le_bytes());
    header
}

#[test]
fn a_system_over_several_volumes_is_read_as_its_administrator_sees_it() {
    if !can_make("a_system_over_several_volumes_is_read_as_its_administrator_sees_it") {
        return;
    }
    let guest = Guest::new();
    let fstab = format!("# comment\nUUID={} / ext4 defaults 0 1\nLABEL=usr /usr ext4 ro 0 2\n", UUIDS[1])
        + &format!("/dev/disk/by-uuid/{} /boot ext4 defaults 0 2\nUUID=ABCD-1234 /boot/efi vfat\n", UUIDS[0]);
    guest.file("root/etc/fstab", fstab);
    guest.file("root/etc/hostname", "# set by the installer\nweb-01\n").file("root/etc/machine-id", "ab".repeat(16));
    guest
        .link("root/etc/os-release", "../usr/lib/os-release")
        .link("root/etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo");
    guest.link("root/bin", "usr/bin").link("root/lib", "/usr/lib");
    // What the mounted volumes cover must not be seen.
    guest.file("root/usr/lib/os-release", "PRETTY_NAME=covered\n").file("root/boot/vmlinuz-9.9.9", "");
    guest.file(
        "usr/lib/os-release",
        "NAME=D\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
    );
    guest.file("usr/bin/dash", program()).link("usr/bin/sh", "dash");
    for kernel in ["6.1.0-9-arm64", "6.1.0-18-arm64"] {
        guest.file(&format!("boot/vmlinuz-{kernel}"), "").file(&format!("boot/config-{kernel}"), "");
    }
    guest.file("boot/vmlinuz-0-rescue-abab", "");
    guest.file("boot/grub/grub.cfg", "set default=\"0\"\nmenuentry 'Debian' {\n\tlinux /vmlinuz-6.1.0-9-arm64 ro\n}\n");
    let facts = guest.facts(&["boot", "root", "usr"]).expect("a guest");
    let text = |text: &str| Some(text.to_owned());
    let mounts = [("/", "os/root"), ("/boot", "os/boot"), ("/usr", "os/usr")];
    let expected = Facts {
        os: text("Debian GNU/Linux 12 (bookworm)"),
        os_id: text("debian"),
        version: text("12"),
        host_name: text("web-01"),
        kernels: vec!["6.1.0-18-arm64".to_owned(), "6.1.0-9-arm64".to_owned()],
        boots_next: text("6.1.0-9-arm64"),
        architecture: Some("aarch64"),
        machine_id: Some("ab".repeat(16)),
        time_zone: text("Asia/Tokyo"),
        from: "os/root".to_owned(),
        mounts: BTreeMap::from(mounts.map(|(place, volume)| (place.to_owned(), volume.to_owned()))),
        ..Facts::default()
    };
    assert_eq!(facts, expected);
}

#[test]
fn older_systems_tell_it_in_other_files() {
    if !can_make("older_systems_tell_it_in_other_files") {
        return;
    }
    let guest = Guest::new();
    guest.file("root/etc/redhat-release", "CentOS release 6.10 (Final)\n").file("root/bin/true", "");
    guest.file("root/etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=\"db.example.org\"\n");
    // Of a removed kernel only this is left.
    guest.file("root/lib/modules/2.6.32-71/modules.order", "").file("root/lib/modules/2.6.32-754.el6/kernel/x.ko", "");
    let facts = guest.facts(&["root"]).expect("a guest");
    assert_eq!(facts.os.as_deref(), Some("CentOS release 6.10 (Final)"));
    assert_eq!(facts.host_name.as_deref(), Some("db.example.org"));
    assert_eq!(facts.kernels, ["2.6.32-754.el6"]);
    let guest = Guest::new();
    guest.file("root/etc/debian_version", "6.0.10\n").file("root/bin/true", "");
    let facts = guest.facts(&["root"]).expect("a guest");
    assert_eq!((facts.os.as_deref(), facts.version.as_deref()), (Some("Debian GNU/Linux 6.0.10"), Some("6.0.10")));
    assert_eq!(facts.os_id.as_deref(), Some("debian"));
}

#[test]
fn the_kernel_of_a_boot_loader_entry_is_told() {
    if !can_make("the_kernel_of_a_boot_loader_entry_is_told") {
        return;
    }
    let guest = Guest::new();
    guest.file("root/etc/os-release", "ID=rocky\n").file("root/usr/bin/true", "");
    guest.file("root/boot/grub2/grub.cfg", "set default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n");
    for (id, version) in [("a-5.14.0-70", "5.14.0-70"), ("a-5.14.0-362", "5.14.0-362"), ("a-0-rescue", "0-rescue")] {
        let entry = format!("title Rocky\nversion {version}\nlinux /vmlinuz-{version}\n");
        guest.file(&format!("root/boot/loader/entries/{id}.conf"), entry);
    }
    assert_eq!(guest.facts(&["root"]).expect("a guest").boots_next.as_deref(), Some("5.14.0-362"));
    guest.file("root/boot/grub2/grubenv", "# GRUB Environment Block\nsaved_entry=a-5.14.0-70\n####");
    assert_eq!(guest.facts(&["root"]).expect("a guest").boots_next.as_deref(), Some("5.14.0-70"));
}

#[test]
fn what_a_hostile_guest_wrote_costs_that_fact_at_most() {
    if !can_make("what_a_hostile_guest_wrote_costs_that_fact_at_most") {
        return;
    }
    let guest = Guest::new();
    guest.link("root/etc/os-release", "/etc/b").link("root/etc/b", "os-release");
    guest.link("root/usr/lib/os-release", &"../".repeat(300)).link("root/etc/localtime", &"zoneinfo/".repeat(100));
    let name = [b"\x1b]0;\xff\x07".as_slice(), &[b'x'; 5000], b"\n"].concat();
    guest.file("root/etc/hostname", name).file("root/etc/machine-id", "../../etc/passwd");
    guest.file("root/etc/fstab", "LABEL=root / ext4\nLABEL=root /boot ext4\n".repeat(2000));
    guest.file("root/etc/debian_version/directory", "").link("root/etc/redhat-release", "../../../../../etc/name");
    guest.file("root/etc/name", "Outside is inside 1.0");
    std::fs::create_dir_all(guest.folder("root/boot")).expect("a directory");
    guest.link("root/boot/grub", ".");
    std::fs::File::create(guest.folder("root/boot/grub.cfg")).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    for number in 0..200 {
        guest.file(&format!("root/boot/vmlinuz-6.{number}\u{85}"), "");
    }
    let began = std::time::Instant::now();
    let facts = guest.facts(&["root"]).expect("a guest");
    assert!(began.elapsed().as_secs() < 20, "bounded in time");
    // `..` at the root stays there, as for the guest.
    assert_eq!(facts.os.as_deref(), Some("Outside is inside 1.0"));
    assert_eq!(facts.kernels.len(), 32);
    assert!(facts.machine_id.is_none() && facts.boots_next.is_none());
    let json = serde_json::to_string(&facts).expect("JSON");
    assert!(json.len() < 10_000 && !json.chars().any(char::is_control), "{json}");
    assert!(facts.host_name.expect("a name").chars().count() <= 256);
}

#[test]
fn what_cannot_be_read_is_told_and_hides_no_other_fact() {
    if !can_make("what_cannot_be_read_is_told_and_hides_no_other_fact") {
        return;
    }
    let guest = Guest::new();
    guest.file("root/etc/hostname", "name ".repeat(2000)).file("root/etc/os-release", "ID=x\n").file("root/bin/x", "");
    let image = guest.image("root", UUIDS[0]);
    let block = first_block(&image, "/etc/hostname");
    let bytes = std::fs::read(&image).expect("the image");
    let tree = open(Arc::new(FailingDisk { bytes: bytes.clone(), bad: block * 1024..block * 1024 + 1 }));
    let facts = facts_of(&[("root".to_owned(), tree)]).expect("a guest");
    assert_eq!((facts.os_id.as_deref(), facts.host_name.as_deref()), (Some("x"), None));
    assert_eq!(facts.unreadable, ["etc/hostname: the disk could not be read: a bad sector"]);
    assert!(facts.has_failed_medium, "another time it may be readable");
    // Damage of the guest's own is there for ever.
    let inode = image::run("debugfs", &["-R", "imap /etc/hostname", image.to_str().expect("UTF-8")]);
    let place: Vec<u64> = image::numbers(&inode);
    let (block, offset) = (place[place.len() - 2], place[place.len() - 1]);
    let mut damaged = bytes;
    damaged[(block * 1024 + offset + 4) as usize] ^= 1;
    let facts = facts_of(&[("root".to_owned(), open(Arc::new(MemoryDisk(damaged))))]).expect("a guest");
    assert_eq!((facts.os_id.as_deref(), facts.unreadable.len(), facts.has_failed_medium), (Some("x"), 1, false));
}

fn first_block(image: &Path, path: &str) -> u64 {
    let blocks = image::run("debugfs", &["-R", &format!("blocks {path}"), image.to_str().expect("UTF-8")]);
    *image::numbers(&blocks).first().expect("a block")
}

#[test]
fn the_root_is_the_volume_that_its_own_table_of_mounts_names() {
    if !can_make("the_root_is_the_volume_that_its_own_table_of_mounts_names") {
        return;
    }
    let guest = Guest::new();
    let fstab = |uuid: &str| format!("UUID={uuid} / ext4 defaults 0 1\n");
    guest.file("old/etc/hostname", "old").file("old/bin/x", "").file("old/etc/fstab", fstab(UUIDS[1]));
    guest.file("new/etc/hostname", "new").file("new/bin/x", "").file("new/etc/fstab", fstab(UUIDS[1]));
    guest.file("data/etc/hostname", "data");
    let facts = guest.facts(&["old", "new", "data"]).expect("a guest");
    assert_eq!((facts.host_name.as_deref(), facts.from.as_str()), (Some("new"), "os/new"));
    assert_eq!(guest.facts(&["data"]), None, "a directory of that name makes no root");
}

/// A disk that fails once it is told to.
struct Switched(MemoryDisk, AtomicBool);

impl BlockRead for Switched {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        if self.1.load(Ordering::Relaxed) {
            return Err(MediumError("a bad disk".into()));
        }
        self.0.read_exact_at(offset, buffer)
    }
}

#[test]
fn a_disk_that_fails_is_no_disk_without_a_guest() {
    if !can_make("a_disk_that_fails_is_no_disk_without_a_guest") {
        return;
    }
    let guest = Guest::new();
    guest.file("root/etc/hostname", "x").file("root/bin/x", "");
    let bytes = std::fs::read(guest.image("root", UUIDS[0])).expect("image");
    let disk = Arc::new(Switched(MemoryDisk(bytes), AtomicBool::new(false)));
    let tree = open(Arc::clone(&disk) as Arc<dyn BlockRead>);
    disk.1.store(true, Ordering::Relaxed);
    let name = "p1".to_owned();
    let part = Part { name: name.clone(), volume: name, partition_label: None, partition_uuid: None, tree: &tree };
    assert!(find(&[part]).is_err(), "another time it may be a guest");
}
