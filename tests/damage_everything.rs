//! Promise 2: whatever is damaged in a vault, and how, reads give the right bytes or errors that name it, and verify tells.
//!
//! Every bit of every file flipped, every sector zeroed, runs of them too, and swapped with every other, every length cut
//! to, files lost, replaced and doubled. With parity (promise 3), all that is within it is corrected. A fixed sample of it; with `ICECORE_CAMPAIGN` the others too, in random order, as many as fit into
//! `ICECORE_CAMPAIGN_SECONDS` (default 120). All take three quarters of an hour on two cores.

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::Random;
use common::damage::{Damage, Sound, Verdict};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory that the test may have, in bytes: an allocation by a damaged number ends it.
const MOST_MEMORY: u64 = 1 << 30;

/// Of so many cases with damage, one is followed by another backup.
const NEXT_BACKUP_ONE_IN: usize = 16;

/// In a sample, of so many cases one is looked at.
fn one_in(damage: &Damage) -> usize {
    match damage {
        Damage::Flip { .. } if damage.is_to_the_index() => 331,
        Damage::Flip { .. } if damage.is_only_to("parity") => 1009,
        Damage::Truncate { .. } if damage.is_only_to("parity") => 211,
        Damage::Flip { .. } => 61,
        Damage::Truncate { .. } => 47,
        Damage::Swap { .. } if damage.is_to_parity() => 61,
        Damage::Swap { .. } => 11,
        Damage::ZeroSectors { .. } | Damage::Append { .. } => 2,
        Damage::Remove { .. } | Damage::Replace { .. } | Damage::Duplicate { .. } => 1,
    }
}

/// How often something became of damage.
#[derive(Default)]
struct Counts {
    corrected: usize,
    detected: usize,
    harmless: usize,
    known: usize,
    wrong: usize,
}

impl Counts {
    fn of(found: &BTreeMap<Verdict, usize>) -> Self {
        let mut counts = Self::default();
        for (verdict, number) in found {
            *match verdict {
                Verdict::Corrected => &mut counts.corrected,
                Verdict::Detected => &mut counts.detected,
                Verdict::Harmless(_) => &mut counts.harmless,
                Verdict::Known(_) => &mut counts.known,
                Verdict::Wrong(_) => &mut counts.wrong,
            } += number;
        }
        counts
    }

    fn total(&self) -> usize {
        self.corrected + self.detected + self.harmless + self.known + self.wrong
    }
}

/// Damages a vault in all ways of the sample, and tells what became of it.
fn damage(sound: &Sound, what: &str) -> Counts {
    let numbered = sound.cases().into_iter().enumerate();
    let (mut cases, mut others): (Vec<_>, Vec<_>) =
        numbered.partition(|(number, (_, damage))| number.is_multiple_of(one_in(damage)));
    let (sample, all) = (cases.len(), cases.len() + others.len());
    let mut until = None;
    if let Some(time) = common::campaign() {
        until = Some(Instant::now() + time);
        let mut random = Random(u64::from(std::process::id()));
        others.sort_by_cached_key(|_| random.below(u64::MAX));
        cases.append(&mut others);
    }
    let found: Mutex<BTreeMap<Verdict, usize>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= sample && until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let Some((number, (base, damage))) = cases.get(at) else { break };
            let is_flip = matches!(damage, Damage::Flip { .. });
            let and_next = number.is_multiple_of(NEXT_BACKUP_ONE_IN) || (damage.is_to_the_index() && !is_flip);
            let Some(verdict) = sound.judge(*base, damage, and_next) else { continue };
            if let Verdict::Wrong(what) = &verdict {
                println!("WRONG: {damage:?} ({base:?}): {what}");
            }
            *found.lock().expect("found").entry(verdict).or_default() += 1;
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().expect("a worker"));
    });
    let found = found.into_inner().expect("found");
    let counts = Counts::of(&found);
    let named = found.iter().filter_map(|(verdict, number)| match verdict {
        Verdict::Harmless(why) | Verdict::Known(why) => Some(format!("{why}: {number}")),
        _ => None,
    });
    let named = named.collect::<Vec<_>>().join(", ");
    println!(
        "CAMPAIGN: damage to {} bytes{what}: {} of {all} cases, {} corrected, {} detected, {} harmless, {} wrong, {} known limits \
         ({named})",
        sound.bytes(),
        counts.total(),
        counts.corrected,
        counts.detected,
        counts.harmless,
        counts.wrong,
        counts.known,
    );
    assert_eq!(counts.wrong, 0);
    counts
}

fn limit_memory() {
    let before = getrlimit(Resource::Data);
    setrlimit(Resource::Data, Rlimit { current: Some(MOST_MEMORY), ..before }).expect("a limit of memory");
}

#[test]
fn every_bit_sector_length_and_file() {
    limit_memory();
    let counts = damage(&Sound::new(0), "");
    let Counts { detected, harmless, known, corrected, .. } = counts;
    let total = counts.total();
    assert!(detected > total / 10 && harmless > total / 10 && known >= 3, "{detected}, {harmless}, {known}");
    assert_eq!(corrected, 0, "without parity nothing is");
}

#[test]
fn what_parity_reaches_is_corrected_whatever_it_is() {
    limit_memory();
    let counts = damage(&Sound::new(5), " with parity");
    let Counts { corrected, detected, .. } = counts;
    assert!(corrected > counts.total() / 4 && detected > 100, "{corrected}, {detected}");
}
