//! The command line backs up disks, lists points, and restores what was backed up; a second backup costs what changed.

use crate::cli_support::{Sandbox, noise};
use icecore::vault::InitOptions;

#[test]
fn a_person_makes_a_vault_backs_up_and_restores() {
    let sandbox = Sandbox::empty();
    let made = sandbox.ok(&["init", "--chunk-size", "64KiB", "--level", "3"]);
    assert!(made.text().contains("64.0 KiB"), "{}", made.text());
    let mut os = noise(1, 1 << 20);
    os.extend(vec![0; 3 << 20]);
    sandbox.write("os.raw", &os);
    sandbox.write("data.raw", b"x");
    let backup = ["backup", "web01", "--disk", "os=os.raw", "--disk", "data=data.raw", "--tag", "first"];
    let ran = sandbox.ok(&[&backup[..], &["--time", "2026-11-20 02:00"]].concat());
    assert!(ran.text().starts_with("web01/2026-11-20T02-00-00Z ("), "{}", ran.text());
    for word in ["new 1.0 MiB", "stored", "deduplicated 0 B", "MB/s"] {
        assert!(ran.text().contains(word), "{word} in {}", ran.text());
    }

    // A day later one chunk of the small disk is new.
    sandbox.write("data.raw", b"y");
    let ran = sandbox.ok(&[&backup[..], &["--json", "--consistency", "application"]].concat());
    let summary = ran.json_lines().pop().expect("a summary");
    assert_eq!(summary["message_type"], "summary");
    assert_eq!((&summary["new_bytes"], &summary["total_bytes"]), (&1.into(), &((4 << 20) + 1).into()));
    // Two small segments, each with two shards of parity at least.
    assert!(summary["added_bytes"].as_u64() < Some(30_000), "{summary}");

    let points = sandbox.ok(&["points", "web01", "--json"]).json();
    assert_eq!(points.as_array().map(Vec::len), Some(2));
    assert_eq!(points[0]["point"], "2026-11-20T02-00-00Z");
    assert_eq!(points[0]["tags"], serde_json::json!(["first"]));
    assert_eq!(points[1]["consistency"], "application");
    assert_eq!(points[1]["disks"][0]["size_bytes"], 4 << 20);
    let table = sandbox.ok(&["points"]);
    assert!(table.text().contains("web01/2026-11-20T02-00-00Z") && table.text().contains("os,data"));

    let prefix = &points[0]["id"].as_str().expect("an id")[..8];
    let point = format!("web01/{prefix}");
    sandbox.ok(&["restore", &point, "--disk", "os", "--to", "os.new"]);
    assert!(std::fs::read(sandbox.path("os.new")).expect("restored") == os);
    sandbox.ok(&["restore", &point, "--disk", "data", "--to", "os.new", "--force"]);
    assert_eq!(std::fs::read(sandbox.path("os.new")).expect("restored"), b"x");

    let diff = sandbox.ok(&["diff", &point, "web01/latest", "--json"]).json();
    assert_eq!(diff["disks"][0]["differing_bytes"], 0);
    assert_eq!(diff["disks"][1]["ranges"], serde_json::json!([{"start": 0, "end": 1}]));
    assert!(sandbox.ok(&["diff", &point, "web01/latest"]).text().contains("os (4.0 MiB): equal"));

    let verify = sandbox.ok(&["verify", "--json"]).json();
    assert_eq!((&verify["clean"], &verify["points"]), (&true.into(), &2.into()));
    let stats = sandbox.ok(&["stats", "--json"]).json();
    assert_eq!((&stats["points"], &stats["protected_bytes"]), (&2.into(), &(2 * ((4 << 20) + 1)).into()));
    sandbox.ok(&["verify"]);
    sandbox.ok(&["stats"]);
    assert_eq!(sandbox.ok(&["verify", "--quiet"]).text(), "");
}

#[test]
fn a_disk_may_change_its_size_and_disks_may_come_and_go() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 100_000));
    sandbox.write("old.raw", b"old");
    let time = |hour| format!("2026-11-20 0{hour}:00");
    sandbox.ok(&["backup", "m", "--disk", "os=os.raw", "--disk", "old=old.raw", "--time", &time(1)]);
    sandbox.write("os.raw", &noise(1, 200_000));
    sandbox.ok(&["backup", "m", "--disk", "os=os.raw", "--disk", "new=old.raw", "--time", &time(2)]);
    let text = sandbox.ok(&["diff", "m/2026-11-20T01-00-00Z", "m/latest"]).text().to_owned();
    for line in
        ["old: only in m/2026-11-20T01-00-00Z", "new: only in m/2026-11-20T02-00-00Z", "os (97.7 KiB now 195.3 KiB)"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    sandbox.ok(&["restore", "m/latest", "--disk", "os", "--to", "out"]);
    assert!(std::fs::read(sandbox.path("out")).expect("restored") == noise(1, 200_000));
}

#[test]
fn quiet_prints_nothing() {
    let sandbox = Sandbox::empty();
    sandbox.write("os.raw", b"x");
    assert_eq!(sandbox.ok(&["init", "-q"]).text(), "");
    assert_eq!(sandbox.ok(&["backup", "-q", "m", "--disk", "os=os.raw"]).text(), "");
    assert_eq!(sandbox.ok(&["restore", "-q", "m/latest", "--disk", "os", "--to", "out"]).text(), "");
}

#[test]
fn two_backups_run_side_by_side() {
    let sandbox = Sandbox::with(&InitOptions { level: 19, ..InitOptions::default() });
    sandbox.write("slow.raw", &noise(1, 16 << 20));
    sandbox.write("quick.raw", b"x");
    let mut slow = sandbox.command(&["backup", "slow", "--disk", "os=slow.raw", "--quiet"]).spawn().expect("runs");
    sandbox.ok(&["backup", "quick", "--disk", "os=quick.raw"]);
    assert!(slow.try_wait().expect("asked").is_none(), "the slow one ended before the quick one");
    assert!(slow.wait().expect("ends").success());
    assert_eq!(sandbox.points(), 2);
}

#[test]
fn who_makes_a_point_that_is_not_the_latest_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"bytes");
    let backup = |time: &[&str]| sandbox.run(&[&["backup", "m", "--disk", "os=os.raw"], time].concat());
    assert_eq!(backup(&["--time", "2020-01-01"]).stderr, "");
    for (time, is) in [("1999-01-01", "is older"), ("2100-01-01", "is of a time to come")] {
        let ran = backup(&["--time", time]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let told = format!("{time}T00-00-00Z {is}; 2020-01-01T00-00-00Z stays the latest");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    }
    assert!(sandbox.ok(&["ls", "-l", "m"]).text().contains("latest -> 2020-01-01T00-00-00Z"));
}
