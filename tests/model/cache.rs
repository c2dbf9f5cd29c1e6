//! Promise 2: however readers of one chunk meet in the cache, it is decoded once, and each gets its bytes or an error.
#![cfg(shuttle)]

use std::sync::Arc;

use crate::common;
use crate::common::faults::{Call, FaultyFiles, Plan};
use crate::common::model::{self, Bed, SMALL_CACHE};
use icecore::Error;
use icecore::media::simulated::SimulatedFiles;
use icecore::meter::{Meter, Stage};
use icecore::store::Reader;
use shuttle::thread::spawn;

const READERS: usize = 3;

/// How often a record was opened since the meter was started.
fn opened(meter: &Meter) -> u64 {
    meter.stop().into_iter().filter(|time| time.stage == Stage::Open).map(|time| time.calls).sum()
}

/// Asks for chunk 1 from several threads at once; returns the errors.
fn read_at_once(reader: &Arc<Reader>) -> Vec<Error> {
    let read = |reader: Arc<Reader>| {
        let chunk = reader.chunk(&model::id(reader.store(), 1))?;
        common::assert_same(&chunk, &model::plain(1), "the chunk");
        Ok(())
    };
    let threads: Vec<_> = (0..READERS)
        .map(|_| {
            let reader = Arc::clone(reader);
            spawn(move || read(reader))
        })
        .collect();
    threads.into_iter().filter_map(|thread| thread.join().expect("a reader").err()).collect()
}

#[test]
fn a_chunk_is_decoded_once_for_all_who_ask() {
    model::check(2000, || {
        let bed = Bed::new();
        model::put_all(&bed.open(), &[1, 2]);
        let reader = Arc::new(Reader::new(bed.open(), SMALL_CACHE));
        reader.store().meter().start();
        let errors = read_at_once(&reader);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(opened(reader.store().meter()), 1);
    });
}

#[test]
fn one_failed_read_fails_one_reader_and_the_next_one_tries_again() {
    model::check(2000, || {
        let bed = Bed::new();
        model::put_all(&bed.open(), &[1]);
        let files = FaultyFiles::over(Arc::new(bed.files.clone()), Plan::NONE);
        let reader = Arc::new(Reader::new(bed.open_over(Arc::new(files.clone())), SMALL_CACHE));
        // The segment's header, the record, or neither of them.
        let nth = 1 + model::dice(3) as u64;
        files.plan(Plan { nth, counts: |call| call == Call::Read, ..Plan::NONE });
        let errors = read_at_once(&reader);
        assert_eq!(errors.len(), files.failed(), "{errors:?}");
        assert!(errors.iter().all(|error| matches!(error, Error::Vault { .. })), "{errors:?}");
        assert_eq!(files.failed(), usize::from(nth < 3));
    });
}

#[test]
fn a_medium_that_fails_for_a_while_fails_all_and_is_read_after() {
    model::check(2000, || {
        let bed = Bed::new();
        model::put_all(&bed.open(), &[1]);
        let files = FaultyFiles::over(Arc::new(bed.files.clone()), Plan::NONE);
        let reader = Arc::new(Reader::new(bed.open_over(Arc::new(files.clone())), SMALL_CACHE));
        files.plan(Plan { nth: 1, for_ever: true, counts: |call| call == Call::Read, ..Plan::NONE });
        let errors = read_at_once(&reader);
        assert_eq!(errors.len(), READERS);
        assert!(errors.iter().all(|error| matches!(error, Error::Vault { .. })), "{errors:?}");
        files.plan(Plan::NONE);
        let errors = read_at_once(&reader);
        assert!(errors.is_empty(), "{errors:?}");
    });
}

#[test]
fn what_is_decoded_ahead_is_decoded_once_and_in_nobodys_way() {
    const CHUNKS: usize = 6;
    model::check(600, || {
        let files = SimulatedFiles::new();
        let bytes = common::noise(1, CHUNKS * 4096);
        let point = common::backup_bytes(&model::init(&files), "m", &[("os", &bytes)]).expect("backup").point;
        let vault = model::open(files);
        let map = Arc::new(vault.disk(&point, "os").expect("the disk"));
        vault.meter().start();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (map, bytes) = (Arc::clone(&map), bytes.clone());
                spawn(move || {
                    for (number, expected) in bytes.chunks(4096).enumerate() {
                        let mut read = [0; 4096];
                        map.read(number as u64 * 4096, &mut read).expect("read");
                        common::assert_same(&read, expected, "a chunk");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a reader"));
        // The map is a single node.
        assert_eq!(opened(vault.meter()), CHUNKS as u64 + 1);
    });
}
