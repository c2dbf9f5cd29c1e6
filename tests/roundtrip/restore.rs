//! Promise 2: a restored disk is the disk that was backed up, byte for byte, holes and odd sizes included.

use crate::common;
use icecore::restore::{Progress, RestoreOptions};

#[test]
fn a_restored_disk_equals_the_original() {
    let dir = common::scratch();
    let mut disk = common::text(1, 3 << 20);
    disk.extend(vec![0; 5 << 20]);
    disk.extend(common::noise(2, (2 << 20) + 777));
    let image = dir.path().join("os.raw");
    std::fs::write(&image, &disk).expect("image");
    let small = dir.path().join("data.raw");
    std::fs::write(&small, b"x").expect("image");
    let vault = common::init(&dir.path().join("vault"), &common::small());
    let report = common::backup(&vault, "web01", &[("os", &image), ("data", &small)]);
    drop(vault);

    let vault = common::open(&dir.path().join("vault"));
    let point = vault.point("web01", "latest").expect("point");
    assert_eq!(point.id, report.point.id);
    for (name, original) in [("os", disk.as_slice()), ("data", b"x")] {
        let target = dir.path().join(format!("{name}.restored"));
        vault.restore(&point, name, &target, &RestoreOptions::default(), &Progress::default()).expect("restore");
        assert!(std::fs::read(&target).expect("restored") == original, "{name} differs");
    }
}
