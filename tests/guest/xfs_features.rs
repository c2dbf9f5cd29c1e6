//! Promise 5: a guest's files read the same through us as through the kernel, whatever its XFS was made with.

use crate::guest_support;
use crate::guest_support::compare::{Against, compare};
use crate::guest_support::{FileDisk, NotRun, open, xfs};
use icecore::guest::{GuestFileSystem, VolumeState};

/// Name, `mkfs.xfs` options, and how many names its largest directory gets.
const MADE_WITH: &[(&str, &str, u32)] = &[
    ("defaults", "", 20_000),
    ("1 KiB blocks", "-b size=1024", 3000),
    ("2 KiB blocks", "-b size=2048", 700),
    ("directory blocks of 8 KiB", "-n size=8192", 3000),
    ("directory blocks of 64 KiB over 1 KiB", "-b size=1024 -n size=65536", 3000),
    ("no features", "-m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0", 700),
    ("all features", "-m finobt=1,rmapbt=1,reflink=1,bigtime=1,inobtcount=1 -i sparse=1,nrext64=1", 700),
    ("another UUID than in its structures", "", 150),
    ("1 KiB inodes", "-i size=1024", 700),
    ("2 KiB inodes", "-i size=2048,nrext64=1", 700),
    ("many groups", "-d agsize=16m -m rmapbt=1", 700),
    ("4 KiB sectors", "-s size=4096", 150),
];

#[test]
fn every_set_of_features_reads_the_same() {
    let place = xfs::scratch();
    let mut not_run = NotRun::new("every_set_of_features_reads_the_same");
    if let Err(why) = xfs::can_make() {
        return not_run.add("all of it", &why);
    }
    for (name, options, names_max) in MADE_WITH {
        let made = place.path().join("image");
        xfs::make(&made, "128M", &options.split_whitespace().collect::<Vec<_>>());
        match xfs::mount(&made, &place.path().join("mount"), "rw") {
            Ok(mount) => xfs::fill(&mount.path, *names_max),
            Err(why) => {
                not_run.add(name, &why);
                continue;
            }
        }
        if name.contains("UUID") {
            guest_support::image::run("xfs_admin", &["-U", "generate", made.to_str().expect("UTF-8")]);
        }
        let tree = open(FileDisk::open(&made));
        assert_eq!(tree.info().state, VolumeState::Clean, "{name}");
        let mount = xfs::mount(&made, &place.path().join("mount"), "ro").expect("it could be mounted before");
        compare(&tree, &mount.path, Against::Kernel).expect_same(name);
    }
}
