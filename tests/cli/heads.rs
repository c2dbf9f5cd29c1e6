//! Promise 4: nobody can roll stored data back unnoticed: by heads that were kept elsewhere, and by what this user has seen.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli_support::{Ran, Sandbox, noise};

fn back_up(sandbox: &Sandbox, machine: &str, seed: u64) {
    sandbox.write("os.raw", &noise(seed, 50_000));
    sandbox.ok(&["backup", machine, "--disk", "os=os.raw"]);
}

fn copy(sandbox: &Sandbox, from: &str, to: &str) {
    let _ = fs::remove_dir_all(sandbox.path(to));
    let status = Command::new("cp").arg("-a").arg(sandbox.path(from)).arg(sandbox.path(to)).status();
    assert!(status.expect("runs").success());
}

/// The entries of a machine's chain, by the number that `points --head` tells.
fn entries(sandbox: &Sandbox, machine: &str) -> Vec<PathBuf> {
    let heads = sandbox.ok(&["points", machine, "--head", "--json"]).json();
    let chain = heads["chains"][0]["chain"].as_str().expect("a chain").to_owned();
    let listed = fs::read_dir(sandbox.path("vault/catalog").join(chain)).expect("a chain");
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
}

fn keep(sandbox: &Sandbox, name: &str) {
    let heads = sandbox.ok(&["points", "--head"]);
    sandbox.write(name, &heads.stdout);
}

/// Runs `verify --expect`, with a key and without.
fn verify(sandbox: &Sandbox, heads: &str) -> [Ran; 2] {
    [&[][..], &["--scrub"]].map(|more| sandbox.run(&[&["verify", "--expect", heads][..], more].concat()))
}

#[test]
fn heads_that_were_kept_tell_what_went_back() {
    let sandbox = Sandbox::new();
    keep(&sandbox, "empty");
    back_up(&sandbox, "web01", 1);
    back_up(&sandbox, "web01", 2);
    back_up(&sandbox, "db", 3);
    copy(&sandbox, "vault", "old");
    keep(&sandbox, "then");
    back_up(&sandbox, "web01", 4);
    back_up(&sandbox, "mail", 5);
    keep(&sandbox, "now");
    for heads in ["empty", "then", "now"] {
        for ran in verify(&sandbox, heads) {
            assert_eq!(ran.code, 0, "{heads}: {}", ran.stderr);
            assert!(ran.text().contains("every chain went on"), "{}", ran.text());
        }
    }
    // An older copy of the whole vault, as whole as it was.
    copy(&sandbox, "vault", "new");
    copy(&sandbox, "old", "vault");
    for ran in verify(&sandbox, "now") {
        assert_eq!(ran.code, 1);
        assert!(
            ran.text().contains("web01: its catalog had 3 entries and has 2: the newest are gone"),
            "{}",
            ran.text()
        );
        assert!(ran.text().contains("mail: its catalog had 1 entry and has 0"), "{}", ran.text());
        assert!(ran.stderr.contains("2 of 3 chains did not go on from where now has them"), "{}", ran.stderr);
    }
    let _ = fs::remove_dir_all(sandbox.path("state"));
    assert_eq!(sandbox.ok(&["verify", "--expect", "then"]).code, 0);
    // The old copy went on by itself: as long as the one that was seen, and another.
    back_up(&sandbox, "web01", 6);
    for ran in verify(&sandbox, "now") {
        assert!(ran.text().contains("web01: entry 3 of its catalog is another one than it was"), "{}", ran.text());
    }
    // So does a rotation that is undone: the vault's own chain is one of them.
    copy(&sandbox, "new", "vault");
    fs::remove_dir_all(sandbox.path("state")).expect("removed");
    sandbox.ok(&["key", "rotate", "--quiet"]);
    keep(&sandbox, "rotated");
    copy(&sandbox, "new", "vault");
    for ran in verify(&sandbox, "rotated") {
        assert!(ran.text().contains("had 1 entry and has 0: the newest are gone"), "{}", ran.text());
        assert!(ran.stderr.contains("1 of 4 chains did not go on"), "{}", ran.stderr);
    }
    // Damage there is no proof of anything.
    copy(&sandbox, "new", "vault");
    fs::remove_dir_all(sandbox.path("state")).expect("removed");
    let last = entries(&sandbox, "web01").pop().expect("an entry");
    let mut bytes = fs::read(&last).expect("an entry");
    bytes[100] ^= 1;
    fs::write(&last, &bytes).expect("written");
    for ran in verify(&sandbox, "now") {
        assert!(ran.text().contains("entry 3 of its catalog can't be compared"), "{}", ran.text());
        assert_eq!(ran.code, 1);
    }
    // Nor is it noted as if it were the chain's end: once it is whole again, all is well.
    let heads = sandbox.run(&["points", "--head"]);
    assert!(heads.code == 3 && !String::from_utf8_lossy(&heads.stdout).contains("web01"), "{}", heads.stderr);
    bytes[100] ^= 1;
    fs::write(&last, &bytes).expect("written");
    sandbox.ok(&["ls"]);
    sandbox.ok(&["verify", "--expect", "now"]);
    // Heads that were cut short are not heads of fewer machines.
    let kept = fs::read_to_string(sandbox.path("now")).expect("heads");
    sandbox.write("short", kept.lines().take(3).collect::<Vec<_>>().join("\n").as_bytes());
    assert!(sandbox.fails(2, &["verify", "--expect", "short"]).contains("cut short"));
}

