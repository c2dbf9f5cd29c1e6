//! Promise 1: writers at work at once lose nothing that one of them acknowledged, and one that failed publishes nothing more.
#![cfg(shuttle)]

use std::sync::Arc;

use crate::common;
use crate::common::faults::{Call, FaultyFiles, Plan};
use crate::common::model::{self, Bed};
use icecore::Error;
use icecore::media::simulated::SimulatedFiles;
use icecore::store::{Store, Stored, Writer};
use shuttle::sync::Mutex;
use shuttle::thread::spawn;

#[test]
fn two_writers_of_the_same_chunks_both_find_them() {
    model::check(2000, || {
        let bed = Bed::new();
        let here = bed.open();
        let other = if model::dice(2) == 0 { Arc::clone(&here) } else { bed.open() };
        let threads = [(Arc::clone(&here), [1, 2]), (Arc::clone(&other), [2, 1])].map(|(store, numbers)| {
            spawn(move || {
                model::put_all(&store, &numbers);
                for number in numbers {
                    assert!(store.locate(&model::id(&store, number)).is_some(), "the index lacks what is acknowledged");
                    assert!(model::is_there(&store, number));
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().expect("a writer"));
        let opened = bed.open();
        let segments = opened.segments().list().expect("a list").len();
        assert!((2..=4).contains(&segments), "each chunk is there once or twice: {segments} segments");
        for store in [here, other, opened] {
            assert!(model::is_there(&store, 1) && model::is_there(&store, 2));
        }
    });
}

#[test]
fn threads_of_one_writer_store_a_chunk_once() {
    model::check(2000, || {
        let bed = Bed::new();
        let store = bed.open();
        let mut writer = Writer::start(Arc::clone(&store), true);
        let new = stored_new(&writer, &store);
        assert_eq!(new, 2, "of two chunks that three threads stored");
        writer.finish().expect("finished");
        assert_eq!(store.segments().list().expect("a list").len(), 2);
        assert!(model::is_there(&store, 1) && model::is_there(&store, 2));
    });
}

/// Three threads store the same two chunks; returns how many they found new.
fn stored_new(writer: &Writer, store: &Store) -> usize {
    let store_both = || {
        let is_new = |number| matches!(model::put(writer, store, number), Ok(Stored::New { .. }));
        usize::from(is_new(1)) + usize::from(is_new(2))
    };
    shuttle::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(store_both)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    })
}

#[test]
fn backups_at_once_of_one_machine_and_of_two_all_become_points() {
    model::check(500, || {
        let files = SimulatedFiles::new();
        let shared = Arc::new(model::init(&files));
        let bytes = common::noise(1, 8192);
        let machines = [["m", "m"], ["m", "n"]][model::dice(2)];
        let own = (model::dice(2) == 0).then(|| Arc::new(model::open(files.clone())));
        let vaults = [Arc::clone(&shared), own.unwrap_or_else(|| Arc::clone(&shared))];
        let threads: Vec<_> = vaults
            .into_iter()
            .zip(machines)
            .map(|(vault, machine)| {
                let bytes = bytes.clone();
                spawn(move || {
                    common::backup_bytes(&vault, machine, &[("os", &bytes)]).expect("backup").point.id.clone()
                })
            })
            .collect();
        let made: Vec<String> = threads.into_iter().map(|thread| thread.join().expect("a backup")).collect();
        let opened = model::open(files);
        for vault in [&opened, &*shared] {
            vault.refresh().expect("refresh");
            assert_eq!(vault.catalog_damage(), []);
            for (machine, id) in machines.into_iter().zip(&made) {
                let point = vault.point(machine, id).expect("the point");
                common::assert_same(&common::disk_bytes(vault, &point, "os").expect("read"), &bytes, machine);
            }
        }
        assert!(common::verify(&opened).is_clean());
    });
}

#[test]
fn a_writer_that_failed_lets_nobody_hang_and_publishes_nothing_more() {
    model::check(3000, || {
        let bed = Bed::new();
        let files = FaultyFiles::over(Arc::new(bed.files.clone()), Plan::NONE);
        let store = bed.open_over(Arc::new(files.clone()));
        let nth = 1 + model::dice(16) as u64;
        let counts = |call| matches!(call, Call::Create | Call::Write | Call::Sync | Call::Rename);
        files.plan(Plan { nth, counts, ..Plan::NONE });
        let mut writer = Writer::start(Arc::clone(&store), true);
        // What went wrong, and how many segments there were when somebody was told.
        let told: Mutex<Vec<(Error, usize)>> = Mutex::default();
        let published = || bed.open().segments().list().expect("a list").len();
        let store_some = |numbers: [u64; 2]| {
            for number in numbers {
                if let Err(error) = model::put(&writer, &store, number) {
                    let seen = published();
                    told.lock().expect("a list").push((error, seen));
                }
            }
        };
        shuttle::thread::scope(|scope| {
            let threads = [[1, 2], [2, 3], [4, 5]].map(|numbers| {
                let store_some = &store_some;
                scope.spawn(move || store_some(numbers))
            });
            threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        });
        let finished = writer.finish();
        let mut told = told.into_inner().expect("a list");
        if let Err(error) = finished {
            told.push((error, published()));
        } else {
            assert_eq!(files.failed(), 0, "a failure that nobody was told of");
            assert!((1..=5).all(|number| model::is_there(&store, number)));
        }
        told.extend(writer.failure().map(|error| (error, published())));
        let causes = told.iter().filter(|(error, _)| matches!(error, Error::Vault { .. })).count();
        assert!(told.is_empty() || causes > 0, "somebody is told why: {told:?}");
        let kept = writer.abandon();
        let fresh = bed.open();
        let left = fresh.segments().list().expect("a list");
        if let Some((_, seen)) = told.first() {
            assert!(left.len() <= seen + 1, "only the segment that was on its way may still come: {told:?}");
        }
        assert!(left.iter().all(|segment| kept.contains(segment)) && kept.len() == left.len());
        // What the index says is there is there.
        for number in 1..=5 {
            let known = store.locate(&model::id(&store, number)).is_some();
            assert_eq!(known, model::is_there(&fresh, number), "chunk {number}");
        }
    });
}
