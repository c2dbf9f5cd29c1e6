//! Promise 3: `icecore repair` says what can be had again before it does it, and how that ended.

use std::path::PathBuf;

use crate::cli_support::{Ran, Sandbox, noise};
use serde_json::Value;

/// A vault with two points of a machine, `copy`, and the disk as it was last backed up.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for seed in [1, 2] {
        sandbox.write("os.raw", &noise(seed, 1_500_000));
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw"]);
    }
    copy(&sandbox, "vault", "copy");
    sandbox
}

fn copy(sandbox: &Sandbox, from: &str, to: &str) {
    let copied = std::process::Command::new("cp").arg("-r").args([sandbox.path(from), sandbox.path(to)]).status();
    assert!(copied.expect("cp").success());
}

/// The largest segments, broken in a payload.
fn damage(sandbox: &Sandbox, vault: &str, count: usize) -> Vec<PathBuf> {
    let segments = std::fs::read_dir(sandbox.path(vault).join("segments")).expect("list");
    let mut files: Vec<PathBuf> = segments.map(|entry| entry.expect("entry").path()).collect();
    files.sort_by_key(|path| std::cmp::Reverse(path.metadata().expect("stat").len()));
    files.truncate(count);
    for file in &files {
        let mut bytes = std::fs::read(file).expect("segment");
        bytes[400] ^= 1;
        std::fs::write(file, bytes).expect("damage");
    }
    files
}

fn keyless(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    Ran::of(command.env_remove("ICECORE_PASSWORD_FILE").output().expect("the binary runs"))
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let sandbox = sandbox();
    let ran = sandbox.ok(&["repair"]);
    assert!(ran.text().contains("nothing is damaged") && ran.text().contains("and 2 points"), "{}", ran.text());
    let segment = damage(&sandbox, "vault", 1).remove(0);
    let damaged = std::fs::read(&segment).expect("segment");
    let name = segment.file_name().expect("name").to_string_lossy().into_owned();

    let ran = sandbox.run(&["repair"]);
    let told = ran.failed(1, &["repair"]);
    assert!(told.contains("nothing of it can be had again from here") && told.contains("--from"), "{told}");
    assert!(ran.text().contains("stays lost: web/"), "{}", ran.text());

    let ran = sandbox.run(&["repair", "--from", "copy"]);
    let told = ran.failed(1, &["repair"]);
    assert!(told.contains("all that points need can be had again; nothing was changed; add --write"), "{told}");
    assert!(ran.text().contains(&format!("segments/{name} is damaged: can be made whole (")), "{}", ran.text());
    assert!(ran.text().contains("can be read again: web/"), "{}", ran.text());
    assert_eq!(std::fs::read(&segment).expect("segment"), damaged);

    let ran = sandbox.run(&["repair", "--from", "copy", "--json"]);
    let plan = ran.json_lines().pop().expect("a plan");
    assert_eq!((ran.code, &plan["message_type"], &plan["write"]), (1, &"plan".into(), &false.into()));
    assert_eq!(plan["mended"][0]["object"], format!("segments/{name}"));
    assert_eq!((&plan["ends_whole"], plan["lost"].as_array().map(Vec::len)), (&true.into(), Some(0)));
}

#[test]
fn it_is_done_with_write() {
    let sandbox = sandbox();
    damage(&sandbox, "vault", 2);
    let ran = sandbox.ok(&["repair", "--from", "copy", "--write"]);
    assert!(ran.text().contains("made 2 segments whole ("), "{}", ran.text());
    sandbox.ok(&["verify"]);
    damage(&sandbox, "vault", 1);
    let ran = sandbox.ok(&["repair", "--from", "copy", "--write", "--json"]);
    let summary = ran.json_lines().pop().expect("a summary");
    assert_eq!((&summary["message_type"], &summary["mended"]), (&"summary".into(), &1.into()));
    assert_eq!(summary["whole"], true);
    assert_eq!(sandbox.ok(&["repair", "--quiet", "--write"]).text(), "");
}

