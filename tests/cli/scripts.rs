//! Promise 1: scripts make a machine hold still before its disks are read, what was begun is undone, once, and a point says how
//! consistent it is: never more than the scripts achieved.

use crate::cli_support::{Ran, Sandbox};
use icecore::vault::InitOptions;
use serde_json::Value;

/// A vault, a small disk, and a script that takes down what it was run for.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"the disk");
    sandbox
}

/// Takes down the phase and the result, if there is one.
const LOG: &str = "echo $ICECORE_PHASE $ICECORE_RESULT >> log";

/// What the scripts took down.
fn log(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path("log")).unwrap_or_default().replace('\n', ",")
}

fn backup<'a>(pre: &'a str, post: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["backup", "m", "--disk", "os=os.raw", "--pre-script", pre, "--post-script", post];
    [&arguments[..], more].concat()
}

/// `point.json` of the newest point.
fn point(sandbox: &Sandbox) -> Value {
    sandbox.ok(&["cat", "m/latest/point.json"]).json()
}

#[test]
fn the_scripts_enclose_the_reading_and_the_point_says_what_they_achieve() {
    let sandbox = sandbox();
    let (pre, post) = (format!("printf frozen > os.raw; {LOG}"), format!("printf thawed > os.raw; {LOG}"));
    let ran = sandbox.ok(&backup(&pre, &post, &["--json"]));
    assert_eq!(log(&sandbox), "pre,post ok,");
    assert_eq!(sandbox.ok(&["cat", "m/latest/disks/os.raw"]).text(), "frozen");
    assert_eq!(point(&sandbox)["consistency"], "application");
    assert_eq!(point(&sandbox)["quiesced"], serde_json::json!({"read": "disks", "scripts": "succeeded"}));
    let summary = ran.json_lines().pop().expect("a summary");
    assert_eq!((&summary["scripts"][0]["phase"], &summary["scripts"][1]["failure"]), (&"pre".into(), &Value::Null));
    let details = sandbox.ok(&["points", "m/latest"]);
    assert!(details.text().contains("succeeded"), "{}", details.text());

    // They may achieve less, and say so; and without any the caller's word counts, or nothing does.
    let point_at = |arguments: &[&str]| {
        sandbox.ok(arguments);
        point(&sandbox)
    };
    let frozen = point_at(&backup("true", "true", &["--consistency", "file-system"]));
    assert_eq!(frozen["consistency"], "file-system");
    let plain = point_at(&["backup", "m", "--disk", "os=os.raw"]);
    assert_eq!((&plain["consistency"], &plain["quiesced"]), (&"crash".into(), &Value::Null));
}

#[test]
fn a_failed_script_makes_no_point_and_post_runs_once() {
    let sandbox = sandbox();
    let line = sandbox.fails(13, &backup(&format!("{LOG}; echo no database; exit 7"), LOG, &[]));
    assert!(line.contains("the pre-script ended with exit status: 7, after it printed \"no database\""), "{line}");
    assert!(line.contains("no point was made") && line.contains("--allow-crash"), "{line}");
    assert_eq!(log(&sandbox), "pre,post failed,");
    let line = sandbox.fails(13, &backup("true", "echo thaw: no >&2; false", &[]));
    assert!(line.contains("the post-script ended with exit status: 1, after it printed \"thaw: no\""), "{line}");
    let line = sandbox.fails(13, &backup("/no/such/program", "true", &[]));
    assert!(line.contains("exit status: 127"), "{line}");
    // A disk that can't be read: the machine goes on all the same.
    let arguments = ["backup", "m", "--disk", "os=none", "--pre-script", LOG, "--post-script", LOG];
    sandbox.fails(1, &arguments);
    assert_eq!(log(&sandbox), "pre,post failed,pre,post failed,");
    // Both fail: the first ended it, the second must not be missed.
    let ran = sandbox.run(&backup("exit 3", "exit 4", &[]));
    assert_eq!((ran.code, ran.stderr.lines().count()), (13, 2), "{}", ran.stderr);
    assert!(ran.stderr.contains("status: 4; the machine may still be held"), "{}", ran.stderr);
    assert_eq!(sandbox.points(), 0);
    sandbox.ok(&["verify"]);
}

#[test]
fn with_allow_crash_a_point_is_made_that_says_so() {
    let sandbox = sandbox();
    let ran = sandbox.run(&backup(&format!("{LOG}; echo 'no\tdatabase'; exit 7"), LOG, &["--allow-crash"]));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("exit status: 7") && ran.stderr.contains("crash-consistent"), "{}", ran.stderr);
    // What it may have half frozen goes on before the disk is read.
    assert_eq!(log(&sandbox), "pre,post failed,");
    let made = point(&sandbox);
    assert_eq!((&made["consistency"], &made["quiesced"]["scripts"]), (&"crash".into(), &"failed".into()));
    let why = made["quiesced"]["failure"].as_str().expect("why");
    assert!(why.contains("status: 7") && why.contains("no database"), "{why}");

    let ran = sandbox.run(&backup("true", "exit 9", &["--allow-crash", "--consistency", "file-system"]));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(sandbox.points(), 2);
    assert_eq!(point(&sandbox)["consistency"], "crash");
    sandbox.fails(2, &["backup", "m", "--disk", "os=os.raw", "--allow-crash"]);
}

