//! Promise 3: `icecore verify` tells a person and a program what was checked, what was not, and what is damaged.

use std::path::PathBuf;

use crate::cli_support::{Ran, Sandbox, noise};
use serde_json::Value;

/// A vault with two points and several segments.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for seed in [1, 2] {
        sandbox.write("os.raw", &noise(seed, 1_500_000));
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw"]);
    }
    sandbox
}

/// The binary without any way to a password.
fn keyless(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    Ran::of(command.env_remove("ICECORE_PASSWORD_FILE").output().expect("the binary runs"))
}

/// The largest segment, broken in its first payload.
fn damage(sandbox: &Sandbox) -> PathBuf {
    let segments = std::fs::read_dir(sandbox.path("vault/segments")).expect("list");
    let files = segments.map(|entry| entry.expect("entry").path());
    let largest = files.max_by_key(|path| path.metadata().expect("stat").len()).expect("a segment");
    let mut bytes = std::fs::read(&largest).expect("segment");
    bytes[400] ^= 1;
    std::fs::write(&largest, bytes).expect("damage");
    largest
}

#[test]
fn a_scrub_asks_for_no_key() {
    let sandbox = sandbox();
    assert_eq!(keyless(&sandbox, &["verify"]).code, 2, "a check with keys does");
    let ran = keyless(&sandbox, &["verify", "--scrub"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.text().starts_with("scrubbed ") && ran.text().contains("No key was used"), "{}", ran.text());
    assert_eq!(keyless(&sandbox, &["verify", "--scrub", "--quiet"]).text(), "");

    let segment = damage(&sandbox);
    let ran = keyless(&sandbox, &["verify", "--scrub"]);
    let told = ran.failed(1, &["verify", "--scrub"]);
    assert!(told.contains("run `icecore verify` with a key"), "{told}");
    let name = segment.file_name().expect("name").to_string_lossy().into_owned();
    assert!(ran.text().starts_with(&format!("damaged: segments/{name} at byte 192: ")), "{}", ran.text());

    let ran = keyless(&sandbox, &["verify", "--scrub", "--json"]);
    let summary = ran.json_lines().pop().expect("a summary");
    assert_eq!((ran.code, &summary["scrub"], &summary["clean"]), (1, &true.into(), &false.into()));
    assert_eq!(summary["damage"].as_array().map(Vec::len), Some(1));
    assert_eq!(summary["segments_left"], 0);
    assert_eq!(sandbox.fails(10, &["verify", "--scrub", "--vault", "nowhere"]).matches("no vault").count(), 1);
}

#[test]
fn a_part_says_what_it_left() {
    let sandbox = sandbox();
    let summary = |arguments: &[&str]| sandbox.ok(arguments).json_lines().pop().expect("a summary");
    let number = |value: &Value| value.as_u64().expect("a number");
    assert!(sandbox.ok(&["stats"]).text().contains("never"), "nothing was checked yet");
    let first = summary(&["verify", "--max-time", "0s", "--json"]);
    let all = number(&first["segments_in_vault"]);
    assert!(all >= 4, "{all} segments");
    assert_eq!((&first["segments"], &first["time_is_up"], &first["clean"]), (&1.into(), &true.into(), &true.into()));
    assert_eq!((number(&first["segments_left"]), number(&first["never_checked"])), (all - 1, all - 1));
    assert_eq!((&first["oldest_check"], &first["remembered"]), (&Value::Null, &true.into()));
    assert_eq!(first["points"], 2, "all maps are walked");
    assert!(number(&first["chunks_located"]) > 0);

    let ran = sandbox.ok(&["verify", "--max-time", "0s"]);
    let lines: Vec<&str> = ran.text().lines().collect();
    assert!(lines[0].starts_with(&format!("checked 1 of {all} segments (")), "{lines:?}");
    assert!(lines[1].contains(" were read, ") && lines[1].ends_with(" only located"), "{lines:?}");
    assert!(lines[2].starts_with("the time was up; oldest check of the rest: 20"), "{lines:?}");
    assert!(lines[2].ends_with(&format!("; never checked: {}", all - 2)), "{lines:?}");
    assert!(sandbox.ok(&["stats"]).text().contains(&format!("2 of {all} segments, the longest ago 20")));

    let parts: u64 = ["1/2", "2/2"]
        .map(|part| number(&summary(&["verify", "--subset", part, "--max-time", "1h", "--json"])["segments"]))
        .into_iter()
        .sum();
    assert_eq!(parts, all);
    assert_eq!(sandbox.ok(&["stats", "--json"]).json()["segments_checked"], all);
    assert_eq!(summary(&["verify", "--json"])["chunks_located"], 0);
}

#[test]
fn wrong_parts_and_times_are_refused() {
    let sandbox = Sandbox::empty();
    for (option, value) in [("--subset", "0/3"), ("--subset", "4/3"), ("--subset", "half"), ("--max-time", "30")] {
        let told = sandbox.fails(2, &["verify", option, value]);
        assert!(told.contains("write it as"), "{told}");
    }
}

#[test]
fn the_help_names_every_way_to_check() {
    let help = Sandbox::empty().ok(&["verify", "--help"]);
    for words in ["--scrub", "--subset <N/T>", "--max-time <DURATION>", "verify --max-time 30m", "needs no password"] {
        assert!(help.text().contains(words), "{words}: {}", help.text());
    }
}

#[test]
fn a_part_that_leaves_out_what_was_damaged_does_not_end_as_if_all_were_well() {
    let sandbox = sandbox();
    damage(&sandbox);
    sandbox.fails(1, &["verify"]);
    let mut codes =
        ["1/2", "2/2"].map(|part| keyless(&sandbox, &["verify", "--scrub", "--subset", part]).code).to_vec();
    codes.sort_unstable();
    assert_eq!(codes, [1, 3], "one part has the damage, the other one remembers it");
}
