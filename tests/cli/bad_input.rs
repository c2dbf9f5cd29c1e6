//! Bad input gets one line that says what happened, what is safe and what to do; the right exit code; nothing half done.

use std::os::unix::fs::FileExt;

use crate::cli_support;
use crate::cli_support::{Sandbox, SmallDisk, noise, not_run};

fn with_a_point() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 100_000));
    sandbox.ok(&["backup", "web01", "--disk", "os=os.raw"]);
    sandbox
}

#[test]
fn no_vault_there() {
    let sandbox = Sandbox::empty();
    sandbox.write("os.raw", b"x");
    for verb in [&["points"][..], &["verify"], &["backup", "m", "--disk", "os=os.raw"], &["ls"], &["mount", "."]] {
        let line = sandbox.fails(10, verb);
        assert!(line.contains("no vault at vault") && line.contains("icecore init"), "{line}");
    }
    assert!(!sandbox.path("vault").exists());
    let unnamed =
        cli_support::Ran::of(sandbox.command(&["points"]).env_remove("ICECORE_VAULT").output().expect("runs"));
    assert!(unnamed.failed(2, &["points"]).contains("ICECORE_VAULT"));
}

#[test]
fn a_vault_already_there() {
    let sandbox = Sandbox::new();
    let header = std::fs::read(sandbox.path("vault/header")).expect("header");
    assert!(sandbox.fails(1, &["init"]).contains("already holds a vault"));
    assert_eq!(std::fs::read(sandbox.path("vault/header")).expect("header"), header);
    std::fs::create_dir(sandbox.path("full")).expect("a directory");
    sandbox.write("full/letter", b"dear");
    assert!(sandbox.fails(1, &["init", "--vault", "full"]).contains("is not empty"));
    assert_eq!(std::fs::read_dir(sandbox.path("full")).expect("list").count(), 1);
}

#[test]
fn wrong_password() {
    let sandbox = with_a_point();
    sandbox.write("wrong", b"incorrect horse");
    let line = sandbox.fails(12, &["--password-file", "wrong", "points"]);
    assert!(line.contains("wrong password"), "{line}");
}

