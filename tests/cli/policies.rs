//! Promise 1, by itself: policies are set once, points are made when they are due and go when their policy says so, and each
//! of that is told before and after.

use std::process::Stdio;

use crate::cli_support::{Ran, Sandbox, noise};
use icecore::policy::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A weekly schedule that was due some days ago and is due in some days: nothing comes due while a test runs.
fn quiet_schedule() -> String {
    let day = (Timestamp::now() + SignedDuration::from_hours(72)).to_zoned(TimeZone::UTC).weekday();
    let name = format!("{day:?}").to_lowercase();
    format!("weekly {} 03:00", &name[..3])
}

/// Two machines under a policy, and their disks.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["policy", "set", "gold", "--schedule", &quiet_schedule(), "--keep", "daily=2", "--tag", "tier=gold"]);
    for (seed, machine) in [(1, "db"), (2, "web")] {
        sandbox.write(&format!("{machine}.raw"), &noise(seed, 300_000));
        sandbox.ok(&["machine", "set", machine, "--disk", &format!("os={machine}.raw"), "--policy", "gold"]);
    }
    sandbox
}

#[test]
fn a_person_sets_shows_changes_and_removes() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["policy", "list"]).text().contains("no policies"));
    assert!(sandbox.ok(&["machine", "list"]).text().contains("no machine is described"));
    let set = ["policy", "set", "gold", "--schedule", "daily 02:00 spread 2h", "--keep", "daily=7,weekly=4"];
    let told =
        sandbox.ok(&[&set[..], &["--time-zone", "Europe/Berlin", "--tag", "tier=gold", "--tag", "x=y"]].concat());
    for words in ["daily 02:00 spread 2h (Europe/Berlin)", "daily=7,weekly=4", "tier=gold, x=y"] {
        assert!(told.text().contains(words), "{}", told.text());
    }
    // Only what is given changes.
    sandbox.ok(&["policy", "set", "gold", "--tag", "x=", "--consistency", "file-system", "--allow-crash"]);
    let json = sandbox.ok(&["policy", "show", "gold", "--json"]).json();
    assert_eq!(json["schedule"], "daily 02:00 spread 2h");
    assert_eq!((&json["tags"]["tier"], &json["tags"]["x"]), (&"gold".into(), &serde_json::Value::Null));
    assert_eq!((&json["consistency"], &json["allowCrash"]), (&"file-system".into(), &true.into()));
    sandbox.ok(&["policy", "set", "gold", "--clear", "tags", "--clear", "allow-crash", "--clear", "schedule"]);
    let json = sandbox.ok(&["policy", "show", "gold", "--json"]).json();
    assert!(json.get("tags").is_none() && json.get("allowCrash").is_none() && json.get("schedule").is_none(), "{json}");

    let set = ["machine", "set", "web", "--disk", "os=web.raw", "--disk", "swap=/dev/swap", "--exclude-disk", "swap"];
    let hooks = ["--policy", "gold", "--pre-script", "/bin/freeze web", "--hook-timeout", "90s", "--reflink"];
    let told = sandbox.ok(&[&set[..], &hooks].concat());
    assert!(told.text().contains("not backed up") && told.text().contains("/bin/freeze web"), "{}", told.text());
    let json = sandbox.ok(&["machine", "show", "web", "--json"]).json();
    let folder = sandbox.path("").canonicalize().expect("a path");
    assert_eq!(json["disks"]["os"], folder.join("web.raw").to_str().expect("UTF-8"));
    assert_eq!((&json["hooks"]["timeoutSeconds"], &json["reflink"]), (&90.into(), &true.into()));
    sandbox.ok(&["machine", "set", "web", "--clear", "pre-script", "--clear", "hook-timeout", "--clear", "reflink"]);
    sandbox.ok(&["machine", "set", "web", "--disk", "swap="]);
    let json = sandbox.ok(&["machine", "list", "--json"]).json();
    assert!(json[0].get("hooks").is_none() && json[0]["disks"].get("swap").is_none(), "{json}");
    assert!(sandbox.ok(&["policy", "list"]).text().contains("gold"));

    let told = sandbox.fails(1, &["policy", "remove", "gold"]);
    assert!(
        told.contains("machine \"web\" is under policy \"gold\"") && told.contains("another policy first"),
        "{told}"
    );
    assert!(sandbox.ok(&["machine", "remove", "web"]).text().contains("is removed"));
    sandbox.ok(&["policy", "remove", "gold"]);
    for gone in [["policy", "show", "gold"], ["machine", "show", "web"], ["policy", "remove", "gold"]] {
        assert!(sandbox.fails(1, &gone).contains(&format!("icecore {} list", gone[0])), "{gone:?}");
    }
}

