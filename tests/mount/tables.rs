//! Promise 5: partition tables that lie, and logical partitions, show what can be shown, each beside the others.

use crate::common;

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

#[test]
fn a_table_that_is_lost_is_no_empty_disk() {
    let folder = common::scratch();
    let image = folder.path().join("lost.raw");
    icecore_fixtures::single::lying_gpt(&image, 16 << 20).expect("disk");
    let mut bytes = std::fs::read(&image).expect("image");
    let end = bytes.len();
    bytes[512..1024].fill(0);
    bytes[end - 512..].fill(0);
    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    assert_eq!(common::tree_names(&vault, "m/latest/files/os").expect("names"), ["table.ERROR"]);
    let note = common::tree_bytes(&vault, "m/latest/files/os/table.ERROR").expect("note");
    let note = String::from_utf8_lossy(&note);
    assert!(note.contains("both the GPT and its backup are damaged"), "{note}");
}

#[test]
fn damage_of_the_vault_where_the_table_lies_is_got_over_through_its_backup() {
    let folder = common::scratch();
    let image = folder.path().join("disk.raw");
    icecore_fixtures::single::lying_gpt(&image, 16 << 20).expect("disk");
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let bytes = std::fs::read(&image).expect("image");
    let mut without = bytes.clone();
    without[..4096].fill(0);
    // The second backup's data are the chunk with the first table alone.
    common::backup_bytes(&vault, "m", &[("os", &without)]).expect("backup");
    let before = common::files(&path.join("segments"));
    common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    common::damage_new_data(&path, &before);
    let vault = common::open(&path);
    assert!(common::tree_bytes(&vault, "m/latest/disks/os.raw").is_err(), "its first chunk is damaged");
    assert_eq!(common::tree_names(&vault, "m/latest/files/os").expect("names"), ["p1.raw", "p2.ERROR"]);
    assert_eq!(common::tree_bytes(&vault, "m/latest/files/os/p1.raw").expect("p1"), vec![0; (8 << 20) - (1 << 20)]);
    let json = common::tree_bytes(&vault, "m/latest/point.json").expect("point.json");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let problem = json.pointer("/volumes/0/problems/0").and_then(serde_json::Value::as_str);
    assert_eq!(problem, Some("the primary GPT is damaged, its backup was used"), "{json:#}");
}

#[test]
fn a_table_inside_a_partition_is_a_volume_that_is_not_known() {
    let mut bytes = vec![0; 1 << 20];
    let mut entry = |sector: usize, first: u32, sectors: u32| {
        let record = &mut bytes[sector * 512..][..512];
        record[446 + 4] = 0x83;
        record[446 + 8..446 + 12].copy_from_slice(&first.to_le_bytes());
        record[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
        record[510..].copy_from_slice(&[0x55, 0xAA]);
    };
    entry(0, 100, 1000);
    entry(100, 10, 500);
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("backup");
    assert_eq!(common::tree_names(&vault, "m/latest/files/os").expect("names"), ["p1.raw"]);
    let raw = common::tree_bytes(&vault, "m/latest/files/os/p1.raw").expect("p1");
    common::assert_same(&raw, &bytes[100 * 512..1100 * 512], "the partition");
    let json = common::tree_bytes(&vault, "m/latest/point.json").expect("point.json");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json.pointer("/volumes/0/volumes/0/content"), Some(&"unknown".into()));
    assert_eq!(json.pointer("/guest"), None, "nothing tells of a guest");
}
