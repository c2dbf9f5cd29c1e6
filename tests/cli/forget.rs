//! Promise 1, against mistakes: points are forgotten after an exact list, brought back, held, and their space given back.

use crate::cli_support::{Sandbox, noise};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for day in 1..=3 {
        sandbox.write("os.raw", &noise(day, 700_000));
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw", "--time", &format!("2026-11-0{day} 02:00")]);
    }
    sandbox
}

fn point(day: u32) -> String {
    format!("web/2026-11-0{day}T02-00-00Z")
}

#[test]
fn a_person_forgets_brings_back_and_gives_back_space() {
    let sandbox = sandbox();
    let planned = sandbox.ok(&["forget", "web", "--older-than", "1d", "--dry-run"]);
    assert_eq!(planned.text().matches("would forget web/").count(), 2, "the newest stays: {}", planned.text());
    assert_eq!(sandbox.points(), 3);
    let done = sandbox.ok(&["forget", "web", "--older-than", "1d"]);
    assert!(done.text().contains("forgetting web/2026-11-01T02-00-00Z") && done.text().contains("14 days"));
    assert_eq!(sandbox.points(), 1);
    let deleted = sandbox.ok(&["points", "--deleted"]);
    assert!(deleted.text().contains("older than 1 day") && deleted.text().contains("13 d 23 h"), "{}", deleted.text());
    let json = sandbox.ok(&["points", "--deleted", "web", "--json"]);
    assert_eq!(json.json()[0]["forgotten"]["reason"], "older than 1 day");
    let told = sandbox.fails(1, &["cat", &format!("{}/disks/os.raw", point(1))]);
    assert!(told.contains("was forgotten") && told.contains("icecore undelete web/2026-11-01T02-00-00Z"), "{told}");
    assert!(sandbox.ok(&["undelete", &point(1)]).text().contains("is listed again"));
    assert_eq!(sandbox.ok(&["cat", &format!("{}/disks/os.raw", point(1))]).stdout, noise(1, 700_000));
    // Within its time nothing of it goes.
    assert_eq!(sandbox.ok(&["gc", "--json"]).json()["removed_segments"], 0);
    sandbox.ok(&["soft-delete", "--grace", "0d"]);
    sandbox.ok(&["undelete", &point(2)]);
    sandbox.ok(&["forget", &point(2), "--reason", "not needed"]);
    let planned = sandbox.ok(&["gc", "-n", "--json"]).json();
    let done = sandbox.ok(&["gc", "--json"]).json();
    assert_eq!((&planned["purged"], &planned["freed_bytes"]), (&done["purged"], &done["freed_bytes"]));
    assert!(
        done["purged"][0] == *point(2) && done["freed_bytes"].as_u64().is_some_and(|bytes| bytes > 700_000),
        "{done}"
    );
    for purged in [&["undelete", &point(2)][..], &["forget", &point(2)], &["points", &point(2)]] {
        let told = sandbox.fails(1, purged);
        assert!(told.contains("the time to bring it back is over, and it was purged"), "{told}");
    }
    assert!(sandbox.ok(&["gc"]).text().contains("0 B given back"));
    sandbox.ok(&["verify"]);
    assert_eq!(sandbox.points(), 2);
}

#[test]
fn rules_say_of_every_point_why_it_stays_or_goes() {
    let sandbox = sandbox();
    sandbox.ok(&["backup", "web", "--disk", "os=os.raw", "--time", "2026-11-03 23:30"]);
    let told = sandbox.ok(&["forget", "web", "--keep", "daily=2", "-n"]);
    for line in [
        "would forget web/2026-11-01T02-00-00Z",
        "keeping web/2026-11-02T02-00-00Z",
        "would forget web/2026-11-03T02-00-00Z",
        "keeping web/2026-11-03T23-30-00Z",
        ": no rule keeps it",
        ": newest of its machine, daily 1 of 2",
    ] {
        assert!(told.text().contains(line), "{line}: {}", told.text());
    }
    // In Berlin the last was made on the next day.
    let json =
        sandbox.ok(&["forget", "web", "--keep", "daily=2", "--time-zone", "Europe/Berlin", "-n", "--json"]).json();
    let goes: Vec<_> = json["points"].as_array().expect("points").iter().map(|point| point["forget"] == true).collect();
    assert_eq!(goes, [true, true, false, false]);
    sandbox.ok(&["forget", "web", "--keep", "daily=2"]);
    assert_eq!(sandbox.points(), 2);
    assert!(sandbox.ok(&["points", "--deleted"]).text().contains("no rule keeps it"));
    assert!(sandbox.ok(&["forget", "web", "--keep", "daily=2"]).text().contains("there is nothing to forget"));
    for (keep, word) in [("max-age=3d", "nothing but the newest"), ("dayly=3", "write it as"), ("daily=0", "from 1")] {
        let told = sandbox.fails(2, &["forget", "web", "--keep", keep]);
        assert!(told.contains(word), "{told}");
    }
    sandbox.fails(2, &["forget", "web", "--keep", "daily=2", "--time-zone", "Mars/Olympus"]);
    assert_eq!(sandbox.points(), 2);
}