#[test]
fn wrong_input_is_refused_in_a_sentence() {
    let sandbox = sandbox();
    for (wrong, word) in [
        (vec!["policy", "set", "new", "--schedule", "daily 02:00"], "--keep"),
        (vec!["policy", "set", "gold", "--schedule", "sometimes"], "write it as"),
        (vec!["policy", "set", "gold", "--schedule", "daily 25:00"], "02:00"),
        (vec!["policy", "set", "gold", "--keep", "daily=0"], "from 1"),
        (vec!["policy", "set", "gold", "--time-zone", "Mars/Olympus"], "Europe/Berlin"),
        (vec!["policy", "set", "gold", "--lock-until", "2020-01-01"], "over"),
        (vec!["policy", "set", "gold", "--tag", "novalue"], "NAME=VALUE"),
        (vec!["policy", "set", "gold", "--clear", "everything"], "schedule"),
        (vec!["policy", "set", "a/b", "--keep", "last=1"], "may not hold"),
        (vec!["machine", "set", "new", "--policy", "gold"], "none"),
        (vec!["machine", "set", "web", "--clear", "disks"], "none"),
        (vec!["machine", "set", "web", "--disk", "os"], "NAME=PATH"),
        (vec!["machine", "set", "web", "--hook-timeout", "0s"], "needs some time"),
        (vec!["machine", "set", "web", "--pre-script", " "], "empty"),
        (vec!["policy", "plan", "web", "--for", "20000d"], "ten years"),
        (vec!["backup", "--due", "--disk", "os=web.raw"], "cannot be used"),
        (vec!["backup", "web", "-n", "--disk", "os=web.raw"], "--due"),
        (vec!["backup"], "MACHINE"),
        (vec!["forget", "--all-machines"], "--policy"),
        (vec!["forget", "web", "--policy", "--keep", "last=1"], "cannot be used"),
        (vec!["forget", "web", "--all-machines", "--policy"], "cannot be used"),
    ] {
        let told = sandbox.fails(2, &wrong);
        assert!(told.contains(word), "{wrong:?}: {told}");
    }
    for (wrong, word) in [
        (vec!["machine", "set", "web", "--policy", "silver"], "policy list"),
        (vec!["policy", "plan", "nobody"], "machine list"),
        (vec!["backup", "--due", "nobody"], "machine list"),
        (vec!["forget", "nobody", "--policy"], "nobody"),
    ] {
        let told = sandbox.fails(1, &wrong);
        assert!(told.contains(word), "{wrong:?}: {told}");
    }
}

#[test]
fn what_is_due_is_made_once_by_a_key_that_only_backs_up() {
    let sandbox = sandbox();
    sandbox.write("backup.key", &noise(9, 64));
    sandbox.ok(&["key", "add", "--role", "backup", "--new-key-file", "backup.key"]);
    let key = ["--key-file", "backup.key"];
    let run = |arguments: &[&str]| sandbox.ok(&[&key[..], arguments].concat());
    let listed = run(&["backup", "--due", "-n", "--json"]).json_lines();
    assert_eq!(listed.iter().map(|one| &one["machine"]).collect::<Vec<_>>(), ["db", "web"]);
    assert!(run(&["backup", "--due", "--dry-run"]).text().contains("web is due since"));
    assert_eq!(sandbox.points(), 0);
    let done = run(&["backup", "--due", "web"]);
    assert!(done.text().contains("1 point made"), "{}", done.text());
    let done = run(&["backup", "--due", "--json"]).json_lines();
    let of = |message: &str| done.iter().find(|line| line["message_type"] == message).expect("it is told");
    assert_eq!((&of("summary")["machine"], &of("summary")["tags"][0]), (&"db".into(), &"tier=gold".into()));
    assert_eq!((&of("due_summary")["made"], &of("due_summary")["failed"]), (&1.into(), &0.into()));
    for arguments in [vec!["backup", "--due"], vec!["backup", "--due", "-n"]] {
        let told = run(&arguments);
        assert!(told.text().contains("nothing is due; the next point is due at 20"), "{}", told.text());
    }
    assert_eq!(sandbox.points(), 2);
    assert!(sandbox.ok(&["backup", "--due", "--quiet"]).text().is_empty());
    // A machine without a policy is never due.
    sandbox.ok(&["machine", "set", "free", "--disk", "os=/nowhere"]);
    run(&["backup", "--due"]);
}

