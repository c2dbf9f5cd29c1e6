//! Keys as an administrator manages them: labels, passwords, recovery keys on paper, keys that a service keeps, rotation.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use crate::cli_support::{Ran, Sandbox, noise};
use serde_json::Value;

fn script(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path = sandbox.write(name, format!("#!/bin/sh\n{text}\n").as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path.to_string_lossy().into_owned()
}

/// Commands that wrap as a service would: the "service" is a directory, and revoking is removing it.
fn service(sandbox: &Sandbox) -> (String, String) {
    std::fs::create_dir(sandbox.path("service")).expect("a directory");
    let folder = sandbox.path("service").to_string_lossy().into_owned();
    let part = |name: &str| format!("sed 's/.*\"{name}\":\"\\([^\"]*\\)\".*/\\1/'");
    let wrap = format!("n=$$; {} > {folder}/$n && printf '{{\"wrapped\":\"%s\"}}' $n", part("key"));
    let unwrap = format!("n=$({}); printf '{{\"key\":\"%s\"}}' \"$(cat {folder}/$n)\"", part("wrapped"));
    (script(sandbox, "wrap", &wrap), script(sandbox, "unwrap", &unwrap))
}

fn without_password(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    run(sandbox.command(arguments).env_remove("ICECORE_PASSWORD_FILE"))
}

fn run(command: &mut Command) -> Ran {
    Ran::of(command.output().expect("the binary runs"))
}

#[test]
fn a_key_that_a_service_keeps_opens_the_vault_until_it_is_revoked() {
    let sandbox = Sandbox::new();
    let (wrap, unwrap) = service(&sandbox);
    let add = ["key", "add", "--role", "restore", "--label", "kms", "--wrap-command", &wrap];
    assert!(sandbox.fails(2, &add).contains("--unwrap-command"), "the new key must be tried");
    let added = sandbox.ok(&[&add[..], &["--new-unwrap-command", &unwrap, "--json"]].concat()).json();
    assert_eq!((&added["kind"], &added["label"]), (&"external-command".into(), &"kms".into()));
    let by_option = without_password(&sandbox, &["ls", "--unwrap-command", &unwrap]);
    assert_eq!((by_option.code, by_option.stderr.as_str()), (0, ""));
    let by_environment =
        run(sandbox.command(&["ls"]).env_remove("ICECORE_PASSWORD_FILE").env("ICECORE_UNWRAP_COMMAND", &unwrap));
    assert_eq!(by_environment.code, 0, "{}", by_environment.stderr);
    // A rotation does not ask the service.
    std::fs::rename(sandbox.path("service"), sandbox.path("away")).expect("renamed");
    sandbox.ok(&["key", "rotate"]);
    let revoked = without_password(&sandbox, &["ls", "--unwrap-command", &unwrap]);
    assert_eq!(revoked.code, 12, "{}", revoked.stderr);
    std::fs::rename(sandbox.path("away"), sandbox.path("service")).expect("renamed");
    assert_eq!(without_password(&sandbox, &["ls", "--unwrap-command", &unwrap]).code, 0);
    // No file of the vault names the command.
    for file in std::fs::read_dir(sandbox.path("vault/keys")).expect("slots").flatten() {
        let bytes = std::fs::read(file.path()).expect("a slot");
        assert!(!bytes.windows(6).any(|window| window == b"unwrap"));
    }
}

#[test]
fn a_vault_can_begin_with_a_key_that_a_service_keeps() {
    let sandbox = Sandbox::empty();
    let (wrap, unwrap) = service(&sandbox);
    let made = without_password(&sandbox, &["init", "--wrap-command", &wrap, "--unwrap-command", &unwrap]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    let listed = without_password(&sandbox, &["key", "list", "--unwrap-command", &unwrap]);
    assert!(listed.text().contains("external command"), "{}", listed.text());
    let half = Sandbox::empty();
    let refused = without_password(&half, &["init", "--unwrap-command", &unwrap]);
    assert!(refused.failed(2, &["init"]).contains("--wrap-command"));
}

#[test]
fn commands_that_fail_hang_or_print_rubbish_are_told_and_add_nothing() {
    let sandbox = Sandbox::new();
    let (wrap, unwrap) = service(&sandbox);
    let long = format!("head -c 200000 /dev/zero | tr '\\0' x; {}", "exit 0");
    let short_key = "printf '{\"key\":\"AAAA\"}'";
    for (what, wrap_text, unwrap_text, said) in [
        ("fails", "exit 7", "", "exit status: 7"),
        ("prints nothing", "true", "", "prints no JSON"),
        ("prints rubbish", "echo hello", "", "prints no JSON"),
        ("prints other JSON", "echo '{\"wrap\":1}'", "", "without a string \"wrapped\""),
        ("prints too much", long.as_str(), "", "more than 64 KiB"),
        ("prints for ever", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", "", "more than 64 KiB"),
        ("hangs", "sleep 1000", "", "took too long"),
        ("hangs when all is said", "exec 1>&-; sleep 1000", "", "took too long"),
        (
            "wraps too much",
            "printf '{\"wrapped\":\"'; head -c 20000 /dev/zero | tr '\\0' x; printf '\"}'",
            "",
            "16 KiB",
        ),
        ("can't undo it", "", "exit 3", "exit status: 3"),
        ("gives another key", "", "printf '{\"key\":\"!\"}'", "not base64"),
        ("gives a short key", "", short_key, "not 32 bytes"),
    ] {
        let wrap = if wrap_text.is_empty() { wrap.clone() } else { script(&sandbox, "bad-wrap", wrap_text) };
        let unwrap = if unwrap_text.is_empty() { unwrap.clone() } else { script(&sandbox, "bad-unwrap", unwrap_text) };
        let began = Instant::now();
        let arguments = [
            "key",
            "add",
            "--role",
            "admin",
            "--wrap-command",
            &wrap,
            "--new-unwrap-command",
            &unwrap,
            "--key-timeout",
            "2s",
        ];
        let ran = sandbox.run(&arguments);
        assert!(ran.code == 12 || ran.code == 2, "{what}: {} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains(said), "{what}: {}", ran.stderr);
        assert!(began.elapsed().as_secs() < 30, "{what} took {:?}", began.elapsed());
        assert_eq!(sandbox.ok(&["key", "list", "--json"]).json().as_array().expect("keys").len(), 1, "{what}");
    }
    assert!(
        sandbox
            .run(&["key", "add", "--role", "admin", "--wrap-command", "/nowhere", "--new-unwrap-command", &unwrap])
            .failed(12, &["key"])
            .contains("can't be started")
    );
    // What it says itself is shown.
    let complains = script(&sandbox, "complains", "echo 'token expired' >&2; exit 1");
    let ran = without_password(&sandbox, &["ls", "--unwrap-command", &complains]);
    assert_eq!(ran.code, 12, "no slot of that kind is there");
    sandbox.ok(&["key", "add", "--role", "admin", "--wrap-command", &wrap, "--new-unwrap-command", &unwrap]);
    let ran = without_password(&sandbox, &["ls", "--unwrap-command", &complains]);
    assert!(
        ran.code == 12 && ran.stderr.contains("token expired\n") && ran.stderr.contains("exit status: 1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_recovery_key_is_printed_once_and_opens_the_vault() {
    let sandbox = Sandbox::empty();
    let printed = sandbox.ok(&["init", "--recovery-key"]);
    let text = printed.text();
    let mut words: Vec<(usize, String)> = Vec::new();
    let tokens: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(' ') || line.starts_with(char::is_numeric))
        .flat_map(str::split_whitespace)
        .collect();
    for pair in tokens.windows(2) {
        if let Ok(number) = pair[0].parse::<usize>()
            && pair[1].bytes().all(|byte| byte.is_ascii_lowercase())
        {
            words.push((number, pair[1].to_owned()));
        }
    }
    assert_eq!(words.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=24).collect::<Vec<_>>(), "{text}");
    assert!(text.contains('\u{2588}') || text.contains('\u{2584}'), "a QR code of text blocks");
    let words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    sandbox.write("safe", words.join(" ").as_bytes());
    let listed = without_password(&sandbox, &["key", "list", "--recovery-key=safe", "--json"]).json();
    let recovery =
        listed.as_array().expect("keys").iter().find(|key| key["kind"] == "recovery-key").expect("listed").clone();
    assert_eq!(
        (&recovery["role"], &recovery["current"], &recovery["label"]),
        (&"admin".into(), &true.into(), &"recovery".into())
    );
    // Another day: by words, after the password was lost and the keys rotated.
    sandbox.ok(&["key", "rotate"]);
    assert_eq!(without_password(&sandbox, &["points", "--recovery-key=safe"]).code, 0);
    // A slip is told by name.
    sandbox.write("slip", words.join(" ").replacen(&words[4], "windwos", 1).as_bytes());
    let slip = without_password(&sandbox, &["ls", "--recovery-key=slip"]);
    assert!(slip.failed(2, &["ls"]).contains("word 5, windwos"), "{}", slip.stderr);
    let swapped: Vec<&String> = words[1..].iter().chain(&words[..1]).collect();
    let swapped: Vec<String> = swapped.into_iter().cloned().collect();
    sandbox.write("swapped", swapped.join(" ").as_bytes());
    assert!(matches!(without_password(&sandbox, &["ls", "--recovery-key=swapped"]).code, 2 | 12));
    let nobody = without_password(&sandbox, &["ls", "--recovery-key"]);
    assert!(nobody.failed(2, &["ls"]).contains("no terminal"));
    assert!(sandbox.fails(2, &["init", "--recovery-key=safe", "--vault", "other"]).contains("no recovery key yet"));
    // By `key add`, for programs.
    let added = sandbox.ok(&["key", "add", "--role", "restore", "--recovery", "--json"]).json();
    sandbox.write("second", added["words"].as_str().expect("words").as_bytes());
    assert_eq!(without_password(&sandbox, &["ls", "--recovery-key=second"]).code, 0);
}

#[test]
fn keys_are_labelled_changed_and_removed() {
    let sandbox = Sandbox::new();
    sandbox.write("new.key", &noise(2, 64));
    sandbox.write("better", b"a better one\n");
    let long = "x".repeat(65);
    for wrong in ["a\u{7}b", long.as_str()] {
        assert!(
            sandbox
                .fails(2, &["key", "add", "--role", "backup", "--label", wrong, "--new-key-file", "new.key"])
                .contains("label")
        );
    }
    sandbox.ok(&["key", "add", "--role", "backup", "--label", "web01 \u{e4}", "--new-key-file", "new.key"]);
    assert!(sandbox.ok(&["key", "list"]).text().contains("web01 \u{e4}"));
    let own = |sandbox: &Sandbox| {
        let keys = sandbox.ok(&["key", "list", "--json"]).json();
        let current = |key: &&Value| key["current"] == true;
        keys.as_array()
            .expect("keys")
            .iter()
            .find(current)
            .and_then(|key| key["id"].as_str())
            .expect("an id")
            .to_owned()
    };
    let before = own(&sandbox);
    sandbox.ok(&["key", "passwd", "--new-password-file", "better"]);
    assert_eq!(sandbox.run(&["ls"]).code, 12, "the old password opens no more");
    std::fs::copy(sandbox.path("better"), sandbox.path("password")).expect("the new password");
    assert_ne!(own(&sandbox), before);
    let refused =
        run(sandbox.command(&["key", "passwd", "--new-password-file", "better"]).env("ICECORE_KEY_FILE", "new.key"));
    assert!(refused.failed(12, &["passwd"]).contains("admin"));
    // The last administrator stays, and one's own key goes only where that is said.
    assert!(sandbox.fails(1, &["key", "remove", &own(&sandbox), "--own"]).contains("last admin"));
    sandbox.write("two.key", &noise(3, 64));
    sandbox.ok(&["key", "add", "--role", "admin", "--new-key-file", "two.key"]);
    assert!(sandbox.fails(1, &["key", "remove", &own(&sandbox)]).contains("--own"));
    sandbox.ok(&["key", "remove", &own(&sandbox), "--own"]);
    assert_eq!(sandbox.run(&["ls"]).code, 12);
}

#[test]
fn a_rotation_shuts_out_a_key_that_is_put_back() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 200_000));
    sandbox.write("old.key", &noise(2, 64));
    sandbox.ok(&["backup", "m", "--disk", "os=os.raw"]);
    let id =
        sandbox.ok(&["key", "add", "--role", "restore", "--new-key-file", "old.key", "--json"]).json()["id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    let file = format!("vault/keys/{id}-00000000.slot");
    std::fs::copy(sandbox.path(&file), sandbox.path("kept")).expect("kept");
    sandbox.ok(&["key", "remove", &id]);
    let rotated = sandbox.ok(&["key", "rotate", "--rewrite", "--json"]).json_lines();
    assert_eq!((&rotated[0]["message_type"], &rotated[0]["epoch"]), (&"rotated".into(), &1.into()));
    let last = rotated.last().expect("a line");
    assert_eq!((&last["message_type"], &last["left"]), (&"rewritten".into(), &Value::Array(Vec::new())));
    assert!(last["records"].as_u64().expect("a number") >= 50, "{last}");
    std::fs::copy(sandbox.path("kept"), sandbox.path(&file)).expect("put back");
    let refused = run(sandbox.command(&["ls"]).env("ICECORE_KEY_FILE", "old.key"));
    let line = refused.failed(12, &["ls"]);
    assert!(line.contains("from before the rotation of 20"), "{line}");
    assert!(sandbox.ok(&["key", "list"]).text().contains("removed and put back"));
    let again = sandbox.run(&["key", "rotate"]);
    assert!(again.code == 0 && again.stderr.contains(&id), "{}", again.stderr);
    sandbox.ok(&["restore", "m/latest", "--disk", "os", "--to", "out"]);
    assert!(std::fs::read(sandbox.path("out")).expect("restored") == noise(1, 200_000));
    let report = sandbox.ok(&["verify"]);
    assert_eq!(report.code, 0);
}

#[test]
fn what_could_not_be_told_is_not_said_to_be_undone() {
    let sandbox = Sandbox::new();
    let full = |arguments: &[&str]| {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there is /dev/full");
        run(sandbox.command(arguments).stdout(full))
    };
    let keys = || sandbox.ok(&["key", "list", "--json"]).json().as_array().expect("keys").len();
    // Words that nobody read are words that nobody has.
    let told = full(&["key", "add", "--role", "admin", "--recovery"]).failed(1, &["key add"]);
    assert!(told.contains("could not be printed") && told.contains("removed again"), "{told}");
    assert_eq!(keys(), 1);
    sandbox.write("second", b"second password");
    let told = full(&["key", "add", "--role", "restore", "--new-password-file", "second"]).failed(1, &["key add"]);
    assert!(told.contains("stays done") && told.contains("icecore key list"), "{told}");
    assert_eq!(keys(), 2);
    let told = full(&["init", "--vault", "other"]).failed(1, &["init"]);
    assert!(told.contains("stays done"), "{told}");
    sandbox.ok(&["points", "--vault", "other"]);
}
