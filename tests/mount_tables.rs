//! Promise 5: partition tables that lie, and logical partitions, show what can be shown, each beside the others.

mod common;

#[test]
fn a_partition_past_the_end_of_the_disk_is_a_note_and_hides_nothing() {
    let folder = common::scratch();
    let image = folder.path().join("lying.raw");
    icecore_fixtures::single::lying_gpt(&image, 16 << 20).expect("disk");
    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup(&vault, "m", &[("os", &image)]);
    let names = common::tree_names(&vault, "m/latest/files/os").expect("names");
    assert_eq!(names, ["p1.raw", "p2.ERROR"]);
    assert_eq!(common::tree_bytes(&vault, "m/latest/files/os/p1.raw").expect("p1"), vec![0; (8 << 20) - (1 << 20)]);
    let note = common::tree_bytes(&vault, "m/latest/files/os/p2.ERROR").expect("note");
    assert!(String::from_utf8_lossy(&note).contains("end"), "{}", String::from_utf8_lossy(&note));
    let json = common::tree_bytes(&vault, "m/latest/point.json").expect("point.json");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json.pointer("/volumes/0/table"), Some(&"gpt".into()));
    assert!(json.pointer("/volumes/0/volumes/1/problem").is_some_and(serde_json::Value::is_string), "{json:#}");
    let whole = common::tree_bytes(&vault, "m/latest/disks/os.raw").expect("disk");
    common::assert_same(&whole, &std::fs::read(&image).expect("image"), "the disk itself");
}

#[test]
fn logical_partitions_hold_their_files() {
    let folder = common::scratch();
    let image = folder.path().join("mbr.raw");
    let disk = match icecore_fixtures::single::mbr_disk(&image, 3) {
        Ok(disk) => disk,
        Err(error) => return common::not_run("logical_partitions_hold_their_files", &error.to_string()),
    };
    let options = icecore::vault::InitOptions { chunk_bytes: 16 << 10, ..common::small() };
    let vault = common::init(&folder.path().join("vault"), &options);
    common::backup(&vault, "m", &[("os", &image)]);
    let names = common::tree_names(&vault, "m/latest/files/os").expect("names");
    assert_eq!(names, ["p1", "p2", "p5", "p6"], "and the extended partition around the last two is none");
    for volume in &disk.volumes {
        for (path, entry) in &volume.manifest.entries {
            let icecore_fixtures::EntryKind::File { size_bytes, blake3, .. } = &entry.kind else { continue };
            // The file of more than 4 GiB is a hole: its end is looked at below.
            if *size_bytes <= 4 << 20 {
                let path = format!("m/latest/files/os/{}/{}", volume.name, String::from_utf8_lossy(path));
                let bytes = common::tree_bytes(&vault, &path).expect(&path);
                assert_eq!(blake3::hash(&bytes), blake3::Hash::from(*blake3), "{path}");
            }
        }
    }
    let tree = vault.tree();
    let huge = tree.resolve("m/latest/files/os/p5/huge", true).expect("huge");
    let mut end = [1; 8192];
    let read = icecore_fuse::ReadOnlyTree::read(&tree, huge, (4 << 30) - 100, &mut end).expect("read");
    assert_eq!(read, 5100);
    assert!(end[..100].iter().all(|byte| *byte == 0) && end[100..].starts_with(b"behind 4 GiB"));
}