#[test]
fn a_machine_that_fails_stops_no_other() {
    let sandbox = sandbox();
    sandbox.ok(&["machine", "set", "aaa", "--disk", "os=absent.raw", "--policy", "gold"]);
    sandbox.ok(&["machine", "set", "bbb", "--disk", "os=web.raw", "--policy", "gold", "--pre-script", "/bin/false"]);
    let ran = sandbox.run(&["backup", "--due"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("aaa: cannot open disk") && ran.stderr.contains("bbb: the pre-script ended with"),
        "{}",
        ran.stderr
    );
    assert!(ran.text().contains("2 points made of what was due, 2 failed"), "{}", ran.text());
    assert_eq!(sandbox.points(), 2);
    // Those that failed are due again; where all fail, that is a failure.
    let ran = sandbox.run(&["backup", "--due", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.json_lines().pop().expect("a line")["failed"], 2);
}

#[test]
fn what_a_machine_needs_to_hold_still_is_run_for_due_backups_too() {
    let sandbox = sandbox();
    let log = sandbox.path("log");
    let script =
        |what: &str| format!("echo {what} $ICECORE_MACHINE $ICECORE_DISKS $ICECORE_RESULT >> {}", log.display());
    let (pre, post) = (script("pre"), script("post"));
    sandbox.ok(&["machine", "set", "web", "--pre-script", &pre, "--post-script", &post, "--policy", "gold"]);
    sandbox.ok(&["policy", "set", "gold", "--consistency", "file-system"]);
    // Of `db` nothing makes the disks hold still, and the policy allows no less.
    let ran = sandbox.run(&["backup", "--due", "--json"]);
    assert!(ran.code == 3 && ran.stderr.contains("nothing brings its disks into the order"), "{}", ran.stderr);
    let made = ran.json_lines();
    assert_eq!((&made[0]["machine"], &made[0]["consistency"]), (&"web".into(), &"file-system".into()));
    assert_eq!(std::fs::read_to_string(&log).expect("it ran"), "pre web os\npost web os ok\n");
    sandbox.ok(&["policy", "set", "gold", "--allow-crash"]);
    let made = sandbox.ok(&["backup", "--due", "--json"]).json_lines();
    assert_eq!((&made[0]["machine"], &made[0]["consistency"]), (&"db".into(), &"crash".into()));
}

#[test]
fn two_that_run_at_once_make_no_point_twice() {
    let sandbox = sandbox();
    for number in 0..4 {
        sandbox.ok(&["machine", "set", &format!("m{number}"), "--disk", "os=web.raw", "--policy", "gold"]);
    }
    let started: Vec<_> = (0..3)
        .map(|_| {
            let mut command = sandbox.command(&["backup", "--due"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
        })
        .collect();
    for child in started {
        let ran = Ran::of(child.wait_with_output().expect("its end"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(sandbox.points(), 6);
    assert!(sandbox.ok(&["backup", "--due"]).text().contains("nothing is due"));
}

#[test]
fn what_a_policy_does_not_keep_is_forgotten_with_its_name() {
    let sandbox = sandbox();
    for day in 1..=4 {
        for machine in ["db", "web"] {
            let (disk, time) = (format!("os={machine}.raw"), format!("2026-11-0{day} 02:00"));
            sandbox.ok(&["backup", machine, "--disk", &disk, "--time", &time]);
        }
    }
    // One of a time to come pushes nothing out, and stays.
    let later = (Timestamp::now() + SignedDuration::from_hours(50)).to_string();
    sandbox.run(&["backup", "web", "--disk", "os=web.raw", "--time", &later]);
    let told = sandbox.ok(&["forget", "web", "--policy", "-n"]);
    assert_eq!(told.text().matches("would forget web/").count(), 2, "{}", told.text());
    for words in [": newest of its machine, daily 1 of 2 (policy gold)", ": of a time to come, stands for nothing"] {
        assert!(told.text().contains(words), "{}", told.text());
    }
    assert_eq!(sandbox.points(), 9);
    sandbox.ok(&["machine", "set", "empty", "--disk", "os=web.raw", "--policy", "gold"]);
    sandbox.ok(&["machine", "set", "free", "--disk", "os=web.raw"]);
    sandbox.ok(&["forget", "--all-machines", "--policy"]);
    assert_eq!(sandbox.points(), 5);
    let deleted = sandbox.ok(&["points", "--deleted", "--json"]).json();
    assert_eq!(deleted[0]["forgotten"]["reason"], "no rule keeps it (policy gold)");
    assert!(sandbox.fails(2, &["forget", "free", "--policy"]).contains("under no policy"));
    assert!(sandbox.ok(&["forget", "--all-machines", "--policy"]).text().contains("nothing to forget"));
    // By age, too, the newest is one that was.
    sandbox.ok(&["forget", "web", "--older-than", "1h"]);
    let left = sandbox.ok(&["points", "web", "--json"]).json();
    assert_eq!(left[0]["point"], "2026-11-04T02-00-00Z", "{left}");
}

#[test]
fn a_plan_says_day_by_day_what_comes_and_goes() {
    let sandbox = sandbox();
    sandbox.ok(&["policy", "set", "gold", "--schedule", "daily 02:00,14:00"]);
    sandbox.ok(&["backup", "web", "--disk", "os=web.raw", "--time", "2026-11-01 02:00"]);
    let days = sandbox.ok(&["policy", "plan", "web", "--for", "9d", "--json"]).json_lines();
    assert!((9..=10).contains(&days.len()));
    let dropped: Vec<_> = days.iter().flat_map(|day| day["dropped"].as_array().expect("a list")).collect();
    let real: Vec<_> = dropped.iter().filter(|one| one["is_made"] == true).map(|one| &one["point"]).collect();
    assert_eq!(real, ["2026-11-01T02-00-00Z"]);
    let last = days.last().expect("a day");
    assert_eq!(last["kept"].as_array().map(Vec::len), Some(2), "{last}");
    let full = &days[3];
    assert_eq!(full["made"].as_array().map(Vec::len), Some(2), "{full}");
    assert!(full["made"][0].as_str().is_some_and(|name| name.ends_with("T02-00-00Z")), "{full}");
    let schedule: Schedule = "daily 02:00,14:00".parse().expect("a schedule");
    let next = schedule.next_after("web", &TimeZone::UTC, Timestamp::now()).expect("a moment");
    let text = sandbox.ok(&["policy", "plan", "web", "--for", "9d"]);
    assert!(text.text().contains("  + ") && text.text().contains("kept at the end, under policy gold:"));
    assert!(text.text().contains(&next.strftime("%Y-%m-%dT%H-%M-%SZ").to_string()), "{}", text.text());
    assert!(sandbox.ok(&["policy", "plan", "db", "--for", "3d", "--kept"]).text().contains("  = "));
}

#[test]
fn a_locked_policy_is_weakened_by_nobody() {
    let sandbox = sandbox();
    let told = sandbox.ok(&["policy", "set", "gold", "--lock-until", "2099-01-01"]);
    assert!(told.text().contains("until 2099-01-01"), "{}", told.text());
    sandbox.ok(&["policy", "set", "silver", "--keep", "last=1"]);
    for weaker in [
        vec!["policy", "set", "gold", "--keep", "daily=1"],
        vec!["policy", "set", "gold", "--keep", "last=100"],
        vec!["policy", "set", "gold", "--lock-until", "2098-12-31"],
        vec!["policy", "set", "gold", "--clear", "lock"],
        vec!["machine", "set", "web", "--policy", "silver"],
        vec!["machine", "set", "web", "--clear", "policy"],
        vec!["machine", "remove", "web"],
    ] {
        let told = sandbox.fails(1, &weaker);
        assert!(told.contains("locked until 2099-01-01") && told.contains("never less, by nobody"), "{told}");
    }
    sandbox.ok(&["policy", "set", "gold", "--keep", "daily=3", "--always-on"]);
    let json = sandbox.ok(&["policy", "list", "--json"]).json();
    assert_eq!((&json[0]["lockedUntil"], &json[0]["retention"]), (&"ever".into(), &"daily=3".into()));
}
