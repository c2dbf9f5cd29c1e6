//! Promise 5: a volume whose journal ends in fast commits shows what the guest would see after a restart.

mod guest_support;

use guest_support::compare::{Against, compare};
use guest_support::ext::{ClonePlace, Load, clone};
use guest_support::image::{self, Mount};
use guest_support::{FileDisk, NotRun, open};
use icecore::guest::GuestFileSystem;

/// Name and `mke2fs` options.
const MADE_WITH: &[(&str, &str)] = &[
    ("4 KiB", "-b 4096 -t ext4 -O fast_commit"),
    ("1 KiB", "-b 1024 -t ext4 -O fast_commit -J size=8"),
    ("no checksums", "-b 4096 -t ext4 -O fast_commit,^metadata_csum,^64bit"),
    ("inline data", "-b 4096 -t ext4 -O fast_commit,inline_data"),
    ("clusters", "-b 4096 -t ext4 -O fast_commit,bigalloc"),
];

#[test]
fn fast_commits_are_replayed() {
    let mut not_run = NotRun::new("fast_commits_are_replayed");
    let place = match ClonePlace::new() {
        Ok(place) => place,
        Err(why) => return not_run.add("all of it", &why),
    };
    let (made, ours, theirs) = (place.path("image"), place.path("ours"), place.path("theirs"));
    for (number, (name, options)) in (0..).zip(MADE_WITH) {
        image::make(&made, "128M", &options.split(' ').collect::<Vec<_>>(), None);
        let mount = match Mount::new(&made, &place.mount_path("load"), "rw") {
            Ok(mount) => mount,
            Err(why) => {
                not_run.add(name, &why);
                continue;
            }
        };
        let mut load = Load::new(&mount.path.join("tree"), number);
        load.is_fast = true;
        for round in 0..8 {
            for _ in 0..80 {
                load.step();
            }
            clone(&made, &ours);
            clone(&made, &theirs);
            let tree = open(FileDisk::open(&ours));
            let state = tree.info().state;
            match Mount::new(&theirs, &place.mount_path("recovered"), "rw,noatime") {
                Ok(recovered) => {
                    let report = compare(&tree, &recovered.path, Against::Kernel);
                    eprintln!("{name}, round {round}, {state:?}: {} entries {:?}", report.entries, report.differences);
                }
                Err(why) => eprintln!("{name}, {round}, {state:?}: {why}"),
            }
        }
    }
}
