//! Promise 1: while segments are removed, what is acknowledged is never taken for stored where it is not.
#![cfg(shuttle)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common;
use crate::common::faults::{Call, Fault, FaultyFiles, Plan};
use crate::common::model::{self, Bed};
use icecore::format::Id;
use icecore::media::LockKind;
use icecore::media::simulated::SimulatedFiles;
use icecore::store::Store;
use shuttle::thread::spawn;

/// Chunk 1, which a backup that gave up has left in segments, and whether a point needs it by now. The flag stands for the
/// catalog: it is looked at and changed under the writers' lock only.
struct Left {
    bed: Bed,
    segments: Vec<Id>,
    needed: AtomicBool,
}

impl Left {
    /// Chunk 1 in so many segments. Each writer opens the store before the others are through, so each stores it.
    fn in_segments(count: usize) -> Self {
        let bed = Bed::new();
        let stores: Vec<_> = (0..count).map(|_| bed.open()).collect();
        stores.iter().for_each(|store| model::put_all(store, &[1]));
        let segments = bed.open().segments().list().expect("a list");
        assert_eq!(segments.len(), count);
        Self { bed, segments, needed: AtomicBool::new(false) }
    }

    /// Removes the segments one after the other as long as no point needs them.
    fn remove(&self, store: &Store) {
        for segment in &self.segments {
            let _alone = model::lock(store, LockKind::Exclusive);
            if !self.needed.load(Ordering::SeqCst) {
                store.remove_segments(&[*segment]).expect("removed");
            }
        }
    }

    /// Makes a point that needs chunk 1.
    fn back_up(&self, store: &Arc<Store>) {
        let _shared = model::lock(store, LockKind::Shared);
        store.refresh_for_writing().expect("refresh");
        model::put_all(store, &[1]);
        self.needed.store(true, Ordering::SeqCst);
    }

    /// What must be true at the end, for all who were there and for who opens the vault now.
    fn check(&self, stores: &[&Arc<Store>]) {
        assert!(self.needed.load(Ordering::SeqCst));
        assert!(model::is_there(&self.bed.open(), 1), "an acknowledged chunk is gone");
        for store in stores {
            assert!(model::is_there(store, 1), "an acknowledged chunk is not found");
        }
    }
}

/// Runs things at once, in threads of their own.
fn at_once(works: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = works.into_iter().map(spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
}

/// A segment that a reader just learns of, a chunk of which a writer of the same process needs.
#[test]
fn a_segment_that_is_removed_while_its_table_is_read_does_not_come_back() {
    model::check(4000, || {
        let bed = Bed::new();
        let here = bed.open();
        let there = bed.open();
        model::put_all(&there, &[1]);
        let segments = there.segments().list().expect("a list");
        let left = Arc::new(Left { bed, segments, needed: AtomicBool::new(false) });
        let remover = if model::dice(2) == 0 { Arc::clone(&here) } else { Arc::clone(&there) };
        let (for_remover, for_reader) = (Arc::clone(&left), Arc::clone(&here));
        let for_writer = (Arc::clone(&left), Arc::clone(&here));
        at_once(vec![
            Box::new(move || for_reader.refresh().expect("refreshed")),
            Box::new(move || for_remover.remove(&remover)),
            Box::new(move || for_writer.0.back_up(&for_writer.1)),
        ]);
        left.check(&[&here, &there]);
    });
}

/// A reader that looks for a chunk in all segments, because the one that it knows of is gone.
#[test]
fn a_copy_that_is_removed_while_it_is_looked_for_does_not_come_back() {
    model::check(4000, || {
        let left = Arc::new(Left::in_segments(2));
        let [here, there] = [(); 2].map(|()| left.bed.open());
        let remover = if model::dice(2) == 0 { Arc::clone(&here) } else { Arc::clone(&there) };
        let [for_reader, for_writer] = [(); 2].map(|()| (Arc::clone(&left), Arc::clone(&here)));
        let for_remover = Arc::clone(&left);
        at_once(vec![
            Box::new(move || {
                model::is_there(&for_reader.1, 1);
            }),
            Box::new(move || for_remover.remove(&remover)),
            Box::new(move || for_writer.0.back_up(&for_writer.1)),
        ]);
        left.check(&[&here, &there]);
    });
}

/// The index becomes runs while a segment that it covers goes.
#[test]
fn a_segment_that_is_removed_while_the_index_is_written_does_not_come_back() {
    model::check(4000, || {
        let left = Arc::new(Left::in_segments(1));
        let [here, there] = [(); 2].map(|()| left.bed.open());
        let remover = if model::dice(2) == 0 { Arc::clone(&here) } else { Arc::clone(&there) };
        let (for_remover, for_tidier) = (Arc::clone(&left), Arc::clone(&here));
        let for_writer = (Arc::clone(&left), Arc::clone(&here));
        at_once(vec![
            Box::new(move || match model::dice(2) {
                0 => for_tidier.flush_index().expect("written"),
                // What it merges may go while it does.
                _ => {
                    let _ = for_tidier.keep_whole(&|_, _| true);
                }
            }),
            Box::new(move || for_remover.remove(&remover)),
            Box::new(move || for_writer.0.back_up(&for_writer.1)),
        ]);
        left.check(&[&here, &there]);
    });
}

/// The whole engine: a backup that finds the medium full gives its segments back, while another stores the same and a
/// reader is at an older point.
#[test]
fn a_backup_that_gives_its_space_back_takes_nothing_from_another() {
    model::check(600, || {
        let files = SimulatedFiles::new();
        let old = common::noise(1, 8192);
        let new = common::noise(2, 8192);
        let shared = Arc::new(model::init(&files));
        let point = common::backup_bytes(&shared, "m", &[("os", &old)]).expect("backup").point;
        let full = FaultyFiles::over(Arc::new(files.clone()), Plan::NONE);
        let refused = model::open(full.clone());
        let nth = 4 + model::dice(6) as u64;
        full.plan(Plan { nth, for_ever: true, fault: Fault::Fails(libc::ENOSPC), counts: |call| call == Call::Write });
        let (for_writer, bytes) = (Arc::clone(&shared), new.clone());
        let writer = spawn(move || common::backup_bytes(&for_writer, "n", &[("os", &bytes)]).expect("backup").point);
        let (for_reader, point_read, bytes) = (Arc::clone(&shared), Arc::clone(&point), old.clone());
        let reader = spawn(move || {
            let read = common::disk_bytes(&for_reader, &point_read, "os").expect("an older point");
            common::assert_same(&read, &bytes, "an older point");
        });
        let failed = common::backup_bytes(&refused, "o", &[("os", &new)]);
        let made = writer.join().expect("the writer");
        reader.join().expect("the reader");
        let acknowledged = match failed {
            Ok(report) => vec![("m", point, &old), ("n", made, &new), ("o", report.point, &new)],
            Err(error) => {
                assert!(error.is_out_of_space(), "{error}");
                vec![("m", point, &old), ("n", made, &new)]
            }
        };
        let opened = model::open(files);
        for (machine, point, bytes) in acknowledged {
            for vault in [&opened, &*shared] {
                vault.refresh().expect("refresh");
                let point = vault.point(machine, &point.id).expect("the point");
                common::assert_same(&common::disk_bytes(vault, &point, "os").expect("read"), bytes, machine);
            }
        }
        assert!(common::verify(&opened).is_clean());
    });
}
