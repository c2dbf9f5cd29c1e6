//! Promise 2, and 5, on hostile bytes: whatever a decoder gets, it takes or refuses it, without a panic and in bounded
//! memory, and what it takes is what was written.
//!
//! The targets of the fuzzer without the fuzzer: every seed, and some thousand mutations of the seeds, the same in every
//! run. What the fuzzer found lies among the seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use icecore_fuzz::budget::{self, Counting, MOST_BYTES};
use icecore_fuzz::mutate::{Random, mutate};
use icecore_fuzz::{TARGETS, Target, seeds};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Mutated inputs of each target.
const ROUNDS: u64 = 3000;

/// Feeds one input; whether it was taken. A panic tells the input, since nobody could find it again.
fn feed(target: &Target, what: &str, data: &[u8]) -> bool {
    let (taken, bytes) = budget::peak(|| catch_unwind(AssertUnwindSafe(|| (target.run)(data))));
    let hex = || data.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(bytes <= MOST_BYTES, "{}: {what}: {bytes} bytes were live at a time: {}", target.name, hex());
    taken.unwrap_or_else(|_| panic!("{}: {what} panics: {}", target.name, hex()))
}

// One test: the allocator counts for the whole program.
#[test]
fn seeds_are_taken_and_mutations_of_them_do_no_harm() {
    for target in &TARGETS {
        let seeds = seeds::read(target.name).unwrap_or_else(|error| panic!("{}: its seeds: {error}", target.name));
        let (_, first) = seeds.first().unwrap_or_else(|| panic!("{}: there is no seed", target.name));
        // What is loaded once is no input's.
        feed(target, "the first seed", first);
        let mut taken = 0;
        for (name, bytes) in &seeds {
            assert!(bytes.len() <= target.longest, "{}: {name} is longer than its target takes", target.name);
            let is_taken = feed(target, name, bytes);
            assert!(is_taken || name.starts_with("found-"), "{}: {name} is refused: see make-seeds", target.name);
        }
        let mut random = Random::new(target.longest as u64);
        for round in 0..ROUNDS {
            let (name, seed) = &seeds[random.below(seeds.len())];
            let (_, other) = &seeds[random.below(seeds.len())];
            let mut bytes = seed.clone();
            mutate(&mut bytes, other, &mut random);
            taken += u64::from(feed(target, &format!("round {round}, {name}"), &bytes));
        }
        println!("{}: {} seeds, {ROUNDS} mutations, {taken} of them taken", target.name, seeds.len());
        // Where nearly all is refused at the first check, the test says nothing of what lies behind.
        assert!(taken * 50 > ROUNDS, "{}: of {ROUNDS} mutations only {taken} are taken", target.name);
        assert!(taken < ROUNDS, "{}: every mutation is taken", target.name);
    }
}

#[test]
fn seeds_are_small() {
    let all: usize =
        TARGETS.iter().flat_map(|target| seeds::read(target.name).expect("seeds")).map(|(_, bytes)| bytes.len()).sum();
    assert!(all < 300 << 10, "{all} bytes");
}
