//! THREATS.md, a guest's root: names can't drive the terminal of who looks at them; a pipe gets them byte for byte.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::cli_support::{Ran, Sandbox, ext4, not_run};

/// An escape sequence, one in a single character, a line of our own made up, writing from right to left, no UTF-8 at all.
const NAMES: [&[u8]; 5] = [
    b"a\x1b]0;title\x07",
    "b\u{9b}31m".as_bytes(),
    b"c\nicecore: all is well",
    "d\u{202e}gnp.exe".as_bytes(),
    b"e\xff\xfe\r",
];

const FILES: &str = "web01/latest/files/os/whole";

/// Runs it on a terminal of its own, and returns what that got to see.
fn on_terminal(sandbox: &Sandbox, arguments: &[&str]) -> Vec<u8> {
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    let line = format!("exec '{}' {}", env!("CARGO_BIN_EXE_icecore"), quoted.join(" "));
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(sandbox.path("."));
    script.env("ICECORE_VAULT", "vault").env("ICECORE_PASSWORD_FILE", "password").env("XDG_STATE_HOME", "/dev/null");
    script.stdin(std::process::Stdio::null()).output().expect("script").stdout
}

#[test]
fn names_cannot_drive_a_terminal() {
    let test = "names_cannot_drive_a_terminal";
    if Command::new("script").arg("--version").output().is_err() {
        return not_run(test, "script (package bsdutils) is missing");
    }
    let sandbox = Sandbox::new();
    let guest = sandbox.path("guest");
    fs::create_dir(&guest).expect("a directory");
    for name in NAMES {
        fs::write(guest.join(OsStr::from_bytes(name)), name).expect("a file");
        std::os::unix::fs::symlink(OsStr::from_bytes(name), guest.join(OsStr::from_bytes(&[b"link ", name].concat())))
            .expect("a link");
    }
    if ext4(&sandbox.path("os.raw"), &guest, 16 << 20).is_none() {
        return not_run(test, "mke2fs is missing");
    }
    sandbox.ok(&["backup", "web01", "--disk", "os=os.raw"]);
    // Everything that is there already is told, name by name.
    sandbox.ok(&["cp", "-r", FILES, "copy"]);
    let escape = format!("{FILES}/a\u{1b}]0;title\u{7}/below");
    for arguments in [
        &["ls", FILES][..],
        &["ls", "-l", FILES],
        &["ls", "--json", FILES],
        &["find", FILES],
        &["find", FILES, "--json"],
        &["cp", "-r", &format!("{FILES}/"), "copy"],
        &["cp", "-r", &format!("{FILES}/"), "copy", "--json"],
        &["cat", &escape],
        &["cat", &escape, "--json"],
        &["ls", &escape],
        &["find", &escape],
        &["cp", &escape, "."],
        &["mount", "points", "--log", &escape],
        &["\u{1b}[31m"],
    ] {
        let seen = on_terminal(&sandbox, arguments);
        let text = String::from_utf8(seen).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert!(!text.is_empty(), "{arguments:?}");
        // A terminal's lines end in both.
        let drives = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        for line in text.split("\r\n") {
            assert!(!line.contains(drives) && !line.contains('\n'), "{arguments:?} shows {line:?}");
            assert!(!line.starts_with("icecore: all is well"), "{arguments:?}");
            let is_json = !arguments.contains(&"--json") || serde_json::from_str::<serde_json::Value>(line).is_ok();
            assert!(is_json || line.is_empty(), "{arguments:?} shows {line:?}, which is no JSON");
        }
    }
    // Into a pipe they go as they are.
    let piped = sandbox.ok(&["ls", FILES]).stdout;
    let found = sandbox.ok(&["find", FILES]).stdout;
    for name in NAMES {
        assert!(piped.windows(name.len()).any(|window| window == name), "{name:?}");
        assert!(found.windows(name.len()).any(|window| window == name), "{name:?}");
        let path = [FILES.as_bytes(), b"/", name].concat();
        let ran = Ran::of(sandbox.command(&["cat"]).arg(OsStr::from_bytes(&path)).output().expect("runs"));
        assert_eq!((ran.code, ran.stdout.as_slice()), (0, name));
    }
}
