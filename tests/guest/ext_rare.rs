//! Promise 5: what few file systems have reads right too: encrypted directories, whose names are shown opaque; directories
//! that hash trees of three levels index; flags that change nothing of how an inode is read.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::guest_support::compare::{Against, compare, list};
use crate::guest_support::image::{self, Mount, debugfs};
use crate::guest_support::{FileDisk, not_run, open, source, xfs};
use icecore::guest::Error;
use icecore_fuse::{FileType, ReadOnlyTree};

/// Gives a mounted file system a key, and an empty directory a policy that has its names and contents encrypted.
fn encrypt(mount: &Path, directory: &Path) -> Result<(), String> {
    let mut command = Command::new("xfs_io");
    command.args(["-c", "add_enckey"]).arg(mount).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("xfs_io: {error}"))?;
    child.stdin.take().expect("its input").write_all(&[7; 64]).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let key = said.trim().rsplit(' ').next().filter(|key| key.len() == 32);
    let key = key.ok_or(format!("no key was added: {said}"))?;
    let policy = format!("set_encpolicy {key}");
    let output = Command::new("xfs_io").args(["-c", &policy]).arg(directory).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && said.is_empty() { Ok(()) } else { Err(said) }
}

#[test]
fn encrypted_names_are_opaque_and_contents_are_errors() {
    const TEST: &str = "encrypted_names_are_opaque_and_contents_are_errors";
    let place = xfs::scratch();
    let made = place.path().join("image");
    for options in ["-t ext4 -b 4096 -O encrypt", "-t ext4 -b 4096 -O encrypt,inline_data"] {
        image::make(&made, "64M", &options.split(' ').collect::<Vec<_>>(), None);
        let mount = match Mount::new(&made, &place.path().join("mount"), "rw") {
            Ok(mount) => mount,
            Err(why) => return not_run(TEST, &why),
        };
        let secret = mount.path.join("secret");
        std::fs::create_dir(&secret).expect("a directory");
        if let Err(why) = encrypt(&mount.path, &secret) {
            return not_run(TEST, &why);
        }
        std::fs::create_dir(secret.join("inside")).expect("a directory");
        for number in 0..100_usize {
            let path = secret.join(format!("inside/{number}-{}", "n".repeat(number * 2)));
            std::fs::write(path, source::noise(1, number * 300)).expect("a file");
        }
        std::os::unix::fs::symlink("a target", secret.join("link")).expect("a link");
        drop(mount);

        let tree = open(FileDisk::open(&made));
        let secret = tree.lookup(tree.root(), b"secret").expect("a lookup").expect("the directory's own name is not");
        let names = list(&tree, secret).expect("a listing");
        assert_eq!(names.len(), 2);
        for (name, node, kind) in names {
            assert!(name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_~".contains(byte)), "{name:?}");
            assert_eq!(tree.lookup(secret, &name).expect("a lookup"), Some(node), "it is found by the name shown");
            if kind == FileType::Symlink {
                let target = tree.read_link(node).expect("a target");
                assert!(!target.is_empty() && target != b"a target");
                continue;
            }
            let mut sizes = Vec::new();
            for (_, file, _) in list(&tree, node).expect("a listing") {
                sizes.push(tree.attributes(file).expect("attributes").size_bytes);
                let read = tree.read(file, 0, &mut [0; 100]);
                assert!(matches!(read, Err(Error::Encrypted { .. })), "{read:?}");
            }
            sizes.sort_unstable();
            assert_eq!(sizes, (0..100).map(|number| number * 300).collect::<Vec<_>>());
        }
    }
}

/// Blocks of 1 KiB, and names of which three fit in one: two levels would have room for 47,000.
#[test]
fn a_directory_with_an_index_of_three_levels() {
    const TEST: &str = "a_directory_with_an_index_of_three_levels";
    const NAMES: u32 = 50_000;
    let place = xfs::scratch();
    let made = place.path().join("image");
    image::make(&made, "128M", &["-t", "ext4", "-b", "1024", "-O", "large_dir", "-N", "2000"], None);
    match Mount::new(&made, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            let directory = mount.path.join("large");
            std::fs::create_dir(&directory).expect("a directory");
            let target = directory.join("target");
            std::fs::write(&target, b"content").expect("a file");
            for number in 0..NAMES {
                let name = directory.join(format!("{number:05}{}", "n".repeat(245)));
                std::fs::hard_link(&target, name).unwrap_or_else(|error| panic!("name {number}: {error}"));
            }
        }
        Err(why) => return not_run(TEST, &why),
    }
    let said = image::run("debugfs", &["-R", "htree_dump /large", made.to_str().expect("UTF-8")]);
    assert!(said.contains("Indirect levels: 2"), "{}", said.lines().take(12).collect::<Vec<_>>().join("\n"));
    let tree = open(FileDisk::open(&made));
    let directory = tree.lookup(tree.root(), b"large").expect("a lookup").expect("the directory");
    let mut ours = Vec::new();
    let listed = tree.read_directory(directory, 0, &mut |entry| {
        ours.push(entry.name.to_vec());
        true
    });
    listed.expect("a listing");
    ours.sort();
    let mount = Mount::new(&made, &place.path().join("mount"), "ro").expect("it was mounted before");
    let theirs = std::fs::read_dir(mount.path.join("large")).expect("a directory");
    let mut theirs: Vec<_> = theirs.map(|entry| entry.expect("an entry").file_name().into_vec()).collect();
    theirs.sort();
    assert!(ours == theirs, "{} names, not {}", ours.len(), theirs.len());
    for name in ours.iter().step_by(9999) {
        assert!(tree.lookup(directory, name).expect("a lookup").is_some());
    }
}

/// `fs-verity` and case folding: few kernels have them, so that `debugfs` sets the flags.
#[test]
fn flags_of_verity_and_case_folding_change_no_byte() {
    let place = tempfile::tempdir().expect("a directory");
    let (made, from) = (place.path().join("image"), place.path().join("source"));
    std::fs::create_dir_all(from.join("folded")).expect("a directory");
    for name in ["Name", "nAME", "verified"] {
        std::fs::write(from.join("folded").join(name), source::noise(3, 5000)).expect("a file");
    }
    image::make(&made, "16M", &["-t", "ext4", "-O", "verity,casefold"], Some(&from));
    debugfs(&made, &["set_inode_field /folded flags 0x40080000", "set_inode_field /folded/verified flags 0x180000"]);
    compare(&open(FileDisk::open(&made)), &from, Against::Source).expect_same("verity, casefold");
}
