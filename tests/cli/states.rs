//! Promise 5: what stands between a volume as it is shown and as its guest would see it is told wherever somebody looks:
//! in `point.json`, in the listing, and by every verb that reads files of a volume that is stale.

use std::path::Path;
use std::process::Command;

use crate::cli_support::{Sandbox, not_run};

fn tool(program: &str, arguments: &[&str]) -> Option<()> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).env("PATH", path).args(arguments).output().ok()?;
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// A file system of a directory, changed by commands of debugfs.
fn image(path: &Path, options: &[&str], from: &Path, commands: &str) -> Option<()> {
    std::fs::File::create(path).and_then(|file| file.set_len(16 << 20)).expect("an image");
    let (image, from) = (path.to_str().expect("UTF-8"), from.to_str().expect("UTF-8"));
    tool("mke2fs", &[&["-q", "-F", "-d", from], options, &[image]].concat())?;
    let script = path.with_extension("script");
    std::fs::write(&script, commands).expect("a script");
    tool("debugfs", &["-w", "-f", script.to_str().expect("UTF-8"), image])
}

/// A machine with one disk for each state; `None` where the tools are missing.
fn machine(test: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::new();
    let root = sandbox.path("guest");
    std::fs::create_dir_all(root.join("etc")).expect("a directory");
    std::fs::create_dir_all(root.join("bin")).expect("a directory");
    std::fs::write(root.join("etc/hostname"), "web01\n").expect("a file");
    std::fs::write(root.join("etc/os-release"), "ID=debian\nPRETTY_NAME=\"Debian \u{85} 12\"\n").expect("a file");
    let block = sandbox.write("block", &[7; 3072]);
    let journal = format!("jo\njw -b 9000,9001,9002 {}\njc\n", block.display());
    let ext4 = ["-t", "ext4", "-O", "^metadata_csum"];
    let stale = "ssv journal_inum 0\nfeature needs_recovery\n";
    for (name, options, commands) in [
        ("clean", &ext4[..], ""),
        ("errors", &ext4, "ssv state 3\n"),
        ("replayed", &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"], &journal),
        ("stale", &ext4, stale),
        ("plain", &["-t", "ext2"], "ssv state 0\n"),
    ] {
        if image(&sandbox.path(&format!("{name}.raw")), options, &root, commands).is_none() {
            not_run(test, "e2fsprogs are missing");
            return None;
        }
    }
    let disks = ["clean", "errors", "replayed", "stale", "plain"].map(|name| format!("{name}={name}.raw"));
    let arguments: Vec<&str> = disks.iter().flat_map(|disk| ["--disk", disk]).collect();
    sandbox.ok(&[&["backup", "m"], arguments.as_slice()].concat());
    Some(sandbox)
}

#[test]
fn each_state_is_told_in_point_json() {
    let Some(sandbox) = machine("each_state_is_told_in_point_json") else { return };
    let json = sandbox.ok(&["cat", "m/latest/point.json"]).json();
    let volume = |disk: usize, pointer: &str| json.pointer(&format!("/volumes/{disk}/volumes/0{pointer}"));
    let states: Vec<_> = (0..5).map(|disk| volume(disk, "/state/is").and_then(|is| is.as_str())).collect();
    let expected = ["clean", "clean", "replayed", "stale", "not-unmounted"];
    assert_eq!(states, expected.map(Some), "{json:#}");
    assert_eq!(volume(1, "/has_recorded_errors"), Some(&true.into()));
    assert_eq!(volume(0, "/has_recorded_errors"), None);
    assert_eq!(volume(2, "/state/transactions"), Some(&1.into()));
    assert!(volume(2, "/state/blocks").and_then(serde_json::Value::as_u64).is_some_and(|blocks| blocks > 0));
    assert_eq!(volume(3, "/state/reason"), Some(&"its journal lies on another device".into()));
    assert_eq!(volume(0, "/used_bytes").is_some(), volume(0, "/uuid").is_some());
    // What the guest is called comes from the first of these, all of which look like its root.
    assert_eq!(json.pointer("/guest/host_name"), Some(&"web01".into()));
    assert_eq!(json.pointer("/guest/from"), Some(&"clean/whole".into()));
    let text = sandbox.ok(&["cat", "m/latest/point.json"]);
    assert!(
        text.text().chars().all(|character| character == '\n' || !character.is_control()),
        "nothing drives a terminal"
    );
    assert_eq!(sandbox.ok(&["points", "m/latest", "--json"]).json(), json);
    let told = sandbox.ok(&["points", "m/latest"]);
    for part in ["web01", "Debian", "STALE: its journal lies", "not unmounted", "replayed: 1 transaction", "met errors"]
    {
        assert!(told.text().contains(part), "{part}: {}", told.text());
    }
    sandbox.fails(2, &["points", "m/"]);
}

#[test]
fn a_stale_volume_is_never_read_in_silence() {
    let Some(sandbox) = machine("a_stale_volume_is_never_read_in_silence") else { return };
    assert_eq!(sandbox.ok(&["ls", "m/latest/files/stale"]).text(), "whole\nwhole.STALE\n");
    let note = sandbox.ok(&["cat", "m/latest/files/stale/whole.STALE"]);
    assert!(note.text().contains("newer changes are missing: its journal lies on another device"), "{}", note.text());
    let files = "m/latest/files/stale/whole";
    let file = format!("{files}/etc/hostname");
    let point = sandbox.latest("m");
    let warning = format!(
        "icecore: m/{point}/files/stale/whole is shown as of its last checkpoint, newer changes are missing: \
         its journal lies on another device\n"
    );
    let verbs: [&[&str]; 8] = [
        &["ls", files],
        &["ls", "-l", &file],
        &["cat", &file, &file],
        &["find", files],
        &["find", "m/latest", "hostname"],
        &["cp", &file, "one"],
        &["cp", "-r", files, "all"],
        &["cp", "-r", "m/latest/files", "more"],
    ];
    for verb in verbs {
        let ran = sandbox.run(verb);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, warning.as_str()), "{verb:?}");
    }
    let json = sandbox.run(&["cat", &file, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stderr).expect("JSON");
    assert_eq!(json["message_type"], "warning");
    for disk in ["clean", "replayed", "plain"] {
        sandbox.ok(&["find", &format!("m/latest/files/{disk}")]);
    }
}
