//! Promise 3: damage touches only what it hit; here: a file without readable attributes is listed, and so are the rest.

use std::fs;

use crate::common::{Content, EIO, MemoryTree, Mounted, ROOT, can_mount};
use icecore_fuse::FileType;

#[test]
fn one_damaged_file_does_not_hide_its_neighbours() {
    if !can_mount("one_damaged_file_does_not_hide_its_neighbours") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "a", 2, Content::File(b"a".to_vec()));
    tree.add(ROOT, "damaged", 3, Content::Indescribable(FileType::Regular));
    tree.add(ROOT, "impossible/name", 4, Content::File(Vec::new()));
    tree.add(ROOT, "z", 5, Content::File(b"z".to_vec()));
    let mounted = Mounted::new(tree);

    let entries: Vec<_> = fs::read_dir(mounted.path()).unwrap().map(Result::unwrap).collect();
    let names: Vec<_> = entries.iter().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["a", "damaged", "z"]);
    assert!(entries[1].file_type().unwrap().is_file());
    assert_eq!(fs::metadata(mounted.join("damaged")).unwrap_err().raw_os_error(), Some(EIO));
    assert_eq!(fs::read(mounted.join("z")).unwrap(), b"z");
}