#[test]
fn what_is_no_heads_file_of_this_vault_is_refused() {
    let sandbox = Sandbox::new();
    back_up(&sandbox, "web01", 1);
    keep(&sandbox, "heads");
    sandbox.write("rubbish", &noise(1, 1000));
    for more in [&[][..], &["--scrub"]] {
        let with = |file| [&["verify", "--expect", file][..], more].concat();
        assert!(sandbox.fails(1, &with("nowhere")).contains("nowhere"));
        assert!(sandbox.fails(2, &with("rubbish")).contains("icecore heads 1"));
        fs::rename(sandbox.path("vault"), sandbox.path("kept")).expect("moved");
        sandbox.ok(&["init", "--password-file", "password"]);
        assert!(sandbox.fails(2, &with("heads")).contains("it tells of another vault"));
        fs::remove_dir_all(sandbox.path("vault")).expect("removed");
        fs::rename(sandbox.path("kept"), sandbox.path("vault")).expect("moved");
    }
    assert!(sandbox.fails(1, &["points", "nobody", "--head"]).contains("nobody"));
}

fn state(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.path("state/icecore");
    fs::read_dir(folder).expect("the state").next().expect("a file").expect("entry").path()
}

fn warned(ran: &Ran) -> bool {
    ran.stderr.contains("is this an older copy of the vault")
}

