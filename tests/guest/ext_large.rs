//! Promise 5: large directories, large sparse files and whole system trees read the same as from their source.

use std::path::Path;

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::{self, Mount};
use crate::guest_support::{FileDisk, NotRun, open, source};

fn compare_image_of(from: &Path, size: &str, options: &str, what: &str, not_run: &mut NotRun) {
    let place = tempfile::tempdir().expect("a directory");
    let made = place.path().join("image");
    image::make(&made, size, &options.split(' ').collect::<Vec<_>>(), Some(from));
    let tree = open(FileDisk::open(&made));
    compare(&tree, from, Against::Source).expect_same(&format!("{what}, source"));
    match Mount::new(&made, &place.path().join("mount"), "ro") {
        Ok(mount) => compare(&tree, &mount.path, Against::Kernel).expect_same(&format!("{what}, kernel")),
        Err(why) => not_run.add(what, &why),
    }
}

#[test]
fn a_directory_of_5000_names() {
    let mut not_run = NotRun::new("a_directory_of_5000_names");
    let from = tempfile::tempdir().expect("a directory");
    for number in 0..5000 {
        std::fs::write(from.path().join(format!("a-name-of-some-length-{number}")), b"").expect("a file");
    }
    compare_image_of(from.path(), "64M", "-t ext4 -b 1024 -N 8000", "a_directory_of_5000_names", &mut not_run);
    compare_image_of(
        from.path(),
        "64M",
        "-t ext2 -b 1024 -N 8000 -O ^dir_index",
        "a_directory_of_5000_names, ext2",
        &mut not_run,
    );
}

#[test]
fn a_sparse_file_of_5_gigabytes() {
    let mut not_run = NotRun::new("a_sparse_file_of_5_gigabytes");
    use std::os::unix::fs::FileExt;
    let from = tempfile::tempdir().expect("a directory");
    let file = std::fs::File::create(from.path().join("sparse")).expect("a file");
    for at in [0, (1 << 32) - 4096, (5 << 30) - 10_000] {
        file.write_all_at(&source::noise(at, 10_000), at).expect("a write");
    }
    compare_image_of(from.path(), "64M", "-t ext4", "a_sparse_file_of_5_gigabytes", &mut not_run);
    compare_image_of(from.path(), "64M", "-t ext2 -b 1024", "a_sparse_file_of_5_gigabytes, ext2", &mut not_run);
}

/// A real tree: `/etc`, or what `ICECORE_GUEST_TREE` names.
#[test]
fn a_real_tree() {
    let mut not_run = NotRun::new("a_real_tree");
    if !rustix::process::geteuid().is_root() {
        return not_run.add("all of it", "reading a system's files needs root");
    }
    let from = std::env::var("ICECORE_GUEST_TREE").unwrap_or_else(|_| "/etc".to_owned());
    let size = std::env::var("ICECORE_GUEST_TREE_SIZE").unwrap_or_else(|_| "256M".to_owned());
    compare_image_of(Path::new(&from), &size, "-t ext4 -b 4096 -i 8192", "a_real_tree", &mut not_run);
}
