//! Promise 1: power that is lost while policies and machines are set, and a machine is claimed and backed up, leaves what was
//! acknowledged and at most one step more, never half of one, and the next call goes on.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::common;
use crate::common::faults::{FaultyFiles, Plan};
use crate::common::power::VAULT;
use icecore::media::simulated::{Crash, Operation, SimulatedFiles};
use icecore::policy::{LockEnd, Machine, Policy};
use icecore::{Error, Vault};

fn vault_on(disk: &SimulatedFiles) -> Vault {
    let files = FaultyFiles::over(Arc::new(disk.clone()), Plan::NONE);
    files.open(Path::new(VAULT)).expect("it opens")
}

fn policy(retention: &str, locked_until: Option<LockEnd>) -> Policy {
    Policy { locked_until, ..Policy::new(retention.parse().expect("a retention")) }
}

fn machine() -> Machine {
    let disks = [("os".to_owned(), "/images/os.raw".into())].into();
    Machine { disks, policy: Some("gold".to_owned()), ..Machine::default() }
}

/// What is done, one step after the other; each is a promise once it returned.
const STEPS: usize = 5;

fn step(vault: &Vault, step: usize) {
    let done = match step {
        0 => vault.set_policy("gold", &policy("daily=7", None)),
        1 => vault.set_machine("web", &machine()),
        2 => vault.claim("web").and_then(|claim| {
            assert!(claim.is_some(), "a claim ends with its process");
            common::backup_bytes(vault, "web", &[("os", &common::noise(1, 60_000))]).map(drop)
        }),
        3 => vault.set_policy("gold", &policy("daily=8", Some(LockEnd::Ever))),
        // What is locked is refused, and nothing is written.
        _ => match vault.remove_machine("web") {
            Err(Error::PolicyLocked { .. }) => Ok(()),
            other => panic!("{other:?}"),
        },
    };
    done.expect("a step");
}

/// How many steps can be seen to be done.
fn seen(vault: &Vault) -> usize {
    let documents = vault.documents().expect("read");
    match documents.policy("gold") {
        Err(_) => 0,
        Ok(found) if found == policy("daily=8", Some(LockEnd::Ever)) => STEPS,
        Ok(found) => {
            assert_eq!(found, policy("daily=7", None));
            match documents.machine("web") {
                Err(_) => 1,
                Ok(found) => {
                    assert_eq!(found, machine());
                    2 + usize::from(vault.points("web").is_ok())
                }
            }
        }
    }
}

#[test]
fn power_is_lost_at_any_call() {
    let disk = SimulatedFiles::new();
    drop(FaultyFiles::over(Arc::new(disk.clone()), Plan::NONE).init(Path::new(VAULT), &common::small()).expect("init"));
    let made = disk.trace();
    let mut crash = Crash::before(&made);
    while crash.step().is_some() {}
    let disk = SimulatedFiles::from_image(crash.image(icecore::media::simulated::Left::Everything)).expect("an image");
    let vault = vault_on(&disk);
    for number in 0..STEPS {
        step(&vault, number);
        disk.note("acknowledged");
    }
    drop(vault);
    let trace = disk.trace();
    let (mut crash, mut images, mut acknowledged) = (Crash::before(&trace), HashSet::new(), 0);
    loop {
        for left in crash.ways(2) {
            let image = crash.image(left);
            if !images.insert((image.hash(), acknowledged)) {
                continue;
            }
            let vault = vault_on(&SimulatedFiles::from_image(image).expect("an image"));
            assert!(vault.catalog_damage().is_empty(), "{:?}", vault.catalog_damage());
            let done = seen(&vault);
            // Of the last step nothing can be seen.
            let most = if acknowledged >= 3 { STEPS } else { acknowledged + 1 };
            assert!((acknowledged..=most).contains(&done), "{acknowledged}: {done}");
            for number in done..STEPS {
                step(&vault, number);
            }
            assert_eq!(seen(&vault), STEPS);
        }
        match crash.step() {
            None => break,
            Some(Operation::Note(_)) => acknowledged += 1,
            Some(_) => {}
        }
    }
    assert!(acknowledged == STEPS && images.len() > 50, "{acknowledged} {}", images.len());
}
