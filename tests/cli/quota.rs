//! Promise 1, against what fills a vault: a person sets quotas, is warned, is refused with a sentence and a code of its own,
//! and sees what takes how much.

use crate::cli_support::{Sandbox, noise};

fn backup<'a>(machine: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["backup", machine, "--disk", "os=os.raw"], more].concat()
}

#[test]
fn a_person_is_warned_and_refused_and_goes_on() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["quota"]).text().contains("no quotas are set"));
    assert_eq!(sandbox.ok(&["quota", "--json"]).json().as_array().map(Vec::len), Some(0));
    let set = sandbox.ok(&["quota", "set", "web", "--warn", "600K", "--hard", "1M"]);
    assert!(set.text().contains("web: warning 600.0 KiB, hard 1.0 MiB"), "{}", set.text());
    sandbox.write("os.raw", &noise(1, 500_000));
    sandbox.ok(&backup("web", &[]));
    sandbox.write("os.raw", &noise(2, 400_000));
    let warned = sandbox.run(&backup("web", &["--json"]));
    assert_eq!(warned.code, 0, "{}", warned.stderr);
    let told: serde_json::Value = serde_json::from_str(&warned.stderr).expect("a line of JSON");
    assert_eq!(told["message_type"], "warning");
    let summary = warned.json_lines().pop().expect("a summary");
    assert_eq!(summary["quota_warnings"][0]["machine"], "web");
    assert_eq!(summary["quota_warnings"][0]["hard_bytes"], 1 << 20);
    sandbox.write("os.raw", &noise(3, 400_000));
    let refused = sandbox.fails(14, &backup("web", &[]));
    for words in ["the quota of web is reached", "of 1.0 MiB", "no point was made", "was given back", "icecore quota"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(sandbox.points(), 2);
    sandbox.ok(&backup("db", &[]));
    sandbox.ok(&["verify"]);
    let listed = sandbox.ok(&["quota", "--json"]).json();
    assert_eq!((&listed[0]["machine"], &listed[0]["state"]), (&"web".into(), &"warning".into()));
    // Lower than what is there: set, and said so.
    let low = sandbox.run(&["quota", "set", "web", "--warn", "0", "--hard", "500K"]);
    assert_eq!(low.code, 0, "{}", low.stderr);
    assert!(low.stderr.contains("its quota is 500.0 KiB: no points are made until it is below"), "{}", low.stderr);
    assert!(sandbox.ok(&["quota"]).text().contains("full"));
    sandbox.fails(14, &backup("web", &[]));
    // One level alone leaves the other as it is.
    sandbox.ok(&["quota", "set", "--hard", "1T"]);
    sandbox.ok(&["quota", "set", "--warn", "1G"]);
    let listed = sandbox.ok(&["quota", "--json"]).json();
    assert_eq!((&listed[0]["machine"], &listed[0]["hard_bytes"]), (&serde_json::Value::Null, &(1_u64 << 40).into()));
    assert!(sandbox.ok(&["quota", "clear", "web"]).text().contains("web has no quota"));
    sandbox.ok(&backup("web", &[]));
    for wrong in [
        vec!["quota", "set"],
        vec!["quota", "set", "web"],
        vec!["quota", "set", "web", "--hard", "much"],
        vec!["quota", "set", "a/b", "--hard", "1G"],
        vec!["quota", "set", "web", "--warn", "2G", "--hard", "1G"],
        vec!["quota", "raise"],
        vec!["quota", "clear", "web", "db"],
    ] {
        sandbox.fails(2, &wrong);
    }
}

#[test]
fn a_person_sees_what_takes_how_much() {
    let sandbox = Sandbox::new();
    for (day, seed) in [(1, 1), (2, 1), (3, 2)] {
        sandbox.write("os.raw", &[noise(9, 400_000), noise(seed, 200_000)].concat());
        sandbox.ok(&backup("web", &["--time", &format!("2026-11-0{day} 02:00")]));
    }
    sandbox.ok(&backup("db", &[]));
    let text = sandbox.ok(&["stats"]);
    for words in ["PER DAY", "growth", "unknown: points of four days", "free space"] {
        assert!(text.text().contains(words), "{words}: {}", text.text());
    }
    sandbox.ok(&["quota", "set", "--hard", "1T"]);
    assert!(sandbox.ok(&["stats"]).text().contains("quota of the vault"));
    let one = sandbox.ok(&["stats", "web"]);
    for words in ["ALONE", "web: 3 points", "2026-11-02T02-00-00Z", "needed by nobody"] {
        assert!(one.text().contains(words), "{words}: {}", one.text());
    }
    assert!(!one.text().contains("db: 1 point"));
    assert!(sandbox.ok(&["stats", "--points"]).text().contains("db: 1 point"));
    let json = sandbox.ok(&["stats", "--points", "--json"]);
    let told = json.json_lines().pop().expect("a value");
    let machines = told["usage"]["machines"].as_array().expect("machines");
    assert_eq!((machines.len(), &machines[1]["machine"]), (2, &"web".into()));
    assert_eq!(machines[1]["points"].as_array().map(Vec::len), Some(3));
    assert_eq!(told["points"], 4);
    assert!(sandbox.fails(1, &["stats", "nobody"]).contains("nobody"));
    sandbox.fails(2, &["stats", "web", "--points"]);
    // Something is forgotten, and told so.
    sandbox.ok(&["forget", "web/2026-11-01T02-00-00Z"]);
    assert!(sandbox.ok(&["stats", "web"]).text().contains("2026-11-01T02-00-00Z (forgotten)"));
}