#[test]
fn unknown_machine_point_disk_or_path() {
    let sandbox = with_a_point();
    for (arguments, word) in [
        (&["points", "db"][..], "no machine named \"db\""),
        (&["restore", "web01/2001-01-01T00-00-00Z", "--disk", "os", "--to", "x"], "no recovery point"),
        (&["restore", "web01/latest", "--disk", "nope", "--to", "x"], "no disk \"nope\""),
        (&["diff", "web01/latest", "web01/latest", "--disk", "nope"], "no disk \"nope\""),
        (&["ls", "web01/latest/nope"], "no such path"),
        (&["cat", "web01/latest/disks/nope.raw"], "no such path"),
        (&["cat", "web01/latest"], "is not a file"),
        (&["find", "nope"], "no such path"),
        (&["cp", "web01/latest/nope", "x"], "no such path"),
        (&["cp", "web01/latest/disks", "x"], "-r"),
    ] {
        let line = sandbox.fails(1, arguments);
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(!sandbox.path("x").exists());
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let sandbox = with_a_point();
    for (arguments, word) in [
        (&[][..], "no verb"),
        (&["bakup"], "'backup'"),
        (&["backup", "web01"], "--disk"),
        (&["backup", "web01", "--disk", "os.raw"], "NAME=PATH"),
        (&["backup", "a/b", "--disk", "os=os.raw"], "machine name"),
        (&["backup", "web01", "--disk", ".=os.raw"], "disk name"),
        (&["backup", "web01", "--disk", "os=os.raw", "--disk", "os=os.raw"], "given twice"),
        (&["backup", "web01", "--disk", "os=os.raw", "--time", "soon"], "2026-11-20"),
        (&["backup", "web01", "--disk", "os=os.raw", "--tag", ""], "tags"),
        (&["restore", "web01", "--disk", "os", "--to", "x"], "MACHINE/POINT"),
        (&["init", "--vault", "v2", "--chunk-size", "100K"], "power of two"),
        (&["init", "--vault", "v2", "--level", "23"], "23"),
        (&["find", "web01", "[a"], "unclosed"),
        (&["cp", "a", "b", "nope"], "not a directory"),
        (&["points", "--password-file", "password", "--key-file", "password"], "more than one"),
    ] {
        let line = sandbox.fails(2, arguments);
        assert!(line.contains(word), "{word} in {line}");
    }
    assert_eq!(sandbox.points(), 1);
    assert!(!sandbox.path("v2").exists());
}

#[test]
fn a_disk_that_is_not_there() {
    let sandbox = with_a_point();
    for disk in ["os=nope.raw", "os=vault"] {
        let line = sandbox.fails(1, &["backup", "web01", "--disk", disk]);
        assert!(line.contains("cannot open disk") && line.contains("no point was made"), "{line}");
    }
    assert_eq!(sandbox.points(), 1);
}

#[test]
fn a_target_that_exists() {
    let sandbox = with_a_point();
    sandbox.write("mine", b"mine");
    let line = sandbox.fails(1, &["restore", "web01/latest", "--disk", "os", "--to", "mine"]);
    assert!(line.contains("--force") && line.contains("nothing was written"), "{line}");
    assert!(sandbox.fails(1, &["cp", "web01/latest/point.json", "mine"]).contains("--force"));
    assert_eq!(std::fs::read(sandbox.path("mine")).expect("mine"), b"mine");
}

#[test]
fn a_target_that_is_too_small() {
    let sandbox = with_a_point();
    let Some(_disk) = SmallDisk::mount(&sandbox.path("small"), 64 << 10) else {
        return not_run("a_target_that_is_too_small", "cannot mount a tmpfs");
    };
    let line = sandbox.fails(1, &["restore", "web01/latest", "--disk", "os", "--to", "small/os"]);
    assert!(line.contains("needs") && line.contains("nothing was written"), "{line}");
    let line = sandbox.fails(1, &["cp", "web01/latest/disks/os.raw", "small/os"]);
    assert!(line.contains("No space left"), "{line}");
    assert_eq!(std::fs::read_dir(sandbox.path("small")).expect("list").count(), 0);
}

#[test]
fn no_space_left_under_the_vault() {
    let sandbox = Sandbox::empty();
    let Some(_disk) = SmallDisk::mount(&sandbox.path("vault"), 4 << 20) else {
        return not_run("no_space_left_under_the_vault", "cannot mount a tmpfs");
    };
    sandbox.ok(&["init"]);
    sandbox.write("small.raw", &noise(1, 1 << 20));
    sandbox.write("large.raw", &noise(2, 8 << 20));
    sandbox.ok(&["backup", "web01", "--disk", "os=small.raw"]);
    let line = sandbox.fails(1, &["backup", "web01", "--disk", "os=large.raw"]);
    assert!(line.contains("no space") && line.contains("given back"), "{line}");
    assert_eq!(sandbox.points(), 1);
    sandbox.ok(&["verify"]);
    sandbox.write("third.raw", &noise(3, 1 << 20));
    sandbox.ok(&["backup", "web01", "--disk", "os=third.raw"]);
}

#[test]
fn a_foreign_or_newer_format() {
    let sandbox = with_a_point();
    let header = sandbox.path("vault/header");
    let whole = std::fs::read(&header).expect("header");
    let write = |bytes: &[u8]| {
        // Both: one alone costs nothing.
        std::fs::write(&header, bytes).expect("write");
        sandbox.ok(&["points"]);
        std::fs::write(sandbox.path("vault/header-copy"), bytes).expect("write");
    };
    write(b"some other program's file");
    let line = sandbox.fails(1, &["points"]);
    assert!(line.contains("header"), "{line}");
    let mut newer = whole.clone();
    newer[8] = 2;
    std::fs::write(sandbox.path("vault/header-copy"), &whole).expect("repair");
    write(&newer);
    let line = sandbox.fails(1, &["points"]);
    assert!(line.contains("version 2") && line.contains("newer icecore"), "{line}");
}

#[test]
fn a_partition_table_that_lies() {
    let sandbox = Sandbox::new();
    // An MBR whose one partition begins beyond the disk's end.
    let mut disk = noise(1, 1 << 20);
    disk[446..512].fill(0);
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    disk[446 + 12..446 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    sandbox.write("os.raw", &disk);
    sandbox.ok(&["backup", "m", "--disk", "os=os.raw"]);
    let listed = sandbox.run(&["ls", "m/latest/files/os"]);
    assert!(listed.code == 0 && listed.text().contains("ERROR"), "{} {}", listed.text(), listed.stderr);
    let raw = sandbox.ok(&["cat", "m/latest/disks/os.raw"]);
    assert!(raw.stdout == disk);
}

#[test]
fn errors_are_json_where_that_is_asked_for() {
    let sandbox = Sandbox::empty();
    for (code, arguments) in [(10, &["points", "--json"][..]), (2, &["--json", "pionts"])] {
        let ran = sandbox.run(arguments);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one JSON value");
        assert_eq!((ran.code, &error["message_type"], &error["code"]), (code, &"exit_error".into(), &code.into()));
        assert!(error["next"].as_str().is_some_and(|next| !next.is_empty()));
    }
}

#[test]
fn a_flipped_byte_in_any_file_of_the_vault() {
    let sandbox = with_a_point();
    sandbox.write("db.raw", &noise(2, 100_000));
    sandbox.ok(&["backup", "db", "--disk", "os=db.raw"]);
    let mut folders = vec![sandbox.path("vault")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("list") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                folders.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    let (mut found, mut harmless) = (0, 0);
    // Files of the index come and go: verify takes what is damaged out of it.
    for path in files.iter().filter(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0)) {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
        let middle = file.metadata().expect("metadata").len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).expect("read");
        file.write_all_at(&[byte[0] ^ 0x40], middle).expect("flip");
        let ran = sandbox.run(&["verify"]);
        if ran.code == 0 {
            // The index is derived: it is made again.
            assert!(path.to_string_lossy().contains("index"), "{} is not checked", path.display());
            harmless += 1;
        } else {
            assert_eq!(ran.code, 1, "{}: {}", path.display(), ran.stderr);
            ran.failed(1, &["verify"]);
            let name = path.strip_prefix(sandbox.path("vault")).expect("below").to_string_lossy().into_owned();
            let told = format!("{}{}", ran.text(), ran.stderr);
            assert!(told.contains(&name), "{name} is not named in {told}");
            found += 1;
        }
        file.write_all_at(&byte, middle).expect("flip back");
    }
    assert!(found >= 6, "{found} found, {harmless} harmless");
    sandbox.ok(&["verify"]);
}
