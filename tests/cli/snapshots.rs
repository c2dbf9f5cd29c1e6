//! Promise 1: a snapshot command makes what is read and removes it again; the machine is held for no longer than that takes.

use crate::cli_support::{Sandbox, noise};

/// A snapshot that is a copy. It takes down each phase, the result, and where the snapshot is.
const SNAPSHOT: &str = "echo $ICECORE_PHASE $ICECORE_RESULT $ICECORE_DISK_1_SNAPSHOT >> log
case $ICECORE_PHASE in
snapshot) cp \"$ICECORE_DISK_1_PATH\" copy && echo \"$ICECORE_DISK_1_NAME=copy\";;
release) rm \"$ICECORE_DISK_1_SNAPSHOT\";;
esac";

const LOG: &str = "echo $ICECORE_PHASE $ICECORE_RESULT >> log";

fn log(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path("log")).unwrap_or_default().replace('\n', ",")
}

fn backup(command: &str) -> [&str; 6] {
    ["backup", "m", "--disk", "os=os.raw", "--snapshot-command", command]
}

#[test]
fn the_snapshot_is_read_after_the_machine_goes_on_and_removed_after_that() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 100_000));
    let post = format!("{LOG}; echo changed > os.raw");
    sandbox.ok(&[&backup(SNAPSHOT)[..], &["--pre-script", LOG, "--post-script", &post]].concat());
    assert_eq!(log(&sandbox), "pre ,snapshot  ,post ok,release ok copy,".replace("pre ,", "pre,").replace("  ,", ","));
    assert!(!sandbox.path("copy").exists());
    assert!(sandbox.ok(&["cat", "m/latest/disks/os.raw"]).stdout == noise(1, 100_000));
    let point = sandbox.ok(&["cat", "m/latest/point.json"]).json();
    assert_eq!(point["quiesced"], serde_json::json!({"read": "snapshot", "scripts": "succeeded"}));
    assert_eq!(point["consistency"], "application");
    // Without scripts it is what the disks are after a power cut, unless somebody says more.
    sandbox.ok(&backup(SNAPSHOT));
    assert_eq!(sandbox.ok(&["cat", "m/latest/point.json"]).json()["consistency"], "crash");
    sandbox.ok(&[&backup(SNAPSHOT)[..], &["--consistency", "file-system"]].concat());
    assert_eq!(sandbox.ok(&["cat", "m/latest/point.json"]).json()["consistency"], "file-system");
}

#[test]
fn a_snapshot_that_fails_is_released_and_no_point_is_made() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"the disk");
    let cases = [
        ("echo full >&2; exit 5", "exit status: 5, after it printed \"full\""),
        ("echo Logical volume created", "printed \"Logical volume created\""),
        ("true", "printed no path for disk \"os\""),
        ("echo os=os.raw; echo os=os.raw", "has a path already"),
        ("printf 'os=os.raw\\nx=y\\n'", "printed \"x=y\""),
        ("head -c 5000 /dev/urandom", "printed"),
        ("yes os=os.raw", "printed more than 65536 bytes"),
        ("sleep 1000", "took longer than 1 s"),
    ];
    for (command, why) in cases {
        let _ = std::fs::remove_file(sandbox.path("log"));
        let command = format!("{LOG}; if [ $ICECORE_PHASE = snapshot ]; then {command}; fi");
        let more = ["--pre-script", LOG, "--post-script", LOG, "--hook-timeout", "1s", "--allow-crash"];
        let line = sandbox.fails(13, &[&backup(&command)[..], &more].concat());
        assert!(line.contains("the snapshot command") && line.contains(why), "{why}: {line}");
        assert!(line.len() < 5000, "{} bytes", line.len());
        // The machine goes on first.
        assert_eq!(log(&sandbox), "pre,snapshot,post failed,release failed,", "{why}");
    }
    // One that can't be opened is released too.
    let line =
        sandbox.fails(1, &backup("[ $ICECORE_PHASE = release ] && echo $ICECORE_DISK_1_SNAPSHOT > log || echo os=no"));
    assert!(line.contains("cannot open disk no"), "{line}");
    assert_eq!(log(&sandbox), "no,");
    assert_eq!(sandbox.points(), 0);
}

#[test]
fn a_snapshot_that_is_not_released_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"the disk");
    let ran = sandbox.run(&backup("[ $ICECORE_PHASE = snapshot ] && echo os=os.raw"));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("release ended with exit status: 1; the snapshot may still be there"),
        "{}",
        ran.stderr
    );
    assert_eq!(sandbox.points(), 1);
}

#[test]
fn a_failed_thaw_leaves_no_point_and_no_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", b"the disk");
    let scripts = ["--pre-script", "true", "--post-script", "false"];
    sandbox.fails(13, &[&backup(SNAPSHOT)[..], &scripts].concat());
    assert_eq!(log(&sandbox), "snapshot,release failed copy,");
    assert!(!sandbox.path("copy").exists());
    let ran = sandbox.run(&[&backup(SNAPSHOT)[..], &scripts, &["--allow-crash"]].concat());
    assert_eq!((ran.code, sandbox.points()), (3, 1), "{}", ran.stderr);
}
