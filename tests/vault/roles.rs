//! Promise 4: the backup role adds points and deduplicates, and reads no data; restore reads; nobody else reads anything.

use crate::common;
use icecore::backup::Progress;
use icecore::format::key_slot::Role;
use icecore::seal::Credential;
use icecore::vault::OpenOptions;
use icecore::{Error, ErrorKind, Vault};

fn refused<T>(outcome: icecore::Result<T>) {
    match outcome {
        Err(Error::NotPermitted { .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was permitted"),
    }
}

#[test]
fn the_backup_role_writes_deduplicates_and_reads_nothing() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let credential = Credential::key_file(common::noise(5, 32)).expect("key file");
    admin.add_key(Role::Backup, &credential, common::CHEAP).expect("add");
    let mut bytes = common::noise(1, 3 << 20);
    let first = common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("by the admin").point;

    let vault = Vault::open(&path, &credential, &OpenOptions::default()).expect("open");
    let unchanged = common::backup_bytes(&vault, "m", &[("os", &bytes)]).expect("by the backup role");
    assert!(unchanged.added_bytes < 4096, "{} bytes", unchanged.added_bytes);
    bytes[2_000_000] ^= 1;
    let changed = vault.backup(&common::memory_request("m", &[("os", &bytes)]), &Progress::default()).expect("backup");
    assert_eq!(changed.manifest.disks[0].new_bytes, 4096);

    // Not even what it stored itself a moment ago.
    for point in [&first, &changed.point] {
        refused(common::disk_bytes(&vault, point, "os"));
        refused(common::restored(&vault, point, "os"));
        refused(common::tree_bytes(&vault, &format!("m/{}/disks/os.raw", point.name)));
        refused(common::tree_names(&vault, &format!("m/{}/files/os", point.name)));
    }
    assert_eq!(vault.diff((&first, "os"), (&changed.point, "os")).expect("maps are no data").len(), 1);
    assert_eq!(vault.stats().expect("stats").points, 3);
    let report = common::verify(&vault);
    assert!(report.is_clean() && !report.data_opened);
    let json = common::tree_bytes(&vault, "m/latest/point.json").expect("what a point is may be seen");
    assert!(String::from_utf8_lossy(&json).contains(&changed.point.id));

    let reader = common::open(&path);
    common::assert_same(
        &common::restored(&reader, &changed.point, "os").expect("restore"),
        &bytes,
        "its work is right",
    );
    assert!(common::verify(&reader).is_clean());
}

#[test]
fn the_restore_role_reads_and_manages_no_keys() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let admin = common::init(&path, &common::small());
    let credential = Credential::password(*b"restore only");
    admin.add_key(Role::Restore, &credential, common::CHEAP).expect("add");
    let bytes = common::text(1, 500_000);
    common::backup_bytes(&admin, "m", &[("os", &bytes)]).expect("backup");
    let vault = Vault::open(&path, &credential, &OpenOptions::default()).expect("open");
    let point = vault.point("m", "latest").expect("point");
    common::assert_same(&common::restored(&vault, &point, "os").expect("restore"), &bytes, "restored");
    let refused = vault.add_key(Role::Backup, &common::password(), common::CHEAP).expect_err("no admin");
    assert_eq!(refused.kind(), ErrorKind::KeyHolder);
}

#[test]
fn no_file_of_a_vault_shows_content_or_names() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let vault = common::init(&path, &common::small());
    let secret = b"a secret that does not compress: 8f3k2";
    let mut request = common::memory_request("machine-of-secrets", &[("disk-of-secrets", secret)]);
    request.tags = vec!["tag-of-secrets".to_owned()];
    vault.backup(&request, &Progress::default()).expect("backup");
    let id = vault.point("machine-of-secrets", "latest").expect("point").id.clone();
    let needles: [&[u8]; 3] = [b"of-secrets", b"a secret that", id.as_bytes()];
    for file in common::files(&path) {
        let bytes = std::fs::read(&file).expect("read");
        for needle in needles {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", file.display());
        }
        assert!(!file.to_string_lossy().contains("secret"));
    }
}
