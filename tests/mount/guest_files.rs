//! Promise 5: a guest's files through the mount are those that the kernel shows of the same disk, and those put in.
#![cfg(feature = "mount")]

use std::collections::BTreeMap;

use crate::common;
use crate::common::guest::{KernelMount, Mounted, Seen, see};
use icecore_fixtures::{Entry, EntryKind, Volume};

/// Attributes that the kernel's own mount shows and ours must too; `lost+found` and all.
fn compare_with_kernel(ours: &BTreeMap<Vec<u8>, Seen>, theirs: &BTreeMap<Vec<u8>, Seen>, what: &str) {
    assert!(theirs.len() > 10, "{what}: nothing to compare");
    assert!(ours.keys().eq(theirs.keys()), "{what}: other names");
    let mut differences = 0;
    for (path, theirs) in theirs {
        if ours[path] != *theirs {
            differences += 1;
            eprintln!("{what}: {}:\n  ours   {:?}\n  kernel {theirs:?}", String::from_utf8_lossy(path), ours[path]);
        }
    }
    assert_eq!(differences, 0, "{what}: of {} entries", theirs.len());
}

fn compare_with_manifest(ours: &BTreeMap<Vec<u8>, Seen>, volume: &Volume) {
    let listed = |path: &[u8]| path != b"lost+found" && !path.starts_with(b"lost+found/");
    let paths = ours.keys().filter(|path| listed(path));
    assert!(paths.eq(volume.manifest.entries.keys()), "{}: other names than were put in", volume.name);
    for (path, entry) in &volume.manifest.entries {
        let seen = &ours[path];
        let what = format!("{} of {}", String::from_utf8_lossy(path), volume.name);
        let Entry { kind, mode, uid, gid, mtime, xattrs } = entry;
        assert_eq!((seen.mode, seen.owner), (u32::from(*mode), (*uid, *gid)), "{what}");
        assert_eq!(seen.times[1], (mtime.seconds, i64::from(mtime.nanoseconds)), "{what}");
        for (name, value) in xattrs {
            assert_eq!(seen.xattrs.get(name.as_bytes()), Some(value), "{what}: {name}");
        }
        let letter = match kind {
            EntryKind::Directory => 'd',
            EntryKind::File { size_bytes, blake3, links, first_name } => {
                assert_eq!((seen.size, seen.blake3), (*size_bytes, Some(*blake3)), "{what}");
                assert_eq!(seen.links, u64::from(*links), "{what}");
                // All names of a file are one file, whichever of them counts as its first.
                assert_eq!(seen.first_name, ours[first_name].first_name, "{what}");
                'f'
            }
            EntryKind::Symlink(target) => {
                assert_eq!(seen.target.as_ref(), Some(target), "{what}");
                'l'
            }
            EntryKind::Fifo => 'p',
            EntryKind::Socket => 's',
            EntryKind::CharDevice(major, minor) | EntryKind::BlockDevice(major, minor) => {
                assert_eq!(seen.device, rustix::fs::makedev(*major, *minor), "{what}");
                if matches!(kind, EntryKind::CharDevice(..)) { 'c' } else { 'b' }
            }
        };
        assert_eq!(seen.kind, letter, "{what}");
    }
}

#[test]
fn the_guests_files_are_the_kernels_and_those_put_in() {
    let name = "the_guests_files_are_the_kernels_and_those_put_in";
    let folder = common::scratch();
    let set = match icecore_fixtures::small_disks(folder.path()) {
        Ok(set) => set,
        Err(error) => return common::not_run(name, &error.to_string()),
    };
    let options = icecore::vault::InitOptions { chunk_bytes: 64 << 10, ..common::small() };
    let vault = common::init(&folder.path().join("vault"), &options);
    let mut points = Vec::new();
    for day in [&set.day1, &set.day2] {
        points.push(common::backup(&vault, "web01", &[("os", &day.os.path), ("data", &day.data.path)]).point);
    }
    let Some(mounted) = Mounted::new(name, &vault) else { return };
    for (point, day) in points.iter().zip([&set.day1, &set.day2]) {
        for (disk, source) in [("os", &day.os), ("data", &day.data)] {
            let raw = mounted.join(&format!("web01/{}/disks/{disk}.raw", point.name));
            assert_eq!(common::guest::hash(&raw), common::guest::hash(&source.path), "{disk} of {}", point.name);
            for volume in &source.volumes {
                let what = format!("{disk} {} of {}", volume.name, point.name);
                let ours = see(&mounted.join(&format!("web01/{}/files/{disk}/{}", point.name, volume.name)));
                compare_with_manifest(&ours, volume);
                let kernel = KernelMount::new(name, &source.path, volume.offset_bytes, volume.size_bytes);
                let Some(kernel) = kernel else { continue };
                compare_with_kernel(&ours, &see(kernel.path()), &what);
            }
        }
    }
}
