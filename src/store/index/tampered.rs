//! Promise 4: what somebody without a key wrote into a run gains nothing by being merged.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{Index, Place, index_run, merge};
use crate::format::key_slot::Role;
use crate::format::segment::{self as segments, RecordType, TableEntry};
use crate::format::{Hash, Id};
use crate::media::{DirectoryMedia, ReadMode};
use crate::seal::{RoleKeys, VaultKeys};

fn index(path: &Path, keys: &Arc<VaultKeys>) -> Index {
    Index::open(Arc::new(DirectoryMedia::new(path, ReadMode::Map)), Arc::clone(keys)).expect("an index")
}

/// A segment of one record.
fn add(index: &Index, keys: &VaultKeys, number: u8) {
    let entry = TableEntry { id: id(number), offset: 192, stored_bytes: 7, plain_bytes: 9, kind: RecordType::Chunk };
    index.add(segment(number), &[entry], &|id| keys.index_tag(id));
    index.flush().expect("written");
}

fn segment(number: u8) -> Id {
    [number; 16]
}

fn id(number: u8) -> Hash {
    [number; 32]
}

#[test]
fn a_false_run_is_not_made_true_by_merging() {
    let keys = Arc::new(VaultKeys::new([1; 16], Role::Admin, RoleKeys::generate().expect("random keys")));
    let folder = tempfile::tempdir().expect("a directory");
    DirectoryMedia::new(folder.path(), ReadMode::Map)
        .initialize(&[index_run::FOLDER, segments::FOLDER], &[])
        .expect("folders");
    let runs = u8::try_from(merge::MOST_RUNS).expect("few");
    // The index looks whether they are there, and into none of them.
    for number in 0..=runs + 1 {
        fs::write(folder.path().join(segments::object(&segment(number))), []).expect("a segment");
    }
    let first = index(folder.path(), &keys);
    add(&first, &keys, 0);
    let file =
        fs::read_dir(folder.path().join("index")).expect("a folder").next().expect("a run").expect("a run").path();
    (1..runs).for_each(|number| add(&first, &keys, number));
    assert_eq!(first.size().runs, usize::from(runs), "one more will be merged");
    drop(first);

    // The first record is said to be somewhere else.
    let mut bytes = fs::read(&file).expect("the run");
    let entry = bytes.len() - 32 - 32;
    bytes[entry + 20] ^= 1;
    fs::write(&file, bytes).expect("changed");
    let tag = |number| keys.index_tag(&id(number));
    let place = |number| Place { segment: segment(number), offset: 192, stored_bytes: 7, plain_bytes: 9 };
    let reader = index(folder.path(), &keys);
    assert_ne!(reader.lookup(&tag(0)), Some(place(0)), "a reader takes it for what it says, and finds out");
    add(&reader, &keys, runs);
    add(&reader, &keys, runs + 1);
    drop(reader);

    let writer = index(folder.path(), &keys);
    writer.authenticate();
    assert_eq!(writer.lookup(&tag(0)), None, "nobody who writes believes it");
    for number in 1..=runs + 1 {
        assert_eq!(writer.lookup(&tag(number)), Some(place(number)));
    }
    let present: Vec<Id> = (0..=runs + 1).map(segment).collect();
    assert_eq!(writer.missing(&present).expect("a comparison"), [segment(0)]);
}
