//! Promise 5: a guest's files read the same whatever features its ext file system was made with.

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::{self, Mount};
use crate::guest_support::{FileDisk, NotRun, open, source};

/// Name, `mke2fs` options, size, and how large an extended attribute may be.
const MADE_WITH: &[(&str, &str, &str, usize)] = &[
    ("ext2, 1 KiB", "-t ext2 -b 1024", "64M", 600),
    ("ext2, 4 KiB", "-t ext2 -b 4096", "64M", 3000),
    ("ext2, no kinds in directories", "-t ext2 -b 1024 -O ^filetype", "64M", 600),
    ("ext2, 128-byte inodes", "-t ext2 -I 128 -b 4096", "64M", 3000),
    ("ext3, 1 KiB", "-t ext3 -b 1024", "64M", 600),
    ("ext3, 4 KiB", "-t ext3 -b 4096", "64M", 3000),
    ("ext4, 1 KiB", "-t ext4 -b 1024", "64M", 600),
    ("ext4, 2 KiB", "-t ext4 -b 2048", "64M", 1500),
    ("ext4, 4 KiB", "-t ext4 -b 4096", "64M", 3000),
    ("ext4, 64 KiB", "-t ext4 -b 65536", "256M", 3000),
    ("ext4, no metadata checksums", "-b 4096 -t ext4 -O ^metadata_csum,uninit_bg", "64M", 3000),
    ("ext4, no checksums at all", "-b 4096 -t ext4 -O ^metadata_csum,^uninit_bg", "64M", 3000),
    ("ext4, checksum seed", "-b 4096 -t ext4 -O metadata_csum,metadata_csum_seed -U random", "64M", 3000),
    ("ext4, no extents", "-t ext4 -b 1024 -O ^extents,^64bit", "64M", 600),
    ("ext4, 32-bit", "-b 4096 -t ext4 -O ^64bit", "64M", 3000),
    ("ext4, meta_bg", "-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024", "64M", 600),
    ("ext4, sparse_super2", "-t ext4 -b 1024 -O sparse_super2,meta_bg,^resize_inode -g 1024", "64M", 600),
    ("ext4, no flex_bg", "-b 4096 -t ext4 -O ^flex_bg", "64M", 3000),
    ("ext4, inline data", "-b 4096 -t ext4 -O inline_data", "64M", 3000),
    ("ext4, inline data, 1 KiB inodes", "-b 4096 -t ext4 -O inline_data -I 1024", "64M", 3000),
    ("ext4, bigalloc", "-b 4096 -t ext4 -O bigalloc -C 65536", "128M", 3000),
    ("ext4, bigalloc, 1 KiB", "-t ext4 -b 1024 -O bigalloc -C 16384", "128M", 600),
    ("ext4, values in inodes", "-b 4096 -t ext4 -O ea_inode", "64M", 3000),
    ("ext4, rare features", "-b 4096 -t ext4 -O large_dir,casefold,encrypt,verity,quota,project", "64M", 3000),
    ("ext4, no index", "-b 4096 -t ext4 -O ^dir_index", "64M", 3000),
];

#[test]
fn every_set_of_features_reads_the_same() {
    let place = tempfile::tempdir().expect("a directory");
    let mut not_run = NotRun::new("every_set_of_features_reads_the_same");
    for (name, options, size, xattr_bytes) in MADE_WITH {
        let from = place.path().join("source");
        std::fs::create_dir(&from).expect("a directory");
        source::fill(&from, *xattr_bytes);
        keep_what_mke2fs_can_write(&from, name.contains("inline"));
        let made = place.path().join("image");
        let options: Vec<&str> = options.split(' ').collect();
        image::make(&made, size, &options, Some(&from));
        let tree = open(FileDisk::open(&made));
        compare(&tree, &from, Against::Source).expect_same(&format!("{name}, source"));
        match Mount::new(&made, &place.path().join("mount"), "ro") {
            Ok(mount) => compare(&tree, &mount.path, Against::Kernel).expect_same(&format!("{name}, kernel")),
            Err(why) => not_run.add(name, &why),
        }
        std::fs::remove_dir_all(&from).expect("the directory goes");
    }
}

/// `mke2fs -d` writes no later times, and with inline data cuts a sparse file at its last data. The test with files
/// that the kernel wrote has both.
fn keep_what_mke2fs_can_write(directory: &std::path::Path, has_inline_data: bool) {
    for name in ["in-2100", "in-2400", "holes/sparse"] {
        if name.starts_with("in-") || has_inline_data {
            std::fs::remove_file(directory.join(name)).expect("the file goes");
        }
    }
}