#[test]
fn a_storage_server_needs_no_key() {
    let sandbox = sandbox();
    damage(&sandbox, "vault", 2);
    assert_eq!(keyless(&sandbox, &["repair"]).code, 2, "without the wish a key is asked for");
    let ran = keyless(&sandbox, &["repair", "--no-key", "--from", "copy"]);
    assert!(ran.failed(1, &["repair"]).contains("add --write"));
    let ran = keyless(&sandbox, &["repair", "--no-key", "--from", "copy", "--write"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.text().contains("No key was used"), "{}", ran.text());
    assert_eq!(keyless(&sandbox, &["verify", "--scrub"]).code, 0);
    sandbox.ok(&["verify"]);
    for wrong in [vec!["--no-key", "--adopt"], vec!["--no-key", "--from-disk", "os=os.raw"], vec!["--machine", "web"]] {
        sandbox.fails(2, &[&["repair"], wrong.as_slice()].concat());
    }
}

#[test]
fn a_disk_brings_back_a_part_and_the_rest_is_told() {
    let sandbox = sandbox();
    damage(&sandbox, "vault", 4);
    let ran = sandbox.run(&["repair", "--from-disk", "os=os.raw", "--machine", "web", "--write"]);
    let told = ran.failed(3, &["repair"]);
    assert!(told.contains("stay") && told.contains("what was repaired is safe"), "{told}");
    assert!(ran.text().contains("from disks") && ran.text().contains("stays lost: web/"), "{}", ran.text());
    let latest = format!("web/{}", sandbox.latest("web"));
    sandbox.ok(&["restore", &latest, "--disk", "os", "--to", "back.raw"]);
    assert_eq!(std::fs::read(sandbox.path("back.raw")).expect("restored"), noise(2, 1_500_000));
    // The damaged segment of the newest point stays; a check says that nobody needs it, and the other's is lost.
    let ran = sandbox.run(&["verify", "--json"]);
    let summary = ran.json_lines().pop().expect("a summary");
    let count = |value: &Value| value.as_array().map_or(0, Vec::len);
    assert!(count(&summary["spare"]) > 0 && count(&summary["hit"]) > 0, "{summary}");
}

#[test]
fn what_no_point_needs_any_more_is_no_damage() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 1_500_000));
    sandbox.ok(&["backup", "web", "--disk", "os=os.raw"]);
    damage(&sandbox, "vault", 1);
    let told = sandbox.fails(1, &["verify"]);
    assert!(told.contains("see what can be had again with `icecore repair`"), "{told}");
    sandbox.ok(&["repair", "--from-disk", "os=os.raw", "--write"]);
    let ran = sandbox.ok(&["verify"]);
    assert!(ran.text().contains("no point needs it any more: damaged: segments/"), "{}", ran.text());
    let ran = sandbox.ok(&["repair"]);
    assert!(ran.text().contains("no point needs what is damaged there"), "{}", ran.text());
}

#[test]
fn wrong_copies_are_told_as_such() {
    let sandbox = sandbox();
    let told = sandbox.fails(2, &["repair", "--from", "vault"]);
    assert!(told.contains("it is the vault itself") && told.contains("nothing was changed"), "{told}");
    let told = sandbox.fails(10, &["repair", "--from", "nowhere"]);
    assert!(told.contains("no vault at nowhere"), "{told}");
    std::fs::remove_dir_all(sandbox.path("vault")).expect("removed");
    sandbox.fails(10, &["repair"]);
    let told = sandbox.fails(1, &["repair", "--from", "copy", "--from-disk", "os=absent.raw"]);
    assert!(told.contains("absent.raw"), "{told}");
}

#[test]
fn a_catalog_that_is_gone_is_told_until_its_points_are_entered() {
    let sandbox = sandbox();
    std::fs::remove_dir_all(sandbox.path("vault/catalog")).expect("removed");
    let told = sandbox.run(&["repair", "--write"]).failed(3, &["repair"]);
    assert!(told.contains("the catalog lists no point") && told.contains("--adopt --write"), "{told}");
    assert!(sandbox.run(&["repair"]).failed(1, &["repair"]).contains("--adopt --write"));
    sandbox.ok(&["repair", "--adopt", "--write"]);
    // The chain is another now, which whoever saw the old one is told.
    std::fs::remove_dir_all(sandbox.path("state")).expect("removed");
    assert_eq!(sandbox.points(), 2);
    sandbox.ok(&["repair"]);
}

#[test]
fn without_a_key_only_what_is_asked_for_comes_out_of_a_copy() {
    let sandbox = sandbox();
    let largest = damage(&sandbox, "vault", 1).remove(0);
    std::fs::remove_file(&largest).expect("removed");
    let ran = keyless(&sandbox, &["repair", "--no-key", "--from", "copy", "--write"]);
    assert!(ran.text().contains("1 segment or newest entry is in a copy and not here"), "{}", ran.text());
    assert!(!largest.exists());
    sandbox.fails(2, &["repair", "--gone"]);
    let ran = keyless(&sandbox, &["repair", "--no-key", "--gone", "--from", "copy", "--write"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    sandbox.ok(&["verify"]);
}
