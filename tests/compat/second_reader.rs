//! Promise 2, for ever: what is written is what FORMAT.md says. A reader in Python that was written after that document
//! alone (`tests/second_reader`) restores the golden vault and one that was made a moment ago.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::common;
use icecore::Vault;
use icecore::backup::Progress;
use icecore::format::key_slot::Role;
use icecore::point::PointInfo;
use icecore::policy::{Machine, Policy};
use icecore::seal::{Credential, RecoveryKey};
use icecore::vault::{KeyRequest, Quota, RewriteProgress};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_reader/read_vault.py");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/golden/v1");

/// Debian's own Python, where there is one: its packages are the ones that get installed.
fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// Why the reader can't run here; `None` where it can.
fn why_not() -> Option<String> {
    let probe = Command::new(python()).args(["-c", "import argon2, cryptography, zstandard"]).output();
    match probe {
        Err(error) => Some(format!("python3 can't be started: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(said.lines().last().unwrap_or("python3 fails").to_owned())
        }
        Ok(_) => None,
    }
}

fn reader(vault: &Path, way: &[&str], verb: &[&str]) -> Output {
    // Nothing may be left in the source tree.
    let mut command = Command::new(python());
    command.arg("-B").arg(READER).arg(vault).args(way).args(verb).output().expect("python3")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// Restores a disk with the reader.
fn restored(vault: &Path, way: &[&str], machine: &str, point: &str, disk: &str) -> Vec<u8> {
    let scratch = tempfile::tempdir().expect("a directory");
    let target = scratch.path().join("disk.raw");
    let output = reader(vault, way, &["restore", machine, point, disk, target.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{machine}/{point}: {}", said(&output));
    std::fs::read(target).expect("the restored disk")
}

#[test]
fn the_golden_vault_reads_as_the_document_says() {
    if let Some(why) = why_not() {
        return common::not_run("the_golden_vault_reads_as_the_document_says", &why);
    }
    let scratch = common::scratch();
    let golden = &scratch.path().join("vault");
    common::copy_folder(Path::new(GOLDEN), golden);
    let vault = common::open(golden);
    let way = ["--password", "correct horse"];
    let mut disks = 0;
    for machine in vault.machines() {
        for point in vault.points(&machine).expect("points") {
            for disk in vault.manifest(&point).expect("a manifest").disks {
                let bytes = restored(golden, &way, &machine, &point.name, &disk.name);
                let ours = common::disk_bytes(&vault, &point, &disk.name).expect("a disk");
                common::assert_same(&bytes, &ours, &format!("{machine}/{}/{}", point.name, disk.name));
                disks += 1;
            }
        }
    }
    assert_eq!(disks, 4);
}

#[test]
fn a_vault_of_today_reads_as_the_document_says_with_any_key() {
    if let Some(why) = why_not() {
        return common::not_run("a_vault_of_today_reads_as_the_document_says_with_any_key", &why);
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("vault");
    let vault = common::init(&path, &common::protected());
    let key = scratch.path().join("key");
    std::fs::write(&key, common::noise(4, 64)).expect("a key file");
    let credential = Credential::key_file(common::noise(4, 64)).expect("long enough");
    vault.add_key(Role::Restore, &credential, common::CHEAP).expect("a slot");
    vault.add_key(Role::Backup, &Credential::password(*b"backup only"), common::CHEAP).expect("a slot");
    vault.set_quota(None, Quota { warn_bytes: 5 << 20, hard_bytes: 1 << 40 }).expect("set");
    vault.set_quota(Some("web01"), Quota { warn_bytes: 0, hard_bytes: 7 << 20 }).expect("set");
    vault.set_quota(Some("gone"), Quota { warn_bytes: 1, hard_bytes: 0 }).expect("set");
    vault.set_quota(Some("gone"), Quota::default()).expect("taken away");
    // Two levels of the map, zeros, what compresses and what does not, an odd end.
    let bytes = [common::text(1, 30_000), vec![0; 3 << 20], common::noise(2, 9001)].concat();
    let mut changed = bytes.clone();
    changed[5000..5010].copy_from_slice(b"0123456789");
    let [point, newer] = [("2026-11-19T02:00:00Z", &bytes), ("2026-11-20T02:00:00Z", &changed)]
        .map(|(time, bytes)| backup(&vault, time, bytes));
    let key = ["--key-file", key.to_str().expect("UTF-8")];
    assert!(restored(&path, &["--password", "correct horse"], "web01", &point.name, "os") == bytes);
    assert!(restored(&path, &key, "web01", &newer.name, "os") == changed);

    let quotas = reader(&path, &key, &["quotas"]);
    assert_eq!(said(&quotas), "(vault) 5242880 1099511627776\nweb01 0 7340032\n");

    // A key of the role `backup` sees the points and opens no chunk, whoever tries.
    let backup_only = ["--password", "backup only"];
    let listed = reader(&path, &backup_only, &["points"]);
    assert!(listed.status.success() && said(&listed).lines().count() == 2, "{}", said(&listed));
    let target = scratch.path().join("none");
    let target = target.to_str().expect("UTF-8");
    let refused = reader(&path, &backup_only, &["restore", "web01", &point.name, "os", target]);
    assert!(!refused.status.success() && said(&refused).contains("reads no data"), "{}", said(&refused));
    // So does it the policies and machines, signed as they must be.
    let policy = Policy::new("daily=7".parse().expect("a retention"));
    vault.set_policy("gold", &policy).expect("set");
    vault.set_policy("gone", &policy).expect("set");
    let disks = [("os".to_owned(), "/images/os.raw".into())].into();
    let machine = Machine { disks, policy: Some("gold".to_owned()), ..Machine::default() };
    vault.set_machine("web01", &machine).expect("set");
    vault.remove_policy("gone").expect("removed");
    let read = said(&reader(&path, &backup_only, &["documents"]));
    let expected = "policy gold {\"consistency\": \"crash\", \"retention\": \"daily=7\", \"timeZone\": \"UTC\", \"version\": 1}\n\
                    machine web01 {\"disks\": {\"os\": \"/images/os.raw\"}, \"policy\": \"gold\", \"version\": 1}\n";
    assert_eq!(read, expected);
    let wrong = reader(&path, &["--password", "wrong"], &["points"]);
    assert!(!wrong.status.success() && said(&wrong).contains("no key slot opens"), "{}", said(&wrong));
}

fn backup(vault: &Vault, time: &str, bytes: &[u8]) -> Arc<PointInfo> {
    let mut request = common::memory_request("web01", &[("os", bytes)]);
    request.time = Some(time.parse().expect("a time"));
    vault.backup(&request, &Progress::default()).expect("a backup").point
}

#[test]
fn a_vault_whose_keys_were_rotated_and_whose_segments_moved_reads_as_the_document_says() {
    if let Some(why) = why_not() {
        let name = "a_vault_whose_keys_were_rotated_and_whose_segments_moved_reads_as_the_document_says";
        return common::not_run(name, &why);
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("vault");
    let vault = common::init(&path, &common::small());
    let words = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
                 winner thank year wave sausage worth title";
    let recovery = RecoveryKey::from_words(words).expect("24 words").credential();
    let request =
        KeyRequest { role: Role::Restore, credential: recovery, cost: common::CHEAP, label: "safe".to_owned() };
    vault.add(&request).expect("a slot");
    let [first, second, third] = [1, 2, 3].map(|seed| [common::noise(seed, 900_000), common::text(9, 5000)].concat());
    let one = backup(&vault, "2026-11-19T02:00:00Z", &first);
    let (vault, _) = vault.rotate_keys(false).expect("rotated");
    let two = backup(&vault, "2026-11-20T02:00:00Z", &second);
    let way = ["--recovery", &"7f".repeat(32)];
    assert!(restored(&path, &way, "web01", &one.name, "os") == first);
    assert!(restored(&path, &way, "web01", &two.name, "os") == second);
    let (vault, _) = vault.rotate_keys(true).expect("rotated");
    vault.rewrite(&RewriteProgress::default()).expect("rewritten");
    let three = backup(&vault, "2026-11-21T02:00:00Z", &third);
    for (point, bytes) in [(one, first), (two, second), (three, third)] {
        assert!(restored(&path, &way, "web01", &point.name, "os") == bytes, "{}", point.name);
    }
}

#[test]
fn what_follows_from_known_secrets_is_what_the_document_says() {
    if let Some(why) = why_not() {
        return common::not_run("what_follows_from_known_secrets_is_what_the_document_says", &why);
    }
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_reader/check_vectors.py");
    let check = |text: &str| {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("vectors.json");
        std::fs::write(&path, text).expect("written");
        Command::new(python()).args(["-B", checker]).arg(path).output().expect("python3")
    };
    let vectors = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vectors/v1.json"));
    let vectors = vectors.expect("the vectors");
    let right = check(&vectors);
    assert!(right.status.success() && said(&right).contains("contexts"), "{}", said(&right));
    // A key, an associated data and a context that are others.
    for (part, other) in
        [("\"key\": \"", "\"key\": \"00"), ("\"bound\": \"49", "\"bound\": \"48"), ("meta payloads", "meta")]
    {
        assert!(vectors.contains(part), "{part}");
        assert!(!check(&vectors.replacen(part, other, 1)).status.success(), "{part}");
    }
}