#[test]
fn what_is_held_or_the_last_stays() {
    let sandbox = sandbox();
    assert!(sandbox.ok(&["protect", &point(1), "--reason", "audit"]).text().contains("until it is released"));
    assert!(sandbox.ok(&["points"]).text().contains("(protected)"));
    let told = sandbox.fails(1, &["forget", &point(1)]);
    assert!(told.contains("is protected") && told.contains("protect --release"), "{told}");
    sandbox.ok(&["forget", "web", "--older-than", "1d"]);
    assert_eq!(sandbox.points(), 2, "by age, what is held is passed over");
    sandbox.ok(&["protect", "--release", &point(1)]);
    sandbox.ok(&["forget", &point(1)]);
    let told = sandbox.fails(1, &["forget", &point(3)]);
    assert!(told.contains("no point of web would be left") && told.contains("--all"), "{told}");
    sandbox.ok(&["forget", &point(3), "--all"]);
    assert_eq!(sandbox.points(), 0);
    let told = sandbox.fails(2, &["protect", &point(3), "--until", "2020-01-01"]);
    assert!(told.contains("that time is over"), "{told}");
    for wrong in [vec!["forget", "web"], vec!["forget", "web/latest", "--older-than", "1d"], vec!["forget"]] {
        sandbox.fails(2, &wrong);
    }
    assert!(sandbox.fails(1, &["forget", "nobody", "--older-than", "1d"]).contains("nobody"));
}

#[test]
fn a_locked_grace_time_is_shortened_by_nobody() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["soft-delete"]).text().contains("14 days"));
    let set = sandbox.ok(&["soft-delete", "--grace", "30d", "--lock-until", "2099-01-01"]);
    assert!(set.text().contains("30 days; locked until 2099-01-01"), "{}", set.text());
    for weaker in [vec!["--grace", "29d"], vec!["--grace", "0d"], vec!["--lock-until", "2098-12-31"]] {
        let told = sandbox.fails(2, &[&["soft-delete"], weaker.as_slice()].concat());
        assert!(told.contains("locked until") && told.contains("never shorter"), "{told}");
    }
    sandbox.ok(&["soft-delete", "--grace", "5w", "--always-on"]);
    sandbox.fails(2, &["soft-delete", "--lock-until", "2099-01-01"]);
    let json = sandbox.ok(&["soft-delete", "--json"]).json();
    assert_eq!((&json["grace_seconds"], &json["locked_until"]), (&(35 * 86_400).into(), &"ever".into()));
}

/// The entries of all chains, in order.
fn entries(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(sandbox.path("vault/catalog")).expect("a catalog");
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.expect("a folder").path()).expect("a chain"));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_done_before_a_failure_is_told() {
    let sandbox = sandbox();
    sandbox.ok(&["protect", &point(2)]);
    let arguments = ["forget", &point(1), &point(2), &point(3)];
    let ran = sandbox.run(&arguments);
    let told = &ran.stderr;
    assert!(told.contains(&format!("forgotten before this failed: {}", point(1))), "{told}");
    assert!(told.contains("is protected") && ran.code == 1, "{told}");
    assert_eq!(sandbox.points(), 2);
}

#[test]
fn no_space_is_given_back_of_a_vault_that_went_back_until_somebody_says_so() {
    let sandbox = sandbox();
    let newest = entries(&sandbox).pop().expect("an entry");
    std::fs::remove_file(newest).expect("removed");
    let ran = sandbox.run(&["gc"]);
    let told = &ran.stderr;
    assert!(ran.code == 1 && told.contains("the newest are gone"), "{told}");
    assert!(
        told.contains("nothing was removed") && told.contains("remove the file that the notice above names"),
        "{told}"
    );
    std::fs::remove_dir_all(sandbox.path("state")).expect("removed");
    // The point's manifest is there still, and so is all that it needs.
    let ran = sandbox.run(&["gc"]);
    assert!(ran.code == 0 && ran.stderr.contains("repair --adopt"), "{}", ran.stderr);
}

#[test]
fn entries_that_nobody_has_are_given_up() {
    let sandbox = sandbox();
    std::fs::remove_file(&entries(&sandbox)[1]).expect("removed");
    let told = sandbox.fails(1, &["gc"]);
    assert!(told.contains("icecore repair --give-up"), "{told}");
    let ran = sandbox.run(&["repair", "--give-up"]);
    assert!(ran.text().contains("is given up") && ran.failed(1, &[]).contains("add --write"), "{}", ran.text());
    assert!(sandbox.fails(1, &["gc"]).contains("give-up"), "nothing was changed");
    let done = sandbox.ok(&["repair", "--give-up", "--write"]);
    assert!(done.text().contains("gave up 1 entry"), "{}", done.text());
    assert!(sandbox.ok(&["repair", "--give-up"]).text().contains("no entry of the catalog is lost"));
    sandbox.ok(&["verify"]);
    let ran = sandbox.run(&["gc", "--json"]);
    assert_eq!((ran.code, &ran.json()["unlisted"][0]), (0, &serde_json::json!(point(2))));
}
