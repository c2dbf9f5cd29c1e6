//! Promise 2: whatever happens to the index meanwhile, a look-up finds what is there.
#![cfg(shuttle)]

use std::sync::Arc;

use crate::common::model::{self, Bed};
use shuttle::thread::spawn;

/// A store whose index holds chunks 1 to 3 in a run and in memory, and chunk 9, which is about to go.
fn filled(bed: &Bed) -> Arc<icecore::store::Store> {
    let store = bed.open();
    model::put_all(&store, &[1, 9]);
    store.flush_index().expect("written");
    model::put_all(&store, &[2]);
    store
}

#[test]
fn what_is_there_is_known_while_the_index_is_tidied_and_segments_go() {
    model::check(3000, || {
        let bed = Bed::new();
        let store = filled(&bed);
        let gone = store.locate(&model::id(&store, 9)).expect("known").segment;
        let places = [1, 2].map(|number| (number, store.locate(&model::id(&store, number)).expect("known")));
        let [looks, tidies, removes, writes, refreshes] = [(); 5].map(|()| Arc::clone(&store));
        let threads = [
            spawn(move || {
                for _ in 0..2 {
                    for (number, place) in places {
                        assert_eq!(looks.locate(&model::id(&looks, number)), Some(place), "chunk {number}");
                    }
                }
            }),
            spawn(move || match model::dice(2) {
                0 => tidies.flush_index().expect("written"),
                // What it merges may go while it does.
                _ => {
                    let _ = tidies.keep_whole(&|_, _| true);
                }
            }),
            spawn(move || removes.remove_segments(&[gone]).expect("removed")),
            spawn(move || {
                // More than the table in memory may hold.
                model::put_all(&writes, &[3, 4, 5]);
                for number in [3, 4, 5] {
                    assert!(writes.locate(&model::id(&writes, number)).is_some(), "chunk {number} is stored");
                }
            }),
            spawn(move || refreshes.refresh().expect("refreshed")),
        ];
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        store.refresh().expect("refreshed");
        assert_eq!(store.locate(&model::id(&store, 9)), None, "a segment that is gone answers");
        assert!((1..=5).all(|number| model::is_there(&store, number)));
        assert!((1..=5).all(|number| bed.open().locate(&model::id(&store, number)).is_some()));
    });
}

#[test]
fn what_is_there_is_read_while_the_index_loses_all_that_it_knew() {
    model::check(800, || {
        let bed = Bed::new();
        let store = filled(&bed);
        let [reads, loses, tidies, writes] = [(); 4].map(|()| Arc::clone(&store));
        let threads = [
            spawn(move || assert!((1..=2).all(|number| model::is_there(&reads, number)))),
            spawn(move || loses.keep_whole(&|_, _| false).expect("written")),
            spawn(move || tidies.flush_index().expect("written")),
            spawn(move || {
                model::put_all(&writes, &[3, 4]);
                assert!((3..=4).all(|number| model::is_there(&writes, number)));
            }),
        ];
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        for store in [store, bed.open()] {
            assert!([1, 2, 3, 4, 9].into_iter().all(|number| model::is_there(&store, number)));
        }
    });
}
