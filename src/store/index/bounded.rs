//! Section 5, "Bounded memory whatever the vault's size", also for who may not write to the vault.

use std::path::Path;
use std::sync::Arc;

use super::tidy::MOST_FRESH;
use super::{Index, Place, index_run};
use crate::format::key_slot::Role;
use crate::format::segment::{self as segments, RecordType, TableEntry};
use crate::format::{Hash, Id};
use crate::media::{DirectoryMedia, ReadMode};
use crate::seal::{RoleKeys, VaultKeys};

/// Records of each segment, and segments: several times what the table may hold.
const RECORDS: u64 = 50_000;
const SEGMENTS: u64 = 30;

fn index(path: &Path, keys: &Arc<VaultKeys>) -> Index {
    index_through(ReadMode::Map, path, keys)
}

fn index_through(mode: ReadMode, path: &Path, keys: &Arc<VaultKeys>) -> Index {
    Index::open(Arc::new(DirectoryMedia::new(path, mode)), Arc::clone(keys)).expect("an index")
}

fn segment(number: u64) -> Id {
    (u128::from(number) + 1).to_le_bytes()
}

fn record(segment: u64, number: u64) -> Hash {
    *blake3::hash((segment * RECORDS + number).to_le_bytes().as_slice()).as_bytes()
}

fn add_all(index: &Index, keys: &VaultKeys) {
    for of in 0..SEGMENTS {
        let entries: Vec<TableEntry> = (0..RECORDS)
            .map(|number| TableEntry {
                id: record(of, number),
                offset: number * 16,
                stored_bytes: 1,
                plain_bytes: 1,
                kind: RecordType::Chunk,
            })
            .collect();
        index.add(segment(of), &entries, &|id| keys.index_tag(id));
        index.relieve_in_the_making(true);
        let held = index.fresh.read().expect("a lock").places.len();
        assert!(held < MOST_FRESH, "{held} entries are in memory");
    }
    index.made(true);
}

fn knows_all(index: &Index, keys: &VaultKeys) {
    for of in 0..SEGMENTS {
        for number in (0..RECORDS).step_by(997) {
            let expected = Place { segment: segment(of), offset: number * 16, stored_bytes: 1, plain_bytes: 1 };
            assert_eq!(index.lookup(&keys.index_tag(&record(of, number))), Some(expected));
        }
    }
    let present: Vec<Id> = (0..SEGMENTS).map(segment).collect();
    assert_eq!(index.missing(&present).expect("a comparison"), Vec::<Id>::new(), "every segment is covered");
}

#[test]
fn who_may_not_write_to_the_vault_keeps_no_more_in_memory_than_who_may() {
    let keys = Arc::new(VaultKeys::new([1; 16], Role::Restore, RoleKeys::generate().expect("random keys")));
    let folder = tempfile::tempdir().expect("a directory");
    DirectoryMedia::new(folder.path(), ReadMode::Map)
        .initialize(&[index_run::FOLDER, segments::FOLDER], &[])
        .expect("folders");
    // The index looks whether they are there, and into none of them.
    for number in 0..SEGMENTS {
        std::fs::write(folder.path().join(segments::object(&segment(number))), []).expect("a segment");
    }
    // Without this folder nothing can be written, whoever runs the test.
    std::fs::remove_dir(folder.path().join("tmp")).expect("removed");
    let read_only = index(folder.path(), &keys);
    add_all(&read_only, &keys);
    knows_all(&read_only, &keys);
    let size = read_only.size();
    assert_eq!(size.entries, SEGMENTS * RECORDS);
    assert!(size.runs <= 8, "{} runs", size.runs);
    assert_eq!(std::fs::read_dir(folder.path().join("index")).expect("a folder").count(), 0);

    // The vault can be written again: what was kept beside it goes in, with the rest.
    std::fs::create_dir(folder.path().join("tmp")).expect("made");
    read_only.retain(&|_, _| true).expect("written");
    drop(read_only);
    knows_all(&index(folder.path(), &keys), &keys);
}

#[test]
fn what_is_kept_outside_the_vault_is_mapped_only_where_the_vault_is() {
    let keys = Arc::new(VaultKeys::new([1; 16], Role::Restore, RoleKeys::generate().expect("random keys")));
    for (mode, mapped) in [(ReadMode::Map, true), (ReadMode::Pread, false)] {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(folder.path().join(segments::FOLDER)).expect("a folder");
        std::fs::write(folder.path().join(segments::object(&segment(0))), []).expect("a segment");
        let index = index_through(mode, folder.path(), &keys);
        let entry =
            TableEntry { id: record(0, 1), offset: 0, stored_bytes: 1, plain_bytes: 1, kind: RecordType::Chunk };
        index.add(segment(0), &[entry], &|id| keys.index_tag(id));
        index.spill(1).expect("a run outside");
        let run = index.runs.read().expect("a lock")[0].name().to_owned();
        assert!(index.lookup(&keys.index_tag(&record(0, 1))).is_some());
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the maps of this process");
        assert_eq!(maps.contains(&run), mapped, "{mode:?}");
    }
}
