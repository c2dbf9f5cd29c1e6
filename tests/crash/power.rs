//! Promise 1: power lost at any moment, leaving any part of what was not synced, hurts no acknowledged point.
//!
//! With `ICECORE_CAMPAIGN` set, everything is looked at that is sampled otherwise, and random workloads go on for
//! `ICECORE_CAMPAIGN_SECONDS` (120, if not set). A seed that fails there belongs into `SEEDS`.

use std::time::Instant;

use crate::common;
use crate::common::power::{Counts, Thoroughness, Workload, walk};

/// Seeds of workloads that are walked through each time.
const SEEDS: [u64; 3] = [1, 2, 3];

fn tell(what: &str, counts: &Counts, began: Instant) {
    println!(
        "CAMPAIGN: power, {what}: {} calls, {} crashes, {} of them different, {} more in the recovery, {:.0} s",
        counts.moments,
        counts.crashes,
        counts.cases,
        counts.second_crashes,
        began.elapsed().as_secs_f64(),
    );
}

#[test]
fn at_every_call_of_a_workload_and_again_in_the_recovery() {
    let began = Instant::now();
    let thoroughness = if common::campaign().is_some() {
        Thoroughness { throws: 20, one_in: 1, recoveries_one_in: 4 }
    } else {
        Thoroughness { throws: 1, one_in: 23, recoveries_one_in: 60 }
    };
    let counts = walk(&Workload::of_everything(), thoroughness);
    tell("every kind of write", &counts, began);
    assert!(counts.moments > 140 && counts.cases > 400 && counts.second_crashes > 40, "{counts:?}");
}

#[test]
fn in_workloads_of_many_small_chunks() {
    let began = Instant::now();
    let mut all = Counts::default();
    let mut walk_seed = |seed| {
        println!("seed {seed}");
        let counts = walk(&Workload::random(seed), Thoroughness { throws: 1, one_in: 97, recoveries_one_in: 100 });
        assert!(counts.cases > 20, "{seed}: {counts:?}");
        all.moments += counts.moments;
        all.crashes += counts.crashes;
        all.cases += counts.cases;
        all.second_crashes += counts.second_crashes;
    };
    SEEDS.iter().copied().for_each(&mut walk_seed);
    common::campaign_seeds(began).for_each(&mut walk_seed);
    tell("random workloads", &all, began);
}
