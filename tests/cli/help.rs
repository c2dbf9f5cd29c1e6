//! Every verb explains itself with examples; man pages and completions come from the same definition.

use crate::cli_support::Sandbox;

const VERBS: [&str; 26] = [
    "init",
    "backup",
    "points",
    "ls",
    "cat",
    "cp",
    "find",
    "diff",
    "restore",
    "verify",
    "repair",
    "copy",
    "forget",
    "undelete",
    "protect",
    "soft-delete",
    "quota",
    "policy",
    "machine",
    "gc",
    "stats",
    "bench",
    "mount",
    "umount",
    "key",
    "man",
];

#[test]
fn every_verb_has_examples() {
    let sandbox = Sandbox::empty();
    for verb in VERBS.into_iter().chain(["completions"]) {
        let help = sandbox.ok(&[verb, "--help"]);
        let examples =
            help.text().split_once("Examples:").map_or(0, |(_, examples)| examples.matches("icecore ").count());
        assert!(examples >= 2, "{verb} has {examples} examples");
        assert!(help.text().contains("--vault"), "{verb}");
    }
    let help = sandbox.ok(&["--help"]);
    for words in ["MACHINE/POINT/files", "ICECORE_PASSWORD_COMMAND", "130"] {
        assert!(help.text().contains(words), "{words}");
    }
}

#[test]
fn completions_and_man_pages_know_every_verb() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.ok(&["completions", shell]);
        assert!(VERBS.iter().all(|verb| script.text().contains(verb)), "{shell}");
    }
    assert!(sandbox.ok(&["man"]).text().contains(".TH icecore 1"));
    sandbox.ok(&["man", "--out", "man/man1"]);
    for verb in VERBS {
        assert!(sandbox.path(&format!("man/man1/icecore-{verb}.1")).exists(), "{verb}");
    }
    assert!(sandbox.ok(&["--version"]).text().starts_with("icecore "));
}
