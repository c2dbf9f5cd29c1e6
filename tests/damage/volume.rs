//! Promise 3: damage where one volume of a guest begins hides neither the other volumes nor what can be read of it.

use std::os::unix::fs::FileExt;

use crate::common;
use icecore::ErrorKind;

#[test]
fn a_volume_that_cannot_be_opened_leaves_its_neighbours() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let image = folder.path().join("mbr.raw");
    let disk = match icecore_fixtures::single::mbr_disk(&image, 1) {
        Ok(disk) => disk,
        Err(error) => {
            return common::not_run("a_volume_that_cannot_be_opened_leaves_its_neighbours", &error.to_string());
        }
    };
    let vault = common::init(&path, &common::small());
    // First without the superblock of p2, then with it: the second backup's data are that chunk alone.
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&image).expect("image");
    let mut first = [0; 4096];
    file.read_exact_at(&mut first, disk.volumes[1].offset_bytes).expect("read");
    file.write_all_at(&[0; 4096], disk.volumes[1].offset_bytes).expect("write");
    common::backup(&vault, "m", &[("os", &image)]);
    let before = common::files(&path.join("segments"));
    file.write_all_at(&first, disk.volumes[1].offset_bytes).expect("write");
    common::backup(&vault, "m", &[("os", &image)]);
    let names = common::tree_names(&vault, "m/latest/files/os").expect("names");
    assert_eq!(names, ["p1", "p2", "p5", "p6"]);

    common::damage_new_data(&path, &before);
    let vault = common::open(&path);
    let names = common::tree_names(&vault, "m/latest/files/os").expect("the others");
    assert_eq!(names, ["p1", "p2.raw", "p2.ERROR", "p5", "p6"]);
    let note = common::tree_bytes(&vault, "m/latest/files/os/p2.ERROR").expect("note");
    assert!(String::from_utf8_lossy(&note).contains("damaged: segments/"), "{}", String::from_utf8_lossy(&note));
    for volume in ["p1", "p5", "p6"] {
        assert_eq!(
            common::tree_bytes(&vault, &format!("m/latest/files/os/{volume}/sizes/100")).expect("file").len(),
            100
        );
    }
    let error = common::tree_bytes(&vault, "m/latest/files/os/p2.raw").expect_err("its first chunk");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(common::tree_bytes(&vault, "m/latest/point.json").is_ok());
}