#[test]
fn opening_warns_of_a_head_that_went_back_behind_what_was_seen() {
    let sandbox = Sandbox::new();
    back_up(&sandbox, "web01", 1);
    back_up(&sandbox, "db", 2);
    copy(&sandbox, "vault", "old");
    back_up(&sandbox, "web01", 3);
    // Seen at the next opening, whatever verb that is.
    sandbox.ok(&["ls"]);
    let kept = state(&sandbox);
    assert!(!fs::read_to_string(&kept).expect("the state").contains("web01"), "no names outside the vault");
    copy(&sandbox, "vault", "new");
    copy(&sandbox, "old", "vault");
    for verb in [&["ls"][..], &["points"], &["points", "--json"], &["stats"], &["verify"]] {
        let ran = sandbox.run(verb);
        assert_eq!(ran.code, 0, "{verb:?}: it is a warning");
        assert!(warned(&ran) && ran.stderr.contains("web01: its catalog had 2 entries and has 1"), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    // What it forks into does not hide it; only the right one does.
    back_up_warned(&sandbox, "web01", 4);
    assert!(sandbox.run(&["ls"]).stderr.contains("web01: entry 2 of its catalog is another one"));
    copy(&sandbox, "new", "vault");
    sandbox.ok(&["ls"]);
    // Who put it back says so.
    copy(&sandbox, "old", "vault");
    assert!(warned(&sandbox.run(&["ls"])));
    fs::remove_file(&kept).expect("removed");
    sandbox.ok(&["ls"]);
    sandbox.ok(&["ls"]);
}

// A copy that is kept elsewhere is behind whenever it was not brought up to date: that is no news.
#[test]
fn a_copy_of_a_vault_is_compared_with_what_was_seen_of_it() {
    let sandbox = Sandbox::new();
    back_up(&sandbox, "web01", 1);
    copy(&sandbox, "vault", "replica");
    back_up(&sandbox, "web01", 2);
    sandbox.ok(&["ls"]);
    let at = |place: &str, verb: &[&str]| sandbox.run(&[&["--vault", place], verb].concat());
    for place in ["replica", "vault", "replica", "./replica/../replica"] {
        assert_eq!((at(place, &["ls"]).code, at(place, &["ls"]).stderr.as_str()), (0, ""), "{place}");
    }
    copy(&sandbox, "replica", "older");
    copy(&sandbox, "vault", "replica");
    assert_eq!(at("replica", &["ls"]).stderr, "");
    copy(&sandbox, "older", "replica");
    assert!(warned(&at("replica", &["ls"])), "where it was seen, it went back");
    // It was moved, and an older copy is there now instead of it.
    fs::remove_dir_all(sandbox.path("replica")).expect("removed");
    fs::rename(sandbox.path("vault"), sandbox.path("moved")).expect("moved");
    assert_eq!(at("moved", &["ls"]).stderr, "", "as far as ever");
    fs::remove_dir_all(sandbox.path("moved")).expect("removed");
    for _ in 0..2 {
        let ran = at("older", &["points"]);
        assert!(warned(&ran) && ran.stderr.contains("web01: its catalog had 2 entries and has 1"), "{}", ran.stderr);
    }
}

#[test]
fn nobody_can_hide_that_a_vault_went_back() {
    let sandbox = Sandbox::new();
    back_up(&sandbox, "web01", 1);
    back_up(&sandbox, "db", 2);
    copy(&sandbox, "vault", "old");
    back_up(&sandbox, "web01", 3);
    // A backup notes the point that it made: nothing was opened since.
    back_up(&sandbox, "db", 4);
    copy(&sandbox, "old", "vault");
    let web = entries_of_old(&sandbox);
    let next = web.with_file_name(format!("{:016x}.entry", 1));
    let behind = |ran: &Ran| ran.stderr.contains("db: its catalog had 2 entries and has 1");
    assert!(behind(&sandbox.run(&["ls"])));
    // A link that leads nowhere, a directory, rubbish where the head was and behind it: each is told, and none is believed.
    symlink(&next, &next).expect("a link");
    let ran = sandbox.run(&["ls"]);
    assert!(behind(&ran) && ran.stderr.contains("entry 2 of its catalog can't be compared"), "{}", ran.stderr);
    fs::remove_file(&next).expect("removed");
    fs::create_dir(&next).expect("a directory");
    assert!(behind(&sandbox.run(&["ls"])));
    fs::remove_dir(&next).expect("removed");
    for number in [1, 9] {
        let rubbish = web.with_file_name(format!("{number:016x}.entry"));
        fs::write(&rubbish, b"rubbish").expect("written");
        let ran = sandbox.run(&["ls"]);
        assert!(behind(&ran) && ran.stderr.contains("can't be compared"), "{number}: {}", ran.stderr);
        fs::remove_file(&rubbish).expect("removed");
        assert!(sandbox.run(&["ls"]).stderr.contains("web01: its catalog had 2 entries and has 1"), "{number}");
    }
    // A chain that was put elsewhere, behind a link, is read as ever.
    let chain = web.parent().expect("a chain");
    fs::rename(chain, sandbox.path("hidden")).expect("moved");
    symlink(sandbox.path("hidden"), chain).expect("a link");
    assert!(sandbox.run(&["ls"]).stderr.contains("web01: its catalog had 2 entries and has 1"));
    assert!(sandbox.run(&["ls"]).text().contains("web01"));
}

/// The first entry of the chain that has the machine web01.
fn entries_of_old(sandbox: &Sandbox) -> PathBuf {
    let heads = sandbox.run(&["points", "web01", "--head", "--json"]).json();
    let chain = heads["chains"][0]["chain"].as_str().expect("a chain").to_owned();
    sandbox.path("vault/catalog").join(chain).join(format!("{:016x}.entry", 0))
}

fn back_up_warned(sandbox: &Sandbox, machine: &str, seed: u64) {
    sandbox.write("os.raw", &noise(seed, 50_000));
    let ran = sandbox.run(&["backup", machine, "--disk", "os=os.raw"]);
    assert!(ran.code == 0 && warned(&ran), "{}", ran.stderr);
}

#[test]
fn without_a_place_for_it_nothing_is_seen_and_all_works() {
    let sandbox = Sandbox::new();
    back_up(&sandbox, "web01", 1);
    let kept = state(&sandbox);
    // A file that is none is written anew.
    fs::write(&kept, noise(2, 500)).expect("written");
    sandbox.ok(&["ls"]);
    assert!(fs::read_to_string(&kept).expect("the state").contains("\nicecore heads 1\n"));
    // A place that can't be one.
    fs::remove_dir_all(sandbox.path("state")).expect("removed");
    sandbox.write("state", b"");
    sandbox.ok(&["ls"]);
    // None at all.
    let mut nowhere = sandbox.command(&["ls"]);
    nowhere.env_remove("XDG_STATE_HOME").env_remove("HOME");
    let ran = Ran::of(nowhere.output().expect("runs"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(fs::metadata(sandbox.path("state")).is_ok_and(|state| state.is_file()));
    assert!(!Path::new(&sandbox.path(".local")).exists());
}

#[test]
fn what_an_administrator_did_is_seen_at_once() {
    let sandbox = Sandbox::new();
    back_up(&sandbox, "web01", 1);
    back_up(&sandbox, "web01", 2);
    sandbox.write("second", b"second password");
    let acts: [&[&str]; 4] = [
        &["forget", "web01/latest"],
        &["soft-delete", "--grace", "30d"],
        &["key", "rotate"],
        &["key", "passwd", "--new-password-file", "second"],
    ];
    for act in acts {
        copy(&sandbox, "vault", "before");
        sandbox.ok(act);
        copy(&sandbox, "vault", "after");
        copy(&sandbox, "before", "vault");
        let ran = sandbox.run(&["points"]);
        assert!(ran.stderr.contains("the newest are gone"), "{act:?}: {}", ran.stderr);
        copy(&sandbox, "after", "vault");
    }
}
