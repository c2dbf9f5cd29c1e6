//! Promises 1, 2 and 6: points are copied into another vault after an exact list, with keys of its own, and whoever is killed
//! or interrupted goes on.

use std::process::Stdio;
use std::time::Duration;

use crate::cli_support::{Ran, Sandbox, ext4, noise, not_run};
use icecore::Vault;
use icecore::seal::{Credential, PasswordCost};
use icecore::vault::InitOptions;
use rustix::process::{Pid, Signal, kill_process};

const TO: [&str; 4] = ["--to", "target", "--to-password-file", "to-password"];

fn target(sandbox: &Sandbox, name: &str, options: &InitOptions) {
    let cheap = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };
    let options = InitOptions { password_cost: cheap, ..options.clone() };
    Vault::init(&sandbox.path(name), &Credential::password(*b"battery staple"), &options).expect("init");
    sandbox.write("to-password", b"battery staple\n");
}

/// A vault with two points of `web` and one of `db`, and an empty target.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut disk = noise(1, 2_000_000);
    for day in 1..=2 {
        disk[500_000..510_000].copy_from_slice(&noise(day, 10_000));
        sandbox.write("os.raw", &disk);
        sandbox.ok(&["backup", "web", "--disk", "os=os.raw", "--time", &format!("2026-11-0{day} 02:00"), "--tag", "t"]);
    }
    sandbox.write("db.raw", &noise(9, 300_000));
    sandbox.ok(&["backup", "db", "--disk", "os=db.raw"]);
    let small = InitOptions { chunk_bytes: 4096, segment_bytes: 1 << 20, ..InitOptions::default() };
    target(&sandbox, "target", &InitOptions { parity_percent: 0, ..small });
    sandbox
}

fn copy<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["copy"], arguments, &TO].concat()
}

fn in_target(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    command.env("ICECORE_VAULT", "target").env("ICECORE_PASSWORD_FILE", "to-password");
    let ran = Ran::of(command.output().expect("the binary runs"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran
}

#[test]
fn a_person_copies_what_the_target_lacks() {
    let sandbox = sandbox();
    let planned = sandbox.ok(&copy(&["-n"]));
    assert_eq!(planned.text().matches("would copy ").count(), 3, "{}", planned.text());
    assert!(planned.text().contains("would copy web/2026-11-01T02-00-00Z\nwould copy web/2026-11-02T02-00-00Z\n"));
    let json = sandbox.ok(&copy(&["-n", "--json", "web/latest"])).json();
    assert_eq!((&json["points"][0]["point"], &json["as_files"]), (&"web/2026-11-02T02-00-00Z".into(), &false.into()));
    let done = sandbox.ok(&copy(&["web"]));
    assert!(done.text().contains("copying web/2026-11-01T02-00-00Z") && done.text().contains("copied 2 points in"));
    let json = sandbox.ok(&copy(&["--json"])).json_lines().pop().expect("a summary");
    assert_eq!((&json["message_type"], json["points"].as_array().map(Vec::len)), (&"copied".into(), Some(1)));
    assert!(json["new_bytes"].as_u64().is_some_and(|bytes| bytes == 300_000), "{json}");
    assert!(sandbox.ok(&copy(&[])).text().contains("there is nothing to copy"));
    assert!(sandbox.ok(&copy(&["db/latest"])).text().contains("is not copied: it is there"));
    assert_eq!(sandbox.ok(&copy(&["-q"])).text(), "");
    assert_eq!(in_target(&sandbox, &["points", "--json"]).json().as_array().map(Vec::len), Some(3));
    for disk in ["web/2026-11-01T02-00-00Z/disks/os.raw", "web/latest/disks/os.raw", "db/latest/disks/os.raw"] {
        let expected = sandbox.ok(&["cat", disk]);
        assert!(in_target(&sandbox, &["cat", disk]).stdout == expected.stdout, "{disk}");
    }
    let here = sandbox.ok(&["cat", "web/latest/point.json"]).json();
    let there = in_target(&sandbox, &["cat", "web/latest/point.json"]).json();
    for same in ["point", "time", "tags", "started", "consistency"] {
        assert_eq!(here[same], there[same], "{same}");
    }
    in_target(&sandbox, &["verify"]);
    // By the environment, with what opens the target a key file away.
    sandbox.write("key", &noise(5, 64));
    in_target(&sandbox, &["key", "add", "--role", "backup", "--new-key-file", "key"]);
    sandbox.ok(&["backup", "db", "--disk", "os=db.raw"]);
    let mut command = sandbox.command(&["copy"]);
    command.env("ICECORE_TO_VAULT", "target").env("ICECORE_TO_KEY_FILE", "key");
    let ran = Ran::of(command.output().expect("the binary runs"));
    assert!(ran.code == 0 && ran.text().contains("copied 1 point in"), "{} {}", ran.text(), ran.stderr);
}

#[test]
fn guests_files_come_through() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("guest/etc")).expect("a directory");
    let content = noise(7, 400_000);
    sandbox.write("guest/etc/blob", &content);
    if ext4(&sandbox.path("guest.raw"), &sandbox.path("guest"), 16 << 20).is_none() {
        not_run("guests_files_come_through", "e2fsprogs are missing");
        return;
    }
    sandbox.ok(&["backup", "vm", "--disk", "os=guest.raw"]);
    sandbox.ok(&copy(&["vm"]));
    assert!(in_target(&sandbox, &["cat", "vm/latest/files/os/whole/etc/blob"]).stdout == content);
}

