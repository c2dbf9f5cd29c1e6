//! Promise 2: damage under a mount is EIO for the reads that need it; everything else, and the mount, lives on.
#![cfg(feature = "mount")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::common;
use crate::common::guest::{Mounted, hash};

#[test]
fn a_damaged_segment_is_eio_for_its_reads_only() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let mut bytes = common::noise(1, 4 << 20);
    let old = common::backup_bytes(&vault, "m", &[("os", &bytes), ("data", b"beside")]).expect("first").point;
    let before = common::files(&path.join("segments"));
    bytes[2 << 20..(2 << 20) + 4096].copy_from_slice(&common::noise(2, 4096));
    let new = common::backup_bytes(&vault, "m", &[("os", &bytes), ("data", b"beside")]).expect("second").point;
    common::damage_new_data(&path, &before);
    let vault = common::open(&path);
    let Some(mounted) = Mounted::new("a_damaged_segment_is_eio_for_its_reads_only", &vault) else { return };
    let file = File::open(mounted.join(&format!("m/{}/disks/os.raw", new.name))).expect("open");
    for round in 0..2 {
        let mut read = 0;
        for at in (0..bytes.len() as u64).step_by(4096) {
            let mut buffer = [0; 4096];
            match file.read_exact_at(&mut buffer, at) {
                Ok(()) => {
                    common::assert_same(&buffer, &bytes[at as usize..at as usize + 4096], &format!("byte {at}"));
                    read += 1;
                }
                Err(error) => {
                    assert_eq!((error.raw_os_error(), at), (Some(libc::EIO), 2 << 20), "round {round}: {error}");
                }
            }
        }
        assert_eq!(read, 1023, "round {round}: one block of 1024 is lost");
    }
    let beside = std::fs::read(mounted.join(&format!("m/{}/disks/data.raw", new.name))).expect("the other disk");
    assert_eq!(beside, b"beside");
    let original = blake3::hash(&common::noise(1, 4 << 20));
    assert_eq!(hash(&mounted.join(&format!("m/{}/disks/os.raw", old.name))), *original.as_bytes());
}
