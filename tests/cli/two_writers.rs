//! Section 5, "Many at once": processes that back up at the same time find each other's chunks from the next opening on.

use std::process::Stdio;

use crate::cli_support::{Ran, Sandbox, noise};

/// Machines that are backed up at the same time, and how often.
const WRITERS: u64 = 3;
const ROUNDS: u64 = 3;

/// What the newest line of a backup says was new to the vault, in bytes.
fn new_bytes(ran: &Ran) -> u64 {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.json_lines().pop().expect("a summary")["new_bytes"].as_u64().expect("a number")
}

#[test]
fn who_opens_the_vault_next_knows_what_two_processes_stored_at_once() {
    let sandbox = Sandbox::new();
    let own = 1 << 20;
    for round in 0..ROUNDS {
        for writer in 0..WRITERS {
            sandbox.write(&format!("{writer}.raw"), &noise(100 * round + writer, own));
        }
        let started: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (machine, disk) = (format!("m{writer}"), format!("os={writer}.raw"));
                let mut command = sandbox.command(&["backup", &machine, "--disk", &disk, "--json"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
            })
            .collect();
        for child in started {
            assert_eq!(new_bytes(&Ran::of(child.wait_with_output().expect("its end"))), own as u64);
        }
        for writer in 0..WRITERS {
            let (machine, disk) = (format!("clone{writer}"), format!("os={writer}.raw"));
            let ran = sandbox.run(&["backup", &machine, "--disk", &disk, "--json"]);
            assert_eq!(new_bytes(&ran), 0, "round {round}: what m{writer} stored is known");
        }
    }
    let stats = sandbox.ok(&["stats", "--json"]).json();
    assert_eq!(stats["points"], 2 * WRITERS * ROUNDS);
    assert!(stats["index_runs"].as_u64() <= Some(8), "{stats}");
    assert_eq!(sandbox.ok(&["verify", "--json"]).json()["clean"], true);
}