#[test]
fn wrong_input_is_told_in_a_line() {
    let sandbox = sandbox();
    sandbox.fails(2, &["copy"]);
    sandbox.fails(2, &["copy", "--to", ""]);
    sandbox.fails(2, &copy(&["web/latest/disks"]));
    let told = sandbox.fails(2, &["copy", "--to", "target"]);
    assert!(told.contains("ICECORE_TO_PASSWORD_FILE"), "{told}");
    let told = sandbox.fails(2, &copy(&["--to-key-file", "password"]));
    assert!(told.contains("--to-key-file") && told.contains("one of them"), "{told}");
    let told = sandbox.fails(10, &["copy", "--to", "nowhere", "--to-password-file", "to-password"]);
    assert!(told.contains("the target: no vault") && told.contains("check --to"), "{told}");
    let told = sandbox.fails(12, &["copy", "--to", "target", "--to-password-file", "password"]);
    assert!(told.contains("the target: wrong password") && told.contains("ICECORE_TO_PASSWORD_FILE"), "{told}");
    assert!(sandbox.fails(1, &["copy", "--to", "target", "--to-password-file", "none"]).contains("none"));
    assert!(
        sandbox.fails(2, &["copy", "--to", "vault", "--to-password-file", "password"]).contains("the vault itself")
    );
    assert!(sandbox.fails(1, &copy(&["mail"])).contains("no machine named"));
    assert!(sandbox.fails(1, &copy(&["web/2020-01-01T00-00-00Z"])).contains("no recovery point"));
    target(&sandbox, "other", &InitOptions { chunk_bytes: 8192, ..InitOptions::default() });
    let told = sandbox.fails(2, &["copy", "--to", "other", "--to-password-file", "to-password"]);
    assert!(told.contains("another size") && told.contains("nothing was copied"), "{told}");
    assert_eq!(in_target(&sandbox, &["points", "--json"]).json().as_array().map(Vec::len), Some(0));
}

