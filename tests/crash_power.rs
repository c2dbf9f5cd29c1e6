//! Promise 1: power lost at any moment, leaving any part of what was not synced, hurts no acknowledged point.

mod common;

use common::power::{Thoroughness, Workload, walk};

#[test]
fn at_every_call_of_a_workload_and_again_in_the_recovery() {
    let thoroughness = Thoroughness { throws: 2, one_in: 3, recoveries_one_in: 40 };
    let counts = walk(&Workload::of_everything(), thoroughness);
    println!("{counts:?}");
    assert!(counts.moments > 140 && counts.cases > 1000 && counts.second_crashes > 100, "{counts:?}");
}

#[test]
fn in_workloads_of_many_small_chunks() {
    for seed in 1..=3 {
        let thoroughness = Thoroughness { throws: 1, one_in: 97, recoveries_one_in: 100 };
        let counts = walk(&Workload::random(seed), thoroughness);
        println!("{seed}: {counts:?}");
        assert!(counts.cases > 20, "{seed}: {counts:?}");
    }
}
