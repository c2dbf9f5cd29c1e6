//! Passwords and key files come from files, commands, the environment or a terminal, never from arguments.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cli_support::{Ran, Sandbox, is_root, noise};

fn run(command: &mut Command) -> Ran {
    Ran::of(command.output().expect("the binary runs"))
}

#[test]
fn every_source_opens_the_vault() {
    let sandbox = Sandbox::new();
    sandbox.write("wrong", b"wrong");
    let bare = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env_remove("ICECORE_PASSWORD_FILE");
        command
    };
    assert_eq!(run(bare(&["ls"]).env("ICECORE_PASSWORD", "correct horse")).code, 0);
    assert_eq!(run(bare(&["ls"]).env("ICECORE_PASSWORD_FILE", "password")).code, 0);
    assert_eq!(run(bare(&["ls"]).env("ICECORE_PASSWORD_COMMAND", "cat password")).code, 0);
    assert_eq!(run(&mut bare(&["ls", "--password-file", "password"])).code, 0);
    assert_eq!(run(&mut bare(&["ls", "--password-command", "printf 'correct horse'"])).code, 0);
    // An option counts more than the environment.
    assert_eq!(run(bare(&["ls", "--password-file", "password"]).env("ICECORE_PASSWORD_FILE", "wrong")).code, 0);
    assert_eq!(run(bare(&["ls"]).env("ICECORE_PASSWORD", "")).code, 12);
}

#[test]
fn a_source_that_fails_is_told_and_nobody_is_asked_without_a_terminal() {
    let sandbox = Sandbox::new();
    let none = run(sandbox.command(&["ls"]).env_remove("ICECORE_PASSWORD_FILE"));
    assert!(none.failed(2, &["ls"]).contains("no terminal"));
    assert!(sandbox.fails(1, &["ls", "--password-file", "nope"]).contains("cannot read the password file nope"));
    assert!(sandbox.fails(1, &["ls", "--password-command", "exit 7"]).contains("exit status: 7"));
}

#[test]
fn an_empty_password_makes_no_vault() {
    let sandbox = Sandbox::empty();
    sandbox.write("password", b"\n");
    assert!(sandbox.fails(2, &["init"]).contains("empty"));
    assert!(!sandbox.path("vault").exists());
}

#[test]
fn roles_reach_as_far_as_they_say() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 50_000));
    sandbox.write("backup.key", &noise(2, 64));
    sandbox.write("short.key", b"short");
    sandbox.write("reader", b"reader's password\n");
    assert!(sandbox.fails(2, &["key", "add", "--role", "backup", "--new-key-file", "short.key"]).contains("32"));
    let added = sandbox.ok(&["key", "add", "--role", "backup", "--new-key-file", "backup.key", "--json"]).json();
    assert_eq!((&added["role"], &added["kind"]), (&"backup".into(), &"key-file".into()));
    sandbox.ok(&["key", "add", "--role", "restore", "--new-password-file", "reader"]);

    let backup = |arguments: &[&str]| run(sandbox.command(arguments).env("ICECORE_KEY_FILE", "backup.key"));
    assert_eq!(backup(&["backup", "m", "--disk", "os=os.raw"]).code, 0);
    assert_eq!(backup(&["points"]).code, 0);
    let refused = backup(&["restore", "m/latest", "--disk", "os", "--to", "out"]);
    assert!(refused.failed(12, &["restore"]).contains("role"));
    assert!(!sandbox.path("out").exists());
    assert!(backup(&["key", "list"]).text().contains("in use now"));

    let reader = ["--password-file", "reader"];
    sandbox.ok(&[&reader[..], &["restore", "m/latest", "--disk", "os", "--to", "out"]].concat());
    let more = ["key", "add", "--role", "admin", "--new-key-file", "backup.key"];
    assert!(sandbox.fails(12, &[&reader[..], &more].concat()).contains("admin"));
}

#[test]
fn keys_are_listed_and_removed_but_for_the_last_admin() {
    let sandbox = Sandbox::new();
    sandbox.write("new.key", &noise(2, 64));
    let id =
        sandbox.ok(&["key", "add", "--role", "restore", "--new-key-file", "new.key", "--json"]).json()["id"].clone();
    let keys = sandbox.ok(&["key", "list", "--json"]).json();
    let admin =
        keys.as_array().and_then(|keys| keys.iter().find(|key| key["current"] == true)).expect("the current key");
    assert_eq!(admin["role"], "admin");
    let line = sandbox.fails(1, &["key", "remove", admin["id"].as_str().expect("an id")]);
    assert!(line.contains("last admin") && line.contains("key add --role admin"), "{line}");
    assert!(sandbox.fails(2, &["key", "remove", "xyz"]).contains("key list"));
    sandbox.ok(&["key", "remove", &id.as_str().expect("an id")[..8]]);
    assert_eq!(sandbox.fails(12, &["ls", "--key-file", "new.key"]).matches("wrong").count(), 1);
    assert_eq!(sandbox.ok(&["key", "list", "--json"]).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_process_with_keys_cannot_be_dumped_or_looked_into() {
    let sandbox = Sandbox::new();
    // The command for the password looks at who asks.
    let look = "grep 'Max core file size' /proc/$PPID/limits > limits; stat -c %u /proc/$PPID/limits > owner;
        tr '\\0' '\\n' < /proc/$PPID/cmdline > arguments; echo 'correct horse'";
    std::fs::copy(env!("CARGO_BIN_EXE_icecore"), sandbox.path("icecore")).expect("a copy");
    let mut command = Command::new(sandbox.path("icecore"));
    command.arg("points").current_dir(sandbox.path("."));
    command.env("ICECORE_VAULT", "vault").env("ICECORE_PASSWORD_COMMAND", look);
    command.env("XDG_STATE_HOME", "/dev/null").env_remove("ICECORE_PASSWORD_FILE");
    if is_root() {
        // What root's processes have belongs to root anyway.
        let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(sandbox.path(".")).status();
        assert!(chown.expect("runs").success());
        command.uid(65534).gid(65534);
    }
    let ran = run(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let told = |name: &str| std::fs::read_to_string(sandbox.path(name)).expect(name);
    assert_eq!(told("limits").split_whitespace().nth(4), Some("0"), "{}", told("limits"));
    // What belongs to a process that can't be dumped belongs to root.
    assert_eq!(told("owner").trim(), "0");
    assert!(!told("arguments").contains("horse"));
}
