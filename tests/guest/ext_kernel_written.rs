//! Promise 5: files that a kernel wrote read the same through us as through its own mount, to the last attribute.

use crate::guest_support::compare::{Against, compare};
use crate::guest_support::image::{self, Mount, run};
use crate::guest_support::{FileDisk, not_run, open, source};

const MADE_WITH: &[(&str, &str, &str, usize)] = &[
    ("ext2", "-t ext2 -b 1024", "512M", 600),
    ("ext3", "-t ext3 -b 4096", "512M", 3000),
    ("ext4, 1 KiB", "-t ext4 -b 1024", "512M", 600),
    ("ext4", "-b 4096 -t ext4", "512M", 3000),
    ("ext4, inline data", "-b 4096 -t ext4 -O inline_data", "512M", 3000),
    ("ext4, bigalloc", "-b 4096 -t ext4 -O bigalloc", "512M", 3000),
    ("ext4, values in inodes", "-b 4096 -t ext4 -O ea_inode,inline_data", "512M", 40_000),
    ("ext4, no extents", "-t ext4 -b 1024 -O ^extents,^64bit,^metadata_csum", "512M", 600),
];

#[test]
fn what_the_kernel_wrote_reads_the_same() {
    let place = tempfile::tempdir().expect("a directory");
    for (name, options, size, xattr_bytes) in MADE_WITH {
        let made = place.path().join("image");
        image::make(&made, size, &options.split(' ').collect::<Vec<_>>(), None);
        match Mount::new(&made, &place.path().join("mount"), "rw") {
            Ok(mount) => write(&mount, *xattr_bytes),
            Err(why) => return not_run("what_the_kernel_wrote_reads_the_same", &why),
        }
        let tree = open(FileDisk::open(&made));
        let mount = Mount::new(&made, &place.path().join("mount"), "ro").expect("it could be mounted before");
        compare(&tree, &mount.path, Against::Kernel).expect_same(name);
    }
}

fn write(mount: &Mount, xattr_bytes: usize) {
    use std::fs;
    use std::os::unix::fs::FileExt;
    let root = mount.path.join("tree");
    fs::create_dir(&root).expect("a directory");
    source::fill(&root, xattr_bytes);
    // Room that is allocated and never written reads as zeros.
    let file = fs::File::create(root.join("preallocated")).expect("a file");
    if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 3 << 20).is_ok() {
        file.write_all_at(&source::noise(9, 10_000), 1_000_000).expect("a write");
    }
    // Two files that grow in turns fall to pieces.
    let turns = [root.join("turn-a"), root.join("turn-b")].map(|path| fs::File::create(path).expect("a file"));
    for piece in 0..150_u64 {
        for file in &turns {
            file.write_all_at(&source::noise(piece, 4096), piece * 8192).expect("a write");
            file.sync_data().expect("a sync");
        }
    }
    // A directory that grows into a hash tree, then loses most of its names.
    let many = root.join("many");
    fs::create_dir(&many).expect("a directory");
    for number in 0..5000 {
        fs::write(many.join(format!("a-rather-long-name-{number}")), b"").expect("a file");
    }
    for number in (0..5000).filter(|number| number % 7 != 0) {
        fs::remove_file(many.join(format!("a-rather-long-name-{number}"))).expect("the file goes");
    }
    run("sync", &["-f", root.to_str().expect("a path in UTF-8")]);
}