#[test]
fn damage_ends_with_three_and_names_the_range() {
    let sandbox = sandbox();
    let data = |file: &std::path::PathBuf| std::fs::read(file).expect("read")[12] == 1;
    let all =
        std::fs::read_dir(sandbox.path("vault/segments")).expect("listed").map(|entry| entry.expect("one").path());
    // Of the first point, which the second shares: of each data segment of a megabyte, one chunk.
    let large = |file: &std::path::PathBuf| file.metadata().expect("stat").len() > 1_000_000;
    let segment = all.filter(|file| data(file) && large(file)).min().expect("one");
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[200_000] ^= 1;
    std::fs::write(&segment, bytes).expect("damaged");
    let ran = sandbox.run(&copy(&[]));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("was not copied: damaged: segments/") && ran.stderr.contains("disk \"os\" bytes "));
    assert!(ran.text().contains("copied 1 point in"), "{}", ran.text());
    assert_eq!(in_target(&sandbox, &["points", "--json"]).json().as_array().map(Vec::len), Some(1));
    let json = sandbox.run(&copy(&["--json"])).json_lines().pop().expect("a summary");
    assert_eq!(json["failed"].as_array().map(Vec::len), Some(2), "{json}");
    in_target(&sandbox, &["verify"]);
}

#[test]
fn a_copy_of_the_same_vault_goes_on_and_is_not_taken_for_an_old_one() {
    let sandbox = sandbox();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(sandbox.path("vault")).arg(sandbox.path("twin")).status();
    assert!(copied.expect("cp").success());
    sandbox.write("db.raw", &noise(10, 300_000));
    sandbox.ok(&["backup", "db", "--disk", "os=db.raw"]);
    let to = ["copy", "--to", "twin", "--to-password-file", "password"];
    let planned = sandbox.ok(&[&to[..], &["-n"]].concat());
    assert!(planned.text().contains("1 catalog entry of the same vault as they are"), "{}", planned.text());
    let done = sandbox.ok(&to);
    assert!(done.text().contains("copied 1 point, 2 segments and 1 catalog entry in"), "{}", done.text());
    let json = sandbox.ok(&[&to[..], &["--json"]].concat()).json_lines().pop().expect("a summary");
    assert_eq!((&json["as_files"], &json["entries"]), (&true.into(), &0.into()));
    let twin = sandbox.ok(&["--vault", "twin", "cat", "db/latest/disks/os.raw"]);
    assert!(twin.stdout == noise(10, 300_000));
    // By somebody else: what this account saw of the twin it would miss in the vault.
    let mut forget = sandbox.command(&["--vault", "twin", "forget", "web/2026-11-01T02-00-00Z"]);
    forget.env("XDG_STATE_HOME", sandbox.path("others"));
    assert!(forget.output().expect("the binary runs").status.success());
    let told = sandbox.fails(2, &to);
    assert!(told.contains("went another way") && told.contains("nothing was copied"), "{told}");
}

#[test]
fn who_is_killed_or_interrupted_goes_on() {
    let sandbox = Sandbox::with(&InitOptions { segment_bytes: 1 << 20, ..InitOptions::default() });
    for day in 0..3 {
        sandbox.write("os.raw", &noise(day, 12 << 20));
        sandbox.ok(&["backup", "m", "--disk", "os=os.raw"]);
    }
    target(&sandbox, "target", &InitOptions { segment_bytes: 1 << 20, ..InitOptions::default() });
    for round in 0..8 {
        let mut command = sandbox.command(&copy(&["-q"]));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        std::thread::sleep(Duration::from_millis(15 + 20 * round));
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::INT };
        // It may have been faster.
        let _ = kill_process(Pid::from_child(&child), signal);
        child.wait().expect("ends");
        let points = in_target(&sandbox, &["points", "--json"]).json();
        for point in points.as_array().expect("an array") {
            let disk = format!("m/{}/disks/os.raw", point["id"].as_str().expect("an id"));
            assert!(in_target(&sandbox, &["cat", &disk]).stdout == sandbox.ok(&["cat", &disk]).stdout, "round {round}");
        }
    }
    sandbox.ok(&copy(&[]));
    assert_eq!(in_target(&sandbox, &["points", "--json"]).json().as_array().map(Vec::len), Some(3));
    in_target(&sandbox, &["verify"]);
}
