//! Promise 2, for ever: a vault that version 1 of the format wrote is read by every program that comes after.
//!
//! The vault in `fixtures/golden/v1` was made by `ICECORE_MAKE_GOLDEN=1 cargo test --test compat v1::`, which refuses to
//! replace one that is there.

use std::path::{Path, PathBuf};

use crate::common;
use icecore::Vault;
use icecore::backup::Progress;
use icecore::format::key_slot::Role;
use icecore::point::Until;
use icecore::seal::{Credential, RecoveryKey};
use icecore::vault::{GcOptions, GcProgress, InitOptions, OpenOptions, SoftDelete, VerifyProgress};

/// One disk of a point in the golden vault.
struct Golden {
    machine: &'static str,
    time: &'static str,
    disk: &'static str,
    bytes: Vec<u8>,
}

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/v1")
}

/// What is in it. Text compresses, noise does not, zeros are not stored, and no size is a multiple of the chunk's.
fn contents() -> Vec<Golden> {
    let os = [common::text(1, 40_000), vec![0; 3 << 20], common::noise(2, 9_001)].concat();
    let mut next_day = os.clone();
    next_day[20_000..20_010].copy_from_slice(b"0123456789");
    let golden = |machine, time, disk, bytes| Golden { machine, time, disk, bytes };
    vec![
        golden("web01", "2026-11-19T02:00:00Z", "os", os),
        golden("web01", "2026-11-20T02:00:00Z", "os", next_day),
        golden("db", "2026-11-20T03:00:00Z", "data", common::text(3, 70_000)),
    ]
}

fn key_file() -> Credential {
    Credential::key_file(common::noise(4, 64)).expect("long enough")
}

fn recovery() -> Credential {
    let words = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
                 winner thank year wave sausage worth title";
    RecoveryKey::from_words(words).expect("24 words").credential()
}

fn make(path: &Path) {
    let mut vault = common::init(path, &InitOptions { label: "golden".to_owned(), ..common::protected() });
    vault.add_key(Role::Restore, &key_file(), common::CHEAP).expect("a key file's slot");
    vault.add_key(Role::Backup, &Credential::password(*b"backup only"), common::CHEAP).expect("a backup slot");
    vault.add_key(Role::Restore, &recovery(), common::CHEAP).expect("a recovery key's slot");
    let scratch = tempfile::tempdir().expect("tempdir");
    for golden in contents() {
        let image = scratch.path().join("disk.raw");
        std::fs::write(&image, &golden.bytes).expect("image");
        let mut request = common::request(golden.machine, &[(golden.disk, &image)]);
        request.time = Some(golden.time.parse().expect("a time"));
        request.tags = vec!["golden".to_owned()];
        vault.backup(&request, &Progress::default()).expect("backup");
        if golden.machine == "db" {
            let point = vault.points("db").expect("points").remove(0);
            vault.protect(&point, Some(Until::Ever), "golden").expect("protected");
        }
        if golden.time.starts_with("2026-11-19") {
            // The days after are under the keys of another epoch.
            vault = vault.rotate_keys(false).expect("rotated").0;
        }
    }
    // Points that were forgotten: one that can be brought back, one that was, and one that is purged.
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let points: Vec<_> = (5..8)
        .map(|day| {
            let mut request = common::memory_request("old", &[("os", &common::text(day, 9000))]);
            request.time = Some(format!("2026-11-0{day}T02:00:00Z").parse().expect("a time"));
            vault.backup(&request, &Progress::default()).expect("backup").point
        })
        .collect();
    vault.forget(&points[0], "golden", false).expect("forgotten");
    vault.gc(&GcOptions::default(), &GcProgress::default()).expect("purged");
    let ever = SoftDelete { grace_seconds: 36_500 * 86_400, locked_until_unix_seconds: i64::MAX };
    vault.set_soft_delete(ever).expect("set");
    vault.forget(&points[1], "golden", false).expect("forgotten");
    vault.undelete("old", &points[1].id).expect("brought back");
    vault.forget(&points[1], "golden, again", false).expect("forgotten");
    vault.forget(&points[2], "golden", true).expect("forgotten");
    vault.undelete("old", &points[2].id).expect("brought back");
}

fn assert_whole(vault: &Vault) {
    for golden in contents() {
        let name = golden.time.replace(':', "-");
        let point = vault.point(golden.machine, &name).expect("the point is listed");
        let disk = vault.disk(&point, golden.disk).expect("its disk is there");
        let mut bytes = vec![1; golden.bytes.len() + 1];
        assert_eq!(disk.read(0, &mut bytes).expect("its bytes are readable"), golden.bytes.len());
        assert!(bytes[..golden.bytes.len()] == golden.bytes, "{}/{name} differs", golden.machine);
    }
}

#[test]
fn a_vault_of_version_1_is_readable() {
    let path = golden_path();
    if std::env::var_os("ICECORE_MAKE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        make(&path);
    }
    // A check notes when it was made: in a copy, the golden one stays as it is.
    let scratch = common::scratch();
    let copy = scratch.path().join("vault");
    common::copy_folder(&path, &copy);
    for credential in [common::password(), key_file(), recovery()] {
        let vault = Vault::open(&copy, &credential, &OpenOptions::default()).expect("the golden vault opens");
        assert_eq!(vault.machines(), ["db", "old", "web01"]);
        let forgotten = vault.forgotten("old");
        let reasons: Vec<_> = forgotten.iter().filter_map(|point| Some(&point.forgotten.as_ref()?.reason)).collect();
        assert_eq!(reasons, ["golden, again"]);
        assert_eq!(vault.points("old").expect("points").len(), 1);
        assert_eq!(vault.points("db").expect("points")[0].protected, Some(Until::Ever));
        assert_eq!(vault.soft_delete().expect("set").locked_until_unix_seconds, i64::MAX);
        assert_whole(&vault);
        let report = vault.verify(&VerifyProgress::default()).expect("verify runs");
        assert!(report.is_clean(), "{:?} {:?}", report.damage, report.hit);
    }
}
