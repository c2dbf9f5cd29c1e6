//! Promise 3: with --salvage every verb reads what is left, and without it errors say so.

use crate::cli_support::mounting;
use crate::cli_support::{Sandbox, noise};

const VERBS: [&str; 8] = ["points", "ls", "cat", "cp", "find", "restore", "mount", "verify"];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for seed in [1, 2] {
        sandbox.write("os.raw", &noise(seed, 1_500_000));
        // Of points of one second, nothing tells without the catalog which is the newer.
        let time = format!("2026-11-2{seed} 02:00");
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw", "--time", &time]);
    }
    sandbox
}

fn lose_headers(sandbox: &Sandbox) {
    for name in ["vault/header", "vault/header-copy"] {
        std::fs::remove_file(sandbox.path(name)).expect("removed");
    }
}

/// Breaks a stretch of the largest segment.
fn damage(sandbox: &Sandbox) {
    let segments = std::fs::read_dir(sandbox.path("vault/segments")).expect("list");
    let files = segments.map(|entry| entry.expect("entry").path());
    let largest = files.max_by_key(|path| path.metadata().expect("stat").len()).expect("a segment");
    let mut bytes = std::fs::read(&largest).expect("segment");
    bytes[300_000..400_000].fill(0);
    std::fs::write(&largest, bytes).expect("damage");
}

#[test]
fn every_verb_that_reads_has_it() {
    let sandbox = Sandbox::empty();
    for verb in VERBS {
        assert!(sandbox.ok(&[verb, "--help"]).text().contains("--salvage"), "{verb}");
    }
    for verb in ["backup", "init", "key", "stats"] {
        assert!(!sandbox.ok(&[verb, "--help"]).text().contains("--salvage"), "{verb}");
    }
}

#[test]
fn a_vault_without_headers_is_read_and_rebuilt() {
    let sandbox = sandbox();
    let listed = sandbox.ok(&["points"]).text().to_owned();
    let point = format!("web/{}", sandbox.latest("web"));
    lose_headers(&sandbox);
    let told = sandbox.fails(1, &["points"]);
    assert!(told.contains("`icecore repair`") && told.contains("--salvage"), "{told}");
    assert_eq!(sandbox.ok(&["points", "--salvage"]).text(), listed);
    let raw = format!("{point}/disks/os.raw");
    assert_eq!(sandbox.ok(&["cat", "--salvage", &raw]).stdout, noise(2, 1_500_000));
    assert!(sandbox.ok(&["ls", "--salvage", "web"]).text().contains("latest"));
    assert!(sandbox.ok(&["find", "--salvage", "web", "*.raw"]).text().contains("os.raw"));
    sandbox.ok(&["cp", "--salvage", &raw, "copied.raw"]);
    sandbox.ok(&["restore", "--salvage", &point, "--disk", "os", "--to", "back.raw"]);
    assert_eq!(std::fs::read(sandbox.path("back.raw")).expect("restored"), noise(2, 1_500_000));
    let told = sandbox.fails(1, &["verify", "--salvage"]);
    assert!(told.contains("2 of 2 points are whole"), "{told}");
    sandbox.ok(&["repair", "--write"]);
    sandbox.ok(&["verify"]);
    assert_eq!(sandbox.ok(&["points"]).text(), listed);
}

