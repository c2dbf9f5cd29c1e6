//! Promise 1: a point that is acknowledged after data was lost does not rely on what is known to be gone.

mod common;

#[test]
fn the_next_backup_stores_again_what_went_with_a_segment() {
    for open_before in [false, true] {
        let folder = common::scratch();
        let path = folder.path().join("vault");
        let bytes = common::noise(1, 3 << 20);
        let before = common::init(&path, &common::small());
        let old = common::backup_bytes(&before, "m", &[("os", &bytes)]).expect("backup").point;
        for file in common::files(&path.join("segments")) {
            if file.metadata().expect("stat").len() > 500_000 {
                std::fs::remove_file(file).expect("remove");
            }
        }
        let vault = if open_before { before } else { common::open(&path) };
        let report = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
        let vault = common::open(&path);
        common::assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &bytes, "new point");
        // And the old one, which has the same chunks, is whole again.
        common::assert_same(&common::restored(&vault, &old, "os").expect("restore"), &bytes, "old point");
        assert!(common::verify(&vault).is_clean());
    }
}

#[test]
fn lost_map_nodes_are_stored_again_too() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let bytes = common::noise(1, 3 << 20);
    common::backup_bytes(&common::init(&path, &common::small()), "m", &[("os", &bytes)]).expect("backup");
    for file in common::files(&path.join("segments")) {
        // Kind 2 in its header: maps and manifests.
        if std::fs::read(&file).expect("segment")[12] == 2 {
            std::fs::remove_file(file).expect("remove");
        }
    }
    let vault = common::open(&path);
    let report = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    assert!(report.added_bytes < 100_000, "the chunks are there: {}", report.added_bytes);
    let vault = common::open(&path);
    common::assert_same(&common::restored(&vault, &report.point, "os").expect("restore"), &bytes, "new point");
}
