//! Promise 1, against mistakes and against who sets a clock: time only goes on, nothing that was forgotten ends early by a clock
//! that is far ahead, and no lock by one that was set back.

use std::process::Command;

use crate::cli_support::{Ran, Sandbox, noise, not_run};

/// Runs the binary with a clock that is off by so much, as "+40d".
fn at(sandbox: &Sandbox, offset: &str, arguments: &[&str]) -> Ran {
    let plain = sandbox.command(arguments);
    let mut command = Command::new("faketime");
    // Only the time of day is a person's to set.
    command.args(["-m", "--exclude-monotonic", "-f", offset]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(sandbox.path("."));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(command.stdin(std::process::Stdio::null()).output().expect("it runs"))
}

#[test]
fn a_clock_that_is_set_ends_nothing_early() {
    if Command::new("faketime").args(["-f", "+1d", "true"]).status().is_ok_and(|status| status.success()) {
        set_clocks();
    } else {
        not_run("a_clock_that_is_set_ends_nothing_early", "faketime is missing");
    }
}

fn set_clocks() {
    let sandbox = Sandbox::new();
    for seed in 0..4 {
        sandbox.write("os.raw", &noise(seed, 100_000));
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw", "--time", &format!("2024-01-0{}", seed + 1)]);
    }
    let point = |day: u64| format!("web/2024-01-0{day}T00-00-00Z");
    let forgotten = || sandbox.ok(&["points", "--deleted", "--json"]).json();
    sandbox.ok(&["forget", &point(1)]);
    let since = forgotten()[0]["forgotten"]["since"].clone();
    // Its time is over by a clock that nothing in the vault bears out, and not yet by one that was set back.
    for (offset, code) in [("+40d", 3), ("+4000d", 3), ("-4000d", 0)] {
        let ran = at(&sandbox, offset, &["gc"]);
        assert_eq!((ran.code, ran.stderr.contains("nothing is purged")), (code, code == 3), "{offset}: {}", ran.stderr);
        assert_eq!(forgotten().as_array().map(Vec::len), Some(1), "{offset}");
    }
    // What is done by a clock that was set back is not from before what was done.
    assert_eq!(at(&sandbox, "-4000d", &["forget", &point(2)]).code, 0);
    let all = forgotten();
    let second = all.as_array().expect("a list").iter().find(|one| one["path"] == *point(2)).expect("the second");
    assert!(second["forgotten"]["since"].as_str() >= since.as_str(), "{second}, {since}");
    for day in [1, 2] {
        sandbox.ok(&["undelete", &point(day)]);
    }

    // A lock that has no end yet is held to by every clock of before it.
    sandbox.ok(&["soft-delete", "--grace", "30d", "--lock-until", "2100-01-01"]);
    sandbox.ok(&["policy", "set", "gold", "--keep", "daily=7", "--lock-until", "2100-01-01"]);
    sandbox.ok(&["machine", "set", "web", "--disk", "os=os.raw", "--policy", "gold"]);
    for offset in ["-4000d", "+0d", "+4000d"] {
        let weaker: [&[&str]; 5] = [
            &["soft-delete", "--grace", "1d"],
            &["policy", "set", "gold", "--keep", "daily=1"],
            &["policy", "set", "gold", "--clear", "lock"],
            &["policy", "remove", "gold"],
            &["machine", "remove", "web"],
        ];
        for weaker in weaker {
            let ran = at(&sandbox, offset, weaker);
            assert!(ran.code != 0, "{offset} {weaker:?}: {}", ran.text());
        }
        // By a clock that was set back the points are of a time to come, and stand for nothing; so they stay for another reason.
        let ran = at(&sandbox, offset, &["forget", &point(4)]);
        assert!(ran.code != 0 || offset == "-4000d", "{offset}: {}", ran.text());
        if ran.code == 0 {
            sandbox.ok(&["undelete", &point(4)]);
        }
    }
    let shown = sandbox.ok(&["policy", "show", "gold"]);
    let kept = shown.text();
    assert!(kept.contains("daily=7") && kept.contains("2100"), "{kept}");
    sandbox.ok(&["verify"]);
    assert_eq!(sandbox.points(), 4);
}
