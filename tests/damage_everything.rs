//! Promise 2: whatever is damaged in a vault, and how, reads give the right bytes or errors that name it, and verify tells.
//!
//! Every bit of every file flipped, every sector zeroed and swapped with every other, every length cut to, files lost,
//! replaced and doubled. A fixed sample of it; with `ICECORE_CAMPAIGN` the others too, in random order, as many as fit into
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
        Damage::Flip { .. } => 31,
        Damage::Truncate { .. } => 23,
        Damage::Swap { .. } => 11,
        Damage::ZeroSector { .. } | Damage::Append { .. } => 2,
        Damage::Remove { .. } | Damage::Replace { .. } | Damage::Duplicate { .. } => 1,
    }
}

#[test]
fn every_bit_sector_length_and_file() {
    let before = getrlimit(Resource::Data);
    setrlimit(Resource::Data, Rlimit { current: Some(MOST_MEMORY), ..before }).expect("a limit of memory");
    let sound = Sound::new();
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
    let count = |of: &dyn Fn(&Verdict) -> bool| found.iter().filter(|(verdict, _)| of(verdict)).map(|(_, n)| n).sum();
    let total: usize = count(&|_| true);
    let detected: usize = count(&|verdict| *verdict == Verdict::Detected);
    let harmless: usize = count(&|verdict| matches!(verdict, Verdict::Harmless(_)));
    let known: usize = count(&|verdict| matches!(verdict, Verdict::Known(_)));
    let wrong: usize = count(&|verdict| matches!(verdict, Verdict::Wrong(_)));
    let named = found.iter().filter_map(|(verdict, number)| match verdict {
        Verdict::Harmless(why) | Verdict::Known(why) => Some(format!("{why}: {number}")),
        _ => None,
    });
    let named = named.collect::<Vec<_>>().join(", ");
    println!(
        "CAMPAIGN: damage to {} bytes: {total} of {all} cases, {detected} detected, {harmless} harmless, {wrong} wrong, {known} known limits \
         ({named})",
        sound.bytes(),
    );
    assert_eq!(wrong, 0);
    assert!(detected > total / 10 && harmless > total / 10 && known >= 3, "{detected}, {harmless}, {known}");
}