#[test]
fn points_that_the_catalog_lost_are_listed_apart() {
    let sandbox = sandbox();
    std::fs::remove_dir_all(sandbox.path("vault/catalog")).expect("removed");
    let ran = sandbox.run(&["points"]);
    assert!(ran.code == 0 && ran.text().contains("--salvage"), "{}", ran.text());
    assert!(ran.stderr.contains("the newest are gone"), "what this user saw of the vault tells too: {}", ran.stderr);
    std::fs::remove_dir_all(sandbox.path("state")).expect("what was seen");
    let told = sandbox.fails(1, &["points", "web"]);
    assert!(told.contains("--salvage"), "{told}");
    let ran = sandbox.run(&["points", "--salvage"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.text().matches("(no catalog entry)").count(), 2, "{}", ran.text());
    assert!(ran.stderr.contains("2 points were found in segments without a catalog entry"), "{}", ran.stderr);
    let json = sandbox.run(&["points", "--salvage", "--json"]);
    assert_eq!(json.json()[0]["in_catalog"], false);
    let ran = sandbox.run(&["cat", "--salvage", "web/latest/disks/os.raw"]);
    assert_eq!((ran.code, ran.stdout), (0, noise(2, 1_500_000)));
    let ran = sandbox.run(&["repair"]);
    assert!(ran.text().contains("has no catalog entry") && ran.text().contains("--adopt"), "{}", ran.text());
    let ran = sandbox.ok(&["repair", "--adopt", "--write"]);
    assert!(ran.text().contains("entered 2 points into the catalog"), "{}", ran.text());
    assert_eq!(sandbox.points(), 2);
}

#[test]
fn ranges_that_are_lost_are_zeros_and_told() {
    let sandbox = sandbox();
    damage(&sandbox);
    let summary = sandbox.run(&["verify", "--json"]).json_lines().pop().expect("a summary");
    let hits = summary["hit"].as_array().expect("hits");
    let name = hits[0]["point"].as_str().expect("a point");
    let point = format!("web/{name}");
    let mut expected = noise(if sandbox.latest("web") == name { 2 } else { 1 }, 1_500_000);
    let mut ranges = Vec::new();
    for hit in hits.iter().filter(|hit| hit["point"] == name) {
        let [start, end] = ["start", "end"].map(|which| hit[which].as_u64().expect("a number"));
        expected[start as usize..end as usize].fill(0);
        ranges.push((start, end));
    }

    let told = sandbox.fails(1, &["restore", &point, "--disk", "os", "--to", "back.raw"]);
    assert!(told.contains("add --salvage") && told.contains("no partial file was left"), "{told}");
    let ran = sandbox.run(&["restore", &point, "--disk", "os", "--to", "back.raw", "--salvage", "--json"]);
    assert_eq!(ran.code, 3);
    let summary = ran.json_lines().pop().expect("a summary");
    let lost = summary["lost"].as_array().expect("ranges");
    assert_eq!(lost.len(), ranges.len());
    assert!(lost.iter().zip(&ranges).all(|(lost, (start, end))| lost["start"] == *start && lost["end"] == *end));
    assert!(std::fs::read(sandbox.path("back.raw")).expect("restored") == expected);

    let raw = format!("{point}/disks/os.raw");
    let line = format!("{raw} bytes {}..{} are lost and are zeros here", ranges[0].0, ranges[0].1);
    sandbox.fails(1, &["cat", &raw]);
    let ran = sandbox.run(&["cat", "--salvage", &raw]);
    assert_eq!(ran.code, 3);
    assert!(ran.stdout == expected && ran.stderr.contains(&line), "{}", ran.stderr);
    let told = sandbox.fails(1, &["cp", &raw, "copied.raw"]);
    assert!(told.contains("add --salvage"), "{told}");
    let ran = sandbox.run(&["cp", "--salvage", &raw, "copied.raw"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains(&line) && ran.text().contains("1 with zeros where bytes are lost"), "{}", ran.text());
    assert!(std::fs::read(sandbox.path("copied.raw")).expect("copied") == expected);
}

#[test]
fn a_mount_shows_what_is_left() {
    let Some(sandbox) = mounting::sandbox("a_mount_shows_what_is_left") else { return };
    let lost = noise(3, 2_000_000);
    sandbox.write("os.raw", &lost);
    // By one worker, so that chunks lie in their order: what is damaged is not at the beginning.
    let arguments = ["backup", "db", "--disk", "os=os.raw", "--time", "2026-11-21 02:00", "--workers", "1"];
    sandbox.ok(&arguments);
    lose_headers(&sandbox);
    std::fs::remove_dir_all(sandbox.path("vault/catalog")).expect("removed");
    damage(&sandbox);
    let told = sandbox.fails(1, &["mount", "points"]);
    assert!(told.contains("--salvage") && told.contains("nothing was mounted"), "{told}");
    let mounted = sandbox.run(&["mount", "points", "--salvage", "--log", "log"]);
    assert_eq!(mounted.code, 0, "{}", mounted.stderr);
    assert!(mounted.stderr.contains("2 points were found in segments without a catalog entry"), "{}", mounted.stderr);
    let read = |path: &str| std::fs::read(sandbox.path("points").join(path));
    let (whole, broken) = (read("web01/latest/disks/os.raw"), read("db/latest/disks/os.raw"));
    let mut piece = vec![0; 200_000];
    let file = std::fs::File::open(sandbox.path("points/db/2026-11-21T02-00-00Z/disks/os.raw")).expect("open");
    let first = std::os::unix::fs::FileExt::read_exact_at(&file, &mut piece, 0);
    drop(file);
    sandbox.ok(&["umount", "points"]);
    assert!(whole.expect("a disk") == noise(1, 300_000));
    assert_eq!(broken.expect_err("a part is lost").raw_os_error(), Some(5));
    assert!(first.is_ok() && piece == lost[..200_000], "what is before it is not");
    assert!(!sandbox.path("vault/header").exists() && !sandbox.path("vault/catalog").exists(), "nothing is written");
    assert!(mounting::logged(&sandbox).contains("damaged"));
}