#[test]
fn a_script_that_hangs_is_stopped_with_its_children() {
    let sandbox = sandbox();
    // The one in the background gets TERM too, and tells.
    let pre = "sh -c 'trap \"echo child >> log; exit\" TERM; while :; do sleep 0.05; done' & sleep 1000";
    let line = sandbox.fails(13, &backup(pre, LOG, &["--hook-timeout", "1s"]));
    assert!(line.contains("the pre-script took longer than 1 s and was stopped"), "{line}");
    assert_eq!(log(&sandbox), "child,post failed,");
    // One that does not go when it is asked to is made to, and its children.
    let deaf = "trap '' TERM; echo $$ > pid; sleep 1000; sleep 1000";
    sandbox.fails(13, &backup(deaf, LOG, &["--hook-timeout", "1s"]));
    assert_eq!(log(&sandbox), "child,post failed,post failed,");
    let pid = std::fs::read_to_string(sandbox.path("pid")).expect("a pid");
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists(), "it is still there");
    // The post-script has a time of its own.
    let line = sandbox.fails(13, &backup("true", "sleep 1000", &["--hook-timeout", "1s"]));
    assert!(line.contains("the post-script took longer than 1 s"), "{line}");
    assert_eq!(sandbox.points(), 0);
}

#[test]
fn what_a_script_leaves_running_holds_up_nothing_and_lives() {
    let sandbox = sandbox();
    // As a session that holds a lock until the post-script ends it. It has both pipes, and prints to them.
    let pre = "sh -c 'while :; do echo held; sleep 0.05; done' & echo $! > holder";
    let post = "sleep 0.3; kill -0 $(cat holder) && kill $(cat holder)";
    sandbox.ok(&backup(pre, post, &["--hook-timeout", "60s"]));
    assert_eq!(point(&sandbox)["consistency"], "application");
}

#[test]
fn garbage_and_floods_stay_bounded_and_on_one_line() {
    let sandbox = sandbox();
    let line = sandbox.fails(13, &backup("head -c 300000 /dev/urandom; printf '\\033[2J\\n\\0x'; exit 1", "true", &[]));
    assert!(line.len() < 10_000, "{} bytes", line.len());
    sandbox.fails(13, &backup("yes", "true", &["--hook-timeout", "1s"]));
    sandbox.ok(&backup("yes | head -c 10000000; exec >&- 2>&-; sleep 0.1", "true", &[]));
}

#[test]
fn scripts_know_the_machine_and_no_secret() {
    let sandbox = Sandbox::with(&InitOptions::default());
    sandbox.write("os.raw", b"x");
    sandbox.write("b.raw", b"y");
    let print = "env | grep ^ICECORE_ | sort > env; ls -l /proc/self/fd > fds";
    let arguments = ["backup", "m", "--disk", "os=os.raw", "--disk", "the data=b.raw", "--pre-script", print];
    // A password through a pipe that icecore inherits as descriptor 7.
    let run = "exec 7<password; exec \"$0\" \"$@\" --password-file /dev/fd/7";
    let mut shell = std::process::Command::new("sh");
    let icecore = sandbox.command(&[]);
    shell.args(["-c", run]).arg(icecore.get_program()).args(arguments).current_dir(sandbox.path(""));
    shell.env("ICECORE_VAULT", sandbox.path("vault")).env("ICECORE_PASSWORD", "correct horse");
    shell.env("ICECORE_DISK_9_PATH", "stale").env("XDG_STATE_HOME", sandbox.path("state"));
    let ran = Ran::of(shell.output().expect("sh runs"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let path = |name: &str| sandbox.path(name).canonicalize().expect("a file").display().to_string();
    let expected = format!(
        "ICECORE_DISKS=os\nICECORE_DISK_1_NAME=os\nICECORE_DISK_1_PATH={}\nICECORE_DISK_2_NAME=the data\n\
         ICECORE_DISK_2_PATH={}\nICECORE_DISK_COUNT=2\nICECORE_MACHINE=m\nICECORE_PHASE=pre\n",
        path("os.raw"),
        path("b.raw")
    );
    assert_eq!(std::fs::read_to_string(sandbox.path("env")).expect("it ran"), expected);
    let descriptors = std::fs::read_to_string(sandbox.path("fds")).expect("it ran");
    assert!(!descriptors.contains("password") && !descriptors.contains("vault"), "{descriptors}");
    // Standard input, output, error, and the directory that `ls` lists.
    assert_eq!(descriptors.matches(" -> ").count(), 4, "{descriptors}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    let sandbox = sandbox();
    let base = ["backup", "m", "--disk", "os=os.raw"];
    let refused: [&[&str]; 8] = [
        &["--post-script", LOG],
        &["--pre-script", LOG, "--hook-timeout", "0s"],
        &["--pre-script", LOG, "--hook-timeout", "25h"],
        &["--pre-script", LOG, "--hook-timeout", "soon"],
        &["--pre-script", LOG, "--post-script", " "],
        &["--pre-script", LOG, "--snapshot-command", LOG, "--reflink"],
        &["--pre-script", LOG, "--snapshot-dir", "."],
        &["--pre-script", LOG, "--tag", ""],
    ];
    for more in refused {
        sandbox.fails(2, &[&base[..], more].concat());
    }
    sandbox.fails(2, &[&base[..], &["--disk", "os=os.raw", "--pre-script", LOG]].concat());
    assert_eq!((log(&sandbox), sandbox.points()), (String::new(), 0));
}
