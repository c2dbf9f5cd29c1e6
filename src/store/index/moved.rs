//! Invariant 4: a record that is in two segments, as one that moves, is found when either is gone, also after a merge.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Index, Place, index_run};
use crate::format::Id;
use crate::format::key_slot::Role;
use crate::format::segment::{self as segments, RecordType, TableEntry};
use crate::media::{DirectoryMedia, ReadMode};
use crate::seal::{RoleKeys, VaultKeys};

#[test]
fn a_merge_forgets_neither_place_of_a_record() {
    let keys = Arc::new(VaultKeys::new([1; 16], Role::Admin, RoleKeys::generate().expect("random keys")));
    let folder = tempfile::tempdir().expect("a directory");
    let media = Arc::new(DirectoryMedia::new(folder.path(), ReadMode::Map));
    media.initialize(&[index_run::FOLDER, segments::FOLDER], &[]).expect("folders");
    let both: [Id; 2] = [[1; 16], [2; 16]];
    let entry = TableEntry { id: [7; 32], offset: 192, stored_bytes: 7, plain_bytes: 9, kind: RecordType::Chunk };
    let tag = keys.index_tag(&entry.id);
    for gone in both {
        for segment in both {
            std::fs::write(folder.path().join(segments::object(&segment)), []).expect("a segment");
        }
        let index = Index::open(Arc::clone(&media) as _, Arc::clone(&keys)).expect("an index");
        for segment in both {
            index.add(segment, &[entry], &|id| keys.index_tag(id));
            index.flush().expect("written");
        }
        index.retain(&|_, _| true).expect("merged");
        drop(index);
        let index = Index::open(Arc::clone(&media) as _, Arc::clone(&keys)).expect("an index");
        let left = if gone == both[0] { both[1] } else { both[0] };
        let place = |segment| Some(Place { segment, offset: 192, stored_bytes: 7, plain_bytes: 9 });
        assert_eq!(index.lookup_besides(&tag, &HashSet::from([gone])), place(left), "before it goes");
        std::fs::remove_file(folder.path().join(segments::object(&gone))).expect("removed");
        assert_eq!(index.missing(&[left]).expect("a comparison"), Vec::<Id>::new());
        assert_eq!(index.lookup(&tag), place(left), "and after");
        for run in std::fs::read_dir(folder.path().join(index_run::FOLDER)).expect("runs").flatten() {
            std::fs::remove_file(run.path()).expect("removed");
        }
    }
}
